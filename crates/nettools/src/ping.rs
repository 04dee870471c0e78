//! Is it there, how far is it, and where does the way end? Echo requests by ICMP, or probes that go up the layers
//! (`--tcp`, `--tls`, `--vang`), sent one after the other; every answer and every error is told when it comes, and all
//! of them together at the end. No flood: at most a thousand probes a second.

mod icmp; // types and codes by name; echoes as bytes
mod socket; // an ICMP socket, whichever we may have, and its error queue
mod tally; // loss, min/avg/max/stddev, percentiles
mod told; // the records
mod echo; // ping by ICMP
pub(crate) mod handshake; // TLS to measure it
mod layers; // ping by what is above ICMP

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use vang_client::trouble::scope_missing;

use crate::failure::Outcome;
use crate::lookup::{Purpose, look_up, loose};
use crate::{Failure, Report, Stop, Verdict};

pub(crate) use echo::Once as Reached;
use icmp::Family;
pub use told::Layer;

/// Between two probes, if nothing else is asked for.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// The shortest time between two probes.
pub const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// How long an answer has, if nothing else is asked for.
pub const WAIT: Duration = Duration::from_secs(2);

/// Bytes of data in an echo request, as everybody's ping has it.
pub const SIZE: u32 = 56;

/// What to ping, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// A name or an address.
    pub host: String,
    /// One family's addresses only.
    pub only: Only,
    /// Probes; `None`: until it is stopped.
    pub count: Option<u64>,
    /// Between two probes.
    pub interval: Duration,
    /// How long an answer has.
    pub wait: Duration,
    /// Bytes of data in an echo request.
    pub size: u32,
    /// How many routers a packet may pass.
    pub ttl: Option<u8>,
    /// What is measured.
    pub layer: Layer,
}

/// Which addresses of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    /// The first that the resolver gives.
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The longest echo request has so many bytes of data: an IPv4 packet of 65535 without its two headers.
pub const SIZE_MAX: u32 = socket::DATA_BYTES_MAX;

/// See the module's head. It is good when at least one probe was answered, as `ping` has it; with a count and a
/// timeout, when all of them were sent in time.
pub fn run(asked: &Asked, report: &Report, stop: &Stop) -> Outcome {
    let Some(address) = choose(asked, stop)? else {
        let asked_for = match asked.layer {
            Layer::Icmp => "ICMP",
            Layer::Tcp(_) => "TCP",
            Layer::Tls(_) => "TLS",
            Layer::Vang(_) => "vang",
        };
        report.tell(&tally::Tally::new(asked_for).summary())?;
        report.means("stopped while the resolver had not answered yet")?;
        return Ok(Verdict::Bad);
    };
    if let Some(text) = loose(&asked.host) {
        report.means(&text)?;
    }
    layers::run(asked, address, report, stop)
}

/// One echo request, for whoever looks at more than pings. An error: no socket for it is allowed here.
pub(crate) fn reach(to: SocketAddr, wait: Duration, stop: &Stop) -> Result<Reached, Failure> {
    let (host, only, layer) = (String::new(), Only::Any, Layer::Icmp);
    let asked = Asked { host, only, count: Some(1), interval: INTERVAL, wait, size: SIZE, ttl: None, layer };
    echo::once(&asked, SocketAddr::new(to.ip(), 0), stop)
}

/// The address to ping; with port 0.
fn choose(asked: &Asked, stop: &Stop) -> Result<Option<SocketAddr>, Failure> {
    let Some(found) = look_up(&asked.host, 0, Purpose::Connect, stop)? else { return Ok(None) };
    let fits = |address: &SocketAddr| match asked.only {
        Only::Any => true,
        Only::V4 => address.is_ipv4(),
        Only::V6 => address.is_ipv6(),
    };
    match found.addresses.into_iter().find(fits) {
        // Sent all the same, it would go out by whichever interface comes first, and nobody would answer.
        Some(address) if let Some(trouble) = scope_missing(address) => {
            Err(Failure::System { doing: format!("cannot ping {}", address.ip()), trouble })
        }
        Some(address) => Ok(Some(address)),
        None => Err(Failure::Usage(format!("'{}' has no address of that family", asked.host))),
    }
}

fn family(ip: IpAddr) -> Family {
    if ip.is_ipv4() { Family::V4 } else { Family::V6 }
}
