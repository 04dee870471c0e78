//! vang net stall: fills socket queues on purpose and shows them.

use clap::{Args as ClapArgs, Subcommand};
use vang_nettools::Target;
use vang_nettools::stall::{self, StallSendOptions, StallServeOptions};

use super::common::{Common, with};

const EXAMPLES: &str = "\
Examples:
  vang net stall send                          the whole experiment, with a reader in this process
  vang net stall send --fix                    the same, then the reader reads and the queues drain
  vang net stall serve --listen 127.0.0.1:65432
  vang net stall send 127.0.0.1:65432          the two ends in two terminals
  vang net stall send --udp                    UDP: send is never refused, the reader's kernel drops datagrams";

const SERVE_EXAMPLES: &str = "\
Examples:
  vang net stall serve                              accepts and never reads
  vang net stall serve --listen [::1]:0 --fix       reads once a queue is full
  vang net stall serve --listen unix:/tmp/stall.sock";

const SEND_EXAMPLES: &str = "\
Examples:
  vang net stall send                               to a reader in this process
  vang net stall send --fix '[::1]:0'               the same over IPv6; then the reader reads
  vang net stall send 127.0.0.1:65432               to `vang net stall serve`, or any other server
  vang net stall send unix:/tmp/stall.sock          Unix sockets have only the reader's queue
  vang net stall send --udp --fix                   UDP drops instead of refusing";

/// Fill both queues of a connection until write would block, and show where the bytes are
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand, Debug)]
enum Part {
    Serve(ServeArgs),
    Send(SendArgs),
}

/// Accept, and never read
#[derive(ClapArgs, Debug)]
#[command(before_help = SERVE_EXAMPLES)]
struct ServeArgs {
    /// Address: HOST:PORT, [IPV6]:PORT or unix:PATH; port 0 is any free port, an empty host every interface
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:65432")]
    listen: Target,
    /// Read after a queue is full, and show how it drains
    #[arg(long)]
    fix: bool,
    /// SO_RCVBUF of each connection, in bytes [default: adjusted by the kernel]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    receive_buffer: Option<u32>,
    #[command(flatten)]
    common: Common,
}

/// Write until the kernel refuses
#[derive(ClapArgs, Debug)]
#[command(before_help = SEND_EXAMPLES)]
struct SendArgs {
    /// The reader: HOST:PORT, [IPV6]:PORT or unix:PATH [default, and with port 0: a reader in this process]
    #[arg(value_name = "HOST:PORT")]
    to: Option<Target>,
    /// UDP, to a reader in this process
    #[arg(long)]
    udp: bool,
    /// After the kernel has refused, let the reader read and show how the queues drain
    #[arg(long)]
    fix: bool,
    /// After this many bytes the reader counts as reading
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1..))]
    bytes: u64,
    /// SO_SNDBUF of the writer, in bytes [default: adjusted by the kernel]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    send_buffer: Option<u32>,
    /// SO_RCVBUF of a reader in this process, in bytes
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    receive_buffer: Option<u32>,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    match args.part {
        Part::Serve(args) => {
            let receive_buffer = args.receive_buffer.map(|bytes| bytes as usize);
            let options = StallServeOptions { listen: args.listen, fix: args.fix, receive_buffer };
            with(&args.common, |report, stop| stall::serve(&options, report, stop))
        }
        Part::Send(args) => {
            let options = StallSendOptions {
                to: args.to,
                udp: args.udp,
                fix: args.fix,
                bytes_max: args.bytes,
                send_buffer: args.send_buffer.map(|bytes| bytes as usize),
                receive_buffer: args.receive_buffer.map(|bytes| bytes as usize),
            };
            with(&args.common, |report, stop| stall::send(&options, report, stop))
        }
    }
}
