//! vang net talk: a raw two-way client.

mod line; // the line that is typed, and its history
mod terminal; // a person at a terminal

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
use vang_nettools::talk::{
    self, Console, Endpoint, Form, Pipe, ProxyHeader, ProxyVersion, TalkOptions, Then, VanishedPeer,
};

use super::common::{Common, TlsArgs, with};
use crate::args::parse_time;
use crate::color;

const EXAMPLES: &str = "\
Examples:
  vang net talk localhost 65432                    type lines, see what comes; Ctrl-D ends the input
  printf 'ada\\nhello\\n' | vang net talk localhost 65432
  vang net talk localhost 65432 --frames           a line is the content of a message: {\"action\": \"search\", \"value\": \"ring\"}
  vang net talk ws://localhost:65432/ws --frames   the same in a WebSocket
  vang net talk localhost 7000 --hex               type bytes: 48 65 6c, or with text: 0002 \"{}\"
  vang net talk example.org 443 --tls --crlf       type a request as in HTTP
  vang net talk 127.0.0.1 7000 --udp               each line is a datagram
  vang net talk unix:/run/echo.sock --then wait    do not close after the input, only receive";

const AFTER: &str = "\
On a terminal a line is edited with the keys of a shell, and the arrow keys bring back what was sent. Lines that come begin \
with `<`; control characters in them are spelled out. To a pipe or file go exactly the received bytes, and notes go to \
stderr.

In a WebSocket each line is a text message without its line end; with --frames or --hex it is a binary message. With \
--frames an object in front of the content adds header keys: {\"action\": \"send\", \"room\": \"general\"} hello

Exit codes: 0 the peer or you closed, and everything was sent; 1 an error, or something was not sent; 2 wrong usage, 124 \
timed out.";

/// Send what you type to a server, and show what comes: as `nc`, with TLS, WebSocket, UDP, hex and messages
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES, after_help = AFTER)]
pub(crate) struct Args {
    /// The server: HOST:PORT, HOST PORT, [IPV6]:PORT, unix:PATH, ws://HOST:PORT/PATH or wss://HOST:PORT/PATH
    #[arg(value_name = "HOST:PORT")]
    to: Endpoint,
    /// Type and show bytes in hexadecimal
    #[arg(long)]
    hex: bool,
    /// Type contents of messages (docs/PROTOCOL.md) and show messages
    #[arg(long, conflicts_with = "hex")]
    frames: bool,
    /// End a line with CR LF instead of LF
    #[arg(long, conflicts_with_all = ["hex", "frames"])]
    crlf: bool,
    /// After the end of the input [default: half-close; UDP and WebSocket: wait until nothing has come for 1s]
    #[arg(long, value_name = "HOW")]
    then: Option<After>,
    /// End when nothing has come for this time after the end of the input
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    idle: Option<Duration>,
    /// UDP instead of TCP
    #[arg(long)]
    udp: bool,
    #[command(flatten)]
    tls: TlsArgs,
    /// Send a PROXY protocol header of this version first
    #[arg(long, value_name = "VERSION", value_parser = ["1", "2"])]
    proxy_header: Option<String>,
    /// The client that this header names [default: our own address]
    #[arg(long, value_name = "IP:PORT", requires = "proxy_header")]
    proxy_from: Option<SocketAddr>,
    /// Probe a silent peer after this time, as 10s (whole seconds); 3 probes without an answer end the connection
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    keepalive: Option<Duration>,
    /// End the connection when the peer acknowledges nothing for this time [default: the kernel's, some 15 minutes]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    user_timeout: Option<Duration>,
    /// Also note the time of each answer if the input or output is no terminal
    #[arg(long)]
    times: bool,
    /// No notes about the connection
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    common: Common,
}

/// What happens after the end of the input.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum After {
    /// Close at once
    Close,
    /// Close the sending half and receive until the peer closes
    HalfClose,
    /// Receive until the peer closes
    Wait,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let is_person = !args.common.json && io::stdin().is_terminal() && color::is_screen(&io::stdout());
    let version = args.proxy_header.map(|version| match version.as_str() {
        "1" => ProxyVersion::One,
        _ => ProxyVersion::Two,
    });
    let options = TalkOptions {
        to: args.to,
        udp: args.udp,
        tls: args.tls.trust(),
        form: match (args.hex, args.frames) {
            (true, _) => Form::Hex,
            (_, true) => Form::Frames,
            _ => Form::Text,
        },
        crlf: args.crlf,
        then: args.then.map(|then| match then {
            After::Close => Then::Close,
            After::HalfClose => Then::HalfClose,
            After::Wait => Then::Wait,
        }),
        idle: args.idle,
        vanished: VanishedPeer { keepalive: args.keepalive, user_timeout: args.user_timeout },
        proxy: version.map(|version| ProxyHeader { version, from: args.proxy_from }),
        // A terminal shows them with each answer.
        times: args.times && !is_person,
        quiet: args.quiet,
    };
    with(&args.common, |report, stop| {
        let mut console: Box<dyn Console> = match is_person {
            true => Box::new(terminal::Terminal::new(!options.quiet)),
            false => Box::new(Pipe::new(io::stdin(), io::stdout(), io::stderr())),
        };
        talk::run(&options, &mut *console, report, stop)
    })
}
