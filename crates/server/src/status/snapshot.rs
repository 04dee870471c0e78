//! How the server is: one picture, for `vang status`, `/readyz` and `/metrics` alike, and what it means in
//! words. Only numbers, but for the names of those who have unread data: those the operator sees, and
//! nobody else.

use std::collections::BTreeMap;

use vang_hub::{Peer, Stats};
use vang_proto::text::{count, duration, size};
use vang_proto::vang::{
    Code, ConnectionsStatus, DamageStatus, DiskStatus, DoorStatus, JournalStatus, MemoryStatus,
    OpenFilesStatus, ProgressStatus, ServerStatus, SlowReader, UnreadStatus,
};

use crate::net::listen::PeerAddr;
use crate::status::machine::{Machine, Space};
use crate::status::monitoring::Times;

/// Connections named that have the most unread data.
const NAMED_MAX: usize = 10;

/// With unread data of which none was taken for so long, somebody has stopped reading: 1 min.
const STALLED_MS: u64 = 60_000;

/// Entries behind from which on the view is worth a word: a second's work.
const LAG_WARNING: u64 = 10_000;

/// Damaged entries named one by one.
pub(crate) const DAMAGED_NAMED: usize = 10;

/// A journal so far ahead of the clock is worth a warning: 1 min. Clocks that are set by the network differ by less.
pub(crate) const AHEAD_WARNING_MS: u64 = 60_000;

/// Free room is worth a warning below so many times what makes the server not ready.
const FREE_WARNING_FACTOR: u64 = 4;

/// By which door, how wrapped, and from where: what connections are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionClass {
    pub(crate) door: &'static str,
    pub(crate) encryption: &'static str,
    pub(crate) origin: &'static str,
}

/// A connection with unread data: bytes in memory that its client does not take.
#[derive(Clone, Debug)]
pub(crate) struct UnreadConnection {
    pub(crate) bytes: usize,
    /// Since it took something, ms.
    pub(crate) for_ms: u64,
    /// Entries that it has still to take, or pass over.
    pub(crate) behind: u64,
    pub(crate) name: String,
    pub(crate) from: PeerAddr,
    pub(crate) class: ConnectionClass,
}

/// The server at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) server: String,
    pub(crate) up_ms: u64,
    pub(crate) journal: String,
    pub(crate) open: bool,
    /// Why nothing can be written.
    pub(crate) trouble: Option<String>,
    /// Damaged entries that readers have met, and the first of them.
    pub(crate) damaged: u64,
    pub(crate) damaged_first: Vec<u64>,
    /// The newest entry's time is so far ahead of this machine's clock, ms.
    pub(crate) ahead_ms: u64,
    pub(crate) hub: Stats,
    pub(crate) view: CursorProgress,
    pub(crate) find: CursorProgress,
    pub(crate) classes: BTreeMap<ConnectionClass, u64>,
    pub(crate) connections_max: u64,
    /// Since the start, including refused ones.
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    /// In memory for clients, bytes, and how much that may be.
    pub(crate) held_bytes: u64,
    pub(crate) memory_max: u64,
    /// Connections that had to give up what they held.
    pub(crate) shed: u64,
    /// In memory, for all connections.
    pub(crate) unread_bytes: u64,
    /// Connections that do not take what is sent to them, those of them that take nothing for `STALLED_MS`, and those with
    /// the most unread data, most first.
    pub(crate) unread_connections: u64,
    pub(crate) stalled: u64,
    pub(crate) slowest: Vec<UnreadConnection>,
    pub(crate) appends: Times,
    pub(crate) refusals: Vec<(Code, u64)>,
    /// Since the start: hashes of passwords, and passwords that were refused unchecked. Those that wait now.
    pub(crate) password_hashes: u64,
    pub(crate) passwords_refused: u64,
    pub(crate) passwords_waiting: u64,
    pub(crate) free_min: u64,
    /// The limits `ready-lag` and `send-lag`.
    pub(crate) lag_max: u64,
    pub(crate) send_lag: u64,
}

/// A reader of the journal: how far it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CursorProgress {
    pub(crate) position: u64,
    pub(crate) stuck: bool,
}

impl UnreadConnection {
    fn is_stalled(&self) -> bool {
        self.for_ms >= STALLED_MS
    }

    /// How much is unread, and for how long.
    fn weight(&self) -> (usize, u64) {
        (self.bytes, self.for_ms)
    }
}

impl Snapshot {
    /// One more that does not take what is sent to it.
    pub(crate) fn add_unread(&mut self, unread: UnreadConnection) {
        self.unread_connections += 1;
        self.unread_bytes += unread.bytes as u64;
        self.stalled += u64::from(unread.is_stalled());
        let at = self.slowest.partition_point(|slower| slower.weight() >= unread.weight());
        if at < NAMED_MAX {
            self.slowest.truncate(NAMED_MAX - 1);
            self.slowest.insert(at, unread);
        }
    }

    /// Entries that a reader of the journal is behind.
    pub(crate) fn lag(&self, progress: CursorProgress) -> u64 {
        self.hub.seq.saturating_sub(progress.position)
    }

    /// What keeps the server from being ready, the worst first.
    pub(crate) fn not_ready(&self, disk: Option<Space>) -> Option<String> {
        if let Some(trouble) = &self.trouble {
            return Some(trouble.clone());
        }
        if let Some(Space { free, .. }) = disk
            && free < self.free_min
        {
            let (free, least) = (size(free), size(self.free_min));
            return Some(format!("the disk has {free} free, less than the limit ready-free ({least})"));
        }
        if self.view.stuck {
            return Some("the view cannot be written".to_owned());
        }
        let lag = self.lag(self.view);
        (lag > self.lag_max).then(|| {
            format!("the view is {lag} entries behind, more than the limit ready-lag ({})", self.lag_max)
        })
    }

    /// What is damaged in the journal, if anything. It does not keep the server from being ready: everything else is
    /// served, and no other server has what is lost.
    pub(crate) fn damage(&self) -> Option<String> {
        if self.damaged == 0 {
            return None;
        }
        let named: Vec<String> = self.damaged_first.iter().map(u64::to_string).collect();
        let more = if self.damaged > named.len() as u64 { ", …" } else { "" };
        let (entries, are) = if self.damaged == 1 { ("entry", "is") } else { ("entries", "are") };
        Some(format!("{} {entries} of the journal {are} damaged ({}{more})", self.damaged, named.join(", ")))
    }

    /// What is off and what it means, in words; nothing when all is well.
    pub(crate) fn meaning(&self, machine: &Machine) -> Vec<String> {
        let mut sentences = Vec::new();
        if let Some(trouble) = &self.trouble {
            sentences.push(format!(
                "no messages can be posted now: {trouble}; reading works, and the server tries again"
            ));
        }
        if let Some(damage) = self.damage() {
            sentences.push(format!(
                "{damage}: readers get a hole instead of the damaged messages. The disk or the memory may be failing: \
                 run `vang admin check`, keep the folder unchanged, and restore the newest backup that passes the check"
            ));
        }
        if self.ahead_ms >= AHEAD_WARNING_MS {
            sentences.push(ahead(self.ahead_ms));
        }
        match machine.disk {
            Some(Space { free, .. }) if free < self.free_min => sentences.push(format!(
                "the disk is almost full ({} free): soon no messages can be posted; free disk space, or move the data folder",
                size(free)
            )),
            Some(Space { free, .. }) if free < self.free_min.saturating_mul(FREE_WARNING_FACTOR) => {
                sentences.push(format!("the disk has only {} free", size(free)));
            }
            _ => {}
        }
        let lag = self.lag(self.view);
        if self.view.stuck {
            sentences.push(
                "the view cannot be written: requests for old messages get an error for now; nothing is lost"
                    .to_owned(),
            );
        } else if lag > LAG_WARNING {
            sentences.push(format!(
                "the view is {lag} entries behind: requests for the newest messages wait; with more than the limit \
                 send-lag ({}), new messages wait, too",
                count(self.send_lag)
            ));
        }
        let named: Vec<&UnreadConnection> = self.slowest.iter().filter(|slow| slow.is_stalled()).collect();
        let unnamed = self.stalled - named.len() as u64;
        for slow in named {
            sentences.push(format!(
                "{} ({}) has read nothing for {}: {} are unread. No message is lost; the connection is closed after the limit stall",
                slow.name,
                slow.from,
                duration(slow.for_ms),
                size(slow.bytes as u64)
            ));
        }
        if unnamed > 0 {
            let have = if unnamed == 1 { "connection has" } else { "connections have" };
            let (unnamed, since) = (count(unnamed), duration(STALLED_MS));
            sentences.push(format!("{unnamed} more {have} read nothing for {since} or longer"));
        }
        if self.memory_max > 0 && self.held_bytes > self.memory_max / 2 {
            sentences.push(format!(
                "the server holds {} for clients; they can have {}, half of the limit memory: above it the server reads nothing new, and closes the connection that holds most",
                size(self.held_bytes),
                size(self.memory_max)
            ));
        }
        let open: u64 = self.classes.values().sum();
        if self.connections_max > 0 && open * 10 >= self.connections_max * 9 {
            sentences.push(format!(
                "{open} of {} connections are in use: above the limit connections, new ones are refused",
                self.connections_max
            ));
        }
        sentences
    }

    /// The result of the action `status`, which `vang status --json` prints.
    pub(crate) fn report(&self, machine: &Machine) -> ServerStatus {
        let not_ready = self.not_ready(machine.disk);
        ServerStatus {
            connections: ConnectionsStatus {
                accepted: self.accepted,
                doors: self.doors(),
                most: self.connections_max,
                open: self.classes.values().sum(),
                refused: self.refused,
            },
            cpu_seconds: machine.cpu_seconds,
            disk: DiskStatus {
                files: machine.files.iter().map(|&(name, size)| (name.to_owned(), size)).collect(),
                free_bytes: machine.disk.map(|space| space.free),
                ready_free_bytes: self.free_min,
                size_bytes: machine.disk.map(|space| space.size),
            },
            find: Some(self.progress(self.find)),
            journal: JournalStatus {
                ahead_ms: self.ahead_ms,
                appends: self.appends.count(),
                damaged: DamageStatus { count: self.damaged, first: self.damaged_first.clone() },
                id: self.journal.clone(),
                last_append_us: (self.appends.count() > 0).then_some(self.appends.last_us),
                open: self.open,
                position: self.hub.seq,
                trouble: self.trouble.clone(),
            },
            meaning: self.meaning(machine),
            memory: MemoryStatus {
                held_bytes: self.held_bytes,
                held_bytes_max: self.memory_max,
                queue_bytes: self.hub.queue_bytes as u64,
                resident_bytes: machine.resident_bytes,
                shed: self.shed,
                tail_bytes: self.hub.tail_bytes as u64,
            },
            messages: self.hub.messages,
            ready: not_ready.is_none(),
            not_ready,
            open_files: OpenFilesStatus { most: machine.open_files_max, now: machine.open_files },
            refusals: self.refusals.iter().map(|&(code, count)| (code.as_str().to_owned(), count)).collect(),
            server: self.server.clone(),
            unread: UnreadStatus {
                bytes: self.unread_bytes,
                connections: self.unread_connections,
                most: self.slowest_readers(),
            },
            up_ms: self.up_ms,
            view: Some(self.progress(self.view)),
        }
    }

    fn doors(&self) -> Vec<DoorStatus> {
        let status = |(class, &open): (&ConnectionClass, &u64)| DoorStatus {
            door: class.door.to_owned(),
            encryption: class.encryption.to_owned(),
            open,
            origin: class.origin.to_owned(),
        };
        self.classes.iter().map(status).collect()
    }

    fn progress(&self, progress: CursorProgress) -> ProgressStatus {
        let CursorProgress { position, stuck } = progress;
        ProgressStatus { behind: self.lag(progress), position, stuck }
    }

    fn slowest_readers(&self) -> Vec<SlowReader> {
        let status = |unread: &UnreadConnection| SlowReader {
            behind: unread.behind,
            bytes: unread.bytes as u64,
            door: unread.class.door.to_owned(),
            encryption: unread.class.encryption.to_owned(),
            for_ms: unread.for_ms,
            from: unread.from.to_string(),
            name: unread.name.clone(),
            origin: unread.class.origin.to_owned(),
        };
        self.slowest.iter().map(status).collect()
    }
}

/// What it means that the newest entry is from a time that is not yet.
pub(crate) fn ahead(ms: u64) -> String {
    let how_far = match ms / 86_400_000 {
        0 | 1 => duration(ms),
        days => format!("{days} days"),
    };
    format!(
        "the newest entry is {how_far} ahead of this machine's clock: new messages get the time of that entry until \
         the clock has passed it; if the clock is wrong, correct it"
    )
}

impl ConnectionClass {
    pub(crate) fn new(door: &'static str, tls: bool, peer: Peer) -> ConnectionClass {
        let origin = match peer {
            Peer::Operator | Peer::Local => "local",
            Peer::RemoteTls | Peer::RemotePlain => "remote",
        };
        ConnectionClass { door, encryption: if tls { "tls" } else { "none" }, origin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> (Snapshot, Machine) {
        let snapshot = Snapshot {
            free_min: 64 << 20,
            lag_max: 100_000,
            send_lag: 1_000_000,
            connections_max: 100,
            ..Snapshot::default()
        };
        let machine = Machine { disk: Some(Space { free: 1 << 40, size: 1 << 41 }), ..Machine::default() };
        (snapshot, machine)
    }

    #[test]
    fn a_server_that_is_well_has_nothing_to_say() {
        let (snapshot, machine) = healthy();
        assert_eq!(snapshot.not_ready(machine.disk), None);
        assert_eq!(snapshot.meaning(&machine), Vec::<String>::new());
        // A disk that cannot be looked at is no reason not to serve.
        assert_eq!(snapshot.not_ready(None), None);
    }

    #[test]
    fn a_full_disk_and_a_view_that_is_behind_are_reported_before_they_hurt() {
        let (mut snapshot, mut machine) = healthy();
        machine.disk = Some(Space { free: (64 << 20) - 1, size: 1 << 40 });
        let why = snapshot.not_ready(machine.disk).unwrap();
        assert_eq!(why, "the disk has 64.0 MiB free, less than the limit ready-free (64.0 MiB)");
        assert!(
            snapshot.meaning(&machine)[0]
                .starts_with("the disk is almost full (64.0 MiB free): soon no messages")
        );
        machine.disk = Some(Space { free: 64 << 20, size: 1 << 40 });
        assert_eq!(snapshot.not_ready(machine.disk), None);
        assert_eq!(snapshot.meaning(&machine), ["the disk has only 64.0 MiB free"]);

        (snapshot, machine) = healthy();
        snapshot.hub.seq = 100_000;
        assert_eq!(snapshot.not_ready(machine.disk), None);
        assert!(snapshot.meaning(&machine)[0].starts_with("the view is 100000 entries behind"));
        snapshot.hub.seq = 100_001;
        let why = "the view is 100001 entries behind, more than the limit ready-lag (100000)";
        assert_eq!(snapshot.not_ready(machine.disk).unwrap(), why);
        snapshot.view = CursorProgress { position: 100_001, stuck: true };
        assert_eq!(snapshot.not_ready(machine.disk).unwrap(), "the view cannot be written");
        // What keeps everybody from posting comes before all else.
        snapshot.trouble = Some("no space left for the journal".to_owned());
        assert_eq!(snapshot.not_ready(machine.disk).unwrap(), "no space left for the journal");
    }

    #[test]
    fn damage_is_reported_and_counted_and_the_rest_still_works() {
        let (mut snapshot, machine) = healthy();
        (snapshot.damaged, snapshot.damaged_first) = (1, vec![57]);
        assert_eq!(snapshot.damage().unwrap(), "1 entry of the journal is damaged (57)");
        (snapshot.damaged, snapshot.damaged_first) = (12, vec![57, 90]);
        assert_eq!(snapshot.damage().unwrap(), "12 entries of the journal are damaged (57, 90, …)");
        assert_eq!(snapshot.not_ready(machine.disk), None);
        assert!(snapshot.meaning(&machine)[0].contains("are damaged (57, 90, …): readers get a hole"));
        let report = snapshot.report(&machine);
        assert_eq!(report.journal.damaged, DamageStatus { count: 12, first: vec![57, 90] });
    }

    #[test]
    fn a_journal_ahead_of_the_clock_is_reported_in_days() {
        let (mut snapshot, machine) = healthy();
        snapshot.ahead_ms = AHEAD_WARNING_MS - 1;
        assert_eq!(snapshot.meaning(&machine), Vec::<String>::new());
        snapshot.ahead_ms = 4_500 * 86_400_000;
        let meaning = snapshot.meaning(&machine);
        assert!(
            meaning[0].starts_with("the newest entry is 4500 days ahead of this machine's clock: "),
            "{meaning:?}"
        );
    }

    #[test]
    fn connections_with_the_most_unread_data_are_named_and_no_more_than_ten() {
        let (mut snapshot, machine) = healthy();
        let class = ConnectionClass::new("native", false, Peer::Local);
        let unread = |n: usize| UnreadConnection {
            bytes: n * 1_000,
            for_ms: 59_000 + n as u64 * 100,
            behind: 7,
            name: format!("guest:slow{n}"),
            from: PeerAddr::Address(([127, 0, 0, 1], 9).into()),
            class,
        };
        snapshot.classes.insert(class, 95);
        for n in [5, 12, 1, 8, 3, 10, 7, 2, 11, 4, 9, 6] {
            snapshot.add_unread(unread(n));
        }
        let report = snapshot.report(&machine);
        let named: Vec<&str> = report.unread.most.iter().map(|reader| reader.name.as_str()).collect();
        assert_eq!((named.len(), named[0], named[9]), (10, "guest:slow12", "guest:slow3"));
        let meaning = snapshot.meaning(&machine);
        assert_eq!(meaning.len(), 4, "{meaning:?}");
        assert!(
            meaning[2]
                .starts_with("guest:slow10 (127.0.0.1:9) has read nothing for 60 s: 9.8 KiB are unread")
        );
        assert!(meaning[3].starts_with("95 of 100 connections are in use"), "{meaning:?}");
        for _ in 0..2 {
            snapshot.add_unread(UnreadConnection { bytes: 1, for_ms: STALLED_MS, ..unread(1) });
        }
        let meaning = snapshot.meaning(&machine);
        assert!(meaning[3].starts_with("2 more connections have read nothing for "), "{meaning:?}");
        assert_eq!((snapshot.unread_connections, snapshot.slowest.len()), (14, 10));
    }
}
