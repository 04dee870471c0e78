//! Rooms: create, topic, list, and which room a name means.

use vang_chat::{Access, Power, Principal, Refusal, RoomCommand, RoomId, RoomsBy};
use vang_journal::encode_name;
use vang_proto::limits::{NAME_BYTES_MAX, TOPIC_BYTES_MAX};
use vang_proto::vang::{self, ErrorReply, MEMBER, RoomList, RoomRow};
use vang_view::TextOf;

use crate::admission::{Peer, bad_name, refused, with_name};
use crate::hub::Hub;
use crate::limits::HISTORY_BYTES_MAX;
use crate::session::Asker;

/// A row of the list without its texts, in bytes.
const ROW_BYTES: usize = 80;

impl Hub {
    pub(super) fn create(
        &mut self,
        asker: &Asker,
        who: &Principal,
        room: &str,
        access: vang::Access,
    ) -> Result<(), ErrorReply> {
        self.check_all_rooms(asker.session, "creating rooms")?;
        let (shown, name) = self.names.make_new(room).map_err(|bad| bad_name("room", room, &bad))?;
        let access = match access {
            vang::Access::Public => Access::Public,
            vang::Access::Private => Access::Private,
        };
        // The folder's socket is the operator's, whatever name is used on it.
        let is_operator = self.session(asker.session).is_some_and(|session| session.peer == Peer::Operator);
        let (rooms_by, most) = match is_operator {
            true => (RoomsBy::default(), None),
            false => (self.rooms_by, Some(self.rooms_per_account)),
        };
        let is_known = self.book.old_room(&name.key).is_some();
        let command = RoomCommand::Create { name, access, by: *who, rooms_by, most };
        self.enqueue_name(asker, command.into(), encode_name(&shown), is_known)
            .map_err(with_name("a room", &shown))
    }

    pub(super) fn set_topic(
        &mut self,
        asker: &Asker,
        who: &Principal,
        room: &str,
        topic: &str,
    ) -> Result<(), ErrorReply> {
        let room = self.room(asker, room, who)?;
        self.enqueue(asker, RoomCommand::SetTopic { room, by: *who }.into(), encode_name(topic))
    }

    /// The room that a name means, for a reader who can know of it. A token for some rooms knows of no others.
    pub(in crate::hub) fn room(
        &self,
        asker: &Asker,
        name: &str,
        reader: &Principal,
    ) -> Result<RoomId, ErrorReply> {
        let name = name.strip_prefix('#').unwrap_or(name);
        let is_known = |id: &RoomId| {
            self.state.room(*id).is_some_and(|room| room.knows(reader)) && self.covers(asker.session, *id)
        };
        if let Some(id) = self.book.room_shown_as(name)
            && is_known(&id)
        {
            return Ok(id);
        }
        let (shown, key) = self.names.make(name).map_err(|bad| bad_name("room", name, &bad))?;
        let by_key = self.state.room_named(&key, reader).ok().or_else(|| self.book.old_room(&key));
        by_key.filter(is_known).ok_or_else(|| {
            let mut error = refused(&Refusal::NoRoom);
            error.detail = format!("there is no room '{shown}'");
            error
        })
    }

    /// A page of the rooms that somebody may know of, in the order of their creation: those created after the room with this
    /// id. A step for each room of the page, at most `ROOMS_PAGE_MAX`, and none for one that may not be known of.
    pub(in crate::hub) fn list_rooms(
        &mut self,
        asker: &Asker,
        who: &Principal,
        after: Option<u64>,
        limit: u64,
    ) {
        let after = RoomId(after.unwrap_or_default());
        // A token for some rooms lists these: there are a few.
        let known: Box<dyn Iterator<Item = RoomId> + '_> = match self.only_rooms(asker.session) {
            None => Box::new(self.state.known_rooms(who).after(after)),
            Some(only) => {
                let knows = |id: &RoomId| self.state.room(*id).is_some_and(|room| room.knows(who));
                let mut only: Vec<RoomId> = only.iter().copied().filter(knows).collect();
                only.retain(|id| *id > after);
                only.sort_unstable();
                Box::new(only.into_iter())
            }
        };
        let mut known = known.peekable();
        // By bytes too: topics may be long. One room always fits.
        let mut bytes = 0;
        let mut list: Vec<RoomRow> = Vec::new();
        let mut last = None;
        while (list.len() as u64) < limit
            && let Some(&id) = known.peek()
        {
            if let Some(room) = self.state.room(id) {
                let topic = self.book.text(TextOf::RoomTopic(id));
                let row = RoomRow {
                    room: self.book.room(id).into_owned(),
                    access: wire_access(room.access).as_str().to_owned(),
                    n: room.newest_for(who),
                    role: matches!(who, Principal::Account(account) if room.is_member(*account))
                        .then(|| MEMBER.to_owned()),
                    topic: topic.filter(|_| room.allows(Power::SeePeople, who)).map(str::to_owned),
                };
                bytes += ROW_BYTES + row.room.len() + row.topic.as_ref().map_or(0, String::len);
                if bytes > HISTORY_BYTES_MAX {
                    break;
                }
                list.push(row);
            }
            last = known.next();
        }
        let keys = RoomList { next: last.filter(|_| known.peek().is_some()).map(|id| id.0) };
        drop(known);
        self.accept_json(asker, &keys, &list);
    }
}

const _: () = assert!(ROW_BYTES + NAME_BYTES_MAX + TOPIC_BYTES_MAX <= HISTORY_BYTES_MAX);

fn wire_access(access: Access) -> vang::Access {
    match access {
        Access::Public => vang::Access::Public,
        Access::Private => vang::Access::Private,
    }
}
