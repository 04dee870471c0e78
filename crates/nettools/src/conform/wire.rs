//! One exchange on one connection: bytes out in pieces, bytes in until it is clear what becomes of it.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use vang_proto::Decoder;
use vang_proto::vang::RequestWriter;

use super::vectors::Case;
use super::{Profile, Target};
use crate::connect::{NotConnected, Patient};
use crate::lookup::{Purpose, look_up};
use crate::{Failure, Stop};

/// What comes back beyond this is not read: 4 MiB, far more than any answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience<'a> {
    pub(super) answer: Duration,
    /// Ends all waiting; what was under way then is nobody's fault.
    pub(super) stop: &'a Stop,
}

impl Patience<'_> {
    pub(super) fn until(&self) -> Instant {
        Instant::now() + self.answer
    }
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer ended its side in order.
    Closed,
    Reset,
    /// It is not at its end; where a request was asked of it, it was answered.
    Open,
    /// It was not closed, and a request more got no answer.
    Silent,
}

pub(super) struct Came {
    pub(super) bytes: Vec<u8>,
    pub(super) end: End,
}

/// Where a server is, looked up once.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In the resolver's order.
    Net(Vec<SocketAddr>),
    Unix(PathBuf),
}

impl Place {
    /// `None`: somebody said stop before the resolver had answered.
    pub(super) fn of(target: &Target, stop: &Stop) -> Result<Option<Place>, Failure> {
        match target {
            Target::Unix(path) => Ok(Some(Place::Unix(path.clone()))),
            Target::Net { port: None, .. } => {
                Err(Failure::Usage(format!("a place with a port, as localhost:65432; '{target}' has none")))
            }
            Target::Net { host, port: Some(port) } => {
                let found = look_up(host, *port, Purpose::Connect, stop)?;
                Ok(found.map(|found| Place::Net(found.addresses)))
            }
        }
    }

    pub(super) fn connect<'a>(&self, patience: &Patience<'a>) -> io::Result<Patient<'a>> {
        let mut stream = match self {
            Place::Unix(path) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                // With a full accept queue this would wait as long as that is full.
                socket.set_nonblocking(true)?;
                socket.connect(&SockAddr::unix(path)?)?;
                Patient::over(socket, patience.stop)?
            }
            Place::Net(addresses) => first(addresses, patience)?,
        };
        stream.ends_at(patience.until());
        Ok(stream)
    }
}

fn first<'a>(addresses: &[SocketAddr], patience: &Patience<'a>) -> io::Result<Patient<'a>> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match Patient::connect(*address, patience.answer, patience.stop) {
            Ok(stream) => return Ok(stream),
            Err(NotConnected::Failed(error)) => last = error,
            Err(NotConnected::Stopped(_)) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
    Err(last)
}

/// All of it, unless the peer stops reading. A peer that refuses does not read on: what it says is read all the same.
pub(super) fn write_in_pieces(stream: &mut Patient<'_>, bytes: &[u8], piece: usize) {
    for piece in bytes.chunks(piece.max(1)) {
        if stream.write_all(piece).is_err() {
            return;
        }
    }
}

/// Sends a case's bytes in pieces of this many. Where the connection should stay open, one more request shows that it does.
pub(super) fn exchange(
    place: &Place,
    sent: &[u8],
    piece: usize,
    case: &Case,
    patience: &Patience<'_>,
) -> io::Result<Came> {
    let mut stream = place.connect(patience)?;
    // What is long is not sent byte by byte: that would take longer than a server has to wait.
    let piece = if sent.len() > 4_096 { piece.max(97) } else { piece };
    write_in_pieces(&mut stream, sent, piece);
    if case.ends {
        let (bytes, end) = read_until(&mut stream, patience, |_| false);
        return Ok(Came { bytes, end });
    }
    let ping = RequestWriter { name: None }.write(77_077, "ping", &[]);
    let _ = stream.write_all(&ping);
    let wanted = count(&case.expected) + 1;
    let (mut bytes, end) = read_until(&mut stream, patience, |bytes| count(bytes) >= wanted);
    if end == End::Open && count(&bytes) < wanted {
        return Ok(Came { bytes, end: End::Silent });
    }
    if end == End::Open {
        bytes.truncate(last_frame(&bytes));
    }
    Ok(Came { bytes, end })
}

fn read_until(
    stream: &mut Patient<'_>,
    patience: &Patience<'_>,
    is_enough: impl Fn(&[u8]) -> bool,
) -> (Vec<u8>, End) {
    stream.ends_at(patience.until());
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (bytes, End::Closed),
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return (bytes, End::Open),
            Err(_) => return (bytes, End::Reset),
        }
        if is_enough(&bytes) || bytes.len() > ANSWER_BYTES_MAX {
            return (bytes, End::Open);
        }
    }
}

/// Whole messages in these bytes.
fn count(bytes: &[u8]) -> usize {
    let mut decoder = Decoder::default();
    decoder.feed(bytes);
    std::iter::from_fn(|| decoder.poll_frame().ok().flatten()).count()
}

/// Where the last whole message begins.
fn last_frame(bytes: &[u8]) -> usize {
    let mut decoder = Decoder::default();
    decoder.feed(bytes);
    let lens = std::iter::from_fn(|| decoder.poll_frame().ok().flatten())
        .map(|frame| 2 + frame.header.json().len() + frame.content.len());
    let lens: Vec<usize> = lens.collect();
    lens.iter().take(lens.len().saturating_sub(1)).sum()
}

/// What this server is: one that knows `hello` is vang's.
pub(super) fn profile(place: &Place, patience: &Patience<'_>) -> io::Result<Profile> {
    let mut stream = place.connect(patience)?;
    stream.write_all(&RequestWriter { name: None }.write(1, "hello", &[]))?;
    let (bytes, _) = read_until(&mut stream, patience, |bytes| count(bytes) > 0);
    let mut decoder = Decoder::default();
    decoder.feed(&bytes);
    let knows =
        decoder.poll_frame().ok().flatten().is_some_and(|frame| frame.header.number("protocol").is_some());
    Ok(if knows { Profile::Vang } else { Profile::Guide })
}
