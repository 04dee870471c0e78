//! Accepts connections of the echo server, for every model.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};
use vang_client::trouble::Doing;

use super::peer::Peer;
use super::server_records::Reporter;
use super::work::Work;
use crate::Stop;
use crate::error::explain;
use crate::listener::{Accepted, Listener};
use crate::peer_name::PeerName;
use crate::transport::Transport;

/// Shared by all models.
pub(super) struct ServerContext {
    pub(super) reporter: Arc<Reporter>,
    pub(super) stop: Stop,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) idle: Duration,
    pub(super) greet: bool,
    pub(super) once: bool,
    pub(super) work: Work,
}

/// The result of accepting.
pub(super) enum AcceptedPeer {
    Peer(Box<Peer>),
    /// The accept queue is empty.
    Nobody,
    /// No file descriptor or memory is left.
    Full,
}

impl ServerContext {
    /// Accepts the next connection, with a blocking or non-blocking socket.
    pub(super) fn accept(&self, listener: &Listener, blocking: bool) -> io::Result<AcceptedPeer> {
        let (socket, peer_name) = match listener.accept()? {
            Accepted::Connection(socket, peer_name) => (socket, peer_name),
            Accepted::Nobody => return Ok(AcceptedPeer::Nobody),
            Accepted::Full(error) => {
                let why = explain(&error, Doing::Read);
                self.reporter.full(&format!("{why}: new connections wait; {}", why.advice));
                return Ok(AcceptedPeer::Full);
            }
        };
        socket.set_nonblocking(!blocking)?;
        if matches!(peer_name, PeerName::Net(_)) {
            // Without Nagle's algorithm. It fails if the peer has gone, which the first read reports.
            let _ = socket.set_tcp_nodelay(true);
        }
        let transport = match &self.tls {
            None => Transport::plain(socket),
            Some(config) => {
                let tls = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
                Transport::server(socket, tls)
            }
        };
        let work = (self.work, self.stop.clone());
        let peer = Peer::new(transport, peer_name, self.greet, work, self.reporter.clone());
        Ok(AcceptedPeer::Peer(Box::new(peer)))
    }
}
