//! Tests posting and following: sending, ids for safe repetition, following from a number, resuming, the order of replies
//! and events (`docs/PROTOCOL.md`, sections 3 to 6). There are no vectors, because the server chooses numbers and times.
//!
//! The messages stay in the room. Each run uses new ids, so that it can be repeated. Other users can post meanwhile: their
//! messages are skipped, but their numbers count.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use vang_client::trouble::Doing;
use vang_proto::text::short_duration;
use vang_proto::vang::{Action, FollowFrom, RequestWriter};
use vang_proto::{ByteOrder, Decoder, encoding};

use super::compare;
use super::exchange::{ServerAddress, WaitLimits, write_in_pieces};
use crate::deadline_stream::DeadlineStream;
use crate::error::explain;
use crate::quote::quoted;

/// Messages of others that are skipped while waiting for one of ours.
const OTHERS_MAX: usize = 10_000;

/// One rule of the protocol.
pub(super) struct PostCase {
    pub(super) name: &'static str,
    keeps: fn(&PostRun<'_>) -> Result<(), String>,
}

pub(super) const CASES: &[PostCase] = &[
    PostCase { name: "send-has-an-address", keeps: send_has_an_address },
    PostCase { name: "same-id-same-address", keeps: same_id_same_address },
    PostCase { name: "id-reused", keeps: id_reused },
    PostCase { name: "pipelined-replies-in-order", keeps: pipelined_replies_in_order },
    PostCase { name: "reply-before-own-event", keeps: reply_before_own_event },
    PostCase { name: "follow-from-a-number", keeps: follow_from_a_number },
    PostCase { name: "follow-from-the-beginning", keeps: follow_from_the_beginning },
    PostCase { name: "content-as-sent", keeps: content_as_sent },
    PostCase { name: "same-bytes-for-everybody", keeps: same_bytes_for_everybody },
    PostCase { name: "resume-what-was-missed-once", keeps: resume_what_was_missed_once },
    PostCase { name: "resume-of-another-journal", keeps: resume_of_another_journal },
    PostCase { name: "resume-from-the-future", keeps: resume_from_the_future },
    PostCase { name: "already-following", keeps: already_following },
    PostCase { name: "history-in-pages", keeps: history_in_pages },
];

impl PostCase {
    /// Runs the case; requests are sent in pieces of this many bytes.
    pub(super) fn run(
        &self,
        room: &str,
        piece: usize,
        server: &ServerAddress,
        limits: &WaitLimits<'_>,
    ) -> Result<(), String> {
        (self.keeps)(&PostRun { room, piece, server, limits, run: fresh(), ids: Cell::new(0) })
    }
}

/// Is posting in this room allowed? Checked without posting.
pub(super) fn is_open(room: &str, server: &ServerAddress, limits: &WaitLimits<'_>) -> Result<(), String> {
    let run = PostRun { room, piece: usize::MAX, server, limits, run: 0, ids: Cell::new(0) };
    let mut session = run.dial()?;
    session.write(&[request(&Action::Who { room: room.to_owned() })])?;
    session.reply()?.granted("who").map(drop)
}

/// A number for this run.
fn fresh() -> u64 {
    RandomState::new().build_hasher().finish()
}

struct PostRun<'a> {
    room: &'a str,
    piece: usize,
    server: &'a ServerAddress,
    limits: &'a WaitLimits<'a>,
    run: u64,
    ids: Cell<u32>,
}

/// A posted message, by its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    address: String,
    n: u64,
    seq: u64,
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (seq {})", self.address, self.seq)
    }
}

/// A received message.
struct Message {
    keys: Map<String, Value>,
    content: Vec<u8>,
    /// The unchanged bytes.
    bytes: Vec<u8>,
}

impl PostRun<'_> {
    fn dial(&self) -> Result<Session<'_>, String> {
        let stream = self.server.connect(self.limits);
        let stream = stream.map_err(|error| format!("no connection: {}", explain(&error, Doing::Connect)))?;
        Ok(Session { stream, decoder: Decoder::default(), piece: self.piece, limits: self.limits })
    }

    fn id(&self) -> String {
        self.ids.set(self.ids.get() + 1);
        format!("conform-{:016x}-{}", self.run, self.ids.get())
    }

    fn sends(&self, id: &str, text: &str) -> Vec<u8> {
        let mut action = Action::text(self.room, text);
        if let Action::Send { id: its_id, .. } = &mut action {
            *its_id = Some(id.to_owned());
        }
        request(&action)
    }

    /// Posts a text with a new id.
    fn post(&self, session: &mut Session<'_>, text: &str) -> Result<Sent, String> {
        let id = self.id();
        session.write(&[self.sends(&id, text)])?;
        session.reply()?.sent(&id)
    }

    fn follows(&self, from: FollowFrom) -> Vec<u8> {
        let room = json!({ "room": self.room, "rooms": null });
        let since = |number: &u64| json!({ "room": self.room, "rooms": null, "since": number });
        // Both spellings are tested: one room with its number, and lists.
        let keys = match &from {
            FollowFrom::Now => room,
            FollowFrom::Numbers(numbers) => numbers.first().map_or(room, since),
            FollowFrom::Position { .. } => Value::Null,
        };
        request_with(&Action::Follow { rooms: vec![self.room.to_owned()], feeds: Vec::new(), from }, &keys)
    }

    /// A connection that follows the room from there, and the reply.
    fn follower(&self, from: FollowFrom) -> Result<(Session<'_>, Message), String> {
        let mut session = self.dial()?;
        session.write(&[self.follows(from)])?;
        let reply = session.reply()?.granted("follow")?;
        for key in ["journal", "epoch"] {
            reply.text(key)?;
        }
        reply.number("seq")?;
        Ok((session, reply))
    }
}

struct Session<'a> {
    stream: DeadlineStream<'a>,
    decoder: Decoder,
    piece: usize,
    limits: &'a WaitLimits<'a>,
}

impl Session<'_> {
    /// Sends requests back to back.
    fn write(&mut self, requests: &[Vec<u8>]) -> Result<(), String> {
        self.stream.set_deadline(self.limits.until());
        write_in_pieces(&mut self.stream, &requests.concat(), self.piece);
        Ok(())
    }

    /// The next message of any kind.
    fn next(&mut self, what: &str) -> Result<Message, String> {
        self.stream.set_deadline(self.limits.until());
        let mut buffer = [0; 4_096];
        loop {
            match self.decoder.poll_frame() {
                Ok(Some(frame)) => {
                    let bytes = [frame.header.json(), &frame.content[..]].concat();
                    let keys = serde_json::from_slice(frame.header.json());
                    let keys = keys.map_err(|error| format!("a header is not JSON: {error}"))?;
                    return Ok(Message { keys, content: frame.content.to_vec(), bytes });
                }
                Ok(None) => {}
                Err(malformed) => {
                    return Err(format!("expected {what}, got an invalid message: {malformed}"));
                }
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(format!("expected {what}, but the connection was closed")),
                Ok(n) => self.decoder.feed(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    let waited = self.limits.answer;
                    return Err(format!(
                        "expected {what}, but nothing came within {}",
                        short_duration(waited)
                    ));
                }
                Err(error) => {
                    return Err(format!("expected {what}, but: {}", explain(&error, Doing::Read).name));
                }
            }
        }
    }

    /// The next reply; events before it are skipped.
    fn reply(&mut self) -> Result<Message, String> {
        for _ in 0..OTHERS_MAX {
            let message = self.next("a reply")?;
            if !message.is_event() {
                return Ok(message);
            }
        }
        Err(format!("expected a reply, got {OTHERS_MAX} events"))
    }

    /// The next event; a reply is an error.
    fn event(&mut self) -> Result<Message, String> {
        let message = self.next("an event")?;
        match message.is_event() {
            true => Ok(message),
            false => Err(format!("expected an event, got a reply: {}", message.shown())),
        }
    }

    /// The event of this message. Events of others are skipped, but numbers must rise by one, and `seq` must rise.
    fn event_of(&mut self, sent: &Sent, after: &mut Option<Numbers>) -> Result<Message, String> {
        for _ in 0..OTHERS_MAX {
            let event = self.event()?;
            let at = Numbers::of(&event)?;
            if let (Some(before), Some(at)) = (after.as_ref(), &at) {
                before.leads_to(at)?;
            }
            *after = at.or(after.take());
            if event.keys.get("n") == Some(&sent.n.into()) {
                return event.is_message_of(sent).map(|()| event);
            }
        }
        Err(format!("expected the event of {}, got {OTHERS_MAX} others", sent.address))
    }

    /// Sends a ping and returns the events before its reply: all earlier events come before it.
    fn until_pong(&mut self) -> Result<Vec<Message>, String> {
        self.write(&[request_with(&Action::Ping, &json!({ "re": "pong" }))])?;
        let mut events = Vec::new();
        while events.len() < OTHERS_MAX {
            let message = self.next("a pong")?;
            if !message.is_event() {
                return message.granted("ping").map(|_| events);
            }
            events.push(message);
        }
        Err(format!("expected a pong, got {OTHERS_MAX} events"))
    }
}

/// The numbers of an event, and its position in the journal.
#[derive(Debug)]
struct Numbers {
    first: u64,
    last: u64,
    seq: u64,
}

impl Numbers {
    /// `None`: an event without a number.
    fn of(event: &Message) -> Result<Option<Numbers>, String> {
        let seq = event.number("seq");
        let (first, last) = match event.text("event")? {
            "message" => (event.number("n")?, event.number("n")?),
            "hole" => (event.number("from")?, event.number("to")?),
            _ => return Ok(None),
        };
        Ok(Some(Numbers { first, last, seq: seq? }))
    }

    fn leads_to(&self, next: &Numbers) -> Result<(), String> {
        if next.first != self.last + 1 {
            return Err(format!(
                "number {} is followed by {}, without a hole between them",
                self.last, next.first
            ));
        }
        match next.seq > self.seq {
            true => Ok(()),
            false => Err(format!("seq {} is followed by {}: it should rise", self.seq, next.seq)),
        }
    }
}

impl Message {
    fn is_event(&self) -> bool {
        self.keys.contains_key("event")
    }

    fn text(&self, key: &str) -> Result<&str, String> {
        let value = self.keys.get(key);
        let found = || value.map_or("nothing".to_owned(), Value::to_string);
        value.and_then(Value::as_str).ok_or_else(|| format!("'{key}' should be a text, is {}", found()))
    }

    fn number(&self, key: &str) -> Result<u64, String> {
        let value = self.keys.get(key);
        let found = || value.map_or("nothing".to_owned(), Value::to_string);
        value.and_then(Value::as_u64).ok_or_else(|| format!("'{key}' should be a number, is {}", found()))
    }

    fn result(&self) -> Option<Value> {
        serde_json::from_slice::<Value>(&self.content).ok()?.get("result").cloned()
    }

    fn shown(&self) -> String {
        quoted(&self.bytes, 200)
    }

    /// Requires a reply without an error.
    fn granted(self, action: &str) -> Result<Message, String> {
        match self.keys.get("status").and_then(Value::as_str) {
            Some("ok") => Ok(self),
            Some("error") => {
                let word = |key| self.text(key).unwrap_or("nothing").to_owned();
                Err(format!("'{action}' was refused: {}: {}", word("code"), word("detail")))
            }
            _ => Err(format!("a reply's status should be \"ok\" or \"error\": {}", self.shown())),
        }
    }

    /// Requires an error reply with this code (section 4).
    fn refused(&self, code: &str) -> Result<(), String> {
        compare::refusal_of(&self.keys, &self.content)?;
        match self.text("code")? {
            found if found == code => Ok(()),
            found => Err(format!("code should be '{code}', is '{found}'")),
        }
    }

    /// Reads the reply to a send with this id.
    fn sent(self, id: &str) -> Result<Sent, String> {
        let reply = self.granted("send")?;
        let (n, seq) = (reply.number("n")?, reply.number("seq")?);
        let address = reply.text("address")?.to_owned();
        let wanted = format!("{}#{n}", reply.text("room")?);
        if address != wanted {
            return Err(format!("'address' should be \"{wanted}\", is \"{address}\""));
        }
        if reply.result() != Some(Value::from(address.as_str())) {
            return Err(format!("the result of a send should be its address, {address}: {}", reply.shown()));
        }
        match reply.text("re") {
            Ok(re) if re == id => Ok(Sent { address, n, seq }),
            _ => Err(format!("without 're' a reply should return the id \"{id}\": {}", reply.shown())),
        }
    }

    /// Requires the event of this message.
    fn is_message_of(&self, sent: &Sent) -> Result<(), String> {
        if self.text("event")? != "message" {
            return Err(format!("{} should be a message, is {}", sent.address, self.shown()));
        }
        let address = format!("{}#{}", self.text("room")?, self.number("n")?);
        if (&address, self.number("seq")?) != (&sent.address, sent.seq) {
            let seq = self.number("seq")?;
            return Err(format!(
                "an event is {address} with seq {seq}; its reply said {} with {}",
                sent.address, sent.seq
            ));
        }
        self.text("from")?;
        let time = self.text("time")?;
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        match shape == "0000-00-00T00:00:00.000Z" {
            true => Ok(()),
            false => Err(format!("'time' should be RFC 3339 in UTC with milliseconds, is \"{time}\"")),
        }
    }
}

/// A request without `re`.
fn request(action: &Action) -> Vec<u8> {
    request_with(action, &Value::Null)
}

/// A request without `re`, and with these keys in its header instead of its own; `null` removes a key.
fn request_with(action: &Action, keys: &Value) -> Vec<u8> {
    let written = RequestWriter::default().write(0, action);
    let (header, content) = written[2..].split_at(usize::from(u16::from_be_bytes([written[0], written[1]])));
    let mut header: Map<String, Value> = serde_json::from_slice(header).expect("a header of ours");
    header.remove("re");
    header.extend(keys.as_object().cloned().unwrap_or_default());
    header.retain(|_, value| !value.is_null());
    let header = Value::from(header).to_string();
    let len = u16::try_from(header.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&len[..], header.as_bytes(), content].concat()
}

/// The position that a reply to `follow` names.
fn position(reply: &Message, seq: u64) -> Result<FollowFrom, String> {
    let (journal, epoch) = (reply.text("journal")?.to_owned(), Some(reply.text("epoch")?.to_owned()));
    Ok(FollowFrom::Position { journal, epoch, seq })
}

fn send_has_an_address(run: &PostRun<'_>) -> Result<(), String> {
    let mut session = run.dial()?;
    let first = run.post(&mut session, "the first of two")?;
    let second = run.post(&mut session, "the second, on the same connection")?;
    match (second.n > first.n, second.seq > first.seq) {
        (true, true) => Ok(()),
        _ => Err(format!("numbers should rise: {first}, then {second}")),
    }
}

fn same_id_same_address(run: &PostRun<'_>) -> Result<(), String> {
    let id = run.id();
    let mut sent = Vec::new();
    // On the same connection, and on another, as after a broken one.
    let mut session = run.dial()?;
    for again in 0..3 {
        if again == 2 {
            session = run.dial()?;
        }
        session.write(&[run.sends(&id, "said once")])?;
        sent.push(session.reply()?.sent(&id)?);
    }
    match sent.iter().find(|other| **other != sent[0]) {
        None => Ok(()),
        Some(other) => Err(format!("the same id again should be {}, is {other}", sent[0])),
    }
}

fn id_reused(run: &PostRun<'_>) -> Result<(), String> {
    let id = run.id();
    let mut session = run.dial()?;
    session.write(&[run.sends(&id, "one thing"), run.sends(&id, "another")])?;
    session.reply()?.sent(&id)?;
    session.reply()?.refused("id-reused")?;
    session.until_pong().map(drop)
}

fn pipelined_replies_in_order(run: &PostRun<'_>) -> Result<(), String> {
    let ids: Vec<String> = (0..4).map(|_| run.id()).collect();
    let mut requests: Vec<Vec<u8>> = ids.iter().map(|id| run.sends(id, "one of four in one go")).collect();
    requests.insert(2, request_with(&Action::Ping, &json!({ "re": [2, "between"] })));
    let mut session = run.dial()?;
    session.write(&requests)?;
    let mut last = 0;
    for (index, id) in ids.iter().enumerate() {
        if index == 2 {
            let pong = session.reply()?.granted("ping")?;
            if pong.keys.get("re") != Some(&json!([2, "between"])) {
                return Err(format!("the third reply should be the ping's, with its 're': {}", pong.shown()));
            }
        }
        let sent = session.reply()?.sent(id)?;
        if sent.n <= last {
            return Err(format!(
                "numbers should rise in the order of requests: after {last} comes {}",
                sent.n
            ));
        }
        last = sent.n;
    }
    Ok(())
}

fn reply_before_own_event(run: &PostRun<'_>) -> Result<(), String> {
    let (mut session, _) = run.follower(FollowFrom::Now)?;
    let ids = [run.id(), run.id()];
    session.write(&[run.sends(&ids[0], "its reply first"), run.sends(&ids[1], "and then its event")])?;
    let (mut replied, mut shown) = (Vec::new(), Vec::new());
    for _ in 0..OTHERS_MAX {
        if shown.len() == 2 {
            break;
        }
        let message = session.next("a reply or an event")?;
        if !message.is_event() {
            let Some(id) = ids.get(replied.len()) else {
                return Err(format!("an additional reply: {}", message.shown()));
            };
            replied.push(message.sent(id)?);
            continue;
        }
        // Whether it is ours is known after its reply.
        let n = message.keys.get("n").and_then(Value::as_u64);
        match replied.iter().find(|sent| Some(sent.n) == n) {
            Some(sent) => {
                message.is_message_of(sent)?;
                if shown.contains(&sent.n) {
                    return Err(format!("a message was shown twice: {}", message.shown()));
                }
                shown.push(sent.n);
            }
            None if [&b"its reply first"[..], b"and then its event"]
                .contains(&message.content.as_slice()) =>
            {
                return Err(format!("an own message was shown before its reply: {}", message.shown()));
            }
            None => {}
        }
    }
    let right: Vec<u64> = replied.iter().map(|sent| sent.n).collect();
    if shown != right {
        return Err(format!("own messages should come as {right:?}, came as {shown:?}"));
    }
    let again = session.until_pong()?;
    match again.iter().find(|event| right.iter().any(|n| event.keys.get("n") == Some(&(*n).into()))) {
        None => Ok(()),
        Some(event) => Err(format!("a message was shown twice: {}", event.shown())),
    }
}

/// Posts three messages.
fn three(run: &PostRun<'_>) -> Result<[Sent; 3], String> {
    let mut session = run.dial()?;
    Ok([run.post(&mut session, "one")?, run.post(&mut session, "two")?, run.post(&mut session, "three")?])
}

fn follow_from_a_number(run: &PostRun<'_>) -> Result<(), String> {
    let sent = three(run)?;
    let (mut session, _) = run.follower(FollowFrom::Numbers(vec![sent[0].n]))?;
    let mut at = Some(Numbers { first: sent[0].n, last: sent[0].n, seq: sent[0].seq });
    for sent in &sent[1..] {
        session.event_of(sent, &mut at)?;
    }
    // Then new messages.
    let next = run.post(&mut run.dial()?, "after the follower came")?;
    session.event_of(&next, &mut at).map(drop)
}

fn follow_from_the_beginning(run: &PostRun<'_>) -> Result<(), String> {
    run.post(&mut run.dial()?, "there is something")?;
    let (mut session, _) = run.follower(FollowFrom::Numbers(vec![0]))?;
    let mut at = Some(Numbers { first: 0, last: 0, seq: 0 });
    // Messages missing from the beginning must be named by a hole.
    for _ in 0..OTHERS_MAX {
        if let Some(first) = Numbers::of(&session.event()?)? {
            return at.take().map_or(Ok(()), |at| at.leads_to(&first));
        }
    }
    Err("no message and no hole".to_owned())
}

fn content_as_sent(run: &PostRun<'_>) -> Result<(), String> {
    let (mut reads, _) = run.follower(FollowFrom::Now)?;
    let mut session = run.dial()?;
    let mut at = None;
    // The text of each content, `None` for binary ones.
    for (kind, encoding, order, content, text) in [
        ("text/plain", "Latin-1", "big", &b"caf\xe9"[..], Some("café")),
        ("text/plain", "utf-16", "big", b"\x00h\x00i", Some("hi")),
        ("text/x-test", "utf-8", "little", b"", Some("")),
        ("binary/x-test", "binary", "little", b"\x00\xff\x1b[31m\r\n{}", None),
    ] {
        let id = run.id();
        let send = Action::Send {
            room: run.room.to_owned(),
            id: Some(id.clone()),
            content_type: kind.to_owned(),
            content_encoding: encoding.to_owned(),
            content: Bytes::from_static(content),
        };
        session.write(&[request_with(&send, &json!({ "byteorder": order }))])?;
        let sent = session.reply()?.sent(&id)?;
        let event = reads.event_of(&sent, &mut at)?;
        let found = (event.text("content-type")?, event.text("content-encoding")?);
        if found.0 != kind || (text.is_none() && found.1 != encoding) {
            return Err(format!(
                "type and encoding should be the sender's, {kind} in {encoding}, are {} in {}",
                found.0, found.1
            ));
        }
        if event.content != content {
            return Err(format!(
                "content should be {}, is {}",
                quoted(content, 60),
                quoted(&event.content, 60)
            ));
        }
        let order = if event.text("byteorder")? == "big" { ByteOrder::Big } else { ByteOrder::Little };
        let read = encoding::find(found.1).map(|known| encoding::decode(known, order, &event.content));
        if let Some(text) = text
            && !matches!(&read, Some(Ok(read)) if read == text)
        {
            return Err(format!("\"{text}\" in {encoding} came back in {} as other text", found.1));
        }
    }
    Ok(())
}

fn same_bytes_for_everybody(run: &PostRun<'_>) -> Result<(), String> {
    let (mut one, _) = run.follower(FollowFrom::Now)?;
    let (mut other, _) = run.follower(FollowFrom::Now)?;
    let sent = run.post(&mut run.dial()?, "the same to both")?;
    // A third reader follows later; the sender is one of the readers.
    let (mut late, _) = run.follower(FollowFrom::Numbers(vec![sent.n - 1]))?;
    let first = one.event_of(&sent, &mut None)?;
    for session in [&mut other, &mut late] {
        let event = session.event_of(&sent, &mut None)?;
        if event.bytes != first.bytes {
            return Err(format!("one reader got {}, another {}", first.shown(), event.shown()));
        }
    }
    Ok(())
}

fn resume_what_was_missed_once(run: &PostRun<'_>) -> Result<(), String> {
    let (mut reads, reply) = run.follower(FollowFrom::Now)?;
    let mut session = run.dial()?;
    let first = run.post(&mut session, "before the connection died")?;
    let mut at = None;
    let event = reads.event_of(&first, &mut at)?;
    drop(reads);
    let missed = [run.post(&mut session, "missed")?, run.post(&mut session, "missed too")?];
    // Numbers continue after the last seen one.
    let (mut reads, _) = run.follower(position(&reply, event.number("seq")?)?)?;
    for sent in &missed {
        reads.event_of(sent, &mut at)?;
    }
    let next = run.post(&mut session, "after it came back")?;
    reads.event_of(&next, &mut at).map(drop)
}

fn resume_of_another_journal(run: &PostRun<'_>) -> Result<(), String> {
    let (_, reply) = run.follower(FollowFrom::Now)?;
    let from = FollowFrom::Position {
        journal: "00000000000000000000000000000000".to_owned(),
        epoch: Some(reply.text("epoch")?.to_owned()),
        seq: reply.number("seq")?,
    };
    let mut session = run.dial()?;
    session.write(&[run.follows(from)])?;
    session.reply()?.refused("journal-changed")
}

fn resume_from_the_future(run: &PostRun<'_>) -> Result<(), String> {
    let (_, reply) = run.follower(FollowFrom::Now)?;
    let mut session = run.dial()?;
    session.write(&[run.follows(position(&reply, 1 << 52)?)])?;
    session.reply()?.refused("seq-ahead")
}

fn already_following(run: &PostRun<'_>) -> Result<(), String> {
    let (mut session, _) = run.follower(FollowFrom::Now)?;
    session.write(&[run.follows(FollowFrom::Numbers(vec![0]))])?;
    session.reply()?.refused("already-following")?;
    // Without a position a second follow is allowed, and nothing comes twice.
    session.write(&[run.follows(FollowFrom::Now)])?;
    session.reply()?.granted("follow")?;
    let sent = run.post(&mut run.dial()?, "once, to who follows twice")?;
    session.event_of(&sent, &mut None)?;
    match session.until_pong()?.iter().any(|event| event.keys.get("n") == Some(&sent.n.into())) {
        true => Err(format!("{} came twice to a client that follows twice", sent.address)),
        false => Ok(()),
    }
}

fn history_in_pages(run: &PostRun<'_>) -> Result<(), String> {
    let sent = three(run)?;
    let mut session = run.dial()?;
    let mut since = sent[0].n - 1;
    let mut at = Some(Numbers { first: since, last: since, seq: 0 });
    let mut found = Vec::new();
    for _ in 0..OTHERS_MAX {
        let page = Action::History { room: run.room.to_owned(), since, limit: 2 };
        session.write(&[request(&page)])?;
        let page = session.reply()?.granted("history")?;
        let (count, last, end) = (page.number("count")?, page.number("last")?, page.number("end")?);
        let mut decoder = Decoder::default();
        decoder.feed(&page.content);
        let mut events = 0;
        while let Some(frame) =
            decoder.poll_frame().map_err(|error| format!("a page is not valid: {error}"))?
        {
            let keys = serde_json::from_slice(frame.header.json()).map_err(|error| error.to_string())?;
            let event = Message { keys, content: frame.content.to_vec(), bytes: Vec::new() };
            let next = Numbers::of(&event)?.ok_or("a page should contain only messages and holes")?;
            if let Some(at) = &at {
                at.leads_to(&next)?;
            }
            found.extend(sent.iter().find(|sent| sent.n == next.first).map(|sent| event.is_message_of(sent)));
            (at, events) = (Some(next), events + 1);
        }
        let shown = at.as_ref().map_or(since, |at| at.last);
        if (count, last) != (events, shown) || events > 2 {
            return Err(format!("a page of {events} up to {shown} has 'count' {count} and 'last' {last}"));
        }
        if last >= end {
            break;
        }
        since = last;
    }
    match found.len() {
        3 => found.into_iter().collect(),
        n => Err(format!("expected three messages in the history, got {n}")),
    }
}
