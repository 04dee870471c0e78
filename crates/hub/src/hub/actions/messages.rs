//! Messages: send.

use vang_chat::{Command, MessageCommand, Principal, RoomId, Seq};
use vang_journal::MessagePayloadView;
use vang_proto::vang::{Code, ErrorReply, write_sent};

use crate::hub::{Hub, Output};
use crate::session::Asker;

impl Hub {
    pub(in crate::hub) fn send(
        &mut self,
        asker: &Asker,
        from: Principal,
        room: &str,
        id: Option<&str>,
        said: MessagePayloadView<'_>,
    ) -> Result<(), ErrorReply> {
        let room = self.room(asker, room, &from)?;
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
        let id = id.map(|id| self.names.send_id(id, parts));
        self.enqueue(asker, Command::Message(MessageCommand::Send { room, from, id }), said.encode())
    }

    pub(in crate::hub) fn answer_sent(&mut self, asker: &Asker, room: RoomId, n: u64, seq: Seq) {
        let bytes = write_sent(asker.re.as_deref(), &self.book.room(room), n, seq.0);
        self.outputs.push_back(Output::Reply { session: asker.session, ticket: asker.ticket, bytes });
    }
}
