//! The client's side of following rooms: where it stands, how it resumes, what it does when the
//! server's journal is another one or has been set back. The socket and the clock are its owner's.
//!
//! ```text
//! connected ──▶ opening() ──▶ reply(ok) ──▶ event … event ──▶ (connection lost) ──▶ connected …
//!                    ▲──────── seq-ahead, journal-changed ◀┘
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Action, Code, ConnectionEvent, Event, FeedName, FollowFrom, Following, Reply, RequestWriter};

/// What the owner of the connection does with a reply.
#[derive(Debug)]
pub enum Advice {
    /// Nothing: it follows now.
    Follows,
    /// Write these bytes: it begins again from another place.
    Send(Bytes, NewStart),
    /// Wait, connect again, and try again.
    Retry(String),
    /// The server says no for good.
    GiveUp {
        /// The code of the error.
        code: String,
        /// What is wrong.
        detail: String,
    },
}

/// What a person should know about a beginning from another place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewStart {
    /// An older copy of the journal was put back. What came after `seq` is sent again as it is now.
    SetBack {
        /// The last position in common.
        seq: u64,
    },
    /// It is another journal, or nothing in common is known: it goes on from the room numbers.
    OtherJournal,
}

#[derive(Debug)]
pub struct Follower {
    writer: RequestWriter,
    rooms: Vec<String>,
    feeds: Vec<FeedName>,
    place: Place,
    /// The last number of each room, as far as one is known.
    seen: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Fresh(FollowFrom),
    At { journal: String, epoch: Option<String>, seq: u64 },
}

/// The `re` of a follower's own request.
const RE: u64 = 0;

impl Follower {
    /// Follows these rooms, from these numbers or from now on.
    pub fn new(name: Option<String>, rooms: Vec<String>, since: Option<Vec<u64>>) -> Follower {
        let seen = rooms.iter().cloned().zip(since.iter().flatten().copied()).collect();
        let from = since.map_or(FollowFrom::Now, FollowFrom::Numbers);
        Follower { writer: RequestWriter { name }, rooms, feeds: Vec::new(), place: Place::Fresh(from), seen }
    }

    /// Follows these feeds as well.
    pub fn with_feeds(self, feeds: Vec<FeedName>) -> Follower {
        Follower { feeds, ..self }
    }

    /// What to write on a new connection.
    pub fn opening(&self) -> Bytes {
        let from = match &self.place {
            Place::Fresh(from) => from.clone(),
            Place::At { journal, epoch, seq } => {
                FollowFrom::Position { journal: journal.clone(), epoch: epoch.clone(), seq: *seq }
            }
        };
        self.writer.write(RE, &Action::Follow { rooms: self.rooms.clone(), feeds: self.feeds.clone(), from })
    }

    /// Is this the reply to what `opening` asked?
    pub fn is_mine(&self, reply: &Reply) -> bool {
        reply.re == Some(RE)
    }

    /// The reply came.
    pub fn handle_reply(&mut self, reply: &Reply) -> Advice {
        let Some(code) = reply.code.as_deref() else {
            if let Some(Following { journal, epoch, seq }) = reply.keys() {
                self.place = Place::At { journal, epoch: Some(epoch), seq };
            }
            return Advice::Follows;
        };
        let keys = reply.error_keys();
        let resumes = matches!(self.place, Place::At { .. });
        if resumes && code == Code::SeqAhead.as_str() {
            if let (Some(common), Place::At { seq, epoch, .. }) = (keys.seq, &mut self.place) {
                *seq = common;
                // What the server gave belongs to the common part: no need to be told again.
                *epoch = keys.epoch;
                return Advice::Send(self.opening(), NewStart::SetBack { seq: common });
            }
            return self.restart();
        }
        if resumes && code == Code::JournalChanged.as_str() {
            // Restored from a backup of the one that we know: they have a beginning in common.
            if let (Some(journal), Some(seq)) = (keys.journal, keys.seq) {
                self.place = Place::At { journal, epoch: keys.epoch, seq };
                return Advice::Send(self.opening(), NewStart::SetBack { seq });
            }
            return self.restart();
        }
        if Code::is_retryable(code) {
            return Advice::Retry(reply.text.clone());
        }
        Advice::GiveUp { code: code.to_owned(), detail: reply.text.clone() }
    }

    fn restart(&mut self) -> Advice {
        // The server begins at the room's end where we have seen more than there is.
        let numbers =
            self.rooms.iter().map(|room| self.seen.get(room).copied()).collect::<Option<Vec<u64>>>();
        let numbers = numbers.filter(|numbers| !numbers.is_empty());
        self.place = Place::Fresh(numbers.map_or(FollowFrom::Now, FollowFrom::Numbers));
        Advice::Send(self.opening(), NewStart::OtherJournal)
    }

    /// An event came. `false`: it was seen before, or is for this machine, and is not to be shown.
    pub fn handle_event(&mut self, event: &Event) -> bool {
        if let Event::Connection(ConnectionEvent::Epoch { epoch: new }) = event {
            if let Place::At { epoch, .. } = &mut self.place {
                *epoch = Some(new.clone());
            }
            return false;
        }
        let Some(new) = event.seq() else { return true };
        if let Place::At { seq, .. } = &mut self.place {
            if new <= *seq {
                return false;
            }
            *seq = new;
        }
        if let Some((room, n)) = event.accounts_for() {
            self.seen.insert(room.to_owned(), n);
        }
        true
    }

    /// The last position seen, once it follows.
    pub fn seq(&self) -> Option<u64> {
        match &self.place {
            Place::At { seq, .. } => Some(*seq),
            Place::Fresh(_) => None,
        }
    }
}

/// How long to wait before connecting again: 250 ms at first, doubling to 15 s, with jitter down to
/// half of it, so that a thousand clients of a restarted server do not come in one instant.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait, ms; `random` is any random number.
    pub fn next_ms(&mut self, random: u64) -> u64 {
        let full = (250_u64 << self.failures.min(6)).min(15_000);
        self.failures += 1;
        full / 2 + random % (full / 2 + 1)
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}
