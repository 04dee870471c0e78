//! What must be true, computed the slow and simple way from the journal alone: no intervals, no tails,
//! no cursors. Written apart from `vang-hub` and `vang-chat`, so that both are wrong in different ways.

use std::collections::{BTreeMap, BTreeSet};

use vang_chat::{Access, Command, NameKey, Principal, Seq};
use vang_hub::Row;
use vang_journal::{Entry, Envelope, Said, decode_name};

use crate::fate::print;

/// One event as a reader is told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Its place.
    pub(crate) seq: u64,
    /// The room's name.
    pub(crate) room: String,
    /// What.
    pub(crate) what: What,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are the protocol's keys
pub(crate) enum What {
    Message {
        n: u64,
        from: String,
        /// The content's first word.
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
    Hole {
        from: u64,
        to: u64,
    },
}

impl What {
    /// The message's number, or the last that a hole leaves out.
    pub(crate) fn n(&self) -> Option<u64> {
        match self {
            What::Message { n, .. } => Some(*n),
            What::Hole { to, .. } => Some(*to),
            What::Joined { .. } | What::Left { .. } | What::Created { .. } => None,
        }
    }
}

/// A message's content, hashed with what belongs to it.
pub(crate) fn content_print(content_type: &str, content_encoding: &str, content: &[u8]) -> u64 {
    let seed = print(1, content_type.as_bytes()) ^ print(2, content_encoding.as_bytes());
    print(seed, content)
}

/// The first word of a message: what the simulation knows it by.
pub(crate) fn first_word(content: &[u8]) -> String {
    let end = content.iter().take(80).position(|&byte| byte == b' ').unwrap_or(content.len().min(80));
    String::from_utf8_lossy(&content[..end]).into_owned()
}

/// What happened in a room.
#[derive(Clone, Debug)]
struct Doing {
    seq: u64,
    /// Whose joining, leaving or creating it is.
    account: Option<u64>,
    what: What,
}

#[derive(Clone, Debug)]
struct Room {
    name: String,
    key: NameKey,
    private: bool,
    n: u64,
    members: BTreeSet<u64>,
    ever: BTreeSet<u64>,
    doings: Vec<Doing>,
}

/// A message that was posted.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    /// Its place.
    pub(crate) seq: u64,
    /// Its room's name.
    pub(crate) room: String,
    /// Its number.
    pub(crate) n: u64,
    /// A hash of the content.
    pub(crate) content: u64,
    /// Who was in the private room when it was said; `None`: everybody may see it.
    pub(crate) audience: Option<BTreeSet<u64>>,
}

/// See the module's head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    seq: u64,
    time: u64,
    accounts: BTreeMap<u64, (NameKey, String)>,
    rooms: BTreeMap<u64, Room>,
    sent: BTreeMap<(Principal, u64, [u8; 16]), u64>,
    posted: BTreeMap<String, Vec<Posted>>,
    openings: Vec<u64>,
    /// What was made of an entry that is neither message nor nothing: for who was told that it is done.
    done: BTreeMap<u64, &'static str>,
    rows: Vec<Row>,
}

/// How long an id is remembered, ms.
const REMEMBERED_MS: u64 = 24 * 60 * 60 * 1_000;

impl Model {
    /// The last entry taken in.
    pub(crate) fn seq(&self) -> Seq {
        Seq(self.seq)
    }

    /// Takes in the next entry.
    pub(crate) fn take(&mut self, entry: &Entry) {
        assert_eq!(entry.seq.0, self.seq + 1, "the journal has a gap");
        self.seq = entry.seq.0;
        let envelope = Envelope::decode(&entry.envelope).expect("an entry of ours");
        self.time = self.time.max(envelope.time.0);
        let payload = entry.payload.as_ref().map(|payload| payload.bytes.clone()).unwrap_or_default();
        let name = || decode_name(&payload).expect("a name");
        let seq = self.seq;
        match envelope.command {
            Command::Open => self.openings.push(seq),
            Command::Tick | Command::SwitchRules { .. } => {}
            Command::AddAccount { name: key } => {
                if !self.accounts.values().any(|(taken, _)| *taken == key) {
                    self.accounts.insert(seq, (key, name()));
                    self.done.insert(seq, "account-add");
                    self.rows.push(Row::AccountName { account: vang_chat::AccountId(seq), name: name() });
                }
            }
            Command::CreateRoom { name: key, access, by } => {
                let may = !matches!(by, Principal::Guest(_));
                if may && !self.rooms.values().any(|room| room.key == key) {
                    self.create(key, access, by, name());
                }
            }
            Command::Join { room, who, by } => self.join(room.0, who.0, by),
            Command::Leave { room, who } => {
                let from = self.account_name(who.0);
                if self.rooms.get_mut(&room.0).is_some_and(|room| room.members.remove(&who.0)) {
                    self.happens(room.0, Some(who.0), What::Left { from });
                    self.done.insert(seq, "leave");
                }
            }
            Command::Send { room, from, id } => {
                let said = Said::decode(&payload).expect("what was said");
                self.send(room.0, from, id.map(|id| id.key), &said);
            }
        }
    }

    fn create(&mut self, key: NameKey, access: Access, by: Principal, name: String) {
        let creator = match by {
            Principal::Account(account) => Some(account.0),
            Principal::Operator | Principal::Guest(_) => None,
        };
        let members: BTreeSet<u64> = creator.into_iter().collect();
        let private = access == Access::Private;
        let room = Room {
            name: name.clone(),
            key,
            private,
            n: 0,
            ever: members.clone(),
            members,
            doings: Vec::new(),
        };
        self.rooms.insert(self.seq, room);
        let from = creator.map_or("server".to_owned(), |creator| self.account_name(creator));
        self.happens(self.seq, creator, What::Created { from });
        self.done.insert(self.seq, "create");
        self.rows.push(Row::RoomName { room: vang_chat::RoomId(self.seq), name });
    }

    fn join(&mut self, id: u64, who: u64, by: Principal) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let may = match by {
            Principal::Operator => true,
            Principal::Guest(_) => false,
            // Into a public room everybody goes alone; only members bring others.
            Principal::Account(asker) => room.members.contains(&asker.0) || (asker.0 == who && !room.private),
        };
        if may && self.accounts.contains_key(&who) && room.members.insert(who) {
            room.ever.insert(who);
            let from = self.account_name(who);
            self.happens(id, Some(who), What::Joined { from });
            self.done.insert(self.seq, "join");
        }
    }

    fn send(&mut self, id: u64, from: Principal, send_id: Option<[u8; 16]>, said: &Said) {
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
        let content = crate::fate::print(3, &said.content);
        let audience = private.then_some(audience);
        let posted = Posted { audience, seq: self.seq, room, n, content };
        self.posted.entry(word.clone()).or_default().push(posted);
        self.happens(id, None, What::Message { n, from: speaker, word, print });
    }

    fn happens(&mut self, id: u64, account: Option<u64>, what: What) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let (n, message) = (room.n, matches!(what, What::Message { .. }));
        room.doings.push(Doing { seq: self.seq, account, what });
        let room = vang_chat::RoomId(id);
        self.rows.push(Row::RoomEvent { room, seq: Seq(self.seq), n, message });
    }

    fn account_name(&self, account: u64) -> String {
        self.accounts.get(&account).map_or(String::new(), |(_, name)| name.clone())
    }

    // ---- questions ----

    /// The account of this name.
    pub(crate) fn account(&self, name: &str) -> Option<u64> {
        self.accounts.iter().find(|(_, (_, known))| known == name).map(|(&id, _)| id)
    }

    fn room(&self, name: &str) -> Option<&Room> {
        self.rooms.values().find(|room| room.name == name)
    }

    /// Is there such a room?
    pub(crate) fn has_room(&self, name: &str) -> bool {
        self.room(name).is_some()
    }

    /// May this reader know of the room?
    pub(crate) fn knows(&self, reader: Option<u64>, name: &str) -> bool {
        self.room(name)
            .is_some_and(|room| !room.private || reader.is_some_and(|one| room.ever.contains(&one)))
    }

    /// Is this reader in the room now?
    pub(crate) fn is_member(&self, reader: Option<u64>, name: &str) -> bool {
        self.room(name).zip(reader).is_some_and(|(room, reader)| room.members.contains(&reader))
    }

    /// Were these two ever in one private room?
    pub(crate) fn share_a_room(&self, reader: u64, other: u64) -> bool {
        let both = |room: &Room| room.private && room.ever.contains(&reader) && room.ever.contains(&other);
        self.rooms.values().any(both)
    }

    /// What this reader is told of a room, from its beginning.
    pub(crate) fn told(&self, reader: Option<u64>, name: &str) -> Vec<Told> {
        let Some(room) = self.room(name) else { return Vec::new() };
        let mut told = Vec::new();
        let (mut inside, mut n, mut known) = (!room.private, 0, 0);
        for doing in &room.doings {
            if let What::Message { .. } = doing.what {
                n += 1;
            }
            let mine = room.private && doing.account.is_some() && doing.account == reader;
            let mut what = doing.what.clone();
            match what {
                What::Joined { .. } | What::Created { .. } if mine => {
                    inside = true;
                    if n > known {
                        what = What::Hole { from: known + 1, to: n };
                    }
                }
                _ => {}
            }
            if inside {
                told.push(Told { seq: doing.seq, room: room.name.clone(), what });
            }
            if mine && matches!(doing.what, What::Left { .. }) {
                (inside, known) = (false, n);
            }
        }
        told
    }

    /// The entry of a message of a room.
    pub(crate) fn seq_of(&self, name: &str, n: u64) -> Option<u64> {
        let doings = &self.room(name)?.doings;
        doings.iter().find(|doing| doing.what.n() == Some(n)).map(|doing| doing.seq)
    }

    /// The newest number of a room.
    pub(crate) fn newest(&self, name: &str) -> u64 {
        self.room(name).map_or(0, |room| room.n)
    }

    /// How a message with this first word was posted: once, one hopes.
    pub(crate) fn posted(&self, word: &str) -> &[Posted] {
        self.posted.get(word).map_or(&[], Vec::as_slice)
    }

    /// What came of an entry that was no message.
    pub(crate) fn done(&self, seq: u64) -> Option<&'static str> {
        self.done.get(&seq).copied()
    }

    /// Entries by which a server opened the journal.
    pub(crate) fn openings(&self) -> &[u64] {
        &self.openings
    }

    /// The last account that was added.
    pub(crate) fn last_account(&self) -> u64 {
        self.accounts.keys().last().copied().unwrap_or(0)
    }

    /// What the tables must hold, as one delta.
    pub(crate) fn delta(&self) -> vang_hub::Delta {
        vang_hub::Delta { upto: self.seq(), rows: self.rows.clone(), snapshot: None }
    }
}
