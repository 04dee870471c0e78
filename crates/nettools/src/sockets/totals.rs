//! The totals of a TCP connection, and its view of the path: what `ss -ti` shows.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use vang_proto::text::{count, counted, short_duration, size};

use crate::diag::Tcp;

/// Data of a connection: in all, or since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) segments_sent: u32,
    pub(super) segments_received: u32,
    pub(super) retransmitted: u32,
}

impl Totals {
    /// All zero without tcp_info.
    pub(super) fn of(tcp: Option<&Tcp>) -> Totals {
        tcp.map_or(Totals::default(), |tcp| Totals {
            bytes_sent: tcp.bytes_sent,
            bytes_received: tcp.bytes_received,
            segments_sent: tcp.segments_sent,
            segments_received: tcp.segments_received,
            retransmitted: tcp.retransmitted,
        })
    }

    /// What has come since then.
    pub(super) fn since(self, before: Totals) -> Totals {
        Totals {
            bytes_sent: self.bytes_sent.saturating_sub(before.bytes_sent),
            bytes_received: self.bytes_received.saturating_sub(before.bytes_received),
            segments_sent: self.segments_sent.wrapping_sub(before.segments_sent),
            segments_received: self.segments_received.wrapping_sub(before.segments_received),
            retransmitted: self.retransmitted.wrapping_sub(before.retransmitted),
        }
    }
}

fn time(us: u32) -> String {
    short_duration(Duration::from_micros(u64::from(us)))
}

/// What the table shows of a connection.
pub(super) fn write_line(f: &mut fmt::Formatter<'_>, tcp: &Tcp, more: Option<&Totals>) -> fmt::Result {
    let new = |bytes: Option<u64>| match bytes {
        Some(bytes) if bytes > 0 => format!(" (+{})", size(bytes)),
        _ => String::new(),
    };
    write!(
        f,
        "  sent {}{} in {}",
        size(tcp.bytes_sent),
        new(more.map(|more| more.bytes_sent)),
        counted(tcp.segments_sent.into(), "packet", "packets"),
    )?;
    write!(
        f,
        "  received {}{} in {}",
        size(tcp.bytes_received),
        new(more.map(|more| more.bytes_received)),
        count(tcp.segments_received.into())
    )?;
    if tcp.rtt_us > 0 {
        write!(f, "  rtt {}", time(tcp.rtt_us))?;
    }
    write!(f, "  cwnd {}", tcp.congestion_window)?;
    if let Some(threshold) = tcp.slow_start_threshold {
        write!(f, "  ssthresh {threshold}")?;
    }
    if tcp.retransmitted > 0 {
        write!(f, "  resent {}", tcp.retransmitted)?;
    }
    Ok(())
}

/// The second line of a connection.
pub(super) fn write_details(f: &mut fmt::Formatter<'_>, tcp: &Tcp) -> fmt::Result {
    let window = u64::from(tcp.congestion_window) * u64::from(tcp.segment_bytes_max);
    let control = tcp.congestion_control.as_deref().unwrap_or("congestion control unknown");
    write!(
        f,
        "\n{control}, congestion window {} of {}",
        tcp.congestion_window,
        size(tcp.segment_bytes_max.into())
    )?;
    write!(f, " ({})", size(window))?;
    match tcp.slow_start_threshold {
        Some(threshold) => write!(f, ", slow-start threshold {threshold}")?,
        // BBR sends at the rate that it measures; it sets no threshold, however long the connection lives.
        None if control.starts_with("bbr") => {
            write!(f, ", no slow-start threshold ({control} uses a measured rate instead)")?;
        }
        None => f.write_str(", no slow-start threshold yet")?,
    }
    write!(f, ", peer's window {}, path MTU {}", size(tcp.peer_window.into()), size(tcp.path_mtu.into()))?;
    if tcp.rtt_us > 0 {
        write!(f, "\nrtt {} ± {}", time(tcp.rtt_us), time(tcp.rtt_variation_us))?;
        if tcp.rtt_min_us > 0 {
            write!(f, ", at least {}", time(tcp.rtt_min_us))?;
        }
        f.write_str(", ")?;
    } else {
        f.write_str("\nrtt not measured, ")?;
    }
    write!(f, "retransmission after {}", time(tcp.retransmission_timeout_us))?;
    write!(
        f,
        ", resent {} in {}",
        size(tcp.bytes_retransmitted),
        counted(tcp.retransmitted.into(), "packet", "packets")
    )?;
    write!(f, ", acknowledged {}", size(tcp.bytes_acked))?;
    if tcp.not_sent > 0 {
        write!(f, ", not sent yet {}", size(tcp.not_sent.into()))?;
    }
    if tcp.window_closed_ms > 0 {
        let closed = short_duration(Duration::from_millis(tcp.window_closed_ms));
        write!(f, ", stopped by the peer's window for {closed}")?;
    }
    Ok(())
}
