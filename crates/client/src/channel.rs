//! A socket with or without TLS. Reads and writes use the socket's own timeouts.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::Socket;

#[derive(Debug)]
pub(crate) enum Channel {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

impl Channel {
    /// Prepares TLS on a socket; sends nothing yet. The error says why `host` is not a valid TLS name.
    pub(crate) fn tls(socket: Socket, config: Arc<ClientConfig>, host: &str) -> Result<Channel, String> {
        // A TLS name has no IPv6 scope.
        let host = host.split('%').next().unwrap_or_default().to_owned();
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let tls = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
        Ok(Channel::Tls(Box::new(StreamOwned::new(tls, socket))))
    }

    pub(crate) fn socket(&self) -> &Socket {
        match self {
            Channel::Plain(socket) => socket,
            Channel::Tls(stream) => &stream.sock,
        }
    }

    /// Continues the handshake; `true` once it is complete. Errors: the socket's, or `InvalidData` when the
    /// peer violates TLS.
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
