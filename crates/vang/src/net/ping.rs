//! vang net ping: is it there, how far is it, and where does the way end.

use std::time::Duration;

use clap::Args as ClapArgs;
use vang_nettools::ping::{self, Asked, Layer, Only};

use super::Common;
use crate::args::parse_time;

const EXAMPLES: &str = "\
Examples:
  vang net ping localhost --count 4          echo requests, until stopped or so many
  vang net ping example.org --ttl 3          who is the third router on the way?
  vang net ping localhost --size 1472        does a packet of 1500 bytes go through?
  vang net ping localhost --tcp 65432        how long a connection takes, and which layer fails
  vang net ping localhost --tls 65432        the same up to TLS
  vang net ping localhost --vang 65432       the same up to a vang server's answer";

/// Send echo requests: answers, errors by name, loss, times; or measure TCP, TLS and vang the same way
///
/// Exit code 0: at least one was answered. 1: none was. 124: the time was over before all --count were.
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct Args {
    /// A name or an address
    host: String,
    /// So many probes; without it until Ctrl-C or --timeout
    #[arg(long, short = 'c', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Time between two probes
    #[arg(long, short = 'i', value_name = "TIME", default_value = "1s", value_parser = parse_time)]
    interval: Duration,
    /// How long an answer has before it counts as lost
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_time)]
    wait: Duration,
    /// Bytes of data in an echo request
    #[arg(
        long,
        short = 's',
        value_name = "BYTES",
        default_value_t = ping::SIZE,
        value_parser = clap::value_parser!(u32).range(0..=i64::from(ping::SIZE_MAX))
    )]
    size: u32,
    /// How many routers a packet may pass; the one that drops it says so
    #[arg(
        long,
        short = 't',
        value_name = "N",
        value_parser = clap::value_parser!(u8).range(1..),
        conflicts_with_all = ["tcp", "tls", "vang"]
    )]
    ttl: Option<u8>,
    /// IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// IPv6 only
    #[arg(short = '6', long)]
    ipv6: bool,
    #[command(flatten)]
    layer: LayerArgs,
    #[command(flatten)]
    common: Common,
}

#[derive(ClapArgs, Debug)]
#[group(multiple = false)]
struct LayerArgs {
    /// Connect to this port as well
    #[arg(long, value_name = "PORT", value_parser = super::parse_port)]
    tcp: Option<u16>,
    /// Connect to this port and shake hands for TLS
    #[arg(long, value_name = "PORT", value_parser = super::parse_port)]
    tls: Option<u16>,
    /// Connect to this port and ask a vang server for an answer
    #[arg(long, value_name = "PORT", value_parser = super::parse_port)]
    vang: Option<u16>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let layer = match (args.layer.tcp, args.layer.tls, args.layer.vang) {
        (Some(port), ..) => Layer::Tcp(port),
        (_, Some(port), _) => Layer::Tls(port),
        (.., Some(port)) => Layer::Vang(port),
        _ => Layer::Icmp,
    };
    let only = match (args.ipv4, args.ipv6) {
        (true, _) => Only::V4,
        (_, true) => Only::V6,
        _ => Only::Any,
    };
    let Args { host, count, interval, wait, size, ttl, .. } = args;
    let asked = Asked { host, only, count, interval, wait, size, ttl, layer };
    super::with(&args.common, |report, stop| ping::run(&asked, report, stop))
}
