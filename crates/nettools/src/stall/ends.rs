//! Both queues of a connection, as the kernel has them: of the end that is ours, and of the other where it is on this
//! machine. How they are found: over TCP by the two addresses, between Unix sockets by the inode of ours.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use socket2::Socket;

use super::{Charged, Queues};
use crate::Failure;
use crate::diag::{self, Address, Diag};

/// What `net.ipv4.tcp_wmem` lets a send queue grow to, where it cannot be read.
const SEND_MAX: u64 = 4 << 20;

/// Looks at a connection from both its ends.
#[derive(Debug)]
pub(super) struct Ends {
    pair: Pair,
    began: Instant,
    /// What Send-Q can hold, if the writer did not choose it.
    send_q_max: u64,
}

/// Which connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pair {
    Net {
        writer: SocketAddr,
        reader: SocketAddr,
    },
    /// Our end, by its inode. The other is known once it was accepted.
    Unix {
        own: u32,
        is_writer: bool,
    },
}

impl Pair {
    /// The connection of a Unix socket of ours.
    pub(super) fn unix(own: &Socket, is_writer: bool) -> io::Result<Pair> {
        let own = u32::try_from(rustix::fs::fstat(own)?.st_ino).map_err(io::Error::other)?;
        Ok(Pair::Unix { own, is_writer })
    }
}

impl Ends {
    pub(super) fn of(pair: Pair, send_max: Option<u64>) -> Ends {
        Ends { pair, began: Instant::now(), send_q_max: send_max.unwrap_or_else(send_limit) }
    }

    pub(super) fn is_unix(&self) -> bool {
        matches!(self.pair, Pair::Unix { .. })
    }

    /// Both queues now.
    pub(super) fn look(
        &self,
        diag: &mut Diag,
        written: Option<u64>,
        read: Option<u64>,
    ) -> Result<Queues, Failure> {
        let cannot = |error: io::Error| diag::cannot("ask the kernel for this connection", &error);
        let (writer, reader) = match self.pair {
            Pair::Net { writer, reader } => (
                diag.connection(writer, reader).map_err(cannot)?,
                diag.connection(reader, writer).map_err(cannot)?,
            ),
            Pair::Unix { own, is_writer } => {
                let ours = diag.unix(own).map_err(cannot)?;
                let other = match ours.as_ref().map(|ours| &ours.peer) {
                    Some(Address::Unix(_, inode @ 1..)) => diag.unix(*inode).map_err(cannot)?,
                    _ => None,
                };
                if is_writer { (ours, other) } else { (other, ours) }
            }
        };
        let limit = |memory: Option<&diag::Memory>| memory.map_or(0, |memory| u64::from(memory.receive_max));
        let charged = writer.as_ref().filter(|_| self.is_unix()).and_then(|end| {
            let max = end.memory.as_ref().map_or(0, |memory| u64::from(memory.send_max));
            end.send_q.map(|bytes| Charged { bytes: u64::from(bytes), max })
        });
        Ok(Queues {
            after_us: u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            written,
            read,
            send_q: writer.as_ref().filter(|_| !self.is_unix()).and_then(|end| end.send_q).map(u64::from),
            send_q_max: if self.is_unix() { 0 } else { self.send_q_max },
            recv_q: reader.as_ref().and_then(|end| end.recv_q).map(u64::from),
            // Between Unix sockets only the charge has a limit, and the bytes stay below it.
            recv_q_max: charged.map_or_else(
                || limit(reader.as_ref().and_then(|end| end.memory.as_ref())),
                |charged| charged.max,
            ),
            window: writer.and_then(|end| end.tcp).map(|tcp| u64::from(tcp.peer_window)),
            charged,
        })
    }
}

/// As far as the kernel lets a send queue grow by itself.
fn send_limit() -> u64 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap_or_default();
    text.split_whitespace().nth(2).and_then(|max| max.parse().ok()).unwrap_or(SEND_MAX)
}
