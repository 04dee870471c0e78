//! Follow rooms: each event once, across reconnects.
//!
//! ```text
//! start ──▶ following ──▶ event, event, … ──▶ lost ──▶ wait ──▶ connect, resume by seq ──▶ following …
//!   └ not in time: an error                       └ the server refuses: an error
//! ```
//!
//! The position and the resume logic are in `vang_proto::vang::Follower`; the socket and the waits are here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use vang_proto::vang::{
    Action, Advice, Backoff, Code, ConnectionEvent, Event, EventMessage, FollowFrom, Follower, Incoming,
    NewStart,
};

use crate::address::ServerAddr;
use crate::connection::{Connection, check_length};
use crate::retry::{Deadline, backoff_wait, retry_until};
use crate::sign_in::{Identity, open};
use crate::trouble::ClientError;

/// Time for one reconnect and its reply: 15 s, the longest wait between two attempts.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection that lived this long resets the backoff: 5 s. A shorter one counts as a failure, so that a
/// server that accepts and closes at once is not called in a loop.
const SETTLED: Duration = Duration::from_secs(5);

/// How often a server can ask for another start position on one connection.
const STARTS_MAX: u32 = 4;

/// What a follower receives.
#[derive(Debug)]
pub enum Update {
    /// From the server, unknown kinds included.
    Event(EventMessage),
    Connection(ConnectionChange),
}

/// What happened to the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionChange {
    /// The connection is lost; it is retried until it works.
    Lost(ClientError),
    /// The connection works again, and no event was missed.
    Again,
    /// An older copy of the journal was put back.
    SetBack {
        /// The last common position.
        seq: u64,
    },
    /// The server has another journal: events in between are unknown.
    OtherJournal,
    /// The server closes the connection.
    Closing { why: String },
}

/// Rooms being followed.
#[derive(Debug)]
pub struct Follow {
    place: ServerAddr,
    identity: Identity,
    follower: Follower,
    /// Message numbers seen before the start, per room, in the journal of that time.
    seen_before: Vec<(String, u64)>,
    connection: Option<Connection>,
    /// When following began on this connection.
    since: Instant,
    backoff: Backoff,
    updates: VecDeque<Update>,
}

impl Follow {
    /// Follows `rooms`, each after its message number in `since`, or from now on. The first connection has
    /// `timeout`; `watch` sees each error before a retry.
    pub fn start(
        place: ServerAddr,
        identity: Identity,
        rooms: Vec<String>,
        since: Option<Vec<u64>>,
        timeout: Duration,
        watch: &mut dyn FnMut(&ClientError),
    ) -> Result<Follow, ClientError> {
        let follow = Action::Follow { rooms: rooms.clone(), feeds: Vec::new(), from: FollowFrom::Now };
        check_length(identity.name.as_deref(), &follow)?;
        let seen_before = rooms.iter().cloned().zip(since.iter().flatten().copied()).collect();
        let mut follow = Follow {
            place,
            follower: Follower::new(identity.name.clone(), rooms, since),
            identity,
            seen_before,
            connection: None,
            since: Instant::now(),
            backoff: Backoff::default(),
            updates: VecDeque::new(),
        };
        let deadline = Deadline::after(timeout);
        retry_until(deadline, watch, || follow.attach(deadline))?;
        Ok(follow)
    }

    /// Waits for the next update, without a limit. An error means that the server refused: no retry helps.
    #[allow(clippy::should_implement_trait)] // it never ends, and an error is final
    pub fn next(&mut self) -> Result<Update, ClientError> {
        loop {
            if let Some(update) = self.updates.pop_front() {
                return Ok(update);
            }
            let Some(connection) = &mut self.connection else {
                self.attach_again()?;
                continue;
            };
            match connection.read(Deadline::NEVER) {
                Ok(Incoming::Event(event)) => self.handle_event(event),
                // There was no request: this is why the server closes the connection.
                Ok(Incoming::Reply(reply)) => self.lost(ClientError::refused(&reply)),
                Err(fault) => self.lost(fault),
            }
        }
    }

    fn handle_event(&mut self, message: EventMessage) {
        if let Event::Connection(ConnectionEvent::Closing { why }) = message.event {
            self.updates.push_back(Update::Connection(ConnectionChange::Closing { why }));
        } else if self.follower.handle_event(&message.event) && !self.was_seen_before(&message.event) {
            self.updates.push_back(Update::Event(message));
        }
    }

    /// A room that ends before `since` is followed from its end, so old numbers can come.
    fn was_seen_before(&self, event: &Event) -> bool {
        let Some((room, n)) = event.accounts_for() else { return false };
        // The server sends a room's name as it was created, we may have typed another case. With one room there
        // is no doubt.
        let only = self.seen_before.len() == 1;
        let same = |written: &str| only || written.to_lowercase() == room.to_lowercase();
        self.seen_before.iter().any(|(written, since)| n <= *since && same(written))
    }

    fn lost(&mut self, fault: ClientError) {
        self.connection = None;
        if self.since.elapsed() >= SETTLED {
            self.backoff.reset();
        }
        self.updates.push_back(Update::Connection(ConnectionChange::Lost(fault)));
    }

    fn attach_again(&mut self) -> Result<(), ClientError> {
        let mut retry_after = Duration::ZERO;
        loop {
            // Also before the first attempt: when a server stops, all its clients reconnect at once.
            std::thread::sleep(backoff_wait(&mut self.backoff).max(retry_after));
            match self.attach(Deadline::after(ATTACH_TIMEOUT)) {
                Ok(()) => {
                    self.updates.push_back(Update::Connection(ConnectionChange::Again));
                    return Ok(());
                }
                Err(fault @ ClientError::Refused { .. }) if !fault.is_retryable() => return Err(fault),
                Err(fault) => retry_after = fault.retry_after().unwrap_or_default(),
            }
        }
    }

    /// Connects, signs in, asks to follow from the current position, and waits for the reply.
    fn attach(&mut self, deadline: Deadline) -> Result<(), ClientError> {
        let mut connection = open(&self.place, &self.identity, deadline)?;
        connection.write(&self.follower.opening(), deadline)?;
        for _ in 0..STARTS_MAX {
            let reply = connection.read_reply(OPENING, deadline)?;
            if reply.code.is_some() && reply.re.is_none() {
                return Err(ClientError::refused(&reply));
            }
            match self.follower.handle_reply(&reply) {
                Advice::Follows => {
                    self.connection = Some(connection);
                    self.since = Instant::now();
                    return Ok(());
                }
                Advice::Send(opening, start) => {
                    self.start_elsewhere(start);
                    connection.write(&opening, deadline)?;
                }
                Advice::Retry(_) | Advice::GiveUp { .. } => return Err(ClientError::refused(&reply)),
            }
        }
        // Retryable: the server may be repaired.
        let detail = "the server names no position to follow from".to_owned();
        Err(ClientError::Refused { code: Code::Unavailable.to_string(), detail, retry_after: None })
    }

    fn start_elsewhere(&mut self, start: NewStart) {
        // Message numbers of the old journal mean nothing in the new one.
        self.seen_before.clear();
        self.updates.push_back(Update::Connection(match start {
            NewStart::SetBack { seq } => ConnectionChange::SetBack { seq },
            NewStart::OtherJournal => ConnectionChange::OtherJournal,
        }));
    }
}

/// The `re` of a `Follower`'s requests.
const OPENING: u64 = 0;

#[cfg(test)]
mod tests {
    use vang_proto::{Frame, Secret};

    use super::*;
    use crate::scripted::{Server, Step, error, message, ok};
    use vang_proto::vang::{Following, SignedIn};

    const SECONDS: Duration = Duration::from_secs(20);

    fn follows(journal: &str, seq: u64) -> Step {
        let keys = Following { journal: journal.to_owned(), epoch: "e1".to_owned(), seq };
        Step::Write(ok(OPENING, &keys, "general"))
    }

    fn says(seq: u64, n: u64, text: &str) -> Step {
        Step::Write(message(seq, n, text).to_vec())
    }

    fn start(server: &Server, since: Option<u64>) -> Follow {
        let rooms = vec!["general".to_owned()];
        let since = since.map(|since| vec![since]);
        Follow::start(server.place(), Identity::default(), rooms, since, SECONDS, &mut |_| {}).unwrap()
    }

    /// The next events as their texts, and changes of the connection in brackets.
    fn hear(follow: &mut Follow, count: usize) -> Vec<String> {
        let word = |update: Update| match update {
            Update::Event(event) => event.text().unwrap_or_else(|| event.event.name().to_owned()),
            Update::Connection(ConnectionChange::Lost(_)) => "<lost>".to_owned(),
            Update::Connection(change) => format!("<{change:?}>"),
        };
        (0..count).map(|_| follow.next().map_or_else(|fault| format!("<{fault}>"), word)).collect()
    }

    fn asked(request: &Frame) -> [Option<String>; 3] {
        ["since", "journal", "seq"].map(|key| request.header.raw(key).map(str::to_owned))
    }

    #[test]
    fn a_cut_is_resumed_from_the_last_seq_and_nothing_is_shown_twice() {
        let server = Server::start(vec![
            vec![Step::Request, follows("j", 10), says(11, 1, "one"), says(12, 2, "two")],
            // Not even a server that repeats itself makes us.
            vec![Step::Request, follows("j", 12), says(12, 2, "two"), says(13, 3, "three"), Step::Hold],
        ]);
        let mut follow = start(&server, None);
        assert_eq!(hear(&mut follow, 5), ["one", "two", "<lost>", "<Again>", "three"]);
        assert_eq!(asked(&server.request()), [None, None, None]);
        let resumed = asked(&server.request());
        assert_eq!(resumed, [None, Some("\"j\"".to_owned()), Some("12".to_owned())]);
    }

    #[test]
    fn a_server_that_closes_at_once_is_retried_with_doubling_waits() {
        let once = || vec![Step::Request, follows("j", 10)];
        let server = Server::start(vec![once(), once(), once(), once(), vec![Step::Request, Step::Hold]]);
        let mut follow = start(&server, None);
        let heard = ["<lost>", "<Again>", "<lost>", "<Again>", "<lost>", "<Again>", "<lost>"];
        assert_eq!(hear(&mut follow, 7), heard);
        // Three waits, none of them reset: the next is of 2 s, spread over its second half.
        assert!((1_000..=2_000).contains(&follow.backoff.next_ms(0)), "the waits double");
    }

    #[test]
    fn a_journal_that_was_set_back_resumes_at_the_common_position() {
        let ahead = Step::Write(error(
            OPENING,
            Code::SeqAhead,
            "set back",
            &[("seq", 11.into()), ("epoch", "e2".into())],
        ));
        let server = Server::start(vec![
            vec![Step::Request, follows("j", 10), says(11, 1, "one"), says(12, 2, "two")],
            vec![Step::Request, ahead, Step::Request, follows("j", 11), says(12, 2, "other two"), Step::Hold],
        ]);
        let mut follow = start(&server, Some(0));
        let heard = ["one", "two", "<lost>", "<SetBack { seq: 11 }>", "<Again>", "other two"];
        assert_eq!(hear(&mut follow, 6), heard);
    }

    #[test]
    fn another_journal_is_followed_from_the_room_numbers() {
        let other = Step::Write(error(OPENING, Code::JournalChanged, "another", &[("journal", "k".into())]));
        let server = Server::start(vec![
            vec![Step::Request, follows("j", 10), says(11, 7, "seven")],
            vec![Step::Request, other, Step::Request, follows("k", 2), says(3, 1, "new one"), Step::Hold],
        ]);
        let mut follow = start(&server, Some(6));
        assert_eq!(hear(&mut follow, 5), ["seven", "<lost>", "<OtherJournal>", "<Again>", "new one"]);
        let requests = [(); 3].map(|()| asked(&server.request())[0].clone());
        assert_eq!(requests, [Some("[6]".to_owned()), None, Some("[7]".to_owned())]);
    }

    #[test]
    fn numbers_up_to_since_are_dropped_even_if_the_room_ends_earlier() {
        let server = Server::start(vec![vec![
            Step::Request,
            follows("j", 10),
            says(11, 4, "four"),
            says(12, 5, "five"),
            says(13, 6, "six"),
            Step::Hold,
        ]]);
        let mut follow = start(&server, Some(5));
        assert_eq!(hear(&mut follow, 1), ["six"]);
    }

    #[test]
    fn a_reconnect_signs_in_again_and_ends_when_the_token_has_ended() {
        let signed_in =
            || Step::Write(ok(1, &SignedIn { name: "ada".to_owned(), ..SignedIn::default() }, "ada"));
        let signed_out =
            Event::Connection(ConnectionEvent::Closing { why: "signed-out" }).to_bytes().to_vec();
        let ended = error(1, Code::WrongSecret, "the token was ended", &[]);
        let server = Server::start(vec![
            vec![Step::Request, signed_in(), Step::Request, follows("j", 10)],
            vec![Step::Request, signed_in(), Step::Request, follows("j", 10), Step::Write(signed_out)],
            vec![Step::Request, Step::Write(ended)],
        ]);
        let rooms = vec!["general".to_owned()];
        let ada = Identity::with_token(None, Secret::new("vang_1".to_owned()));
        let mut follow = Follow::start(server.place(), ada, rooms, None, SECONDS, &mut |_| {}).unwrap();
        let heard = ["<lost>", "<Again>", "<Closing { why: \"signed-out\" }>", "<lost>"];
        assert_eq!(hear(&mut follow, 4), heard);
        let fault = follow.next().unwrap_err();
        assert!(fault.is_sign_in_refused() && !fault.is_retryable(), "{fault:?}");
        let actions = [(); 5].map(|()| server.request().header.text("action").unwrap().into_owned());
        assert_eq!(actions, ["sign-in", "follow", "sign-in", "follow", "sign-in"]);
    }

    #[test]
    fn the_first_connection_has_a_timeout_and_a_later_refusal_is_final() {
        let no_room = || Step::Write(error(OPENING, Code::NoRoom, "there is no such room", &[]));
        let server = Server::start(vec![vec![Step::Request, no_room()]]);
        let rooms = vec!["general".to_owned()];
        let fault =
            Follow::start(server.place(), Identity::default(), rooms.clone(), None, SECONDS, &mut |_| {})
                .unwrap_err();
        assert_eq!(fault.to_string(), "there is no such room");

        let brief = Duration::from_millis(60);
        let fault =
            Follow::start(Server::closed_port(), Identity::default(), rooms, None, brief, &mut |_| {})
                .unwrap_err();
        assert!(fault.to_string().contains("connection refused"), "{fault}");

        let closing =
            Step::Write(Event::Connection(ConnectionEvent::Closing { why: "stopping" }).to_bytes().to_vec());
        let busy = Step::Write(error(OPENING, Code::Busy, "later", &[("retry-after", 1.into())]));
        let server = Server::start(vec![
            vec![Step::Request, follows("j", 10), closing],
            vec![Step::Request, busy],
            vec![Step::Request, no_room()],
        ]);
        let mut follow = start(&server, None);
        let last = "<there is no such room>";
        assert_eq!(hear(&mut follow, 3), ["<Closing { why: \"stopping\" }>", "<lost>", last]);
    }
}
