//! Replies: what the server answers. `incoming` tells them from events on the client's side.

use bytes::{Bytes, BytesMut};

use super::event::Event;
use super::{ErrorReply, Value};
use crate::compose::{itoa, result_content};
use crate::guide::Arguments;
use crate::python::write_json_pieces;
use crate::{Composer, Frame, Header, guide};

/// A reply that says yes; `result` becomes the content `{"result": …}`.
pub fn write_ok(re: Option<&str>, keys: &[(&str, Value)], result: &str) -> Bytes {
    write(re, "ok", keys, &result_content(result))
}

/// The reply to `send`, which is written more often than all others together.
pub fn write_sent(re: Option<&str>, room: &str, n: u64, seq: u64) -> Bytes {
    let mut digits = [0; 20];
    let digits = std::str::from_utf8(itoa(n, &mut digits)).unwrap_or_default();
    let mut address = Vec::with_capacity(room.len() + 32);
    write_json_pieces(&mut address, &[room, "#", digits]);
    let (before, after) = (b"{\"result\": ", b"}");
    let content_length = before.len() + address.len() + after.len();
    let mut out = BytesMut::with_capacity(256 + 3 * address.len() + re.map_or(0, str::len));
    let mut composer = Composer::new(&mut out, "text/json", "utf-8", content_length);
    if let Some(re) = re {
        composer.key_raw(r#", "re": "#, re.as_bytes());
    }
    composer.key_text(r#", "status": "ok", "room": "#, room);
    composer.key_number(r#", "n": "#, n).key_number(r#", "seq": "#, seq);
    composer.key_raw(r#", "address": "#, &address);
    // The content stands in pieces.
    composer.finish(&[]);
    for piece in [&before[..], &address, after] {
        out.extend_from_slice(piece);
    }
    out.freeze()
}

/// A reply that says no.
pub fn write_error(re: Option<&str>, error: &ErrorReply) -> Bytes {
    let mut keys = vec![("code", Value::from(error.code.as_str())), ("detail", Value::from(&*error.detail))];
    keys.extend(error.keys.iter().cloned());
    write(re, "error", &keys, &result_content(&format!("Error: {}", error.detail)))
}

/// A reply whose result is JSON already.
pub fn write_json(re: Option<&str>, keys: &[(&str, Value)], result: &str) -> Bytes {
    write(re, "ok", keys, format!("{{\"result\": {result}}}").as_bytes())
}

fn write(re: Option<&str>, status: &str, keys: &[(&str, Value)], content: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(256 + content.len());
    let mut composer = Composer::new(&mut out, "text/json", "utf-8", content.len());
    finish_head(&mut composer, re, status, keys);
    composer.finish(content);
    out.freeze()
}

fn finish_head(composer: &mut Composer<'_>, re: Option<&str>, status: &str, keys: &[(&str, Value)]) {
    if let Some(re) = re {
        composer.raw("re", re);
    }
    composer.text("status", status);
    for (key, value) in keys {
        match value {
            Value::Text(text) => composer.text(key, text),
            Value::Number(number) => composer.number(key, *number),
        };
    }
}

/// A page of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The room's name.
    pub room: String,
    /// Messages and holes in it.
    pub count: u64,
    /// Number of the last; `since` for the next page.
    pub last: u64,
    /// The room's newest number.
    pub end: u64,
}

/// The reply to `history`.
pub fn write_page(re: Option<&str>, page: &Page, frames: &[Bytes]) -> Bytes {
    let len = frames.iter().map(Bytes::len).sum();
    let mut out = BytesMut::with_capacity(256 + len);
    let mut composer = Composer::new(&mut out, "application/vang-events", "binary", len);
    let keys = [
        ("room", Value::from(&*page.room)),
        ("count", page.count.into()),
        ("last", page.last.into()),
        ("end", page.end.into()),
    ];
    finish_head(&mut composer, re, "ok", &keys);
    composer.finish(&[]);
    for frame in frames {
        out.extend_from_slice(frame);
    }
    out.freeze()
}

impl Page {
    /// From the header of a reply.
    pub fn read(header: &Header) -> Option<Page> {
        Some(Page {
            room: header.text("room")?.into_owned(),
            count: header.number("count")?,
            last: header.number("last")?,
            end: header.number("end")?,
        })
    }
}

/// A message from the server.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// The answer to a request.
    Reply(Reply),
    /// What happened.
    Event(Event),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The number that our request gave.
    pub re: Option<u64>,
    /// `None`: yes. Otherwise the code of the error.
    pub code: Option<String>,
    /// The result, or what is wrong.
    pub text: String,
    /// For the other keys.
    pub header: Header,
    /// For `history`.
    pub content: Bytes,
}

/// The server said something that vang does not say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this does not speak the vang protocol: its message is neither a reply nor an event")]
pub struct NotVang;

/// Tells replies from events.
pub fn incoming(frame: Frame) -> Result<Incoming, NotVang> {
    if let Some(event) = frame.header.text("event") {
        let kind = event.into_owned();
        return Ok(Incoming::Event(Event::read(kind, frame)));
    }
    let code = match frame.header.text("status").ok_or(NotVang)?.as_ref() {
        "ok" => None,
        _ => Some(frame.header.text("code").unwrap_or_default().into_owned()),
    };
    let text = if code.is_some() {
        frame.header.text("detail").unwrap_or_default().into_owned()
    } else if frame.header.content_type() == "text/json" {
        let arguments =
            guide::text_content(&frame).and_then(|text| Arguments::parse(&text)).map_err(|_| NotVang)?;
        match arguments.text("result") {
            Some(text) => text.into_owned(),
            None => arguments.raw("result").unwrap_or_default().to_owned(),
        }
    } else {
        String::new()
    };
    Ok(Incoming::Reply(Reply {
        re: frame.header.number("re"),
        code,
        text,
        header: frame.header,
        content: frame.content,
    }))
}
