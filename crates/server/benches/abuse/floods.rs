//! The floods: what attackers can do to the one port, as a table. Each row is a name, what it does, how
//! many attackers, and their script.

use std::fmt::Write as _;
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, RootCertStore};
use vang_proto::limits::FIND_LIMIT;
use vang_proto::vang::{Action, FollowFrom};

use crate::common::requests::{HANDSHAKE, follow_general, request, said};
use crate::script::{Cast, Pace, Script, Share, Then, all};
use crate::seed::{self, Facts, WORDS};

/// One kind of attack.
pub(crate) struct Flood {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// How many attackers, each time.
    pub(crate) crowds: &'static [usize],
    /// What the attackers' first answers must have in them, else the flood was not understood.
    pub(crate) expects: &'static str,
    pub(crate) cast: fn(&Facts) -> Cast,
    /// The same kind of flood for servers that others wrote.
    pub(crate) at_peers: Option<AtPeers>,
    /// Limits of the server that the flood needs.
    pub(crate) limits: &'static [&'static str],
}

/// What can be done to Redis and NATS as well.
#[derive(Clone, Copy)]
pub(crate) enum AtPeers {
    Pings,
    PingsUnread,
    Connects,
    Unfinished,
    SlowReaders,
    Silent,
    Publishes,
}

const ONE_TO_MANY: &[usize] = &[1, 20, 1_000];
const MANY: &[usize] = &[1_000];

/// A content that a stranger may claim.
const CONTENT_MAX: usize = 1 << 20;
/// Rooms of one `follow`.
const FOLLOWED: usize = 1_024;

const PLAIN: Flood = Flood {
    name: "",
    what: "",
    crowds: ONE_TO_MANY,
    expects: "",
    cast: |_| Vec::new(),
    at_peers: None,
    limits: &[],
};

pub(crate) const FLOODS: &[Flood] = &[
    // Requests as fast as they are taken.
    Flood {
        name: "ping",
        what: "native pings with 100 header keys, pipelined",
        expects: "pong",
        cast: |_| all(Script::repeat(&ping_with_keys())),
        at_peers: Some(AtPeers::Pings),
        ..PLAIN
    },
    Flood {
        name: "ping-unread",
        what: "the same, replies not read",
        cast: |_| all(Script::repeat(&ping_with_keys()).unread()),
        at_peers: Some(AtPeers::PingsUnread),
        ..PLAIN
    },
    Flood {
        name: "search",
        what: "the guide's search, keep-alive, pipelined",
        expects: "white rabbit",
        cast: |_| all(Script::repeat(&guide("utf-8", br#"{"action": "search", "value": "morpheus"}"#))),
        ..PLAIN
    },
    Flood {
        name: "help",
        what: "typed /help lines",
        expects: "-- ",
        cast: |_| all(Script::greet(b"mallory\n", b"/help\n")),
        ..PLAIN
    },
    Flood {
        name: "history",
        what: "pages of history, pipelined",
        expects: "application/vang-events",
        cast: |_| all(Script::repeat(&history())),
        ..PLAIN
    },
    Flood {
        name: "history-unread",
        what: "the same, replies not read",
        cast: |_| all(Script::repeat(&history()).unread()),
        ..PLAIN
    },
    Flood {
        name: "find",
        what: "questions of 16 terms that every message has, pipelined",
        expects: "\"next\"",
        cast: |_| all(Script::repeat(&find())),
        ..PLAIN
    },
    Flood {
        name: "find-unread",
        what: "the same, replies not read",
        cast: |_| all(Script::repeat(&find()).unread()),
        ..PLAIN
    },
    Flood {
        name: "find-and-leave",
        what: "the same, by clients who are gone before the answer",
        cast: |_| all(Script::once(find(), Then::Reconnect)),
        ..PLAIN
    },
    Flood {
        name: "rooms",
        what: "lists of 1,000 rooms, pipelined",
        expects: "room-",
        cast: |_| all(Script::repeat(&named(&Action::rooms_after(None)))),
        ..PLAIN
    },
    Flood {
        name: "who",
        what: "who is in the room, pipelined",
        expects: "general",
        cast: |_| all(Script::repeat(&named(&Action::Who { room: "general".to_owned() }))),
        ..PLAIN
    },
    Flood {
        name: "names",
        what: "names that NFKC makes 18 times as long, pipelined",
        expects: "status",
        cast: |_| all(Script::repeat(&named(&Action::Who { room: "\u{fdfa}".repeat(3) }))),
        ..PLAIN
    },
    // Sends.
    Flood {
        name: "uploads",
        what: "guests who send 200 KB, wait for the reply, send again: no malice",
        // 100 of them are more than the order lets wait: most are answered `busy`.
        crowds: &[20, 100],
        expects: "general",
        cast: |_| all(Script::once(send(200_000), Then::RepeatAfterReply)),
        ..PLAIN
    },
    Flood {
        name: "large-sends",
        what: "guests who send 200 KB, pipelined",
        expects: "general",
        cast: |_| all(Script::repeat(&send(200_000))),
        at_peers: Some(AtPeers::Publishes),
        ..PLAIN
    },
    Flood {
        name: "small-sends",
        what: "guests who send one byte, pipelined",
        expects: "general#",
        cast: |_| all(Script::repeat(&send(1))),
        ..PLAIN
    },
    Flood {
        name: "same-id",
        what: "the same id again, pipelined",
        expects: "general#",
        cast: |_| all(Script::repeat(&named(&said("general", Some("again"), b"x")))),
        ..PLAIN
    },
    // Bytes that are costly to read.
    Flood {
        name: "many-keys",
        what: "headers of 64 KiB with 8,600 keys",
        expects: "status",
        cast: |_| all(Script::repeat(&many_keys())),
        ..PLAIN
    },
    Flood {
        name: "same-keys",
        what: "headers of 64 KiB with one key 10,000 times",
        expects: "pong",
        cast: |_| {
            all(Script::repeat(&message(
                &format!(r#", "action": "ping"{}"#, r#","a":1"#.repeat(10_000)),
                b"",
            )))
        },
        ..PLAIN
    },
    Flood {
        name: "deep-json",
        what: "headers with 30,000 nested arrays",
        expects: "status",
        cast: |_| {
            let deep = format!(r#", "action": "ping", "k": {}{}"#, "[".repeat(30_000), "]".repeat(30_000));
            all(Script::repeat(&message(&deep, b"")))
        },
        ..PLAIN
    },
    Flood {
        name: "utf-32",
        what: "the guide's requests with 100,000 characters in UTF-32",
        expects: "result",
        cast: |_| {
            let text = format!(r#"{{"action": "search", "value": "{}"}}"#, "ế".repeat(100_000));
            let content: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
            all(Script::repeat(&guide("utf-32-le", &content)))
        },
        ..PLAIN
    },
    Flood {
        name: "endless-line",
        what: "a typed line that never ends",
        cast: |_| all(Script::greet(b"mallory\n", &[b'a'; 1_024])),
        ..PLAIN
    },
    Flood {
        name: "garbage",
        what: "bytes of no protocol, again after each refusal",
        expects: "malformed",
        cast: |_| all(Script::once(vec![0xfe; 64], Then::ReconnectAfterReply)),
        ..PLAIN
    },
    // What is begun and not finished.
    Flood {
        name: "unfinished",
        what: "contents of 1 MiB without their last byte",
        cast: |_| {
            let mut body = guide_header("binary/any", "binary", CONTENT_MAX);
            body.resize(body.len() + CONTENT_MAX - 1, b'x');
            all(Script::once(body, Then::Hold))
        },
        at_peers: Some(AtPeers::Unfinished),
        ..PLAIN
    },
    Flood {
        name: "half-headers",
        what: "headers of 64 KiB without their last byte",
        cast: |_| {
            let mut body = many_keys();
            body.pop();
            all(Script::once(body, Then::Hold))
        },
        ..PLAIN
    },
    Flood {
        name: "silent",
        what: "connections that say nothing",
        crowds: MANY,
        cast: |_| all(Script::once(Vec::new(), Then::Hold)),
        at_peers: Some(AtPeers::Silent),
        ..PLAIN
    },
    Flood {
        name: "silent-limit",
        what: "the same, 2,500 where the limit is 2,000",
        crowds: &[2_500],
        cast: |_| all(Script::once(Vec::new(), Then::Hold)),
        limits: &["connections=2000"],
        ..PLAIN
    },
    // New connections.
    Flood {
        name: "connects",
        what: "connections that are opened and closed",
        cast: |_| all(Script::once(Vec::new(), Then::Reconnect)),
        at_peers: Some(AtPeers::Connects),
        ..PLAIN
    },
    Flood {
        name: "follow-many",
        what: "1,024 rooms followed, and gone",
        expects: "epoch",
        cast: |_| all(Script::once(follow(&FollowFrom::Now), Then::ReconnectAfterReply)),
        ..PLAIN
    },
    Flood {
        name: "resume",
        what: "1,024 rooms resumed from the beginning, and gone",
        expects: "epoch",
        cast: |facts| {
            let epoch = Some(facts.epoch.clone());
            let from = FollowFrom::Position { journal: facts.journal.clone(), epoch, seq: 1 };
            all(Script::once(follow(&from), Then::ReconnectAfterReply))
        },
        ..PLAIN
    },
    Flood {
        name: "long-epoch",
        what: "resumes with an epoch of 32,000 parts",
        expects: "status",
        cast: |facts| {
            let epoch = "a.".repeat(32_000);
            let keys = format!(
                r#", "action": "follow", "as": "mallory", "room": "general", "journal": "{}", "epoch": "{epoch}", "seq": 1"#,
                facts.journal
            );
            all(Script::once(message(&keys, b""), Then::ReconnectAfterReply))
        },
        ..PLAIN
    },
    // Readers that do not read.
    Flood {
        name: "slow-readers",
        what: "followers of a busy room that never read",
        crowds: ONE_TO_MANY,
        cast: |_| {
            let follow = named(&follow_general());
            vec![(Script::once(follow, Then::Hold).unread(), Share::All), busy()]
        },
        at_peers: Some(AtPeers::SlowReaders),
        ..PLAIN
    },
    Flood {
        name: "http-slow-readers",
        what: "the same, over HTTP and from the beginning",
        cast: |_| {
            let follow = get("/rooms/general/events?since=0&as=mallory");
            vec![(Script::once(follow, Then::Hold).unread(), Share::All), busy()]
        },
        ..PLAIN
    },
    // WebSocket.
    Flood {
        name: "ws-pings",
        what: "WebSocket pings",
        expects: "101",
        cast: |_| all(Script::greet(HANDSHAKE, &[0x89, 0x84, 0, 0, 0, 0, b'p', b'i', b'n', b'g'])),
        ..PLAIN
    },
    Flood {
        name: "ws-fragments",
        what: "WebSocket messages in fragments of one byte",
        expects: "pong",
        cast: |_| all(Script::greet(HANDSHAKE, &fragments(0x02, &request(&Action::Ping, None)))),
        ..PLAIN
    },
    Flood {
        name: "ws-text",
        what: "WebSocket text in fragments of one byte, which is refused",
        expects: "101",
        cast: |_| all(Script::greet(HANDSHAKE, &fragments(0x01, b"xin chao"))),
        ..PLAIN
    },
    Flood {
        name: "ws-handshakes",
        what: "WebSockets that are opened and left",
        expects: "101",
        cast: |_| all(Script::once(HANDSHAKE.to_vec(), Then::ReconnectAfterReply)),
        ..PLAIN
    },
    Flood {
        name: "ws-unfinished",
        what: "WebSocket frames of 1 MiB without their last byte",
        expects: "101",
        cast: |_| {
            let mut frame = vec![0x82, 0x80 | 127];
            frame.extend_from_slice(&(CONTENT_MAX as u64).to_be_bytes());
            frame.extend_from_slice(&[0; 4]);
            let stream = guide_header("binary/any", "binary", CONTENT_MAX);
            frame.extend_from_slice(&stream);
            frame.resize(frame.len() + CONTENT_MAX - 1 - stream.len(), b'x');
            let script = Script::once(frame, Then::Hold);
            all(Script { greeting: HANDSHAKE.to_vec(), ..script })
        },
        ..PLAIN
    },
    // HTTP.
    Flood {
        name: "http-health",
        what: "GET /healthz, pipelined",
        expects: "200 OK",
        cast: |_| all(Script::repeat(&get("/healthz"))),
        ..PLAIN
    },
    Flood {
        name: "http-readyz",
        what: "GET /readyz, pipelined",
        expects: "ready",
        cast: |_| all(Script::repeat(&get("/readyz"))),
        ..PLAIN
    },
    Flood {
        name: "http-metrics",
        what: "GET /metrics, pipelined",
        expects: "200 OK",
        cast: |_| all(Script::repeat(&get("/metrics"))),
        ..PLAIN
    },
    Flood {
        name: "http-posts",
        what: "POST /rooms/general with 100 KB, pipelined",
        expects: "HTTP/1.1",
        cast: |_| {
            let head = "POST /rooms/general?as=mallory HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n";
            all(Script::repeat(&[head.as_bytes(), &[b'x'; 100_000]].concat()))
        },
        ..PLAIN
    },
    Flood {
        name: "http-rooms",
        what: "GET /rooms with 1,000 rooms, pipelined",
        expects: "200 OK",
        cast: |_| all(Script::repeat(&get("/rooms?as=mallory"))),
        ..PLAIN
    },
    Flood {
        name: "http-find",
        what: "GET /find, pipelined",
        expects: "200 OK",
        cast: |_| all(Script::repeat(&get(&format!("/find?as=mallory&q={}", WORDS.join("+"))))),
        ..PLAIN
    },
    Flood {
        name: "http-drip",
        what: "heads of 16 KiB, a byte each 10 ms",
        crowds: MANY,
        cast: |_| {
            let mut head = get("/healthz");
            head.truncate(head.len() - 2);
            head.extend_from_slice(b"X-Long: ");
            head.resize(16 << 10, b'x');
            all(Script { pace: Pace::Drip, ..Script::once(head, Then::Reconnect) })
        },
        ..PLAIN
    },
    // TLS.
    Flood {
        name: "tls-hellos",
        what: "TLS handshakes that are begun and left",
        cast: |_| all(Script::once(client_hello(), Then::ReconnectAfterReply)),
        ..PLAIN
    },
    Flood {
        name: "tls-half-hellos",
        what: "TLS handshakes without their last byte",
        cast: |_| {
            let mut hello = client_hello();
            hello.pop();
            all(Script::once(hello, Then::Hold))
        },
        ..PLAIN
    },
    Flood {
        name: "tls-fragments",
        what: "a TLS handshake of 64 KiB in records of one byte",
        cast: |_| all(Script::once(handshake_in_pieces(), Then::Reconnect)),
        ..PLAIN
    },
    Flood {
        name: "tls-records",
        what: "pings over TLS in records of one byte",
        // A thousand attackers would need all of the machine for their own TLS.
        crowds: &[1, 20],
        cast: |_| all(Script { tls: true, ..Script::repeat(&request(&Action::Ping, None)) }),
        ..PLAIN
    },
];

/// What the floor gets: the same, and where vang and the attackers agree on TLS, records of the same length.
pub(crate) fn at_floor(mut cast: Cast) -> Cast {
    for (script, _) in &mut cast {
        if std::mem::take(&mut script.tls) {
            let mut record = vec![0x17, 3, 3, 0, 18];
            record.resize(5 + 18, 0xa5);
            *script = Script::repeat(&record);
        }
    }
    cast
}

/// The same kind of flood in Redis' protocol.
pub(crate) fn redis(flood: AtPeers) -> Cast {
    let mut publish = b"PUBLISH general ".to_vec();
    publish.resize(publish.len() + BUSY_CONTENT, b'x');
    publish.extend_from_slice(b"\r\n");
    let mut unfinished = format!("*2\r\n$4\r\nECHO\r\n${CONTENT_MAX}\r\n").into_bytes();
    unfinished.resize(unfinished.len() + CONTENT_MAX - 1, b'x');
    let subscribe = b"SUBSCRIBE general\r\n".to_vec();
    at_peer(flood, b"", unfinished, subscribe, publish)
}

/// The same kind of flood in NATS' protocol.
pub(crate) fn nats(flood: AtPeers) -> Cast {
    let mut publish = format!("PUB general {BUSY_CONTENT}\r\n").into_bytes();
    publish.resize(publish.len() + BUSY_CONTENT, b'x');
    publish.extend_from_slice(b"\r\n");
    let mut unfinished = format!("PUB general {CONTENT_MAX}\r\n").into_bytes();
    unfinished.resize(unfinished.len() + CONTENT_MAX - 1, b'x');
    // Verbose: each command is answered.
    at_peer(flood, b"CONNECT {\"verbose\":true}\r\n", unfinished, b"SUB general 1\r\n".to_vec(), publish)
}

fn at_peer(
    flood: AtPeers,
    greeting: &[u8],
    unfinished: Vec<u8>,
    subscribe: Vec<u8>,
    publish: Vec<u8>,
) -> Cast {
    let greeted = |script: Script| Script { greeting: greeting.to_vec(), ..script };
    match flood {
        AtPeers::Pings => all(greeted(Script::repeat(b"PING\r\n"))),
        AtPeers::PingsUnread => all(greeted(Script::repeat(b"PING\r\n").unread())),
        AtPeers::Connects => all(Script::once(Vec::new(), Then::Reconnect)),
        AtPeers::Silent => all(Script::once(Vec::new(), Then::Hold)),
        AtPeers::Unfinished => all(greeted(Script::once(unfinished, Then::Hold))),
        AtPeers::Publishes => all(greeted(Script::repeat(&publish))),
        AtPeers::SlowReaders => vec![
            (greeted(Script::once(subscribe, Then::Hold).unread()), Share::All),
            (greeted(Script::once(publish, Then::RepeatAfterReply)), Share::Beside(BUSY_GUESTS)),
        ],
    }
}

/// Content of a message in a busy room, bytes.
const BUSY_CONTENT: usize = 16 << 10;
/// How many speak there without a pause.
const BUSY_GUESTS: usize = 4;

/// Those who make the room busy.
fn busy() -> (Script, Share) {
    (Script::once(send(BUSY_CONTENT), Then::RepeatAfterReply), Share::Beside(BUSY_GUESTS))
}

/// A request of a guest.
fn named(action: &Action) -> Vec<u8> {
    request(action, Some("mallory".to_owned()))
}

/// A message of so many bytes for `general`.
fn send(bytes: usize) -> Vec<u8> {
    named(&said("general", None, &vec![b'x'; bytes]))
}

fn history() -> Vec<u8> {
    named(&Action::History { room: "general".to_owned(), since: 0, limit: 256 })
}

fn find() -> Vec<u8> {
    let phrases = WORDS.windows(2).take(4).map(|two| format!("\"{} {}\"", two[0], two[1]));
    let beginnings = WORDS.iter().take(4).map(|word| format!("{}*", &word[..3]));
    let terms: Vec<String> =
        WORDS.iter().map(|&word| word.to_owned()).chain(phrases).chain(beginnings).collect();
    named(&Action::Find { query: terms.join(" "), limit: FIND_LIMIT, before: None })
}

fn follow(from: &FollowFrom) -> Vec<u8> {
    let rooms: Vec<String> = (0..FOLLOWED).map(seed::room).collect();
    named(&Action::Follow { rooms, feeds: Vec::new(), from: from.clone() })
}

/// A message whose header has more than the four required keys; written by hand, as ours writes none of these.
fn message(more: &str, content: &[u8]) -> Vec<u8> {
    let header = format!(
        r#"{{"byteorder": "little", "content-type": "text/plain", "content-encoding": "utf-8", "content-length": {}{more}}}"#,
        content.len()
    );
    framed(&header, content)
}

fn framed(header: &str, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(header.len()).expect("a header of at most 65,535 bytes").to_be_bytes();
    [&len, header.as_bytes(), content].concat()
}

fn ping_with_keys() -> Vec<u8> {
    let mut keys = String::from(r#", "action": "ping""#);
    for key in 0..100 {
        let _ = write!(keys, r#", "key-{key}": {key}"#);
    }
    message(&keys, b"")
}

fn many_keys() -> Vec<u8> {
    let letters = || (b'!'..=b'~').filter(|letter| !matches!(letter, b'"' | b'\\')).map(char::from);
    let mut keys = String::from(r#", "action": "ping""#);
    for (first, second) in letters().flat_map(|first| letters().map(move |second| (first, second))) {
        let _ = write!(keys, r#","{first}{second}":1"#);
    }
    message(&keys, b"")
}

/// A request of the guide that keeps its connection.
fn guide(encoding: &str, content: &[u8]) -> Vec<u8> {
    [&guide_header("text/json", encoding, content.len()), content].concat()
}

fn guide_header(content_type: &str, encoding: &str, content_length: usize) -> Vec<u8> {
    let header = format!(
        r#"{{"byteorder": "little", "content-type": "{content_type}", "content-encoding": "{encoding}", "content-length": {content_length}, "connection": "keep-alive"}}"#
    );
    framed(&header, b"")
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// A WebSocket's message with a frame for each byte; masked, with a mask of zeros.
fn fragments(opcode: u8, message: &[u8]) -> Vec<u8> {
    let last = message.len() - 1;
    let frame = |(at, &byte): (usize, &u8)| {
        let first = if at == 0 { opcode } else { 0 } | if at == last { 0x80 } else { 0 };
        [first, 0x81, 0, 0, 0, 0, byte]
    };
    message.iter().enumerate().flat_map(frame).collect()
}

/// How rustls begins a handshake.
fn client_hello() -> Vec<u8> {
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let mut tls = ClientConnection::new(Arc::new(config), name).expect("TLS");
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).expect("memory takes it");
    hello
}

/// A handshake's message that claims 64 KiB, in records of one byte.
fn handshake_in_pieces() -> Vec<u8> {
    const CLAIMED: usize = 65_535;
    let head = [1, 0, (CLAIMED >> 8) as u8, CLAIMED as u8];
    let message = head.into_iter().chain(std::iter::repeat_n(0, CLAIMED));
    message.flat_map(|byte| [0x16, 3, 1, 0, 1, byte]).collect()
}
