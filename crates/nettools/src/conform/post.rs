//! Judging what posts and follows: sending, ids that make it safe to repeat, following from a number, resuming, the order
//! of replies and events (`docs/PROTOCOL.md`, sections 3 to 6). No vectors: numbers and times are the server's own.
//!
//! Messages are left in the room that was named. Each run has ids of its own, so that it may be repeated, and others may
//! speak there meanwhile: what is not ours is passed over, but its number counts.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read};

use serde_json::{Map, Value, json};
use vang_client::trouble::Doing;
use vang_proto::{ByteOrder, Decoder, encoding};

use super::compare;
use super::wire::{Patience, Place, write_in_pieces};
use crate::connect::Patient;
use crate::failure::explain;
use crate::quote::{duration, quoted};

/// Messages of others that are passed over while one of ours is waited for.
const OTHERS_MAX: usize = 10_000;

/// One promise of the protocol's.
pub(super) struct Case {
    pub(super) name: &'static str,
    keeps: fn(&Judge<'_>) -> Result<(), String>,
}

pub(super) const CASES: &[Case] = &[
    Case { name: "send-has-an-address", keeps: send_has_an_address },
    Case { name: "same-id-same-address", keeps: same_id_same_address },
    Case { name: "id-reused", keeps: id_reused },
    Case { name: "pipelined-replies-in-order", keeps: pipelined_replies_in_order },
    Case { name: "reply-before-own-event", keeps: reply_before_own_event },
    Case { name: "follow-from-a-number", keeps: follow_from_a_number },
    Case { name: "follow-from-the-beginning", keeps: follow_from_the_beginning },
    Case { name: "content-as-sent", keeps: content_as_sent },
    Case { name: "same-bytes-for-everybody", keeps: same_bytes_for_everybody },
    Case { name: "resume-what-was-missed-once", keeps: resume_what_was_missed_once },
    Case { name: "resume-of-another-journal", keeps: resume_of_another_journal },
    Case { name: "resume-from-the-future", keeps: resume_from_the_future },
    Case { name: "already-following", keeps: already_following },
    Case { name: "history-in-pages", keeps: history_in_pages },
];

impl Case {
    /// The requests go out in pieces of so many bytes.
    pub(super) fn run(
        &self,
        room: &str,
        piece: usize,
        place: &Place,
        patience: &Patience<'_>,
    ) -> Result<(), String> {
        (self.keeps)(&Judge { room, piece, place, patience, run: fresh(), ids: Cell::new(0) })
    }
}

/// May this room be spoken in? Nothing is posted by asking.
pub(super) fn is_open(room: &str, place: &Place, patience: &Patience<'_>) -> Result<(), String> {
    let judge = Judge { room, piece: usize::MAX, place, patience, run: 0, ids: Cell::new(0) };
    let mut talk = judge.dial()?;
    talk.write(&[request("who", &json!({ "room": room }), b"")])?;
    talk.reply()?.granted("who").map(drop)
}

/// A number that no other run has.
fn fresh() -> u64 {
    RandomState::new().build_hasher().finish()
}

struct Judge<'a> {
    room: &'a str,
    piece: usize,
    place: &'a Place,
    patience: &'a Patience<'a>,
    run: u64,
    ids: Cell<u32>,
}

/// A message that was posted, as its reply has it.
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

/// What came.
struct Message {
    keys: Map<String, Value>,
    content: Vec<u8>,
    /// Header and content as they came.
    bytes: Vec<u8>,
}

impl Judge<'_> {
    fn dial(&self) -> Result<Talk<'_>, String> {
        let stream = self.place.connect(self.patience);
        let stream = stream.map_err(|error| format!("no connection: {}", explain(&error, Doing::Connect)))?;
        Ok(Talk { stream, decoder: Decoder::default(), piece: self.piece, patience: self.patience })
    }

    fn id(&self) -> String {
        self.ids.set(self.ids.get() + 1);
        format!("conform-{:016x}-{}", self.run, self.ids.get())
    }

    fn sends(&self, id: &str, text: &str) -> Vec<u8> {
        request("send", &json!({ "room": self.room, "id": id }), text.as_bytes())
    }

    /// Posts a text under a fresh id.
    fn post(&self, talk: &mut Talk<'_>, text: &str) -> Result<Sent, String> {
        let id = self.id();
        talk.write(&[self.sends(&id, text)])?;
        talk.reply()?.sent(&id)
    }

    fn follows(&self, from: &Value) -> Vec<u8> {
        let mut keys = json!({ "room": self.room });
        if let (Value::Object(keys), Value::Object(from)) = (&mut keys, from) {
            keys.extend(from.clone());
        }
        request("follow", &keys, b"")
    }

    /// A connection that follows the room from there, and the reply to that.
    fn follower(&self, from: &Value) -> Result<(Talk<'_>, Message), String> {
        let mut talk = self.dial()?;
        talk.write(&[self.follows(from)])?;
        let reply = talk.reply()?.granted("follow")?;
        for key in ["journal", "epoch"] {
            reply.text(key)?;
        }
        reply.number("seq")?;
        Ok((talk, reply))
    }
}

struct Talk<'a> {
    stream: Patient<'a>,
    decoder: Decoder,
    piece: usize,
    patience: &'a Patience<'a>,
}

impl Talk<'_> {
    /// Requests back to back.
    fn write(&mut self, requests: &[Vec<u8>]) -> Result<(), String> {
        self.stream.ends_at(self.patience.until());
        write_in_pieces(&mut self.stream, &requests.concat(), self.piece);
        Ok(())
    }

    /// The next message, whatever it is.
    fn next(&mut self, what: &str) -> Result<Message, String> {
        self.stream.ends_at(self.patience.until());
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
                    return Err(format!("{what} should have come; no message did: {malformed}"));
                }
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(format!("{what} should have come; the connection was closed")),
                Ok(n) => self.decoder.feed(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    let waited = self.patience.answer;
                    return Err(format!("{what} should have come; nothing did in {}", duration(waited)));
                }
                Err(error) => {
                    return Err(format!("{what} should have come; {}", explain(&error, Doing::Read).name));
                }
            }
        }
    }

    /// The next reply; events may come before it.
    fn reply(&mut self) -> Result<Message, String> {
        for _ in 0..OTHERS_MAX {
            let message = self.next("a reply")?;
            if !message.is_event() {
                return Ok(message);
            }
        }
        Err(format!("a reply should have come; {OTHERS_MAX} events did"))
    }

    /// The next event; replies have no business here.
    fn event(&mut self) -> Result<Message, String> {
        let message = self.next("an event")?;
        match message.is_event() {
            true => Ok(message),
            false => Err(format!("an event should have come; a reply did: {}", message.shown())),
        }
    }

    /// The event of this message: those of others are passed over, but numbers rise by one, and `seq` rises.
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
        Err(format!("the event of {} should have come; {OTHERS_MAX} others did", sent.address))
    }

    /// Asks for a pong: by then whatever else had to come has come. The events that did.
    fn until_pong(&mut self) -> Result<Vec<Message>, String> {
        self.write(&[request("ping", &json!({ "re": "pong" }), b"")])?;
        let mut events = Vec::new();
        while events.len() < OTHERS_MAX {
            let message = self.next("a pong")?;
            if !message.is_event() {
                return message.granted("ping").map(|_| events);
            }
            events.push(message);
        }
        Err(format!("a pong should have come; {OTHERS_MAX} events did"))
    }
}

/// The numbers that an event stands for, and its position in the journal.
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
            return Err(format!("after number {} comes {}, and no hole between them", self.last, next.first));
        }
        match next.seq > self.seq {
            true => Ok(()),
            false => Err(format!("after seq {} comes {}: it should rise", self.seq, next.seq)),
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

    /// A reply that says yes.
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

    /// A reply that says no with this code, as section 4 has it.
    fn refused(&self, code: &str) -> Result<(), String> {
        compare::refusal_of(&self.keys, &self.content)?;
        match self.text("code")? {
            found if found == code => Ok(()),
            found => Err(format!("code should be '{code}', is '{found}'")),
        }
    }

    /// The reply to a send under this id.
    fn sent(self, id: &str) -> Result<Sent, String> {
        let reply = self.granted("send")?;
        let (n, seq) = (reply.number("n")?, reply.number("seq")?);
        let address = reply.text("address")?.to_owned();
        let wanted = format!("{}#{n}", reply.text("room")?);
        if address != wanted {
            return Err(format!("'address' should be \"{wanted}\", is \"{address}\""));
        }
        if reply.result() != Some(Value::from(address.as_str())) {
            return Err(format!("a send's result should be its address, {address}: {}", reply.shown()));
        }
        match reply.text("re") {
            Ok(re) if re == id => Ok(Sent { address, n, seq }),
            _ => Err(format!(
                "without a 're' of its own a reply gives back the id, \"{id}\": {}",
                reply.shown()
            )),
        }
    }

    /// An event that is this message.
    fn is_message_of(&self, sent: &Sent) -> Result<(), String> {
        if self.text("event")? != "message" {
            return Err(format!("{} should come as a message, is {}", sent.address, self.shown()));
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

fn request(action: &str, keys: &Value, content: &[u8]) -> Vec<u8> {
    let mut header = json!({
        "byteorder": "little", "content-type": "text/plain", "content-encoding": "utf-8",
        "content-length": content.len(), "action": action,
    });
    if let (Value::Object(header), Value::Object(keys)) = (&mut header, keys) {
        header.extend(keys.clone());
    }
    let header = header.to_string();
    let len = u16::try_from(header.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&len[..], header.as_bytes(), content].concat()
}

fn send_has_an_address(judge: &Judge<'_>) -> Result<(), String> {
    let mut talk = judge.dial()?;
    let first = judge.post(&mut talk, "the first of two")?;
    let second = judge.post(&mut talk, "the second, on the same connection")?;
    match (second.n > first.n, second.seq > first.seq) {
        (true, true) => Ok(()),
        _ => Err(format!("numbers should rise: {first}, then {second}")),
    }
}

fn same_id_same_address(judge: &Judge<'_>) -> Result<(), String> {
    let id = judge.id();
    let mut sent = Vec::new();
    // On the same connection, and on another, as after one that died.
    let mut talk = judge.dial()?;
    for again in 0..3 {
        if again == 2 {
            talk = judge.dial()?;
        }
        talk.write(&[judge.sends(&id, "said once")])?;
        sent.push(talk.reply()?.sent(&id)?);
    }
    match sent.iter().find(|other| **other != sent[0]) {
        None => Ok(()),
        Some(other) => Err(format!("the same id again should be {}, is {other}", sent[0])),
    }
}

fn id_reused(judge: &Judge<'_>) -> Result<(), String> {
    let id = judge.id();
    let mut talk = judge.dial()?;
    talk.write(&[judge.sends(&id, "one thing"), judge.sends(&id, "another")])?;
    talk.reply()?.sent(&id)?;
    talk.reply()?.refused("id-reused")?;
    talk.until_pong().map(drop)
}

fn pipelined_replies_in_order(judge: &Judge<'_>) -> Result<(), String> {
    let ids: Vec<String> = (0..4).map(|_| judge.id()).collect();
    let mut requests: Vec<Vec<u8>> = ids.iter().map(|id| judge.sends(id, "one of four in one go")).collect();
    requests.insert(2, request("ping", &json!({ "re": [2, "between"] }), b""));
    let mut talk = judge.dial()?;
    talk.write(&requests)?;
    let mut last = 0;
    for (place, id) in ids.iter().enumerate() {
        if place == 2 {
            let pong = talk.reply()?.granted("ping")?;
            if pong.keys.get("re") != Some(&json!([2, "between"])) {
                return Err(format!("the third reply should be the ping's, with its 're': {}", pong.shown()));
            }
        }
        let sent = talk.reply()?.sent(id)?;
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

fn reply_before_own_event(judge: &Judge<'_>) -> Result<(), String> {
    let (mut talk, _) = judge.follower(&json!({}))?;
    let ids = [judge.id(), judge.id()];
    talk.write(&[judge.sends(&ids[0], "its reply first"), judge.sends(&ids[1], "and then its event")])?;
    let (mut replied, mut shown) = (Vec::new(), Vec::new());
    for _ in 0..OTHERS_MAX {
        if shown.len() == 2 {
            break;
        }
        let message = talk.next("a reply or an event")?;
        if !message.is_event() {
            let Some(id) = ids.get(replied.len()) else {
                return Err(format!("a reply too many: {}", message.shown()));
            };
            replied.push(message.sent(id)?);
            continue;
        }
        // Whose it is shows when its reply has come.
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
    let again = talk.until_pong()?;
    match again.iter().find(|event| right.iter().any(|n| event.keys.get("n") == Some(&(*n).into()))) {
        None => Ok(()),
        Some(event) => Err(format!("a message was shown twice: {}", event.shown())),
    }
}

/// Three messages of ours.
fn three(judge: &Judge<'_>) -> Result<[Sent; 3], String> {
    let mut talk = judge.dial()?;
    Ok([judge.post(&mut talk, "one")?, judge.post(&mut talk, "two")?, judge.post(&mut talk, "three")?])
}

fn follow_from_a_number(judge: &Judge<'_>) -> Result<(), String> {
    let sent = three(judge)?;
    let (mut talk, _) = judge.follower(&json!({ "since": sent[0].n }))?;
    let mut at = Some(Numbers { first: sent[0].n, last: sent[0].n, seq: sent[0].seq });
    for sent in &sent[1..] {
        talk.event_of(sent, &mut at)?;
    }
    // Then what is said from now on.
    let next = judge.post(&mut judge.dial()?, "after the follower came")?;
    talk.event_of(&next, &mut at).map(drop)
}

fn follow_from_the_beginning(judge: &Judge<'_>) -> Result<(), String> {
    judge.post(&mut judge.dial()?, "there is something")?;
    let (mut talk, _) = judge.follower(&json!({ "since": 0 }))?;
    let mut at = Some(Numbers { first: 0, last: 0, seq: 0 });
    // What is lost from the beginning is named by a hole.
    for _ in 0..OTHERS_MAX {
        if let Some(first) = Numbers::of(&talk.event()?)? {
            return at.take().map_or(Ok(()), |at| at.leads_to(&first));
        }
    }
    Err("no message and no hole came".to_owned())
}

fn content_as_sent(judge: &Judge<'_>) -> Result<(), String> {
    let (mut reads, _) = judge.follower(&json!({}))?;
    let mut talk = judge.dial()?;
    let mut at = None;
    // What is read as text, by whatever name of its encoding and in whatever order that name stands for.
    for (kind, encoding, order, content, text) in [
        ("text/plain", "Latin-1", "big", &b"caf\xe9"[..], Some("café")),
        ("text/plain", "utf-16", "big", b"\x00h\x00i", Some("hi")),
        ("text/x-test", "utf-8", "little", b"", Some("")),
        ("binary/x-test", "binary", "little", b"\x00\xff\x1b[31m\r\n{}", None),
    ] {
        let id = judge.id();
        let keys = json!({
            "room": judge.room, "id": id, "content-type": kind, "content-encoding": encoding, "byteorder": order,
        });
        talk.write(&[request("send", &keys, content)])?;
        let sent = talk.reply()?.sent(&id)?;
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
            return Err(format!("\"{text}\" in {encoding} comes in {}, and is not read as that", found.1));
        }
    }
    Ok(())
}

fn same_bytes_for_everybody(judge: &Judge<'_>) -> Result<(), String> {
    let (mut one, _) = judge.follower(&json!({}))?;
    let (mut other, _) = judge.follower(&json!({}))?;
    let sent = judge.post(&mut judge.dial()?, "the same to both")?;
    // A third comes late, and its sender is one of them.
    let (mut late, _) = judge.follower(&json!({ "since": sent.n - 1 }))?;
    let first = one.event_of(&sent, &mut None)?;
    for talk in [&mut other, &mut late] {
        let event = talk.event_of(&sent, &mut None)?;
        if event.bytes != first.bytes {
            return Err(format!("one reader got {}, another {}", first.shown(), event.shown()));
        }
    }
    Ok(())
}

fn resume_what_was_missed_once(judge: &Judge<'_>) -> Result<(), String> {
    let (mut reads, reply) = judge.follower(&json!({}))?;
    let mut talk = judge.dial()?;
    let first = judge.post(&mut talk, "before the connection died")?;
    let mut at = None;
    let event = reads.event_of(&first, &mut at)?;
    drop(reads);
    let missed = [judge.post(&mut talk, "missed")?, judge.post(&mut talk, "missed too")?];
    let from = json!({
        "journal": reply.text("journal")?, "epoch": reply.text("epoch")?, "seq": event.number("seq")?,
    });
    // Where nothing is lost between, numbers lead on from the last that was seen.
    let (mut reads, _) = judge.follower(&from)?;
    for sent in &missed {
        reads.event_of(sent, &mut at)?;
    }
    let next = judge.post(&mut talk, "after it came back")?;
    reads.event_of(&next, &mut at).map(drop)
}

fn resume_of_another_journal(judge: &Judge<'_>) -> Result<(), String> {
    let (_, reply) = judge.follower(&json!({}))?;
    let from = json!({
        "journal": "00000000000000000000000000000000", "epoch": reply.text("epoch")?, "seq": reply.number("seq")?,
    });
    let mut talk = judge.dial()?;
    talk.write(&[judge.follows(&from)])?;
    talk.reply()?.refused("journal-changed")
}

fn resume_from_the_future(judge: &Judge<'_>) -> Result<(), String> {
    let (_, reply) = judge.follower(&json!({}))?;
    let from = json!({
        "journal": reply.text("journal")?, "epoch": reply.text("epoch")?, "seq": 1_u64 << 52,
    });
    let mut talk = judge.dial()?;
    talk.write(&[judge.follows(&from)])?;
    talk.reply()?.refused("seq-ahead")
}

fn already_following(judge: &Judge<'_>) -> Result<(), String> {
    let (mut talk, _) = judge.follower(&json!({}))?;
    talk.write(&[judge.follows(&json!({ "since": 0 }))])?;
    talk.reply()?.refused("already-following")?;
    // Without it a second one is welcome, and nothing comes twice for it.
    talk.write(&[judge.follows(&json!({}))])?;
    talk.reply()?.granted("follow")?;
    let sent = judge.post(&mut judge.dial()?, "once, to who follows twice")?;
    talk.event_of(&sent, &mut None)?;
    match talk.until_pong()?.iter().any(|event| event.keys.get("n") == Some(&sent.n.into())) {
        true => Err(format!("{} came twice to who follows twice", sent.address)),
        false => Ok(()),
    }
}

fn history_in_pages(judge: &Judge<'_>) -> Result<(), String> {
    let sent = three(judge)?;
    let mut talk = judge.dial()?;
    let mut since = sent[0].n - 1;
    let mut at = Some(Numbers { first: since, last: since, seq: 0 });
    let mut found = Vec::new();
    for _ in 0..OTHERS_MAX {
        talk.write(&[request("history", &json!({ "room": judge.room, "since": since, "limit": 2 }), b"")])?;
        let page = talk.reply()?.granted("history")?;
        let (count, last, end) = (page.number("count")?, page.number("last")?, page.number("end")?);
        let mut decoder = Decoder::default();
        decoder.feed(&page.content);
        let mut events = 0;
        while let Some(frame) =
            decoder.poll_frame().map_err(|error| format!("a page holds no message: {error}"))?
        {
            let keys = serde_json::from_slice(frame.header.json()).map_err(|error| error.to_string())?;
            let event = Message { keys, content: frame.content.to_vec(), bytes: Vec::new() };
            let next = Numbers::of(&event)?.ok_or("a page should hold messages and holes")?;
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
        n => Err(format!("three messages should be in the history, {n} are")),
    }
}
