//! A message of a room: `POST /rooms/ROOM` posts one, `GET /rooms/ROOM/N` gives the content of one back as it was sent.

use hyper::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;
use vang_proto::Decoder;
use vang_proto::limits::ID_BYTES_MAX;
use vang_proto::vang::{
    Action, Code, Event, EventMessage, Incoming, Page, Reply, RequestWriter, RoomEvent, Sent, incoming,
};

use super::asked::{Answering, Asked, bad_name, refused_credential};
use super::body;
use super::content::{declared, served};
use super::reply::{ResponseBody, error, fault, no_memory, refusal, stopping, text, whole};
use super::session::HubSession;

/// A header that makes sending safe to repeat: the `id` of `send`.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What a browser may do with a message that it opens as a page of its own: nothing.
const SANDBOX: &str = "default-src 'none'; sandbox";

/// `POST /rooms/ROOM`: the body is the message. The answer comes when it is durable.
pub(super) fn post(asked: Asked<'_>) -> Answering<'_> {
    Box::pin(async move { send(&asked).await.unwrap_or_else(|refused| refused) })
}

type Answer = Result<Response<ResponseBody>, Response<ResponseBody>>;

async fn send(asked: &Asked<'_>) -> Answer {
    let name = asked.name().map_err(|_| bad_name())?;
    let room = asked.room().map_err(|_| bad_name())?;
    let headers = asked.request.headers();
    let id = id(headers).map_err(|found| {
        let must = format!("it must be text of 1 to {ID_BYTES_MAX} bytes");
        fault(Code::BadRequest, &format!("the Idempotency-Key has {found} bytes; {must}"))
    })?;
    let declared = declared(headers).map_err(|error| error.answer())?;
    let mut session = asked.session().map_err(|error| refused_credential(&error))?;
    let body = body::read(asked, &mut session).await?;
    if body.is_empty() {
        let how = "the message is empty: put it into the request's body, as in curl -d hello";
        return Err(fault(Code::BadRequest, how));
    }
    let kind = declared.of(&body);
    let send = Action::Send {
        room,
        id,
        content_type: kind.content_type,
        content_encoding: kind.content_encoding,
        content: body.into(),
    };
    // The session copies it.
    session.ask(&RequestWriter { name }.write(1, &send));
    drop(send);
    let reply = reply(&mut session, lost).await?;
    let Sent { room, n, seq, .. } = reply.keys().unwrap_or_default();
    let (address, room) = (Value::from(reply.text), Value::from(room));
    let said = format!("{{\"result\": {address}, \"room\": {room}, \"n\": {n}, \"seq\": {seq}}}\n");
    Ok(whole(StatusCode::OK, "application/json", said.into()))
}

/// The answer if the memory for clients was used up before the reply to a `send`.
fn lost() -> Response<ResponseBody> {
    let why = "the memory for clients was used up before the answer, and the message may be posted; \
               send it again with the same Idempotency-Key, or look";
    fault(Code::Unknown, why)
}

/// The reply to the one question that was asked; a refusal is an answer, too.
pub(super) async fn reply(
    session: &mut HubSession,
    lost: fn() -> Response<ResponseBody>,
) -> Result<Reply, Response<ResponseBody>> {
    match session.reply().await {
        None if session.is_refused() => Err(lost()),
        None => Err(stopping()),
        Some(reply) if reply.code.is_some() => Err(refusal(&reply)),
        Some(reply) => Ok(reply),
    }
}

/// The value of `Idempotency-Key`, with or without the quotes that its draft demands; an error is the number of its bytes.
fn id(headers: &HeaderMap) -> Result<Option<String>, usize> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let id = std::str::from_utf8(value.as_bytes()).unwrap_or_default().trim();
    let id = id.strip_prefix('"').and_then(|id| id.strip_suffix('"')).unwrap_or(id);
    if id.is_empty() || id.len() > ID_BYTES_MAX { Err(value.len()) } else { Ok(Some(id.to_owned())) }
}

/// `GET /rooms/ROOM/N`: the content of the message.
pub(super) fn get(asked: Asked<'_>) -> Answering<'_> {
    Box::pin(async move { one(&asked).await.unwrap_or_else(|refused| refused) })
}

async fn one(asked: &Asked<'_>) -> Answer {
    let part = asked.part(2);
    if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(text(StatusCode::NOT_FOUND, "not here\n"));
    }
    let Ok(n @ 1..) = part.parse::<u64>() else {
        return Err(fault(Code::BadRequest, "the number of a message is an integer from 1"));
    };
    let name = asked.name().map_err(|_| bad_name())?;
    let room = asked.room().map_err(|_| bad_name())?;
    let mut session = asked.session().map_err(|error| refused_credential(&error))?;
    let history = Action::History { room, since: n - 1, limit: 1 };
    session.ask(&RequestWriter { name }.write(1, &history));
    let reply = reply(&mut session, no_memory).await?;
    let Page { room, end, .. } = reply.keys().unwrap_or_default();
    let Some(message) = first_event(&reply) else {
        let newest = if end == 0 { "the room is empty".to_owned() } else { format!("the newest is {end}") };
        let why = format!("there is no message {n} in '{room}'; {newest}");
        return Err(error(StatusCode::NOT_FOUND, "no-message", &why));
    };
    let address = format!("{room}#{n}");
    match &message.event {
        Event::Room { what: RoomEvent::Message { .. }, .. } => Ok(content(asked, &message)),
        Event::Room { what: RoomEvent::Hole { why, .. }, .. } => Err(not_shown(&address, why)),
        _ => Err(fault(Code::Unavailable, "the server's own answer cannot be read")),
    }
}

fn first_event(page: &Reply) -> Option<EventMessage> {
    let mut decoder = Decoder::default();
    decoder.feed(&page.content);
    match incoming(decoder.poll_frame().ok()??).ok()? {
        Incoming::Event(event) => Some(event),
        Incoming::Reply(_) => None,
    }
}

/// A message that there is, and that this reader does not get.
fn not_shown(address: &str, why: &str) -> Response<ResponseBody> {
    let (status, words) = match why {
        "not-member" => (StatusCode::FORBIDDEN, "you were not a member when it was posted"),
        "erased" => (StatusCode::GONE, "it was erased"),
        "retention" => (StatusCode::GONE, "it is older than the server keeps messages"),
        "damaged" => (StatusCode::INTERNAL_SERVER_ERROR, "it is damaged on the server's disk"),
        other => (StatusCode::NOT_FOUND, other),
    };
    error(status, why, &format!("{address} is not shown: {words}"))
}

fn content(asked: &Asked<'_>, message: &EventMessage) -> Response<ResponseBody> {
    let mut body = Vec::new();
    if body.try_reserve_exact(message.content.len()).is_err() {
        return no_memory();
    }
    body.extend_from_slice(&message.content);
    // Counted until it is written.
    let body = asked.visitor.house.pump.memory.hold(body);
    let mut response = whole(StatusCode::OK, "application/octet-stream", body);
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(&served(message)) {
        headers.insert(CONTENT_TYPE, kind);
    }
    // A browser saves it, and runs nothing of it.
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX));
    response
}
