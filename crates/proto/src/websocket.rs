//! WebSocket frames (RFC 6455), of either side: bytes of the wire in, payload out; headers for what goes
//! out, so that a payload encoded once for all readers is never copied. A client masks what goes out (`masked`).
//!
//! ```text
//! | FIN, opcode | MASK, length: 7 bits, or 16, or 64 | mask: 4 bytes, from clients only | payload |
//! ```
//!
//! No handshake (that is HTTP's), no extensions, no buffer: payload is unmasked where it lies and handed on in
//! the pieces in which it came. A peer that breaks the rules gets a close frame with the reason, and is not read any more.

use bytes::{Bytes, BytesMut};

use crate::limits::{WS_MESSAGE_BYTES_MAX, WS_PONGS_BYTES_MAX};

/// Longest payload of a control frame (RFC 6455, 5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// Longest header: two bytes, eight of length, four of mask.
const HEAD_BYTES_MAX: usize = 14;

/// What a message consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8, which is checked.
    Text,
    Binary,
}

/// What the peer sent.
#[derive(Debug, PartialEq, Eq)]
pub enum WebSocketInput<'a> {
    /// More of the present message.
    Payload(MessageKind, &'a [u8]),
    /// The present message is whole.
    End(MessageKind),
    /// Nothing more comes: the peer closed, or broke the rules. The payload of its close frame: a code of two bytes and
    /// a reason in UTF-8, or nothing.
    Closed(&'a [u8]),
}

/// The side that a `WebSocket` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    Server,
    Client,
}

/// Why a connection is closed (RFC 6455, 7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    Normal = 1000,
    GoingAway = 1001,
    ProtocolError = 1002,
    UnsupportedData = 1003,
    InvalidPayload = 1007,
    PolicyViolation = 1008,
    TooBig = 1009,
}

/// A frame's header while its bytes come.
#[derive(Debug, Default)]
struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: u8,
}

/// A control frame's payload while its bytes come.
#[derive(Debug)]
struct Control {
    bytes: [u8; CONTROL_BYTES_MAX],
    len: u8,
}

#[derive(Debug, PartialEq, Eq)]
enum Opcode {
    Continuation,
    Data(MessageKind),
    Close,
    Ping,
    Pong,
}

/// The frame whose payload comes.
#[derive(Debug)]
struct Frame {
    opcode: Opcode,
    last: bool,
    left: u64,
    mask: [u8; 4],
    /// How far the mask has turned.
    turned: usize,
}

/// One side of a WebSocket; by default the server's.
#[derive(Debug, Default)]
pub struct WebSocket {
    role: Role,
    head: Head,
    frame: Option<Frame>,
    /// Made when the first control frame comes: most connections have none.
    control: Option<Box<Control>>,
    /// The message that is not whole yet, and its bytes so far.
    message: Option<(MessageKind, u64)>,
    text: Utf8,
    /// Pongs, then perhaps the close frame, to go out before the next message.
    answer: BytesMut,
    closed: bool,
    close_sent: bool,
}

impl WebSocket {
    /// The client's side. What goes out of it must be `masked`.
    pub fn client() -> WebSocket {
        WebSocket { role: Role::Client, ..WebSocket::default() }
    }

    /// Takes bytes of the wire, unmasks them in place and says what they are.
    pub fn handle_bytes(&mut self, mut bytes: &mut [u8], heard: &mut dyn FnMut(WebSocketInput<'_>)) {
        while !bytes.is_empty() && !self.closed {
            if self.frame.is_none() {
                let Some(used) = self.take_head(bytes, heard) else { return };
                bytes = &mut bytes[used..];
            }
            let Some(frame) = &mut self.frame else { continue };
            let here = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
            let (payload, rest) = bytes.split_at_mut(here);
            bytes = rest;
            frame.turned = unmask(payload, frame.mask, frame.turned);
            frame.left -= here as u64;
            let whole = frame.left == 0;
            self.take_payload(payload, heard);
            if whole && !self.closed {
                self.end_frame(heard);
            }
        }
    }

    /// Gathers a header; says how many bytes it took. A frame without payload is ended here already.
    fn take_head(&mut self, bytes: &[u8], heard: &mut dyn FnMut(WebSocketInput<'_>)) -> Option<usize> {
        let mut used = 0;
        loop {
            let len = usize::from(self.head.len);
            let needed = match len {
                0 | 1 => 2,
                _ => {
                    let length = match self.head.bytes[1] & 0x7f {
                        126 => 2,
                        127 => 8,
                        _ => 0,
                    };
                    2 + length + if self.head.bytes[1] & 0x80 != 0 { 4 } else { 0 }
                }
            };
            if len == needed && len > 1 {
                break;
            }
            let Some(&byte) = bytes.get(used) else { return Some(used) };
            self.head.bytes[len] = byte;
            self.head.len += 1;
            used += 1;
            // Told as early as possible: the rest of a wrong frame may never come.
            if len == 1 && !self.check_head(heard) {
                return None;
            }
        }
        if !self.begin_frame(heard) {
            return None;
        }
        if self.frame.as_ref().is_some_and(|frame| frame.left == 0) {
            self.end_frame(heard);
        }
        Some(used)
    }

    /// The rules that the first two bytes can break.
    fn check_head(&mut self, heard: &mut dyn FnMut(WebSocketInput<'_>)) -> bool {
        let [first, second, ..] = self.head.bytes;
        let (opcode, last) = (first & 0x0f, first & 0x80 != 0);
        let why = if first & 0x70 != 0 {
            "reserved bits are set, but no extension was agreed on"
        } else if !matches!(opcode, 0..=2 | 8..=10) {
            "there is no such opcode"
        } else if second & 0x80 == 0 && self.role == Role::Server {
            "a client's frames must be masked"
        } else if second & 0x80 != 0 && self.role == Role::Client {
            "a server's frames must not be masked"
        } else if opcode >= 8 && !last {
            "a control frame must not be fragmented"
        } else if opcode >= 8 && usize::from(second & 0x7f) > CONTROL_BYTES_MAX {
            "a control frame has at most 125 bytes"
        } else if opcode == 0 && self.message.is_none() {
            "a continuation without a beginning"
        } else if matches!(opcode, 1 | 2) && self.message.is_some() {
            "a new message inside a fragmented one"
        } else {
            return true;
        };
        self.fail(CloseCode::ProtocolError, why, heard);
        false
    }

    fn begin_frame(&mut self, heard: &mut dyn FnMut(WebSocketInput<'_>)) -> bool {
        let head = std::mem::take(&mut self.head);
        let bytes = &head.bytes[..usize::from(head.len)];
        let (opcode, last) = (bytes[0] & 0x0f, bytes[0] & 0x80 != 0);
        let (left, mask) = match bytes[1] & 0x7f {
            126 => (u64::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            127 => {
                let mut eight = [0; 8];
                eight.copy_from_slice(&bytes[2..10]);
                (u64::from_be_bytes(eight), 10)
            }
            short => (u64::from(short), 2),
        };
        if left >> 63 != 0 {
            self.fail(CloseCode::ProtocolError, "a length has 63 bits", heard);
            return false;
        }
        let opcode = match opcode {
            0 => Opcode::Continuation,
            1 => Opcode::Data(MessageKind::Text),
            2 => Opcode::Data(MessageKind::Binary),
            8 => Opcode::Close,
            9 => Opcode::Ping,
            _ => Opcode::Pong,
        };
        match opcode {
            Opcode::Data(kind) => self.message = Some((kind, 0)),
            Opcode::Close | Opcode::Ping | Opcode::Pong => {
                let empty = Control { bytes: [0; CONTROL_BYTES_MAX], len: 0 };
                self.control = Some(Box::new(empty));
            }
            Opcode::Continuation => {}
        }
        if let (Opcode::Data(_) | Opcode::Continuation, Some((_, so_far))) = (&opcode, &mut self.message) {
            *so_far = so_far.saturating_add(left);
            if *so_far > WS_MESSAGE_BYTES_MAX {
                let why = format!(
                    "a message of {so_far} bytes or more exceeds the limit of {WS_MESSAGE_BYTES_MAX}"
                );
                self.fail(CloseCode::TooBig, &why, heard);
                return false;
            }
        }
        // A server's frames have none.
        let mask = bytes[mask..].first_chunk().copied().unwrap_or_default();
        self.frame = Some(Frame { opcode, last, left, mask, turned: 0 });
        true
    }

    fn take_payload(&mut self, payload: &[u8], heard: &mut dyn FnMut(WebSocketInput<'_>)) {
        if let Some(control) = &mut self.control {
            let len = usize::from(control.len);
            control.bytes[len..len + payload.len()].copy_from_slice(payload);
            control.len += payload.len() as u8;
        } else if let Some((kind, _)) = self.message {
            if kind == MessageKind::Text && !self.text.handle(payload) {
                return self.fail(CloseCode::InvalidPayload, "text must be UTF-8", heard);
            }
            if !payload.is_empty() {
                heard(WebSocketInput::Payload(kind, payload));
            }
        }
    }

    fn end_frame(&mut self, heard: &mut dyn FnMut(WebSocketInput<'_>)) {
        let Some(frame) = self.frame.take() else { return };
        let control = self.control.take();
        let payload = control.as_ref().map_or(&[][..], |control| &control.bytes[..usize::from(control.len)]);
        match frame.opcode {
            Opcode::Ping => self.pong(payload),
            Opcode::Pong => {}
            Opcode::Close => self.handle_close(payload, heard),
            Opcode::Data(_) | Opcode::Continuation if frame.last => {
                let Some((kind, _)) = self.message.take() else { return };
                if kind == MessageKind::Text && !std::mem::take(&mut self.text).is_whole() {
                    return self.fail(CloseCode::InvalidPayload, "text must be UTF-8", heard);
                }
                heard(WebSocketInput::End(kind));
            }
            Opcode::Data(_) | Opcode::Continuation => {}
        }
    }

    /// Each ping has its pong, in order; of more than wait anywhere only the last (RFC 6455, 5.5.3).
    fn pong(&mut self, payload: &[u8]) {
        if self.close_sent {
            return; // nothing comes behind a goodbye
        }
        if self.answer.len() + 2 + payload.len() > WS_PONGS_BYTES_MAX {
            self.answer.clear();
        }
        self.control_frame(0x8a, payload);
    }

    fn control_frame(&mut self, first: u8, payload: &[u8]) {
        self.answer.extend_from_slice(&[first, payload.len() as u8]);
        self.answer.extend_from_slice(payload);
    }

    fn handle_close(&mut self, payload: &[u8], heard: &mut dyn FnMut(WebSocketInput<'_>)) {
        let code = payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
        let known = |code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        match code {
            None if !payload.is_empty() => {
                return self.fail(CloseCode::ProtocolError, "a close code has two bytes", heard);
            }
            Some(code) if !known(code) => {
                return self.fail(CloseCode::ProtocolError, "there is no such close code", heard);
            }
            _ if payload.len() > 2 && std::str::from_utf8(&payload[2..]).is_err() => {
                return self.fail(CloseCode::InvalidPayload, "a close reason must be UTF-8", heard);
            }
            _ => {}
        }
        self.closed = true;
        if !self.close_sent {
            self.close_sent = true;
            self.control_frame(0x88, &payload[..payload.len().min(2)]);
        }
        heard(WebSocketInput::Closed(payload));
    }

    fn fail(&mut self, code: CloseCode, why: &str, heard: &mut dyn FnMut(WebSocketInput<'_>)) {
        self.close(code, why);
        self.closed = true;
        heard(WebSocketInput::Closed(&[]));
    }

    /// Says goodbye, unless that was said before. Messages must not follow.
    pub fn close(&mut self, code: CloseCode, why: &str) {
        if self.close_sent {
            return;
        }
        self.close_sent = true;
        let mut payload = (code as u16).to_be_bytes().to_vec();
        let end = why.floor_char_boundary(CONTROL_BYTES_MAX - 2);
        payload.extend_from_slice(&why.as_bytes()[..end]);
        self.control_frame(0x88, &payload);
    }

    /// What must go out before the next message; each once.
    pub fn take_answer(&mut self) -> Option<Bytes> {
        // Split off whole: a connection that answered holds no buffer.
        (!self.answer.is_empty()).then(|| std::mem::take(&mut self.answer).freeze())
    }

    /// Is there something that must go out?
    pub fn has_answer(&self) -> bool {
        !self.answer.is_empty()
    }

    /// Was goodbye said? Then no message may go out.
    pub fn is_close_sent(&self) -> bool {
        self.close_sent
    }
}

/// The header of a whole, unmasked message, and how many bytes of the array it takes.
pub fn message_header(kind: MessageKind, len: u64) -> ([u8; 10], usize) {
    let mut head = [0; 10];
    head[0] = 0x80 | if kind == MessageKind::Text { 1 } else { 2 };
    match len {
        0..=125 => {
            head[1] = len as u8;
            (head, 2)
        }
        126..=0xffff => {
            head[1] = 126;
            head[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            (head, 4)
        }
        _ => {
            head[1] = 127;
            head[2..].copy_from_slice(&len.to_be_bytes());
            (head, 10)
        }
    }
}

/// Whole frames as a client sends them: each masked with a key of its own, which must be unpredictable (RFC 6455, 5.3).
/// Bytes that are no whole frame are left out.
pub fn masked(frames: &[u8], mut next_key: impl FnMut() -> [u8; 4]) -> Vec<u8> {
    let mut out = Vec::with_capacity(frames.len() + 4);
    let mut rest = frames;
    while let [_, short, ..] = rest {
        let (head, len) = match short & 0x7f {
            126 => (4, rest.get(2..4).map(|two| u64::from(u16::from_be_bytes([two[0], two[1]])))),
            127 => (10, rest.get(2..).and_then(<[u8]>::first_chunk).map(|eight| u64::from_be_bytes(*eight))),
            short => (2, Some(u64::from(short))),
        };
        let end = len.and_then(|len| usize::try_from(len).ok()).and_then(|len| len.checked_add(head));
        let Some(frame) = end.and_then(|end| rest.get(..end)) else { break };
        rest = &rest[frame.len()..];
        let key = next_key();
        out.extend_from_slice(&[frame[0], frame[1] | 0x80]);
        out.extend_from_slice(&frame[2..head]);
        out.extend_from_slice(&key);
        let begins = out.len();
        out.extend_from_slice(&frame[head..]);
        unmask(&mut out[begins..], key, 0);
    }
    out
}

/// Eight bytes at a time; gives back how far the mask has turned.
fn unmask(payload: &mut [u8], mask: [u8; 4], turned: usize) -> usize {
    let turn = |by: usize| std::array::from_fn(|at| mask[(at + by) % 4]);
    let here: [u8; 8] = turn(turned);
    let word = u64::from_ne_bytes(here);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut eight = [0; 8];
        eight.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(eight) ^ word).to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(here) {
        *byte ^= key;
    }
    (turned + payload.len()) % 4
}

/// Checks UTF-8 in pieces.
#[derive(Debug, Default)]
struct Utf8 {
    /// The beginning of a character whose end has not come.
    cut: [u8; 4],
    len: u8,
}

impl Utf8 {
    /// `false`: this can never become UTF-8.
    fn handle(&mut self, mut bytes: &[u8]) -> bool {
        while self.len > 0 {
            let Some((&next, rest)) = bytes.split_first() else { return true };
            self.cut[usize::from(self.len)] = next;
            self.len += 1;
            bytes = rest;
            match std::str::from_utf8(&self.cut[..usize::from(self.len)]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                let cut = &bytes[error.valid_up_to()..];
                self.cut[..cut.len()].copy_from_slice(cut);
                self.len = cut.len() as u8;
                true
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's frame.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let (head, len) = message_header(MessageKind::Binary, payload.len() as u64);
        let mut bytes = head[..len].to_vec();
        bytes[0] = first;
        bytes[1] |= 0x80;
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        bytes.extend_from_slice(&mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }

    type Messages = Vec<(MessageKind, Vec<u8>)>;

    /// What is heard when the bytes come in pieces of this size: messages, then how it ended.
    fn hear(bytes: &[u8], piece: usize) -> (Messages, bool, Option<Bytes>) {
        hear_as(WebSocket::default(), bytes, piece)
    }

    fn hear_as(mut socket: WebSocket, bytes: &[u8], piece: usize) -> (Messages, bool, Option<Bytes>) {
        let (mut messages, mut current, mut closed) = (Vec::new(), Vec::new(), false);
        for piece in bytes.to_vec().chunks_mut(piece) {
            socket.handle_bytes(piece, &mut |heard| match heard {
                WebSocketInput::Payload(_, payload) => current.extend_from_slice(payload),
                WebSocketInput::End(kind) => messages.push((kind, std::mem::take(&mut current))),
                WebSocketInput::Closed(_) => closed = true,
            });
        }
        (messages, closed, socket.take_answer())
    }

    #[test]
    fn a_message_is_the_same_however_it_came() {
        let long: Vec<u8> = (0..70_000_u32).map(|i| (i * 7) as u8).collect();
        let mut bytes = frame(0x02, b"one ");
        bytes.extend(frame(0x89, b"still there?"));
        bytes.extend(frame(0x00, b""));
        bytes.extend(frame(0x80, b"message"));
        bytes.extend(frame(0x81, "xin chào".as_bytes()));
        bytes.extend(frame(0x82, &long));
        bytes.extend(frame(0x82, b""));
        let expected = vec![
            (MessageKind::Binary, b"one message".to_vec()),
            (MessageKind::Text, "xin chào".as_bytes().to_vec()),
            (MessageKind::Binary, long),
            (MessageKind::Binary, Vec::new()),
        ];
        let pong = Some(Bytes::from_static(b"\x8a\x0cstill there?"));
        for piece in [1, 2, 3, 5, 7, 11, 64, 1_000, bytes.len()] {
            assert_eq!(hear(&bytes, piece), (expected.clone(), false, pong.clone()), "pieces of {piece}");
        }
    }

    #[test]
    fn a_client_hears_unmasked_frames_and_its_own_are_heard_when_masked() {
        let mut frames = Vec::new();
        for payload in [&b""[..], b"short", &[7; 300], &[9; 70_000]] {
            let (head, len) = message_header(MessageKind::Binary, payload.len() as u64);
            frames.extend_from_slice(&head[..len]);
            frames.extend_from_slice(payload);
        }
        let mut key = 0_u8;
        let sent = masked(&frames, || {
            key += 1;
            [key, 0x80, 0xff, 0]
        });
        assert_eq!(sent.len(), frames.len() + 4 * 4);
        let expected = [0, 5, 300, 70_000].map(|len: usize| (MessageKind::Binary, len)).to_vec();
        let lens = |(messages, closed, answer): (Messages, bool, Option<Bytes>)| {
            assert_eq!((closed, answer), (false, None));
            messages.into_iter().map(|(kind, payload)| (kind, payload.len())).collect::<Vec<_>>()
        };
        for piece in [1, 3, 1_000, sent.len()] {
            assert_eq!(lens(hear(&sent, piece)), expected, "pieces of {piece}");
            assert_eq!(lens(hear_as(WebSocket::client(), &frames, piece)), expected, "pieces of {piece}");
        }
        let (_, closed, answer) = hear_as(WebSocket::client(), &frame(0x81, b"x"), 1);
        assert!(
            closed && answer.is_some_and(|answer| answer.ends_with(b"a server's frames must not be masked"))
        );
        // Bytes that are no whole frame are not sent.
        for cut in 0..3 {
            assert_eq!(masked(&b"\x81\x02hi"[..cut + 1], || [0; 4]), b"", "cut at {cut}");
        }
    }

    #[test]
    fn a_protocol_error_closes_with_its_code_and_reason() {
        let text = |first, payload: &[u8]| frame(first, payload);
        for (bytes, code, why) in [
            (text(0xc2, b"x"), 1002, "reserved bits are set, but no extension was agreed on"),
            (text(0x83, b"x"), 1002, "there is no such opcode"),
            (vec![0x82, 0x01, b'x'], 1002, "a client's frames must be masked"),
            (text(0x09, b"x"), 1002, "a control frame must not be fragmented"),
            (text(0x89, &[0; 126]), 1002, "a control frame has at most 125 bytes"),
            (text(0x80, b"x"), 1002, "a continuation without a beginning"),
            ([text(0x01, b"x"), text(0x81, b"y")].concat(), 1002, "a new message inside a fragmented one"),
            (text(0x81, b"\xff"), 1007, "text must be UTF-8"),
            (text(0x81, b"\xe2\x82"), 1007, "text must be UTF-8"),
            ([text(0x01, b"\xe2"), text(0x80, b"(")].concat(), 1007, "text must be UTF-8"),
            (text(0x88, b"\x03"), 1002, "a close code has two bytes"),
            (text(0x88, b"\x03\xed"), 1002, "there is no such close code"),
            (text(0x88, b"\x03\xe8\xff"), 1007, "a close reason must be UTF-8"),
            (vec![0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], 1002, "a length has 63 bits"),
        ] {
            for piece in [1, bytes.len()] {
                let (messages, closed, answer) = hear(&bytes, piece);
                let mut close = vec![0x88, 2 + why.len() as u8];
                close.extend_from_slice(&u16::to_be_bytes(code));
                close.extend_from_slice(why.as_bytes());
                assert_eq!((messages, closed, answer), (vec![], true, Some(close.into())), "{why}");
            }
        }
    }

    #[test]
    fn a_claimed_length_costs_nothing_and_too_much_is_refused() {
        let mut bytes = vec![0x82, 0xff];
        bytes.extend((WS_MESSAGE_BYTES_MAX + 1).to_be_bytes());
        bytes.extend([1, 2, 3, 4]);
        let (_, closed, answer) = hear(&bytes, 3);
        assert!(closed);
        assert_eq!(answer.unwrap()[2..4], 1009_u16.to_be_bytes());
    }

    #[test]
    fn a_close_is_answered_once_with_its_code() {
        let (_, closed, answer) = hear(&[frame(0x88, b"\x03\xe8bye"), frame(0x89, b"x")].concat(), 1);
        assert_eq!((closed, answer), (true, Some(Bytes::from_static(b"\x88\x02\x03\xe8"))));
        let (_, closed, answer) = hear(&frame(0x88, b""), 1);
        assert_eq!((closed, answer), (true, Some(Bytes::from_static(b"\x88\x00"))));
        let mut socket = WebSocket::default();
        socket.close(CloseCode::GoingAway, "stopping");
        assert_eq!(socket.take_answer(), Some(Bytes::from_static(b"\x88\x0a\x03\xe9stopping")));
        socket.handle_bytes(&mut frame(0x88, b"\x03\xe9"), &mut |heard| {
            assert_eq!(heard, WebSocketInput::Closed(b"\x03\xe9"));
        });
        assert!(!socket.has_answer() && socket.is_close_sent());
    }

    #[test]
    fn every_ping_has_its_pong_in_order_and_a_flood_of_them_costs_little() {
        let pings = [frame(0x89, b"1"), frame(0x89, b""), frame(0x89, b"three")].concat();
        for piece in [1, 4, pings.len()] {
            let (_, closed, answer) = hear(&pings, piece);
            assert_eq!(
                (closed, answer),
                (false, Some(Bytes::from_static(b"\x8a\x011\x8a\x00\x8a\x05three")))
            );
        }
        let (_, _, answer) = hear(&[frame(0x89, b"x"), frame(0x88, b"")].concat(), 1);
        assert_eq!(answer, Some(Bytes::from_static(b"\x8a\x01x\x88\x00")), "then goodbye");
        let flood: Vec<u8> = (0..1_000_u32).flat_map(|i| frame(0x89, &[i as u8; 125])).collect();
        let answer = hear(&flood, 5_000).2.unwrap();
        assert!(answer.len() <= WS_PONGS_BYTES_MAX);
        assert!(answer.ends_with(&[999_u32 as u8; 125]), "the last is answered");
        let mut socket = WebSocket::default();
        socket.close(CloseCode::GoingAway, "");
        socket.handle_bytes(&mut frame(0x89, b"x"), &mut |heard| panic!("{heard:?}"));
        assert_eq!(
            socket.take_answer(),
            Some(Bytes::from_static(b"\x88\x02\x03\xe9")),
            "no pong behind a goodbye"
        );
    }

    #[test]
    fn headers_take_the_shortest_form() {
        for (len, head) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 0xff, 0xff]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let (bytes, used) = message_header(MessageKind::Binary, len);
            assert_eq!(&bytes[..used], head);
        }
    }
}
