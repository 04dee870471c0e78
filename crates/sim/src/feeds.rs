//! The feeds of accounts and of the server, as a client received them: what it must have, can have, and must not have.
//!
//! These feeds have values under keys. A client can miss a value that a later one with the same key replaced; the newest of
//! each key it must have (docs/PROTOCOL.md section 5). It must have no value of a feed that is not its own.

use std::collections::{BTreeMap, BTreeSet};

use vang_chat::{AccountId, Feed};
use vang_proto::vang::FeedName;

use crate::model::{Model, SeenEvent, Value};
use crate::rng::Rng;

/// Values that an older copy of the journal has lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LostValue {
    /// The last run of the server that knew them.
    pub(crate) before: u32,
    pub(crate) feed: Feed,
    pub(crate) key: u64,
    /// The last kept entry.
    pub(crate) to: u64,
}

/// Where a feed starts.
#[derive(Clone, Copy, Debug)]
struct Start {
    /// It has no value up to this entry, unless the client has resumed: a session has one position.
    none_upto: u64,
    /// It has all after this entry.
    all_after: u64,
    /// A second `follow` on a connection added it: it ends with the connection.
    is_added: bool,
    /// The last entry received before it ended.
    ended: Option<u64>,
}

/// The feeds that a client follows beside those of rooms, over any number of connections.
#[derive(Debug, Default)]
pub(crate) struct KeyedFeeds {
    starts: Vec<(FeedName, Start)>,
    resumed: bool,
    /// The run of the server with which following began.
    run: u32,
}

impl KeyedFeeds {
    /// Following began in this run: somewhere after `from`, at `upto` at the latest.
    pub(crate) fn begun(names: &[FeedName], run: u32, (from, upto): (u64, u64)) -> KeyedFeeds {
        let start = Start { none_upto: from, all_after: upto, is_added: false, ended: None };
        KeyedFeeds { starts: names.iter().map(|&name| (name, start)).collect(), resumed: false, run }
    }

    /// Does the client follow it now?
    pub(crate) fn has(&self, name: FeedName) -> bool {
        self.starts.iter().any(|(known, start)| *known == name && start.ended.is_none())
    }

    /// A second `follow` added these, after the first of these entries and at the second at the latest.
    pub(crate) fn add(&mut self, names: &[FeedName], (from, upto): (u64, u64)) {
        let start = Start { none_upto: from, all_after: upto, is_added: true, ended: None };
        self.starts.extend(names.iter().map(|&name| (name, start)));
    }

    /// The connection ended; this was the last entry that it received.
    pub(crate) fn connection_ended(&mut self, last: u64) {
        for (_, start) in &mut self.starts {
            if start.is_added && start.ended.is_none() {
                start.ended = Some(last);
            }
        }
    }

    /// The client continues after this position, and all that follows comes.
    pub(crate) fn resumed(&mut self, position: u64) {
        self.resumed = true;
        for (_, start) in self.starts.iter_mut().filter(|(_, start)| !start.is_added) {
            start.all_after = start.all_after.min(position);
        }
    }

    /// The client was set back to this position: a value before it can be one that a lost one had replaced.
    pub(crate) fn set_back(&mut self, common: u64) {
        for (_, start) in &mut self.starts {
            start.none_upto = start.none_upto.min(common);
            start.all_after = common;
            start.ended = start.ended.map(|ended| ended.min(common));
        }
    }

    /// The entry after which the client has everything of a feed.
    pub(crate) fn start(&self, name: FeedName) -> Option<u64> {
        self.starts
            .iter()
            .find(|(known, start)| *known == name && !start.is_added)
            .map(|(_, start)| start.all_after)
    }

    /// Their values in the journal.
    pub(crate) fn expected(&self, model: &Model, account: Option<u64>) -> ExpectedValues {
        let feeds = self.starts.iter().filter_map(|&(name, start)| Some((feed(name, account)?, start)));
        let values: Vec<_> = feeds.map(|(feed, start)| (feed, start, model.values(feed))).collect();
        let by_seq = values.iter().flat_map(|(_, start, values)| {
            let first = if self.resumed && !start.is_added { 0 } else { start.none_upto + 1 };
            let range = first..=start.ended.unwrap_or(u64::MAX);
            let there = values.iter().filter(move |value| range.contains(&value.seen.seq));
            there.map(|value| (value.seen.seq, value.seen.clone()))
        });
        ExpectedValues { by_seq: by_seq.collect(), values, run: self.run }
    }
}

/// Any of the feeds beside those of rooms that somebody can follow.
pub(crate) fn some_feeds(rng: &mut Rng, has_account: bool) -> Vec<FeedName> {
    let mut feeds = FeedName::ALL.to_vec();
    feeds.retain(|feed| (*feed != FeedName::Account || has_account) && rng.happens(600));
    feeds
}

fn feed(name: FeedName, account: Option<u64>) -> Option<Feed> {
    match name {
        FeedName::Account => account.map(|account| Feed::Account(AccountId(account))),
        FeedName::Server => Some(Feed::Server),
    }
}

/// What a client's feeds can show, and what of it the client must have.
pub(crate) struct ExpectedValues {
    values: Vec<(Feed, Start, Vec<Value>)>,
    by_seq: BTreeMap<u64, SeenEvent>,
    run: u32,
}

impl ExpectedValues {
    /// Is this event one of them?
    pub(crate) fn has(&self, seen: &SeenEvent) -> bool {
        self.by_seq.get(&seen.seq) == Some(seen)
    }

    /// Checks that nothing is missing of what the client must have `upto` this entry; `heard`: the entries of all events that
    /// it received. Returns how many values it did not receive, since later ones had replaced them.
    pub(crate) fn check(&self, who: &str, heard: &BTreeSet<u64>, upto: u64, lost: &[LostValue]) -> usize {
        let mut replaced = 0;
        for (feed, start, values) in &self.values {
            let newest: BTreeMap<u64, u64> = values.iter().map(|value| (value.key, value.seen.seq)).collect();
            for Value { key, seen } in values {
                let is_due = seen.seq > start.all_after && seen.seq <= start.ended.unwrap_or(upto).min(upto);
                if !is_due || heard.contains(&seen.seq) {
                    continue;
                }
                // A lost value can have replaced it, before the client read it.
                let is_lost = |lost: &&LostValue| {
                    (lost.feed, lost.key) == (*feed, *key) && seen.seq <= lost.to && self.run <= lost.before
                };
                let is_excused = newest[key] > seen.seq || lost.iter().any(|lost| is_lost(&lost));
                assert!(is_excused, "{who} never received seq {} of {feed:?}: {seen:?}", seen.seq);
                replaced += 1;
            }
        }
        replaced
    }
}
