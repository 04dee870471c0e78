//! Helpers of the journal's tests: drafts with distinct origins.
#![allow(dead_code, reason = "each test binary uses its part")]

use bytes::Bytes;
use vang_chat::{Command, MessageCommand, NameKey, Node, Principal, RoomId, Rules, Seq, Time};
use vang_journal::{
    Appended, Batch, Checked, Draft, Entry, Envelope, Identity, Journal, JournalError, MessagePayload,
    Origin, Payload, Reader, Through, Unknown,
};

pub(crate) const ADA: Node = Node(0xada);
pub(crate) const BOB: Node = Node(0xb0b);

pub(crate) fn identity() -> Identity {
    Identity::new(*b"0123456789abcdef", [7; 32])
}

pub(crate) fn said(text: &str) -> Bytes {
    let content = Bytes::copy_from_slice(text.as_bytes());
    let (content_type, content_encoding) = ("text/plain".into(), "utf-8".into());
    MessagePayload {
        guest: Some("guest".into()),
        content_type,
        content_encoding,
        content,
        unknown: Unknown::default(),
    }
    .encode()
}

/// The draft of a message with this origin.
pub(crate) fn draft(node: Node, counter: u64, text: &str) -> Draft {
    let mut salt = [0; 16];
    salt[..8].copy_from_slice(&counter.to_be_bytes());
    salt[8..].copy_from_slice(&node.0.to_be_bytes());
    holding(node, counter, Payload { salt, bytes: said(text) })
}

/// The draft of an entry with this payload.
pub(crate) fn holding(node: Node, counter: u64, payload: Payload) -> Draft {
    let envelope = Envelope {
        rules: Rules(1),
        origin: Origin { node, counter },
        time: Time(1_700_000_000_000 + counter),
        through: Through::default(),
        digest: payload.digest(),
        command: Command::Message(MessageCommand::Send {
            room: RoomId(2),
            from: Principal::Guest(NameKey([9; 16])),
            id: None,
        }),
    };
    Draft { envelope: envelope.encode(), payload }
}

pub(crate) fn batch(drafts: impl IntoIterator<Item = Draft>) -> Batch {
    Batch { drafts: drafts.into_iter().collect(), checkpoints: Vec::new() }
}

/// Drafts `from..=to` of a node.
pub(crate) fn drafts(node: Node, from: u64, to: u64) -> Batch {
    batch((from..=to).map(|counter| draft(node, counter, &format!("text {counter}"))))
}

/// Appends, which must succeed.
pub(crate) fn append(journal: &mut dyn Journal, batch: &Batch) -> Seq {
    match journal.append(batch) {
        Appended::Appended { first } => first,
        other => panic!("not appended: {other:?}"),
    }
}

/// Entries, none of them damaged.
pub(crate) fn whole(read: Result<Vec<Checked>, JournalError>) -> Vec<Entry> {
    Entry::all(read.expect("readable")).expect("undamaged")
}

/// The origins of all entries.
pub(crate) fn origins(reader: &mut dyn Reader) -> Vec<(Node, u64)> {
    let mut origins = Vec::new();
    loop {
        let after = Seq(origins.len() as u64);
        let entries = whole(reader.read(after, 100, usize::MAX));
        if entries.is_empty() {
            return origins;
        }
        for entry in entries {
            assert_eq!(entry.seq, Seq(origins.len() as u64 + 1), "a gap");
            let Origin { node, counter } = Envelope::decode(&entry.envelope).expect("decodes").origin;
            origins.push((node, counter));
        }
    }
}
