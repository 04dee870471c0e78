//! vang net echo: a server that gives every byte back, and a client that checks it.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args as ClapArgs, Subcommand};
use vang_nettools::echo::serve::Model;
use vang_nettools::echo::{Trust, compare, send, serve};
use vang_nettools::{Target, duration, size};

use super::Common;
use crate::args::parse_time;

const EXAMPLES: &str = "\
Examples:
  vang net echo serve                          at 127.0.0.1:65432, by TCP
  vang net echo send localhost:65432           sends `Hello, world`, and checks what comes back
  vang net echo send --compare                 four ways to write such a server, measured on this machine";

/// Give every byte back, and check that what comes back is what was sent
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    side: Side,
}

#[derive(Subcommand, Debug)]
enum Side {
    Serve(Box<ServeArgs>),
    Send(Box<SendArgs>),
}

const SERVE_EXAMPLES: &str = "\
Examples:
  vang net echo serve --once --explain                  one client, with every step told
  vang net echo serve --listen '[::1]:7000' --model threads
  vang net echo serve --model sequential --greet --backlog 5
  vang net echo serve --udp
  vang net echo serve --tls --certificate-out cert.pem";

const SERVE_AFTER: &str = "\
Models: sequential serves one connection after the other, while the kernel keeps the rest waiting (--backlog); threads \
gives each connection a thread; selector is one thread that asks the kernel which connections are ready; async is one \
thread with a task for each. At most a hundred echoes a second are shown, so that showing them does not slow them; \
all are counted.";

/// Serve echo, in the model of concurrency that you choose
#[derive(ClapArgs, Debug)]
#[command(before_help = SERVE_EXAMPLES, after_help = SERVE_AFTER)]
struct ServeArgs {
    /// Where: HOST:PORT, [IPV6]:PORT, or :PORT for every interface; port 0 is any free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:65432")]
    listen: Target,
    /// A socket in the file system instead
    #[arg(long, value_name = "PATH", conflicts_with_all = ["listen", "udp"])]
    unix: Option<PathBuf>,
    /// Datagrams instead of connections
    #[arg(long, conflicts_with_all = ["model", "backlog"])]
    udp: bool,
    /// Inside TLS, with a certificate made for this run
    #[arg(long)]
    tls: bool,
    /// Write that certificate to a file, for clients that check it
    #[arg(long, value_name = "FILE", requires = "tls")]
    certificate_out: Option<PathBuf>,
    /// sequential, threads, selector or async
    #[arg(long, default_value = "selector", value_parser = PossibleValuesParser::new(Model::ALL.map(Model::name)))]
    model: String,
    /// Serve one client, then exit; with --udp one datagram
    #[arg(long)]
    once: bool,
    /// Read everything a client sends, answer with two lines of text, and close (sequential or threads)
    #[arg(long)]
    greet: bool,
    /// Connections that the kernel keeps waiting until they are accepted
    #[arg(long, value_name = "N", default_value_t = 128)]
    backlog: u32,
    /// Close a connection on which nothing moves for so long
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_time)]
    idle: Duration,
    /// Only the address, and the summary at the end
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    common: Common,
}

const SEND_EXAMPLES: &str = "\
Examples:
  vang net echo send 127.0.0.1:65432
  vang net echo send 127.0.0.1:65432 --connections 2 --message 'Message 1 from client.' --message 'Message 2 from client.'
  vang net echo send '[::1]:65432' --bytes 10m                     one large message
  vang net echo send localhost:65432 --connections 64 --bytes 100 --duration 5s
  vang net echo send localhost:65432 --rate 1000 --duration 5s     a timetable that waits for nobody
  vang net echo send localhost:65432 --udp --rate 100 --duration 5s
  vang net echo send localhost:65432 --tls --fingerprint SHA256:...
  uptime | vang net echo send unix:/tmp/echo.sock --stdin";

const SEND_AFTER: &str = "\
Exit codes: 0 everything came back as it was sent, 1 it did not, 2 wrong usage, 124 timed out. --compare runs every \
model on this machine and needs no server; --connections, --bytes and --duration change its load.";

/// Send to an echo server and check what comes back
#[derive(ClapArgs, Debug)]
#[command(before_help = SEND_EXAMPLES, after_help = SEND_AFTER)]
struct SendArgs {
    /// The server: HOST:PORT, HOST (port 65432), [IPV6]:PORT or unix:PATH
    #[arg(value_name = "HOST:PORT", required_unless_present = "compare", conflicts_with = "compare")]
    to: Option<Target>,
    /// A message; may be given again, and each is sent in turn [default: Hello, world]
    #[arg(long, short, value_name = "TEXT", conflicts_with_all = ["stdin", "bytes", "compare"])]
    message: Vec<String>,
    /// Each line of stdin is a message
    #[arg(long, conflicts_with_all = ["bytes", "duration", "rate", "count", "compare"])]
    stdin: bool,
    /// A message of so many bytes: 100, 64k, 10m, 1g
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    bytes: Option<u64>,
    /// Send all messages so many times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "compare")]
    count: Option<u64>,
    /// Connections at once, each with one message under way
    #[arg(long, short = 'c', value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: Option<u32>,
    /// Messages a second on all connections together; waits are then counted from when a message was due
    #[arg(long, value_name = "N", conflicts_with = "compare")]
    rate: Option<f64>,
    /// Send over and over for so long
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    duration: Option<Duration>,
    /// Numbered datagrams: loss, duplication, reordering, jitter
    #[arg(long, conflicts_with = "compare")]
    udp: bool,
    /// By TLS; without --ca or --fingerprint whoever answers is believed, and that is said
    #[arg(long, conflicts_with = "compare")]
    tls: bool,
    /// Believe only a server that a certificate in this PEM file vouches for
    #[arg(long, value_name = "FILE", requires = "tls", conflicts_with = "fingerprint")]
    ca: Option<PathBuf>,
    /// Believe only a server with this key, as SHA256:...
    #[arg(long, value_name = "KEY", requires = "tls", value_parser = parse_key)]
    fingerprint: Option<String>,
    /// Run all four models of the server here and compare them
    #[arg(long)]
    compare: bool,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    match args.side {
        Side::Serve(args) => serve(*args),
        Side::Send(args) => send(*args),
    }
}

fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let model = Model::ALL.into_iter().find(|model| model.name() == args.model).unwrap_or(Model::Selector);
    let asked = serve::Asked {
        listen: args.unix.map_or(args.listen, Target::Unix),
        udp: args.udp,
        tls: args.tls,
        certificate: args.certificate_out,
        model,
        once: args.once,
        greet: args.greet,
        backlog: args.backlog,
        quiet: args.quiet,
        idle: args.idle,
    };
    super::with(&args.common, |report, stop| serve::run(&asked, report, stop))
}

fn send(args: SendArgs) -> anyhow::Result<()> {
    let trust = match (args.ca, args.fingerprint) {
        (Some(ca), _) => Trust::Authorities(ca),
        (None, Some(key)) => Trust::Key(key),
        (None, None) => Trust::Anybody,
    };
    let messages = if args.message.is_empty() { vec!["Hello, world".to_owned()] } else { args.message };
    let mut progress = Progress::new(args.common.json);
    let Some(to) = args.to else {
        let asked = compare::Asked {
            connections: args.connections.unwrap_or(64),
            bytes: args.bytes.unwrap_or(100),
            duration: args.duration.unwrap_or(Duration::from_secs(2)),
        };
        return super::with(&args.common, |report, stop| {
            compare::run(&asked, report, stop, &mut |standing| progress.show(standing))
        });
    };
    let asked = send::Asked {
        to,
        udp: args.udp,
        tls: args.tls.then_some(trust),
        messages: messages.into_iter().map(String::into_bytes).collect(),
        bytes: args.bytes,
        count: args.count,
        connections: args.connections.unwrap_or(1),
        rate: args.rate,
        duration: args.duration,
    };
    let input: Option<send::Input> = args.stdin.then(|| Box::new(io::stdin()) as send::Input);
    super::with(&args.common, |report, stop| {
        send::run(&asked, input, report, stop, &mut |standing| progress.show(standing))
    })
}

/// A line on stderr that moves, where a person looks on.
struct Progress {
    watched: bool,
    shown: bool,
}

impl Progress {
    fn new(json: bool) -> Progress {
        Progress { watched: !json && io::stderr().is_terminal(), shown: false }
    }

    fn show(&mut self, standing: &send::Standing) {
        if standing.over {
            if std::mem::take(&mut self.shown) {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
            return;
        }
        // What is over at once needs none.
        if !self.watched || standing.elapsed < Duration::from_millis(300) {
            return;
        }
        self.shown = true;
        let seconds = standing.elapsed.as_secs_f64();
        let of = standing.length.map_or(String::new(), |length| format!(" of {}", duration(length)));
        let _ = write!(
            io::stderr(),
            "\r\x1b[K{}{of}: {} back, {:.0}/s, {}/s",
            duration(standing.elapsed),
            standing.messages,
            standing.messages as f64 / seconds,
            size((standing.bytes as f64 / seconds) as u64)
        );
    }
}

/// `100`, `64k`, `10m`, `1g`: bytes, in powers of 1024.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return Err("not a size; write a whole number and k, m or g, as in 100, 64k, 10m".to_owned()),
    };
    let number = number.parse::<u64>().map_err(|_| "not a size; write it as 100, 64k, 10m".to_owned())?;
    match number.checked_shl(shift).filter(|bytes| bytes >> shift == number) {
        Some(0) => Err("nothing comes back of nothing: at least 1".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err("too large to be sent".to_owned()),
    }
}

fn parse_key(text: &str) -> Result<String, String> {
    let is_key = text.strip_prefix("SHA256:").is_some_and(|key| key.trim_end_matches('=').len() == 43);
    if is_key {
        Ok(text.to_owned())
    } else {
        Err("a key is written SHA256:... with 43 characters, as the server shows it".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_wrong_ones_refused() {
        for (text, bytes) in [("100", 100), ("64k", 65_536), ("10M", 10 << 20), ("1GiB", 1 << 30), ("7b", 7)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "k", "1x", "-1", "0", "99999999999g", "1.5m"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
