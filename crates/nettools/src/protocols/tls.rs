//! TLS records (RFC 8446, 5.1): type and length, and the server name of a ClientHello (RFC 6066, 3).

use super::message::{Decoded, Message, Next, Sink, keep};

const HEAD_BYTES: usize = 5;

#[derive(Debug, Default)]
pub(super) struct Records {
    head: Vec<u8>,
    /// The current record's header.
    left: u64,
    /// The beginning of the first record, which can hold a ClientHello.
    shown: Vec<u8>,
    emitted: bool,
}

impl Records {
    pub(super) fn feed(&mut self, at: u64, bytes: &[u8], sink: Sink<'_>) -> Next {
        let mut used = 0;
        while used < bytes.len() {
            if self.head.len() < HEAD_BYTES {
                let here = (HEAD_BYTES - self.head.len()).min(bytes.len() - used);
                self.head.extend_from_slice(&bytes[used..used + here]);
                used += here;
                if self.head.len() < HEAD_BYTES {
                    continue;
                }
                if kind(self.head[0]).is_none() || self.head[1] != 3 {
                    let head = std::mem::take(&mut self.head);
                    let to = at + used as u64;
                    sink(Decoded { from: to - HEAD_BYTES as u64, to, message: Message::Bytes(&head) });
                    return Next::Bytes(used);
                }
                self.left = u64::from(u16::from_be_bytes([self.head[3], self.head[4]]));
            }
            let here = (self.left as usize).min(bytes.len() - used);
            if !self.emitted {
                keep(&mut self.shown, &bytes[used..used + here]);
            }
            used += here;
            self.left -= here as u64;
            if self.left == 0 {
                self.emit(at + used as u64, sink);
            }
        }
        Next::Stay
    }

    fn emit(&mut self, to: u64, sink: Sink<'_>) {
        let len = u64::from(u16::from_be_bytes([self.head[3], self.head[4]]));
        let shown = std::mem::take(&mut self.shown);
        let server_name = server_name(&shown);
        let kind = match (shown.first(), self.head[0]) {
            (Some(1), 22) if !self.emitted => "handshake, client hello",
            (Some(2), 22) if !self.emitted => "handshake, server hello",
            (_, first) => kind(first).unwrap_or("record"),
        };
        self.emitted = true;
        self.head.clear();
        let from = to - len - HEAD_BYTES as u64;
        sink(Decoded { from, to, message: Message::Tls { kind, len, server_name } });
    }

    pub(super) fn end(&mut self, at: u64, sink: Sink<'_>) {
        if !self.head.is_empty() {
            let claimed = self.head.last_chunk().map_or(0, |len| u64::from(u16::from_be_bytes(*len)));
            let came = if self.head.len() < HEAD_BYTES { 0 } else { claimed - self.left };
            let from = at - self.head.len() as u64 - came;
            let expected = match self.head.len() < HEAD_BYTES {
                true => "the header of a TLS record is incomplete".to_owned(),
                false => format!("the TLS record should have {claimed} bytes"),
            };
            sink(Decoded { from, to: at, message: Message::Cut(expected) });
        }
    }

    pub(super) fn held(&self) -> usize {
        self.head.capacity() + self.shown.capacity()
    }
}

fn kind(first: u8) -> Option<&'static str> {
    Some(match first {
        20 => "change cipher spec",
        21 => "alert",
        22 => "handshake",
        23 => "application data",
        24 => "heartbeat",
        _ => return None,
    })
}

/// Takes this many bytes from the front.
fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (front, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(front)
}

/// A vector after its length, which has this many bytes.
fn vector<'a>(bytes: &mut &'a [u8], length_bytes: usize) -> Option<&'a [u8]> {
    let len = take(bytes, length_bytes)?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
    take(bytes, len)
}

/// The name in the extension `server_name` of a ClientHello, if it is complete.
fn server_name(handshake: &[u8]) -> Option<&str> {
    let mut hello = handshake;
    if take(&mut hello, 4)?[0] != 1 {
        return None;
    }
    take(&mut hello, 2 + 32)?; // version and random
    vector(&mut hello, 1)?; // session id
    vector(&mut hello, 2)?; // cipher suites
    vector(&mut hello, 1)?; // compression methods
    // Only the length: a long hello is not complete here.
    take(&mut hello, 2)?;
    loop {
        let kind = take(&mut hello, 2)?;
        let mut extension = vector(&mut hello, 2)?;
        if kind == [0, 0] {
            let mut names = vector(&mut extension, 2)?;
            take(&mut names, 1)?; // host_name
            return std::str::from_utf8(vector(&mut names, 2)?).ok();
        }
    }
}
