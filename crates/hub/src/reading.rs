//! What a question to the disk is for: with its answer the hub continues there. One variant a question.

use vang_chat::{Principal, RoomId, Seq, StartAfter};

use crate::session::Asker;
use crate::session::SessionId;

/// What an answer from the disk is for.
pub(crate) enum Reading {
    /// What was asked for is complete up to `until`: a room that grew later was not asked for.
    Cursor {
        session: SessionId,
        until: Seq,
    },
    Follow {
        asker: Asker,
        starts: Vec<(RoomId, u64, StartAfter)>,
    },
    History {
        asker: Asker,
        room: RoomId,
        since: u64,
    },
    Find {
        asker: Asker,
        /// Who asked: the name of the connection may come later.
        who: Principal,
        left_out: u64,
    },
}

impl Reading {
    /// Whose question it is.
    pub(crate) fn session(&self) -> SessionId {
        match self {
            Reading::Cursor { session, .. } => *session,
            Reading::Follow { asker, .. } | Reading::History { asker, .. } | Reading::Find { asker, .. } => {
                asker.session
            }
        }
    }
}
