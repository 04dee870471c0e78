//! How much fails in a world. It is drawn once for each seed: some seeds are full of crashes, some of slow
//! disks and long messages, some have only traffic.

use crate::rng::Rng;

/// Chances in per mille: per tick of a few milliseconds, or per operation.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// People act by themselves.
    pub(crate) people_act: bool,
    /// The server crashes, per tick.
    pub(crate) crash: u32,
    /// The server is stopped orderly, per tick.
    pub(crate) stop: u32,
    /// An older copy of the data folder is put back, per start.
    pub(crate) older_copy: u32,
    /// The longest downtime of the server, ms.
    pub(crate) away_ms: u64,
    /// An append reports `Unknown`.
    pub(crate) unknown: u32,
    /// The disk becomes full or unreachable for a while, per append.
    pub(crate) trouble: u32,
    pub(crate) settle_fails: u32,
    /// Another process writes an entry before ours, per append.
    pub(crate) other_writer: u32,
    /// The longest ordinary append, ms.
    pub(crate) append_ms: u64,
    /// The view writes nothing, per tick.
    pub(crate) view_lag: u32,
    pub(crate) read_fails: u32,
    /// The longest read, ms.
    pub(crate) read_ms: u64,
    /// A connection breaks, per tick and connection.
    pub(crate) cut: u32,
    /// A reader stops reading for a while, per tick.
    pub(crate) pause: u32,
    pub(crate) long: u32,
    /// The longest message, bytes.
    pub(crate) long_bytes: u64,
    /// A client does something, per tick and client.
    pub(crate) act: u32,
    /// The wall clock jumps for a while, per tick.
    pub(crate) clock_jumps: u32,
    /// Bytes that the network buffers from the server while the client does not read.
    pub(crate) window: u64,
    /// How long people act, ms.
    pub(crate) lasts_ms: u64,
    /// Hashing a password takes at most so long, ms.
    pub(crate) hash_ms: u64,
    /// Devices sign in with passwords, tokens and invitations.
    pub(crate) signs_in: bool,
    /// A day passes while the server is down, per stop or crash.
    pub(crate) days: u32,
    /// The number of people besides the operator and the probers.
    pub(crate) people: u64,
}

impl Weather {
    /// No failures and no own actions: for stories.
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
            view_lag: 100,
            read_fails: 0,
            read_ms: 5,
            cut: 0,
            pause: 0,
            long: 0,
            long_bytes: 0,
            act: 0,
            clock_jumps: 0,
            window: 1 << 16,
            lasts_ms: 0,
            hash_ms: 5,
            signs_in: false,
            days: 0,
            people: 0,
        }
    }

    /// The weather of a seed.
    pub(crate) fn drawn(rng: &mut Rng) -> Weather {
        let mut some = |chance: u32, max: u64| match rng.happens(chance) {
            true => rng.between(1, max),
            false => 0,
        };
        let storm = some(160, 40) as u32;
        let crash = some(600, 5) as u32 + storm;
        let long = some(300, 300) as u32;
        let signs_in = some(400, 1) == 1;
        let days = if signs_in { some(250, 1) as u32 * 700 } else { 0 };
        Weather {
            people_act: true,
            // A day passes only while the server is down.
            crash: if days > 0 { crash.max(5) } else { crash },
            stop: some(400, 3) as u32,
            older_copy: some(450, 700) as u32 + storm * 3,
            away_ms: some(700, 2_000) + 20,
            unknown: some(600, 120) as u32,
            trouble: some(500, 60) as u32,
            settle_fails: some(600, 600) as u32,
            other_writer: some(300, 80) as u32,
            append_ms: some(700, 60) + 1,
            view_lag: some(700, 990) as u32,
            read_fails: some(500, 200) as u32,
            read_ms: some(800, 200) + 1,
            cut: some(800, 8) as u32,
            pause: some(600, 12) as u32,
            long,
            long_bytes: if long > 0 { some(700, 262_000) + 30_000 } else { 0 },
            act: some(1_000, 250) as u32 + 40,
            clock_jumps: some(250, 3) as u32,
            window: some(700, 60_000) + 200,
            lasts_ms: some(1_000, 6_500) + 2_500,
            hash_ms: some(800, 400) + 1,
            signs_in,
            days,
            // Others repeat what they sent, and no server remembers that for longer than a day.
            people: if days > 0 { 0 } else { some(1_000, 5) + 1 },
        }
    }

    /// Ends all failures and all own actions.
    pub(crate) fn clear_up(&mut self) {
        let window = self.window.max(1 << 14);
        *self = Weather { window, view_lag: 0, ..Weather::calm() };
    }
}
