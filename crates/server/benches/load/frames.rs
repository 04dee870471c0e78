//! Frames: built once, and counted by their lengths alone, so that the load generator is cheap.

use crate::common::requests::{request, said};

/// Content of a message, bytes.
pub(crate) const CONTENT: usize = 100;

/// What is spoken on a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Messages of vang.
    Vang,
    /// The same in a WebSocket's frames.
    WebSocket,
    Floor,
}

/// What came.
#[derive(Clone, Copy)]
pub(crate) enum Received<'a> {
    Reply,
    Event { content: &'a [u8] },
}

impl Wire {
    /// The first frame in these bytes and what it is; `None` while it is not whole.
    pub(crate) fn next<'a>(&self, bytes: &'a [u8]) -> Option<(usize, Received<'a>)> {
        match self {
            Wire::Floor => {
                let len = floor_len(bytes)?;
                let heard = match bytes[2] {
                    b'a' => Received::Reply,
                    _ => Received::Event { content: &bytes[len - CONTENT..len] },
                };
                Some((len, heard))
            }
            Wire::Vang | Wire::WebSocket => {
                let header = 2 + usize::from(u16::from_be_bytes(*bytes.first_chunk()?));
                if bytes.len() < header {
                    return None;
                }
                // The server writes the four required keys first: `…"content-length": N, "event": …`.
                let mark = b"content-length\": ";
                let at = 60 + bytes[60..header].windows(mark.len()).position(|window| window == mark)?;
                let digits = &bytes[at + mark.len()..header];
                let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
                let content = digits[..end].iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
                let len = header + content;
                if bytes.len() < len {
                    return None;
                }
                if digits[end..].starts_with(b", \"event\"") {
                    return Some((len, Received::Event { content: &bytes[header..len] }));
                }
                let ok = b"\"status\": \"ok\"";
                assert!(
                    digits.windows(ok.len()).any(|window| window == ok),
                    "refused: {}",
                    String::from_utf8_lossy(&bytes[..len])
                );
                Some((len, Received::Reply))
            }
        }
    }
}

/// Messages in one frame of a WebSocket, as a client sends it: masked, with a mask of zeros.
pub(crate) fn framed(messages: &[u8]) -> Vec<u8> {
    let len = u16::try_from(messages.len()).expect("less than 64 KiB at once").to_be_bytes();
    [&[0x82, 0x80 | 126, len[0], len[1], 0, 0, 0, 0], messages].concat()
}

/// The header of a WebSocket's frame from the server: its length, and its payload's.
pub(crate) fn frame_header(bytes: &[u8]) -> Option<(usize, usize)> {
    let (first, short) = (*bytes.first()?, *bytes.get(1)?);
    assert_eq!(first, 0x82, "whole binary messages");
    Some(match short {
        126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..4)?.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*bytes.get(2..10)?.first_chunk()?) as usize),
        short => (2, usize::from(short)),
    })
}

/// Length of the floor's first frame, when it is whole.
pub(crate) fn floor_len(bytes: &[u8]) -> Option<usize> {
    let len = 2 + usize::from(u16::from_be_bytes(*bytes.first_chunk()?));
    (bytes.len() >= len).then_some(len)
}

/// A frame of the floor, of so many bytes.
pub(crate) fn floor_frame(letter: u8, bytes: usize) -> Vec<u8> {
    let mut frame = vec![b'x'; bytes];
    frame[..2].copy_from_slice(&((bytes - 2) as u16).to_be_bytes());
    frame[2] = letter;
    frame
}

/// Marks where the id of a send stands in its frame.
const ID: &str = "id-0000000000000000";

/// A `send` to `#general`, with places for what differs from one to the next.
pub(crate) struct Send {
    frame: Vec<u8>,
    id: Option<usize>,
}

impl Send {
    pub(crate) fn vang() -> Send {
        let frame = request(&said("general", Some(ID), &[b'x'; CONTENT]), None);
        let id = frame.windows(ID.len()).position(|window| window == ID.as_bytes());
        Send { frame, id }
    }

    /// With as many bytes.
    pub(crate) fn floor() -> Send {
        Send { frame: floor_frame(b'p', Send::vang().frame.len()), id: None }
    }

    /// The bytes of one; `unique` is its id, `note` stands at the content's beginning as 16 digits.
    pub(crate) fn write(&mut self, unique: u64, note: u64, out: &mut Vec<u8>) {
        if let Some(id) = self.id {
            hex(unique, &mut self.frame[id + 3..id + 19]);
        }
        let content = self.frame.len() - CONTENT;
        hex(note, &mut self.frame[content..content + 16]);
        out.extend_from_slice(&self.frame);
    }
}

fn hex(number: u64, digits: &mut [u8]) {
    for (at, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (60 - 4 * at)) as usize & 15];
    }
}

/// The note of a message, from its content.
pub(crate) fn note(content: &[u8]) -> u64 {
    let digit = |digit: &u8| u64::from(if *digit > b'9' { digit - b'a' + 10 } else { digit - b'0' });
    content[..16].iter().fold(0, |number, at| number << 4 | digit(at))
}
