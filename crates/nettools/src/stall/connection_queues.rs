//! Asks the kernel for both queues of a connection: of our end, and of the other end if it is on this machine. TCP sockets
//! are found by their two addresses, Unix sockets by the inode of our end.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use socket2::Socket;

use super::queues::{Charged, Queues};
use crate::ToolError;
use crate::diag::{self, Address, Diag};

/// Maximum of a send queue if `net.ipv4.tcp_wmem` cannot be read.
const SEND_MAX: u64 = 4 << 20;

/// Reads both queues of a connection.
#[derive(Debug)]
pub(super) struct ConnectionQueues {
    pair: ConnectionId,
    began: Instant,
    /// Maximum of Send-Q, if the writer did not set it.
    send_q_max: u64,
}

/// Identifies a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum ConnectionId {
    Net {
        writer: SocketAddr,
        reader: SocketAddr,
    },
    /// The inode of our end. The other end is known after accept.
    Unix {
        own: u32,
        is_writer: bool,
    },
}

impl ConnectionId {
    /// The connection of our Unix socket.
    pub(super) fn unix(own: &Socket, is_writer: bool) -> io::Result<ConnectionId> {
        let own = u32::try_from(rustix::fs::fstat(own)?.st_ino).map_err(io::Error::other)?;
        Ok(ConnectionId::Unix { own, is_writer })
    }
}

impl ConnectionQueues {
    pub(super) fn of(pair: ConnectionId, send_max: Option<u64>) -> ConnectionQueues {
        ConnectionQueues { pair, began: Instant::now(), send_q_max: send_max.unwrap_or_else(send_limit) }
    }

    pub(super) fn is_unix(&self) -> bool {
        matches!(self.pair, ConnectionId::Unix { .. })
    }

    /// The current queues.
    pub(super) fn look(
        &self,
        diag: &mut Diag,
        written: Option<u64>,
        read: Option<u64>,
    ) -> Result<Queues, ToolError> {
        let cannot = |error: io::Error| diag::cannot("ask the kernel for this connection", &error);
        let (writer, reader) = match self.pair {
            ConnectionId::Net { writer, reader } => (
                diag.connection(writer, reader).map_err(cannot)?,
                diag.connection(reader, writer).map_err(cannot)?,
            ),
            ConnectionId::Unix { own, is_writer } => {
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
            // For Unix sockets only the charged memory has a limit.
            recv_q_max: charged.map_or_else(
                || limit(reader.as_ref().and_then(|end| end.memory.as_ref())),
                |charged| charged.max,
            ),
            window: writer.and_then(|end| end.tcp).map(|tcp| u64::from(tcp.peer_window)),
            charged,
        })
    }
}

/// The kernel's maximum for a send queue.
fn send_limit() -> u64 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap_or_default();
    text.split_whitespace().nth(2).and_then(|max| max.parse().ok()).unwrap_or(SEND_MAX)
}
