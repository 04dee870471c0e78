//! A socket with TLS around it, or without: bytes in and out with the socket's own timeouts.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::Socket;

/// See the module's head.
#[derive(Debug)]
pub(crate) enum Channel {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

impl Channel {
    /// TLS around a socket; nothing is said yet.
    pub(crate) fn tls(socket: Socket, config: Arc<ClientConfig>, host: &str) -> Result<Channel, String> {
        // Without the scope of a link-local address, which is no part of a name.
        let host = host.split('%').next().unwrap_or_default().to_owned();
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let tls = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
        Ok(Channel::Tls(Box::new(StreamOwned::new(tls, socket))))
    }

    /// The socket beneath.
    pub(crate) fn socket(&self) -> &Socket {
        match self {
            Channel::Plain(socket) => socket,
            Channel::Tls(stream) => &stream.sock,
        }
    }

    /// Goes on with the handshake. `true`: it is over. What stops it is the socket's error, or `InvalidData` when the
    /// other side does not speak TLS as it should.
    pub(crate) fn shake_hands(&mut self) -> io::Result<bool> {
        let Channel::Tls(stream) = self else { return Ok(true) };
        if stream.conn.is_handshaking() {
            let stream = &mut **stream;
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(!stream.conn.is_handshaking())
    }
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(socket) => socket.read(buffer),
            Channel::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(socket) => socket.write(bytes),
            Channel::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Channel::Plain(_) => Ok(()),
            Channel::Tls(stream) => stream.flush(),
        }
    }
}
