//! The sockets of the experiment: how they come about, and a look at both queues. Everything is non-blocking: what
//! would block is what is waited for.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use vang_client::trouble::Doing;

use super::{PORT, Queues};
use crate::diag::{self, Diag};
use crate::{Failure, Stop, Target};

/// How long one address has to take a connection, if nothing shorter was asked for.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Waiting connections that the kernel keeps for the reader.
const BACKLOG: i32 = 128;
/// What `net.ipv4.tcp_wmem` lets a send queue grow to, where it cannot be read.
const SEND_MAX: u64 = 4 << 20;

/// The addresses behind a place, in the resolver's order.
pub(super) fn addresses(target: &Target, empty: &str) -> Result<Vec<SocketAddr>, Failure> {
    let Target::Net { host, port } = target else {
        return Err(Failure::Usage(format!(
            "{target}: this experiment is about TCP; give HOST:PORT or [IPV6]:PORT"
        )));
    };
    let name = if host.is_empty() { empty } else { host };
    let found = (name, port.unwrap_or(PORT)).to_socket_addrs();
    let found: Vec<SocketAddr> = found
        .map_err(|error| Failure::of(format!("cannot resolve '{name}'"), &error, Doing::Resolve))?
        .collect();
    match found.is_empty() {
        true => Err(Failure::Usage(format!("'{name}' has no address; give one, such as 127.0.0.1"))),
        false => Ok(found),
    }
}

/// Listens at the first address of a place; an empty host is every interface.
pub(super) fn listen(target: &Target, receive_buffer: Option<usize>) -> Result<TcpListener, Failure> {
    let at = addresses(target, "::")?[0];
    listen_at(at, receive_buffer)
        .map_err(|error| Failure::of(format!("cannot listen at {at}"), &error, Doing::Bind))
}

fn listen_at(at: SocketAddr, receive_buffer: Option<usize>) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    // TIME_WAIT of an earlier run keeps nobody from its port.
    socket.set_reuse_address(true)?;
    if at.is_ipv6() {
        // Every interface is those of both kinds.
        socket.set_only_v6(!at.ip().is_unspecified())?;
    }
    if let Some(bytes) = receive_buffer {
        // Before listen: what it accepts inherits it, and the window's scale is chosen by it.
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Connects to the first address that takes it; an empty host is this machine.
pub(super) fn connect(
    target: &Target,
    send_buffer: Option<usize>,
    stop: &Stop,
) -> Result<TcpStream, Failure> {
    let mut last = None;
    for address in addresses(target, "localhost")? {
        let wait = stop.left().map_or(CONNECT_WAIT, |left| left.min(CONNECT_WAIT));
        match connect_to(address, send_buffer, wait.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                last = Some(Failure::of(format!("cannot connect to {address}"), &error, Doing::Connect));
            }
        }
    }
    Err(last.unwrap_or_else(|| Failure::Usage(format!("{target} has no address"))))
}

fn connect_to(address: SocketAddr, send_buffer: Option<usize>, wait: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if let Some(bytes) = send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    socket.connect_timeout(&address.into(), wait)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Looks at a connection from both its ends.
#[derive(Debug)]
pub(super) struct Ends {
    diag: Diag,
    pub(super) writer: SocketAddr,
    pub(super) reader: SocketAddr,
    began: Instant,
    /// What Send-Q can hold, if the writer did not choose it.
    send_q_max: u64,
}

impl Ends {
    pub(super) fn of(writer: SocketAddr, reader: SocketAddr, send_max: Option<u64>) -> Result<Ends, Failure> {
        let diag = Diag::open().map_err(|error| diag::cannot("ask the kernel for its sockets", &error))?;
        Ok(Ends {
            diag,
            writer,
            reader,
            began: Instant::now(),
            send_q_max: send_max.unwrap_or_else(send_limit),
        })
    }

    /// Both queues now.
    pub(super) fn look(&mut self, written: Option<u64>, read: Option<u64>) -> Result<Queues, Failure> {
        let cannot = |error: io::Error| diag::cannot("ask the kernel for this connection", &error);
        let writer = self.diag.connection(self.writer, self.reader).map_err(cannot)?;
        let reader = self.diag.connection(self.reader, self.writer).map_err(cannot)?;
        let limit = |memory: Option<&diag::Memory>| memory.map_or(0, |memory| u64::from(memory.receive_max));
        Ok(Queues {
            after_us: u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            written,
            read,
            send_q: writer.as_ref().map(|end| u64::from(end.send_q)),
            send_q_max: self.send_q_max,
            recv_q: reader.as_ref().map(|end| u64::from(end.recv_q)),
            recv_q_max: limit(reader.as_ref().and_then(|end| end.memory.as_ref())),
            window: writer.and_then(|end| end.tcp).map(|tcp| u64::from(tcp.peer_window)),
        })
    }
}

/// As far as the kernel lets a send queue grow by itself.
fn send_limit() -> u64 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap_or_default();
    text.split_whitespace().nth(2).and_then(|max| max.parse().ok()).unwrap_or(SEND_MAX)
}

/// What a socket's send buffer is, where somebody chose it: twice what was asked for, says `socket(7)`.
pub(super) fn send_buffer(stream: &TcpStream) -> Option<u64> {
    SockRef::from(stream).send_buffer_size().ok().and_then(|bytes| u64::try_from(bytes).ok())
}
