//! A hub on a journal in memory, driven by hand.

#![allow(clippy::unwrap_used, clippy::panic, dead_code, unreachable_pub)] // not every test uses all of it

use std::collections::BTreeSet;

use serde_json::Value as Json;
use vang_chat::{Node, Seq, State, Time};
use vang_hub::{
    Book, ColdPage, Delta, Hub, Now, Output, Peer, Read, ReadAnswer, ReadJob, Salts, SessionId, Trust, replay,
};
use vang_journal::{Appended, Identity, Journal, MemoryJournal};
use vang_proto::vang::{Action, FollowFrom, Form, Incoming, Request, Ticket, incoming};
use vang_proto::{Decoder, Millis};

pub const IDENTITY: Identity = Identity { id: [1; 16], key: [2; 32], born: [1; 16] };

/// The view and the index of a world, with their readers.
pub trait Disk {
    fn update(&mut self, delta: Delta);
    /// `at` is where the hub is now.
    fn answer(&mut self, journal: &MemoryJournal, job: &ReadJob, at: Seq) -> ReadAnswer;
}

/// A view without a row.
pub struct EmptyView;

impl Disk for EmptyView {
    fn update(&mut self, _delta: Delta) {}

    fn answer(&mut self, _journal: &MemoryJournal, job: &ReadJob, at: Seq) -> ReadAnswer {
        match &job.read {
            Read::Locate(asked) => ReadAnswer::Located(vec![None; asked.len()]),
            _ => ReadAnswer::Page(ColdPage { upto: at, ..ColdPage::default() }),
        }
    }
}

/// A reply: its header, and the content's `result`.
pub struct Reply {
    pub session: SessionId,
    pub header: Json,
    pub result: Json,
}

pub struct World<D = EmptyView> {
    pub hub: Hub,
    pub journal: MemoryJournal,
    pub disk: D,
    /// Milliseconds since the world began.
    pub now: u64,
    pub replies: Vec<Reply>,
    pub woken: BTreeSet<SessionId>,
    /// Kept back: what the disk was asked.
    pub reads: Vec<u64>,
    pub answers_reads: bool,
    pub operator: SessionId,
}

impl World {
    pub fn new() -> World {
        World::on(MemoryJournal::new(IDENTITY), Node(7))
    }

    /// A process that opens a journal, which others may have opened before.
    pub fn on(journal: MemoryJournal, node: Node) -> World {
        World::with(EmptyView, journal, node)
    }
}

impl<D: Disk> World<D> {
    pub fn with(disk: D, mut journal: MemoryJournal, node: Node) -> World<D> {
        let begin = (State::default(), Book::default());
        let recovered = replay(&mut journal, &IDENTITY, begin, Seq(0), &mut |_| Ok(())).unwrap();
        let mut hub = Hub::new(IDENTITY, recovered, node, Salts::new([3; 32]), "test".to_owned(), true);
        // Its people need no data folder.
        hub.set_trust(Trust::Local);
        let operator = hub.connect(Peer::Operator);
        let mut world = World {
            hub,
            journal,
            disk,
            now: 0,
            replies: Vec::new(),
            woken: BTreeSet::new(),
            reads: Vec::new(),
            answers_reads: true,
            operator,
        };
        world.turn();
        world
    }

    pub fn now(&self) -> Now {
        Now { wall: Time(1_777_593_600_000 + self.now), steady: Millis(self.now) }
    }

    pub fn turn(&mut self) {
        loop {
            self.now += 1;
            self.hub.poll(self.now());
            let mut any = false;
            while let Some(output) = self.hub.poll_output() {
                any = true;
                match output {
                    Output::Append(batch) => {
                        let appended = self.journal.append(&batch);
                        let Appended::Appended { first } = appended else { panic!("{appended:?}") };
                        self.hub.appended(self.now(), appended);
                        self.hub.arrived(batch.into_entries(first));
                    }
                    Output::Read(job) if self.answers_reads => {
                        let answer = self.disk.answer(&self.journal, &job, self.hub.state().seq());
                        self.hub.answer_read(job.id, Ok(answer));
                    }
                    Output::Read(job) => self.reads.push(job.id),
                    Output::Reply { session, bytes, .. } => {
                        let mut decoder = Decoder::default();
                        decoder.feed(&bytes);
                        let frame = decoder.poll_frame().unwrap().unwrap();
                        let header = serde_json::from_slice(frame.header.json()).unwrap();
                        // A page of history is no JSON value.
                        let content: Json = serde_json::from_slice(&frame.content).unwrap_or_default();
                        assert!(matches!(incoming(frame), Ok(Incoming::Reply(_))));
                        self.replies.push(Reply { session, header, result: content["result"].clone() });
                    }
                    Output::Wake { session } => drop(self.woken.insert(session)),
                    Output::UpdateView(delta) => self.disk.update(delta),
                    Output::Settle { .. }
                    | Output::Follows { .. }
                    | Output::Pause { .. }
                    | Output::Close { .. } => {}
                    Output::Erase(seqs) => {
                        self.journal.erase(&seqs).unwrap();
                        self.hub.erased();
                    }
                    Output::Secret(_) => panic!("who tries a password answers it"),
                }
            }
            if !any {
                return;
            }
        }
    }

    /// The header of the reply; `null` if there is none yet.
    pub fn ask(&mut self, session: SessionId, name: Option<&str>, action: Action) -> Json {
        self.reply(session, name, action).map(|reply| reply.header).unwrap_or_default()
    }

    pub fn reply(&mut self, session: SessionId, name: Option<&str>, action: Action) -> Option<Reply> {
        let request = Request { form: Form::Header, re: None, name: name.map(str::to_owned), action };
        self.hub.request(session, Ticket(0), request);
        self.turn();
        self.replies.pop()
    }

    /// Asks once, on a connection of its own.
    pub fn once(&mut self, name: &str, action: Action) -> Json {
        let session = self.hub.connect(Peer::Local);
        let header = self.ask(session, Some(name), action);
        self.hub.disconnect(session);
        header
    }

    pub fn pull(&mut self, session: SessionId) -> Vec<Json> {
        let mut out = Vec::new();
        while self.hub.pull(session, &mut out) {}
        self.turn();
        self.woken.remove(&session);
        let mut decoder = Decoder::default();
        out.iter().for_each(|bytes| decoder.feed(bytes));
        let frames = std::iter::from_fn(|| decoder.poll_frame().unwrap());
        frames.map(|frame| serde_json::from_slice(frame.header.json()).unwrap()).collect()
    }
}

pub fn room(number: usize) -> String {
    format!("room{number}")
}

pub fn say(room: &str) -> Action {
    say_text(room, "x")
}

pub fn say_text(room: &str, text: &str) -> Action {
    Action::Send {
        room: room.to_owned(),
        id: None,
        content_type: "text/plain".to_owned(),
        content_encoding: "utf-8".to_owned(),
        content: text.to_owned().into(),
    }
}

pub fn follow(rooms: Vec<String>, from: FollowFrom) -> Action {
    Action::Follow { rooms, feeds: Vec::new(), from }
}
