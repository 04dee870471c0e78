//! What all connections of a tap share: options, records, totals, the recording.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use socket2::SockAddr;
use vang_client::trouble::Doing;
use vang_proto::text::{counted, short_duration, size};

use super::weather::{Silence, Weather};
use crate::capture::side::Side;
use crate::capture::write::Writer;
use crate::error::ToolError;
use crate::peer_name::{PeerName, canonical};
use crate::protocols::{Decoded, Message, MessageRecord};
use crate::{Record, Report, Stop, Target};

/// Options of the proxy, or of a replay.
#[derive(Clone, Debug)]
pub struct TapOptions {
    /// Where to listen. `None` with `replay`: the clients of a capture are replayed.
    pub listen: Option<Target>,
    /// The server. `None` with `replay`: the server of a capture is replayed.
    pub to: Option<Target>,
    /// Records a capture (pcapng).
    pub record: Option<PathBuf>,
    /// Replays one side of this capture.
    pub replay: Option<PathBuf>,
    /// The simulated network.
    pub weather: Weather,
    /// Each TCP connection becomes silent: a peer that vanishes.
    pub silence: Option<Silence>,
    /// Datagrams instead of connections.
    pub udp: bool,
    /// A client over UDP loses its socket when it is idle for this time.
    pub idle: Duration,
    /// Ends after the first connection.
    pub once: bool,
    /// Allows listening where more programs can connect than to the server itself.
    pub expose: bool,
}

/// Shared by all connections.
pub(super) struct Shared<'a> {
    pub(super) report: &'a Report,
    pub(super) stop: &'a Stop,
    pub(super) weather: Weather,
    pub(super) silence: Option<Silence>,
    pub(super) recorder: Option<Mutex<Writer<BufWriter<File>>>>,
    pub(super) began: Instant,
    /// The same time, ns since 1970.
    pub(super) began_ns: u64,
    pub(super) totals: Mutex<Totals>,
    /// The output or the recording cannot be written.
    pub(super) failed: Mutex<Option<ToolError>>,
}

/// A connection was accepted, or over UDP a client has sent its first datagram.
#[derive(Serialize)]
pub(super) struct TapOpened {
    pub(super) conversation: u64,
    pub(super) from: String,
}

impl Record for TapOpened {
    const EVENT: &'static str = "opened";
}

impl fmt::Display for TapOpened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "           #{} opened by {}", self.conversation, self.from)
    }
}

/// A connection ended, or a client's socket over UDP.
#[derive(Serialize)]
pub(super) struct TapClosed {
    pub(super) conversation: u64,
    pub(super) opened_by: String,
    pub(super) ending: String,
    pub(super) client_bytes: u64,
    pub(super) server_bytes: u64,
    pub(super) took_ns: u64,
}

impl Record for TapClosed {
    const EVENT: &'static str = "closed";
}

impl fmt::Display for TapClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TapClosed { conversation, opened_by, ending, client_bytes, server_bytes, took_ns } = self;
        let took = short_duration(Duration::from_nanos(*took_ns));
        let (client, server) = (size(*client_bytes), size(*server_bytes));
        write!(
            f,
            "           #{conversation} opened by {opened_by}: {ending}, {took}; client sent {client}, server {server}"
        )
    }
}

/// The summary.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Totals {
    pub(super) connections: u64,
    /// The server did not accept.
    pub(super) not_connected: u64,
    pub(super) messages: u64,
    pub(super) broken: u64,
    pub(super) client_bytes: u64,
    pub(super) server_bytes: u64,
    pub(super) resets: u64,
    /// Reset by `--cut`.
    pub(super) cut: u64,
    /// Made silent by `--silence`.
    pub(super) silent: u64,
    pub(super) took_ns: u64,
}

impl Record for Totals {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} in {}: clients sent {}, servers {}; {}, {} broken, {}",
            counted(self.connections, "connection", "connections"),
            short_duration(Duration::from_nanos(self.took_ns)),
            size(self.client_bytes),
            size(self.server_bytes),
            counted(self.messages, "message", "messages"),
            self.broken,
            counted(self.resets, "reset", "resets")
        )?;
        for (count, what) in [
            (self.cut, "cut by --cut"),
            (self.silent, "silent by --silence"),
            (self.not_connected, "not connected to the server"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

impl Shared<'_> {
    pub(super) fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first failure ends the tool.
    pub(super) fn fail(&self, failure: ToolError) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        self.stop.request();
    }

    pub(super) fn record<R: Record>(&self, record: &R) {
        if let Err(error) = self.report.record(record) {
            self.fail(error.into());
        }
    }

    pub(super) fn explain(&self, text: impl FnOnce() -> String) {
        if let Err(error) = self.report.explain(text) {
            self.fail(error.into());
        }
    }

    pub(super) fn means(&self, text: &str) {
        if let Err(error) = self.report.means(text) {
            self.fail(error.into());
        }
    }

    pub(super) fn record_message(&self, connection: u64, side: Side, decoded: &Decoded<'_>) {
        let mut totals = self.totals();
        totals.messages += 1;
        totals.broken += u64::from(matches!(decoded.message, Message::Broken(_)));
        drop(totals);
        self.record(&MessageRecord::of(self.began.elapsed(), Some((connection, side)), decoded));
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.began_ns + self.began.elapsed().as_nanos() as u64
    }

    /// Takes the first failure.
    pub(super) fn take_failure(&self) -> Option<ToolError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Records packets at once.
    pub(super) fn capture(&self, write: impl FnOnce(&mut Writer<BufWriter<File>>, u64) -> io::Result<()>) {
        self.capture_gathered(|writer, now| write(writer, now).and_then(|()| writer.flush()));
    }

    /// The same; `flush_capture` writes them.
    pub(super) fn capture_gathered(
        &self,
        write: impl FnOnce(&mut Writer<BufWriter<File>>, u64) -> io::Result<()>,
    ) {
        let Some(recorder) = &self.recorder else { return };
        let mut writer = recorder.lock().unwrap_or_else(PoisonError::into_inner);
        // The time is taken under the lock, so that it never goes back in the file.
        let now_ns = self.now_ns();
        if let Err(error) = write(&mut writer, now_ns) {
            self.fail(ToolError::of("cannot write the recording", &error, Doing::Write));
        }
    }

    pub(super) fn flush_capture(&self) {
        self.capture_gathered(|writer, _| writer.flush());
    }
}

/// The client of a connection, as text.
pub(super) fn opened_by(peer_name: &PeerName) -> String {
    match peer_name {
        PeerName::Net(_) => peer_name.to_string(),
        PeerName::Process(_) | PeerName::Unnamed => format!("{peer_name} through a Unix socket"),
    }
}

/// The address of a socket; `None`: a Unix socket.
pub(super) fn address(found: io::Result<SockAddr>) -> Option<SocketAddr> {
    found.ok()?.as_socket().map(canonical)
}
