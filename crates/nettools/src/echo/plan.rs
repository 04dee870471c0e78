//! The options of the echo client, and the plan that follows from them.

use std::io::Read;
use std::time::Duration;

use super::content::Content;
use super::group::GroupOptions;
use crate::{Target, Trust};

/// Default duration of a run with a rate.
const USUAL_DURATION: Duration = Duration::from_secs(10);

/// Options of the echo client.
#[derive(Clone, Debug)]
pub struct EchoSendOptions {
    pub to: Target,
    pub udp: bool,
    /// For an address of several hosts, with `udp`.
    pub group: GroupOptions,
    /// The interface through which a multicast group is reached: a name or an address of it.
    pub interface: Option<String>,
    /// TLS with this verification.
    pub tls: Option<Trust>,
    /// Sent in turn on each connection.
    pub messages: Vec<Vec<u8>>,
    /// Send a pattern of this many bytes instead.
    pub bytes: Option<u64>,
    /// Repetitions of all messages.
    pub count: Option<u64>,
    /// Connections at once.
    pub connections: u32,
    /// Messages per second, on all connections together.
    pub rate: Option<f64>,
    /// Repeat for this time.
    pub duration: Option<Duration>,
}

/// The source of messages with `--stdin`.
pub type Input = Box<dyn Read + Send>;

/// The messages of each connection, and when to send them.
pub(super) struct Plan {
    pub(super) contents: Vec<Content>,
    /// Messages of each connection; `None`: until the duration ends.
    pub(super) total: Option<u64>,
    pub(super) connections: usize,
    pub(super) rate: Option<f64>,
    pub(super) duration: Option<Duration>,
    /// Write a record for each message?
    pub(super) records_each: bool,
}

impl Plan {
    pub(super) fn of(options: &EchoSendOptions) -> Plan {
        let contents = match options.bytes {
            Some(len) => vec![Content::pattern(len)],
            None => options.messages.iter().map(|message| Content::text(message)).collect::<Vec<_>>(),
        };
        let duration = match (options.duration, options.rate, options.count) {
            (None, Some(_), None) => Some(USUAL_DURATION),
            (duration, ..) => duration,
        };
        let total = match (options.count, duration) {
            (None, Some(_)) => None,
            (count, _) => Some(count.unwrap_or(1).saturating_mul(contents.len() as u64)),
        };
        let records_each = duration.is_none() && options.rate.is_none() && options.count.is_none();
        let connections = options.connections as usize;
        Plan { contents, total, connections, rate: options.rate, duration, records_each }
    }
}
