//! One exchange on one connection: sends bytes in pieces, and reads until the result is clear.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use vang_proto::Decoder;
use vang_proto::vang::{Action, RequestWriter};

use super::case::VectorCase;
use super::options::Profile;
use crate::deadline_stream::{DeadlineStream, NotConnected};
use crate::lookup::{Purpose, look_up};
use crate::{Stop, Target, ToolError};

/// Most bytes of an answer that are read: 4 MiB, far more than any answer has.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Limits of waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitLimits<'a> {
    pub(super) answer: Duration,
    /// Ends all waiting; an interrupted exchange is not a failure.
    pub(super) stop: &'a Stop,
}

impl WaitLimits<'_> {
    pub(super) fn until(&self) -> Instant {
        Instant::now() + self.answer
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionEnd {
    /// The peer closed its sending half.
    Closed,
    Reset,
    /// Still open; a further request, if any, was answered.
    Open,
    /// Still open, but a further request got no answer.
    Silent,
}

pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    pub(super) end: ConnectionEnd,
}

/// The address of a server, resolved once.
#[derive(Clone, Debug)]
pub(super) enum ServerAddress {
    /// In the resolver's order.
    Net(Vec<SocketAddr>),
    Unix(PathBuf),
}

impl ServerAddress {
    /// `None`: stopped before the resolver answered.
    pub(super) fn of(target: &Target, stop: &Stop) -> Result<Option<ServerAddress>, ToolError> {
        match target {
            Target::Unix(path) => Ok(Some(ServerAddress::Unix(path.clone()))),
            Target::Net { port: None, .. } => Err(ToolError::Usage(format!(
                "'{target}' has no port: write HOST:PORT, as in localhost:65432"
            ))),
            Target::Net { host, port: Some(port) } => {
                let found = look_up(host, *port, Purpose::Connect, stop)?;
                Ok(found.map(ServerAddress::Net))
            }
        }
    }

    pub(super) fn connect<'a>(&self, limits: &WaitLimits<'a>) -> io::Result<DeadlineStream<'a>> {
        let mut stream = match self {
            ServerAddress::Unix(path) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                // Non-blocking: a full accept queue would block.
                socket.set_nonblocking(true)?;
                socket.connect(&SockAddr::unix(path)?)?;
                DeadlineStream::from_socket(socket, limits.stop)?
            }
            ServerAddress::Net(addresses) => first(addresses, limits)?,
        };
        stream.set_deadline(limits.until());
        Ok(stream)
    }
}

fn first<'a>(addresses: &[SocketAddr], limits: &WaitLimits<'a>) -> io::Result<DeadlineStream<'a>> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match DeadlineStream::connect(*address, limits.answer, limits.stop) {
            Ok(stream) => return Ok(stream),
            Err(NotConnected::Failed(error)) => last = error,
            Err(NotConnected::Stopped(_)) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
    Err(last)
}

/// Writes everything, unless the peer stops reading. A peer that refuses does not read on, but its answer can be read.
pub(super) fn write_in_pieces(stream: &mut DeadlineStream<'_>, bytes: &[u8], piece: usize) {
    for piece in bytes.chunks(piece.max(1)) {
        if stream.write_all(piece).is_err() {
            return;
        }
    }
}

/// Sends the bytes of a case in pieces of this size. If the connection should stay open, a further request tests that.
pub(super) fn exchange(
    server: &ServerAddress,
    sent: &[u8],
    piece: usize,
    case: &VectorCase,
    limits: &WaitLimits<'_>,
) -> io::Result<Answer> {
    let mut stream = server.connect(limits)?;
    // Long requests are not sent byte by byte, because that would exceed the server's time limit.
    let piece = if sent.len() > 4_096 { piece.max(97) } else { piece };
    write_in_pieces(&mut stream, sent, piece);
    if case.ends {
        let (bytes, end) = read_until(&mut stream, limits, |_| false);
        return Ok(Answer { bytes, end });
    }
    let ping = RequestWriter { name: None }.write(77_077, &Action::Ping);
    let _ = stream.write_all(&ping);
    let wanted = count(&case.expected) + 1;
    let (mut bytes, end) = read_until(&mut stream, limits, |bytes| count(bytes) >= wanted);
    if end == ConnectionEnd::Open && count(&bytes) < wanted {
        return Ok(Answer { bytes, end: ConnectionEnd::Silent });
    }
    if end == ConnectionEnd::Open {
        bytes.truncate(last_frame(&bytes));
    }
    Ok(Answer { bytes, end })
}

fn read_until(
    stream: &mut DeadlineStream<'_>,
    limits: &WaitLimits<'_>,
    is_enough: impl Fn(&[u8]) -> bool,
) -> (Vec<u8>, ConnectionEnd) {
    stream.set_deadline(limits.until());
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (bytes, ConnectionEnd::Closed),
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return (bytes, ConnectionEnd::Open),
            Err(_) => return (bytes, ConnectionEnd::Reset),
        }
        if is_enough(&bytes) || bytes.len() > ANSWER_BYTES_MAX {
            return (bytes, ConnectionEnd::Open);
        }
    }
}

/// Number of whole messages.
fn count(bytes: &[u8]) -> usize {
    let mut decoder = Decoder::default();
    decoder.feed(bytes);
    std::iter::from_fn(|| decoder.poll_frame().ok().flatten()).count()
}

/// Offset of the last whole message.
fn last_frame(bytes: &[u8]) -> usize {
    let mut decoder = Decoder::default();
    decoder.feed(bytes);
    let lens = std::iter::from_fn(|| decoder.poll_frame().ok().flatten())
        .map(|frame| 2 + frame.header.json().len() + frame.content.len());
    let lens: Vec<usize> = lens.collect();
    lens.iter().take(lens.len().saturating_sub(1)).sum()
}

/// Detects the kind of server: a vang server knows `hello`.
pub(super) fn profile(server: &ServerAddress, limits: &WaitLimits<'_>) -> io::Result<Profile> {
    let mut stream = server.connect(limits)?;
    stream.write_all(&RequestWriter { name: None }.write(1, &Action::Hello))?;
    let (bytes, _) = read_until(&mut stream, limits, |bytes| count(bytes) > 0);
    let mut decoder = Decoder::default();
    decoder.feed(&bytes);
    let knows =
        decoder.poll_frame().ok().flatten().is_some_and(|frame| frame.header.number("protocol").is_some());
    Ok(if knows { Profile::Vang } else { Profile::Guide })
}
