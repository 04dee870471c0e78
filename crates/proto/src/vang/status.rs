//! The result of `status`: the server writes it, `vang status` reads it. A newer server can have more keys, which readers
//! ignore; keys that are missing have their default. Keys are in alphabetical order, as `vang status --json` prints them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The health of a server at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerStatus {
    pub connections: ConnectionsStatus,
    /// CPU time since the start. `None`: the system does not say.
    pub cpu_seconds: Option<f64>,
    pub disk: DiskStatus,
    /// The search index. `None`: an older server.
    pub find: Option<ProgressStatus>,
    pub journal: JournalStatus,
    /// What is wrong and what it means, as sentences.
    pub meaning: Vec<String>,
    pub memory: MemoryStatus,
    /// Posted since the start.
    pub messages: u64,
    /// Why `/readyz` answers 503.
    pub not_ready: Option<String>,
    pub open_files: OpenFilesStatus,
    pub ready: bool,
    /// Refused requests by the code of the error.
    pub refusals: BTreeMap<String, u64>,
    /// Name and version.
    pub server: String,
    pub unread: UnreadStatus,
    pub up_ms: u64,
    pub view: Option<ProgressStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionsStatus {
    /// Since the start, including refused ones.
    pub accepted: u64,
    pub doors: Vec<DoorStatus>,
    /// The limit.
    pub most: u64,
    pub open: u64,
    /// Since the start: over a limit, or without the proxy or the PROXY header that the address needs.
    pub refused: u64,
}

/// Open connections of one protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DoorStatus {
    pub door: String,
    /// `tls` or `none`.
    pub encryption: String,
    pub open: u64,
    /// `local`: from this machine; `remote`: from another.
    pub origin: String,
}

/// The disk of the data folder. `None`: the system does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskStatus {
    /// The size of each file that grows, bytes.
    pub files: BTreeMap<String, u64>,
    pub free_bytes: Option<u64>,
    /// The limit `ready-free`.
    pub ready_free_bytes: u64,
    pub size_bytes: Option<u64>,
}

/// How far a file that is made from the journal is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressStatus {
    /// Entries that it does not have yet.
    pub behind: u64,
    pub position: u64,
    /// It cannot be written.
    pub stuck: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JournalStatus {
    /// The newest entry's time is so far ahead of this machine's clock, ms.
    pub ahead_ms: u64,
    /// Since the start.
    pub appends: u64,
    pub damaged: DamageStatus,
    pub id: String,
    /// How long the last append took, µs. `None` before the first.
    pub last_append_us: Option<u64>,
    pub open: bool,
    pub position: u64,
    /// Why nothing can be written.
    pub trouble: Option<String>,
}

/// Damaged entries of the journal that readers have met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DamageStatus {
    pub count: u64,
    /// The numbers of the first few.
    pub first: Vec<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryStatus {
    /// In memory for clients.
    pub held_bytes: u64,
    /// How many that may be: half of the limit `memory`.
    pub held_bytes_max: u64,
    /// Commands that wait to be written.
    pub queue_bytes: u64,
    pub resident_bytes: Option<u64>,
    /// Connections that were closed to free memory.
    pub shed: u64,
    /// The newest events of the rooms.
    pub tail_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OpenFilesStatus {
    /// The limit.
    pub most: Option<u64>,
    pub now: Option<u64>,
}

/// Data that clients have not read yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnreadStatus {
    pub bytes: u64,
    pub connections: u64,
    /// Those with the most unread bytes, the largest first.
    pub most: Vec<SlowReader>,
}

/// A connection with unread data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SlowReader {
    /// Entries that it does not have yet.
    pub behind: u64,
    pub bytes: u64,
    pub door: String,
    /// `tls` or `none`.
    pub encryption: String,
    /// Since it last read something.
    pub for_ms: u64,
    /// Its address.
    pub from: String,
    pub name: String,
    /// `local`: from this machine; `remote`: from another.
    pub origin: String,
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn full() -> ServerStatus {
        let progress = ProgressStatus { behind: 2, position: 40, stuck: true };
        ServerStatus {
            connections: ConnectionsStatus {
                accepted: 7,
                doors: vec![DoorStatus {
                    door: "native".to_owned(),
                    encryption: "none".to_owned(),
                    open: 3,
                    origin: "local".to_owned(),
                }],
                most: 100,
                open: 3,
                refused: 1,
            },
            cpu_seconds: Some(1.25),
            disk: DiskStatus {
                files: BTreeMap::from([("journal.db".to_owned(), 4_096)]),
                free_bytes: Some(1 << 30),
                ready_free_bytes: 1 << 27,
                size_bytes: Some(1 << 40),
            },
            find: Some(progress.clone()),
            journal: JournalStatus {
                ahead_ms: 5,
                appends: 9,
                damaged: DamageStatus { count: 1, first: vec![57] },
                id: "a1b2".to_owned(),
                last_append_us: Some(312),
                open: true,
                position: 42,
                trouble: Some("no space left".to_owned()),
            },
            meaning: vec!["the disk is almost full".to_owned()],
            memory: MemoryStatus {
                held_bytes: 1,
                held_bytes_max: 2,
                queue_bytes: 3,
                resident_bytes: Some(4),
                shed: 5,
                tail_bytes: 6,
            },
            messages: 12,
            not_ready: Some("the view cannot be written".to_owned()),
            open_files: OpenFilesStatus { most: Some(1_024), now: Some(31) },
            ready: false,
            refusals: BTreeMap::from([("no-room".to_owned(), 3)]),
            server: "vang/0.1.0".to_owned(),
            unread: UnreadStatus {
                bytes: 800,
                connections: 1,
                most: vec![SlowReader {
                    behind: 4,
                    bytes: 800,
                    door: "websocket".to_owned(),
                    encryption: "tls".to_owned(),
                    for_ms: 240_000,
                    from: "192.0.2.7:51512".to_owned(),
                    name: "guest:bob".to_owned(),
                    origin: "remote".to_owned(),
                }],
            },
            up_ms: 11_520_000,
            view: Some(progress),
        }
    }

    #[test]
    fn a_status_reads_back_and_its_keys_are_in_alphabetical_order() {
        for status in [full(), ServerStatus::default()] {
            let text = serde_json::to_string(&status).unwrap();
            assert_eq!(serde_json::from_str::<ServerStatus>(&text).unwrap(), status);
            // A `Value` sorts its keys.
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn unknown_keys_are_ignored_and_missing_ones_have_their_default() {
        let text = r#"{"server": "vang/9", "mood": "good", "journal": {"id": "a1", "color": 1}}"#;
        let journal = JournalStatus { id: "a1".to_owned(), ..JournalStatus::default() };
        let expected = ServerStatus { server: "vang/9".to_owned(), journal, ..ServerStatus::default() };
        assert_eq!(serde_json::from_str::<ServerStatus>(text).unwrap(), expected);
    }
}
