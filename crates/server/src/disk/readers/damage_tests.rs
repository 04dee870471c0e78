//! One flipped bit in the journal or in the view, read by everybody: history, follow from the disk, find. What
//! is shown is what was written, or a hole says that it is damaged; nothing is called erased, and no number is
//! missing without a word.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use bytes::Bytes;
use serde_json::Value as Json;
use vang_chat::{Node, State, Time};
use vang_hub::{Book, Hub, Now, Output, Peer, Salts, SessionId, Trust, replay};
use vang_journal::{
    Appended, Damages, Durability, Entry, Maintain, hold_journal, open_journal, read_journal,
};
use vang_proto::vang::{Access, Action, FollowFrom, Form, Request, Ticket};
use vang_proto::{Decoder, Millis};
use vang_view::{Index, IndexReader, View};

use super::*;
use crate::start::chains;

/// Everything that a reader was given, by entry; and what was answered to find.
#[derive(Default)]
struct Given {
    history: BTreeMap<u64, (Json, Bytes)>,
    follow: BTreeMap<u64, (Json, Bytes)>,
    find: Vec<Json>,
    damaged_hits: u64,
    /// The view was found damaged; the client got an error that says to try again.
    must_retry: bool,
}

struct Scene {
    folder: tempfile::TempDir,
    hub: Hub,
    end: Seq,
}

fn now(minutes: u64) -> Now {
    Now { wall: Time(1_777_593_600_000 + minutes * 60_000), steady: Millis(minutes * 60_000) }
}

fn request(name: Option<&str>, action: Action) -> Request {
    Request { form: Form::Header, re: None, name: name.map(str::to_owned), action }
}

fn say(room: &str, text: &str) -> Action {
    Action::Send {
        room: room.to_owned(),
        id: None,
        content_type: "text/plain".to_owned(),
        content_encoding: "utf-8".to_owned(),
        content: text.to_owned().into(),
    }
}

fn recovered(folder: &Path, view: &mut View) -> (Box<dyn Maintain>, vang_hub::Recovered) {
    let journal = open_journal(&folder.join("journal.db"), Durability::Crash).unwrap();
    let begin = (State::default(), Book::default());
    let mut reader = journal.reader().unwrap();
    let mut apply_delta = |delta| {
        view.apply(&[delta]).unwrap();
        Ok(())
    };
    let recovered = replay(&mut *reader, &journal.identity(), begin, Seq(0), &mut apply_delta).unwrap();
    (journal, recovered)
}

impl Scene {
    /// A public room and a private one, in which bob missed the first message; 40 messages in all.
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let journal = open_journal(&path("journal.db"), Durability::Crash).unwrap();
        let identity = journal.identity();
        let (mut view, _) = View::open(&path("view.db"), identity.id, chains(path("journal.db"))).unwrap();
        drop(journal);
        let (mut journal, found) = recovered(folder.path(), &mut view);
        let mut hub = Hub::new(identity, found, Node(7), Salts::new([3; 32]), "test".to_owned(), true);
        // Its people need no data folder.
        hub.set_trust(Trust::Local);
        let mut ask = |peer: Peer, name: Option<&str>, action: Action| {
            let session = hub.connect(peer);
            hub.request(session, Ticket(0), request(name, action));
            for minute in 0.. {
                hub.poll(now(minute));
                let Some(output) = hub.poll_output() else { break };
                match output {
                    Output::Append(batch) => {
                        let appended = journal.append(&batch);
                        let Appended::Appended { first } = appended else { panic!("{appended:?}") };
                        hub.appended(now(minute), appended);
                        hub.arrived(batch.into_entries(first));
                    }
                    Output::UpdateView(delta) => view.apply(&[delta]).unwrap(),
                    Output::Reply { bytes, .. } => {
                        assert!(!bytes.windows(7).any(|part| part == b"\"error\""));
                    }
                    Output::Settle { .. }
                    | Output::Read(_)
                    | Output::Follows { .. }
                    | Output::Pause { .. }
                    | Output::Secret(_)
                    | Output::Erase(_)
                    | Output::Close { .. }
                    | Output::Wake { .. } => {}
                }
            }
            hub.disconnect(session);
        };
        for name in ["ada", "bob"] {
            ask(Peer::Operator, None, Action::AddAccount { name: name.to_owned() });
        }
        ask(Peer::Local, Some("ada"), Action::Create { room: "lab".to_owned(), access: Access::Private });
        ask(Peer::Local, Some("ada"), say("lab", "word before bob"));
        ask(Peer::Local, Some("ada"), Action::Join { room: "lab".to_owned(), who: Some("bob".to_owned()) });
        for i in 0..38 {
            let room = if i % 3 == 2 { "lab" } else { "general" };
            ask(Peer::Local, Some("ada"), say(room, &format!("word {i} is said here")));
        }
        drop((hub, journal, view));
        let (mut fresh, _) = View::open(&path("again.db"), identity.id, chains(path("journal.db"))).unwrap();
        let (journal, found) = recovered(folder.path(), &mut fresh);
        let end = found.state.seq();
        let mut reader = journal.reader().unwrap();
        let (mut index, _) = Index::open(&path("find.db"), identity.id, &mut *reader).unwrap();
        let mut view = ViewReader::open(&path("view.db")).unwrap();
        while index.feed(&mut *reader, &mut view).unwrap() > 0 {}
        let mut hub = Hub::new(identity, found, Node(8), Salts::new([4; 32]), "test".to_owned(), true);
        hub.set_trust(Trust::Local);
        drop((fresh, reader, view, index, journal));
        // All is in one file each.
        for name in ["journal.db", "view.db"] {
            assert!(fs::metadata(path(&format!("{name}-wal"))).map_or(0, |found| found.len()) == 0, "{name}");
        }
        Scene { folder, hub, end }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Bob reads everything, in every way, as it is on the disk now.
    fn read(&mut self) -> Given {
        let mut given = Given::default();
        for room in ["general", "lab"] {
            let asked = Action::History { room: room.to_owned(), since: 0, limit: 256 };
            for (header, content, _) in self.ask(asked, &mut given) {
                assert!(header["status"] == "ok", "{header}");
                for (header, _, frame) in frames(&content) {
                    given.history.insert(header["seq"].as_u64().unwrap(), (header, frame));
                }
            }
        }
        let rooms = vec!["general".to_owned(), "lab".to_owned()];
        let asked = Action::Follow { rooms, feeds: Vec::new(), from: FollowFrom::Numbers(vec![0, 0]) };
        for (header, _, frame) in self.ask(asked, &mut given) {
            if header.get("event").is_some() {
                given.follow.insert(header["seq"].as_u64().unwrap(), (header, frame));
            }
        }
        let asked = Action::Find { query: "word".to_owned(), limit: 100, before: None };
        for (header, content, _) in self.ask(asked, &mut given) {
            let content: Json = serde_json::from_slice(&content).unwrap();
            given.find = content["result"].as_array().cloned().unwrap_or_default();
            given.damaged_hits = header["damaged"].as_u64().unwrap_or(0);
        }
        given
    }

    /// What comes back for this, replies and events; the disk is read with new connections.
    fn ask(&mut self, action: Action, given: &mut Given) -> Vec<(Json, Bytes, Bytes)> {
        let Ok(file) = hold_journal(&self.path("journal.db"), Arc::new(Damages::default())) else {
            panic!("the journal is there")
        };
        let (deltas, _deltas) = channel();
        let progress = Arc::new(Progress::default());
        progress.set(self.end);
        let files = (file, self.path("view.db"));
        let mut disk = Disk { files, open: None, deltas, progress };
        let session = self.hub.connect(Peer::Local);
        self.hub.request(session, Ticket(0), request(Some("bob"), action));
        let mut bytes = Vec::new();
        while let Some(output) = self.hub.poll_output() {
            match output {
                Output::Read(job) => {
                    let answer = self.answer(&mut disk, &job);
                    if answer.is_err() {
                        given.must_retry = true;
                        if let Read::Events { .. } = job.read {
                            break;
                        }
                    }
                    self.hub.answer_read(job.id, answer);
                }
                Output::Reply { bytes: reply, .. } => bytes.extend_from_slice(&reply),
                Output::Wake { session } => self.pull(session, &mut bytes),
                Output::Append(_)
                | Output::Settle { .. }
                | Output::Follows { .. }
                | Output::Pause { .. }
                | Output::Secret(_)
                | Output::Erase(_)
                | Output::Close { .. }
                | Output::UpdateView(_) => {}
            }
        }
        self.hub.disconnect(session);
        let given = frames(&bytes);
        given.into_iter().filter(|(header, ..)| header["code"] != "view-behind").collect()
    }

    fn pull(&mut self, session: SessionId, bytes: &mut Vec<u8>) {
        loop {
            let mut out = Vec::new();
            let more = self.hub.pull(session, &mut out);
            out.iter().for_each(|slice| bytes.extend_from_slice(slice));
            if !more {
                return;
            }
        }
    }

    fn answer(&self, disk: &mut Disk, job: &ReadJob) -> Result<ReadAnswer, ReadError> {
        let Read::Find(find) = &job.read else {
            return disk.try_answer(job, self.end).map_err(|trouble| match trouble {
                SourceError::View(ViewError::Corrupt(_)) => ReadError::ViewBehind,
                SourceError::View(error) => ReadError::Unreadable(error.to_string()),
                SourceError::Journal(error) => ReadError::Unreadable(error.to_string()),
            });
        };
        let found = (|| -> Result<_, vang_view::FindError> {
            let mut view = ViewReader::open(&self.path("view.db")).map_err(vang_view::FindError::View)?;
            let mut index = IndexReader::open(&self.path("find.db")).map_err(vang_view::FindError::Index)?;
            let is_over: vang_view::IsOver = Arc::new(|| false);
            index.find(&mut view, &mut *disk.files.0.reader()?, find, &is_over)
        })();
        found.map(ReadAnswer::Found).map_err(|_| ReadError::ViewBehind)
    }

    /// Everybody reads with this bit flipped; what they are given must be true.
    fn try_flip(&mut self, truth: &Given, file: &(File, Vec<u8>), byte: usize, bit: u8, what: &str) -> Given {
        let (handle, good) = file;
        handle.write_all_at(&[good[byte] ^ (1 << bit)], byte as u64).unwrap();
        let given = self.read();
        handle.write_all_at(&good[byte..=byte], byte as u64).unwrap();
        let what = format!("{what}, byte {byte}, bit {bit}");
        for (given, truth) in [(&given.history, &truth.history), (&given.follow, &truth.follow)] {
            for (seq, (header, frame)) in given {
                let (known, true_frame) =
                    truth.get(seq).unwrap_or_else(|| panic!("{what}: {header} was never there"));
                if frame != true_frame {
                    assert_eq!(
                        (&header["event"], &header["why"]),
                        (&"hole".into(), &"damaged".into()),
                        "{what}"
                    );
                    assert_eq!(
                        (&known["event"], &known["n"]),
                        (&"message".into(), &header["from"]),
                        "{what}"
                    );
                    assert_eq!((&header["from"], &header["room"]), (&header["to"], &known["room"]), "{what}");
                }
            }
        }
        for hit in &given.find {
            let mut known = truth.find.iter().find(|known| known["seq"] == hit["seq"]).unwrap().clone();
            for beside in ["before", "after"] {
                if hit.get(beside).is_none() {
                    known.as_object_mut().unwrap().remove(beside);
                }
            }
            assert_eq!(hit, &known, "{what}");
        }
        if !given.must_retry {
            // No gap: every reader got a message or a hole.
            let numbered = |one: &&(Json, Bytes)| matches!(one.0["event"].as_str(), Some("message" | "hole"));
            for (given, truth) in [(&given.history, &truth.history), (&given.follow, &truth.follow)] {
                let counts = [given, truth].map(|one| one.values().filter(numbered).count());
                assert_eq!(counts[0], counts[1], "{what}");
            }
            assert_eq!(given.find.len() as u64 + given.damaged_hits, truth.find.len() as u64, "{what}");
        }
        given
    }

    fn file(&self, name: &str) -> (File, Vec<u8>) {
        let path = self.path(name);
        (File::options().write(true).open(&path).unwrap(), fs::read(&path).unwrap())
    }
}

/// The frames in these bytes: header, content, all of it.
fn frames(bytes: &[u8]) -> Vec<(Json, Bytes, Bytes)> {
    let mut decoder = Decoder::default();
    decoder.feed(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.poll_frame().unwrap() {
        let header: Json = serde_json::from_slice(frame.header.json()).unwrap();
        let whole = [frame.header.json(), &frame.content[..]].concat();
        frames.push((header, frame.content, whole.into()));
    }
    frames
}

fn damaged(given: &BTreeMap<u64, (Json, Bytes)>) -> Vec<u64> {
    given.iter().filter(|(_, (header, _))| header["why"] == "damaged").map(|(&seq, _)| seq).collect()
}

#[test]
fn a_flipped_bit_in_the_journal_is_a_hole_for_every_reader_or_shows_nowhere() {
    let mut scene = Scene::new();
    let truth = scene.read();
    assert_eq!((truth.find.len(), truth.damaged_hits, truth.must_retry), (38, 0, false));
    // Bob was not there for the first message of the lab: his history and his following say so.
    let holes = |given: &BTreeMap<u64, (Json, Bytes)>| {
        given.values().filter(|(header, _)| header["why"] == "not-member").count()
    };
    assert_eq!((holes(&truth.history), holes(&truth.follow)), (1, 1));
    let file = scene.file("journal.db");
    let (_, mut reader) = read_journal(&scene.path("journal.db")).unwrap();
    let entries = Entry::all(reader.read(Seq(0), 100, usize::MAX).unwrap()).unwrap();
    drop(reader);
    let of_bob = *truth.follow.iter().find(|(_, (header, _))| header["why"] == "not-member").unwrap().0;
    let (mut flips, mut holes) = (0, 0);
    for seq in [of_bob, 20] {
        let entry = &entries[seq as usize - 1];
        let at = file.1.windows(entry.envelope.len()).position(|bytes| bytes == entry.envelope).unwrap();
        let payload = entry.payload.as_ref().map_or(0, |payload| payload.bytes.len());
        for byte in at - 8..at + entry.envelope.len() + 32 + 16 + payload {
            let bit = (byte * 5 % 8) as u8;
            let given = scene.try_flip(&truth, &file, byte, bit, &format!("entry {seq}"));
            assert!(!given.must_retry, "the view is not damaged");
            let found = (damaged(&given.history), damaged(&given.follow), given.damaged_hits);
            // Its own; and the one behind it where the whole row cannot be made out. One that is no message leaves
            // nothing.
            let mut most: Vec<u64> = if byte < at { vec![seq, seq + 1] } else { vec![seq] };
            most.retain(|&one| truth.follow[&one].0["event"] == "message");
            let place = byte as isize - at as isize;
            assert!(found.0.iter().all(|one| most.contains(one)), "entry {seq}, byte {place}: {found:?}");
            assert!(found.1 == found.0 && found.2 == found.0.len() as u64, "{found:?}");
            flips += 1;
            holes += found.0.len();
        }
    }
    assert!(flips > 200 && holes > 80, "{holes} of {flips}");
}

#[test]
fn a_flipped_bit_in_the_tables_leads_nobody_to_another_message() {
    let mut scene = Scene::new();
    let truth = scene.read();
    let file = scene.file("view.db");
    let mut found = 0;
    for byte in (100..file.1.len()).step_by(61) {
        if file.1[byte] == 0 && byte % 5 > 0 {
            // Room that is not used.
            continue;
        }
        let given = scene.try_flip(&truth, &file, byte, (byte * 3 % 8) as u8, "view.db");
        found += usize::from(given.must_retry);
    }
    assert!(found > 10, "only {found} were found");
}
