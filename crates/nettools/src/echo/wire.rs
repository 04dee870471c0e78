//! A connection's bytes, plain or in TLS, over whatever kind of socket; blocking or not, as its socket is.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use rustls::{ClientConnection, ServerConnection, Stream};
use socket2::Socket;

/// See the module's head. The socket is shared with whoever may have to end the connection from outside.
pub(super) struct Wire {
    pub(super) socket: Arc<Socket>,
    tls: Tls,
}

enum Tls {
    Plain,
    Server(Box<ServerConnection>),
    Client(Box<ClientConnection>),
}

impl Wire {
    pub(super) fn plain(socket: Socket) -> Wire {
        Wire { socket: Arc::new(socket), tls: Tls::Plain }
    }

    pub(super) fn server(socket: Socket, tls: ServerConnection) -> Wire {
        Wire { socket: Arc::new(socket), tls: Tls::Server(Box::new(tls)) }
    }

    pub(super) fn client(socket: Socket, tls: ClientConnection) -> Wire {
        Wire { socket: Arc::new(socket), tls: Tls::Client(Box::new(tls)) }
    }

    /// Does reading less than was asked for mean that nothing more is there?
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.tls, Tls::Plain)
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
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

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
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

    /// Is there something encrypted that the socket has not taken?
    pub(super) fn is_unsent(&self) -> bool {
        match &self.tls {
            Tls::Plain => false,
            Tls::Server(tls) => tls.wants_write(),
            Tls::Client(tls) => tls.wants_write(),
        }
    }

    /// Gets rid of that.
    pub(super) fn flush(&mut self) -> io::Result<()> {
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

    /// Says that nothing more will come: `close_notify` inside TLS, then the sending half is closed. What is still
    /// received can be read.
    pub(super) fn end_writing(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Tls::Plain => {}
            Tls::Server(tls) => tls.send_close_notify(),
            Tls::Client(tls) => tls.send_close_notify(),
        }
        // A peer that does not take even this is left with what it has.
        let flushed = self.flush();
        self.socket.shutdown(Shutdown::Write)?;
        flushed
    }

    /// The server's key and the version of TLS, on a client after the handshake.
    pub(super) fn shown(&self) -> Option<(String, &'static str)> {
        let Tls::Client(tls) = &self.tls else { return None };
        let key = super::certificate::fingerprint(tls.peer_certificates()?.first()?).ok()?;
        let version = match tls.protocol_version()? {
            rustls::ProtocolVersion::TLSv1_2 => "TLS 1.2",
            _ => "TLS 1.3",
        };
        Some((key, version))
    }
}
