//! The full-queue experiment: a server that accepts and never reads, a client that writes until the kernel refuses.
//!
//! ```text
//!   writer ─write─▶ Send-Q ═══network═══▶ Recv-Q ─read─▶ reader
//!                   │ kept until the other kernel acknowledges it      │ kept until the program reads it
//! ```
//!
//! Recv-Q fills first; then the reader's kernel says "no more" (its window is zero) and Send-Q fills; then `write` would
//! block. Both numbers are the kernel's own (`diag`), of both ends where both are on this machine.
//!
//! A Unix socket has no Send-Q: `write` puts the bytes into Recv-Q itself, and the memory that they take is charged to
//! the writer until they are read. A UDP sender is never refused for its reader's sake: what does not fit is thrown away
//! (`datagrams`).

mod ends; // both queues of a connection, as the kernel has them
mod send; // the writer
mod serve; // the reader that does not read
mod datagrams; // the same over UDP, where nobody is refused

use std::fmt;
use std::time::Duration;

use serde::Serialize;

pub use self::send::{SendAsked, send};
pub use self::serve::{ServeAsked, serve};
use crate::{Failure, Record, size};

/// Waiting connections that the kernel keeps for the reader.
const BACKLOG: u32 = 128;
/// What has not moved for so long is full: on any network a reader that reads is heard of earlier.
const SETTLED: Duration = Duration::from_millis(500);
/// How often a queue that changes by another program's doing is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Cells of a bar: two bars and their numbers fit a line of 80.
const BAR_CELLS: u64 = 16;
/// The eighths of a cell.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Both queues of a connection at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Queues {
    /// Since the experiment began.
    after_us: u64,
    /// Bytes that `write` took so far; the reader's side does not know.
    written: Option<u64>,
    /// Bytes that `read` gave so far; the writer's side does not know.
    read: Option<u64>,
    /// Bytes in the writer's kernel, not acknowledged; `None`: the writer is on another machine.
    send_q: Option<u64>,
    /// As many could be there at most.
    send_q_max: u64,
    /// Bytes in the reader's kernel, not read; `None`: the reader is on another machine.
    recv_q: Option<u64>,
    /// As many could be there at most.
    recv_q_max: u64,
    /// What the reader's kernel still takes, as the writer knows it.
    window: Option<u64>,
    /// A Unix socket's, in place of a Send-Q.
    #[serde(skip_serializing_if = "Option::is_none")]
    charged: Option<Charged>,
}

/// Memory of the kernel's that what is unread takes, charged to the writer; more than the bytes themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Charged {
    bytes: u64,
    /// `SO_SNDBUF`: when it is used up, write would block.
    max: u64,
}

impl Queues {
    /// What the writer's kernel keeps for it.
    fn kept(&self) -> Option<u64> {
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

/// Why waiting failed: the system's fault, if ever.
fn cannot_wait(error: &std::io::Error) -> Failure {
    Failure::of("cannot wait for sockets", error, vang_client::trouble::Doing::Read)
}

/// The line above the bars.
fn heading(is_unix: bool) -> String {
    format!(
        "{:18}{:cells$}    {}",
        "",
        if is_unix { "charged to the writer" } else { "Send-Q of the writer" },
        "Recv-Q of the reader",
        cells = BAR_CELLS as usize + 13
    )
}

/// `▕███▌    ▏ 1.2 MiB`: as full as the queue is.
fn bar(bytes: Option<u64>, max: u64) -> String {
    let Some(bytes) = bytes else {
        return format!("▕{:^cells$}▏{:>11}", "not here", "?", cells = BAR_CELLS as usize);
    };
    let eighths = u128::from(bytes.min(max)) * u128::from(BAR_CELLS * 8) / u128::from(max.max(1));
    // A queue that is not empty looks like it.
    let eighths = (eighths as u64).max(u64::from(bytes > 0));
    let mut drawn = "█".repeat((eighths / 8) as usize);
    drawn.push_str(EIGHTHS[(eighths % 8) as usize]);
    format!("▕{drawn:cells$}▏{:>11}", size(bytes), cells = BAR_CELLS as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_full_as_its_queue() {
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
    fn the_picture_fits_a_line_of_80() {
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
