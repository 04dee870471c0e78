//! vang-proto: messages on a byte stream. No I/O, no clock, no rooms: bytes in, messages out.
//!
//! The first half is for your own protocol: [`Connection`] holds a connection's buffers and the order of its steps;
//! below it are frames, headers, encodings, and the guide's exchange. The README has a server and a client. The second
//! half, [`vang`], is what vang says in such messages.
//!
//! | example | shows |
//! |---|---|
//! | `own_protocol.rs` | a protocol of its own, with blocking sockets |
//! | `selector_server.rs` | many connections on one thread, with mio |
//! | `async_server.rs` | the same with tokio |

mod length_order; // a header length in the wrong byte order, recognised
mod frame_error; // what is wrong with bytes that are not a frame
pub mod frame; // where one message ends and the next begins
pub mod header; // the JSON header: four required keys, all others kept as they came
pub mod compose; // writing a message, byte for byte as Python's json would
pub mod connection; // your own protocol: receive buffer, send buffer and the order of steps of one connection
pub mod encoding; // content encodings by Python's names
mod charmap; // the one-byte encodings, as Python has them
pub mod python; // values as Python prints and dumps them
pub mod guide; // the guide's exchange: search, binary, and their answers
pub mod address; // HOST:PORT, vang://, unix:PATH, as people type them
pub mod proxy; // what a proxy says about its client: PROXY protocol, Forwarded, X-Forwarded-For
pub mod kind; // the first bytes of a connection say which kind of client it is
pub mod websocket; // WebSocket frames around messages
pub mod vang; // vang's own requests, replies, events and session machines
pub mod typed; // lines that a person types, as requests; replies and events, as lines to read
pub mod terminal; // what others said, made harmless for a terminal
pub mod text; // sizes, times and counts, written and read
pub mod secret; // passwords, tokens, codes: zeroed when dropped, never printed
pub mod memory; // whether the allocator has memory left
pub mod limits;

pub use compose::{ComposeError, Composer};
pub use connection::{Connection, ConnectionError, Step};
pub use encoding::ByteOrder;
pub use frame::{Decoder, Frame, Limits};
pub use frame_error::FrameError;
pub use header::Header;
pub use length_order::{OrderWatch, SwappedLength};
pub use secret::Secret;

/// Monotonic milliseconds from any fixed point; only differences mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl std::ops::Add<u64> for Millis {
    type Output = Millis;
    fn add(self, ms: u64) -> Millis {
        Millis(self.0.saturating_add(ms))
    }
}

/// Compiles and runs the code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
