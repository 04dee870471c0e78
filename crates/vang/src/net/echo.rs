//! vang net echo: a server that sends every byte back, and a client that checks it.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args as ClapArgs, Subcommand};
use vang_nettools::Target;
use vang_nettools::echo::serve::{Model, WorkerCommand, WorkerOutput};
use vang_nettools::echo::{compare_models, send, serve, worker};
use vang_proto::address::PORTS;
use vang_proto::text::{read_bytes, short_duration, size};

use super::common::{Common, TlsArgs, failure, with};
use crate::args::parse_time;
use crate::color;

const EXAMPLES: &str = "\
Examples:
  vang net echo serve                          at 127.0.0.1:65432, by TCP
  vang net echo send localhost:65432           sends `Hello, world` and checks the answer
  vang net echo send --compare                 measures five server models on this machine";

/// Connections of a client: a port of ours for each, to one address.
const CONNECTIONS_MAX: i64 = 60_000;

/// Run an echo server, or a client that checks the echo
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
    #[command(hide = true)]
    Worker(WorkerArgs),
}

const WORKER_EXAMPLES: &str = "\
Examples:
  vang net echo serve --model processes        starts its workers with this command";

/// Run a worker process of `vang net echo serve --model processes`, which starts it
#[derive(ClapArgs, Debug)]
#[command(before_help = WORKER_EXAMPLES)]
struct WorkerArgs {}

const SERVE_EXAMPLES: &str = "\
Examples:
  vang net echo serve --once --explain                  one client, with every step explained
  vang net echo serve ::1 7000 --model threads          HOST PORT or HOST:PORT, here [::1]:7000
  vang net echo serve --model sequential --greet --backlog 5
  vang net echo serve --model processes --work 5ms      a process for each core, and messages that cost CPU
  vang net echo serve --udp
  vang net echo serve --udp --listen :7000 --join 239.1.2.3 --interface eth0
  vang net echo serve --tls --certificate-out cert.pem";

const SERVE_AFTER: &str = "\
Models: sequential serves one connection after the other, while others wait in the accept queue (--backlog); threads \
uses a thread for each connection; selector is one thread that asks the kernel for ready connections; async is one \
thread with a task for each connection; processes starts a process with a selector for each core, and the kernel divides the \
connections among them. With --work the server uses CPU time for each message. At most a hundred echoes per second are printed, so that printing does not slow \
the server; all are counted.";

/// Run an echo server with a chosen model of concurrency
#[derive(ClapArgs, Debug)]
#[command(before_help = SERVE_EXAMPLES, after_help = SERVE_AFTER)]
struct ServeArgs {
    /// The same as --listen HOST:PORT
    #[arg(value_name = "HOST:PORT", conflicts_with_all = ["listen", "unix"])]
    address: Option<Target>,
    /// Address: HOST:PORT, [IPV6]:PORT, or :PORT for every interface; port 0 is any free port
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:65432")]
    listen: Target,
    /// Listen on a Unix socket instead
    #[arg(long, value_name = "PATH", conflicts_with_all = ["listen", "udp"])]
    unix: Option<PathBuf>,
    /// UDP instead of TCP
    #[arg(long, conflicts_with_all = ["model", "backlog"])]
    udp: bool,
    /// Join this multicast group, with --udp and --listen :PORT (can be repeated)
    #[arg(long, value_name = "GROUP", requires = "udp")]
    join: Vec<IpAddr>,
    /// Join on this interface: its name or an address of it [default: that of the group's route]
    #[arg(long, value_name = "NAME", requires = "join")]
    interface: Option<String>,
    /// Use TLS, with a certificate for this run
    #[arg(long)]
    tls: bool,
    /// Write that certificate to a file, for clients that verify it
    #[arg(long, value_name = "FILE", requires = "tls")]
    certificate_out: Option<PathBuf>,
    /// Model of concurrency
    #[arg(long, default_value = "selector", value_parser = PossibleValuesParser::new(Model::ALL.map(Model::name)))]
    model: String,
    /// Serve one client (with --udp one datagram), then exit
    #[arg(long)]
    once: bool,
    /// Read everything a client sends, answer with two lines of text, and close (sequential or threads)
    #[arg(long)]
    greet: bool,
    /// Length of the accept queue
    #[arg(long, value_name = "N", default_value_t = 128)]
    backlog: u32,
    /// Without SO_REUSEADDR: a restart fails while connections of the last run are in TIME_WAIT
    #[arg(long, conflicts_with_all = ["udp", "unix"])]
    no_reuseaddr: bool,
    /// Close a connection that is idle for this time
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_time)]
    idle: Duration,
    /// Use this CPU time for each message, as 5ms: a server that computes its answers
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    work: Option<Duration>,
    /// Print only the address and the summary
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    common: Common,
}

const SEND_EXAMPLES: &str = "\
Examples:
  vang net echo send 127.0.0.1:65432
  vang net echo send 127.0.0.1 65432 2         2 connections, 2 messages on each, as the tutorial's client
  vang net echo send '[::1]:65432' --bytes 10M                     one large message
  vang net echo send localhost:65432 --connections 64 --bytes 100 --duration 5s
  vang net echo send localhost:65432 --rate 1000 --duration 5s     a schedule that does not wait for answers
  vang net echo send localhost:65432 --udp --rate 100 --duration 5s
  vang net echo send --compare --work 5ms                          which server model helps for which work
  vang net echo send '<broadcast>:65432' --udp --broadcast         every server of this network answers
  vang net echo send 239.1.2.3:7000 --udp --interface eth0         every member of a multicast group answers
  vang net echo send localhost:65432 --tls --fingerprint SHA256:...
  uptime | vang net echo send unix:/tmp/echo.sock --stdin";

const SEND_AFTER: &str = "\
Exit codes: 0 everything came back unchanged, 1 it did not, 2 wrong usage, 124 timed out. --compare runs every model on \
this machine and needs no server; --connections, --bytes and --duration change its load.";

/// Send to an echo server and check the answer
#[derive(ClapArgs, Debug)]
#[command(before_help = SEND_EXAMPLES, after_help = SEND_AFTER)]
struct SendArgs {
    /// The server: HOST:PORT, HOST (port 65432), [IPV6]:PORT or unix:PATH
    #[arg(value_name = "HOST:PORT", required_unless_present = "compare", conflicts_with = "compare", value_parser = Target::peer)]
    to: Option<Target>,
    /// Connections at once; on each `Message 1 from client.` and `Message 2 from client.`, or the given messages
    #[arg(value_name = "N", value_parser = parse_count, conflicts_with_all = ["connections", "compare", "udp", "stdin"])]
    clients: Option<u32>,
    /// Message text (can be repeated; sent in turn) [default: Hello, world]
    #[arg(long, short, value_name = "TEXT", conflicts_with_all = ["stdin", "bytes", "compare"])]
    message: Vec<String>,
    /// Each line of stdin is a message
    #[arg(long, conflicts_with_all = ["bytes", "duration", "rate", "count", "compare"])]
    stdin: bool,
    /// Send one message of this size: 100, 64k, 64Ki, 10M, 1G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    bytes: Option<u64>,
    /// Send all messages this many times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "compare")]
    count: Option<u64>,
    /// Connections at once, each with one message in progress
    #[arg(long, short = 'c', value_name = "N", value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    connections: Option<u32>,
    /// Messages per second on all connections together; waiting time counts from the scheduled send time
    #[arg(long, value_name = "N", conflicts_with = "compare")]
    rate: Option<f64>,
    /// Repeat for this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    duration: Option<Duration>,
    /// UDP with numbered datagrams: loss, duplicates, reordering, jitter
    #[arg(long, conflicts_with = "compare")]
    udp: bool,
    /// With --udp: send to a broadcast address, also `<broadcast>` (SO_BROADCAST), and show every answer
    #[arg(long, requires = "udp")]
    broadcast: bool,
    /// With --udp: send to a multicast group through this interface, its name or an address of it
    #[arg(long, value_name = "NAME", requires = "udp")]
    interface: Option<String>,
    /// With --udp: hops of a datagram to a multicast group; 1 stays in this network [default: 1]
    #[arg(long, value_name = "N", requires = "udp", value_parser = clap::value_parser!(u8).range(1..))]
    ttl: Option<u8>,
    #[command(flatten)]
    tls: TlsArgs,
    /// With --compare: CPU time of the server for each message, as 5ms
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "compare")]
    work: Option<Duration>,
    /// Run all five server models here and compare them
    #[arg(long, conflicts_with_all = ["tls", "ca", "fingerprint"])]
    compare: bool,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    match args.side {
        Side::Serve(args) => serve(*args),
        Side::Send(args) => send(*args),
        Side::Worker(WorkerArgs {}) => {
            // It was started from `/proc/self/exe`: lists of processes would show `exe`. Without it they do.
            let _ = std::fs::write("/proc/self/comm", "vang");
            worker::run().map_err(|cause| failure(&cause).into())
        }
    }
}

fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let model = Model::ALL.into_iter().find(|model| model.name() == args.model).unwrap_or(Model::Selector);
    let options = serve::EchoServeOptions {
        listen: args.unix.map(Target::Unix).or(args.address).unwrap_or(args.listen),
        udp: args.udp,
        tls: args.tls,
        certificate: args.certificate_out,
        model,
        once: args.once,
        greet: args.greet,
        backlog: args.backlog,
        without_reuse: args.no_reuseaddr,
        quiet: args.quiet,
        idle: args.idle,
        work: args.work.unwrap_or_default(),
        join: args.join,
        interface: args.interface,
        worker: Some(worker_command(args.common.json)),
    };
    with(&args.common, |report, stop| serve::run(&options, report, stop))
}

/// This program, as a worker. Its file can have been replaced since it was started, so not by its path.
fn worker_command(json: bool) -> WorkerCommand {
    WorkerCommand {
        program: "/proc/self/exe".into(),
        name: "vang".into(),
        args: ["net", "echo", "worker"].map(Into::into).to_vec(),
        output: if json { WorkerOutput::Json } else { WorkerOutput::Text },
    }
}

fn send(args: SendArgs) -> anyhow::Result<()> {
    let messages = match (args.message.is_empty(), args.clients) {
        (false, _) => args.message,
        (true, None) => vec!["Hello, world".to_owned()],
        (true, Some(_)) => [1, 2].map(|number| format!("Message {number} from client.")).to_vec(),
    };
    let mut progress = ProgressLine::new(args.common.json);
    let Some(to) = args.to else {
        let options = compare_models::EchoCompareOptions {
            connections: args.connections.unwrap_or(64),
            bytes: args.bytes.unwrap_or(100),
            duration: args.duration.unwrap_or(Duration::from_secs(2)),
            work: args.work.unwrap_or_default(),
            worker: Some(worker_command(args.common.json)),
        };
        return with(&args.common, |report, stop| {
            compare_models::run(&options, report, stop, &mut |state| progress.show(state))
        });
    };
    let options = send::EchoSendOptions {
        to,
        udp: args.udp,
        group: send::GroupOptions { broadcast: args.broadcast, ttl: args.ttl },
        interface: args.interface,
        tls: args.tls.trust(),
        messages: messages.into_iter().map(String::into_bytes).collect(),
        bytes: args.bytes,
        count: args.count,
        connections: args.connections.or(args.clients).unwrap_or(1),
        rate: args.rate,
        duration: args.duration,
    };
    let input: Option<send::Input> = args.stdin.then(|| Box::new(io::stdin()) as send::Input);
    with(&args.common, |report, stop| {
        send::run(&options, input, report, stop, &mut |state| progress.show(state))
    })
}

/// A progress line on stderr, if it is a terminal.
struct ProgressLine {
    watched: bool,
    shown: bool,
}

impl ProgressLine {
    fn new(json: bool) -> ProgressLine {
        ProgressLine { watched: !json && color::is_screen(&io::stderr()), shown: false }
    }

    fn show(&mut self, progress: &send::Progress) {
        if progress.over {
            if std::mem::take(&mut self.shown) {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
            return;
        }
        // Not for short runs.
        if !self.watched || progress.elapsed < Duration::from_millis(300) {
            return;
        }
        self.shown = true;
        let seconds = progress.elapsed.as_secs_f64();
        let of = progress.length.map_or(String::new(), |length| format!(" of {}", short_duration(length)));
        let _ = write!(
            io::stderr(),
            "\r\x1b[K{}{of}: {} back, {:.0}/s, {}/s",
            short_duration(progress.elapsed),
            progress.messages,
            progress.messages as f64 / seconds,
            size((progress.bytes as f64 / seconds) as u64)
        );
    }
}

/// The number of connections after an address; a wrong port in two words arrives here too.
fn parse_count(text: &str) -> Result<u32, String> {
    let count = text.parse().ok().filter(|count| (1..=CONNECTIONS_MAX).contains(&i64::from(*count)));
    count.ok_or_else(|| {
        format!(
            "neither a port nor a number of connections; write HOST:PORT, HOST PORT or HOST PORT N. Connections are 1 to \
             {CONNECTIONS_MAX}; {PORTS}"
        )
    })
}

/// `100`, `64k` (64,000), `64Ki`, `10M`: at least one byte.
fn parse_size(text: &str) -> Result<u64, String> {
    match read_bytes(text) {
        None => Err("not a size; write it as 100, 64k (64,000 bytes), 64Ki (65,536) or 10M".to_owned()),
        Some(0) => Err("a message needs at least 1 byte".to_owned()),
        Some(bytes) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_wrong_ones_refused() {
        for (text, bytes) in [("100", 100), ("64Ki", 65_536), ("64k", 64_000), ("1GiB", 1 << 30), ("7B", 7)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "k", "1x", "-1", "0", "99999999999g", "1.5m"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
