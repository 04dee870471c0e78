//! What every client sends: built by `vang-proto`.

use bytes::Bytes;
use vang_proto::vang::{Action, FollowFrom, RequestWriter};

/// What begins a WebSocket.
pub(crate) const HANDSHAKE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A request, under this name.
pub(crate) fn request(action: &Action, name: Option<String>) -> Vec<u8> {
    RequestWriter { name }.write(1, action).to_vec()
}

/// A message of text.
pub(crate) fn said(room: &str, id: Option<&str>, content: &[u8]) -> Action {
    Action::Send {
        room: room.to_owned(),
        id: id.map(str::to_owned),
        content_type: "text/plain".to_owned(),
        content_encoding: "utf-8".to_owned(),
        content: Bytes::copy_from_slice(content),
    }
}

/// Follow `#general` from now on.
pub(crate) fn follow_general() -> Action {
    Action::Follow { rooms: vec!["general".to_owned()], feeds: Vec::new(), from: FollowFrom::Now }
}
