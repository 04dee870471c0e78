//! Every limit of the protocol, with its unit, its reason and what happens beyond it.

/// Longest header: what two length bytes can say. Longer cannot be expressed.
pub const HEADER_BYTES_MAX: u32 = 65_535;

/// Longest content of any message: 1 MiB. Refused by its claimed length, before it arrives.
pub const CONTENT_BYTES_MAX: u64 = 1 << 20;

/// Longest content of a message in a room: 256 KiB. It is kept permanently and sent to every reader;
/// larger things are files. Refused, and the connection goes on.
pub const INLINE_BYTES_MAX: u64 = 1 << 18;

/// Longest content that our own client takes: a page of history is at most one message over 256 KiB.
pub const CLIENT_CONTENT_BYTES_MAX: u64 = 16 << 20;

/// Nesting of JSON content: Python's own parser gives up at about a thousand, `serde_json` at 128; nobody
/// needs thirty. It bounds the stack that a value can take; a deeper one is refused before anything else
/// is done with it.
pub const JSON_DEPTH_MAX: usize = 128;

/// Longest `re` and `id`: they are given back or remembered, and name one request.
pub const ID_BYTES_MAX: usize = 128;

/// Longest content type and name of an encoding.
pub const TYPE_BYTES_MAX: usize = 255;

/// Longest name of a room, an account or a guest, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 64;

/// Rooms in one `follow`, and followed by one connection.
pub const FOLLOWED_ROOMS_MAX: usize = 1_024;

/// Bytes looked at to tell the kind of a client: the longest first token is far shorter.
pub const KIND_BYTES_MAX: usize = 64;

/// From accepting to knowing the kind of client, ms. Then it gets a line that says what can be sent, and is closed.
pub const FIRST_BYTE_MS: u64 = 10_000;

/// A name whose line does not end is taken as a person's after so much quiet, ms: programs of a first lesson send none.
pub const NAME_QUIET_MS: u64 = 3_000;

/// On such a connection so much quiet ends a line, ms.
pub const LINE_QUIET_MS: u64 = 300;

/// From the first byte of a header to its last, ms. Then `timed-out`.
pub const HEADER_MS: u64 = 10_000;

/// From the end of a header to the last byte of its content, ms. Then `timed-out`.
pub const CONTENT_MS: u64 = 60_000;

/// Without a request on a connection that follows nothing, ms: 10 min. Then closed.
pub const IDLE_MS: u64 = 600_000;

/// How long a peer can read nothing although bytes wait for it, ms: 10 min. Then it is closed; the client keeps its cursor.
pub const STALL_MS: u64 = 600_000;

/// How long a peer can read nothing although events wait for it, ms: then they are copied out of the buffers that all readers share.
pub const DETACH_MS: u64 = 1_000;

/// Reading and dropping after our last byte, ms: so that the peer reads it before a reset can come.
pub const DRAIN_MS: u64 = 2_000;

/// Bytes dropped so at the most: 1 MiB.
pub const DRAIN_BYTES_MAX: u64 = 1 << 20;

/// Unsent replies of a connection: 64 KiB. Beyond it is not read until it takes them.
pub const UNSENT_REPLY_BYTES_MAX: usize = 1 << 16;

/// Requests of a connection whose replies are not ready yet. Beyond it is not read.
pub const PENDING_REQUESTS_MAX: usize = 1_024;

/// Requests that a session answers by itself in one call: then its owner looks whether others should come first.
pub const ANSWERED_AT_ONCE: usize = 8;

/// Content of those requests: 1 MiB, or one request. Beyond it is not read.
pub const PENDING_REQUEST_BYTES_MAX: usize = 1 << 20;

/// Longest WebSocket message from a client: 16 MiB, many messages of ours. Its bytes are handed on as they come, so
/// it costs no memory; beyond it the connection is closed with 1009. Also as large as Autobahn's largest.
pub const WS_MESSAGE_BYTES_MAX: u64 = 16 << 20;

/// Pongs that wait to be written to one WebSocket: 2 KiB, sixteen of the longest. Of more only the last is kept.
pub const WS_PONGS_BYTES_MAX: usize = 2 << 10;

/// Most rooms in one page of `rooms`.
pub const ROOMS_PAGE_MAX: u64 = 1_000;

/// Most messages and holes in one page of history.
pub const HISTORY_PAGE_MAX: u64 = 256;

/// Longest typed line: 8 KiB, twice what a terminal can give. A longer one is refused, and the connection
/// goes on behind its end.
pub const LINE_BYTES_MAX: usize = 8 << 10;

/// Typed bytes that wait for earlier lines to be answered: 64 KiB. Beyond it the socket is not read.
pub const TYPED_BYTES_MAX: usize = 1 << 16;

/// Typed lines under way at once: a pasted text shares its syncs, and holds little.
pub const LINES_PENDING_MAX: usize = 64;

/// Own messages whose events have not come by yet: 32 KiB of numbers. Beyond it no line is taken until the
/// reader has read.
pub const OWN_SAID_MAX: usize = 4_096;

/// Lines that wait for the peer to read them, in bytes: beyond it no line is taken, so a client that types and does
/// not read is not read either.
pub const UNREAD_LINES_BYTES_MAX: usize = 16 << 10;

/// Text shown of one message among typed lines: 16 KiB, as escapes six times that. The rest is counted.
pub const SHOWN_BYTES_MAX: usize = 16 << 10;

/// Messages of a room that somebody who types is shown when entering it: half of a small screen.
pub const ENTRY_MESSAGES: u64 = 10;

/// Messages that `/history` shows at most. They may be ten pages of history, asked for one after the other.
pub const TYPED_HISTORY_MAX: u64 = 100;

const _: () = assert!(TYPED_HISTORY_MAX <= HISTORY_PAGE_MAX);
const _: () = assert!(LINE_BYTES_MAX < TYPED_BYTES_MAX);
/// Hits of one `find`, if the asker does not say: a screenful.
pub const FIND_LIMIT: u64 = 20;

/// Most hits of one `find`.
pub const FIND_LIMIT_MAX: u64 = 100;

/// Longest topic of a room, in bytes: a line under a room's name. Longer: refused.
pub const TOPIC_BYTES_MAX: usize = 512;

/// Longest `query`, in bytes: a line. Longer: refused.
pub const QUERY_BYTES_MAX: usize = 1_024;

const _: () = assert!(INLINE_BYTES_MAX <= CONTENT_BYTES_MAX);
const _: () = assert!(CONTENT_BYTES_MAX < CLIENT_CONTENT_BYTES_MAX);

/// The longest password, token or code, bytes.
pub const SECRET_BYTES_MAX: usize = 1_024;

/// The longest name of a device or a token, bytes.
pub const TITLE_BYTES_MAX: usize = 128;

/// Rooms to which a token can be limited.
pub const ROOMS_PER_TOKEN_MAX: usize = 8;
