//! A peer that vanishes: from a moment on nothing passes and nobody closes, as when a cable is pulled or a machine loses its
//! power.
//!
//! A proxy that only stops reading is no such peer: its kernel still acknowledges data and keep-alive probes. So both sockets
//! of the connection get a filter (socket(7), `SO_ATTACH_FILTER`; it needs no root) that drops each segment before TCP sees
//! it. Only a reset passes it: nothing is sent in answer, and so the tap learns that a side has given up.

use std::fmt;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use serde::Serialize;
use socket2::{SockFilter, Socket};
use vang_proto::text::short_duration;

use super::shared::{Shared, address};
use crate::capture::side::Side;
use crate::diag::Diag;
use crate::{Record, Stopped};

/// Time for the acknowledgements of bytes that were sent before: a kernel delays them by 40 ms, and without them ours would
/// send those bytes again, which no vanished peer does.
const ACKNOWLEDGED_WAIT: Duration = Duration::from_secs(1);

/// Time between two looks at them.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Classic BPF over the TCP header: accept a segment with RST, drop all others.
const ONLY_RESETS: [SockFilter; 4] = [
    SockFilter::new(0x30, 0, 0, 13),       // ldb [13]: the flags
    SockFilter::new(0x45, 0, 1, 0x04),     // jset #RST
    SockFilter::new(0x06, 0, 0, u32::MAX), // ret: the whole segment
    SockFilter::new(0x06, 0, 0, 0),        // ret: drop
];

/// A connection is silent from now on.
#[derive(Serialize)]
struct Silent {
    conversation: u64,
    after_ns: u64,
}

impl Record for Silent {
    const EVENT: &'static str = "silent";
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "           #{} silent after {}: nothing passes or is acknowledged, and nobody closes",
            self.conversation,
            short_duration(Duration::from_nanos(self.after_ns))
        )
    }
}

/// A side has given up a silent connection.
#[derive(Serialize)]
struct GaveUp {
    conversation: u64,
    side: Side,
    after_ns: u64,
}

impl Record for GaveUp {
    const EVENT: &'static str = "gave-up";
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = short_duration(Duration::from_nanos(self.after_ns));
        write!(f, "           #{} {} gave up after {after} of silence", self.conversation, self.side.name())
    }
}

/// Makes both connections silent, and holds them until both sides have given up or the tool ends. `sockets` are those to
/// client and server. Returns how it ended, as text.
pub(super) fn hold(shared: &Shared<'_>, connection: u64, sockets: [&Socket; 2], opened: Instant) -> String {
    for socket in sockets {
        wait_for_acknowledgements(shared, socket);
        if let Err(error) = socket.attach_filter(&ONLY_RESETS) {
            return format!("given up: a filter for the silence is refused: {error}");
        }
    }
    shared.explain(|| {
        format!(
            "#{connection}: SO_ATTACH_FILTER: our kernel now drops each segment of this connection before TCP sees it: data \
             and keep-alive probes get no acknowledgement"
        )
    });
    shared.totals().silent += 1;
    let began = Instant::now();
    let ns = |time: Duration| time.as_nanos() as u64;
    shared.record(&Silent { conversation: connection, after_ns: ns(began.duration_since(opened)) });
    let mut open = vec![Side::Client, Side::Server];
    let why = loop {
        if open.is_empty() {
            break "both sides gave up".to_owned();
        }
        // Nothing is asked for: an error or a hang-up is always reported.
        let mut fds: Vec<PollFd<'_>> =
            open.iter().map(|side| PollFd::new(sockets[*side as usize], PollFlags::empty())).collect();
        match shared.stop.wait(&mut fds, None) {
            Ok(None) => {}
            Ok(Some(Stopped::Requested)) => break still_open(&open, "when tap was stopped"),
            Ok(Some(Stopped::TimedOut)) => break still_open(&open, "at the timeout"),
            Err(error) => break format!("given up: {error}"),
        }
        let gone: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut gone = gone.into_iter();
        open.retain(|side| {
            let is_gone = gone.next().unwrap_or(false);
            if is_gone {
                let after_ns = ns(began.elapsed());
                shared.record(&GaveUp { conversation: connection, side: *side, after_ns });
            }
            !is_gone
        });
    };
    let silent = short_duration(began.elapsed());
    format!("silent for {silent}; {why}")
}

fn still_open(open: &[Side], when: &str) -> String {
    let sides: Vec<&str> = open.iter().map(|side| side.name()).collect();
    format!("{} still open {when}", sides.join(" and "))
}

fn wait_for_acknowledgements(shared: &Shared<'_>, socket: &Socket) {
    let ends = address(socket.local_addr()).zip(address(socket.peer_addr()));
    let Some((local, peer)) = ends else { return };
    let mut diag = Diag::open();
    let began = Instant::now();
    while began.elapsed() < ACKNOWLEDGED_WAIT {
        match diag.connection(local, peer) {
            Ok(Some(found)) if found.send_q.is_some_and(|bytes| bytes > 0) => {}
            // All acknowledged, or the kernel does not say.
            _ => return,
        }
        if !matches!(shared.stop.wait(&mut [], Some(LOOK_EVERY)), Ok(None)) {
            return;
        }
    }
}
