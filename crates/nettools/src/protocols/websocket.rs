//! WebSocket frames of either side (RFC 6455), and the native messages in their payload. `vang_proto::websocket` is for the
//! server: it accepts only masked frames and answers pings itself. This reader gives out every frame.

use super::message::{Decoded, Message, Next, Sink, Violation, Within, keep};
use super::native::Native;

/// Longest header: two bytes, eight for the length, four for the mask.
const HEAD_BYTES_MAX: usize = 14;

#[derive(Debug, Default)]
pub(super) struct Frames {
    head: Vec<u8>,
    /// Was compression negotiated?
    compresses: bool,
    /// Is the current message compressed? Its first frame says.
    compressed: bool,
    frame: Option<Frame>,
    shown: Vec<u8>,
    /// Is the current message binary? Its later frames are continuations.
    binary: bool,
    inside: Inside,
    /// Bytes of binary payload so far: the offset of messages inside.
    payload_at: u64,
}

/// The protocol inside binary payload, known after its first three bytes.
#[derive(Debug)]
enum Inside {
    Undecided(Vec<u8>),
    Native(Box<Native>),
    Other,
}

impl Default for Inside {
    fn default() -> Inside {
        Inside::Undecided(Vec::new())
    }
}

#[derive(Debug)]
struct Frame {
    from: u64,
    head_len: u64,
    opcode: &'static str,
    last: bool,
    compressed: bool,
    mask: Option<[u8; 4]>,
    turned: usize,
    len: u64,
    left: u64,
    is_binary: bool,
}

impl Frame {
    fn message<'a>(&self, shown: &'a [u8]) -> Message<'a> {
        let masked = self.mask.is_some();
        let Frame { opcode, last, compressed, len, .. } = *self;
        Message::Frame { opcode, last, masked, compressed, len, shown }
    }
}

impl Frames {
    pub(super) fn new(compresses: bool) -> Frames {
        Frames { compresses, ..Frames::default() }
    }

    pub(super) fn feed(&mut self, at: u64, bytes: &[u8], sink: Sink<'_>) -> Next {
        let mut used = 0;
        while used < bytes.len() {
            if self.frame.is_none() {
                self.head.push(bytes[used]);
                used += 1;
                let Some(needed) = needed(&self.head) else { continue };
                if self.head.len() < needed {
                    continue;
                }
                let from = at + used as u64 - needed as u64;
                if let Err(broken) = self.begin(from) {
                    sink(Decoded { from, to: at + used as u64, message: Message::Broken(broken) });
                    return Next::Unread(used);
                }
                self.begin_binary(sink);
            }
            let Some(frame) = &mut self.frame else { continue };
            let here = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len() - used);
            let mut part = bytes[used..used + here].to_vec();
            if let Some(mask) = frame.mask {
                for byte in &mut part {
                    *byte ^= mask[frame.turned];
                    frame.turned = (frame.turned + 1) % 4;
                }
            }
            frame.left -= here as u64;
            used += here;
            let (is_binary, whole) = (frame.is_binary, frame.left == 0);
            keep(&mut self.shown, &part);
            if is_binary {
                self.feed_inside(&part, sink);
            }
            if whole {
                self.end_frame(at + used as u64, sink);
            }
        }
        Next::Stay
    }

    fn begin(&mut self, from: u64) -> Result<(), Violation> {
        let head = std::mem::take(&mut self.head);
        let [first, second] = [head[0], head[1]];
        let opcode = match first & 0x0f {
            0 => "continuation",
            1 => "text",
            2 => "binary",
            8 => "close",
            9 => "ping",
            10 => "pong",
            other => {
                return Err(Violation {
                    at: from,
                    why: "unknown opcode".to_owned(),
                    found: format!("opcode {other}"),
                    allowed: "0, 1, 2, 8, 9 or 10".to_owned(),
                });
            }
        };
        let masked = second & 0x80 != 0;
        let mut len = u64::from(second & 0x7f);
        if len >= 126 {
            let bytes = &head[2..if len == 126 { 4 } else { 10 }];
            len = bytes.iter().fold(0, |len, byte| len << 8 | u64::from(*byte));
        }
        let last = first & 0x80 != 0;
        let is_control = first & 0x08 != 0;
        let reserved = first & 0x70;
        let wrong = |why: &str, found: String, allowed: &str| {
            Err(Violation { at: from, why: why.to_owned(), found, allowed: allowed.to_owned() })
        };
        if reserved != 0 && !(reserved == 0x40 && self.compresses && matches!(opcode, "text" | "binary")) {
            return wrong(
                "reserved bits are set",
                format!("{first:#04x}"),
                "only bits of a negotiated extension",
            );
        }
        if is_control && !last {
            return wrong("a control frame is fragmented", format!("{opcode} without FIN"), "one frame");
        }
        if is_control && len > 125 {
            return wrong("a control frame is too long", format!("{len} bytes"), "at most 125");
        }
        if len > i64::MAX as u64 {
            return wrong(
                "a length has its highest bit set",
                format!("{len} bytes"),
                "at most 9223372036854775807",
            );
        }
        let mask = if masked { head.last_chunk::<4>().copied() } else { None };
        if matches!(opcode, "text" | "binary") {
            self.compressed = reserved != 0;
            self.binary = opcode == "binary" && !self.compressed;
        }
        let is_binary = !is_control && self.binary;
        let compressed = !is_control && self.compressed;
        let head_len = head.len() as u64;
        self.frame = Some(Frame {
            from,
            head_len,
            opcode,
            last,
            compressed,
            mask,
            turned: 0,
            len,
            left: len,
            is_binary,
        });
        Ok(())
    }

    /// A binary frame is given out with its header, so that it comes before the messages inside.
    fn begin_binary(&self, sink: Sink<'_>) {
        if let Some(frame) = self.frame.as_ref().filter(|frame| frame.is_binary) {
            let to = frame.from + frame.head_len + frame.len;
            sink(Decoded { from: frame.from, to, message: frame.message(&[]) });
        }
    }

    /// Other frames are given out whole; of unknown binary payload only the beginning.
    fn end_frame(&mut self, to: u64, sink: Sink<'_>) {
        let Some(frame) = self.frame.take() else { return };
        if !frame.is_binary {
            sink(Decoded { from: frame.from, to, message: frame.message(&self.shown) });
        } else if matches!(self.inside, Inside::Other) && frame.len > 0 {
            let message = Message::Body { len: frame.len, shown: &self.shown };
            sink(Decoded { from: to - frame.len, to, message });
        }
        self.shown.clear();
    }

    /// Messages inside come out as soon as they are whole, even before the frame's end.
    fn feed_inside(&mut self, part: &[u8], sink: Sink<'_>) {
        let at = self.payload_at;
        self.payload_at += part.len() as u64;
        match &mut self.inside {
            Inside::Undecided(begun) => {
                begun.extend_from_slice(part);
                let Some(third) = begun.get(2) else { return };
                if *third != b'{' {
                    self.inside = Inside::Other;
                    return;
                }
                let begun = std::mem::take(begun);
                let mut native = Native::within(Within::WebSocket);
                self.inside = match native.feed(0, &begun, sink) {
                    Next::Unread(_) => Inside::Other,
                    _ => Inside::Native(Box::new(native)),
                };
            }
            Inside::Native(native) => {
                if let Next::Unread(_) = native.feed(at, part, sink) {
                    self.inside = Inside::Other;
                }
            }
            Inside::Other => {}
        }
    }

    pub(super) fn end(&mut self, at: u64, sink: Sink<'_>) {
        let from = match &self.frame {
            Some(frame) => frame.from,
            None if self.head.is_empty() => return,
            None => at - self.head.len() as u64,
        };
        sink(Decoded { from, to: at, message: Message::Cut("a WebSocket frame is incomplete".to_owned()) });
    }

    pub(super) fn held(&self) -> usize {
        let inside = match &self.inside {
            Inside::Native(native) => native.held(),
            Inside::Undecided(_) | Inside::Other => 0,
        };
        HEAD_BYTES_MAX + self.shown.capacity() + inside
    }
}

/// The header's length, known after its second byte.
fn needed(head: &[u8]) -> Option<usize> {
    let second = *head.get(1)?;
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let needed = 2 + length + if second & 0x80 != 0 { 4 } else { 0 };
    Some(needed)
}
