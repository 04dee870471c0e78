//! Native messages, read as `vang_proto::Decoder` reads them (a test compares the two). But content is counted and not
//! held, and a violation is explained at its byte. If a content is a list of events (docs/PROTOCOL.md, section 6), they
//! follow the message one by one; events within events are not read.

use bytes::Bytes;
use vang_proto::limits::CLIENT_CONTENT_BYTES_MAX;
use vang_proto::text::counted;
use vang_proto::{FrameError, Header, OrderWatch, SwappedLength};

use super::message::{Decoded, Message, Next, SHOWN_BYTES_MAX, Sink, Violation, Within, keep};

/// The content type of a list of events, in JSON.
const EVENTS: &str = "\"application/vang-events\"";

#[derive(Debug, Default)]
pub(super) struct Native {
    /// An incomplete header, with its length.
    head: Vec<u8>,
    order: OrderWatch,
    message: Option<Begun>,
    /// The beginning of the current content; the buffer is reused.
    shown: Vec<u8>,
    within: Within,
}

#[derive(Debug)]
struct Begun {
    header: Header,
    from: u64,
    left: u64,
    content: Content,
}

/// How the current content is read.
#[derive(Debug)]
enum Content {
    /// Its beginning is kept for display.
    Shown,
    /// As messages, after the message itself was given out.
    Events(Box<Native>),
    /// Only counted, after a broken event.
    Unread,
}

impl Native {
    /// A reader of messages in this place.
    pub(super) fn within(within: Within) -> Native {
        Native { within, ..Native::default() }
    }

    /// `at` is the offset of the first byte.
    pub(super) fn feed(&mut self, at: u64, bytes: &[u8], sink: Sink<'_>) -> Next {
        let mut used = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            if let Some(begun) = &mut self.message {
                let here = usize::try_from(begun.left).unwrap_or(usize::MAX).min(rest.len());
                let part = &rest[..here];
                match &mut begun.content {
                    Content::Shown => keep(&mut self.shown, part),
                    Content::Unread => {}
                    Content::Events(events) => {
                        let events_at = begun.header.content_length() - begun.left;
                        if let Next::Unread(_) = events.feed(events_at, part, sink) {
                            begun.content = Content::Unread;
                        }
                    }
                }
                begun.left -= here as u64;
                used += here;
                if begun.left == 0 {
                    self.emit(at + used as u64, sink);
                }
                continue;
            }
            let from = at + used as u64 - self.head.len() as u64;
            if self.head.is_empty()
                && let Some((length, behind)) = OrderWatch::default().look(rest)
            {
                sink(self.broken(from, from + behind as u64, &FrameError::WrongByteOrder(length), &[]));
                return Next::Unread(used + behind);
            }
            let header = if self.head.is_empty() && is_whole(rest) {
                let len = 2 + length(rest);
                used += len;
                open(&rest[2..len]).map_err(|malformed| (malformed, rest[2..len].to_vec()))
            } else {
                match gather(&mut self.head, rest) {
                    Ok(taken) => used += taken,
                    Err(malformed) => {
                        sink(self.broken(from, from + 2, &malformed, &[]));
                        return Next::Unread(bytes.len().min(used + 2));
                    }
                }
                if let Some((length, behind)) = self.order.look(&self.head) {
                    let unread = self.head.len() - behind;
                    self.head.clear();
                    sink(self.broken(from, from + behind as u64, &FrameError::WrongByteOrder(length), &[]));
                    return Next::Unread(used - unread);
                }
                if !is_whole(&self.head) {
                    continue;
                }
                self.order = OrderWatch::default();
                let opened = open(&self.head[2..]).map_err(|malformed| (malformed, self.head[2..].to_vec()));
                self.head.clear();
                opened
            };
            let header = match header {
                Ok(header) => header,
                Err((malformed, json)) => {
                    sink(self.broken(from, at + used as u64, &malformed, &json));
                    return Next::Unread(used);
                }
            };
            let left = header.content_length();
            let rest = &bytes[used..];
            if left > 0 && self.within != Within::Events && header.is("content-type", EVENTS) {
                let to = at + used as u64 + left;
                let message = Message::Native { header: &header, content: &[], within: self.within };
                sink(Decoded { from, to, message });
                let content = Content::Events(Box::new(Native::within(Within::Events)));
                self.message = Some(Begun { header, from, left, content });
            } else if left <= rest.len() as u64 {
                // A whole message in one piece is not copied.
                used += left as usize;
                let content = &rest[..(left as usize).min(SHOWN_BYTES_MAX)];
                let message = Message::Native { header: &header, content, within: self.within };
                sink(Decoded { from, to: at + used as u64, message });
            } else {
                self.message = Some(Begun { header, from, left, content: Content::Shown });
            }
        }
        Next::Stay
    }

    fn emit(&mut self, to: u64, sink: Sink<'_>) {
        let Some(begun) = self.message.take() else { return };
        match begun.content {
            Content::Shown => {
                let message =
                    Message::Native { header: &begun.header, content: &self.shown, within: self.within };
                sink(Decoded { from: begun.from, to, message });
            }
            Content::Events(events) => events.end(begun.header.content_length(), sink),
            Content::Unread => {}
        }
        self.shown.clear();
    }

    /// Skips lost bytes if all of them are inside a content and not its end.
    pub(super) fn skip(&mut self, lost: u64) -> bool {
        match &mut self.message {
            Some(begun) if lost < begun.left => {
                begun.left -= lost;
                if let Content::Events(_) = begun.content {
                    begun.content = Content::Unread;
                }
                true
            }
            _ => false,
        }
    }

    pub(super) fn end(&self, at: u64, sink: Sink<'_>) {
        if let Some(begun) = &self.message {
            if let Content::Events(events) = &begun.content {
                events.end(begun.header.content_length() - begun.left, sink);
            }
            let len = begun.header.content_length();
            let message = Message::Cut(format!("the content should have {}", counted(len, "byte", "bytes")));
            sink(Decoded { from: begun.from, to: at, message });
        } else if !self.head.is_empty() {
            let from = at - self.head.len() as u64;
            let expected = match self.head.len() {
                0 | 1 => "the length of the header is missing".to_owned(),
                _ => {
                    let len = counted(length(&self.head) as u64, "byte", "bytes");
                    let other = SwappedLength::of(&self.head)
                        .map_or_else(String::new, |length| format!("; its length is {length}"));
                    format!("the header should have {len}{other}")
                }
            };
            sink(Decoded { from, to: at, message: Message::Cut(expected) });
        }
    }

    fn broken(&self, from: u64, to: u64, malformed: &FrameError, json: &[u8]) -> Decoded<'static> {
        let mut broken = explain(from, malformed, json);
        match self.within {
            Within::Stream => {}
            Within::WebSocket => broken.why.insert_str(0, "in the WebSocket payload: "),
            Within::Events => broken.why.insert_str(0, "in the events of a content: "),
        }
        Decoded { from, to, message: Message::Broken(broken) }
    }

    pub(super) fn held(&self) -> usize {
        let message = self.message.as_ref().map_or(0, |begun| {
            let inside = if let Content::Events(events) = &begun.content { events.held() } else { 0 };
            begun.header.json().len() + inside
        });
        self.head.capacity() + self.shown.capacity() + message
    }
}

/// The header length in the first two bytes.
fn length(head: &[u8]) -> usize {
    head.first_chunk::<2>().map_or(0, |prefix| usize::from(u16::from_be_bytes(*prefix)))
}

fn is_whole(head: &[u8]) -> bool {
    length(head) >= 2 && head.len() >= 2 + length(head)
}

/// Moves the header's bytes into `head`; returns their number. A length that is too short is an error at once.
fn gather(head: &mut Vec<u8>, bytes: &[u8]) -> Result<usize, FrameError> {
    let mut used = 0;
    while head.len() < 2 {
        let Some(byte) = bytes.get(used) else { return Ok(used) };
        head.push(*byte);
        used += 1;
    }
    match length(head) {
        len @ (0 | 1) => {
            head.clear();
            Err(FrameError::HeaderTooShort { len: len as u32 })
        }
        len => {
            let here = (2 + len - head.len()).min(bytes.len() - used);
            head.extend_from_slice(&bytes[used..used + here]);
            Ok(used + here)
        }
    }
}

fn open(json: &[u8]) -> Result<Header, FrameError> {
    let header = Header::parse(Bytes::copy_from_slice(json))?;
    match header.content_length() {
        len if len > CLIENT_CONTENT_BYTES_MAX => {
            Err(FrameError::ContentTooLong { len, max: CLIENT_CONTENT_BYTES_MAX })
        }
        _ => Ok(header),
    }
}

/// Explains a malformed message; `from` is the offset of its first byte.
fn explain(from: u64, malformed: &FrameError, json: &[u8]) -> Violation {
    let header_at = from + 2;
    let byte_at = |at: usize| match json.get(at) {
        Some(byte) => format!("{} ({byte:#04x})", crate::quoted(&json[at..(at + 12).min(json.len())], 12)),
        None => "the end of the header".to_owned(),
    };
    let required = "the keys byteorder, content-length, content-type and content-encoding";
    let (at, found, allowed) = match malformed {
        FrameError::HeaderTooShort { len } => {
            (from, format!("a header length of {len}"), "2 to 65535".to_owned())
        }
        FrameError::HeaderTooLong { len, max } => {
            (from, format!("a header length of {len}"), format!("2 to {max}"))
        }
        FrameError::WrongByteOrder(length) => {
            let [high, low] = length.swapped.to_be_bytes();
            let other = format!("{low:02x} {high:02x} as a header length, {}", length.network);
            (from, other, format!("{high:02x} {low:02x}, most significant byte first: {}", length.swapped))
        }
        FrameError::UnknownProtocol { third } => (header_at, format!("{third:#04x}"), "'{'".to_owned()),
        FrameError::HeaderNotUtf8 { at } => (header_at + *at as u64, byte_at(*at), "UTF-8".to_owned()),
        FrameError::HeaderNotJson { why } => {
            let at = json_error_at(why, json);
            (header_at + at as u64, byte_at(at), "the rest of a JSON object".to_owned())
        }
        FrameError::HeaderNotObject { found } => (header_at, found.clone(), "'{'".to_owned()),
        FrameError::MissingKey { key } => {
            (header_at, format!("an object without '{key}'"), required.to_owned())
        }
        FrameError::WrongKind { key, found, expected } => {
            (header_at + value_at(key, json) as u64, found.clone(), (*expected).to_owned())
        }
        FrameError::NoMemory { len } => {
            let at = value_at("content-length", json);
            (header_at + at as u64, format!("{len} bytes of content"), "what there is memory for".to_owned())
        }
        FrameError::ContentTooLong { len, max } => {
            let at = value_at("content-length", json);
            (header_at + at as u64, format!("{len} bytes of content"), format!("at most {max}"))
        }
    };
    Violation { at, why: malformed.to_string(), found, allowed }
}

/// Where the parser stopped; it counts lines and columns from 1.
fn json_error_at(why: &str, json: &[u8]) -> usize {
    let number_behind = |mark: &str| {
        let digits: String = why.rsplit_once(mark)?.1.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<usize>().ok()
    };
    let column = number_behind(" at byte ").or_else(|| number_behind(" column ")).unwrap_or(1);
    let line = number_behind(" at line ").unwrap_or(1);
    let line_at = match line {
        0 | 1 => 0,
        line => json
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .nth(line - 2)
            .map_or(0, |(at, _)| at + 1),
    };
    (line_at + column.saturating_sub(1)).min(json.len())
}

/// The place of the value of a key; of equal keys the last one counts.
fn value_at(key: &str, json: &[u8]) -> usize {
    let name = format!("\"{key}\"");
    let Some(name_at) = json.windows(name.len()).rposition(|part| part == name.as_bytes()) else { return 0 };
    let behind = name_at + name.len();
    let is_between = |byte: &u8| *byte == b':' || byte.is_ascii_whitespace();
    behind + json[behind..].iter().take_while(|byte| is_between(byte)).count()
}
