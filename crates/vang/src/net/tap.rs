//! vang net tap: a proxy that shows every message between clients and a server.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args as ClapArgs;
use vang_nettools::Target;
use vang_nettools::tap::{self, Silence, TapOptions, Weather};
use vang_proto::text::{read_bytes, read_duration};

use super::common::{Common, with};
use crate::args::parse_time;

const EXAMPLES: &str = "\
Examples:
  vang net tap --listen localhost:7000 --to localhost:65432
  vang net tap --listen unix:/tmp/tap.sock --to unix:/run/vang.sock --record talk.pcapng
  vang net tap --listen localhost:7000 --to localhost:65432 --delay 200ms --jitter --rate 64k --cut 1% --split 1
  vang net tap --listen localhost:7000 --to localhost:65432 --silence 30s     a server that vanishes without closing
  vang net tap --udp --listen localhost:7000 --to localhost:7002 --drop 5% --duplicate 1% --reorder 2% --seed 7
  vang net tap --replay talk.pcapng --to localhost:65432          replays the clients of a capture
  vang net tap --replay talk.pcapng --listen localhost:7000       replays its server, for your clients";

const AFTER: &str = "\
Percentages are probabilities in each direction. Over UDP at most 1,000 datagrams a second are printed; all are passed on, \
counted and recorded. --silence drops the segments of a connection in this kernel before TCP sees them, so that neither data \
nor keep-alive probes are acknowledged; when tap ends, it resets the silent connections.";

/// Show every message between clients and a server; record, replay, or simulate a bad network
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES, after_help = AFTER)]
pub(crate) struct Args {
    /// Listen for clients here: HOST:PORT or unix:PATH; port 0 is any free port
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "replay")]
    listen: Option<Target>,
    /// Connect to this server: HOST:PORT or unix:PATH
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "replay", value_parser = Target::peer)]
    to: Option<Target>,
    /// Datagrams instead of connections; each client address gets a socket of its own to the server
    #[arg(long, conflicts_with_all = ["replay", "rate", "cut", "split", "silence", "once"])]
    udp: bool,
    /// Record a capture for Wireshark (pcapng)
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    record: Option<PathBuf>,
    /// Replay the clients of this capture (with --to) or its server (with --listen), in turns, without pauses
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Lose datagrams, as 5% (with --udp)
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, requires = "udp")]
    drop: Option<f64>,
    /// Send datagrams twice, as 1% (with --udp)
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, requires = "udp")]
    duplicate: Option<f64>,
    /// Hold datagrams back until the next one has gone, or for 100 ms (with --udp)
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, requires = "udp")]
    reorder: Option<f64>,
    /// A client address without datagrams for this time loses its socket (with --udp)
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "2m", requires = "udp")]
    idle: Duration,
    /// A connection becomes silent after this time, as 5s, or when its sides have sent this many bytes, as 100B or 64kB
    ///
    /// A peer that vanishes: nothing passes or is acknowledged, and nobody closes. TCP only.
    #[arg(long, value_name = "WHEN", value_parser = parse_silence, conflicts_with = "replay")]
    silence: Option<Silence>,
    /// Delay all bytes by this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    delay: Option<Duration>,
    /// Random delays from 0 to twice --delay; order is kept, but not with --udp
    #[arg(long, requires = "delay")]
    jitter: bool,
    /// Bytes per second in each direction, as 64k or 2M (k is 1,000, Ki 1,024)
    #[arg(long, value_name = "BYTES", value_parser = parse_rate)]
    rate: Option<u64>,
    /// Probability of a reset at each received piece, as 1%
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, default_value = "0%", hide_default_value = true)]
    cut: f64,
    /// Write this many bytes at a time
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    split: Option<u32>,
    /// Seed to repeat the same random choices
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// End after the first connection
    #[arg(long)]
    once: bool,
    /// Allow more clients than the server itself would: the server sees every client of the tap as a local program
    ///
    /// Needed if other machines can reach --listen but not --to, or if --to is a Unix socket and --listen is not.
    #[arg(long, conflicts_with = "replay")]
    expose: bool,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let by_clock =
        || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| u64::from(time.subsec_nanos()));
    let weather = Weather {
        delay: args.delay,
        jitter: args.jitter,
        rate: args.rate,
        cut: args.cut,
        split: args.split.map(|split| split as usize),
        drop: args.drop.unwrap_or_default(),
        duplicate: args.duplicate.unwrap_or_default(),
        reorder: args.reorder.unwrap_or_default(),
        seed: args.seed.unwrap_or_else(by_clock),
    };
    let Args { listen, to, record, replay, silence, udp, idle, once, expose, .. } = args;
    let options = TapOptions { listen, to, record, replay, weather, silence, udp, idle, once, expose };
    with(&args.common, |report, stop| tap::run(&options, report, stop))
}

fn parse_rate(text: &str) -> Result<u64, String> {
    let wrong = || "not a rate; write bytes per second, as in 500, 64k, 2M or 64Ki".to_owned();
    read_bytes(text).filter(|rate| *rate > 0).ok_or_else(wrong)
}

/// A time, or a number of bytes with `B` at its end, because `5m` is a time. A number alone can be meant as either.
fn parse_silence(text: &str) -> Result<Silence, String> {
    let wrong = || {
        "not a time or a number of bytes; write a time as 500ms or 5s, bytes as 0B, 100B or 64kB".to_owned()
    };
    if text.ends_with('B') {
        return read_bytes(text).map(Silence::Bytes).ok_or_else(wrong);
    }
    let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
    // A time that is refused for its length has a reason of its own.
    match read_duration(text).filter(|_| has_unit) {
        Some(_) => parse_time(text).map(Silence::After),
        None => Err(wrong()),
    }
}

/// `5%`. A number alone is refused: `0.5` can be meant as a half.
fn parse_percent(text: &str) -> Result<f64, String> {
    match text.strip_suffix('%').map(str::parse::<f64>) {
        Some(Ok(percent)) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("not a percentage; write 0% to 100% with its %, as in 1% or 0.5%".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_begins_after_a_time_or_a_number_of_bytes() {
        assert_eq!(parse_silence("500ms"), Ok(Silence::After(Duration::from_millis(500))));
        assert_eq!(parse_silence("5m"), Ok(Silence::After(Duration::from_secs(300))));
        assert_eq!(parse_silence("0B"), Ok(Silence::Bytes(0)));
        assert_eq!(parse_silence("64kB"), Ok(Silence::Bytes(64_000)));
        assert_eq!(parse_silence("2h"), Ok(Silence::After(Duration::from_secs(7_200))));
        for wrong in ["", "B", "-1B", "10k", "5 s", "12"] {
            assert!(
                parse_silence(wrong).unwrap_err().starts_with("not a time or a number of bytes; "),
                "{wrong}"
            );
        }
        assert_eq!(parse_silence("0s").unwrap_err(), "a time must be longer than 0");
        assert!(parse_silence("400d").unwrap_err().starts_with("a time is at most 365d"));
    }

    #[test]
    fn rates_and_percentages_are_parsed() {
        assert_eq!(parse_rate("64k"), Ok(64_000));
        assert_eq!(parse_rate("500"), Ok(500));
        assert_eq!(parse_rate("2M"), Ok(2_000_000));
        assert_eq!(parse_rate("64Ki"), Ok(65_536));
        assert_eq!(parse_percent("1%"), Ok(0.01));
        assert_eq!(parse_percent("0.5%"), Ok(0.005));
        for wrong in ["", "k", "0", "-1", "1x", "99999999999999999999M"] {
            assert!(parse_rate(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "%", "101%", "-1%", "NaN", "NaN%", "5", "0.5"] {
            assert!(parse_percent(wrong).is_err(), "{wrong}");
        }
    }
}
