//! Ping: ICMP echo requests, or probes that test layer by layer (`--tcp`, `--tls`, `--vang`), one after the other. Every
//! answer and error is reported when it comes, with a summary at the end. At most a thousand probes per second.

mod options; // what to ping, and how
mod icmp; // ICMP types and codes by name; echo messages
mod socket; // an ICMP socket, datagram or raw, and its error queue
mod tally; // loss, min/avg/max/stddev, percentiles
mod records; // the records of ping
mod icmp_ping; // ping by ICMP
pub(crate) mod handshake; // a TLS handshake to measure
mod layers; // probes of TCP, TLS and vang

use std::net::SocketAddr;
use std::time::Duration;

use vang_client::trouble::scope_missing;

use crate::error::Outcome;
use crate::lookup::{Purpose, look_up, loose};
use crate::{Report, Stop, ToolError, Verdict};

pub(crate) use icmp_ping::EchoResult;
pub use options::{Only, PingOptions};
pub use records::Layer;

/// Default time between two probes.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Shortest time between two probes.
pub const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// Default time to wait for an answer.
pub const WAIT: Duration = Duration::from_secs(2);

/// Default bytes of data in an echo request, as in other ping programs.
pub const SIZE: u32 = 56;

/// Most bytes of data in an echo request: an IPv4 packet of 65535 without the two headers.
pub const SIZE_MAX: u32 = socket::DATA_BYTES_MAX;

/// Pings a host. `Good`: at least one probe was answered, as in other ping programs; with a count and a timeout also all
/// probes were sent in time.
pub fn run(options: &PingOptions, report: &Report, stop: &Stop) -> Outcome {
    let Some(address) = choose(options, stop)? else {
        let asked_for = match options.layer {
            Layer::Icmp => "ICMP",
            Layer::Tcp(_) => "TCP",
            Layer::Tls(_) => "TLS",
            Layer::Vang(_) => "vang",
        };
        report.record(&tally::Tally::new(asked_for).summary())?;
        report.means("stopped before the resolver answered")?;
        return Ok(Verdict::Bad);
    };
    if let Some(text) = loose(&options.host) {
        report.means(&text)?;
    }
    layers::run(options, address, report, stop)
}

/// Sends one echo request, for `doctor`. An error: no ICMP socket is allowed.
pub(crate) fn reach(to: SocketAddr, wait: Duration, stop: &Stop) -> Result<EchoResult, ToolError> {
    let (host, only, layer) = (String::new(), Only::Any, Layer::Icmp);
    let options =
        PingOptions { host, only, count: Some(1), interval: INTERVAL, wait, size: SIZE, ttl: None, layer };
    icmp_ping::echo_once(&options, SocketAddr::new(to.ip(), 0), stop)
}

/// The address to ping, with port 0.
fn choose(options: &PingOptions, stop: &Stop) -> Result<Option<SocketAddr>, ToolError> {
    let Some(found) = look_up(&options.host, 0, Purpose::Connect, stop)? else { return Ok(None) };
    let fits = |address: &SocketAddr| match options.only {
        Only::Any => true,
        Only::V4 => address.is_ipv4(),
        Only::V6 => address.is_ipv6(),
    };
    match found.into_iter().find(fits) {
        // Without a scope the kernel would choose an arbitrary interface.
        Some(address) if let Some(trouble) = scope_missing(address) => {
            Err(ToolError::System { doing: format!("cannot ping {}", address.ip()), trouble })
        }
        Some(address) => Ok(Some(address)),
        None => Err(ToolError::Usage(format!("'{}' has no address of that family", options.host))),
    }
}
