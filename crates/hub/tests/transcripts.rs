//! The hub as stories: `scripts/*.txt`. Requests, answers of the disk and failures go in; what the hub wants performed
//! comes out. `VANG_BLESS=1` writes down what happens instead of comparing; the diff is then to be reviewed like code.
//!
//! ```text
//! ada: send general "hi"        a request on ada's connection; `operator` has the data folder's socket
//!   append 1                    what the hub wants: a batch of one entry
//! disk: appended                the journal's answer: appended, full, kept (unknown, it is there), lost (unknown, it is not)
//!   ada <- ok general#1         the reply to ada
//!   wake ada
//! settle                        the journal is read again, after a doubt; `settle fails`: it cannot be read yet
//! read                          the view and the journal answer the oldest question; `read behind`: the view is behind
//! secrets                       the oldest password is checked, or a verifier is made, by a stand-in that hashes nothing;
//!                               `secrets busy`, `secrets renews`: its verifier has old parameters
//! erased                        the journal has erased what it was told to
//! ada/phone: hello              another connection under the name ada; `?x: ping` is one without a name
//! ?x: accept code of operator "PASSWORD"   with the code that this connection was given last
//! ?x: sign-in token of ada/phone   with the token that this connection was given last
//! ada: pull                     what ada's connection is given next
//! ada: resume general           ada's client follows from where it was: from what it was told last
//! crash kept                    the process ends while it writes: the batch is there (kept) or not (lost); without a word,
//!                               nothing was being written. Another process replays the journal; connections are gone
//! time 1000                     so many ms pass
//! ```

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../chat/tests/stories/mod.rs"]
mod stories;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use vang_chat::{Feed, Node, RoomId, RoomsBy, Seq, State, Time};
use vang_hub::{
    Book, ColdEvent, ColdPage, Delta, EventRow, Hub, Now, Output, Peer, Read, ReadAnswer, ReadError, ReadJob,
    Row, Salts, SecretAnswer, SecretError, SecretJob, SessionId, Settled, Trust, replay,
};
use vang_journal::{Appended, Batch, Entry, Identity, Journal, JournalError, MemoryJournal, Reader};
use vang_proto::vang::{
    Access, Action, ConnectionEvent, Event, FeedName, FollowFrom, Following, Form, Found, Incoming, Request,
    Role, RoomEvent, RoomList, Ticket, TokenScope, incoming,
};
use vang_proto::{Decoder, Millis, Secret};
use vang_view::{Find, Index, IndexReader, IsOver, View, ViewReader};

const IDENTITY: Identity = Identity { id: [1; 16], key: [2; 32], born: [1; 16] };

#[test]
fn every_story_goes_as_written() {
    stories::play_all(|_, script| Story::play(script));
}

struct Story {
    hub: Hub,
    journal: MemoryJournal,
    now: u64,
    /// How many processes there were before this one.
    crashes: u8,
    sessions: BTreeMap<String, SessionId>,
    /// Being written.
    batch: Option<Batch>,
    reads: VecDeque<ReadJob>,
    secrets: VecDeque<SecretJob>,
    erasing: VecDeque<Vec<Seq>>,
    /// The token that each was given last.
    tokens: BTreeMap<String, String>,
    /// The view: what it was told, and of that a feed's events, in order.
    deltas: Vec<Delta>,
    events: BTreeMap<Feed, Vec<EventRow>>,
    /// What a client remembers that follows: where it is.
    places: BTreeMap<String, Following>,
    transcript: String,
}

impl Story {
    fn play(script: &str) -> String {
        let mut journal = MemoryJournal::new(IDENTITY);
        let mut story = Story {
            hub: start(&mut journal, 0, Seq(0)).0,
            journal,
            now: 0,
            crashes: 0,
            sessions: BTreeMap::new(),
            batch: None,
            reads: VecDeque::new(),
            secrets: VecDeque::new(),
            erasing: VecDeque::new(),
            tokens: BTreeMap::new(),
            deltas: Vec::new(),
            events: BTreeMap::new(),
            places: BTreeMap::new(),
            transcript: String::new(),
        };
        for line in script.lines().filter(|line| !line.starts_with("  ")) {
            story.transcript += line;
            story.transcript += "\n";
            if !line.is_empty() && !line.starts_with('#') {
                story.line(line);
                story.perform();
            }
        }
        story.transcript
    }

    fn line(&mut self, line: &str) {
        match line.split_once(": ") {
            Some(("disk", answer)) => self.disk(answer),
            Some((name, "pull")) => self.pull(name),
            Some((name, "gone")) => {
                let id = self.sessions.remove(name).unwrap();
                self.hub.disconnect(id);
            }
            Some((name, asked)) => {
                let peer = if name == "operator" { Peer::Operator } else { Peer::Local };
                let id = *self.sessions.entry(name.to_owned()).or_insert_with(|| self.hub.connect(peer));
                let typed = name.split('/').next().unwrap();
                let speaker = (typed != "operator" && !typed.starts_with('?')).then(|| typed.to_owned());
                let action = match asked.strip_prefix("resume ") {
                    None if asked.starts_with("accept ") => self.accept(asked),
                    None => match asked.strip_prefix("sign-in token of ") {
                        None => action(asked),
                        Some(other) => {
                            let token = Secret::new(self.tokens[other].clone());
                            Action::SignIn { password: None, token: Some(token), device: None }
                        }
                    },
                    Some(followed) => {
                        let Following { journal, epoch, seq } =
                            self.places.remove(name).expect("it followed");
                        let from = FollowFrom::Position { journal, epoch: Some(epoch), seq };
                        let (rooms, feeds) = followed_by(followed);
                        Action::Follow { rooms, feeds, from }
                    }
                };
                let request = Request { form: Form::Header, re: None, name: speaker, action };
                self.hub.request(id, Ticket(0), request);
            }
            None => match line.split(' ').collect::<Vec<_>>()[..] {
                ["settle"] => {
                    let after = self.hub.state().seq();
                    let entries = Entry::all(self.journal.read(after, 1_000, 1 << 20).unwrap()).unwrap();
                    self.hub.settled(self.time(), Ok(Settled { entries }));
                }
                ["settle", "fails"] => {
                    let error = JournalError::Unavailable("input/output error".to_owned());
                    self.hub.settled(self.time(), Err(error));
                }
                ["read"] => {
                    let job = self.reads.pop_front().expect("a question");
                    let answer = self.answer(&job.read);
                    self.hub.answer_read(job.id, Ok(answer));
                }
                ["read", "behind"] => {
                    let job = self.reads.pop_front().expect("a question");
                    self.hub.answer_read(job.id, Err(ReadError::ViewBehind));
                }
                ["secrets"] => self.answer_secret(false),
                ["secrets", "renews"] => self.answer_secret(true),
                ["secrets", "busy"] => {
                    let job = self.secrets.pop_front().expect("a password");
                    self.hub.answer_secret(job.id, Err(SecretError::Busy { retry_after_ms: 30_000 }));
                }
                ["erased"] => {
                    let seqs = self.erasing.pop_front().expect("it was told to erase");
                    self.journal.erase(&seqs).unwrap();
                    self.hub.erased();
                }
                ["time", ms] => self.now += ms.parse::<u64>().unwrap(),
                ["rooms-by", "admins"] => self.hub.set_rooms_by(RoomsBy::Admins),
                ["rooms-by", "accounts"] => self.hub.set_rooms_by(RoomsBy::Accounts),
                ["default-rooms", ref rooms @ ..] => {
                    let rooms: Vec<String> = rooms.iter().map(|&room| room.to_owned()).collect();
                    self.hub.set_default_rooms(&rooms);
                }
                ["rooms-per-account", rooms] => self.hub.set_rooms_per_account(rooms.parse().unwrap()),
                ["trust", "local"] => self.hub.set_trust(Trust::Local),
                ["trust", "folder"] => self.hub.set_trust(Trust::Folder),
                ["stop"] => self.hub.stop(),
                ["crash"] => {
                    assert!(self.batch.is_none(), "a batch is being written: crash kept or crash lost");
                    self.crash();
                }
                ["crash", "lost"] => {
                    self.batch.take().expect("a batch is being written");
                    self.crash();
                }
                ["crash", "kept"] => {
                    let batch = self.batch.take().expect("a batch is being written");
                    self.journal.append(&batch);
                    self.crash();
                }
                _ => panic!("no such line: {line}"),
            },
        }
    }

    /// `accept code of NAME "PASSWORD"`, with ` on DEVICE` behind NAME.
    fn accept(&self, asked: &str) -> Action {
        let (words, new) = asked.split_once(" \"").unwrap();
        let (of, device) =
            words.split_once(" on ").map_or((words, None), |(of, on)| (of, Some(on.to_owned())));
        let code = match of.strip_prefix("accept code of ") {
            Some(of) => self.tokens[of].clone(),
            None => of.strip_prefix("accept ").unwrap().to_owned(),
        };
        let new = Secret::new(new.trim_end_matches('"').to_owned());
        Action::Accept { code: Secret::new(code), new, device }
    }

    /// A verifier here is the password itself, behind a word.
    fn answer_secret(&mut self, is_old: bool) {
        let job = self.secrets.pop_front().expect("a password");
        let verifier = |password: &Secret| Bytes::from(format!("verifier of {}", password.expose()));
        let make = job.make.as_ref().filter(|_| job.account.is_some());
        let mut answer = SecretAnswer { made: make.map(verifier) };
        let mut is_right = true;
        if let Some(check) = &job.check {
            let stored =
                check.verifier.map(|seq| self.journal.get(&[seq], usize::MAX).unwrap().remove(0).unwrap());
            let stored = stored.and_then(|entry| entry.payload).map(|payload| payload.bytes);
            is_right = stored == Some(verifier(&check.password));
            if is_old {
                answer.made = Some(verifier(&check.password));
            }
        }
        self.hub.answer_secret(job.id, if is_right { Ok(answer) } else { Err(SecretError::Wrong) });
    }

    fn time(&self) -> Now {
        Now { wall: Time(1_777_593_600_000 + self.now), steady: Millis(self.now) }
    }

    fn disk(&mut self, answer: &str) {
        let Some(batch) = self.batch.take() else {
            panic!("no batch is being written:\n{}", self.transcript)
        };
        let broken = || JournalError::Unavailable("input/output error".to_owned());
        let appended = match answer {
            "appended" => self.journal.append(&batch),
            "full" => Appended::NotAppended(JournalError::Full("no space left on device".to_owned())),
            "kept" => {
                self.journal.append(&batch);
                Appended::Unknown(broken())
            }
            "lost" => Appended::Unknown(broken()),
            other => panic!("no such answer: {other}"),
        };
        let entries = match appended {
            Appended::Appended { first } => batch.into_entries(first),
            _ => Vec::new(),
        };
        self.hub.appended(self.time(), appended);
        self.hub.arrived(entries);
    }

    /// The process ends, and another one starts. The journal and the view are on the disk; all else is gone, but clients
    /// remember where they were.
    fn crash(&mut self) {
        self.crashes += 1;
        self.sessions.clear();
        self.reads.clear();
        self.secrets.clear();
        self.erasing.clear();
        let viewed = self.deltas.last().map_or(Seq(0), |delta| delta.upto);
        let (hub, deltas) = start(&mut self.journal, self.crashes, viewed);
        self.hub = hub;
        writeln!(self.transcript, "  replayed up to {}", self.hub.state().seq()).unwrap();
        deltas.into_iter().for_each(|delta| self.output(Output::UpdateView(delta)));
    }

    /// Everything that the hub wants until it waits for something.
    fn perform(&mut self) {
        loop {
            self.hub.set_wall(self.time().wall);
            self.hub.poll(self.time());
            let mut any = false;
            while let Some(output) = self.hub.poll_output() {
                any = true;
                self.output(output);
            }
            if !any {
                return;
            }
        }
    }

    fn output(&mut self, output: Output) {
        let name = |id: SessionId| {
            let known = self.sessions.iter().find(|(_, known)| **known == id);
            known.map_or("nobody".to_owned(), |(name, _)| name.clone())
        };
        let line = match output {
            Output::Append(batch) => {
                let line = format!("append {}", batch.drafts.len());
                self.batch = Some(batch);
                line
            }
            Output::Settle { after } => format!("settle after {after}"),
            Output::Reply { session, bytes, .. } => {
                let (name, mut replies) = (name(session), messages(&[bytes]));
                replies.iter().for_each(|reply| self.remember(&name, reply));
                replies.iter_mut().for_each(|reply| self.hide_token(&name, reply));
                format!("{name} <- {}", shown(replies).join("; "))
            }
            Output::Pause { session, ms } => format!("pause {} {ms} ms", name(session)),
            Output::Follows { session } => format!("{} follows", name(session)),
            Output::Wake { session } => format!("wake {}", name(session)),
            Output::Read(job) => {
                let line = match &job.read {
                    Read::Locate(asked) => format!("read the places of {} messages", asked.len()),
                    Read::Events { feeds, .. } => format!("read events of {} feeds", feeds.len()),
                    Read::Messages { since, limit, .. } => format!("read {limit} messages after {since}"),
                    Read::Entries(seqs) => format!("read {} entries", seqs.len()),
                    Read::Find(_) => "read the index".to_owned(),
                };
                self.reads.push_back(job);
                line
            }
            Output::Secret(job) => {
                let check = job.check.as_ref().map(|check| {
                    let verifier = check.verifier.map_or("nothing".to_owned(), |seq| format!("entry {seq}"));
                    format!("check a password against {verifier}")
                });
                let make = job.make.as_ref().map(|_| "make a verifier".to_owned());
                self.secrets.push_back(job);
                check.into_iter().chain(make).collect::<Vec<_>>().join(", ")
            }
            Output::Erase(seqs) => {
                let line = format!("erase {seqs:?}").replace("Seq(", "").replace(')', "");
                self.erasing.push_back(seqs);
                line
            }
            Output::Close { session, why } => format!("close {}: {why}", name(session)),
            Output::UpdateView(delta) => self.update(delta),
        };
        writeln!(self.transcript, "  {line}").unwrap();
    }

    /// Tokens are kept for later lines, and not written down.
    fn hide_token(&mut self, name: &str, message: &mut Incoming) {
        let Incoming::Reply(reply) = message else { return };
        let token = match reply.header.text("token") {
            Some(token) => token.into_owned(),
            None if reply.text.starts_with("vang_") => {
                std::mem::replace(&mut reply.text, "a token".to_owned())
            }
            None => return,
        };
        reply.text += if reply.text == "a token" { "" } else { " and a token" };
        self.tokens.insert(name.to_owned(), token);
    }

    fn update(&mut self, delta: Delta) -> String {
        let mut rows = Vec::new();
        for row in &delta.rows {
            if let Row::Event { feed, event } = row {
                let events = self.events.entry(*feed).or_default();
                events.retain(|other| !feed.is_keyed() || other.n != event.n);
                events.push(*event);
            }
            rows.push(row.to_string());
        }
        let upto = delta.upto;
        self.deltas.push(delta);
        format!("view up to {upto}: {}", if rows.is_empty() { "nothing".to_owned() } else { rows.join(", ") })
    }

    fn answer(&mut self, read: &Read) -> ReadAnswer {
        if let Read::Find(find) = read {
            return ReadAnswer::Found(self.find(find));
        }
        if let Read::Entries(seqs) = read {
            return ReadAnswer::Entries(self.journal.get(seqs, usize::MAX).unwrap());
        }
        let mut page = |feeds: &[(Feed, Seq)], keep: &dyn Fn(&EventRow) -> bool, limit: usize| {
            let mut found: Vec<(Feed, EventRow)> = Vec::new();
            for &(feed, after) in feeds {
                let events = self.events.get(&feed).into_iter().flatten();
                found.extend(events.filter(|one| one.seq > after && keep(one)).map(|one| (feed, *one)));
            }
            found.sort_by_key(|(_, event)| event.seq);
            found.truncate(limit);
            let cold = found.into_iter().map(|(feed, row)| {
                let entry = self.journal.get(&[row.seq], usize::MAX).unwrap().remove(0);
                ColdEvent { feed, row, entry }
            });
            ReadAnswer::Page(ColdPage { events: cold.collect(), upto: self.hub.state().seq() })
        };
        match read {
            Read::Locate(asked) => {
                let place = |&(room, n): &(RoomId, u64)| {
                    let mut events = self.events.get(&Feed::Room(room)).into_iter().flatten();
                    if n == 0 {
                        Some(Seq(0))
                    } else {
                        events.find(|one| one.is_message() && one.n == n).map(|one| one.seq)
                    }
                };
                ReadAnswer::Located(asked.iter().map(place).collect())
            }
            Read::Events { feeds, events_max, .. } => page(feeds, &|_| true, *events_max),
            Read::Messages { room, since, limit, .. } => {
                page(&[(Feed::Room(*room), Seq(0))], &|one| one.is_message() && one.n > *since, *limit)
            }
            Read::Find(_) | Read::Entries(_) => unreachable!("answered above"),
        }
    }

    /// Asks the real index, made again from the view's rows and the journal.
    fn find(&mut self, find: &Find) -> vang_view::Found {
        let folder = tempfile::tempdir().unwrap();
        let (views, words) = (folder.path().join("view.db"), folder.path().join("find.db"));
        let mut chains = self.journal.clone();
        let chains = move |seq| Ok(chains.chain_at(seq).unwrap().map(|chain| chain.0));
        let (mut view, _) = View::open(&views, IDENTITY.id, chains).unwrap();
        view.apply(&self.deltas).unwrap();
        let (mut index, _) = Index::open(&words, IDENTITY.id, &mut self.journal).unwrap();
        let mut view = ViewReader::open(&views).unwrap();
        while index.feed(&mut self.journal, &mut view).unwrap() > 0 {}
        let never: IsOver = Arc::new(|| false);
        let mut index = IndexReader::open(&words).unwrap();
        index.find(&mut view, &mut self.journal, find, &never).unwrap()
    }

    fn pull(&mut self, name: &str) {
        let id = self.sessions[name];
        let mut out = Vec::new();
        while self.hub.pull(id, &mut out) {}
        let events = messages(&out);
        events.iter().for_each(|event| self.remember(name, event));
        for line in shown(events) {
            writeln!(self.transcript, "  {name} <- {line}").unwrap();
        }
    }

    /// What a client keeps in order to resume.
    fn remember(&mut self, name: &str, message: &Incoming) {
        match (message, self.places.get_mut(name)) {
            // `hello` has these keys too, and a name. A second `follow` adds rooms, and does not move its client.
            (Incoming::Reply(reply), None) if reply.header.raw("name").is_none() => {
                let following = reply.keys::<Following>();
                self.places.extend(following.map(|following| (name.to_owned(), following)));
            }
            (Incoming::Event(message), Some(place)) => match &message.event {
                Event::Connection(ConnectionEvent::Epoch { epoch }) => place.epoch.clone_from(epoch),
                event => place.seq = event.seq().unwrap_or(place.seq),
            },
            _ => {}
        }
    }
}

/// A process that opens the journal, and what it tells the view of the entries after `viewed`.
fn start(journal: &mut MemoryJournal, number: u8, viewed: Seq) -> (Hub, Vec<Delta>) {
    let mut deltas = Vec::new();
    let mut apply_delta = |delta: Delta| {
        deltas.push(delta);
        Ok(())
    };
    let begin = (State::default(), Book::default());
    let recovered = replay(journal, &IDENTITY, begin, viewed, &mut apply_delta).unwrap();
    let (node, salts) = (Node(7 + u64::from(number)), Salts::new([3 + number; 32]));
    let mut hub = Hub::new(IDENTITY, recovered, node, salts, "test".to_owned(), true);
    hub.set_trust(Trust::Local);
    (hub, deltas)
}

fn action(asked: &str) -> Action {
    let (asked, text) =
        asked.split_once(" \"").map_or((asked, ""), |(asked, text)| (asked, text.trim_end_matches('"')));
    let words: Vec<&str> = asked.split(' ').collect();
    let owned = |word: &str| word.to_owned();
    match words[..] {
        ["hello"] => Action::Hello,
        ["ping"] => Action::Ping,
        ["rooms"] => Action::rooms_after(None),
        ["rooms", limit] => Action::Rooms { after: None, limit: limit.parse().unwrap() },
        ["rooms", limit, "after", after] => {
            Action::Rooms { after: Some(after.parse().unwrap()), limit: limit.parse().unwrap() }
        }
        ["who", room] => Action::Who { room: owned(room) },
        ["send", room] => Action::text(room, text),
        ["send", room, id] => match Action::text(room, text) {
            Action::Send { room, content_type, content_encoding, content, .. } => {
                Action::Send { room, id: Some(owned(id)), content_type, content_encoding, content }
            }
            other => other,
        },
        ["create", room] => Action::Create { room: owned(room), access: Access::Public },
        ["create", room, "private"] => Action::Create { room: owned(room), access: Access::Private },
        ["join", room] => Action::Join { room: owned(room), who: None },
        ["join", room, who] => Action::Join { room: owned(room), who: Some(owned(who)) },
        ["topic", room] => Action::SetTopic { room: owned(room), topic: owned(text) },
        ["leave", room] => Action::Leave { room: owned(room) },
        ["account", name] => Action::AddAccount { name: owned(name) },
        ["role", name, role] => Action::SetRole { name: owned(name), role: Role::named(role).unwrap() },
        ["disable", name] => Action::DisableAccount { name: owned(name) },
        ["delete", name] => Action::DeleteAccount { name: owned(name) },
        ["enable", name] => Action::EnableAccount { name: owned(name) },
        ["sign-in"] => Action::SignIn { password: Some(Secret::new(owned(text))), token: None, device: None },
        ["sign-in", "on", device] => {
            let device = Some(owned(device));
            Action::SignIn { password: Some(Secret::new(owned(text))), token: None, device }
        }
        ["sign-in", "token"] => {
            Action::SignIn { password: None, token: Some(Secret::new(owned(text))), device: None }
        }
        ["sign-out"] => Action::SignOut,
        ["password", "of", name] => {
            Action::SetPassword { new: Secret::new(owned(text)), old: None, name: Some(owned(name)) }
        }
        ["password"] => Action::SetPassword { new: Secret::new(owned(text)), old: None, name: None },
        ["password", "instead-of", old] => Action::SetPassword {
            new: Secret::new(owned(text)),
            old: Some(Secret::new(owned(old))),
            name: None,
        },
        ["token", title, scope, ref rooms @ ..] => {
            let days = rooms.iter().find_map(|word| word.strip_suffix("d")?.parse().ok());
            let rooms = rooms.iter().filter(|word| !word.ends_with('d')).map(|room| owned(room)).collect();
            let scope = TokenScope::named(scope).unwrap();
            Action::CreateToken { title: owned(title), scope, rooms, days, name: None }
        }
        ["invite", ref more @ ..] => {
            let find = |prefix: &str| more.iter().find_map(|word| word.strip_prefix(prefix));
            Action::Invite {
                title: (!text.is_empty()).then(|| owned(text)),
                uses: find("x").map(|uses| uses.parse().unwrap()),
                days: None,
                room: find("#").map(owned),
                role: find("role=").map(|role| Role::named(role).unwrap()),
                name: find("@").map(owned),
            }
        }
        ["invitations"] => Action::Invitations,
        ["withdraw", id] => Action::EndInvitation { id: id.parse().unwrap() },
        ["sessions"] => Action::Sessions { name: None },
        ["sessions", name] => Action::Sessions { name: Some(owned(name)) },
        ["end-others"] => Action::EndSession { id: None, name: None },
        ["end", id] => Action::EndSession { id: id.parse().ok(), name: None },
        ["end-all", name] => Action::EndSession { id: None, name: Some(owned(name)) },
        ["status"] => Action::Status,
        ["follow", followed] => {
            let (rooms, feeds) = followed_by(followed);
            Action::Follow { rooms, feeds, from: FollowFrom::Now }
        }
        ["follow", followed, since] => {
            let (rooms, feeds) = followed_by(followed);
            Action::Follow { rooms, feeds, from: FollowFrom::Numbers(vec![since.parse().unwrap()]) }
        }
        ["history", room, since] => {
            Action::History { room: owned(room), since: since.parse().unwrap(), limit: 10 }
        }
        ["find"] => Action::Find { query: owned(text), limit: 20, before: None },
        ["find", limit] => Action::Find { query: owned(text), limit: limit.parse().unwrap(), before: None },
        ["find", limit, "before", before] => Action::Find {
            query: owned(text),
            limit: limit.parse().unwrap(),
            before: Some(before.parse().unwrap()),
        },
        _ => panic!("no such request: {asked}"),
    }
}

/// Rooms and feeds, with commas between them: `general,@account`.
fn followed_by(names: &str) -> (Vec<String>, Vec<FeedName>) {
    let (feeds, rooms): (Vec<&str>, Vec<&str>) = names.split(',').partition(|name| name.starts_with('@'));
    let feed = |name: &&str| FeedName::ALL.into_iter().find(|feed| feed.as_str() == &name[1..]);
    let feeds = feeds.iter().map(|name| feed(name).unwrap_or_else(|| panic!("no such feed: {name}")));
    (rooms.into_iter().map(str::to_owned).collect(), feeds.collect())
}

fn messages(bytes: &[Bytes]) -> Vec<Incoming> {
    let mut decoder = Decoder::default();
    bytes.iter().for_each(|bytes| decoder.feed(bytes));
    std::iter::from_fn(|| decoder.poll_frame().unwrap()).map(|frame| incoming(frame).unwrap()).collect()
}

/// Replies and events, a line each.
fn shown(messages: Vec<Incoming>) -> Vec<String> {
    messages
        .into_iter()
        .map(|message| match message {
            Incoming::Reply(reply) => {
                let is_page = reply.header.text("content-type").as_deref() == Some("application/vang-events");
                match (&reply.code, reply.keys::<Found>()) {
                    (Some(code), _) => format!("{code}: {}", reply.text),
                    (None, _) if is_page && !reply.content.is_empty() => {
                        let inside = self::messages(std::slice::from_ref(&reply.content));
                        format!("ok page [{}]", shown(inside).join("; "))
                    }
                    (None, Some(Found { count, next, .. })) if !is_page => {
                        let more = next.map_or(String::new(), |next| format!(", more before {next}"));
                        format!("ok {count} found{more}: {}", reply.text)
                    }
                    (None, _) => {
                        let next = reply.keys::<RoomList>().and_then(|list| list.next);
                        format!(
                            "ok {}{}",
                            reply.text,
                            next.map_or(String::new(), |next| format!(" next {next}"))
                        )
                    }
                }
            }
            Incoming::Event(message) => {
                let name = message.event.name();
                let (room, what) = match &message.event {
                    Event::Room { room, what, .. } => (room, what),
                    Event::SeveralRooms { .. } | Event::Connection(_) | Event::Unknown { .. } => {
                        return name.to_owned();
                    }
                };
                match what {
                    RoomEvent::Message { n, from, .. } => {
                        let text = String::from_utf8_lossy(&message.content);
                        format!("{name} {room}#{n} {from}{}{text}", if text.is_empty() { "" } else { ": " })
                    }
                    RoomEvent::Hole { from, to, why } => format!("{name} {room}#{from}-{to} {why}"),
                    RoomEvent::Topic { from, topic, .. } => format!("{name} {room} {from}: {topic}"),
                    RoomEvent::Joined { from, .. }
                    | RoomEvent::Left { from, .. }
                    | RoomEvent::Created { from, .. } => format!("{name} {room} {from}"),
                }
            }
        })
        .collect()
}
