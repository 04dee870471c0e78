//! One connection: bytes out, messages in, each with a deadline.
//!
//! Blocking, with the socket's own timeouts. A dead peer is detected by keep-alive on an idle connection and by
//! `TCP_USER_TIMEOUT` while sent bytes are unacknowledged. It does not reconnect (see `send.rs`, `follow.rs`).

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, SockAddr, Socket, TcpKeepalive, Type};
use vang_proto::limits::{CLIENT_CONTENT_BYTES_MAX, HEADER_BYTES_MAX};
use vang_proto::vang::{Action, Incoming, IncomingError, Reply, RequestWriter, incoming};
use vang_proto::{Decoder, Frame, FrameError, Limits};

use crate::address::{Security, ServerAddr};
use crate::channel::Channel;
use crate::retry::Deadline;
use crate::trouble::{At, ClientError, Doing, Trouble, explain, explain_at, plain};
use crate::trust::{PinError, check_pin};
use crate::verifier::Verifier;

/// Idle time before the first keep-alive probe: 15 s. NATs drop idle connections after minutes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);

/// Time between keep-alive probes: 5 s. After three without an answer the connection is lost.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Maximum time for sent bytes to stay unacknowledged: 30 s, as long as keep-alive takes.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes per read: 64 KiB, so that a page of history needs few calls.
const READ_BYTES: usize = 1 << 16;

/// All arguments of a request together: 8 KiB. JSON needs at most six bytes for one, so they always fit into a
/// header. No valid name or id is near this limit; longer arguments are refused here.
pub(crate) const ARGUMENT_BYTES_MAX: usize = 8_192;

const _: () = assert!(ARGUMENT_BYTES_MAX * 6 + 1_024 < HEADER_BYTES_MAX as usize);

/// Limits for a server's messages, and for those inside a page of history.
pub(crate) const LIMITS: Limits = Limits { header: HEADER_BYTES_MAX, content: CLIENT_CONTENT_BYTES_MAX };

/// A blocking connection to one server.
#[derive(Debug)]
pub struct Connection {
    channel: Channel,
    decoder: Decoder,
    place: String,
    buffer: Vec<u8>,
    /// The first three bytes received: they show whether this is a vang server.
    head: Vec<u8>,
    asked: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Remote {
    Tls,
    Plain,
}

impl Connection {
    /// Connects to the addresses of `place` in turn. Connections to other machines use TLS.
    pub fn open(place: &ServerAddr, deadline: Deadline) -> Result<Connection, ClientError> {
        Connection::open_to(place, Remote::Tls, deadline)
    }

    /// Connects without TLS also to other machines: a server of the tutorial has none.
    pub(crate) fn open_plain(place: &ServerAddr, deadline: Deadline) -> Result<Connection, ClientError> {
        Connection::open_to(place, Remote::Plain, deadline)
    }

    fn open_to(place: &ServerAddr, remote: Remote, deadline: Deadline) -> Result<Connection, ClientError> {
        let unreachable = |trouble: Trouble| ClientError::Unreachable { place: place.to_string(), trouble };
        let addresses = place.resolve(deadline).map_err(|error| match place {
            ServerAddr::Tcp { .. } => unreachable(explain(&error, Doing::Resolve)),
            ServerAddr::Unix(_) => unreachable(explain(&error, Doing::Connect)),
        })?;
        let mut last = explain(&io::ErrorKind::TimedOut.into(), Doing::Connect);
        for (tried, address) in addresses.iter().enumerate() {
            // An address that drops our packets must leave time for the others.
            let share = (addresses.len() - tried) as u32;
            match connect(address, deadline, share) {
                Ok(socket) => {
                    let is_near =
                        address.as_socket().is_none_or(|addr| addr.ip().to_canonical().is_loopback());
                    return match place {
                        ServerAddr::Tcp { host, security, .. }
                            if *security == Security::Tls || remote == Remote::Tls && !is_near =>
                        {
                            Connection::secure(socket, place, host, deadline)
                        }
                        _ => Ok(Connection::new(Channel::Plain(socket), place)),
                    };
                }
                Err(error) => last = explain_at(&error, Doing::Connect, At::of(address)),
            }
        }
        Err(unreachable(last))
    }

    /// The TLS handshake, and the check of the server's key.
    fn secure(
        socket: Socket,
        place: &ServerAddr,
        host: &str,
        deadline: Deadline,
    ) -> Result<Connection, ClientError> {
        let foreign = |why: String| ClientError::Foreign { place: place.to_string(), why };
        let verifier = Verifier::record();
        let mut config = verifier.config().map_err(|error| foreign(error.to_string()))?;
        config.alpn_protocols = vec![b"vang".to_vec()];
        // Nothing was sent, so this says nothing about the server.
        let no_name = |why: String| ClientError::Unreachable {
            place: place.to_string(),
            trouble: Trouble {
                name: format!("'{host}' is not a valid name for TLS: {why}").into(),
                likely: "names have letters, digits, hyphens and dots",
                advice: "use a name as its certificate has it, or its address",
                retryable: false,
            },
        };
        let mut connection =
            Connection::new(Channel::tls(socket, Arc::new(config), host).map_err(no_name)?, place);
        loop {
            let shaken = deadline.left().and_then(|left| {
                connection.channel.socket().set_read_timeout(left.map(settable))?;
                connection.channel.socket().set_write_timeout(left.map(settable))?;
                connection.channel.shake_hands()
            });
            match shaken {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock if deadline.left().is_ok() => {}
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        return Err(ClientError::Silent { place: place.to_string() });
                    }
                    io::ErrorKind::InvalidData => return Err(foreign(format!("no TLS: {error}"))),
                    _ => return Err(connection.broken(&error, Doing::Read)),
                },
            }
        }
        let seen = verifier.seen().ok_or_else(|| foreign("no TLS: no certificate".to_owned()))?;
        let place = place.to_string();
        match check_pin(&place, &seen) {
            Ok(()) => Ok(connection),
            Err(PinError::Other { key, known, file, line }) => {
                Err(ClientError::OtherKey { place, key, known, file: file.display().to_string(), line })
            }
            Err(PinError::CannotStore { file, why }) => {
                Err(ClientError::NotRemembered { place, why: format!("{}: {}", file.display(), plain(&why)) })
            }
            Err(PinError::NoStore) => Err(ClientError::NotRemembered {
                place,
                why: "neither HOME nor XDG_CONFIG_HOME is set".to_owned(),
            }),
        }
    }

    fn new(channel: Channel, place: &ServerAddr) -> Connection {
        Connection {
            channel,
            decoder: Decoder::new(LIMITS),
            place: place.to_string(),
            buffer: vec![0; READ_BYTES],
            head: Vec::with_capacity(3),
            asked: 0,
        }
    }

    /// Writes all `bytes`.
    pub fn write(&mut self, bytes: &[u8], deadline: Deadline) -> Result<(), ClientError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = deadline.left().and_then(|left| {
                self.channel.socket().set_write_timeout(left.map(settable))?;
                self.channel.write(rest)
            });
            match written {
                Ok(0) => return Err(self.broken(&io::ErrorKind::BrokenPipe.into(), Doing::Write)),
                Ok(n) => rest = &rest[n..],
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    // The timeout was set from the deadline; the loop compares it with the clock.
                    io::ErrorKind::WouldBlock if deadline.left().is_ok() => {}
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut if deadline.left().is_err() => {
                        return Err(ClientError::Silent { place: self.place.clone() });
                    }
                    _ => return Err(self.broken(&error, Doing::Write)),
                },
            }
        }
        Ok(())
    }

    /// Reads the next message of any kind.
    pub fn read_frame(&mut self, deadline: Deadline) -> Result<Frame, ClientError> {
        loop {
            match self.decoder.poll_frame() {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => self.fill(deadline)?,
                Err(FrameError::WrongByteOrder(length)) => {
                    return Err(ClientError::WrongByteOrder { place: self.place.clone(), length });
                }
                Err(malformed) => return Err(self.foreign(malformed.to_string())),
            }
        }
    }

    fn fill(&mut self, deadline: Deadline) -> Result<(), ClientError> {
        let read = deadline.left().and_then(|left| {
            self.channel.socket().set_read_timeout(left.map(settable))?;
            self.channel.read(&mut self.buffer)
        });
        match read {
            Ok(0) => Err(self
                .wrong_byte_order()
                .unwrap_or_else(|| self.broken(&io::ErrorKind::UnexpectedEof.into(), Doing::Read))),
            Ok(n) => {
                let came = &self.buffer[..n];
                let missing = 3_usize.saturating_sub(self.head.len()).min(n);
                self.head.extend_from_slice(&came[..missing]);
                if self.head.get(2).is_some_and(|third| *third != b'{') {
                    let came = String::from_utf8_lossy(&came[..n.min(40)]);
                    let why = format!("it says {:?}", came.lines().next().unwrap_or_default());
                    return Err(self.foreign(why));
                }
                self.decoder.feed(came);
                Ok(())
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => Ok(()),
                io::ErrorKind::WouldBlock if deadline.left().is_ok() => Ok(()),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut if deadline.left().is_err() => {
                    let silent = || ClientError::Silent { place: self.place.clone() };
                    Err(self.wrong_byte_order().unwrap_or_else(silent))
                }
                _ => Err(self.broken(&error, Doing::Read)),
            },
        }
    }

    /// Does what came of a header fit only with its length in the other byte order?
    fn wrong_byte_order(&self) -> Option<ClientError> {
        let length = self.decoder.swapped_length()?;
        Some(ClientError::WrongByteOrder { place: self.place.clone(), length })
    }

    /// Reads the next reply or event.
    pub fn read(&mut self, deadline: Deadline) -> Result<Incoming, ClientError> {
        let frame = self.read_frame(deadline)?;
        incoming(frame)
            .map_err(|IncomingError| self.foreign("its message is neither a reply nor an event".to_owned()))
    }

    /// Reads the reply to request `re`, or the error reply with which the server closes the connection. Skips
    /// events.
    pub(crate) fn read_reply(&mut self, re: u64, deadline: Deadline) -> Result<Reply, ClientError> {
        loop {
            match self.read(deadline)? {
                Incoming::Reply(reply) if reply.re == Some(re) || reply.re.is_none() => return Ok(reply),
                Incoming::Reply(_) => {
                    return Err(self.foreign("it sent a reply without a request".to_owned()));
                }
                Incoming::Event(_) => {}
            }
        }
    }

    /// Writes `bytes`, which end with request `re`, and reads its reply.
    pub(crate) fn exchange(
        &mut self,
        re: u64,
        bytes: &[u8],
        deadline: Deadline,
    ) -> Result<Reply, ClientError> {
        let written = self.write(bytes, deadline);
        let reply = match (written, self.read_reply(re, deadline)) {
            // A refusing server stops reading: its reply can be here although not all bytes were written.
            (_, Ok(reply)) => reply,
            (Err(fault), Err(_)) | (Ok(()), Err(fault)) => return Err(fault),
        };
        match reply.code {
            None => Ok(reply),
            Some(_) => Err(ClientError::refused(&reply)),
        }
    }

    /// Sends a request without content and reads its reply. An error reply is `ClientError::Refused`.
    pub fn ask(
        &mut self,
        name: Option<&str>,
        action: &Action,
        deadline: Deadline,
    ) -> Result<Reply, ClientError> {
        self.asked += 1;
        let request = write_request(name, self.asked, action)?;
        self.exchange(self.asked, &request, deadline)
    }

    pub(crate) fn foreign(&self, why: String) -> ClientError {
        ClientError::Foreign { place: self.place.clone(), why }
    }

    fn broken(&self, error: &io::Error, doing: Doing) -> ClientError {
        ClientError::Broken { place: self.place.clone(), trouble: explain(error, doing) }
    }
}

/// A request; refuses arguments that could exceed a header.
pub(crate) fn write_request(name: Option<&str>, re: u64, action: &Action) -> Result<Bytes, ClientError> {
    check_length(name, action)?;
    Ok(RequestWriter { name: name.map(str::to_owned) }.write(re, action))
}

/// Refuses arguments that could exceed a header.
pub(crate) fn check_length(name: Option<&str>, action: &Action) -> Result<(), ClientError> {
    let found = name.map_or(0, str::len) + action.text_bytes();
    match found > ARGUMENT_BYTES_MAX {
        true => Err(ClientError::ArgumentsTooLong { found, max: ARGUMENT_BYTES_MAX }),
        false => Ok(()),
    }
}

fn connect(address: &SockAddr, deadline: Deadline, share: u32) -> io::Result<Socket> {
    let left = deadline.left()?;
    let socket = Socket::new(address.domain(), Type::STREAM, None)?;
    if address.domain() == Domain::UNIX {
        // Such a connect waits only for space in the server's backlog; the write timeout applies to it.
        socket.set_write_timeout(left.map(settable))?;
        socket.connect(address)?;
        return Ok(socket);
    }
    match left {
        Some(left) => socket.connect_timeout(address, settable(left / share))?,
        None => socket.connect(address)?,
    }
    // TCP self-connect: nobody listens, and the kernel chose the target port as our source port.
    if socket.local_addr()?.as_socket() == address.as_socket() {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    socket.set_tcp_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(socket)
}

/// A zero timeout would disable the timeout.
fn settable(left: Duration) -> Duration {
    left.max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::scripted::{Server, Step, ok, soon};
    use vang_proto::vang::NoKeys;

    #[test]
    fn a_closed_port_is_connection_refused() {
        let place = Server::closed_port();
        let fault = Connection::open(&place, soon()).unwrap_err();
        let expected = format!("cannot reach {place}: connection refused (is the server running there?)");
        assert_eq!(fault.to_string(), expected);
        assert!(fault.is_retryable());
    }

    #[test]
    fn an_unknown_host_name_is_named() {
        let place = ServerAddr::parse("does-not-exist.invalid").unwrap();
        let fault = Connection::open(&place, soon()).unwrap_err().to_string();
        assert!(fault.starts_with("cannot reach does-not-exist.invalid:65432: name "), "{fault}");
    }

    #[test]
    fn one_reply_survives_every_split() {
        let reply = ok(1, &NoKeys {}, "pong");
        let pieces = reply.iter().map(|byte| Step::Write(vec![*byte])).collect::<Vec<_>>();
        let server = Server::start(vec![[vec![Step::Request], pieces].concat()]);
        let mut connection = Connection::open(&server.place(), soon()).unwrap();
        assert_eq!(connection.ask(Some("ada"), &Action::Ping, soon()).unwrap().text, "pong");
        let request = server.request();
        assert_eq!(request.header.text("action").as_deref(), Some("ping"));
        assert_eq!(request.header.text("as").as_deref(), Some("ada"));
    }

    #[test]
    fn another_protocol_is_not_a_lost_connection() {
        let server = Server::start(vec![vec![Step::Request, Step::Write(b"SSH-2.0-x\r\n".to_vec())]]);
        let mut connection = Connection::open(&server.place(), soon()).unwrap();
        let fault = connection.ask(None, &Action::Ping, soon()).unwrap_err();
        assert!(
            fault.to_string().ends_with("does not speak the vang protocol: it says \"SSH-2.0-x\""),
            "{fault}"
        );
        assert!(!fault.is_retryable());
    }

    #[test]
    fn a_length_in_the_wrong_byte_order_is_named_with_what_to_change() {
        let reply = ok(1, &NoKeys {}, "pong");
        let swapped = [&[reply[1], reply[0]][..], &reply[2..]].concat();
        let alone = b"\x02\0{}".to_vec();
        // With a content; and a header alone, after which the server closes, or waits.
        for (steps, deadline) in [
            (vec![Step::Request, Step::Write(swapped)], soon()),
            (vec![Step::Request, Step::Write(alone.clone())], soon()),
            (
                vec![Step::Request, Step::Write(alone), Step::Hold],
                Deadline::after(Duration::from_millis(300)),
            ),
        ] {
            let server = Server::start(vec![steps]);
            let mut connection = Connection::open(&server.place(), soon()).unwrap();
            let fault = connection.ask(None, &Action::Ping, deadline).unwrap_err();
            let said = fault.to_string();
            assert!(
                said.contains("does not speak the vang protocol: header length in the wrong byte order: ")
                    && said.contains(" in network order; read the other way it is "),
                "{said}"
            );
            let advice = fault.advice().unwrap();
            assert!(advice.contains("'>H'") && advice.contains("htons"), "{advice}");
            assert!(!fault.is_retryable() && !fault.timed_out());
        }
    }

    #[test]
    fn a_silent_server_times_out_and_a_closing_one_is_lost() {
        let server = Server::start(vec![vec![Step::Request, Step::Hold], vec![Step::Request]]);
        let mut connection = Connection::open(&server.place(), soon()).unwrap();
        let brief = Deadline::after(Duration::from_millis(30));
        let fault = connection.ask(None, &Action::Ping, brief).unwrap_err();
        assert!(matches!(fault, ClientError::Silent { .. }) && fault.timed_out(), "{fault:?}");
        drop(connection);
        let mut connection = Connection::open(&server.place(), soon()).unwrap();
        let fault = connection.ask(None, &Action::Ping, soon()).unwrap_err();
        assert!(fault.to_string().contains("connection closed"), "{fault}");
    }

    #[test]
    fn arguments_too_long_for_a_header_are_refused_before_writing() {
        let server = Server::start(vec![vec![Step::Hold]]);
        let mut connection = Connection::open(&server.place(), soon()).unwrap();
        let join = |room: String| Action::Join { room, who: None };
        let long = "\u{1}".repeat(ARGUMENT_BYTES_MAX);
        let fault = connection.ask(None, &join(long.clone() + "x"), soon());
        assert!(
            matches!(fault, Err(ClientError::ArgumentsTooLong { found: 8_193, max: 8_192 })),
            "{fault:?}"
        );
        // The longest allowed arguments fit into a header.
        RequestWriter { name: None }.write(1, &join(long));
    }

    #[test]
    fn a_unix_socket_works_and_a_missing_one_is_named() {
        let folder = std::env::temp_dir().join(format!("vang-client-{}", std::process::id()));
        let _ = std::fs::remove_file(&folder);
        let place = ServerAddr::Unix(folder.clone());
        let fault = Connection::open(&place, soon()).unwrap_err().to_string();
        assert!(fault.contains("no such socket (is the server running there"), "{fault}");
        let listener = UnixListener::bind(&folder).unwrap();
        let connection = Connection::open(&place, soon());
        drop(listener);
        std::fs::remove_file(&folder).unwrap();
        assert!(connection.is_ok(), "{connection:?}");
    }
}
