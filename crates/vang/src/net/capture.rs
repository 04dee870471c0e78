//! vang net capture: shows or writes the packets of this machine as they come.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use vang_nettools::live_capture::{self, CaptureOptions, CaptureOutput, PORTS_MAX};
use vang_proto::text::read_bytes;

use super::common::{Common, parse_port, with, with_stdout_taken};
use crate::say::CommandError;

const EXAMPLES: &str = "\
Examples:
  vang net capture --port 65432                    every conversation, message and datagram of this port
  vang net capture -i lo --conversations           only who connected, who closed or reset, and how long it took
  vang net capture --port 80 -o web.pcapng         write a file for Wireshark; with --print also show
  vang net capture -o - | wireshark -k -i -        live in Wireshark";

const AFTER: &str = "\
Capturing needs root, or once `sudo setcap cap_net_raw,cap_net_admin=ep \"$(command -v vang)\"`. Packets of programs on this \
machine and to this machine are captured, not those of other hosts (no promiscuous mode). On loopback, where each packet passes \
twice, it is captured once.

Exit codes: 0 captured, 1 a broken message or an error, 2 wrong usage, 124 --timeout before --count.";

/// Most bytes that a packet can have: the kernel joins TCP segments up to that length.
const SNAPLEN_MAX: u64 = 256 << 10;

/// Capture packets of this machine: show conversations and messages as they come, or write a pcapng file
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES, after_help = AFTER)]
pub(crate) struct Args {
    /// Only packets from or to this TCP or UDP port (can be repeated) [default: all packets]
    #[arg(long, short, value_name = "PORT", value_parser = parse_port)]
    port: Vec<u16>,
    /// Only this network interface, as lo or eth0 [default: every interface]
    #[arg(long, short, value_name = "NAME")]
    interface: Option<String>,
    /// Write a capture (pcapng) for Wireshark, TShark or `vang net decode`, and show nothing; - is stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// With --output: also show what comes
    #[arg(long, requires = "output")]
    print: bool,
    /// Show only conversations and broken messages
    #[arg(long)]
    conversations: bool,
    /// End after this many packets
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Keep at most this many bytes of a packet, from its IP header on
    #[arg(long, short, value_name = "BYTES", default_value = "256Ki", value_parser = parse_snaplen)]
    snaplen: usize,
    /// Size of the kernel's buffer for packets that are not read yet
    #[arg(long, value_name = "SIZE", default_value = "64Mi", value_parser = parse_buffer)]
    buffer: usize,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let output = args.output.map(|file| match file.as_os_str() == "-" {
        true => CaptureOutput::Stdout,
        false => CaptureOutput::File(file),
    });
    let mut ports = args.port;
    ports.sort_unstable();
    ports.dedup();
    if ports.len() > PORTS_MAX {
        let text = format!("--port: at most {PORTS_MAX} ports; found {}", ports.len());
        return Err(CommandError::usage(text).into());
    }
    let is_stdout_taken = output == Some(CaptureOutput::Stdout);
    let options = CaptureOptions {
        interface: args.interface.filter(|name| name != "any"),
        ports,
        show: output.is_none() || args.print,
        output,
        only_conversations: args.conversations,
        count: args.count,
        snaplen: args.snaplen,
        buffer_bytes: args.buffer,
    };
    match is_stdout_taken {
        true => with_stdout_taken(&args.common, |report, stop| live_capture::run(&options, report, stop)),
        false => with(&args.common, |report, stop| live_capture::run(&options, report, stop)),
    }
}

fn parse_snaplen(text: &str) -> Result<usize, String> {
    within(text, 64, SNAPLEN_MAX)
}

fn parse_buffer(text: &str) -> Result<usize, String> {
    within(text, 64 << 10, 1 << 30)
}

fn within(text: &str, min: u64, max: u64) -> Result<usize, String> {
    match read_bytes(text) {
        Some(bytes) if (min..=max).contains(&bytes) => {
            usize::try_from(bytes).map_err(|error| error.to_string())
        }
        _ => Err(format!(
            "not a size from {min} to {max} bytes; write it as 96, 64k (64,000) or 64Ki (65,536)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_out_of_range_are_refused() {
        assert_eq!(parse_snaplen("256Ki"), Ok(262_144));
        assert_eq!(parse_snaplen("96"), Ok(96));
        assert_eq!(parse_buffer("1Gi"), Ok(1 << 30));
        for wrong in ["0", "63", "257Ki", "x", "-1", ""] {
            assert!(parse_snaplen(wrong).is_err(), "{wrong}");
        }
        assert!(parse_buffer("2Gi").is_err() && parse_buffer("1k").is_err());
    }
}
