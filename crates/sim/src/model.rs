//! What must be true, computed the slow and simple way from the journal alone: no intervals, no tails, no
//! cursors. It shares no code with `vang-hub` and `vang-chat`, so that both do not have the same bugs.

use std::collections::{BTreeMap, BTreeSet};

use vang_chat::{
    Access, AccountId, Command, Feed, FeedKey, MemberCommand, MessageCommand, Name, OrderCommand, Principal,
    RoomCommand, RoomId, RoomsBy, Seq,
};
use vang_hub::{EventClass, EventData, EventRow, Row, TextOf};
use vang_journal::{Entry, Envelope, MessagePayload, decode_name};

use crate::credentials::Credentials;
use crate::environment::print;

mod credentials; // passwords, tokens, invitations and roles

/// An event as a reader receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenEvent {
    pub(crate) seq: u64,
    pub(crate) room: String,
    pub(crate) what: EventBody,
}

/// An event's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EventBody {
    Message {
        n: u64,
        from: String,
        word: String,
        /// A hash of type, encoding and content.
        print: u64,
    },
    Joined {
        from: String,
    },
    Left {
        from: String,
    },
    Created {
        from: String,
    },
    Topic {
        from: String,
        topic: String,
    },
    Hole {
        from: u64,
        to: u64,
    },
}

impl EventBody {
    /// The message's number, or the last number of a hole.
    pub(crate) fn n(&self) -> Option<u64> {
        match self {
            EventBody::Message { n, .. } => Some(*n),
            EventBody::Hole { to, .. } => Some(*to),
            EventBody::Joined { .. }
            | EventBody::Left { .. }
            | EventBody::Created { .. }
            | EventBody::Topic { .. } => None,
        }
    }
}

/// A hash of a message's content with its type and encoding.
pub(crate) fn content_print(content_type: &str, content_encoding: &str, content: &[u8]) -> u64 {
    let seed = print(1, content_type.as_bytes()) ^ print(2, content_encoding.as_bytes());
    print(seed, content)
}

/// The first word of a message, which identifies it in the simulation.
pub(crate) fn first_word(content: &[u8]) -> String {
    let end = content.iter().take(80).position(|&byte| byte == b' ').unwrap_or(content.len().min(80));
    String::from_utf8_lossy(&content[..end]).into_owned()
}

/// An event of a room.
#[derive(Clone, Debug)]
struct ModelEvent {
    seq: u64,
    /// The account that joined, left or created.
    account: Option<u64>,
    what: EventBody,
}

#[derive(Clone, Debug)]
struct Room {
    name: String,
    made: Name,
    private: bool,
    by: Principal,
    n: u64,
    members: BTreeSet<u64>,
    ever: BTreeSet<u64>,
    events: Vec<ModelEvent>,
}

/// A value of a feed that has values under keys.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    /// The room that it is about.
    pub(crate) key: u64,
    pub(crate) seen: SeenEvent,
}

/// A posted message.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub(crate) seq: u64,
    pub(crate) room: String,
    pub(crate) n: u64,
    pub(crate) content: u64,
    /// The private room's members at that time; `None`: everybody can see it.
    pub(crate) audience: Option<BTreeSet<u64>>,
}

/// The expected state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    seq: u64,
    time: u64,
    accounts: BTreeMap<u64, (Name, String)>,
    rooms: BTreeMap<u64, Room>,
    sent: BTreeMap<(Principal, u64, [u8; 16]), u64>,
    posted: BTreeMap<String, Vec<Posted>>,
    openings: Vec<u64>,
    /// The action that an entry did, unless it is a message; to check acknowledgements.
    done: BTreeMap<u64, &'static str>,
    rows: Vec<Row>,
    credentials: Credentials,
}

/// Are these two names, and may both exist? Names that look alike may not, if no script can write both.
fn can_stand_beside(one: &Name, other: &Name) -> bool {
    let scripts = |name: &Name| -> BTreeSet<Vec<u8>> {
        name.scripts.as_str().as_bytes().chunks(4).map(<[u8]>::to_vec).collect()
    };
    let (ones, others) = (scripts(one), scripts(other));
    let is_of_all = |scripts: &BTreeSet<Vec<u8>>| scripts.contains(&b"Zyyy"[..]);
    let in_one_script = match ones.is_empty() || others.is_empty() {
        true => false,
        false => is_of_all(&ones) || is_of_all(&others) || !ones.is_disjoint(&others),
    };
    let look_alike = one.looks.iter().any(|look| other.looks.contains(look));
    one.key != other.key && (in_one_script || !look_alike)
}

const REMEMBERED_MS: u64 = 24 * 60 * 60 * 1_000;

impl Model {
    /// The last applied entry.
    pub(crate) fn seq(&self) -> Seq {
        Seq(self.seq)
    }

    /// Applies the next entry.
    pub(crate) fn take(&mut self, entry: &Entry) {
        assert_eq!(entry.seq.0, self.seq + 1, "the journal has a gap");
        self.seq = entry.seq.0;
        let envelope = Envelope::decode(&entry.envelope).expect("an entry of ours");
        self.time = self.time.max(envelope.time.0);
        let payload = entry.payload.as_ref().map(|payload| payload.bytes.clone()).unwrap_or_default();
        let name = || decode_name(&payload).expect("a name");
        let seq = self.seq;
        if !self.begin(&envelope.command) {
            return;
        }
        match envelope.command {
            Command::Order(OrderCommand::Open) => self.openings.push(seq),
            Command::Order(OrderCommand::Tick) | Command::Order(OrderCommand::SwitchRules { .. }) => {}
            Command::Account(command) => self.take_account(&command, name),
            Command::Credential(command) => self.take_credential(&command, &payload),
            Command::Invitation(command) => self.take_invitation(&command, name),
            Command::Room(RoomCommand::Create { name: made, access, by, rooms_by, most }) => {
                let may = match by {
                    Principal::Operator => true,
                    Principal::Guest(_) => false,
                    Principal::Account(_) => {
                        let made = self.rooms.values().filter(|room| room.by == by).count() as u64;
                        rooms_by == RoomsBy::Accounts && most.is_none_or(|most| made < most)
                    }
                };
                if may && self.rooms.values().all(|room| can_stand_beside(&room.made, &made)) {
                    self.create(*made, access, by, name());
                }
            }
            Command::Room(RoomCommand::SetTopic { room, by }) => self.set_topic(room.0, by, name()),
            Command::Member(MemberCommand::Join { room, who, by }) => self.join(room.0, who.0, by),
            // No room is a default one here.
            Command::Member(MemberCommand::Enter { .. }) => {}
            Command::Member(MemberCommand::Leave { room, who }) => {
                let from = self.account_name(who.0);
                if self.rooms.get_mut(&room.0).is_some_and(|room| room.members.remove(&who.0)) {
                    self.record(room.0, Some(who.0), EventBody::Left { from }, Principal::Account(who));
                    self.done.insert(seq, "leave");
                }
            }
            Command::Message(MessageCommand::Send { room, from, id }) => {
                let said = MessagePayload::decode(&payload).expect("what was said");
                self.send(room.0, from, id.map(|id| id.key), &said);
            }
        }
    }

    fn create(&mut self, made: Name, access: Access, by: Principal, name: String) {
        let creator = match by {
            Principal::Account(account) => Some(account.0),
            Principal::Operator | Principal::Guest(_) => None,
        };
        let members: BTreeSet<u64> = creator.into_iter().collect();
        let private = access == Access::Private;
        let room = Room {
            name: name.clone(),
            made,
            private,
            by,
            n: 0,
            ever: members.clone(),
            members,
            events: Vec::new(),
        };
        self.rooms.insert(self.seq, room);
        let from = creator.map_or("server".to_owned(), |creator| self.account_name(creator));
        self.record(self.seq, creator, EventBody::Created { from }, by);
        self.done.insert(self.seq, "create");
        self.keep_text(TextOf::RoomName(RoomId(self.seq)), name);
    }

    fn set_topic(&mut self, id: u64, by: Principal, topic: String) {
        let Some(room) = self.rooms.get(&id) else { return };
        let (may, from) = match by {
            Principal::Operator => (!room.private, "server".to_owned()),
            Principal::Guest(_) => (false, String::new()),
            Principal::Account(who) => (room.members.contains(&who.0), self.account_name(who.0)),
        };
        if may {
            self.record(id, None, EventBody::Topic { from, topic: topic.clone() }, by);
            self.done.insert(self.seq, "topic");
            self.keep_text(TextOf::RoomTopic(RoomId(id)), topic);
        }
    }

    fn join(&mut self, id: u64, who: u64, by: Principal) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let may = match by {
            Principal::Operator => true,
            Principal::Guest(_) => false,
            // Everybody can join a public room; only members can bring others.
            Principal::Account(asker) => room.members.contains(&asker.0) || (asker.0 == who && !room.private),
        };
        if may && self.accounts.contains_key(&who) && room.members.insert(who) {
            room.ever.insert(who);
            let from = self.account_name(who);
            self.record(id, Some(who), EventBody::Joined { from }, Principal::Account(AccountId(who)));
            self.done.insert(self.seq, "join");
        }
    }

    fn send(&mut self, id: u64, from: Principal, send_id: Option<[u8; 16]>, said: &MessagePayload) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        if let Some(key) = send_id
            && let Some(&time) = self.sent.get(&(from, id, key))
            && self.time - time <= REMEMBERED_MS
        {
            return;
        }
        let may =
            !room.private || matches!(from, Principal::Account(account) if room.members.contains(&account.0));
        if !may {
            return;
        }
        room.n += 1;
        let (n, private, audience, room) = (room.n, room.private, room.members.clone(), room.name.clone());
        if let Some(key) = send_id {
            self.sent.insert((from, id, key), self.time);
        }
        let speaker = match from {
            Principal::Operator => "server".to_owned(),
            Principal::Account(account) => self.account_name(account.0),
            Principal::Guest(_) => format!("guest:{}", said.guest.as_deref().unwrap_or("anon")),
        };
        let word = first_word(&said.content);
        let print = content_print(&said.content_type, &said.content_encoding, &said.content);
        let content = crate::environment::print(3, &said.content);
        let audience = private.then_some(audience);
        let posted = Posted { audience, seq: self.seq, room, n, content };
        self.posted.entry(word.clone()).or_default().push(posted);
        self.record(id, None, EventBody::Message { n, from: speaker, word, print }, from);
    }

    fn record(&mut self, id: u64, account: Option<u64>, what: EventBody, who: Principal) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let class = match (&what, room.private) {
            (EventBody::Message { .. }, false) => EventClass::Message(Access::Public),
            (EventBody::Message { .. }, true) => EventClass::Message(Access::Private),
            _ => EventClass::Other,
        };
        let event = EventRow { seq: Seq(self.seq), n: room.n, class, who, data: event_data(&what) };
        let is_announced = matches!(what, EventBody::Created { .. }) && !room.private;
        room.events.push(ModelEvent { seq: self.seq, account, what });
        self.rows.push(Row::Event { feed: Feed::Room(RoomId(id)), event });
        // In the feeds of accounts and of the server the room is the key.
        let value = EventRow { n: FeedKey::Room(RoomId(id)).number(), ..event };
        let feeds = account.map(|account| Feed::Account(AccountId(account)));
        let feeds = feeds.into_iter().chain(is_announced.then_some(Feed::Server));
        self.rows.extend(feeds.map(|feed| Row::Event { feed, event: value }));
    }

    fn keep_text(&mut self, of: TextOf, text: String) {
        self.rows.push(Row::Text { seq: Seq(self.seq), of, text });
    }

    fn account_name(&self, account: u64) -> String {
        self.accounts.get(&account).map_or(String::new(), |(_, name)| name.clone())
    }

    // ---- questions ----

    pub(crate) fn account(&self, name: &str) -> Option<u64> {
        self.accounts.iter().find(|(_, (_, known))| known == name).map(|(&id, _)| id)
    }

    pub(crate) fn accounts(&self) -> impl Iterator<Item = u64> {
        self.accounts.keys().copied()
    }

    fn room(&self, name: &str) -> Option<&Room> {
        self.rooms.values().find(|room| room.name == name)
    }

    pub(crate) fn has_room(&self, name: &str) -> bool {
        self.room(name).is_some()
    }

    /// Can this reader know of the room?
    pub(crate) fn knows(&self, reader: Option<u64>, name: &str) -> bool {
        self.room(name)
            .is_some_and(|room| !room.private || reader.is_some_and(|one| room.ever.contains(&one)))
    }

    /// The rooms that this reader knows of at an entry, in the order of their creation.
    pub(crate) fn known_rooms(&self, reader: Option<u64>, at: u64) -> Vec<(u64, String)> {
        let was_in = |room: &Room| {
            let own = room.events.iter().filter(|event| event.account.is_some() && event.account == reader);
            own.into_iter().any(|event| event.seq <= at)
        };
        let rooms = self.rooms.iter().filter(|(id, room)| **id <= at && (!room.private || was_in(room)));
        rooms.map(|(&id, room)| (id, room.name.clone())).collect()
    }

    pub(crate) fn is_member(&self, reader: Option<u64>, name: &str) -> bool {
        self.room(name).zip(reader).is_some_and(|(room, reader)| room.members.contains(&reader))
    }

    /// Were these two accounts ever in one private room?
    pub(crate) fn share_a_room(&self, reader: u64, other: u64) -> bool {
        let both = |room: &Room| room.private && room.ever.contains(&reader) && room.ever.contains(&other);
        self.rooms.values().any(both)
    }

    /// The events of a room that this reader receives from its start.
    pub(crate) fn expected_events(&self, reader: Option<u64>, name: &str) -> Vec<SeenEvent> {
        let Some(room) = self.room(name) else { return Vec::new() };
        let mut expected = Vec::new();
        let (mut inside, mut n, mut known) = (!room.private, 0, 0);
        for event in &room.events {
            if let EventBody::Message { .. } = event.what {
                n += 1;
            }
            let mine = room.private && event.account.is_some() && event.account == reader;
            let mut what = event.what.clone();
            match what {
                EventBody::Joined { .. } | EventBody::Created { .. } if mine => {
                    inside = true;
                    if n > known {
                        what = EventBody::Hole { from: known + 1, to: n };
                    }
                }
                _ => {}
            }
            if inside {
                expected.push(SeenEvent { seq: event.seq, room: room.name.clone(), what });
            }
            if mine && matches!(event.what, EventBody::Left { .. }) {
                (inside, known) = (false, n);
            }
        }
        expected
    }

    /// Every value of an account's or the server's feed, in order, also those that were replaced.
    pub(crate) fn values(&self, feed: Feed) -> Vec<Value> {
        let shows = |room: &Room, event: &ModelEvent| match feed {
            Feed::Room(_) => false,
            // It was created, joined or left by this account, or the account was brought in.
            Feed::Account(account) => event.account == Some(account.0),
            Feed::Server => !room.private && matches!(event.what, EventBody::Created { .. }),
        };
        let mut values = Vec::new();
        for (&key, room) in &self.rooms {
            for ModelEvent { seq, what, .. } in room.events.iter().filter(|event| shows(room, event)) {
                let seen = SeenEvent { seq: *seq, room: room.name.clone(), what: what.clone() };
                values.push(Value { key, seen });
            }
        }
        values.sort_by_key(|value| value.seen.seq);
        values
    }

    /// The feeds that have values under keys.
    pub(crate) fn keyed_feeds(&self) -> impl Iterator<Item = Feed> {
        let accounts = self.accounts.keys().map(|&account| Feed::Account(AccountId(account)));
        accounts.chain([Feed::Server])
    }

    pub(crate) fn seq_of(&self, name: &str, n: u64) -> Option<u64> {
        let events = &self.room(name)?.events;
        events.iter().find(|event| event.what.n() == Some(n)).map(|event| event.seq)
    }

    pub(crate) fn newest(&self, name: &str) -> u64 {
        self.room(name).map_or(0, |room| room.n)
    }

    /// The posted messages with this first word: there should be one.
    pub(crate) fn posted(&self, word: &str) -> &[Posted] {
        self.posted.get(word).map_or(&[], Vec::as_slice)
    }

    /// The action that this entry did, unless it is a message.
    pub(crate) fn done(&self, seq: u64) -> Option<&'static str> {
        self.done.get(&seq).copied()
    }

    /// Entries with which a server opened the journal.
    pub(crate) fn openings(&self) -> &[u64] {
        &self.openings
    }

    pub(crate) fn last_account(&self) -> u64 {
        self.accounts.keys().last().copied().unwrap_or(0)
    }

    /// The view's expected content, as one delta.
    pub(crate) fn delta(&self) -> vang_hub::Delta {
        vang_hub::Delta { upto: self.seq(), rows: self.rows.clone(), snapshot: None }
    }
}

/// What the hub gives the view of an event beside its numbers and who did it, written a second time: CBOR of [kind].
fn event_data(what: &EventBody) -> EventData {
    let kind = match what {
        EventBody::Message { .. } => 1,
        EventBody::Created { .. } => 2,
        EventBody::Joined { .. } => 3,
        EventBody::Left { .. } => 4,
        EventBody::Topic { .. } => 5,
        EventBody::Hole { .. } => 0,
    };
    EventData::new(&[0x81, kind]).expect("short")
}
