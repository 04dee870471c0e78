//! The connection: a queue of bytes to send, and what comes. A stream, plain or in TLS, with a WebSocket on it or not; or
//! datagrams.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::PollFlags;
use socket2::{Protocol, Socket, Type};
use vang_proto::proxy::header::write as write_proxy_header;
use vang_proto::websocket::MessageKind;

use super::options::{Form, TalkOptions};
use super::records::Connected;
use super::vanished_peer;
use super::web_socket::{FromServer, WebSocketClient};
use crate::destination::{Destination, connect};
use crate::peer_name::PeerName;
use crate::transport::Transport;
use crate::trust::TlsClient;
use crate::{Report, Stop, ToolError};

/// Bytes of one read: more than any datagram has.
const READ_BYTES: usize = 64 << 10;

/// Bytes that wait to be sent before no more are taken: 64 KiB.
const QUEUED_BYTES_MAX: usize = 64 << 10;

enum Link {
    Stream(Transport),
    Datagrams(Socket),
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came<'a> {
    /// The handshake of a WebSocket is done.
    Open,
    /// Bytes; `ends` with the last ones of a datagram or message.
    Bytes { bytes: &'a [u8], ends: bool },
    /// The WebSocket is closed, with the server's reason.
    Closed(Option<String>),
}

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// There can be more.
    More,
    /// Nothing is there now.
    Empty,
    /// The end of the stream.
    End,
}

/// Why a channel cannot go on.
#[derive(Debug)]
pub(super) enum ChannelError {
    Io(io::Error),
    /// The server does not open the WebSocket.
    NoWebSocket(String),
}

impl From<io::Error> for ChannelError {
    fn from(error: io::Error) -> ChannelError {
        ChannelError::Io(error)
    }
}

/// A part of the stream, or a datagram.
struct Queued {
    wire: Vec<u8>,
    /// How many of its bytes were typed: none of a header, handshake or pong.
    typed: usize,
}

/// A connection.
pub(super) struct Channel {
    link: Link,
    web: Option<WebSocketClient>,
    /// Of a WebSocket's messages.
    kind: MessageKind,
    queue: VecDeque<Queued>,
    /// Bytes of the first one that the kernel has taken.
    begun: usize,
    /// Bytes of the wire in the queue.
    queued: usize,
    buffer: Vec<u8>,
    /// To which address this is, as messages show it.
    pub(super) destination: Destination,
}

impl Channel {
    /// Connects. `None`: stopped.
    pub(super) fn connect(
        options: &TalkOptions,
        report: &Report,
        stop: &Stop,
    ) -> Result<Option<Channel>, ToolError> {
        let to = &options.to.target;
        for text in vanished_peer::explained(&options.vanished) {
            report.explain(|| text)?;
        }
        let tls = options.trust().map(|trust| TlsClient::of(&trust, to)).transpose()?;
        let (destination, socket) = match options.udp {
            true => match datagrams(options, stop)? {
                Some(found) => found,
                None => return Ok(None),
            },
            false => {
                match connect(to, report, stop, |socket| vanished_peer::notice(&options.vanished, socket))? {
                    Some(found) => found,
                    None => return Ok(None),
                }
            }
        };
        let failed = |error: io::Error| destination.failure(&error);
        let mut first = Vec::new();
        if let Some(proxy) = options.proxy {
            let local = socket.local_addr().map_err(failed)?.as_socket();
            let ends = match (proxy.from, destination.address.as_socket()) {
                (from, Some(to)) => from.or(local).zip(Some(to)),
                // Behind a Unix socket the client is the part that counts.
                (from, None) => from.map(|from| (from, nowhere(from))),
            };
            let header = write_proxy_header(proxy.version, ends);
            match tls {
                // In front of TLS. A new socket takes so few bytes at once.
                Some(_) => {
                    if socket.send(&header).map_err(failed)? < header.len() {
                        return Err(failed(io::ErrorKind::WriteZero.into()));
                    }
                }
                None => first = header,
            }
        }
        let mut web = None;
        if let Some(place) = &options.to.web {
            let (client, request) = WebSocketClient::open(place, to).map_err(failed)?;
            web = Some(client);
            first.extend_from_slice(&request);
        }
        let link = match (options.udp, tls) {
            (true, _) => Link::Datagrams(socket),
            (false, None) => Link::Stream(Transport::plain(socket)),
            (false, Some(tls)) => Link::Stream(Transport::client(socket, tls.connection().map_err(failed)?)),
        };
        let mut channel = Channel {
            link,
            web,
            kind: if options.form == Form::Text { MessageKind::Text } else { MessageKind::Binary },
            queue: VecDeque::new(),
            begun: 0,
            queued: 0,
            buffer: vec![0; READ_BYTES],
            destination,
        };
        if !first.is_empty() {
            channel.push(Queued { wire: first, typed: 0 });
        }
        Ok(Some(channel))
    }

    fn socket(&self) -> &Socket {
        match &self.link {
            Link::Stream(transport) => &transport.socket,
            Link::Datagrams(socket) => socket,
        }
    }

    pub(super) fn connected(&self, options: &TalkOptions) -> Connected {
        let local = self.socket().local_addr().ok().and_then(|address| address.as_socket());
        let is_plain = matches!(&self.link, Link::Stream(transport) if transport.is_plain());
        let over = match (&self.link, self.destination.is_unix(), is_plain) {
            (Link::Datagrams(_), ..) => "UDP",
            (_, _, true) if self.web.is_some() => "WebSocket",
            (_, _, false) if self.web.is_some() => "WebSocket in TLS",
            (_, true, true) => "Unix socket",
            (_, true, false) => "TLS over a Unix socket",
            (_, false, true) => "TCP",
            (_, false, false) => "TLS over TCP",
        };
        Connected {
            local: local.map(|local| PeerName::Net(local).to_string()),
            peer: self.destination.name.clone(),
            over,
            to: options.to.target.clone(),
        }
    }

    /// The key and version of TLS, after the handshake.
    pub(super) fn tls(&self) -> Option<(String, &'static str)> {
        match &self.link {
            Link::Stream(transport) if !transport.is_handshaking() => transport.shown(),
            Link::Stream(_) | Link::Datagrams(_) => None,
        }
    }

    /// Is TLS still in its handshake?
    pub(super) fn is_handshaking(&self) -> bool {
        matches!(&self.link, Link::Stream(transport) if transport.is_handshaking())
    }

    /// Are all handshakes done?
    pub(super) fn is_open(&self) -> bool {
        !self.is_handshaking() && self.web.as_ref().is_none_or(WebSocketClient::is_open)
    }

    /// Can messages be sent, and is there room in the queue?
    pub(super) fn takes_more(&self) -> bool {
        self.queued < QUEUED_BYTES_MAX && self.is_open()
    }

    /// Are all bytes in the kernel?
    pub(super) fn is_all_sent(&self) -> bool {
        let is_flushed = match &self.link {
            Link::Stream(transport) => !transport.is_unsent(),
            Link::Datagrams(_) => true,
        };
        self.queue.is_empty() && is_flushed && self.is_open()
    }

    /// Typed bytes that the kernel has not taken.
    pub(super) fn unsent(&self) -> u64 {
        let typed: usize = self.queue.iter().map(|queued| queued.typed).sum();
        typed.saturating_sub(if self.web.is_some() { 0 } else { self.begun }) as u64
    }

    /// Queues a message, as bytes of the stream, a datagram, or a WebSocket's message.
    pub(super) fn queue(&mut self, message: Vec<u8>) -> io::Result<()> {
        let typed = message.len();
        let wire = match self.web {
            None => message,
            Some(_) => WebSocketClient::message(self.kind, &message)?,
        };
        self.push(Queued { wire, typed });
        Ok(())
    }

    fn push(&mut self, queued: Queued) {
        self.queued += queued.wire.len();
        self.queue.push_back(queued);
    }

    /// The events to wait for.
    pub(super) fn wanted(&self) -> PollFlags {
        let writes = match &self.link {
            // Before the end of the handshake only TLS knows what to write.
            Link::Stream(transport) => {
                transport.is_unsent() || !self.queue.is_empty() && !transport.is_handshaking()
            }
            Link::Datagrams(_) => !self.queue.is_empty(),
        };
        if writes { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
    }

    /// Sends as much of the queue as the kernel takes; returns how many typed bytes it took.
    pub(super) fn send(&mut self) -> io::Result<u64> {
        let before = self.unsent();
        while let Some(Queued { wire, .. }) = self.queue.front() {
            let outcome = match &mut self.link {
                Link::Stream(transport) => transport.write(&wire[self.begun..]),
                // A datagram goes whole, also an empty one.
                Link::Datagrams(socket) => socket.send(wire),
            };
            match outcome {
                Ok(0) if !wire.is_empty() => break,
                Ok(taken) => {
                    self.queued -= taken;
                    self.begun += taken;
                    if self.begun == wire.len() {
                        self.queue.pop_front();
                        self.begun = 0;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if let Link::Stream(transport) = &mut self.link {
            match transport.flush() {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        Ok(before - self.unsent())
    }

    /// Reads once.
    pub(super) fn read(&mut self, heard: &mut dyn FnMut(Came<'_>)) -> Result<ReadOutcome, ChannelError> {
        let outcome = match &mut self.link {
            Link::Stream(transport) => transport.read(&mut self.buffer),
            Link::Datagrams(socket) => {
                use std::io::Read;
                (&*socket).read(&mut self.buffer)
            }
        };
        let len = match outcome {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(ReadOutcome::Empty),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(ReadOutcome::More),
            Err(error) => return Err(error.into()),
        };
        let bytes = &mut self.buffer[..len];
        let Some(web) = &mut self.web else {
            let is_datagram = matches!(self.link, Link::Datagrams(_));
            if len == 0 && !is_datagram {
                return Ok(ReadOutcome::End);
            }
            heard(Came::Bytes { bytes, ends: is_datagram });
            return Ok(ReadOutcome::More);
        };
        if len == 0 {
            return web.handle_end().map(|()| ReadOutcome::End).map_err(ChannelError::NoWebSocket);
        }
        let handled = web.handle_bytes(bytes, &mut |part| {
            heard(match part {
                FromServer::Open => Came::Open,
                FromServer::Message { bytes, ends } => Came::Bytes { bytes, ends },
                FromServer::Closed(why) => Came::Closed(why),
            });
        });
        handled.map_err(ChannelError::NoWebSocket)?;
        if let Some(answer) = web.take_answer()? {
            self.push(Queued { wire: answer, typed: 0 });
        }
        Ok(ReadOutcome::More)
    }

    /// Closes the sending half; receiving goes on.
    pub(super) fn half_close(&mut self) -> io::Result<()> {
        match &mut self.link {
            Link::Stream(transport) => transport.end_writing(),
            Link::Datagrams(_) => Ok(()),
        }
    }

    /// Says goodbye in each layer, without waiting for an answer.
    pub(super) fn close(&mut self) {
        if let Some(web) = &mut self.web {
            web.close();
            if let Ok(Some(wire)) = web.take_answer() {
                self.push(Queued { wire, typed: 0 });
            }
        }
        // The peer can be gone, or its queue full: nothing follows that could be lost.
        let _ = self.send();
        let _ = self.half_close();
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

/// The unspecified address of the same family.
fn nowhere(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// A socket for datagrams to the first address. It is connected: only that address is heard, and its errors are seen.
fn datagrams(options: &TalkOptions, stop: &Stop) -> Result<Option<(Destination, Socket)>, ToolError> {
    let Some(found) = Destination::resolve(&options.to.target, stop)? else { return Ok(None) };
    let Some(first) = found.into_iter().next() else {
        return Err(ToolError::Usage(format!("{} has no address", options.to)));
    };
    let open = || {
        let socket = Socket::new(first.address.domain(), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        socket.connect(&first.address)?;
        Ok(socket)
    };
    let socket = open().map_err(|error: io::Error| first.failure(&error))?;
    Ok(Some((first, socket)))
}
