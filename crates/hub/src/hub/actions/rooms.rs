//! Rooms: create, list, and which room a name means.

use vang_chat::{Access, Principal, Refusal, RoomCommand, RoomId};
use vang_journal::encode_name;
use vang_proto::vang::{ErrorReply, Value};

use crate::admission::{bad_name, refused};
use crate::hub::Hub;
use crate::limits::LISTED_ROOMS_MAX;
use crate::session::Asker;

impl Hub {
    pub(super) fn create(
        &mut self,
        asker: &Asker,
        who: &Principal,
        room: &str,
        access: vang_proto::vang::Access,
    ) -> Result<(), ErrorReply> {
        let (shown, name) = self.names.make(room).map_err(|bad| bad_name("room", &bad))?;
        if !matches!(who, Principal::Guest(_)) && self.book.old_room(&name).is_some() {
            return Err(refused(&Refusal::NameTaken));
        }
        let access = match access {
            vang_proto::vang::Access::Public => Access::Public,
            vang_proto::vang::Access::Private => Access::Private,
        };
        let command = RoomCommand::Create { name, access, by: *who };
        self.enqueue(asker, command.into(), encode_name(&shown))
    }

    pub(in crate::hub) fn room(&self, name: &str, reader: &Principal) -> Result<RoomId, ErrorReply> {
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

    /// The newest rooms that somebody may know of. At most `LISTED_ROOMS_MAX` are looked at, and none that may not be
    /// known of; the number of the others is kept.
    pub(in crate::hub) fn list_rooms(&mut self, asker: &Asker, who: &Principal) {
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
        self.reply_json(asker, keys, &list.into());
    }
}
