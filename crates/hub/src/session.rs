//! A session: a connection, as the hub knows it.

use std::collections::VecDeque;

use bytes::Bytes;
use vang_chat::{Feed, Seq};
use vang_proto::Secret;
use vang_proto::vang::{Request, Ticket};

use crate::admission::{Browser, Peer, Speaking};
use crate::cursor::Cursor;
use crate::seen::PeerAddress;

/// A connection, as the hub knows it. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// Who waits for what comes of a command.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) session: SessionId,
    pub(crate) ticket: Ticket,
    pub(crate) re: Option<String>,
    /// What its answer needs that the journal does not have.
    pub(crate) made: Option<Box<Made>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Made {
    /// A token or code, to be given to its asker when it is durable.
    Shown(Secret),
    /// A token with which the connection signs in when it is durable.
    SignIn(Secret),
    /// A new account's first password, and what the device is called that stays signed in.
    Accept { new: Secret, device: Option<String> },
}

/// A connection that talks in native messages.
pub(crate) struct Session {
    pub(crate) generation: u32,
    pub(crate) peer: Peer,
    pub(crate) browser: Option<Browser>,
    pub(crate) address: Option<PeerAddress>,
    /// Its peer sends nothing any more, and may be gone: a stream does not show it.
    pub(crate) peer_ended: bool,
    pub(crate) speaking: Option<Speaking>,
    /// What it signed in with has ended, and it is being closed: nothing more is done in its name.
    pub(crate) is_signed_out: bool,
    /// It has asked for something that the journal keeps: its name stays.
    pub(crate) has_written: bool,
    pub(crate) cursor: Option<Cursor>,
    /// Another process has opened the journal since the session was sent an epoch.
    pub(crate) epoch_due: bool,
    /// A `follow` from room numbers waits for the disk to find them: those that came behind it.
    pub(crate) placing: Option<Vec<(Asker, Vec<Feed>)>>,
    pub(crate) woken: bool,
    /// A password is being checked: what the connection asked after it, in order. It is bounded by what a connection can
    /// have unanswered.
    pub(crate) waits_for_secret: Option<VecDeque<(Ticket, Request)>>,
    /// A `find` is under way.
    pub(crate) is_finding: bool,
    /// A read for the cursor is under way, or has come back and was not pulled yet.
    pub(crate) cold: Cold,
}

/// A read for the cursor.
#[derive(Debug)]
pub(crate) enum Cold {
    No,
    Reading,
    Ready { slices: Vec<Bytes>, upto: Seq },
}

/// What a followed feed costs beside its events, bytes: an entry in the cursor and its heap, and one among the feed's
/// followers.
const FOLLOWED_BYTES: usize = 128;

/// What an event that was read from the disk costs beside its bytes: its place, and what the allocator needs.
const SLICE_BYTES: usize = 64;

impl Session {
    pub(crate) fn new(generation: u32, peer: Peer) -> Session {
        Session {
            generation,
            peer,
            browser: None,
            address: None,
            peer_ended: false,
            speaking: None,
            is_signed_out: false,
            has_written: false,
            cursor: None,
            epoch_due: false,
            placing: None,
            woken: false,
            waits_for_secret: None,
            is_finding: false,
            cold: Cold::No,
        }
    }

    /// Bytes of memory that are held for this session alone.
    pub(crate) fn held_bytes(&self) -> usize {
        let feeds = self.cursor.as_ref().map_or(0, |cursor| cursor.feeds.len()) * FOLLOWED_BYTES;
        let cold = match &self.cold {
            Cold::No | Cold::Reading => 0,
            Cold::Ready { slices, .. } => slices.iter().map(|bytes| bytes.len() + SLICE_BYTES).sum(),
        };
        feeds + cold
    }
}
