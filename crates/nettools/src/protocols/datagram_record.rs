//! A UDP datagram as a record.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use vang_proto::text::{short_duration, size};

use super::message::SHOWN_BYTES_MAX;
use super::message_record::{as_text, shown};
use crate::capture::not_segment::Datagram;
use crate::{Record, hex};

/// One datagram.
#[derive(Clone, Debug, Serialize)]
pub struct DatagramRecord {
    /// Since the beginning, ns.
    at_ns: u64,
    from: SocketAddr,
    to: SocketAddr,
    /// Its payload, including bytes that were not captured.
    bytes: u64,
    /// The beginning of the payload, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The same in hexadecimal, if it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    /// The line of text, without time and addresses.
    #[serde(rename = "line")]
    what: String,
}

impl Record for DatagramRecord {
    const EVENT: &'static str = "datagram";
}

impl DatagramRecord {
    /// `at` is the time since the beginning of the capture.
    pub fn of(at: Duration, datagram: &Datagram<'_>) -> DatagramRecord {
        let Datagram { from, to, bytes, cut } = *datagram;
        let all = (bytes.len() + cut) as u64;
        let kept = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
        let what = match kept {
            [] => format!("datagram, {}", size(all)),
            kept => format!("datagram, {}: {}", size(all), shown(kept, all)),
        };
        let text = as_text(kept).map(str::to_owned);
        let hex = text.is_none().then(|| hex::spaced(kept));
        DatagramRecord { at_ns: at.as_nanos() as u64, from, to, bytes: all, text, hex, what }
    }
}

impl fmt::Display for DatagramRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = short_duration(Duration::from_nanos(self.at_ns));
        write!(f, "{at:>9}  {} → {} {}", self.from, self.to, self.what)
    }
}
