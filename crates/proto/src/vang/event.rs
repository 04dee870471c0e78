//! Events: what the server tells, the same bytes for every reader. Written one behind the other into
//! a room's run; read one at a time by clients.

use bytes::{Bytes, BytesMut};

use crate::{Composer, Frame, Header};

/// What every event of a room carries.
#[derive(Clone, Copy, Debug)]
pub struct EventHead<'a> {
    /// Its place in the journal.
    pub seq: u64,
    /// The room's name.
    pub room: &'a str,
    /// RFC 3339, UTC, milliseconds.
    pub time: &'a str,
}

/// Who did it, as readers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker<'a> {
    /// An account's name.
    Account(&'a str),
    /// A guest's name; shown with `guest:` before it.
    Guest(&'a str),
    /// The server.
    Operator,
}

/// Appends a `message`.
pub fn write_message(
    out: &mut BytesMut,
    head: EventHead<'_>,
    n: u64,
    from: Speaker<'_>,
    (content_type, content_encoding, content): (&str, &str, &[u8]),
) {
    out.reserve(content.len() + 256);
    let mut composer = Composer::new(out, content_type, content_encoding, content.len());
    composer.key_number(r#", "event": "message", "seq": "#, head.seq);
    composer.key_text(r#", "room": "#, head.room).key_number(r#", "n": "#, n);
    write_speaker(&mut composer, from);
    composer.key_text(r#", "time": "#, head.time);
    composer.finish(content);
}

/// Appends `joined`, `left` or `room-created`.
pub fn write_room_event(out: &mut BytesMut, kind: &str, head: EventHead<'_>, from: Speaker<'_>) {
    let mut composer = Composer::new(out, "text/plain", "utf-8", 0);
    composer.text("event", kind).number("seq", head.seq).text("room", head.room);
    write_speaker(&mut composer, from);
    composer.text("time", head.time);
    composer.finish(&[]);
}

/// Appends a `hole`: messages `from` to `to` are left out.
pub fn write_hole(out: &mut BytesMut, seq: u64, room: &str, (from, to): (u64, u64), why: &str) {
    let mut composer = Composer::new(out, "text/plain", "utf-8", 0);
    composer.text("event", "hole").number("seq", seq).text("room", room);
    composer.number("from", from).number("to", to).text("why", why);
    composer.finish(&[]);
}

/// An `epoch`: another process orders as well from here on. A client keeps it in place of the one that it had.
pub fn write_epoch(epoch: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(200);
    let mut composer = Composer::new(&mut out, "text/plain", "utf-8", 0);
    composer.text("event", "epoch").text("epoch", epoch);
    composer.finish(&[]);
    out.freeze()
}

/// A `closing`: the server ends this connection.
pub fn write_closing(why: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(160);
    let mut composer = Composer::new(&mut out, "text/plain", "utf-8", 0);
    composer.text("event", "closing").text("why", why);
    composer.finish(&[]);
    out.freeze()
}

fn write_speaker(composer: &mut Composer<'_>, from: Speaker<'_>) {
    match from {
        Speaker::Account(name) => composer.key_text(r#", "from": "#, name),
        Speaker::Guest(name) => composer.key_pieces(r#", "from": "#, &["guest:", name]),
        Speaker::Operator => composer.key_raw(r#", "from": "#, br#""server""#),
    };
}

/// An event as a client reads it.
#[derive(Clone, Debug)]
pub struct Event {
    /// `message`, `hole`, …; unknown ones are to be ignored.
    pub kind: String,
    /// Its place in the journal; `closing` has none.
    pub seq: Option<u64>,
    /// The room's name.
    pub room: Option<String>,
    /// The last message number that it accounts for: a message's own, a hole's last.
    pub n: Option<u64>,
    /// Every key as it came.
    pub header: Header,
    /// What was said.
    pub content: Bytes,
}

impl Event {
    pub(super) fn read(kind: String, frame: Frame) -> Event {
        let n = if kind == "hole" { frame.header.number("to") } else { frame.header.number("n") };
        Event {
            seq: frame.header.number("seq"),
            room: frame.header.text("room").map(std::borrow::Cow::into_owned),
            n,
            kind,
            header: frame.header,
            content: frame.content,
        }
    }

    /// The content as text, if it is text.
    pub fn text(&self) -> Option<String> {
        if !self.header.content_type().starts_with("text/") {
            return None;
        }
        let frame = Frame { header: self.header.clone(), content: self.content.clone() };
        crate::guide::text_content(&frame).ok().map(std::borrow::Cow::into_owned)
    }
}
