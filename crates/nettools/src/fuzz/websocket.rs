//! WebSocket handshakes and frames that are wrong in one place (RFC 6455). Frames follow the handshake without waiting for its
//! answer, so that the bytes can be sent again with any tool.

use super::random::Random;
use super::{hostile, message};

/// A handshake with frames, and what is wrong with them.
pub(super) fn generate(random: &mut Random) -> (String, Vec<u8>) {
    if random.below(5) == 0 {
        return handshake(random);
    }
    let (what, frames) = frames(random);
    (what.to_owned(), [honest(), frames].concat())
}

/// The handshake that opens a WebSocket; also a server without WebSocket answers it.
pub(super) fn honest() -> Vec<u8> {
    upgrade("/ws", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n")
}

fn upgrade(path: &str, fields: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{fields}\r\n"
    )
    .into_bytes()
}

fn handshake(random: &mut Random) -> (String, Vec<u8>) {
    let key = *random.pick(&[
        "",
        "x",
        "AAAA",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: x",
    ]);
    let version = *random.pick(&["13", "0", "12", "-1", "13, 12", ""]);
    let more = *random.pick(&[
        "",
        "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99\r\n",
        "Sec-WebSocket-Protocol: \0\r\n",
        "Origin: null\r\n",
    ]);
    let fields = format!("Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: {version}\r\n{more}");
    ("handshake".to_owned(), upgrade("/ws", &fields))
}

/// A masked frame; `length` as a client claims it, by default as it is.
fn frame(first: u8, payload: &[u8], length: Option<u64>) -> Vec<u8> {
    let mask = [7, 11, 13, 17];
    let len = length.unwrap_or(payload.len() as u64);
    let mut out = vec![first];
    match len {
        0..=125 => out.push(0x80 | len as u8),
        126..=65_535 => {
            out.push(0xfe);
            out.extend((len as u16).to_be_bytes());
        }
        _ => {
            out.push(0xff);
            out.extend(len.to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

fn frames(random: &mut Random) -> (&'static str, Vec<u8>) {
    let (_, inner) = message::generate(random);
    match random.below(12) {
        0 => ("an unmasked frame", [&[0x82, 5][..], b"hello"].concat()),
        1 => ("reserved bits", frame(0x82 | *random.pick(&[0x10, 0x20, 0x40, 0x70]), b"hello", None)),
        2 => ("an unknown opcode", frame(0x80 | *random.pick(&[3, 4, 7, 11, 15]), b"hello", None)),
        3 => ("a long control frame", frame(*random.pick(&[0x88, 0x89, 0x8a]), &[b'a'; 300], None)),
        4 => ("a control frame in parts", frame(*random.pick(&[0x08, 0x09]), b"x", None)),
        5 => ("a continuation of nothing", frame(0x80, b"hello", None)),
        6 => ("a claimed length", {
            let length = *random.pick(&[1 << 31, 1 << 32, u64::MAX >> 1, 1 << 63, u64::MAX, 16 << 20]);
            frame(0x82, &inner, Some(length))
        }),
        7 => ("a length in too many bytes", {
            let mut out = vec![0x82, 0xff];
            out.extend(5_u64.to_be_bytes());
            out.extend([0, 0, 0, 0]);
            out.extend(b"hello");
            out
        }),
        8 => ("a wrong close", {
            let code = *random.pick(&[0_u16, 999, 1004, 1005, 1006, 1015, 2999, 65_535]);
            let payload = [&code.to_be_bytes()[..], &hostile::not_utf8(random)].concat();
            frame(0x88, &payload[..random.below(payload.len() + 1)], None)
        }),
        9 => ("a text that is not UTF-8", frame(0x81, &hostile::not_utf8(random), None)),
        10 => (
            "many small frames",
            frame(*random.pick(&[0x02, 0x89, 0x00]), b"", None).repeat(1 + random.below(400)),
        ),
        _ => ("a wrong message inside", frame(0x82, &inner, None)),
    }
}
