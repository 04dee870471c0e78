//! The bytes of a connection, plain or in TLS, over any socket; blocking if the socket is.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use rustls::{ClientConnection, ServerConnection, Stream};
use socket2::Socket;

/// A connection, plain or with TLS. The socket is shared with a thread that can close it.
pub(crate) struct Transport {
    pub(crate) socket: Arc<Socket>,
    tls: Tls,
}

enum Tls {
    Plain,
    Server(Box<ServerConnection>),
    Client(Box<ClientConnection>),
}

impl Transport {
    pub(crate) fn plain(socket: Socket) -> Transport {
        Transport { socket: Arc::new(socket), tls: Tls::Plain }
    }

    pub(crate) fn server(socket: Socket, tls: ServerConnection) -> Transport {
        Transport { socket: Arc::new(socket), tls: Tls::Server(Box::new(tls)) }
    }

    pub(crate) fn client(socket: Socket, tls: ClientConnection) -> Transport {
        Transport { socket: Arc::new(socket), tls: Tls::Client(Box::new(tls)) }
    }

    /// Without TLS; then a short read means that the receive queue is empty.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.tls, Tls::Plain)
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let outcome = match &mut self.tls {
                Tls::Plain => (&*self.socket).read(buffer),
                Tls::Server(tls) => Stream::new(&mut **tls, &mut &*self.socket).read(buffer),
                Tls::Client(tls) => Stream::new(&mut **tls, &mut &*self.socket).read(buffer),
            };
            match outcome {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let outcome = match &mut self.tls {
                Tls::Plain => (&*self.socket).write(bytes),
                Tls::Server(tls) => Stream::new(&mut **tls, &mut &*self.socket).write(bytes),
                Tls::Client(tls) => Stream::new(&mut **tls, &mut &*self.socket).write(bytes),
            };
            match outcome {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Is the TLS handshake under way? Until its end writing waits for the peer.
    pub(crate) fn is_handshaking(&self) -> bool {
        match &self.tls {
            Tls::Plain => false,
            Tls::Server(tls) => tls.is_handshaking(),
            Tls::Client(tls) => tls.is_handshaking(),
        }
    }

    /// Does TLS hold encrypted bytes that the socket has not taken?
    pub(crate) fn is_unsent(&self) -> bool {
        match &self.tls {
            Tls::Plain => false,
            Tls::Server(tls) => tls.wants_write(),
            Tls::Client(tls) => tls.wants_write(),
        }
    }

    /// Writes those bytes.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.is_unsent() {
            let outcome = match &mut self.tls {
                Tls::Plain => return Ok(()),
                Tls::Server(tls) => tls.write_tls(&mut &*self.socket),
                Tls::Client(tls) => tls.write_tls(&mut &*self.socket),
            };
            match outcome {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Closes the sending half, with TLS after `close_notify`. Received bytes can still be read.
    pub(crate) fn end_writing(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Tls::Plain => {}
            Tls::Server(tls) => tls.send_close_notify(),
            Tls::Client(tls) => tls.send_close_notify(),
        }
        // If the peer does not take it, close anyway.
        let flushed = self.flush();
        self.socket.shutdown(Shutdown::Write)?;
        flushed
    }

    /// Fingerprint of the server's key and TLS version; for a client after the handshake.
    pub(crate) fn shown(&self) -> Option<(String, &'static str)> {
        let Tls::Client(tls) = &self.tls else { return None };
        let key = vang_client::verifier::fingerprint(tls.peer_certificates()?.first()?).ok()?;
        let version = match tls.protocol_version()? {
            rustls::ProtocolVersion::TLSv1_2 => "TLS 1.2",
            _ => "TLS 1.3",
        };
        Some((key, version))
    }
}
