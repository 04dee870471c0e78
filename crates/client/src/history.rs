//! A room's history, page by page: messages and holes after a number, up to the room's newest message.
//!
//! A page is one request. After a broken connection it is repeated from the same number, so each message comes
//! once.

use std::time::Duration;

use bytes::Bytes;
use vang_proto::Decoder;
use vang_proto::limits::HISTORY_PAGE_MAX;
use vang_proto::vang::{Action, EventMessage, Incoming, Page, Reply, incoming};

use crate::address::ServerAddr;
use crate::connection::{Connection, LIMITS};
use crate::retry::{Deadline, retry_until};
use crate::sign_in::{Identity, open};
use crate::trouble::ClientError;

/// One pass over a room's history.
#[derive(Debug)]
pub struct History {
    place: ServerAddr,
    identity: Identity,
    room: String,
    timeout: Duration,
    connection: Option<Connection>,
    since: u64,
    /// The room's newest number at the start. Later messages are for followers.
    end: Option<u64>,
}

/// What is after a number.
#[derive(Debug)]
pub enum Next {
    /// A message or a hole.
    Event(Box<EventMessage>),
    /// Nothing yet.
    None {
        /// The room's newest number.
        newest: u64,
    },
}

impl History {
    /// Starts after message `since`; each page has `timeout`.
    pub fn new(
        place: ServerAddr,
        identity: Identity,
        room: String,
        since: u64,
        timeout: Duration,
    ) -> History {
        History { place, identity, room, timeout, connection: None, since, end: None }
    }

    /// Fetches the next messages and holes; `None` after the last. `watch` sees each error before a retry.
    pub fn next_page(
        &mut self,
        watch: &mut dyn FnMut(&ClientError),
    ) -> Result<Option<Vec<EventMessage>>, ClientError> {
        if self.end.is_some_and(|end| self.since >= end) {
            return Ok(None);
        }
        let (page, events) = self.ask(None, watch)?;
        self.end.get_or_insert(page.end);
        if page.last <= self.since {
            // Nothing after `since`: the same question would give the same answer.
            self.end = Some(self.since);
        }
        self.since = self.since.max(page.last);
        Ok(Some(events))
    }

    /// Checks that the room exists; returns its newest number.
    pub fn check(&mut self, watch: &mut dyn FnMut(&ClientError)) -> Result<u64, ClientError> {
        self.ask(Some(1), watch).map(|(page, _)| page.end)
    }

    /// Fetches the message after `since` alone, or the hole that it is in.
    pub fn next_message(&mut self, watch: &mut dyn FnMut(&ClientError)) -> Result<Next, ClientError> {
        let (page, events) = self.ask(Some(1), watch)?;
        Ok(match events.into_iter().next() {
            Some(event) => Next::Event(Box::new(event)),
            None => Next::None { newest: page.end },
        })
    }

    fn ask(
        &mut self,
        limit: Option<u64>,
        watch: &mut dyn FnMut(&ClientError),
    ) -> Result<(Page, Vec<EventMessage>), ClientError> {
        let deadline = Deadline::after(self.timeout);
        retry_until(deadline, watch, || {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => open(&self.place, &self.identity, deadline)?,
            };
            let limit = limit.unwrap_or(HISTORY_PAGE_MAX);
            let history = Action::History { room: self.room.clone(), since: self.since, limit };
            let reply = connection.ask(self.identity.name.as_deref(), &history, deadline)?;
            let page = read(&reply, &connection)?;
            self.connection = Some(connection);
            Ok(page)
        })
    }
}

fn read(reply: &Reply, connection: &Connection) -> Result<(Page, Vec<EventMessage>), ClientError> {
    let wrong = |why: &str| connection.foreign(format!("its page of history {why}"));
    let page = reply.keys::<Page>().ok_or_else(|| wrong("has no 'count', 'last' or 'end'"))?;
    let events = read_events(&reply.content).ok_or_else(|| wrong("does not consist of events"))?;
    Ok((page, events))
}

fn read_events(content: &Bytes) -> Option<Vec<EventMessage>> {
    let mut decoder = Decoder::new(LIMITS);
    decoder.feed(content);
    let mut events = Vec::new();
    while let Some(frame) = decoder.poll_frame().ok()? {
        match incoming(frame).ok()? {
            Incoming::Event(event) => events.push(event),
            Incoming::Reply(_) => return None,
        }
    }
    (decoder.waits_for() == vang_proto::frame::Part::Nothing).then_some(events)
}

#[cfg(test)]
mod tests {
    use vang_proto::vang::{Code, write_page};

    use super::*;
    use crate::scripted::{Server, Step, error, hole, message};

    fn page(re: u64, (last, end): (u64, u64), frames: &[Bytes]) -> Step {
        let page = Page { room: "general".to_owned(), count: frames.len() as u64, last, end };
        Step::Write(write_page(Some(&re.to_string()), &page, frames).to_vec())
    }

    fn read_all(server: &Server, since: u64) -> Result<Vec<(String, Option<u64>)>, ClientError> {
        let timeout = Duration::from_secs(20);
        let mut history =
            History::new(server.place(), Identity::default(), "general".to_owned(), since, timeout);
        let mut all = Vec::new();
        while let Some(events) = history.next_page(&mut |_| {})? {
            all.extend(events.into_iter().map(|message| {
                let n = message.event.accounts_for().map(|(_, n)| n);
                (message.event.name().to_owned(), n)
            }));
        }
        Ok(all)
    }

    #[test]
    fn pages_are_read_to_the_end_and_a_lost_one_is_repeated() {
        let first = page(1, (3, 4), &[hole(30, 1, 2), message(31, 3, "three")]);
        let second = page(1, (4, 4), &[message(32, 4, "four")]);
        let server =
            Server::start(vec![vec![Step::Request, first, Step::Request], vec![Step::Request, second]]);
        let expected = [("hole", 2), ("message", 3), ("message", 4)];
        assert_eq!(read_all(&server, 0), Ok(expected.map(|(kind, n)| (kind.to_owned(), Some(n))).to_vec()));
        let since = |server: &Server| server.request().header.number("since");
        assert_eq!([since(&server), since(&server), since(&server)], [Some(0), Some(3), Some(3)]);
    }

    #[test]
    fn a_start_beyond_the_end_gives_nothing() {
        let server = Server::start(vec![vec![Step::Request, page(1, (9, 4), &[])]]);
        assert_eq!(read_all(&server, 9), Ok(vec![]));
        let server = Server::start(vec![vec![Step::Request, page(1, (4, 4), &[])]]);
        assert_eq!(read_all(&server, 9), Ok(vec![]));
    }

    #[test]
    fn one_message_is_asked_for_alone() {
        let server = Server::start(vec![
            vec![Step::Request, page(1, (3, 9), &[message(31, 3, "three")])],
            vec![Step::Request, page(1, (9, 4), &[])],
        ]);
        let next = |since| {
            let timeout = Duration::from_secs(20);
            let mut history =
                History::new(server.place(), Identity::default(), "general".to_owned(), since, timeout);
            history.next_message(&mut |_| {}).unwrap()
        };
        assert!(matches!(next(2), Next::Event(event) if event.text().as_deref() == Some("three")));
        let asked = server.request().header;
        assert_eq!([asked.number("since"), asked.number("limit")], [Some(2), Some(1)]);
        assert!(matches!(next(9), Next::None { newest: 4 }));
    }

    #[test]
    fn an_unknown_room_is_refused() {
        let refusal = Step::Write(error(1, Code::NoRoom, "there is no such room", &[]));
        let server = Server::start(vec![vec![Step::Request, refusal]]);
        let fault = read_all(&server, 0).unwrap_err();
        assert_eq!(fault.to_string(), "there is no such room");
    }
}
