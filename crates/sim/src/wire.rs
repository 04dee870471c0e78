//! Connections: two streams of bytes between a client and the server, which break wherever they like.
//! Either side learns of it in its own time, and what was under way may still arrive in part.

use std::collections::BTreeMap;

use bytes::{Buf, BytesMut};
use vang_hub::Peer;

use crate::fate::Fate;

/// Names a connection.
pub(crate) type LineId = u64;

/// One connection.
#[derive(Debug)]
pub(crate) struct Line {
    /// Where it comes from.
    pub(crate) peer: Peer,
    /// From the client to the server.
    pub(crate) up: BytesMut,
    /// The client has shut its sending half.
    pub(crate) up_ended: bool,
    /// From the server to the client.
    pub(crate) down: BytesMut,
    /// The server has shut its sending half, or is gone.
    pub(crate) down_ended: bool,
    /// When the server notices that the client is gone.
    pub(crate) client_gone_at: Option<u64>,
    /// The server has let go of it.
    server_gone: bool,
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    lines: BTreeMap<LineId, Line>,
    calling: Vec<LineId>,
    next: LineId,
}

impl Lines {
    /// A client calls.
    pub(crate) fn call(&mut self, peer: Peer) -> LineId {
        self.next += 1;
        let (up, down) = (BytesMut::new(), BytesMut::new());
        let line = Line {
            peer,
            up,
            up_ended: false,
            down,
            down_ended: false,
            client_gone_at: None,
            server_gone: false,
        };
        self.lines.insert(self.next, line);
        self.calling.push(self.next);
        self.next
    }

    /// Who has called since the server last looked.
    pub(crate) fn accept(&mut self) -> Vec<LineId> {
        std::mem::take(&mut self.calling)
    }

    /// A connection.
    pub(crate) fn get(&mut self, id: LineId) -> Option<&mut Line> {
        self.lines.get_mut(&id)
    }

    /// The client is gone: the server notices later, and gets some of what was under way.
    pub(crate) fn cut(&mut self, id: LineId, fate: &mut Fate) {
        let notices = fate.now() + fate.rng.below(1_500);
        if self.lines.get(&id).is_some_and(|line| line.server_gone) {
            self.lines.remove(&id);
        } else if let Some(line) = self.lines.get_mut(&id) {
            let arrives = fate.rng.below(line.up.len() as u64 + 1) as usize;
            line.up.truncate(arrives);
            line.client_gone_at = Some(notices);
        }
    }

    /// The server has let go of it.
    pub(crate) fn hang_up(&mut self, id: LineId) {
        if let Some(line) = self.lines.get_mut(&id) {
            line.down_ended = true;
            line.server_gone = true;
            line.up.clear();
            if line.client_gone_at.is_some() {
                self.lines.remove(&id);
            }
        }
    }

    /// The client has let go of it after the server did.
    pub(crate) fn forget(&mut self, id: LineId) {
        self.lines.remove(&id);
    }

    /// The server is gone: of what was under way to its clients some arrives, or nothing.
    pub(crate) fn drop_all(&mut self, fate: &mut Fate, some_arrives: bool) {
        self.calling.clear();
        self.lines.retain(|_, line| line.client_gone_at.is_none());
        for line in self.lines.values_mut() {
            let arrives = if some_arrives { fate.rng.below(line.down.len() as u64 + 1) } else { 0 };
            line.down.truncate(arrives as usize);
            line.up.clear();
            line.down_ended = true;
            line.server_gone = true;
        }
    }

    /// Is nothing under way?
    pub(crate) fn are_quiet(&self) -> bool {
        let quiet = |line: &Line| line.client_gone_at.is_none() && line.up.is_empty() && line.down.is_empty();
        self.calling.is_empty() && self.lines.values().all(quiet)
    }
}

/// A piece of what has come, cut anywhere; often nothing yet, sometimes a byte.
pub(crate) fn piece(fate: &mut Fate, from: &mut BytesMut) -> Option<BytesMut> {
    if from.is_empty() || fate.rng.happens(200) {
        return None;
    }
    let most = match fate.rng.below(8) {
        0 => 3,
        1 => 200,
        2 | 3 => 4_000,
        _ => 1 << 16,
    };
    let len = fate.rng.between(1, most).min(from.len() as u64) as usize;
    let piece = from.split_to(len);
    if from.is_empty() {
        *from = BytesMut::new();
    }
    debug_assert!(piece.has_remaining());
    Some(piece)
}
