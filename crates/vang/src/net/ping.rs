//! vang net ping: tests whether a host or server answers, layer by layer.

use std::time::Duration;

use clap::Args as ClapArgs;
use vang_nettools::ping::{self, Layer, Only, PingOptions};
use vang_proto::address::host_and_port;

use super::common::{Common, parse_port, with};
use crate::args::parse_time;

const EXAMPLES: &str = "\
Examples:
  vang net ping localhost --count 4          four echo requests
  vang net ping example.org --ttl 3          shows the third router on the way
  vang net ping localhost --size 1472        tests packets of 1500 bytes
  vang net ping localhost --tcp 65432        time of a connection, or the failing layer
  vang net ping localhost --tls 65432        the same up to TLS
  vang net ping localhost --vang 65432       the same up to the answer of a vang server";

/// Send ICMP echo requests, or test TCP, TLS and vang layer by layer: answers, errors, loss, times
///
/// Exit code 0: at least one answer. 1: no answer. 124: timeout before all --count answers.
#[derive(ClapArgs, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct Args {
    /// A name or an address
    #[arg(value_name = "HOST", value_parser = parse_host)]
    host: String,
    /// Number of probes [default: until Ctrl-C or --timeout]
    #[arg(long, short = 'c', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Time between two probes
    #[arg(long, short = 'i', value_name = "TIME", default_value = "1s", value_parser = parse_time)]
    interval: Duration,
    /// Time to wait for an answer before it counts as lost
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
    /// TTL: the router that drops the packet reports it
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
    /// Also connect to this port
    #[arg(long, value_name = "PORT", value_parser = parse_port)]
    tcp: Option<u16>,
    /// Connect to this port and test the TLS handshake
    #[arg(long, value_name = "PORT", value_parser = parse_port)]
    tls: Option<u16>,
    /// Connect to this port and ping a vang server
    #[arg(long, value_name = "PORT", value_parser = parse_port)]
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
    let options = PingOptions { host, only, count, interval, wait, size, ttl, layer };
    with(&args.common, |report, stop| ping::run(&options, report, stop))
}

/// A host without a port: ICMP has none, and the port of a layer is the value of its option.
fn parse_host(text: &str) -> Result<String, String> {
    match host_and_port(text) {
        Ok((host, None)) => Ok(host.to_owned()),
        Ok((_, Some(port))) => Err(format!("a host has no port here; --tcp {port} asks the port")),
        Err(error) => Err(error.to_string()),
    }
}
