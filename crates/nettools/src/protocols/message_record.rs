//! A message as a record, for every tool that shows messages.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use vang_proto::Header;
use vang_proto::encoding::{self, DecodeError};
use vang_proto::text::{counted, short_duration, size};

use super::message::{Decoded, Message, SHOWN_BYTES_MAX, Within};
use crate::capture::side::Side;
use crate::{Record, hex, quoted};

/// Bytes shown in a line of text; objects have all that was kept.
const LINE_BYTES: usize = 160;

/// Bytes shown in hexadecimal: one screen line.
const HEX_BYTES: usize = 24;

/// One message.
#[derive(Clone, Debug, Serialize)]
pub struct MessageRecord {
    /// Since the beginning, ns.
    at_ns: u64,
    /// Number of the conversation, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    side: Option<Side>,
    kind: &'static str,
    /// Offset of the first byte in its direction.
    from: u64,
    bytes: u64,
    /// What `from` counts in, if that is not the stream itself: a WebSocket's payload, or a list of events.
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<&'static str>,
    /// The header of a native message, or an HTTP head as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<Value>,
    /// The beginning of the content, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The same in hexadecimal, if it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    /// Offset of the byte that violates the protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    broken_at: Option<u64>,
    /// The line of text, without time and side.
    #[serde(rename = "line")]
    what: String,
}

impl Record for MessageRecord {
    const EVENT: &'static str = "message";
}

impl MessageRecord {
    /// `at` is the time since the beginning of the capture or run.
    pub fn of(at: Duration, conversation: Option<(u64, Side)>, decoded: &Decoded<'_>) -> MessageRecord {
        let mut record = MessageRecord {
            at_ns: at.as_nanos() as u64,
            conversation: conversation.map(|(number, _)| number),
            side: conversation.map(|(_, side)| side),
            kind: kind(&decoded.message),
            from: decoded.from,
            bytes: decoded.to - decoded.from,
            within: None,
            header: None,
            text: None,
            hex: None,
            broken_at: None,
            what: what(decoded),
        };
        match &decoded.message {
            Message::Native { header, content, within } => {
                let json = std::str::from_utf8(header.json()).unwrap_or_default();
                record.header = serde_json::from_str::<Box<RawValue>>(json)
                    .ok()
                    .and_then(|raw| serde_json::to_value(raw).ok());
                record.within = match within {
                    Within::Stream => None,
                    Within::WebSocket => Some("websocket"),
                    Within::Events => Some("events"),
                };
                if !brings_events(header, content) {
                    record.show(&in_utf8(header, content));
                }
            }
            Message::Http { line, fields } => {
                record.header = Some(Value::from(String::from_utf8_lossy(fields)));
                record.show(line);
            }
            Message::Body { shown, .. } | Message::Frame { shown, .. } => record.show(shown),
            Message::Line { text, .. } => record.show(text),
            Message::Bytes(bytes) => record.show(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]),
            Message::Broken(broken) => record.broken_at = Some(broken.at),
            Message::Tls { server_name, .. } => record.text = server_name.map(str::to_owned),
            Message::Lost | Message::Cut(_) | Message::Unread => {}
        }
        record
    }

    fn show(&mut self, bytes: &[u8]) {
        match as_text(bytes) {
            Some(text) => self.text = Some(text.to_owned()),
            None => self.hex = Some(hex::spaced(bytes)),
        }
    }
}

impl fmt::Display for MessageRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(number), Some(side)) = (self.conversation, self.side) {
            let arrow = if side == Side::Client { "client →" } else { "server ←" };
            write!(f, "{:>9}  #{number} {arrow} ", short_duration(Duration::from_nanos(self.at_ns)))?;
        } else {
            write!(f, "byte {:<8} ", self.from)?;
        }
        f.write_str(&self.what)
    }
}

/// The value of the key `kind`.
pub(crate) fn kind(message: &Message<'_>) -> &'static str {
    match message {
        Message::Native { .. } => "native",
        Message::Http { .. } => "http",
        Message::Body { .. } => "body",
        Message::Frame { .. } => "websocket",
        Message::Line { kind, .. } => kind,
        Message::Tls { .. } => "tls",
        Message::Bytes(_) => "bytes",
        Message::Broken(_) => "broken",
        Message::Lost => "lost",
        Message::Cut(_) => "cut",
        Message::Unread => "unread",
    }
}

fn what(decoded: &Decoded<'_>) -> String {
    let all = decoded.to - decoded.from;
    match &decoded.message {
        Message::Native { header, content, within } => {
            let mut line = match within {
                Within::Stream => "message, ".to_owned(),
                Within::WebSocket => "  message, ".to_owned(),
                Within::Events => "  event, ".to_owned(),
            };
            line.push_str(&size(all));
            for (key, value) in header.iter() {
                let is_usual = match key {
                    "byteorder" | "content-length" => true,
                    "content-encoding" => matches!(value, "\"utf-8\"" | "\"binary\""),
                    _ => false,
                };
                if !is_usual {
                    let _ = write!(line, ", {key} {value}");
                }
            }
            if brings_events(header, content) {
                line.push_str(": its events follow");
            } else if header.content_length() > 0 {
                let text = in_utf8(header, content);
                let is_whole = content.len() as u64 == header.content_length();
                let all = if is_whole { text.len() as u64 } else { header.content_length() };
                let _ = write!(line, ": {}", shown(&text, all));
            }
            line
        }
        Message::Http { line, fields } => {
            let fields = fields.split(|byte| *byte == b'\n').filter(|field| !field.is_empty()).count();
            format!("http {}, {}", quoted(line, LINE_BYTES), counted(fields as u64, "field", "fields"))
        }
        Message::Body { len, shown: bytes } => format!("  body: {}", shown(bytes, *len)),
        Message::Frame { opcode, last, masked, compressed, len, shown: bytes } => {
            let mut line = format!("websocket {opcode}, {}", size(*len));
            if !last {
                line.push_str(", more of its message follows");
            }
            for (is_so, what) in [(*masked, ", masked"), (*compressed, ", compressed")] {
                if is_so {
                    line.push_str(what);
                }
            }
            if !bytes.is_empty() {
                let _ = write!(line, ": {}", shown(bytes, *len));
            }
            line
        }
        Message::Line { kind, text } => format!("{kind} {}", quoted(text, LINE_BYTES)),
        Message::Tls { kind, len, server_name } => match server_name {
            Some(name) => format!("tls {kind}, {}, asks for {}", size(*len), quoted(name.as_bytes(), 255)),
            None => format!("tls {kind}, {}", size(*len)),
        },
        Message::Bytes(bytes) => format!("{}: {}", size(all), shown(bytes, all)),
        Message::Broken(broken) => format!(
            "BROKEN at byte {}: {}\nfound: {}\nallowed: {}",
            broken.at, broken.why, broken.found, broken.allowed
        ),
        Message::Lost => format!("{} missing here: not in the capture", size(all)),
        Message::Cut(expected) => format!("incomplete: {}; {expected}", size(all)),
        Message::Unread => {
            format!("{} more, not read: after a broken message no message boundary is known", size(all))
        }
    }
}

/// Does the content follow as messages of its own?
fn brings_events(header: &Header, content: &[u8]) -> bool {
    header.content_length() > 0 && content.is_empty()
}

/// The beginning of a content, decoded to UTF-8 if it is text in a known encoding.
fn in_utf8<'a>(header: &Header, content: &'a [u8]) -> Cow<'a, [u8]> {
    let as_it_is = Cow::Borrowed(content);
    if header.is("content-encoding", "\"utf-8\"") {
        return as_it_is;
    }
    let Some(encoding) = encoding::find(&header.content_encoding()) else { return as_it_is };
    let decoded = |bytes: &'a [u8]| encoding::decode(encoding, header.byteorder(), bytes);
    let is_cut = (content.len() as u64) < header.content_length();
    let text = match decoded(content) {
        // An incomplete character at the cut is not an error; none has more than four bytes.
        Err(DecodeError { at, .. }) if is_cut && content.len().saturating_sub(at) < 4 => {
            decoded(&content[..at.min(content.len())])
        }
        text => text,
    };
    match text {
        Ok(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
        Ok(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        Err(_) => as_it_is,
    }
}

/// The beginning of `all` bytes, as text or in hexadecimal.
pub(super) fn shown(bytes: &[u8], all: u64) -> String {
    match as_text(bytes) {
        Some(text) => {
            let text = &text[..text.floor_char_boundary(LINE_BYTES)];
            let more =
                if all > text.len() as u64 { format!("… ({} in all)", size(all)) } else { String::new() };
            format!("{}{more}", quoted(text.as_bytes(), LINE_BYTES))
        }
        None => {
            let more =
                if all > HEX_BYTES as u64 { format!("… ({} in all)", size(all)) } else { String::new() };
            format!("{}{more}", hex::spaced(&bytes[..bytes.len().min(HEX_BYTES)]))
        }
    }
}

/// The bytes as text, without an incomplete character at the end.
pub(super) fn as_text(bytes: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let is_text = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    text.chars().all(is_text).then_some(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What is shown of a content of `len` bytes with this beginning.
    fn text(encoding: &str, byteorder: &str, begins: &[u8], len: usize) -> Vec<u8> {
        let json = format!(
            r#"{{"byteorder": "{byteorder}", "content-type": "text/plain", "content-encoding": "{encoding}", "content-length": {len}}}"#
        );
        let header = Header::parse(json.into_bytes().into()).unwrap();
        in_utf8(&header, begins).into_owned()
    }

    #[test]
    fn text_in_any_encoding_is_shown_in_utf_8() {
        assert_eq!(text("Latin-1", "little", b"caf\xe9", 4), "café".as_bytes());
        assert_eq!(text("utf-16", "big", b"\0h\0i", 4), b"hi");
        assert_eq!(text("utf-16", "little", b"h\0i\0", 4), b"hi");
        // Cut inside the second half of a surrogate pair, and inside its first.
        assert_eq!(text("utf-16-le", "little", b"h\0\x3d\xd8\x36", 600), b"h");
        assert_eq!(text("utf-16-le", "little", b"h\0\x3d", 600), b"h");
        // Undecodable text, binary content and unknown encodings stay unchanged.
        assert_eq!(text("utf-16-le", "little", b"h\0i", 3), b"h\0i");
        assert_eq!(text("binary", "little", b"\xff\0", 2), b"\xff\0");
        assert_eq!(text("klingon", "little", b"caf\xe9", 4), b"caf\xe9");
    }
}
