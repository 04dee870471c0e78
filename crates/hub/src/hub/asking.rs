//! What comes of a request: answered at once, refused at the door, or put into the order.

use std::collections::BTreeMap;

use bytes::Bytes;
use vang_chat::{Access, AccountId, Command, Event, NameKey, Position, Principal, Refusal, RoomId, Seq};
use vang_journal::{SaidView, encode_name};
use vang_proto::vang::{Action, Code, ErrorReply, Request, Ticket, Value, write_json, write_sent};

use crate::admission::{Peer, Speaking, admit, bad_name, refused, send_id};
use crate::cold::Read;
use crate::limits::{EPOCH_OPENINGS, HISTORY_BYTES_MAX, LISTED_PEOPLE_MAX, LISTED_ROOMS_MAX};
use crate::names::BadName;
use crate::order::Asker;
use crate::queue::QueueFull;

use super::{Hub, Output, Reading, SessionId};

impl Hub {
    /// A request came. Its reply is an output, now or later.
    pub fn request(&mut self, id: SessionId, ticket: Ticket, mut request: Request) {
        let asker = Asker { session: id, ticket, re: request.re.take() };
        if let Err(error) = self.ask(&asker, request) {
            self.refuse(asker, &error);
        }
    }

    fn ask(&mut self, asker: &Asker, request: Request) -> Result<(), ErrorReply> {
        let peer = self.session(asker.session).map_or(Peer::RemotePlain, |session| session.peer);
        if peer == Peer::RemotePlain {
            return Err(ErrorReply::new(
                Code::TlsRequired,
                "names and rooms need TLS on a connection that does not come from this machine",
            ));
        }
        let speaking = self.speaking(asker.session, request.name.as_deref())?;
        let who = speaking.principal;
        match request.action {
            Action::Ping => self.accept(asker, &[], "pong"),
            Action::Hello => self.hello(asker, &speaking),
            Action::Rooms => self.list_rooms(asker, &who),
            Action::Who { room } => self.list_people(asker, &who, &room)?,
            Action::Send { room, id, content_type, content_encoding, content } => {
                let said = SaidView {
                    guest: speaking.guest.as_deref(),
                    content_type: &content_type,
                    content_encoding: &content_encoding,
                    content: &content,
                };
                return self.send(asker, who, &room, id.as_deref(), said);
            }
            Action::Follow { rooms, from } => return self.follow(asker, &who, &rooms, from),
            Action::History { room, since, limit } => {
                let room = self.room(&room, &who)?;
                let read =
                    Read::Messages { room, since, limit: limit as usize, bytes_max: HISTORY_BYTES_MAX };
                let need = self.state.room(room).map_or(Seq(0), |room| room.seq);
                self.read(need, read, Reading::History { asker: asker.clone(), room, since });
            }
            Action::Find { query, limit, before } => return self.find(asker, &who, &query, limit, before),
            Action::Create { room, private } => {
                let (shown, name) = self.names.make(&room).map_err(|bad| bad_name("room", &bad))?;
                if !matches!(who, Principal::Guest(_)) && self.book.old_room(&name).is_some() {
                    return Err(refused(&Refusal::NameTaken));
                }
                let access = if private { Access::Private } else { Access::Public };
                let command = Command::CreateRoom { name, access, by: who };
                return self.enqueue(asker, command, encode_name(&shown));
            }
            Action::Join { room, who: other } => {
                let room = self.room(&room, &who)?;
                let joins = match &other {
                    Some(name) => self.account_to_bring(room, &who, name)?,
                    None => own_account(&who)?,
                };
                return self.enqueue(asker, Command::Join { room, who: joins, by: who }, Bytes::new());
            }
            Action::Leave { room } => {
                let room = self.room(&room, &who)?;
                let who = own_account(&who)?;
                return self.enqueue(asker, Command::Leave { room, who }, Bytes::new());
            }
            // Whoever drives the hub knows the sockets and the machine, and has answered those who may ask.
            Action::Status => return Err(refused(&Refusal::NotAllowed)),
            Action::AddAccount { name } => {
                if peer != Peer::Operator {
                    return Err(refused(&Refusal::NotAllowed));
                }
                let made = self.names.make_account(&name);
                let (shown, name) = made.map_err(|bad| bad_name("name", &bad))?;
                if self.book.old_account(&name).is_some() {
                    return Err(refused(&Refusal::NameTaken));
                }
                return self.enqueue(asker, Command::AddAccount { name }, encode_name(&shown));
            }
        }
        Ok(())
    }

    /// Who speaks: the first name on a connection counts.
    fn speaking(&mut self, id: SessionId, name: Option<&str>) -> Result<Speaking, ErrorReply> {
        let made = name.map(|name| self.named(name).map_err(|bad| bad_name("as", &bad))).transpose()?;
        let (guests, trust, anon) = (self.guests, self.trust, self.anon);
        let Some(session) = self.session_mut(id) else {
            return Err(ErrorReply::new(Code::Stopping, "the connection is gone"));
        };
        let speaking = match (&session.speaking, made) {
            // Two accounts of an old journal may have one key by now: they are two all the same.
            (Some(speaking), Some((_, key, account)))
                if speaking.key != Some(key)
                    || matches!(speaking.principal, Principal::Account(known) if account != Some(known)) =>
            {
                let why = "this connection already speaks under another name";
                return Err(ErrorReply::new(Code::NameSet, why));
            }
            (Some(speaking), _) => speaking.clone(),
            (None, Some((_, key, Some(account)))) => {
                Speaking { principal: Principal::Account(account), key: Some(key), guest: None }
            }
            (None, Some((shown, key, None))) => {
                Speaking { principal: Principal::Guest(key), key: Some(key), guest: Some(shown) }
            }
            (None, None) if session.peer == Peer::Operator => {
                Speaking { principal: Principal::Operator, key: None, guest: None }
            }
            (None, None) => {
                Speaking { principal: Principal::Guest(anon), key: None, guest: Some("anon".to_owned()) }
            }
        };
        admit(session.peer, &speaking.principal, trust, guests)?;
        // Who has given no name may still do so with a later request.
        if speaking.key.is_some() {
            session.speaking.get_or_insert_with(|| speaking.clone());
        }
        Ok(speaking)
    }

    /// A name, its key, and the account that it means, if there is one.
    pub(super) fn named(&self, typed: &str) -> Result<(String, NameKey, Option<AccountId>), BadName> {
        if let Some(account) = self.book.account_shown_as(typed) {
            return Ok((typed.to_owned(), self.names.key(typed), Some(account)));
        }
        let (shown, key) = self.names.make(typed)?;
        let exactly = self.book.account_shown_as(&shown);
        let account = exactly.or_else(|| self.state.account(&key)).or_else(|| self.book.old_account(&key));
        Ok((shown, key, account))
    }

    pub(super) fn room(&self, name: &str, reader: &Principal) -> Result<RoomId, ErrorReply> {
        let name = name.strip_prefix('#').unwrap_or(name);
        if let Some(id) = self.book.room_shown_as(name)
            && self.state.room(id).is_some_and(|room| room.knows(reader))
        {
            return Ok(id);
        }
        let (shown, key) = self.names.make(name).map_err(|bad| bad_name("room", &bad))?;
        let by_key = self.state.room_named(&key, reader).ok().or_else(|| self.book.old_room(&key));
        by_key.filter(|id| self.state.room(*id).is_some_and(|room| room.knows(reader))).ok_or_else(|| {
            let mut error = refused(&Refusal::NoRoom);
            error.detail = format!("there is no room '{shown}'");
            error
        })
    }

    /// The account that somebody brings into a room that they know of. Who may bring nobody is told so whatever the name:
    /// which accounts there are is not for everybody.
    fn account_to_bring(&self, room: RoomId, who: &Principal, name: &str) -> Result<AccountId, ErrorReply> {
        if let Principal::Guest(_) = who {
            return Err(refused(&Refusal::AccountNeeded));
        }
        let (shown, _, account) = self.named(name).map_err(|bad| bad_name("who", &bad))?;
        if let Principal::Account(asker) = who
            && account != Some(*asker)
            && !self.state.room(room).is_some_and(|room| room.is_member(*asker))
        {
            return Err(refused(&Refusal::NotMember));
        }
        account.ok_or_else(|| {
            let mut error = refused(&Refusal::NoAccount);
            error.detail = format!("there is no account '{shown}'");
            error
        })
    }

    pub(super) fn epoch(&self) -> String {
        // Before its opening is written this process has ordered nothing; but who follows already is told
        // what it will order, and must be able to say so when it comes back.
        let unopened = (!self.is_open()).then_some(self.order.node());
        let openings = unopened.into_iter().chain(self.state.openings().rev().take(EPOCH_OPENINGS));
        let openings: Vec<String> = openings.map(|node| node.to_string()).collect();
        openings.join(".")
    }

    fn hello(&mut self, asker: &Asker, speaking: &Speaking) {
        let name = match (&speaking.guest, speaking.principal) {
            (Some(guest), _) => format!("guest:{guest}"),
            (None, Principal::Account(account)) => self.book.account(account).into_owned(),
            (None, _) => "server".to_owned(),
        };
        let keys = [
            ("protocol", Value::Number(1)),
            ("server", Value::from(&*self.server)),
            ("journal", self.identity.id_hex().into()),
            ("epoch", self.epoch().into()),
            ("seq", self.state.seq().0.into()),
            ("name", name.into()),
        ];
        let server = self.server.clone();
        self.accept(asker, &keys, &server);
    }

    /// The newest rooms that somebody may know of. At most `LISTED_ROOMS_MAX` are looked at, and none that may not be
    /// known of; the number of the others is kept.
    fn list_rooms(&mut self, asker: &Asker, who: &Principal) {
        let known = self.state.known_rooms(who);
        let left_out = known.count().saturating_sub(LISTED_ROOMS_MAX);
        let mut rooms: Vec<_> =
            known.newest().take(LISTED_ROOMS_MAX).filter_map(|id| Some((id, self.state.room(id)?))).collect();
        rooms.reverse();
        let list: Vec<serde_json::Value> = rooms
            .iter()
            .map(|(id, room)| {
                let member = matches!(who, Principal::Account(account) if room.is_member(*account));
                serde_json::json!({
                    "room": self.book.room(*id),
                    "access": if room.access == Access::Private { "private" } else { "public" },
                    "n": room.newest_for(who),
                    "member": member,
                })
            })
            .collect();
        let keys = [("left-out", Value::Number(left_out as u64))];
        let keys = if left_out > 0 { &keys[..] } else { &[] };
        let bytes = write_json(asker.re.as_deref(), keys, &serde_json::Value::from(list).to_string());
        self.outputs.push_back(Output::Reply { session: asker.session, ticket: asker.ticket, bytes });
    }

    /// Who is in a room: its members, and whoever follows it at this moment and can still speak. Nobody is asked or noted for it.
    /// At most `LISTED_PEOPLE_MAX` of either are looked at; the numbers of the others are kept.
    fn list_people(&mut self, asker: &Asker, who: &Principal, room: &str) -> Result<(), ErrorReply> {
        let id = self.room(room, who)?;
        let shown = self.book.room(id).into_owned();
        let there = self.state.room(id).filter(|there| there.shows_people(who));
        let there = there.ok_or_else(|| refused(&Refusal::NotMember))?;
        let members = there.members();
        let mut left_out = members.len().saturating_sub(LISTED_PEOPLE_MAX) as u64;
        // Accounts first, each once however many connections it has: by name, member, connections.
        let mut people: BTreeMap<(bool, String), (bool, u64)> = BTreeMap::new();
        for account in members.take(LISTED_PEOPLE_MAX) {
            people.insert((false, self.book.account(account).into_owned()), (true, 0));
        }
        let followers = self.followers.get(&id).map_or(&[][..], Vec::as_slice);
        left_out += followers.len().saturating_sub(LISTED_PEOPLE_MAX) as u64;
        for &(follower, _) in followers.iter().take(LISTED_PEOPLE_MAX) {
            let Some(session) = self.session(follower).filter(|session| !session.peer_ended) else {
                continue;
            };
            let speaking = session.speaking.as_ref();
            let reader = match speaking {
                Some(speaking) => speaking.principal,
                None if session.peer == Peer::Operator => continue,
                None => Principal::Guest(self.anon),
            };
            if !there.shows_people(&reader) {
                // Has left, and is still told what it may see of the time before.
                continue;
            }
            let key = match (reader, speaking.and_then(|speaking| speaking.guest.as_deref())) {
                (Principal::Account(account), _) => (false, self.book.account(account).into_owned()),
                (_, guest) => (true, format!("guest:{}", guest.unwrap_or("anon"))),
            };
            if people.len() < LISTED_PEOPLE_MAX || people.contains_key(&key) {
                people.entry(key).or_default().1 += 1;
            } else {
                left_out += 1;
            }
        }
        let list: Vec<serde_json::Value> = people
            .into_iter()
            .map(|((_, name), (member, present))| {
                serde_json::json!({"name": name, "member": member, "present": present})
            })
            .collect();
        let mut keys = vec![("room", Value::Text(shown))];
        if left_out > 0 {
            keys.push(("left-out", Value::Number(left_out)));
        }
        let bytes = write_json(asker.re.as_deref(), &keys, &serde_json::Value::from(list).to_string());
        self.outputs.push_back(Output::Reply { session: asker.session, ticket: asker.ticket, bytes });
        Ok(())
    }

    fn send(
        &mut self,
        asker: &Asker,
        from: Principal,
        room: &str,
        id: Option<&str>,
        said: SaidView<'_>,
    ) -> Result<(), ErrorReply> {
        let room = self.room(room, &from)?;
        let len = said.content.len() as u64;
        if len > self.inline_max {
            let detail = format!(
                "content of {len} bytes exceeds the limit of {} for a message in a room",
                self.inline_max
            );
            let error = ErrorReply::new(Code::TooLong, detail).with("part", "content");
            return Err(error.with("found", len).with("limit", self.inline_max));
        }
        let parts: [&[u8]; 3] =
            [said.content_type.as_bytes(), said.content_encoding.as_bytes(), said.content];
        let id = id.map(|id| send_id(&self.names, id, parts));
        self.enqueue(asker, Command::Send { room, from, id }, said.encode())
    }

    /// Refuses what the rules would refuse now, answers what was sent before, orders the rest.
    fn enqueue(&mut self, asker: &Asker, command: Command, payload: Bytes) -> Result<(), ErrorReply> {
        if self.stopping {
            return Err(ErrorReply::new(Code::Stopping, "the server is going down; connect again"));
        }
        let next =
            Position { seq: self.state.seq().next(), time: self.state.time(), node: self.order.node() };
        match self.state.decide(self.state.rules(), next, &command) {
            Err(refusal) => return Err(refused(&refusal)),
            Ok(events) => {
                if let [Event::AlreadySent { room, n, seq }] = events[..] {
                    self.answer_sent(asker, room, n, seq);
                    return Ok(());
                }
            }
        }
        let payload = self.salts.payload(payload);
        self.order.push(command, payload, asker.clone()).map_err(|QueueFull| {
            ErrorReply::new(Code::Busy, "too much waits to be written; try again").with("retry-after", 200)
        })
    }

    pub(super) fn answer_sent(&mut self, asker: &Asker, room: RoomId, n: u64, seq: Seq) {
        let bytes = write_sent(asker.re.as_deref(), &self.book.room(room), n, seq.0);
        self.outputs.push_back(Output::Reply { session: asker.session, ticket: asker.ticket, bytes });
    }
}

fn own_account(who: &Principal) -> Result<AccountId, ErrorReply> {
    match who {
        Principal::Account(account) => Ok(*account),
        Principal::Guest(_) | Principal::Operator => Err(refused(&Refusal::AccountNeeded)),
    }
}
