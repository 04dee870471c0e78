//! The records of a live capture: its beginning and its summary.

use std::fmt;

use serde::Serialize;
use vang_proto::text::{counted, size};

use crate::Record;
use crate::decode::records::DecodeSummary;

/// Capturing has begun.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Capturing {
    /// `None`: every interface.
    pub(super) interface: Option<String>,
    /// Empty: all packets.
    pub(super) ports: Vec<u16>,
    /// Most bytes kept of a packet.
    pub(super) snaplen: usize,
    /// Size of the kernel's buffer.
    pub(super) buffer_bytes: usize,
    /// The file that is written.
    pub(super) file: Option<String>,
}

impl Record for Capturing {
    const EVENT: &'static str = "capturing";
}

impl fmt::Display for Capturing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.interface {
            Some(name) => write!(f, "capturing on {name}")?,
            None => f.write_str("capturing on every interface")?,
        }
        let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
        match ports.as_slice() {
            [] => f.write_str(", all packets")?,
            [port] => write!(f, ", port {port}")?,
            ports => write!(f, ", ports {}", ports.join(", "))?,
        }
        match &self.file {
            Some(file) => write!(f, ", written to {file}"),
            None => Ok(()),
        }
    }
}

/// The end of a live capture.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CaptureSummary {
    #[serde(flatten)]
    pub(super) decoded: DecodeSummary,
    /// Packets that matched, but were dropped by the kernel.
    pub(super) dropped: u64,
    /// The file that was written.
    pub(super) file: Option<String>,
    /// Were the packets decoded, or only written?
    #[serde(skip)]
    pub(super) is_decoded: bool,
}

impl Record for CaptureSummary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for CaptureSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let these = &self.decoded.counted;
        match self.is_decoded {
            true => write!(f, "{}", self.decoded)?,
            false => {
                write!(f, "{} of {}", counted(these.packets, "packet", "packets"), size(these.packet_bytes))?;
            }
        }
        if let Some(file) = &self.file {
            write!(f, ", written to {file}")?;
        }
        write!(f, "; {} dropped by the kernel", self.dropped)
    }
}
