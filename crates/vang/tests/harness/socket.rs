//! A WebSocket client for tests: it sees every frame.

use std::io::{Read, Write};

/// A WebSocket after its handshake, over any stream.
pub struct WebSocket<S> {
    stream: S,
    /// Received native bytes that are not read yet.
    native: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub first: u8,
    pub payload: Vec<u8>,
}

/// The head of a response; all lines but the first in lower case.
pub fn head(stream: &mut impl Read) -> (String, Vec<String>) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream
            .read_exact(&mut byte)
            .unwrap_or_else(|_| panic!("ended inside {:?}", String::from_utf8_lossy(&bytes)));
        bytes.push(byte[0]);
    }
    let text = String::from_utf8(bytes).unwrap();
    let mut lines = text.trim_end().split("\r\n");
    (lines.next().unwrap().to_owned(), lines.map(str::to_ascii_lowercase).collect())
}

/// A request for a WebSocket, with more header lines.
pub fn handshake(host: &str, more: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

impl<S: Read + Write> WebSocket<S> {
    pub fn open(mut stream: S) -> WebSocket<S> {
        stream.write_all(handshake("localhost", "").as_bytes()).unwrap();
        let (status, lines) = head(&mut stream);
        assert_eq!(status, "HTTP/1.1 101 Switching Protocols");
        assert!(
            lines.contains(&"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=".to_owned()),
            "{lines:?}"
        );
        WebSocket::begun(stream)
    }

    /// After a handshake.
    pub fn begun(stream: S) -> WebSocket<S> {
        WebSocket { stream, native: Vec::new() }
    }

    /// A masked frame with this first byte.
    pub fn write(&mut self, first: u8, payload: &[u8]) {
        let mut bytes = vec![first];
        match payload.len() {
            len @ 0..=125 => bytes.push(0x80 | len as u8),
            len @ 126..=0xffff => {
                bytes.push(0x80 | 126);
                bytes.extend((len as u16).to_be_bytes());
            }
            len => {
                bytes.push(0x80 | 127);
                bytes.extend((len as u64).to_be_bytes());
            }
        }
        let mask = [0x12, 0x34, 0x56, 0x78];
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        self.stream.write_all(&bytes).unwrap();
    }

    /// The next frame; `None` at the end of the stream.
    pub fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 2];
        if let Err(error) = self.stream.read_exact(&mut head) {
            assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
            return None;
        }
        assert!(head[1] < 0x80, "a server does not mask");
        let mut length = vec![
            0;
            match head[1] {
                126 => 2,
                127 => 8,
                _ => 0,
            }
        ];
        self.stream.read_exact(&mut length).unwrap();
        let len = match head[1] {
            126 | 127 => length.iter().fold(0_usize, |len, byte| len << 8 | usize::from(*byte)),
            short => usize::from(short),
        };
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload).unwrap();
        Some(Frame { first: head[0], payload })
    }

    /// Reads to the end, even inside a frame.
    pub fn drain(mut self) {
        let _ = self.stream.read_to_end(&mut Vec::new());
    }

    /// Sends a request in its own frame, and reads one native message: its header and content.
    pub fn exchange(&mut self, native: &[u8]) -> (serde_json::Value, Vec<u8>) {
        self.write(0x82, native);
        self.message()
    }

    /// The next native message. A frame holds complete messages.
    pub fn message(&mut self) -> (serde_json::Value, Vec<u8>) {
        if self.native.is_empty() {
            let frame = self.read().expect("a message, and not the end");
            assert_eq!(frame.first, 0x82, "a whole binary message: {frame:?}");
            self.native = frame.payload;
        }
        let mut rest = self.native.as_slice();
        let message = super::read_message(&mut rest).expect("a frame holds whole messages");
        self.native = rest.to_vec();
        message
    }
}
