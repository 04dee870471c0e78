//! What a following client received, compared with what it should have received.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use vang_chat::{AccountId, Feed};
use vang_proto::vang::{
    Action, Advice, Event, EventMessage, FeedName, FollowFrom, Follower, NewStart, Reply, RequestWriter,
    RoomEvent,
};

use crate::feeds::{ExpectedValues, KeyedFeeds};
use crate::model::{EventBody, SeenEvent, content_print, first_word};
use crate::scene::Scene;

/// Where following starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    Now,
    /// At the first message.
    Beginning,
    /// After these message numbers, one for each room.
    Numbers(Vec<u64>),
}

impl Since {
    fn numbers(&self, rooms: usize) -> Option<Vec<u64>> {
        match self {
            Since::Now => None,
            Since::Beginning => Some(vec![0; rooms]),
            Since::Numbers(numbers) => Some(numbers.clone()),
        }
    }
}

/// What came of asking to follow.
#[derive(Debug)]
pub(crate) enum Followed {
    Yes,
    /// Ask again, with these bytes.
    Send(Bytes),
    Later,
    /// Refused, with this code.
    No(String),
}

/// The rooms and feeds that a client follows, over any number of connections.
#[derive(Debug)]
pub(crate) struct Following {
    pub(crate) follower: Follower,
    pub(crate) rooms: Vec<String>,
    pub(crate) feeds: Vec<FeedName>,
    /// The received events, in order.
    pub(crate) log: Vec<SeenEvent>,
    /// Entries of other received events: those of rooms that were added later on a connection.
    pub(crate) elsewhere: BTreeSet<u64>,
    /// The server's run of the last event.
    pub(crate) run: Option<u32>,
    since: Since,
    starts: BTreeMap<String, Start>,
    pub(crate) keyed: KeyedFeeds,
    resumed: bool,
    /// The last number of each room: that of its last event, also of a lost one, or the one that it started after.
    numbers: BTreeMap<String, u64>,
}

/// Where a room's events start.
#[derive(Clone, Copy, Debug, Default)]
struct Start {
    /// After this entry; `None`: at the first received event.
    after: Option<u64>,
    /// Messages start after this number.
    since: u64,
}

impl Following {
    pub(crate) fn new(
        name: Option<String>,
        (rooms, feeds): (Vec<String>, Vec<FeedName>),
        since: Since,
    ) -> Following {
        let from = since.numbers(rooms.len());
        let numbers = rooms.iter().cloned().zip(from.iter().flatten().copied()).collect();
        let follower = Follower::new(name, rooms.clone(), from).with_feeds(feeds.clone());
        Following {
            follower,
            rooms,
            feeds,
            log: Vec::new(),
            elsewhere: BTreeSet::new(),
            run: None,
            since,
            starts: BTreeMap::new(),
            keyed: KeyedFeeds::default(),
            resumed: false,
            numbers,
        }
    }

    /// The reply to `follow`, on a connection to this run of the server, which had applied `applied` at the request.
    pub(crate) fn take_reply(
        &mut self,
        scene: &mut Scene,
        who: &str,
        (run, applied): (u32, u64),
        writer: &RequestWriter,
        reply: &Reply,
    ) -> Followed {
        let before = self.follower.seq();
        let seq = reply.keys().map_or(0, |vang_proto::vang::Following { seq, .. }| seq);
        match self.follower.handle_reply(reply) {
            Advice::Follows => {
                self.agreed(scene, who, (run, applied), before, seq);
                Followed::Yes
            }
            Advice::Send(opening, NewStart::SetBack { seq }) => {
                self.set_back(scene, who, run, before.unwrap_or_default(), seq);
                Followed::Send(opening)
            }
            Advice::Send(opening, NewStart::OtherJournal) => {
                self.start_again(scene, who, writer, &opening);
                Followed::Send(opening)
            }
            Advice::Retry(_) => Followed::Later,
            Advice::GiveUp { code, .. } => Followed::No(code),
        }
    }

    /// A new event came, of this run of the server.
    pub(crate) fn received(&mut self, run: u32, seen: SeenEvent) {
        self.run = Some(run);
        if let Some(n) = seen.what.n() {
            self.numbers.insert(seen.room.clone(), n);
        }
        self.log.push(seen);
    }

    /// The server accepted `follow` at `seq`; `before` is the client's position, `applied` the server's last
    /// applied entry at the request.
    fn agreed(
        &mut self,
        scene: &mut Scene,
        who: &str,
        (run, applied): (u32, u64),
        before: Option<u64>,
        seq: u64,
    ) {
        match (before, self.run) {
            (Some(before), Some(last_run)) => {
                assert!(
                    scene.survives(last_run, before),
                    "{who} resumed at {before}, which an older copy lost, without being notified"
                );
                assert_eq!(seq, before, "{who} continues at another position than it resumed");
                scene.env.count("resumed");
                if !self.feeds.is_empty() {
                    scene.env.count("resumed feeds of an account or the server");
                }
                self.resumed = true;
                self.keyed.resumed(before);
                for start in self.starts.values_mut() {
                    if let Some(after) = start.after.filter(|&after| !scene.survives(last_run, after)) {
                        *start = Start { after: Some(scene.common(last_run, after)), since: 0 };
                    }
                }
            }
            _ => self.begin(scene, (run, applied), seq),
        }
        self.run = Some(run);
    }

    fn begin(&mut self, scene: &Scene, (run, applied): (u32, u64), seq: u64) {
        let between = match self.since {
            Since::Now => (seq, seq),
            // Room numbers say nothing of feeds: they begin with what comes next.
            Since::Beginning | Since::Numbers(_) => (applied, scene.applied),
        };
        self.keyed = KeyedFeeds::begun(&self.feeds, run, between);
        let numbers = self.since.numbers(self.rooms.len());
        for (index, room) in self.rooms.iter().enumerate() {
            let start = match numbers.as_ref().map(|numbers| numbers[index]) {
                None => Start { after: Some(seq), since: 0 },
                Some(0) => Start { after: Some(0), since: 0 },
                // A number that the room had not reached: following starts with the next event, wherever that
                // is.
                Some(n) => match scene.model.seq_of(room, n).filter(|&seq| seq <= applied) {
                    Some(seq) => Start { after: Some(seq), since: n },
                    None => Start { after: None, since: 0 },
                },
            };
            self.starts.insert(room.clone(), start);
        }
    }

    /// The server reported an older copy with the common position `common`.
    fn set_back(&mut self, scene: &mut Scene, who: &str, run: u32, before: u64, common: u64) {
        let last_run = self.run.expect("it resumed");
        assert_eq!(
            common,
            scene.common(last_run, before),
            "{who} was given a wrong common position, at {before}"
        );
        scene.env.count("set back to the common position");
        self.log.retain(|seen| seen.seq <= common);
        self.elsewhere.retain(|&seq| seq <= common);
        self.keyed.set_back(common);
        for start in self.starts.values_mut() {
            if start.after.is_some_and(|after| after > common) {
                *start = Start { after: Some(common), since: 0 };
            }
        }
        self.run = Some(run);
    }

    /// The server knows no common position. The client now asks, with these bytes, for what comes after the last number
    /// of each room; without a number of each, for what comes next.
    fn start_again(&mut self, scene: &mut Scene, who: &str, writer: &RequestWriter, asked: &Bytes) {
        let last_run = self.run.expect("it resumed");
        assert!(scene.may_be_lost(last_run), "{who} had to start from room numbers without need");
        scene.env.count("set back beyond the known positions");
        let numbers: Option<Vec<u64>> =
            self.rooms.iter().map(|room| self.numbers.get(room).copied()).collect();
        let from = numbers.filter(|numbers| !numbers.is_empty());
        self.since = from.clone().map_or(Since::Now, Since::Numbers);
        let from = from.map_or(FollowFrom::Now, FollowFrom::Numbers);
        let (rooms, feeds) = (self.rooms.clone(), self.feeds.clone());
        let expected = writer.write(0, &Action::Follow { rooms, feeds, from });
        assert_eq!(asked, &expected, "{who} starts again, and not from its last room numbers");
        self.resumed = false;
        self.log.clear();
        self.elsewhere.clear();
        self.starts.clear();
        self.run = None;
    }

    /// Checks the received events; `complete`: up to the journal's end. Returns how many values of feeds were replaced before
    /// they were received.
    pub(crate) fn check(&self, scene: &Scene, who: &str, account: Option<u64>, complete: bool) -> usize {
        let Some(run) = self.run else { return 0 };
        let Some(seq) = self.follower.seq() else { return 0 };
        if !scene.survives(run, seq) {
            return 0;
        }
        let values = self.values(scene, account);
        let (mut expected, mut early_holes) = (Vec::new(), Vec::new());
        for (room, start) in &self.starts {
            let mut seen = scene.model.expected_events(account, room);
            let first = self.log.iter().find(|seen| seen.room == *room && !values.has(seen));
            let first = first.map(|seen| seen.seq);
            // Without a known start, only later gaps can be checked.
            let after = start.after.or(first.map(|first| first - 1)).unwrap_or(u64::MAX);
            seen.retain(|seen| seen.seq > after);
            // A hole before the reader's start: the reader gets the join instead, or the hole from a server
            // that does not know the reader's start any more.
            let ends_early = |seen: &SeenEvent| seen.what.n().is_some_and(|n| n <= start.since);
            early_holes.extend(seen.iter().filter(|seen| ends_early(seen)).map(|seen| seen.seq));
            expected.extend(seen.into_iter().filter_map(|seen| trim(seen, start.since)));
        }
        expected.sort_by_key(|seen| seen.seq);
        if !complete {
            let last = self.log.last().map_or(0, |seen| seen.seq);
            expected.retain(|seen| seen.seq <= last);
        }
        let of_rooms: BTreeSet<u64> = expected.iter().map(|seen| seen.seq).collect();
        let log = self.log.iter().cloned().filter_map(|seen| {
            if !of_rooms.contains(&seen.seq) && values.has(&seen) {
                return None;
            }
            let start = self.starts.get(&seen.room).copied().unwrap_or_default();
            // A session has one position: with several rooms followed from numbers it is the earliest one, and
            // a resumed reader also receives messages before the numbers of the other rooms.
            let early = self.resumed && start.after.is_some_and(|after| seen.seq <= after);
            if early || early_holes.contains(&seen.seq) { None } else { trim(seen, start.since) }
        });
        compare(who, &expected, &log.collect::<Vec<_>>());
        let mut heard: BTreeSet<u64> = self.log.iter().map(|seen| seen.seq).collect();
        heard.extend(&self.elsewhere);
        let upto = if complete { scene.model.seq().0 } else { heard.last().copied().unwrap_or(0) };
        values.check(who, &heard, upto, &scene.lost_values)
    }

    /// The values of its feeds.
    pub(crate) fn values(&self, scene: &Scene, account: Option<u64>) -> ExpectedValues {
        self.keyed.expected(&scene.model, account)
    }

    /// The newest received value of each key of the account's feed, after an entry.
    pub(crate) fn newest_values(&self, scene: &Scene, account: u64, after: u64) -> BTreeMap<u64, u64> {
        let heard = |seq: &u64| self.elsewhere.contains(seq) || self.log.iter().any(|seen| seen.seq == *seq);
        let values = scene.model.values(Feed::Account(AccountId(account)));
        let received = values.into_iter().filter(|value| value.seen.seq > after && heard(&value.seen.seq));
        received.map(|value| (value.key, value.seen.seq)).collect()
    }

    /// Where the account's feed starts to be complete.
    pub(crate) fn account_feed_start(&self) -> Option<u64> {
        self.keyed.start(FeedName::Account)
    }
}

/// A hole starts at the reader's start at the earliest.
fn trim(mut seen: SeenEvent, since: u64) -> Option<SeenEvent> {
    if let EventBody::Hole { from, to } = &mut seen.what {
        *from = (*from).max(since + 1);
        if from > to {
            return None;
        }
    }
    Some(seen)
}

/// Fails with the first difference.
pub(crate) fn compare(who: &str, expected: &[SeenEvent], got: &[SeenEvent]) {
    let same = expected.iter().zip(got).take_while(|(a, b)| a == b).count();
    match (expected.get(same), got.get(same)) {
        (None, None) => {}
        (Some(expected), None) => panic!("{who} never received seq {}: {expected:?}", expected.seq),
        (None, Some(got)) => panic!("{who} received seq {} and should not: {got:?}", got.seq),
        (Some(expected), Some(got)) => panic!(
            "{who} {} seq {}: expected {expected:?}, got {got:?}",
            match expected.seq.cmp(&got.seq) {
                std::cmp::Ordering::Less => "never received",
                std::cmp::Ordering::Equal => "received another",
                std::cmp::Ordering::Greater => "should not have received",
            },
            expected.seq.min(got.seq)
        ),
    }
}

/// Converts a received event; `None` for one without a position.
pub(crate) fn read(message: &EventMessage) -> Option<SeenEvent> {
    let (seq, room, what) = match &message.event {
        Event::Room { seq, room, what } => (*seq, room.clone(), what),
        Event::SeveralRooms { seq, .. } => panic!("an event about several rooms at {seq}"),
        Event::Connection(_) => return None,
        Event::Unknown { name, .. } => panic!("an event '{name}'"),
    };
    let what = match what {
        RoomEvent::Message { n, from, .. } => EventBody::Message {
            n: *n,
            from: from.to_string(),
            word: first_word(&message.content),
            print: content_print(
                &message.header.content_type(),
                &message.header.content_encoding(),
                &message.content,
            ),
        },
        RoomEvent::Joined { from, .. } => EventBody::Joined { from: from.to_string() },
        RoomEvent::Left { from, .. } => EventBody::Left { from: from.to_string() },
        RoomEvent::Created { from, .. } => EventBody::Created { from: from.to_string() },
        RoomEvent::Topic { from, topic, .. } => {
            EventBody::Topic { from: from.to_string(), topic: topic.clone() }
        }
        RoomEvent::Hole { from, to, why } => {
            assert_eq!(why, "not-member");
            EventBody::Hole { from: *from, to: *to }
        }
    };
    Some(SeenEvent { seq, room, what })
}
