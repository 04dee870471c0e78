//! Both queues of a connection as a record, and drawn as bars.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use vang_proto::text::size;

use crate::{Record, ToolError};

/// The reader's accept queue.
pub(super) const BACKLOG: u32 = 128;
/// A queue that has not changed for this time is full: a reading reader acknowledges earlier on any network.
pub(super) const SETTLED: Duration = Duration::from_millis(500);
/// How often a queue is checked that another program changes.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Cells of a bar: two bars and their numbers fit into 80 columns.
const BAR_CELLS: u64 = 16;
/// The eighths of a cell.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Both queues of a connection at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Queues {
    /// Since the experiment began.
    pub(super) after_us: u64,
    /// Bytes written so far; unknown to the reader.
    pub(super) written: Option<u64>,
    /// Bytes read so far; unknown to the writer.
    pub(super) read: Option<u64>,
    /// Unacknowledged bytes; `None`: the writer is on another machine.
    pub(super) send_q: Option<u64>,
    pub(super) send_q_max: u64,
    /// Unread bytes; `None`: the reader is on another machine.
    pub(super) recv_q: Option<u64>,
    pub(super) recv_q_max: u64,
    /// The reader's window, as the writer's kernel knows it.
    pub(super) window: Option<u64>,
    /// For a Unix socket, instead of Send-Q.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) charged: Option<Charged>,
}

/// Kernel memory of unread bytes, charged to the writer; more than the bytes themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Charged {
    pub(super) bytes: u64,
    /// `SO_SNDBUF`: the limit at which write would block.
    pub(super) max: u64,
}

impl Queues {
    /// Bytes that the kernel holds for the writer.
    pub(super) fn kept(&self) -> Option<u64> {
        self.send_q.or(self.charged.map(|charged| charged.bytes))
    }
}

impl Record for Queues {
    const EVENT: &'static str = "queues";
}

impl fmt::Display for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, bytes) = match (self.written, self.read) {
            (Some(written), None) => ("wrote", written),
            (_, Some(read)) => ("read", read),
            (None, None) => ("", 0),
        };
        let said = if done.is_empty() { String::new() } else { size(bytes) };
        write!(
            f,
            "{done:5} {said:>10}  {} ═▶ {}",
            match self.charged {
                Some(charged) => bar(Some(charged.bytes), charged.max),
                None => bar(self.send_q, self.send_q_max),
            },
            bar(self.recv_q, self.recv_q_max)
        )
    }
}

pub(super) fn cannot_wait(error: &std::io::Error) -> ToolError {
    ToolError::of("cannot wait for sockets", error, vang_client::trouble::Doing::Read)
}

/// The line above the bars.
pub(super) fn heading(is_unix: bool) -> String {
    format!(
        "{:18}{:cells$}    {}",
        "",
        if is_unix { "charged to the writer" } else { "Send-Q of the writer" },
        "Recv-Q of the reader",
        cells = BAR_CELLS as usize + 13
    )
}

/// `▕███▌    ▏ 1.2 MiB`.
pub(super) fn bar(bytes: Option<u64>, max: u64) -> String {
    let Some(bytes) = bytes else {
        return format!("▕{:^cells$}▏{:>11}", "not here", "?", cells = BAR_CELLS as usize);
    };
    let eighths = u128::from(bytes.min(max)) * u128::from(BAR_CELLS * 8) / u128::from(max.max(1));
    // A queue with a single byte still shows a mark.
    let eighths = (eighths as u64).max(u64::from(bytes > 0));
    let mut drawn = "█".repeat((eighths / 8) as usize);
    drawn.push_str(EIGHTHS[(eighths % 8) as usize]);
    format!("▕{drawn:cells$}▏{:>11}", size(bytes), cells = BAR_CELLS as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_how_full_a_queue_is() {
        for (bytes, max, drawn) in [
            (Some(0), 160, "▕                ▏    0 bytes"),
            (Some(1), 100_000, "▕▏               ▏     1 byte"),
            (Some(80), 160, "▕████████        ▏   80 bytes"),
            (Some(85), 160, "▕████████▌       ▏   85 bytes"),
            (Some(999), 160, "▕████████████████▏  999 bytes"),
            (Some(5), 0, "▕▏               ▏    5 bytes"),
            (None, 160, "▕    not here    ▏          ?"),
        ] {
            assert_eq!(bar(bytes, max), drawn, "{bytes:?} of {max}");
        }
    }

    #[test]
    fn the_bars_fit_into_80_columns() {
        let queues = Queues {
            after_us: 7,
            written: Some(3_910_656),
            read: None,
            send_q: Some(3_782_144),
            send_q_max: 4_194_304,
            recv_q: Some(128_512),
            recv_q_max: 131_072,
            window: Some(0),
            charged: None,
        };
        let line = queues.to_string();
        assert!(
            line.starts_with("wrote    3.7 MiB  ▕██████████████▍ ▏    3.6 MiB ═▶ ▕███████████████▋▏"),
            "{line}"
        );
        assert!(line.chars().count() <= 80, "{line}");
        assert!([true, false].into_iter().all(|is_unix| heading(is_unix).chars().count() <= 80));
    }
}
