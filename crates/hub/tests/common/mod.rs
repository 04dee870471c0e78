//! A hub on a journal in memory, driven by hand.

#![allow(clippy::unwrap_used, clippy::panic, dead_code, unreachable_pub)] // not every test uses all of it

use std::collections::BTreeSet;

use serde_json::Value as Json;
use vang_chat::{Node, Seq, State, Time};
use vang_hub::{Book, ColdPage, Hub, Now, Output, Peer, Read, ReadAnswer, Salts, SessionId, Trust, replay};
use vang_journal::{Appended, Identity, Journal, MemoryJournal};
use vang_proto::vang::{Action, FollowFrom, Form, Request, Ticket};
use vang_proto::{Decoder, Millis};

pub const IDENTITY: Identity = Identity { id: [1; 16], key: [2; 32], born: [1; 16] };

pub struct World {
    pub hub: Hub,
    pub journal: MemoryJournal,
    pub now: u64,
    pub replies: Vec<(SessionId, Json)>,
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
    pub fn on(mut journal: MemoryJournal, node: Node) -> World {
        let begin = (State::default(), Book::default());
        let recovered = replay(&mut journal, &IDENTITY, begin, Seq(0), &mut |_| Ok(())).unwrap();
        let mut hub = Hub::new(IDENTITY, recovered, node, Salts::new([3; 32]), "test".to_owned(), true);
        // Its people need no data folder.
        hub.set_trust(Trust::Local);
        let operator = hub.connect(Peer::Operator);
        let (replies, woken, reads) = (Vec::new(), BTreeSet::new(), Vec::new());
        let mut world = World { hub, journal, now: 0, replies, woken, reads, answers_reads: true, operator };
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
                        let answer = match &job.read {
                            Read::Locate(asked) => ReadAnswer::Located(vec![None; asked.len()]),
                            _ => ReadAnswer::Page(ColdPage {
                                upto: self.hub.state().seq(),
                                ..ColdPage::default()
                            }),
                        };
                        self.hub.answer_read(job.id, Ok(answer));
                    }
                    Output::Read(job) => self.reads.push(job.id),
                    Output::Reply { session, bytes, .. } => {
                        let mut decoder = Decoder::default();
                        decoder.feed(&bytes);
                        let frame = decoder.poll_frame().unwrap().unwrap();
                        self.replies.push((session, serde_json::from_slice(frame.header.json()).unwrap()));
                    }
                    Output::Wake { session } => drop(self.woken.insert(session)),
                    _ => {}
                }
            }
            if !any {
                return;
            }
        }
    }

    pub fn ask(&mut self, session: SessionId, name: Option<&str>, action: Action) -> Json {
        let request = Request { form: Form::Header, re: None, name: name.map(str::to_owned), action };
        self.hub.request(session, Ticket(0), request);
        self.turn();
        self.replies.pop().map(|(_, header)| header).unwrap_or_default()
    }

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
    Action::Send {
        room: room.to_owned(),
        id: None,
        content_type: "text/plain".to_owned(),
        content_encoding: "utf-8".to_owned(),
        content: "x".into(),
    }
}

pub fn follow(rooms: Vec<String>, from: FollowFrom) -> Action {
    Action::Follow { rooms, from }
}
