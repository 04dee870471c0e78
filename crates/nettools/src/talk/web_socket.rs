//! The client's side of a WebSocket: the handshake (RFC 6455, 4.1), then frames.

use std::io;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use vang_proto::websocket::{CloseCode, MessageKind, WebSocket, WebSocketInput, masked, message_header};

use super::endpoint::WebPlace;
use crate::{Target, quoted};

/// Longest head of an answer: 16 KiB.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Bytes of a message that are held before they are handed on.
const PIECE_BYTES: usize = 64 << 10;

/// Bytes shown of what a server answers instead.
const SHOWN_BYTES: usize = 200;

/// Fixed by the standard.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a server sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FromServer<'a> {
    /// The handshake is done: messages can be sent.
    Open,
    /// A message, or a part of a long one; `ends` with its last bytes.
    Message { bytes: &'a [u8], ends: bool },
    /// The WebSocket is closed; a code and a reason if the server gave them.
    Closed(Option<String>),
}

/// A WebSocket as a client has it.
#[derive(Debug)]
pub(super) struct WebSocketClient {
    /// The head of the server's answer, until it is whole.
    head: Option<Vec<u8>>,
    /// What the server must answer to our key.
    accept: String,
    socket: WebSocket,
    /// The beginning of a message.
    message: Vec<u8>,
}

impl WebSocketClient {
    /// A WebSocket, and the request that opens it.
    pub(super) fn open(web: &WebPlace, to: &Target) -> io::Result<(WebSocketClient, Vec<u8>)> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let key = STANDARD.encode(key);
        let host = match to {
            Target::Net { host, port } if host.is_empty() => {
                Target::Net { host: "localhost".to_owned(), port: *port }.to_string()
            }
            other => other.to_string(),
        };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n",
            web.path
        );
        let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat()));
        let client = WebSocketClient {
            head: Some(Vec::new()),
            accept,
            socket: WebSocket::client(),
            message: Vec::new(),
        };
        Ok((client, request.into_bytes()))
    }

    /// Is the handshake done?
    pub(super) fn is_open(&self) -> bool {
        self.head.is_none()
    }

    /// Takes bytes of the wire. The error says why this is no WebSocket.
    pub(super) fn handle_bytes(
        &mut self,
        bytes: &mut [u8],
        heard: &mut dyn FnMut(FromServer<'_>),
    ) -> Result<(), String> {
        let Some(head) = &mut self.head else {
            self.frames(bytes, heard);
            return Ok(());
        };
        let before = head.len();
        head.extend_from_slice(bytes);
        // The end can begin in an earlier piece.
        let from = before.saturating_sub(3);
        let end = head[from..].windows(4).position(|four| four == b"\r\n\r\n").map(|at| from + at + 4);
        let Some(end) = end else {
            return match head.len() > HEAD_BYTES_MAX {
                true => Err(format!("the head of its answer has more than {HEAD_BYTES_MAX} bytes")),
                false => Ok(()),
            };
        };
        check_answer(&head[..end], &self.accept)?;
        self.head = None;
        heard(FromServer::Open);
        self.frames(&mut bytes[end - before..], heard);
        Ok(())
    }

    /// The end of the stream inside the handshake.
    pub(super) fn handle_end(&self) -> Result<(), String> {
        match &self.head {
            None => Ok(()),
            Some(head) if head.is_empty() => Err("it closed without an answer".to_owned()),
            Some(head) => Err(format!("it answered {} and closed", quoted(head, SHOWN_BYTES))),
        }
    }

    fn frames(&mut self, bytes: &mut [u8], heard: &mut dyn FnMut(FromServer<'_>)) {
        let message = &mut self.message;
        self.socket.handle_bytes(bytes, &mut |part| match part {
            WebSocketInput::Payload(_, payload) => {
                message.extend_from_slice(payload);
                if message.len() > PIECE_BYTES {
                    heard(FromServer::Message { bytes: &std::mem::take(message), ends: false });
                }
            }
            WebSocketInput::End(_) => {
                heard(FromServer::Message { bytes: &std::mem::take(message), ends: true });
            }
            WebSocketInput::Closed(payload) => heard(FromServer::Closed(goodbye(payload))),
        });
    }

    /// A whole message as bytes of the wire.
    pub(super) fn message(kind: MessageKind, payload: &[u8]) -> io::Result<Vec<u8>> {
        let (head, len) = message_header(kind, payload.len() as u64);
        mask(&[&head[..len], payload].concat())
    }

    /// Says goodbye; messages must not follow.
    pub(super) fn close(&mut self) {
        self.socket.close(CloseCode::Normal, "");
    }

    /// Pongs and the close frame as bytes of the wire, each once.
    pub(super) fn take_answer(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.socket.take_answer().map(|frames| mask(&frames)).transpose()
    }
}

fn mask(frames: &[u8]) -> io::Result<Vec<u8>> {
    let mut failed = Ok(());
    let sent = masked(frames, || {
        let mut key = [0; 4];
        if let Err(error) = getrandom::fill(&mut key) {
            failed = Err(io::Error::other(error));
        }
        key
    });
    failed.map(|()| sent)
}

/// A close frame's code and reason.
fn goodbye(payload: &[u8]) -> Option<String> {
    let (code, reason) = payload.split_first_chunk::<2>()?;
    let code = u16::from_be_bytes(*code);
    Some(match reason {
        [] => format!("code {code}"),
        reason => format!("code {code}, {}", quoted(reason, SHOWN_BYTES)),
    })
}

/// Checks the answer to the handshake.
fn check_answer(head: &[u8], accept: &str) -> Result<(), String> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let code = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split(' ').next());
    if code != Some("101") {
        let shown = quoted(status.as_bytes(), SHOWN_BYTES);
        return Err(format!("it answered {shown}, not HTTP/1.1 101; is the path right?"));
    }
    let value = |name: &str| {
        lines.clone().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    if !value("upgrade").is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")) {
        return Err("its answer has no 'Upgrade: websocket'".to_owned());
    }
    match value("sec-websocket-accept") {
        Some(found) if found == accept => Ok(()),
        Some(_) => Err("its Sec-WebSocket-Accept does not belong to our key".to_owned()),
        None => Err("its answer has no Sec-WebSocket-Accept".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn opened() -> (WebSocketClient, String) {
        let web = WebPlace { tls: false, path: "/ws".to_owned() };
        let (client, request) = WebSocketClient::open(&web, &"[::1]:7".parse().unwrap()).unwrap();
        let request = String::from_utf8(request).unwrap();
        assert!(request.starts_with("GET /ws HTTP/1.1\r\nHost: [::1]:7\r\n"), "{request}");
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: upgrade\r\n\
             sec-websocket-accept: {}\r\n\r\n",
            client.accept
        );
        (client, answer)
    }

    #[test]
    fn a_handshake_and_its_first_message_survive_every_split() {
        let (_, answer) = opened();
        for piece in 1..answer.len() + 4 {
            let (mut client, answer) = opened();
            let mut bytes = [answer.as_bytes(), b"\x81\x02hi\x89\x00\x88\x05\x03\xf0bye"].concat();
            let mut heard = Vec::new();
            for piece in bytes.chunks_mut(piece) {
                client.handle_bytes(piece, &mut |part| heard.push(format!("{part:?}"))).unwrap();
            }
            assert!(client.is_open());
            let expected = [
                "Open",
                "Message { bytes: [104, 105], ends: true }",
                "Closed(Some(\"code 1008, \\\"bye\\\"\"))",
            ];
            assert_eq!(heard, expected, "pieces of {piece}");
            // The pong and the answer to the close, masked.
            let answer = client.take_answer().unwrap().unwrap();
            assert_eq!((&answer[..2], answer.len()), (&[0x8a, 0x80][..], 6 + 8));
        }
    }

    #[test]
    fn another_answer_is_refused_with_what_was_found() {
        for (answer, said) in [
            ("HTTP/1.1 404 Not Found\r\n\r\n", "it answered \"HTTP/1.1 404 Not Found\", not HTTP/1.1 101"),
            ("SSH-2.0-x\r\n\r\n", "it answered \"SSH-2.0-x\""),
            ("HTTP/1.1 101 x\r\n\r\n", "no 'Upgrade: websocket'"),
            ("HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n", "no Sec-WebSocket-Accept"),
            (
                "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n",
                "does not belong to our key",
            ),
        ] {
            let (mut client, _) = opened();
            let refused = client.handle_bytes(&mut answer.as_bytes().to_vec(), &mut |_| {});
            assert!(refused.unwrap_err().contains(said), "{answer}");
        }
        let (mut client, _) = opened();
        let refused = client.handle_bytes(&mut vec![b'x'; HEAD_BYTES_MAX + 1], &mut |_| {});
        assert!(refused.unwrap_err().contains("more than 16384 bytes"));
        assert!(client.handle_end().unwrap_err().contains("and closed"));
    }
}
