//! One exchange on one connection: bytes out in pieces, bytes in until it is clear what becomes of it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use vang_proto::Decoder;
use vang_proto::vang::RequestWriter;

use super::vectors::Case;
use super::{Profile, Target};
use crate::Stop;

/// What comes back beyond this is not read: 4 MiB, far more than any answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// How long to wait.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    pub(super) answer: Duration,
    pub(super) stop: Stop,
}

impl Patience {
    fn until(&self) -> Instant {
        let wait = self.stop.left().map_or(self.answer, |left| left.min(self.answer));
        Instant::now() + wait
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

/// A connected socket.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn connect(target: &Target, patience: &Patience) -> io::Result<Stream> {
        match target {
            Target::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
            Target::Net { host, port } => {
                let host = if host.is_empty() { "localhost" } else { host };
                let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
                for address in (host, port.unwrap_or(0)).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, patience.answer) {
                        Ok(stream) => {
                            stream.set_nodelay(true)?;
                            return Ok(Stream::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        }
    }

    pub(super) fn end_writing(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Some bytes; none at the end. `TimedOut` when there was nothing until then.
    pub(super) fn read(&mut self, buffer: &mut [u8], until: Instant) -> io::Result<usize> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let read = match self {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(left)).and_then(|()| stream.read(buffer)),
            Stream::Unix(stream) => stream.set_read_timeout(Some(left)).and_then(|()| stream.read(buffer)),
        };
        read.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => error,
        })
    }

    /// All of it, unless the peer stops reading.
    pub(super) fn write_in_pieces(&mut self, bytes: &[u8], piece: usize) {
        for piece in bytes.chunks(piece.max(1)) {
            // A peer that refuses does not read on: what it says is read all the same.
            if self.write_all(piece).is_err() {
                return;
            }
        }
    }
}

/// Sends a case's bytes in pieces of this many. Where the connection should stay open, one more request shows that it does.
pub(super) fn exchange(
    target: &Target,
    sent: &[u8],
    piece: usize,
    case: &Case,
    patience: &Patience,
) -> io::Result<Came> {
    let mut stream = Stream::connect(target, patience)?;
    // What is long is not sent byte by byte: that would take longer than a server has to wait.
    let piece = if sent.len() > 4_096 { piece.max(97) } else { piece };
    stream.write_in_pieces(sent, piece);
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

fn read_until(stream: &mut Stream, patience: &Patience, is_enough: impl Fn(&[u8]) -> bool) -> (Vec<u8>, End) {
    let until = patience.until();
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match stream.read(&mut buffer, until) {
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
pub(super) fn profile(target: &Target, patience: &Patience) -> io::Result<Profile> {
    let mut stream = Stream::connect(target, patience)?;
    stream.write_all(&RequestWriter { name: None }.write(1, "hello", &[]))?;
    let (bytes, _) = read_until(&mut stream, patience, |bytes| count(bytes) > 0);
    let mut decoder = Decoder::default();
    decoder.feed(&bytes);
    let knows =
        decoder.poll_frame().ok().flatten().is_some_and(|frame| frame.header.number("protocol").is_some());
    Ok(if knows { Profile::Vang } else { Profile::Guide })
}
