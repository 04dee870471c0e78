//! What a client that follows rooms has been told, and whether it is what it should have been told.

use std::collections::BTreeMap;

use vang_proto::vang::{Event, Follower};

use crate::model::{Told, What, content_print, first_word};
use crate::scene::Scene;

/// Where following begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// With what comes next.
    Now,
    /// With the first message.
    Beginning,
    /// After these numbers, one for each room.
    Numbers(Vec<u64>),
}

/// A client's following of some rooms, over any number of connections.
#[derive(Debug)]
pub(crate) struct Following {
    /// The real one.
    pub(crate) follower: Follower,
    /// Which rooms.
    pub(crate) rooms: Vec<String>,
    /// What it was told, in the order in which it came.
    pub(crate) log: Vec<Told>,
    /// The run of the server that told it last.
    pub(crate) run: Option<u32>,
    since: Since,
    starts: BTreeMap<String, Start>,
    resumed: bool,
    /// Set back, and then beyond what is known: the follower's numbers are those of what was lost, and it
    /// begins where the room happens to have them.
    begins_anywhere: bool,
    was_set_back: bool,
}

/// Where a room's events begin.
#[derive(Clone, Copy, Debug, Default)]
struct Start {
    /// After this entry; `None`: with whatever came first.
    after: Option<u64>,
    /// Messages begin after this one.
    since: u64,
}

impl Following {
    /// Begins.
    pub(crate) fn new(name: Option<String>, rooms: Vec<String>, since: Since) -> Following {
        let numbers = match &since {
            Since::Now => None,
            Since::Beginning => Some(vec![0; rooms.len()]),
            Since::Numbers(numbers) => Some(numbers.clone()),
        };
        let follower = Follower::new(name, rooms.clone(), numbers);
        Following {
            follower,
            rooms,
            log: Vec::new(),
            run: None,
            since,
            starts: BTreeMap::new(),
            resumed: false,
            begins_anywhere: false,
            was_set_back: false,
        }
    }

    /// The server agreed, at `seq`; `before` is where we stood, `applied` what it knew when it was asked.
    pub(crate) fn agreed(
        &mut self,
        scene: &mut Scene,
        who: &str,
        (run, applied): (u32, u64),
        before: Option<u64>,
        seq: u64,
    ) {
        match (before, self.run) {
            (Some(before), Some(told_by)) => {
                assert!(
                    scene.survives(told_by, before),
                    "{who} resumed at {before}, which an older copy lost, and was not told"
                );
                assert_eq!(seq, before, "{who} goes on somewhere else than where it resumed");
                scene.fate.count("resumed");
                self.resumed = true;
                for start in self.starts.values_mut() {
                    if let Some(after) = start.after.filter(|&after| !scene.survives(told_by, after)) {
                        *start = Start { after: Some(scene.common(told_by, after)), since: 0 };
                    }
                }
            }
            _ => self.begin(scene, applied, seq),
        }
        self.run = Some(run);
    }

    fn begin(&mut self, scene: &Scene, applied: u64, seq: u64) {
        let numbers = match &self.since {
            Since::Now => None,
            Since::Beginning => Some(vec![0; self.rooms.len()]),
            Since::Numbers(numbers) => Some(numbers.clone()),
        };
        for (index, room) in self.rooms.iter().enumerate() {
            if self.begins_anywhere {
                self.starts.insert(room.clone(), Start::default());
                continue;
            }
            let start = match numbers.as_ref().map(|numbers| numbers[index]) {
                None => Start { after: Some(seq), since: 0 },
                Some(0) => Start { after: Some(0), since: 0 },
                // A number that the room had not reached: it begins with what comes next, somewhere.
                Some(n) => match scene.model.seq_of(room, n).filter(|&seq| seq <= applied) {
                    Some(seq) => Start { after: Some(seq), since: n },
                    None => Start { after: None, since: 0 },
                },
            };
            self.starts.insert(room.clone(), start);
        }
    }

    /// The server said that an older copy was put back, and that we have everything up to `common` in common.
    pub(crate) fn set_back(&mut self, scene: &mut Scene, who: &str, run: u32, before: u64, common: u64) {
        let told_by = self.run.expect("it resumed");
        assert_eq!(
            common,
            scene.common(told_by, before),
            "{who} was told another common point than there is, at {before}"
        );
        scene.fate.count("set back and told the common point");
        self.was_set_back = true;
        self.log.retain(|told| told.seq <= common);
        for start in self.starts.values_mut() {
            if start.after.is_some_and(|after| after > common) {
                *start = Start { after: Some(common), since: 0 };
            }
        }
        self.run = Some(run);
    }

    /// The server said that nothing in common is known.
    pub(crate) fn start_again(&mut self, scene: &mut Scene, who: &str) {
        let told_by = self.run.expect("it resumed");
        assert!(scene.may_be_lost(told_by), "{who} was sent back to room numbers without need");
        scene.fate.count("set back beyond what is known");
        self.begins_anywhere = self.was_set_back;
        let seen = self.rooms.iter().map(|room| {
            let mut of_room = self.log.iter().rev().filter(|told| told.room == *room);
            of_room.find_map(|told| told.what.n())
        });
        self.since = match seen.collect::<Option<Vec<u64>>>() {
            Some(numbers) => Since::Numbers(numbers),
            None => Since::Now,
        };
        self.log.clear();
        self.starts.clear();
        self.run = None;
    }

    /// Everything that it was told is what it should have been told; `complete`: up to the end.
    pub(crate) fn check(&self, scene: &Scene, who: &str, account: Option<u64>, complete: bool) {
        let Some(run) = self.run else { return };
        let Some(seq) = self.follower.seq() else { return };
        if !scene.survives(run, seq) {
            return;
        }
        let (mut expected, mut early_holes) = (Vec::new(), Vec::new());
        for (room, start) in &self.starts {
            let mut told = scene.model.told(account, room);
            let first = self.log.iter().find(|told| told.room == *room).map(|told| told.seq);
            // Where it began is not known: then it is known only that nothing is missing since.
            let after = start.after.or(first.map(|first| first - 1)).unwrap_or(u64::MAX);
            told.retain(|told| told.seq > after);
            // A hole that ends before the reader begins: then the joining is told instead, or the hole by a
            // server that does not know any more where the reader began.
            let ends_early = |told: &Told| told.what.n().is_some_and(|n| n <= start.since);
            early_holes.extend(told.iter().filter(|told| ends_early(told)).map(|told| told.seq));
            expected.extend(told.into_iter().filter_map(|told| trim(told, start.since)));
        }
        expected.sort_by_key(|told| told.seq);
        if !complete {
            let last = self.log.last().map_or(0, |told| told.seq);
            expected.retain(|told| told.seq <= last);
        }
        let log = self.log.iter().cloned().filter_map(|told| {
            let start = self.starts.get(&told.room).copied().unwrap_or_default();
            // A session has one position: of several rooms that were followed from numbers, it is where the
            // earliest begins, and who resumes there is told also what came before the numbers of the others.
            let early = self.resumed && start.after.is_some_and(|after| told.seq <= after);
            if early || early_holes.contains(&told.seq) { None } else { trim(told, start.since) }
        });
        compare(who, &expected, &log.collect::<Vec<_>>());
    }
}

/// A hole begins no earlier than the reader does.
fn trim(mut told: Told, since: u64) -> Option<Told> {
    if let What::Hole { from, to } = &mut told.what {
        *from = (*from).max(since + 1);
        if from > to {
            return None;
        }
    }
    Some(told)
}

/// Fails with the first difference, in words.
pub(crate) fn compare(who: &str, expected: &[Told], got: &[Told]) {
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

/// An event as it came, as what it tells; `None` for one without a place.
pub(crate) fn read(event: &Event) -> Option<Told> {
    let text = |key| event.header.text(key).map(std::borrow::Cow::into_owned).unwrap_or_default();
    let number = |key| event.header.number(key).unwrap_or_default();
    let from = text("from");
    let what = match event.kind.as_str() {
        "message" => What::Message {
            n: number("n"),
            from,
            word: first_word(&event.content),
            print: content_print(
                &event.header.content_type(),
                &event.header.content_encoding(),
                &event.content,
            ),
        },
        "joined" => What::Joined { from },
        "left" => What::Left { from },
        "room-created" => What::Created { from },
        "hole" => {
            assert_eq!(text("why"), "not-member");
            What::Hole { from: number("from"), to: number("to") }
        }
        "closing" => return None,
        other => panic!("an event '{other}'"),
    };
    Some(Told {
        seq: event.seq.expect("it has a place"),
        room: event.room.clone().expect("it has a room"),
        what,
    })
}
