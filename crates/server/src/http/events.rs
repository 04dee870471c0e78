//! `GET /rooms/ROOM/events`: what happens in a room, as Server-Sent Events for `EventSource`, else one JSON object a
//! line. For readers without WebSocket; a body that nobody reads costs no memory.
//!
//! An SSE event's `id` is `SEQ@JOURNAL@EPOCH`: a browser sends it back as `Last-Event-ID` when it reconnects, and
//! so gets what it missed, once.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep};
use vang_proto::vang::{
    ConnectionEvent, Event, EventMessage, FollowFrom, Following, Incoming, Reply, json_line,
};

use super::session::HubSession;
use crate::fairness::turns::wake_next_turn;

/// Silence after which something without meaning is sent (a comment; a space before the next object), so that proxies
/// keep the connection, which give up after 30 s or more, and so that a reader who has gone is noticed.
const COMMENT_AFTER: Duration = Duration::from_secs(20);

/// In which form events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `text/event-stream`.
    EventStream,
    /// `application/jsonl`.
    Lines,
}

/// Where a browser that comes back was.
pub(crate) fn last_event(id: &str) -> Option<FollowFrom> {
    let mut parts = id.splitn(3, '@');
    let seq = parts.next()?.parse().ok()?;
    let journal = parts.next().filter(|journal| !journal.is_empty())?.to_owned();
    let epoch = parts.next().filter(|epoch| !epoch.is_empty()).map(str::to_owned);
    Some(FollowFrom::Position { journal, epoch, seq })
}

fn place(journal: &str, epoch: &str) -> String {
    format!("@{journal}@{epoch}")
}

/// Events as they happen.
pub(crate) struct Events {
    asking: HubSession,
    form: Form,
    journal: String,
    /// `@JOURNAL@EPOCH`.
    place: String,
    /// What goes out first.
    first: Option<String>,
    comment: Pin<Box<Sleep>>,
    /// The turn in which something was written last.
    turn: Option<std::time::Instant>,
}

impl Events {
    /// After the reply to `follow`; `reset` is why the browser's place could not be found.
    pub(crate) fn new(asking: HubSession, form: Form, followed: &Reply, reset: Option<&str>) -> Events {
        let Following { journal, epoch, .. } = followed.keys().unwrap_or_default();
        let place = place(&journal, &epoch);
        let mut first = String::new();
        if form == Form::EventStream {
            first.push_str("retry: 1000\n\n");
            if let Some(code) = reset {
                first.push_str(&format!("event: reset\ndata: {{\"code\": \"{code}\"}}\n\n"));
            }
        }
        let first = Some(first).filter(|first| !first.is_empty());
        Events { asking, form, journal, place, first, comment: Box::pin(sleep(COMMENT_AFTER)), turn: None }
    }

    fn write(&self, message: &EventMessage) -> String {
        let (line, event) = (json_line(message), &message.event);
        match self.form {
            Form::Lines => format!("{line}\n"),
            Form::EventStream => {
                let id = event.seq().map(|seq| format!("id: {seq}{}\n", self.place)).unwrap_or_default();
                // Our own hub wrote the name.
                format!("{id}event: {}\ndata: {line}\n\n", event.name())
            }
        }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // HTTP asks again as long as the socket takes something; once in each turn it gets it.
        let turn = self.asking.turn_began();
        if self.turn == turn && self.asking.is_turn_over() {
            wake_next_turn(cx);
            return Poll::Pending;
        }
        loop {
            if let Some(part) = self.asking.take_text() {
                self.turn = turn;
                self.comment.as_mut().reset(Instant::now() + COMMENT_AFTER);
                return Poll::Ready(Some(Ok(Frame::data(part))));
            }
            let text = match self.first.take() {
                Some(first) => first,
                None => match self.asking.poll_next(cx) {
                    Poll::Ready(Some(Incoming::Event(message))) => match &message.event {
                        Event::Connection(ConnectionEvent::Epoch { epoch }) => {
                            self.place = place(&self.journal, epoch);
                            continue;
                        }
                        _ => self.write(&message),
                    },
                    Poll::Ready(Some(Incoming::Reply(_))) => continue,
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Pending if self.comment.as_mut().poll(cx).is_ready() => match self.form {
                        Form::EventStream => ":\n\n".to_owned(),
                        Form::Lines => " ".to_owned(),
                    },
                    Poll::Pending => return Poll::Pending,
                },
            };
            self.asking.put_text(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browsers_place_is_read_back_and_nonsense_is_none() {
        let at = |seq, epoch: Option<&str>| {
            Some(FollowFrom::Position { journal: "ab12".to_owned(), epoch: epoch.map(str::to_owned), seq })
        };
        assert_eq!(last_event("31@ab12@1.2"), at(31, Some("1.2")));
        assert_eq!(last_event("31@ab12@"), at(31, None));
        assert_eq!(last_event("31@ab12"), at(31, None));
        for nonsense in ["", "31", "31@", "x@ab12@1", "-1@ab12", "@@"] {
            assert_eq!(last_event(nonsense), None, "{nonsense}");
        }
    }
}
