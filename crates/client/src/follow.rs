//! What comes in rooms, across reconnects, once.
//!
//! ```text
//! start ──▶ following ──▶ event, event, … ──▶ lost ──▶ wait ──▶ connect, resume by seq ──▶ following …
//!   └ not within its time: a fault                └ the server says no for good: a fault
//! ```
//!
//! Where it stands and how it resumes is `vang_proto::vang::Follower`'s; here are the socket and the waits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use vang_proto::vang::{self, Advice, Backoff, Code, Event, Follower, Incoming, Value};

use crate::address::ServerAddr;
use crate::connection::{Connection, check_arguments};
use crate::patience::{Deadline, backoff_wait, persist};
use crate::trouble::ClientError;

/// Connecting again and getting an answer: 15 s, the longest wait between two attempts. Then it is tried anew.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(15);

/// After so long a connection counts as one that works, and the waits begin again with the shortest. One that is lost
/// sooner is a failure more: a server that takes connections and closes them is not called without pause.
const SETTLED: Duration = Duration::from_secs(5);

/// Beginnings from another place on one connection. A server that asks for more is not to be believed.
const BEGINNINGS_MAX: u32 = 4;

/// What a follower hears.
#[derive(Debug)]
pub enum Update {
    /// From the server. Kinds that nobody knows come too.
    Event(Event),
    /// From here.
    Notice(Notice),
}

/// What happened to the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It is lost; it is tried again until it works.
    Lost(ClientError),
    /// It works again, and nothing was missed.
    Again,
    /// An older copy of the journal was put back.
    SetBack {
        /// The last position in common.
        seq: u64,
    },
    /// It is another journal: what was said between is not known.
    OtherJournal,
    /// The server says that it ends the connection.
    Closing {
        /// Its word for it.
        why: String,
    },
}

/// A following of rooms.
#[derive(Debug)]
pub struct Follow {
    place: ServerAddr,
    follower: Follower,
    /// Numbers up to these were seen before we began, in the journal that it was then.
    seen_before: Vec<(String, u64)>,
    connection: Option<Connection>,
    /// Since when it follows there.
    since: Instant,
    backoff: Backoff,
    told: VecDeque<Update>,
}

impl Follow {
    /// Follows these rooms, after message `since` of each or from now on. Has to work within `timeout`;
    /// `watch` hears of failures until then.
    pub fn start(
        place: ServerAddr,
        name: Option<String>,
        rooms: Vec<String>,
        since: Option<Vec<u64>>,
        timeout: Duration,
        watch: &mut dyn FnMut(&ClientError),
    ) -> Result<Follow, ClientError> {
        let names: Vec<_> = rooms.iter().map(|room| ("", Value::from(&**room))).collect();
        check_arguments(name.as_deref(), &names)?;
        let seen_before = rooms.iter().cloned().zip(since.iter().flatten().copied()).collect();
        let mut follow = Follow {
            place,
            follower: Follower::new(name, rooms, since),
            seen_before,
            connection: None,
            since: Instant::now(),
            backoff: Backoff::default(),
            told: VecDeque::new(),
        };
        let deadline = Deadline::after(timeout);
        persist(deadline, watch, || follow.attach(deadline))?;
        Ok(follow)
    }

    /// The next thing to hear of; waits for it as long as it takes. A fault is the server's last word.
    #[allow(clippy::should_implement_trait)] // it has no end, and the fault is one
    pub fn next(&mut self) -> Result<Update, ClientError> {
        loop {
            if let Some(told) = self.told.pop_front() {
                return Ok(told);
            }
            let Some(connection) = &mut self.connection else {
                self.attach_again()?;
                continue;
            };
            match connection.read(Deadline::NEVER) {
                Ok(Incoming::Event(event)) => self.handle_event(event),
                // Nothing was asked: this is why the server ends the connection.
                Ok(Incoming::Reply(reply)) => self.lost(ClientError::refused(&reply)),
                Err(fault) => self.lost(fault),
            }
        }
    }

    fn handle_event(&mut self, event: Event) {
        if event.kind == "closing" {
            let why = event.header.text("why").unwrap_or_default().into_owned();
            self.told.push_back(Update::Notice(Notice::Closing { why }));
        } else if self.follower.handle_event(&event) && !self.was_seen_before(&event) {
            self.told.push_back(Update::Event(event));
        }
    }

    /// A server whose room ends before `since` goes on from its end.
    fn was_seen_before(&self, event: &Event) -> bool {
        let (Some(room), Some(n)) = (&event.room, event.n) else { return false };
        // The server tells a room's name as it was created; we may have written it otherwise. With one
        // room there is no doubt.
        let only = self.seen_before.len() == 1;
        let same = |written: &str| only || written.to_lowercase() == room.to_lowercase();
        self.seen_before.iter().any(|(written, since)| n <= *since && same(written))
    }

    fn lost(&mut self, fault: ClientError) {
        self.connection = None;
        if self.since.elapsed() >= SETTLED {
            self.backoff.reset();
        }
        self.told.push_back(Update::Notice(Notice::Lost(fault)));
    }

    fn attach_again(&mut self) -> Result<(), ClientError> {
        let mut told = Duration::ZERO;
        loop {
            // Also before the first attempt: when a server ends, all of its clients are here at once.
            std::thread::sleep(backoff_wait(&mut self.backoff).max(told));
            match self.attach(Deadline::after(ATTACH_TIMEOUT)) {
                Ok(()) => {
                    self.told.push_back(Update::Notice(Notice::Again));
                    return Ok(());
                }
                Err(fault @ ClientError::Refused { .. }) if !fault.is_retryable() => return Err(fault),
                Err(fault) => told = fault.retry_after().unwrap_or_default(),
            }
        }
    }

    /// Connects, says what it follows and from where, and waits for the yes.
    fn attach(&mut self, deadline: Deadline) -> Result<(), ClientError> {
        let mut connection = Connection::open(&self.place, deadline)?;
        connection.write(&self.follower.opening(), deadline)?;
        for _ in 0..BEGINNINGS_MAX {
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
                Advice::Send(opening, notice) => {
                    self.begin_elsewhere(notice);
                    connection.write(&opening, deadline)?;
                }
                Advice::Retry(_) | Advice::GiveUp { .. } => return Err(ClientError::refused(&reply)),
            }
        }
        // Passing: whatever is wrong with that server may be mended.
        let detail = "the server does not settle on a place to follow from".to_owned();
        Err(ClientError::Refused { code: Code::Unavailable.to_string(), detail, retry_after: None })
    }

    fn begin_elsewhere(&mut self, notice: vang::NewStart) {
        // Numbers of what was there before say nothing about what is there now.
        self.seen_before.clear();
        self.told.push_back(Update::Notice(match notice {
            vang::NewStart::SetBack { seq } => Notice::SetBack { seq },
            vang::NewStart::OtherJournal => Notice::OtherJournal,
        }));
    }
}

/// The `re` of what a `Follower` writes.
const OPENING: u64 = 0;

#[cfg(test)]
mod tests {
    use vang_proto::Frame;

    use super::*;
    use crate::scripted::{Server, Step, error, message, ok};

    const SECONDS: Duration = Duration::from_secs(20);

    fn follows(journal: &str, seq: u64) -> Step {
        let keys = [("journal", Value::from(journal)), ("epoch", "e1".into()), ("seq", seq.into())];
        Step::Play(ok(OPENING, &keys, "general"))
    }

    fn says(seq: u64, n: u64, text: &str) -> Step {
        Step::Play(message(seq, n, text).to_vec())
    }

    fn start(server: &Server, since: Option<u64>) -> Follow {
        let rooms = vec!["general".to_owned()];
        let since = since.map(|since| vec![since]);
        Follow::start(server.place(), None, rooms, since, SECONDS, &mut |_| {}).unwrap()
    }

    /// The next events as their texts, and notices as what they are.
    fn hear(follow: &mut Follow, count: usize) -> Vec<String> {
        let word = |told: Update| match told {
            Update::Event(event) => event.text().unwrap_or(event.kind),
            Update::Notice(Notice::Lost(_)) => "<lost>".to_owned(),
            Update::Notice(notice) => format!("<{notice:?}>"),
        };
        (0..count).map(|_| follow.next().map_or_else(|fault| format!("<{fault}>"), word)).collect()
    }

    fn asked(request: &Frame) -> [Option<String>; 3] {
        ["since", "journal", "seq"].map(|key| request.header.raw(key).map(str::to_owned))
    }

    #[test]
    fn a_cut_is_resumed_from_the_last_seq_and_nothing_is_told_twice() {
        let server = Server::start(vec![
            vec![Step::Request, follows("j", 10), says(11, 1, "one"), says(12, 2, "two")],
            // Not even a server that repeats itself makes us.
            vec![Step::Request, follows("j", 12), says(12, 2, "two"), says(13, 3, "three"), Step::Stay],
        ]);
        let mut follow = start(&server, None);
        assert_eq!(hear(&mut follow, 5), ["one", "two", "<lost>", "<Again>", "three"]);
        assert_eq!(asked(&server.request()), [None, None, None]);
        let resumed = asked(&server.request());
        assert_eq!(resumed, [None, Some("\"j\"".to_owned()), Some("12".to_owned())]);
    }

    #[test]
    fn a_server_that_takes_connections_and_closes_them_is_called_more_and_more_seldom() {
        let once = || vec![Step::Request, follows("j", 10)];
        let server = Server::start(vec![once(), once(), once(), once(), vec![Step::Request, Step::Stay]]);
        let mut follow = start(&server, None);
        let heard = ["<lost>", "<Again>", "<lost>", "<Again>", "<lost>", "<Again>", "<lost>"];
        assert_eq!(hear(&mut follow, 7), heard);
        // Three waits, none of which was forgotten: the next is of 2 s, spread over its second half.
        assert!((1_000..=2_000).contains(&follow.backoff.next_ms(0)), "the waits double");
    }

    #[test]
    fn a_journal_that_was_set_back_is_resumed_from_what_is_common() {
        let ahead = Step::Play(error(
            OPENING,
            Code::SeqAhead,
            "set back",
            &[("seq", 11.into()), ("epoch", "e2".into())],
        ));
        let server = Server::start(vec![
            vec![Step::Request, follows("j", 10), says(11, 1, "one"), says(12, 2, "two")],
            vec![Step::Request, ahead, Step::Request, follows("j", 11), says(12, 2, "other two"), Step::Stay],
        ]);
        let mut follow = start(&server, Some(0));
        let heard = ["one", "two", "<lost>", "<SetBack { seq: 11 }>", "<Again>", "other two"];
        assert_eq!(hear(&mut follow, 6), heard);
    }

    #[test]
    fn another_journal_is_followed_from_the_room_numbers() {
        let other = Step::Play(error(OPENING, Code::JournalChanged, "another", &[("journal", "k".into())]));
        let server = Server::start(vec![
            vec![Step::Request, follows("j", 10), says(11, 7, "seven")],
            vec![Step::Request, other, Step::Request, follows("k", 2), says(3, 1, "new one"), Step::Stay],
        ]);
        let mut follow = start(&server, Some(6));
        assert_eq!(hear(&mut follow, 5), ["seven", "<lost>", "<OtherJournal>", "<Again>", "new one"]);
        let requests = [(); 3].map(|()| asked(&server.request())[0].clone());
        assert_eq!(requests, [Some("[6]".to_owned()), None, Some("[7]".to_owned())]);
    }

    #[test]
    fn numbers_up_to_since_are_not_told_even_when_the_room_ends_before_it() {
        let server = Server::start(vec![vec![
            Step::Request,
            follows("j", 10),
            says(11, 4, "four"),
            says(12, 5, "five"),
            says(13, 6, "six"),
            Step::Stay,
        ]]);
        let mut follow = start(&server, Some(5));
        assert_eq!(hear(&mut follow, 1), ["six"]);
    }

    #[test]
    fn the_first_connection_has_its_time_and_a_later_refusal_is_the_last_word() {
        let no_room = || Step::Play(error(OPENING, Code::NoRoom, "there is no such room", &[]));
        let server = Server::start(vec![vec![Step::Request, no_room()]]);
        let rooms = vec!["general".to_owned()];
        let fault =
            Follow::start(server.place(), None, rooms.clone(), None, SECONDS, &mut |_| {}).unwrap_err();
        assert_eq!(fault.to_string(), "refused: no-room: there is no such room");

        let brief = Duration::from_millis(60);
        let fault = Follow::start(Server::closed_port(), None, rooms, None, brief, &mut |_| {}).unwrap_err();
        assert!(fault.to_string().contains("connection refused"), "{fault}");

        let closing = Step::Play(vang::write_closing("stopping").to_vec());
        let busy = Step::Play(error(OPENING, Code::Busy, "later", &[("retry-after", 1.into())]));
        let server = Server::start(vec![
            vec![Step::Request, follows("j", 10), closing],
            vec![Step::Request, busy],
            vec![Step::Request, no_room()],
        ]);
        let mut follow = start(&server, None);
        let last = "<refused: no-room: there is no such room>";
        assert_eq!(hear(&mut follow, 3), ["<Closing { why: \"stopping\" }>", "<lost>", last]);
    }
}
