//! The experiment over UDP: `send` is never refused because of the reader. UDP has no window: when the reader's queue is
//! full, its kernel drops and counts further datagrams, without an error for anybody. So this needs a reader in this
//! process, whose queue and count the kernel shows.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use serde::Serialize;
use socket2::Type;
use vang_client::trouble::Doing;
use vang_proto::text::{counted, short_duration, size};

use super::options::StallSendOptions;
use super::queues::bar;
use crate::diag::{Address, Diag, Protocol, cannot};
use crate::error::{Outcome, ToolError};
use crate::listener::{ListenOptions, Listener, Sharing};
use crate::{Record, Report, Stop, Stopped, Target, Verdict};

/// Bytes of a datagram: never fragmented.
const DATAGRAM: usize = 1_024;
/// Datagrams sent after the first drop, to show that send still succeeds.
const AFTER: u64 = 100;
/// Datagrams between two checks of the queue.
const LOOK_EVERY: u64 = 16;

#[derive(Debug, Serialize)]
struct Connected {
    writer: SocketAddr,
    reader: SocketAddr,
}

impl Record for Connected {
    const EVENT: &'static str = "connected";
}

impl fmt::Display for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "datagrams from {} to {}, which does not read", self.writer, self.reader)
    }
}

/// The reader's queue at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Queue {
    sent: u64,
    /// Kernel memory of unread datagrams; more than their bytes.
    recv_q: u64,
    /// `SO_RCVBUF`.
    recv_q_max: u64,
    dropped: u64,
}

impl Record for Queue {
    const EVENT: &'static str = "queues";
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bar = bar(Some(self.recv_q), self.recv_q_max);
        write!(f, "sent {:>6}  {bar}  {:>6} dropped", self.sent, self.dropped)
    }
}

/// Datagrams were dropped.
#[derive(Debug, Serialize)]
struct Dropped {
    sent: u64,
    dropped: u64,
    refusals: u64,
}

impl Record for Dropped {
    const EVENT: &'static str = "dropped";
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} datagrams dropped; ", self.dropped, self.sent)?;
        match self.refusals {
            0 => f.write_str("send was never refused"),
            refusals => write!(f, "send was refused {}", counted(refusals, "time", "times")),
        }
    }
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    sent: u64,
    bytes: u64,
    /// Datagrams read, with `fix`.
    read: Option<u64>,
    dropped: u64,
    took_us: u64,
}

impl Record for Summary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = short_duration(std::time::Duration::from_micros(self.took_us));
        write!(f, "{} datagrams sent, {}, in {took}; ", self.sent, size(self.bytes))?;
        if let Some(read) = self.read {
            write!(f, "{read} read, ")?;
        }
        write!(f, "{} lost", self.dropped)
    }
}

/// Fills the queue of a reader in this process until datagrams are dropped.
pub(super) fn send(options: &StallSendOptions, report: &Report, stop: &Stop) -> Outcome {
    let at = match &options.to {
        None => Target::Net { host: "127.0.0.1".to_owned(), port: Some(0) },
        Some(target @ Target::Net { port: Some(0), .. }) => target.clone(),
        Some(Target::Net { .. }) => {
            return Err(ToolError::Usage(
                "UDP does not report what another reader drops: leave the address out, or give port 0 for a reader in \
                 this process. `vang net echo send --udp` counts lost datagrams"
                    .to_owned(),
            ));
        }
        Some(Target::Unix(_)) => {
            return Err(ToolError::Usage(
                "--udp works only with network addresses, not with Unix sockets".to_owned(),
            ));
        }
    };
    let how = ListenOptions {
        kind: Type::DGRAM,
        backlog: 0,
        receive_buffer: options.receive_buffer,
        sharing: Sharing::Nobody,
    };
    let Some(listener) = Listener::open(&at, how, report, stop)? else {
        report.record(&Summary::default())?;
        return Ok(Verdict::Bad);
    };
    let began = Instant::now();
    let failed = |error: &io::Error| {
        ToolError::of(format!("cannot send to {}", listener.address), error, Doing::Write)
    };
    let socket = open(&listener, options.send_buffer).map_err(|error| failed(&error))?;
    let (writer, reader) = (
        socket.local_addr().map_err(|error| failed(&error))?,
        socket.peer_addr().map_err(|error| failed(&error))?,
    );
    report.record(&Connected { writer, reader })?;
    report.explain(|| {
        "send: the kernel accepts each datagram, without checking whether the reader has room".to_owned()
    })?;
    let mut diag = Diag::open();
    let local = listener.net_address();
    let (mut sent, mut refusals) = (0, 0);
    let mut last = None;
    let mut seen_at = None;
    let stopped = loop {
        if let Some(stopped) = stop.now() {
            break Some(stopped);
        }
        if sent * DATAGRAM as u64 >= options.bytes_max {
            break None;
        }
        match socket.send(&[b'v'; DATAGRAM]) {
            Ok(_) => sent += 1,
            // The send queue to a slow network card is full: not caused by the reader.
            Err(error) if error.kind() == ErrorKind::WouldBlock => refusals += 1,
            Err(error) => return Err(failed(&error)),
        }
        if sent % LOOK_EVERY == 0 {
            let Some(queue) = look(&mut diag, local, sent)? else { continue };
            let moved = last.is_none_or(|last: Queue| {
                queue.recv_q.abs_diff(last.recv_q) >= queue.recv_q_max / 8
                    || (last.dropped == 0 && queue.dropped > 0)
            });
            if moved {
                report.record(&queue)?;
                last = Some(queue);
            }
            if queue.dropped > 0 && *seen_at.get_or_insert(sent) + AFTER <= sent {
                break None;
            }
        }
    };
    let queue = look(&mut diag, local, sent)?.or(last);
    let queue = queue.ok_or_else(|| {
        ToolError::Usage(format!("the kernel does not show the socket at {}", listener.address))
    })?;
    if last != Some(queue) {
        report.record(&queue)?;
    }
    if stopped.is_none() {
        report.record(&Dropped { sent, dropped: queue.dropped, refusals })?;
        report.means(&match queue.dropped {
            0 => format!(
                "{sent} datagrams, the limit of this test (--bytes), fit into the reader's queue; --receive-buffer makes it smaller"
            ),
            dropped => format!(
                "{} datagrams are in Recv-Q, with {} bytes of the {} that SO_RCVBUF allows. The reader's kernel dropped the next \
                 {dropped}: send never blocked, and nobody got an error. UDP has no window to stop a sender; programs over \
                 UDP must count lost datagrams",
                sent - dropped,
                queue.recv_q,
                queue.recv_q_max
            ),
        })?;
    }
    let read = if options.fix && stopped.is_none() {
        Some(drain(&listener).map_err(|error| failed(&error))?)
    } else {
        None
    };
    report.record(&Summary {
        sent,
        bytes: sent * DATAGRAM as u64,
        read,
        dropped: queue.dropped,
        took_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
    })?;
    Ok(match stopped {
        Some(Stopped::TimedOut) => Verdict::TimedOut,
        _ if queue.dropped == 0 => Verdict::Bad,
        _ => Verdict::Good,
    })
}

fn open(listener: &Listener, send_buffer: Option<usize>) -> io::Result<UdpSocket> {
    let to = listener.net_address().ok_or(ErrorKind::AddrNotAvailable)?;
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    if let Some(bytes) = send_buffer {
        socket2::SockRef::from(&socket).set_send_buffer_size(bytes)?;
    }
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The reader's queue. `None`: the kernel's list changed while it was read, and the socket was missing in it.
fn look(diag: &mut Diag, local: Option<SocketAddr>, sent: u64) -> Result<Option<Queue>, ToolError> {
    let all = diag.all(Protocol::Udp);
    let all = all.map_err(|error| cannot("ask the kernel for this socket", &error))?;
    let ours = all.into_iter().find(|socket| match socket.local {
        Address::Net(address) => Some(address) == local,
        Address::Unix(..) => false,
    });
    Ok(ours.and_then(|ours| {
        let memory = ours.memory?;
        Some(Queue {
            sent,
            recv_q: ours.recv_q?.into(),
            recv_q_max: memory.receive_max.into(),
            dropped: memory.drops.into(),
        })
    }))
}

/// Reads the queued datagrams; dropped ones are lost.
fn drain(listener: &Listener) -> io::Result<u64> {
    let mut read = 0;
    let mut buffer = [0; DATAGRAM];
    loop {
        match io::Read::read(&mut &listener.socket, &mut buffer) {
            Ok(_) => read += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(read),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
