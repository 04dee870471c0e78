//! Search: hits page by page, newest first.
//!
//! A page is one request. It is repeated when the connection breaks or the index is behind.

use std::time::Duration;

use serde_json::value::RawValue;
use vang_proto::limits::FIND_LIMIT_MAX;
use vang_proto::vang::{Action, Code, Found, Reply};

use crate::address::ServerAddr;
use crate::connection::Connection;
use crate::retry::{Deadline, retry_until};
use crate::sign_in::{Identity, open};
use crate::trouble::ClientError;

/// One search in progress.
#[derive(Debug)]
pub struct Search {
    place: ServerAddr,
    identity: Identity,
    query: String,
    timeout: Duration,
    connection: Option<Connection>,
    /// Hits still to fetch.
    wanted: u64,
    /// The server's position for the next page.
    before: Option<u64>,
    is_over: bool,
}

/// One page of hits.
#[derive(Debug)]
pub struct Hits {
    /// JSON objects from the server, newest first.
    pub hits: Vec<Box<RawValue>>,
    /// Rooms and stays that the server skipped because there were too many.
    pub left_out: u64,
    /// Hits that the server cannot show because they are damaged on its disk.
    pub damaged: u64,
}

impl Search {
    /// A search for at most `limit` hits; each page has `timeout`.
    pub fn new(
        place: ServerAddr,
        identity: Identity,
        query: String,
        limit: u64,
        timeout: Duration,
    ) -> Search {
        Search {
            place,
            identity,
            query,
            timeout,
            connection: None,
            wanted: limit,
            before: None,
            is_over: false,
        }
    }

    /// Fetches the next page; `None` after the last. `watch` sees each error before a retry.
    pub fn next_page(&mut self, watch: &mut dyn FnMut(&ClientError)) -> Result<Option<Hits>, ClientError> {
        if self.is_over || self.wanted == 0 {
            return Ok(None);
        }
        let deadline = Deadline::after(self.timeout);
        let (hits, next) = retry_until(deadline, watch, || {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => open(&self.place, &self.identity, deadline)?,
            };
            let limit = self.wanted.min(FIND_LIMIT_MAX);
            let find = Action::Find { query: self.query.clone(), limit, before: self.before };
            let reply = match connection.ask(self.identity.name.as_deref(), &find, deadline) {
                Err(fault) if takes_too_long(&fault) => return Ok(Err(fault)),
                asked => asked?,
            };
            let page = read(&reply, &connection)?;
            self.connection = Some(connection);
            Ok(Ok(page))
        })??;
        self.wanted = self.wanted.saturating_sub(hits.hits.len() as u64);
        // A page without hits but with a next position would loop forever.
        self.is_over = next.is_none() || hits.hits.is_empty();
        self.before = next;
        Ok(Some(hits))
    }

    /// Are there more hits than were fetched?
    pub fn has_more(&self) -> bool {
        !self.is_over
    }
}

/// Was the search stopped when its time was over? It would take as long again (docs/PROTOCOL.md, section 4).
fn takes_too_long(fault: &ClientError) -> bool {
    matches!(fault, ClientError::Refused { code, retry_after: None, .. } if code == Code::Busy.as_str())
}

fn read(reply: &Reply, connection: &Connection) -> Result<(Hits, Option<u64>), ClientError> {
    let hits = serde_json::from_str(&reply.text);
    let hits =
        hits.map_err(|_| connection.foreign("its answer to 'find' is not a list of hits".to_owned()))?;
    let Found { next, left_out, damaged, .. } = reply.keys().unwrap_or_default();
    Ok((Hits { hits, left_out: left_out.unwrap_or(0), damaged: damaged.unwrap_or(0) }, next))
}

#[cfg(test)]
mod tests {
    use vang_proto::vang::write_json;

    use super::*;
    use crate::scripted::{Server, Step, error};

    fn page(re: u64, next: Option<u64>, hits: &str) -> Step {
        let keys = Found { count: 2, next, ..Found::default() };
        let hits: Box<RawValue> = serde_json::from_str(hits).unwrap();
        Step::Write(write_json(Some(&re.to_string()), &keys, &hits).to_vec())
    }

    #[test]
    fn a_search_that_took_too_long_is_not_repeated() {
        let busy = Step::Write(error(1, Code::Busy, "it took too long", &[]));
        let server = Server::start(vec![vec![Step::Request, busy]]);
        let mut search =
            Search::new(server.place(), Identity::default(), "x".to_owned(), 3, Duration::from_secs(20));
        let fault = search.next_page(&mut |fault| panic!("repeated: {fault}")).unwrap_err();
        assert!(fault.to_string().contains("it took too long"), "{fault}");
    }

    #[test]
    fn pages_are_asked_until_there_is_enough_and_a_late_index_is_asked_again() {
        let behind = Step::Write(error(1, Code::ViewBehind, "not yet", &[]));
        let server = Server::start(vec![
            vec![Step::Request, behind],
            vec![
                Step::Request,
                page(1, Some(7), r#"[{"n": 9}, {"n": 7}]"#),
                Step::Request,
                page(2, Some(3), r#"[{"n": 3}]"#),
            ],
        ]);
        let query = "chó in:lab".to_owned();
        let mut search = Search::new(server.place(), Identity::default(), query, 3, Duration::from_secs(20));
        let mut found = Vec::new();
        while let Some(hits) = search.next_page(&mut |_| {}).unwrap() {
            found.extend(hits.hits.iter().map(|hit| hit.get().to_owned()));
        }
        assert_eq!(found, [r#"{"n": 9}"#, r#"{"n": 7}"#, r#"{"n": 3}"#]);
        assert!(search.has_more());
        let asked = |server: &Server| {
            let header = server.request().header;
            (header.text("query").unwrap().into_owned(), header.number("limit"), header.number("before"))
        };
        let query = || "chó in:lab".to_owned();
        assert_eq!(asked(&server), (query(), Some(3), None));
        assert_eq!(asked(&server), (query(), Some(3), None));
        assert_eq!(asked(&server), (query(), Some(1), Some(7)));
    }
}
