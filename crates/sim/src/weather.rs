//! How much goes wrong in a world: drawn once for each seed, so that some seeds are full of crashes,
//! some of slow disks and long messages, and some of nothing but traffic.

use crate::rng::Rng;

/// Chances are of a thousand: for each tick of a few milliseconds, or each time the thing is done.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// People act by themselves.
    pub(crate) people_act: bool,
    /// The server dies, each tick.
    pub(crate) crash: u32,
    /// The server is stopped in good order, each tick.
    pub(crate) stop: u32,
    /// An older copy of the data folder is put back before a start.
    pub(crate) older_copy: u32,
    /// The longest that the server stays away, ms.
    pub(crate) away_ms: u64,
    /// An append is answered `Unknown`.
    pub(crate) unknown: u32,
    /// The disk becomes full or unreachable for a while, each append.
    pub(crate) trouble: u32,
    /// `settle` fails.
    pub(crate) settle_fails: u32,
    /// Another process writes an entry before ours.
    pub(crate) other_writer: u32,
    /// The longest that an ordinary append takes, ms.
    pub(crate) append_ms: u64,
    /// The tables take nothing in, each tick.
    pub(crate) tables_lag: u32,
    /// A read fails.
    pub(crate) read_fails: u32,
    /// The longest that a read takes, ms.
    pub(crate) read_ms: u64,
    /// A connection breaks, each tick and connection.
    pub(crate) cut: u32,
    /// A reader stops taking bytes for a while, each tick.
    pub(crate) pause: u32,
    /// A message is long.
    pub(crate) long: u32,
    /// A long message's length at most, bytes.
    pub(crate) long_bytes: u64,
    /// Somebody does something, each tick.
    pub(crate) act: u32,
    /// The wall clock leaps for a while, each tick.
    pub(crate) clock_leaps: u32,
    /// Bytes that the network takes from the server without the client reading.
    pub(crate) window: u64,
    /// How long people act, ms.
    pub(crate) lasts_ms: u64,
    /// People, beside the operator and the ones who pry.
    pub(crate) people: u64,
}

impl Weather {
    /// Nothing goes wrong and nobody acts by himself: for stories.
    pub(crate) fn calm() -> Weather {
        Weather {
            people_act: false,
            crash: 0,
            stop: 0,
            older_copy: 0,
            away_ms: 50,
            unknown: 0,
            trouble: 0,
            settle_fails: 0,
            other_writer: 0,
            append_ms: 5,
            tables_lag: 100,
            read_fails: 0,
            read_ms: 5,
            cut: 0,
            pause: 0,
            long: 0,
            long_bytes: 0,
            act: 0,
            clock_leaps: 0,
            window: 1 << 16,
            lasts_ms: 0,
            people: 0,
        }
    }

    /// What a seed gives.
    pub(crate) fn drawn(rng: &mut Rng) -> Weather {
        let mut some = |chance: u32, max: u64| match rng.happens(chance) {
            true => rng.between(1, max),
            false => 0,
        };
        let storm = some(160, 40) as u32;
        let crash = some(600, 5) as u32 + storm;
        let long = some(300, 300) as u32;
        Weather {
            people_act: true,
            crash,
            stop: some(400, 3) as u32,
            older_copy: some(450, 700) as u32 + storm * 3,
            away_ms: some(700, 2_000) + 20,
            unknown: some(600, 120) as u32,
            trouble: some(500, 60) as u32,
            settle_fails: some(600, 600) as u32,
            other_writer: some(300, 80) as u32,
            append_ms: some(700, 60) + 1,
            tables_lag: some(700, 990) as u32,
            read_fails: some(500, 200) as u32,
            read_ms: some(800, 200) + 1,
            cut: some(800, 8) as u32,
            pause: some(600, 12) as u32,
            long,
            long_bytes: if long > 0 { some(700, 262_000) + 30_000 } else { 0 },
            act: some(1_000, 250) as u32 + 40,
            clock_leaps: some(250, 3) as u32,
            window: some(700, 60_000) + 200,
            lasts_ms: some(1_000, 6_500) + 2_500,
            people: some(1_000, 5) + 1,
        }
    }

    /// Everything that goes wrong goes wrong no more, and people are still.
    pub(crate) fn clear_up(&mut self) {
        let window = self.window.max(1 << 14);
        *self = Weather { window, tables_lag: 0, ..Weather::calm() };
    }
}
