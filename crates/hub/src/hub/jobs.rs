//! Questions to the disk, and what is done with their answers.

use vang_chat::{Seq, StartAfter};
use vang_proto::vang::{Code, ErrorReply};

use crate::cold::{Read, ReadAnswer, ReadError, ReadJob};
use crate::hub::{Hub, Output};
use crate::limits::JOURNAL_RETRY_MS;
use crate::reading::Reading;
use crate::session::Cold;

impl Hub {
    pub(super) fn read(&mut self, need: Seq, read: Read, reading: Reading) {
        self.next_read += 1;
        let id = self.next_read;
        let session = reading.session();
        self.reads.insert(id, reading);
        self.outputs.push_back(Output::Read(ReadJob { id, session, need, read }));
    }

    /// An answer from the disk. Every question must get one, also when its session is gone: it is forgotten then.
    pub fn answer_read(&mut self, id: u64, answer: Result<ReadAnswer, ReadError>) {
        let reading = self.reads.remove(&id);
        if let Some(reading) = &reading {
            let finds = matches!(reading, Reading::Find { .. });
            let Some(session) = self.session_mut(reading.session()) else { return };
            session.is_finding &= !finds;
        }
        match (reading, answer) {
            (Some(Reading::Cursor { session, until }), Ok(ReadAnswer::Page(mut page))) => {
                // The tables may know more by now, also of rooms that were not asked for: going on to
                // their end would leave those out.
                page.events.retain(|event| event.seq() <= until);
                page.upto = page.upto.min(until);
                self.take_cold(session, page);
            }
            // The cursor stays where it is; the session asks again when it is woken or written out.
            (Some(Reading::Cursor { session, .. }), _) => {
                if let Some(session) = self.session_mut(session) {
                    session.cold = Cold::No;
                }
                self.wake(session);
            }
            (Some(Reading::Follow { asker, starts }), Ok(ReadAnswer::Located(found))) => {
                let now = self.state.seq();
                let mut found = found.into_iter();
                let place = |(room, n, start)| match start {
                    StartAfter::Entry(seq) => (room, seq, n),
                    // The tables may have lost it: then what comes next is all that can be promised.
                    StartAfter::Message => (room, found.next().flatten().unwrap_or(now), n),
                };
                self.begin_following(&asker, starts.into_iter().map(place).collect());
                self.follow_behind(asker.session);
            }
            (Some(Reading::History { asker, room, since }), Ok(ReadAnswer::Page(page))) => {
                self.answer_history(&asker, room, since, page);
            }
            (Some(Reading::Find { asker, who, left_out }), Ok(ReadAnswer::Found(found))) => {
                self.answer_found(&asker, &who, &found, left_out);
            }
            (
                Some(
                    Reading::Follow { asker, .. }
                    | Reading::History { asker, .. }
                    | Reading::Find { asker, .. },
                ),
                answer,
            ) => {
                let code = match &answer {
                    Err(ReadError::ViewBehind) => Code::ViewBehind,
                    Err(ReadError::Full | ReadError::OverTime { .. }) => Code::Busy,
                    Err(ReadError::Unreadable(_)) | Ok(_) => Code::Unavailable,
                };
                let detail = match &answer {
                    Err(fault) => fault.to_string(),
                    Ok(_) => "the answer from the disk was of another kind".to_owned(),
                };
                let session = asker.session;
                let error = match answer {
                    // The same question would take as long again.
                    Err(ReadError::OverTime { .. }) => ErrorReply::new(code, detail),
                    _ => ErrorReply::new(code, detail).with("retry-after", JOURNAL_RETRY_MS),
                };
                self.refuse(asker, &error);
                self.follow_behind(session);
            }
            (None, _) => {}
        }
    }
}
