//! Members: join, leave, and who is in a room.

use std::collections::BTreeMap;

use bytes::Bytes;
use vang_chat::{AccountId, Feed, MemberCommand, NameKey, Power, Principal, Refusal, RoomId};
use vang_proto::vang::{ErrorReply, MEMBER, People, Person};

use crate::admission::{bad_name, refused};
use crate::hub::Hub;
use crate::limits::LISTED_PEOPLE_MAX;
use crate::session::Asker;

impl Hub {
    pub(super) fn join(
        &mut self,
        asker: &Asker,
        who: &Principal,
        room: &str,
        other: Option<&str>,
    ) -> Result<(), ErrorReply> {
        let room = self.room(asker, room, who)?;
        let joins = match other {
            Some(name) => self.account_to_bring(room, who, name)?,
            None => self.own_account(room, who, Power::Join)?,
        };
        self.enqueue(asker, MemberCommand::Join { room, who: joins, by: *who }.into(), Bytes::new())
    }

    pub(super) fn leave(&mut self, asker: &Asker, who: &Principal, room: &str) -> Result<(), ErrorReply> {
        let room = self.room(asker, room, who)?;
        let who = self.own_account(room, who, Power::Leave)?;
        self.enqueue(asker, MemberCommand::Leave { room, who }.into(), Bytes::new())
    }

    /// At its first sign-in an account becomes a member of the default rooms, as the server's own entry.
    pub(in crate::hub) fn enter_default_rooms(&mut self, who: AccountId) {
        // A process orders nothing before its opening: then it is left to the next sign-in. Many connections may sign in before
        // the entry is written.
        if !self.is_open() || self.state.has_entered(who) || !self.entering.insert(who) {
            return;
        }
        let key = |name: &String| self.names.make(name).ok().map(|(_, key)| key);
        let named = |key: NameKey| self.state.room_named(&key, &Principal::Account(who)).ok();
        let rooms = self.default_rooms.iter().filter_map(key).filter_map(named).collect();
        let payload = self.salts.payload(Bytes::new());
        self.order.push_own(MemberCommand::Enter { who, rooms }.into(), payload);
    }

    /// The account with which somebody joins or leaves a room that they know of.
    fn own_account(&self, room: RoomId, who: &Principal, power: Power) -> Result<AccountId, ErrorReply> {
        let there = self.state.room(room).ok_or_else(|| refused(&Refusal::NoRoom))?;
        there.own_account(power, who).map_err(|refusal| refused(&refusal))
    }

    /// The account that somebody brings into a room that they know of. A user who may bring nobody gets that refusal whatever the name:
    /// which accounts there are is not for everybody.
    pub(in crate::hub) fn account_to_bring(
        &self,
        room: RoomId,
        who: &Principal,
        name: &str,
    ) -> Result<AccountId, ErrorReply> {
        let there = self.state.room(room).ok_or_else(|| refused(&Refusal::NoRoom))?;
        let brings = there.check(Power::Bring, who).map_err(|refusal| refused(&refusal));
        if !matches!(who, Principal::Account(_)) {
            brings.clone()?;
        }
        let (shown, _, account) = self.named(name).map_err(|bad| bad_name("who", name, &bad))?;
        if account.map(Principal::Account) != Some(*who) {
            brings?;
        }
        account.ok_or_else(|| {
            let mut error = refused(&Refusal::NoAccount);
            error.detail = format!("there is no account '{shown}'");
            error
        })
    }

    /// Lists the people of a room: its members, and its current followers who can still speak. Nothing is written for it.
    /// At most `LISTED_PEOPLE_MAX` of either are looked at; the numbers of the others are kept.
    pub(in crate::hub) fn list_people(
        &mut self,
        asker: &Asker,
        who: &Principal,
        room: &str,
    ) -> Result<(), ErrorReply> {
        let id = self.room(asker, room, who)?;
        let shown = self.book.room(id).into_owned();
        let there = self.state.room(id).ok_or_else(|| refused(&Refusal::NoRoom))?;
        there.check(Power::SeePeople, who).map_err(|refusal| refused(&refusal))?;
        let members = there.members();
        let mut left_out = members.len().saturating_sub(LISTED_PEOPLE_MAX) as u64;
        // Accounts first, each once however many connections it has: by name, role, connections.
        let mut people: BTreeMap<(bool, String), (Option<String>, u64)> = BTreeMap::new();
        for account in members.take(LISTED_PEOPLE_MAX) {
            people.insert((false, self.book.account(account).into_owned()), (Some(MEMBER.to_owned()), 0));
        }
        let followers = self.followers.get(&Feed::Room(id)).map_or(&[][..], Vec::as_slice);
        left_out += followers.len().saturating_sub(LISTED_PEOPLE_MAX) as u64;
        for &(follower, _) in followers.iter().take(LISTED_PEOPLE_MAX) {
            if self.session(follower).is_none_or(|session| session.peer_ended) {
                continue;
            }
            let reader = self.principal(follower, None);
            if reader == Principal::Operator {
                // Reads, and is nobody in the room.
                continue;
            }
            if !there.allows(Power::SeePeople, &reader) {
                // Has left, and is still told what it may see of the time before.
                continue;
            }
            let key = (!matches!(reader, Principal::Account(_)), self.name_of_session(follower));
            if people.len() < LISTED_PEOPLE_MAX || people.contains_key(&key) {
                people.entry(key).or_default().1 += 1;
            } else {
                left_out += 1;
            }
        }
        let people = people.into_iter();
        let list: Vec<Person> =
            people.map(|((_, name), (role, present))| Person { name, role, present }).collect();
        let keys = People { room: shown, left_out: Some(left_out).filter(|&count| count > 0) };
        self.accept_json(asker, &keys, &list);
        Ok(())
    }
}
