//! The network: two byte streams for each connection of a client and the server, which can break anywhere. Each
//! side notices at its own time, and bytes on the way can still arrive in part.

use std::collections::BTreeMap;

use bytes::{Buf, BytesMut};
use vang_hub::Peer;

use crate::environment::Environment;

pub(crate) type PipeId = u64;

/// One connection: two byte streams.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) peer: Peer,
    pub(crate) up: BytesMut,
    /// The client has shut down its sending half.
    pub(crate) up_ended: bool,
    pub(crate) down: BytesMut,
    /// The server has shut down its sending half or is gone.
    pub(crate) down_ended: bool,
    /// When the server notices that the client is gone.
    pub(crate) client_gone_at: Option<u64>,
    /// The server has closed its side.
    server_closed: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    pipes: BTreeMap<PipeId, Pipe>,
    opening: Vec<PipeId>,
    next: PipeId,
}

impl Network {
    /// A client connects.
    pub(crate) fn open(&mut self, peer: Peer) -> PipeId {
        self.next += 1;
        let (up, down) = (BytesMut::new(), BytesMut::new());
        let pipe = Pipe {
            peer,
            up,
            up_ended: false,
            down,
            down_ended: false,
            client_gone_at: None,
            server_closed: false,
        };
        self.pipes.insert(self.next, pipe);
        self.opening.push(self.next);
        self.next
    }

    /// New connections since the last call.
    pub(crate) fn accept(&mut self) -> Vec<PipeId> {
        std::mem::take(&mut self.opening)
    }

    pub(crate) fn get(&mut self, id: PipeId) -> Option<&mut Pipe> {
        self.pipes.get_mut(&id)
    }

    /// The client is gone: the server notices later, and receives some of the bytes on the way.
    pub(crate) fn cut(&mut self, id: PipeId, env: &mut Environment) {
        let notices = env.now() + env.rng.below(1_500);
        if self.pipes.get(&id).is_some_and(|pipe| pipe.server_closed) {
            self.pipes.remove(&id);
        } else if let Some(pipe) = self.pipes.get_mut(&id) {
            let arrives = env.rng.below(pipe.up.len() as u64 + 1) as usize;
            pipe.up.truncate(arrives);
            pipe.client_gone_at = Some(notices);
        }
    }

    /// The server closes its side.
    pub(crate) fn close_server_side(&mut self, id: PipeId) {
        if let Some(pipe) = self.pipes.get_mut(&id) {
            pipe.down_ended = true;
            pipe.server_closed = true;
            pipe.up.clear();
            if pipe.client_gone_at.is_some() {
                self.pipes.remove(&id);
            }
        }
    }

    /// The client closes its side after the server.
    pub(crate) fn close_client_side(&mut self, id: PipeId) {
        self.pipes.remove(&id);
    }

    /// The server is gone: some of the bytes on the way to its clients arrive, or none.
    pub(crate) fn drop_server(&mut self, env: &mut Environment, some_arrives: bool) {
        self.opening.clear();
        self.pipes.retain(|_, pipe| pipe.client_gone_at.is_none());
        for pipe in self.pipes.values_mut() {
            let arrives = if some_arrives { env.rng.below(pipe.down.len() as u64 + 1) } else { 0 };
            pipe.down.truncate(arrives as usize);
            pipe.up.clear();
            pipe.down_ended = true;
            pipe.server_closed = true;
        }
    }

    /// Is nothing on the way?
    pub(crate) fn are_quiet(&self) -> bool {
        let quiet = |pipe: &Pipe| pipe.client_gone_at.is_none() && pipe.up.is_empty() && pipe.down.is_empty();
        self.opening.is_empty() && self.pipes.values().all(quiet)
    }
}

/// A random piece of the received bytes; often nothing, sometimes one byte.
pub(crate) fn random_piece(env: &mut Environment, from: &mut BytesMut) -> Option<BytesMut> {
    if from.is_empty() || env.rng.happens(200) {
        return None;
    }
    let most = match env.rng.below(8) {
        0 => 3,
        1 => 200,
        2 | 3 => 4_000,
        _ => 1 << 16,
    };
    let len = env.rng.between(1, most).min(from.len() as u64) as usize;
    let piece = from.split_to(len);
    if from.is_empty() {
        *from = BytesMut::new();
    }
    debug_assert!(piece.has_remaining());
    Some(piece)
}
