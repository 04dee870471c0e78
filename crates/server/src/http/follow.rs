//! `GET /rooms/ROOM/events`: finds the place from which to go on, then gives events without end.

use http_body_util::Full;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use vang_proto::vang::{Action, Code, FollowFrom, RequestWriter};

use super::asked::{Answering, Asked, bad_name, refused_credential};
use super::events::{Events, Form, last_event};
use super::reply::{ResponseBody, refusal, text, with_head};

/// Events after `since`, or after `Last-Event-ID`.
pub(super) fn follow(asked: Asked<'_>) -> Answering<'_> {
    Box::pin(async move {
        let Ok(name) = asked.name() else { return bad_name() };
        let Ok(room) = asked.room() else { return bad_name() };
        let since = match asked.argument("since").map(|since| since.parse::<u64>()) {
            None => FollowFrom::Now,
            Some(Ok(n)) => FollowFrom::Numbers(vec![n]),
            Some(Err(_)) => {
                return text(StatusCode::BAD_REQUEST, "'since' must be a message's number, from 0\n");
            }
        };
        let headers = asked.request.headers();
        let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let wants_stream = said("accept").contains("text/event-stream");
        let (form, kind) = match wants_stream {
            true => (Form::EventStream, "text/event-stream"),
            false => (Form::Lines, "application/jsonl"),
        };
        let writer = RequestWriter { name };
        let id = said("last-event-id");
        let place = last_event(id);
        // An id that we never wrote is a place of another journal.
        let mut reset = (place.is_none() && !id.is_empty()).then(|| Code::JournalChanged.to_string());
        let mut from = place.unwrap_or_else(|| since.clone());
        // Asked again at most twice: a place of another journal, or beyond this one's end, is another beginning.
        loop {
            let mut asking = match asked.session() {
                Ok(session) => session,
                Err(error) => return refused_credential(&error),
            };
            asking.ask(&writer.write(
                1,
                &Action::Follow { rooms: vec![room.clone()], feeds: Vec::new(), from: from.clone() },
            ));
            let Some(reply) = asking.reply().await else {
                return text(StatusCode::SERVICE_UNAVAILABLE, "the server is going down\n");
            };
            match (reply.code.as_deref(), from) {
                (Some(code @ ("journal-changed" | "seq-ahead")), FollowFrom::Position { journal, .. }) => {
                    // The last position that we have in common, if there is one (docs/PROTOCOL.md, section 4): of a
                    // journal that was restored from a backup of the browser's, its own.
                    let keys = reply.error_keys();
                    let journal = if code == "seq-ahead" { Some(journal) } else { keys.journal };
                    from = match (journal, keys.seq) {
                        (Some(journal), Some(seq)) if reset.is_none() => {
                            FollowFrom::Position { journal, epoch: keys.epoch, seq }
                        }
                        _ => since.clone(),
                    };
                    reset = Some(code.to_owned());
                }
                (Some(_), _) => return refusal(&reply),
                (None, _) => {
                    let events = Events::new(asking, form, &reply, reset.as_deref());
                    let body = match *asked.request.method() {
                        Method::HEAD => ResponseBody::Whole(Full::default()),
                        _ => ResponseBody::Events(Box::new(events)),
                    };
                    let mut response = with_head(StatusCode::OK, kind, body);
                    // A proxy that collects a body before it passes it on would never pass this one on (nginx).
                    let unbuffered = HeaderName::from_static("x-accel-buffering");
                    response.headers_mut().insert(unbuffered, HeaderValue::from_static("no"));
                    return response;
                }
            }
        }
    })
}
