//! Every limit of the server by its name: unit, default, reason in one place. `--limit NAME=VALUE`
//! sets one; the names are those of `docs/PROTOCOL.md` section 7.

use std::fmt::Write as _;
use std::time::Duration;

use crate::disk::find::FIND_MS;
use vang_chat::limits::ROOMS_MAX;
use vang_hub::limits::ROOMS_PER_ACCOUNT;
use vang_proto::limits::{
    CONTENT_BYTES_MAX, CONTENT_MS, FIRST_BYTE_MS, HEADER_BYTES_MAX, HEADER_MS, IDLE_MS, INLINE_BYTES_MAX,
    LINE_BYTES_MAX, STALL_MS, TYPED_BYTES_MAX,
};
use vang_proto::text;
use vang_proto::vang::ServerLimits;

use crate::fairness::memory::{self, BUDGET_BYTES_MIN};
use crate::fairness::quota::Rates;
use crate::secrets::guesses::GuessLimits;

/// Connections from one address, unless it is this machine's own.
const PER_ADDRESS_MAX: u64 = 1_024;

/// Open files that are not connections: the journal, the view, listeners, refusals under way.
const FILES_RESERVED: u64 = 256;

/// Free room on the data folder's disk below which the server says that it is not ready: 128 MiB, what the
/// WALs of journal and view may take between two tidyings. `/readyz` then fails before the first send does.
const READY_FREE_BYTES: u64 = 128 << 20;

/// How many entries the view can be behind before new messages wait.
const SEND_LAG: u64 = 1_000_000;

/// How many entries the view can be behind before the server says that it is not ready.
const READY_LAG: u64 = SEND_LAG / 10;

/// Messages that one account, or one guest's connection, may send in a second: a sensor that reports every 10 ms is half
/// of it. Beyond it the client is read later.
const MESSAGES_PER_SECOND: u64 = 200;

/// Bytes of those messages: 512 KiB/s; with `BURST_MS` 30 MiB at once.
const BYTES_PER_SECOND: u64 = 512 << 10;

/// Questions likewise: somebody who scrolls through history fast asks 5.
const QUESTIONS_PER_SECOND: u64 = 50;

/// Joins and leaves likewise.
const JOINS_PER_SECOND: u64 = 20;

/// New rooms of one account in a day: a hundredth of what a server may have. Beyond it `busy`.
const ROOMS_PER_DAY: u64 = 1_000;

/// New connections of one address in a second: with `BURST_MS` a class that comes back after a restart is far below.
const CONNECTIONS_PER_SECOND: u64 = 50;

/// What each of these rates allows in this time may come at once, ms: a minute's worth, so that a client which was
/// offline for a while can catch up.
const BURST_MS: u64 = 60_000;

/// The guests of one address may together ask so many times what one guest's connection may: as many active guests
/// behind one router. Beyond it they are read later, as one guest is.
const ADDRESS_FACTOR: u64 = 8;

/// No quota, practically.
const QUOTA_MAX: u64 = 1 << 40;

/// Silence after which a WebSocket is sent a ping, ms: proxies give up after 60 s (nginx), some after 30.
const PING_AFTER_MS: u64 = 25_000;

/// How long a stop waits for clients to take what they are owed, ms.
const STOP_MS: u64 = 5_000;

/// Passwords that wait to be checked, of strangers and of those who signed in before each: one thread, which needs 22 ms for
/// one, does 1,360 in the 30 s that each may wait. Each holds at most 1 KiB. Beyond it one is answered `busy`, of the
/// address or account that has most waiting.
const PASSWORDS_WAITING: u64 = 1_024;

/// Of those, for one account: strangers get one check a second, so that the last of them has its turn after 30 s, when it
/// is given up.
const PASSWORDS_PER_ACCOUNT: u64 = 32;

/// Accounts, networks, addresses and devices of which the server knows that they gave wrong passwords lately, of each; it
/// forgets them after 10 to 50 s, and 16,384 are never reached with less than 320 wrong passwords a second. Until one of them is
/// forgotten, a new one waits. About 8 MiB in all.
const GUESSERS: u64 = 16_384;

/// The limits of a server.
#[derive(Clone, Debug)]
pub struct Limits {
    values: [u64; TABLE.len()],
    /// Set by hand: then not derived from the machine.
    set: [bool; TABLE.len()],
}

/// How a value is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    Time,
    Count,
}

struct Row {
    name: &'static str,
    unit: Unit,
    default: u64,
    least: u64,
    most: u64,
    why: &'static str,
}

macro_rules! rows {
    ($($name:literal $unit:ident $default:expr, $least:expr => $most:expr, $why:literal;)+) => {
        [$(Row { name: $name, unit: Unit::$unit, default: $default, least: $least, most: $most, why: $why },)+]
    };
}

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

const TABLE: [Row; 31] = rows![
    "header" Bytes HEADER_BYTES_MAX as u64, 256 => HEADER_BYTES_MAX as u64, "header of a message; its two length bytes cannot hold more";
    "content" Bytes CONTENT_BYTES_MAX, 1_024 => 1 << 30, "content of any message; a longer one is refused before it is read";
    "inline" Bytes INLINE_BYTES_MAX, 1 => INLINE_BYTES_MAX, "content of a message in a room: stored, and sent to all its readers";
    "line" Bytes LINE_BYTES_MAX as u64, 64 => TYPED_BYTES_MAX as u64 / 2, "a typed line; a longer one is refused";
    "first-byte" Time FIRST_BYTE_MS, 10 => DAY_MS, "time for a new connection to send its first bytes; then it is closed";
    "header-time" Time HEADER_MS, 10 => DAY_MS, "time from the first byte of a header to its last";
    "content-time" Time CONTENT_MS, 10 => DAY_MS, "time from the end of a header to the end of its content";
    "idle" Time IDLE_MS, 10 => 365 * DAY_MS, "time without a request, if the connection follows no room";
    "stall" Time STALL_MS, 10 => 365 * DAY_MS, "time that a client reads nothing although data waits for it";
    "ping-after" Time PING_AFTER_MS, 10 => DAY_MS, "time without traffic until a WebSocket gets a ping, so that proxies keep it open";
    "stop-time" Time STOP_MS, 0 => DAY_MS, "time for clients to read their pending data when the server stops";
    "connections" Count 0, 1 => 10_000_000, "connections in total; default: open-file limit - 256";
    "per-address" Count PER_ADDRESS_MAX, 1 => 10_000_000, "connections from one address; not for this machine";
    "memory" Bytes 0, BUDGET_BYTES_MIN => 1 << 50, "memory for data of clients; default: an eighth of the machine's memory";
    "messages-per-second" Count MESSAGES_PER_SECOND, 1 => QUOTA_MAX, "messages from an account or a guest's connection; bursts: see burst-time";
    "bytes-per-second" Bytes BYTES_PER_SECOND, 1 => QUOTA_MAX, "bytes of these messages; same bursts";
    "questions-per-second" Count QUESTIONS_PER_SECOND, 1 => QUOTA_MAX, "history, find, rooms, who and follow; same bursts";
    "joins-per-second" Count JOINS_PER_SECOND, 1 => QUOTA_MAX, "joins, leaves and topics; same bursts";
    "rooms-per-day" Count ROOMS_PER_DAY, 1 => QUOTA_MAX, "new rooms of one account";
    "rooms-per-account" Count ROOMS_PER_ACCOUNT, 0 => ROOMS_MAX as u64, "rooms that one account can make in all; not for the operator";
    "connections-per-second" Count CONNECTIONS_PER_SECOND, 1 => QUOTA_MAX, "new connections from one address; same bursts; not for this machine";
    "burst-time" Time BURST_MS, 1_000 => DAY_MS, "a client can use at once what the rates per second allow in this time";
    "address-factor" Count ADDRESS_FACTOR, 1 => QUOTA_MAX, "rates of all guests of one address together, as a multiple of one guest's";
    "find-time" Time FIND_MS, 0 => DAY_MS, "time for one find; then the answer is busy. 0 turns find off";
    "password-threads" Count 0, 1 => 1_024, "passwords checked at once; each takes up to 64 MiB; default: half of the processors";
    "passwords-waiting" Count PASSWORDS_WAITING, 1 => 1_000_000, "passwords that wait to be checked; of known devices as many again";
    "passwords-per-account" Count PASSWORDS_PER_ACCOUNT, 1 => 128, "of these, for one account";
    "guessers" Count GUESSERS, 16 => 1_000_000, "accounts, networks, addresses and devices with wrong passwords lately, of each";
    "ready-free" Bytes READY_FREE_BYTES, 0 => 1 << 50, "free space on the disk of the data folder; with less, /readyz answers 503";
    "ready-lag" Count READY_LAG, 1 => 10_000_000, "entries that the view can be behind; with more, /readyz answers 503";
    "send-lag" Count SEND_LAG, 1 => 10_000_000, "entries that the view can be behind; with more, new messages wait";
];

/// Not a limit that can be set.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LimitError {
    /// No `=`.
    #[error("'{given}' is not NAME=VALUE, as idle=5m is")]
    Shape { given: String },
    /// No such name.
    #[error("there is no limit '{name}'{}", .nearest.map_or_else(|| format!("; there are {}", names()), |near| format!("; did you mean '{near}'?")))]
    Name {
        name: String,
        /// The most alike.
        nearest: Option<&'static str>,
    },
    /// Not a value of its unit, or beyond its range.
    #[error("limit '{name}' is {value}; it must be {allowed}")]
    Value {
        name: &'static str,
        value: String,
        /// What is allowed.
        allowed: String,
    },
}

fn names() -> String {
    TABLE.map(|row| row.name).join(", ")
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { values: TABLE.each_ref().map(|row| row.default), set: [false; TABLE.len()] }
    }
}

impl Limits {
    /// Sets one as `NAME=VALUE`: bytes as `64KiB`, `64k` (64,000) or `65536`, times as `10s`, `200ms` or `5m`.
    pub fn set(&mut self, given: &str) -> Result<(), LimitError> {
        let Some((name, value)) = given.split_once('=') else {
            return Err(LimitError::Shape { given: given.to_owned() });
        };
        let (name, value) = (name.trim(), value.trim());
        let Some(index) = TABLE.iter().position(|row| row.name == name) else {
            let likeness = |row: &&Row| (strsim::jaro_winkler(row.name, name) * 1_000.0) as u32;
            let nearest = TABLE.iter().max_by_key(likeness).filter(|row| likeness(row) > 700);
            return Err(LimitError::Name { name: name.to_owned(), nearest: nearest.map(|row| row.name) });
        };
        let row = &TABLE[index];
        let parsed = parse(value, row.unit).filter(|number| (row.least..=row.most).contains(number));
        let Some(number) = parsed else {
            let allowed = format!("{} to {}", show(row.least, row.unit), show(row.most, row.unit));
            return Err(LimitError::Value { name: row.name, value: value.to_owned(), allowed });
        };
        self.values[index] = number;
        self.set[index] = true;
        Ok(())
    }

    fn get(&self, name: &str) -> u64 {
        let index = TABLE.iter().position(|row| row.name == name);
        self.values[index.expect("asked for with a name of the table, by the methods below")]
    }

    /// What one connection's machine needs.
    pub fn session(&self) -> ServerLimits {
        ServerLimits {
            frame: vang_proto::Limits { header: self.get("header") as u32, content: self.get("content") },
            header_ms: self.get("header-time"),
            content_ms: self.get("content-time"),
            idle_ms: self.get("idle"),
            stall_ms: self.get("stall"),
        }
    }

    /// Content of a message in a room, bytes.
    pub fn inline_bytes(&self) -> u64 {
        self.get("inline")
    }

    /// A typed line, bytes.
    pub fn line_bytes(&self) -> usize {
        self.get("line") as usize
    }

    /// The time for a new connection to send its first bytes, ms.
    pub fn first_byte_ms(&self) -> u64 {
        self.get("first-byte")
    }

    /// Silence after which a WebSocket is sent a ping, ms.
    pub fn ping_after_ms(&self) -> u64 {
        self.get("ping-after")
    }

    /// For clients to take what they are owed at a stop, ms.
    pub fn stop_ms(&self) -> u64 {
        self.get("stop-time")
    }

    /// The budget for what clients make the server hold, bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        match self.get("memory") {
            0 => memory::default_budget(),
            set => set,
        }
    }

    /// Rooms that one account can make in all.
    pub fn rooms_per_account(&self) -> u64 {
        self.get("rooms-per-account")
    }

    /// How much one account or guest may ask.
    pub(crate) fn rates(&self) -> Rates {
        Rates {
            messages: self.get("messages-per-second"),
            bytes: self.get("bytes-per-second"),
            questions: self.get("questions-per-second"),
            joins: self.get("joins-per-second"),
            rooms_a_day: self.get("rooms-per-day"),
            connections: self.get("connections-per-second"),
            burst_ms: self.get("burst-time"),
            address_factor: self.get("address-factor"),
        }
    }

    /// Connections in all, on a process that may open so many files.
    pub fn connections(&self, open_files: u64) -> usize {
        match self.get("connections") {
            0 => open_files.saturating_sub(FILES_RESERVED).max(16) as usize,
            set => set as usize,
        }
    }

    /// For one `find` to look, ms.
    pub fn find_ms(&self) -> u64 {
        self.get("find-time")
    }

    /// How many passwords are checked at once, and how many wait.
    pub(crate) fn guesses(&self) -> GuessLimits {
        let threads = match self.get("password-threads") {
            0 => std::thread::available_parallelism().map_or(1, |processors| (processors.get() / 2).max(1)),
            set => set as usize,
        };
        GuessLimits {
            threads,
            waiting: self.get("passwords-waiting") as usize,
            waiting_per_account: self.get("passwords-per-account") as usize,
            remembered: self.get("guessers") as usize,
        }
    }

    /// Free room on the disk below which the server is not ready, bytes.
    pub fn ready_free_bytes(&self) -> u64 {
        self.get("ready-free")
    }

    /// How many entries the view can be behind before the server is not ready.
    pub fn ready_lag(&self) -> u64 {
        self.get("ready-lag")
    }

    /// How many entries the view can be behind before new messages wait.
    pub(crate) fn send_lag(&self) -> u64 {
        self.get("send-lag")
    }

    /// Connections from one address.
    pub fn per_address(&self) -> u32 {
        self.get("per-address").min(u64::from(u32::MAX)) as u32
    }

    /// Every limit by its name, with its default as it is written; `-` is derived from the machine.
    pub fn defaults() -> impl Iterator<Item = (&'static str, String)> {
        let text = |row: &Row| if row.default == 0 { "-".to_owned() } else { show(row.default, row.unit) };
        TABLE.iter().map(move |row| (row.name, text(row)))
    }

    /// The table, for `--help`.
    pub fn help() -> String {
        let mut text = String::from("Limits (--limit NAME=VALUE):\n");
        for row in &TABLE {
            let default = if row.default == 0 { "-".to_owned() } else { show(row.default, row.unit) };
            let _ = writeln!(text, "  {:<22} {:>7}  {}", row.name, default, row.why);
        }
        text
    }
}

fn parse(value: &str, unit: Unit) -> Option<u64> {
    match unit {
        Unit::Bytes => text::read_bytes(value),
        Unit::Time => u64::try_from(text::read_duration(value)?.as_millis()).ok(),
        Unit::Count => text::read_count(value),
    }
}

fn show(value: u64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => text::typed_bytes(value),
        Unit::Time => text::typed_duration(Duration::from_millis(value)),
        Unit::Count => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_set_by_its_name_with_a_unit() {
        let mut limits = Limits::default();
        for given in ["content=2MiB", "idle=90s", "header-time=200ms", "connections=12"] {
            limits.set(given).unwrap();
        }
        assert_eq!(limits.session().frame.content, 2 << 20);
        assert_eq!((limits.session().idle_ms, limits.session().header_ms), (90_000, 200));
        assert_eq!((limits.connections(99), Limits::default().connections(1_024)), (12, 768));
        for given in ["burst-time=2s", "address-factor=1"] {
            limits.set(given).unwrap();
        }
        assert_eq!((limits.rates().burst_ms, limits.rates().address_factor), (2_000, 1));
    }

    #[test]
    fn half_of_the_processors_check_passwords_unless_it_is_set() {
        let mut limits = Limits::default();
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        assert_eq!(limits.guesses().threads, (processors / 2).max(1));
        for given in ["password-threads=3", "passwords-waiting=9", "passwords-per-account=2", "guessers=99"] {
            limits.set(given).unwrap();
        }
        let expected = GuessLimits { threads: 3, waiting: 9, waiting_per_account: 2, remembered: 99 };
        assert_eq!(limits.guesses(), expected);
    }

    #[test]
    fn the_specification_has_every_limit() {
        let specification = include_str!("../../../docs/PROTOCOL.md");
        let section = specification.split("\n## 7. ").nth(1).and_then(|rest| rest.split("\n## ").next());
        let rows = section.unwrap().lines().filter_map(|line| line.strip_prefix("| `"));
        let mut found: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
        let mut expected = TABLE.map(|row| row.name);
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "the table of docs/PROTOCOL.md, section 7");
    }

    #[test]
    fn an_invalid_limit_is_refused_with_what_is_allowed() {
        let refusal = |given: &str| Limits::default().set(given).unwrap_err().to_string();
        assert_eq!(refusal("contents=1"), "there is no limit 'contents'; did you mean 'content'?");
        assert_eq!(refusal("hedaer=1"), "there is no limit 'hedaer'; did you mean 'header'?");
        assert!(refusal("zzz=1").starts_with("there is no limit 'zzz'; there are header, content, "));
        assert_eq!(refusal("idle"), "'idle' is not NAME=VALUE, as idle=5m is");
        assert_eq!(refusal("header=65536"), "limit 'header' is 65536; it must be 256 to 65535");
        assert_eq!(refusal("idle=soon"), "limit 'idle' is soon; it must be 10ms to 365d");
        assert!(Limits::help().contains("  idle                       10m  time without a request"));
    }
}
