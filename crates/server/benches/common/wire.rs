//! What every client says: built by `vang-proto`.

use vang_proto::vang::{NO_CONTENT, RequestWriter, Value};

/// What begins a WebSocket.
pub(crate) const HANDSHAKE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A request without content.
pub(crate) fn request(action: &str, name: Option<String>, arguments: &[(&str, Value)]) -> Vec<u8> {
    RequestWriter { name }.write_raw(1, action, arguments, NO_CONTENT).to_vec()
}
