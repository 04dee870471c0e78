//! Pages of a room's messages.

use bytes::BytesMut;
use vang_chat::{Principal, RoomId, Seq};
use vang_proto::vang::{ErrorReply, Page as PageReply, write_page};

use crate::cold::{ColdPage, Read};
use crate::continuation::Continuation;
use crate::encode::{NOT_MEMBER, write_hole};
use crate::hub::{Hub, Output};
use crate::limits::HISTORY_BYTES_MAX;
use crate::session::Asker;

impl Hub {
    pub(super) fn history(
        &mut self,
        asker: &Asker,
        who: &Principal,
        room: &str,
        since: u64,
        limit: u64,
    ) -> Result<(), ErrorReply> {
        let room = self.room(asker, room, who)?;
        let read = Read::Messages { room, since, limit: limit as usize, bytes_max: HISTORY_BYTES_MAX };
        let need = self.state.room(room).map_or(Seq(0), |room| room.seq);
        self.read(need, read, Continuation::History { asker: asker.clone(), room, since });
        Ok(())
    }

    pub(in crate::hub) fn answer_history(&mut self, asker: &Asker, room: RoomId, since: u64, page: ColdPage) {
        let who = self.session(asker.session).and_then(|session| session.speaking.as_ref());
        let who = who.map_or(Principal::Operator, |speaking| speaking.principal);
        let name = self.book.room(room).into_owned();
        let Some(there) = self.state.room(room) else { return };
        let end = there.newest_for(&who);
        let seen: Vec<bool> = page.events.iter().map(|event| there.sees(&who, event.seq())).collect();
        let (mut frames, mut last) = (Vec::with_capacity(page.events.len()), since);
        let mut hidden: Option<(u64, u64, Seq)> = None;
        let hole = |hub: &Hub, (from, to, seq): (u64, u64, Seq)| {
            let mut out = BytesMut::new();
            write_hole(&mut out, &hub.book, (room, seq), (from, to), NOT_MEMBER);
            out.freeze()
        };
        for (event, seen) in page.events.iter().zip(seen).take_while(|(event, _)| event.row.n <= end) {
            let seq = event.seq();
            last = event.row.n;
            if !seen {
                hidden = Some((hidden.map_or(event.row.n, |(from, _, _)| from), event.row.n, seq));
                continue;
            }
            frames.extend(hidden.take().map(|hidden| hole(self, hidden)));
            frames.push(self.encode_cold(event));
        }
        frames.extend(hidden.map(|hidden| hole(self, hidden)));
        let reply = PageReply { room: name, count: frames.len() as u64, last, end };
        let bytes = write_page(asker.re.as_deref(), &reply, &frames);
        self.outputs.push_back(Output::Reply { session: asker.session, ticket: asker.ticket, bytes });
    }
}
