//! The experiment over UDP: `send` is never refused for the reader's sake. There is no window by which a reader could say
//! "no more": when its queue is full its kernel throws away what comes, counts it, and tells nobody. So this needs a
//! reader of our own, whose queue and count the kernel shows.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use serde::Serialize;
use socket2::Type;
use vang_client::trouble::Doing;

use super::send::SendAsked;
use crate::diag::{Address, Diag, Protocol, cannot};
use crate::failure::{Failure, Outcome};
use crate::place::{Door, Listen};
use crate::quote::counted;
use crate::{Record, Report, Stop, Stopped, Target, Verdict, duration, size};

/// Bytes of each: less than any network cuts.
const DATAGRAM: usize = 1_024;
/// As many are sent once more after the first was thrown away, so that it is seen that nothing changes.
const AFTER: u64 = 100;
/// Between two looks at the queue.
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
        write!(f, "datagrams from {} to {}, who does not read", self.writer, self.reader)
    }
}

/// The reader's queue at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Queue {
    sent: u64,
    /// Memory of the kernel's that what is unread takes; more than the bytes themselves.
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
        let bar = super::bar(Some(self.recv_q), self.recv_q_max);
        write!(f, "sent {:>6}  {bar}  {:>6} thrown away", self.sent, self.dropped)
    }
}

/// The first that was thrown away was seen.
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
        write!(f, "{} of {} datagrams thrown away; ", self.dropped, self.sent)?;
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
    /// With `fix`: datagrams that the reader read.
    read: Option<u64>,
    dropped: u64,
    took_us: u64,
}

impl Record for Summary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = duration(std::time::Duration::from_micros(self.took_us));
        write!(f, "{} datagrams sent, {}, in {took}; ", self.sent, size(self.bytes))?;
        if let Some(read) = self.read {
            write!(f, "{read} read, ")?;
        }
        write!(f, "{} lost", self.dropped)
    }
}

/// Fills the queue of a reader of our own until datagrams are thrown away.
pub(super) fn send(asked: &SendAsked, report: &Report, stop: &Stop) -> Outcome {
    let at = match &asked.to {
        None => Target::Net { host: "127.0.0.1".to_owned(), port: Some(0) },
        Some(target @ Target::Net { port: Some(0), .. }) => target.clone(),
        Some(Target::Net { .. }) => {
            return Err(Failure::Usage(
                "over UDP nobody tells what a reader elsewhere throws away: leave the place out, or give port 0 \
                 for a reader of our own. `vang net echo send --udp` counts what does not come back"
                    .to_owned(),
            ));
        }
        Some(Target::Unix(_)) => {
            return Err(Failure::Usage(
                "a Unix socket here carries a stream; --udp is for the network".to_owned(),
            ));
        }
    };
    let how = Listen { kind: Type::DGRAM, backlog: 0, receive_buffer: asked.receive_buffer };
    let Some(door) = Door::open(&at, how, report, stop)? else {
        report.tell(&Summary::default())?;
        return Ok(Verdict::Bad);
    };
    let began = Instant::now();
    let failed =
        |error: &io::Error| Failure::of(format!("cannot send to {}", door.address), error, Doing::Write);
    let socket = open(&door, asked.send_buffer).map_err(|error| failed(&error))?;
    let (writer, reader) = (
        socket.local_addr().map_err(|error| failed(&error))?,
        socket.peer_addr().map_err(|error| failed(&error))?,
    );
    report.tell(&Connected { writer, reader })?;
    report.explain(|| {
        "send: the kernel takes each datagram, whether or not its reader has room: it asks nobody".to_owned()
    })?;
    let mut diag = Diag::open();
    let local = door.net_address();
    let (mut sent, mut refusals) = (0, 0);
    let mut last = None;
    let mut seen_at = None;
    let stopped = loop {
        if let Some(stopped) = stop.now() {
            break Some(stopped);
        }
        if sent * DATAGRAM as u64 >= asked.bytes_max {
            break None;
        }
        match socket.send(&[b'v'; DATAGRAM]) {
            Ok(_) => sent += 1,
            // Its own queue, to a network card that is slower than we: not the reader's doing.
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
                report.tell(&queue)?;
                last = Some(queue);
            }
            if queue.dropped > 0 && *seen_at.get_or_insert(sent) + AFTER <= sent {
                break None;
            }
        }
    };
    let queue = look(&mut diag, local, sent)?.or(last);
    let queue = queue
        .ok_or_else(|| Failure::Usage(format!("the kernel does not show the socket at {}", door.address)))?;
    if last != Some(queue) {
        report.tell(&queue)?;
    }
    if stopped.is_none() {
        report.tell(&Dropped { sent, dropped: queue.dropped, refusals })?;
        report.means(&match queue.dropped {
            0 => format!(
                "{sent} datagrams fit into the reader's queue and more was not tried (--bytes); --receive-buffer makes \
                 it smaller"
            ),
            dropped => format!(
                "{} datagrams lie in Recv-Q, with {} bytes of memory of the {} that SO_RCVBUF allows. What came then, \
                 {dropped} so far, was thrown away by the reader's kernel: send never blocked, and nobody was told. UDP \
                 has no window by which a reader could say `no more`; programs over it count what they miss",
                sent - dropped,
                queue.recv_q,
                queue.recv_q_max
            ),
        })?;
    }
    let read = if asked.fix && stopped.is_none() {
        Some(drain(&door).map_err(|error| failed(&error))?)
    } else {
        None
    };
    report.tell(&Summary {
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

fn open(door: &Door, send_buffer: Option<usize>) -> io::Result<UdpSocket> {
    let to = door.net_address().ok_or(ErrorKind::AddrNotAvailable)?;
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

/// The reader's queue, as the kernel has it. `None`: the list of sockets changed while it was read, and left it out.
fn look(diag: &mut Diag, local: Option<SocketAddr>, sent: u64) -> Result<Option<Queue>, Failure> {
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

/// Reads what is there: what was thrown away is not.
fn drain(door: &Door) -> io::Result<u64> {
    let mut read = 0;
    let mut buffer = [0; DATAGRAM];
    loop {
        match io::Read::read(&mut &door.socket, &mut buffer) {
            Ok(_) => read += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(read),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
