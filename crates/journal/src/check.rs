//! Reads a journal from its first entry to its last and reports everything that is not as it was written: the
//! chain from genesis, every payload's digest, every page of the file.
//!
//! It continues after a problem, so that one bad page does not hide another, and it names entries even where
//! SQLite only reports corruption. A server can be running: the check covers what existed at its start. Only a
//! replay can verify the stored hashes of the state.

use std::fmt;

use rusqlite::Row;
use rusqlite::types::ValueRef;
use vang_chat::Seq;

use crate::chain::{Chain, genesis};
use crate::contract::Payload;
use crate::format::Envelope;
use crate::reader::SqliteReader;

/// Problems to list; more are only counted.
const PROBLEMS_MAX: usize = 100;

/// Entries per call of `progress`, and per read lock.
const CHUNK: i64 = 256;

/// Unreadable positions in a row after which the check gives up: at some µs each, one second. A damaged page
/// can name a row so far away that no walk would reach it.
const UNREADABLE_RUN_MAX: u64 = 100_000;

/// The result of `check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// Readable entries.
    pub entries: u64,
    pub erased: u64,
    /// The chain at the last readable entry, to compare with a value noted elsewhere.
    pub end_chain: Chain,
    /// Empty for a sound journal.
    pub problems: Vec<Problem>,
}

/// One problem of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub seq: Option<Seq>,
    /// A whole sentence: "entry 57: the payload does not match its digest".
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)
    }
}

/// Checks everything. `progress` gets the number of entries done and in total.
pub fn check(reader: &mut SqliteReader, progress: &mut dyn FnMut(u64, u64)) -> CheckReport {
    let identity = reader.identity();
    let end =
        match reader.conn.query_row("SELECT max(seq) FROM entry", [], |row| row.get::<_, Option<i64>>(0)) {
            Ok(end) => Ok(end.and_then(|end| u64::try_from(end).ok()).unwrap_or(0)),
            Err(error) => Err(error.to_string()),
        };
    let mut walk = Walk {
        reader,
        expected: 1,
        bases: vec![genesis(&identity)],
        entries: 0,
        erased: 0,
        end_chain: genesis(&identity),
        problems: Problems::default(),
    };
    walk.entries(end.as_ref().ok().copied(), progress);
    if let Err(why) = &end {
        walk.problems.add(None, format!("the end of the journal cannot be read: {why}"));
    }
    walk.checkpoints();
    walk.pages();
    let Walk { entries, erased, end_chain, problems, .. } = walk;
    CheckReport { entries, erased, end_chain, problems: problems.listed() }
}

struct Walk<'a> {
    reader: &'a SqliteReader,
    /// The position of the next entry.
    expected: u64,
    /// The possible chain before the next entry. After a mismatch both the stored and the computed one, as
    /// either can be wrong; none after a gap.
    bases: Vec<Chain>,
    entries: u64,
    erased: u64,
    end_chain: Chain,
    problems: Problems,
}

impl Walk<'_> {
    fn entries(&mut self, end: Option<u64>, progress: &mut dyn FnMut(u64, u64)) {
        let mut unreadable = 0;
        while end.is_none_or(|end| self.expected <= end) {
            let before = self.expected;
            let read = self.chunk(end);
            if self.expected > before {
                unreadable = 0;
            }
            match read {
                Ok(0) => break,
                Ok(_) => {}
                // A page on the way to the next entry, or the entry's own page, is bad: read that entry alone.
                Err(_) if unreadable < UNREADABLE_RUN_MAX => {
                    let seq = self.expected;
                    match self.probe() {
                        Ok(Probed::Entry) => unreadable = 0,
                        Ok(Probed::Nothing) => {
                            unreadable += 1;
                            self.skip_to(seq + 1);
                        }
                        Err(why) => {
                            unreadable += 1;
                            self.problem(seq, format!("cannot be read: {why}"));
                            self.skip_to(seq + 1);
                        }
                    }
                }
                Err(why) => {
                    let what = format!("no entry from {} on can be read: {why}", self.expected);
                    self.problems.add(Some(Seq(self.expected)), what);
                    break;
                }
            }
            progress(self.expected - 1, end.unwrap_or(self.expected - 1));
        }
    }

    /// Reads the next entries, as many as one statement can.
    fn chunk(&mut self, end: Option<u64>) -> rusqlite::Result<usize> {
        let mut select = self.reader.conn.prepare_cached(
            "SELECT seq, envelope, chain, salt, payload FROM entry
             WHERE seq >= ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
        )?;
        let mut rows = select.query((row_id(self.expected), row_id(end.unwrap_or(u64::MAX)), CHUNK))?;
        let mut read = 0;
        while let Some(row) = rows.next()? {
            let seq = row.get::<_, i64>(0)?.unsigned_abs();
            if seq != self.expected {
                self.problems.missing(self.expected, seq);
                self.skip_to(seq);
            }
            self.entry(seq, row)?;
            read += 1;
        }
        Ok(read)
    }

    /// Reads the next entry alone.
    fn probe(&mut self) -> rusqlite::Result<Probed> {
        let mut select = self
            .reader
            .conn
            .prepare_cached("SELECT seq, envelope, chain, salt, payload FROM entry WHERE seq = ?1")?;
        let mut rows = select.query([row_id(self.expected)])?;
        match rows.next()? {
            Some(row) => self.entry(self.expected, row).map(|()| Probed::Entry),
            None => {
                self.problems.missing(self.expected, self.expected + 1);
                Ok(Probed::Nothing)
            }
        }
    }

    fn skip_to(&mut self, seq: u64) {
        self.expected = seq;
        self.bases.clear();
    }

    fn entry(&mut self, seq: u64, row: &Row<'_>) -> rusqlite::Result<()> {
        let columns = [row.get_ref(1)?, row.get_ref(2)?, row.get_ref(3)?, row.get_ref(4)?];
        let [envelope, chain, salt, payload] = columns;
        self.expected = seq + 1;
        self.entries += 1;
        let bases = std::mem::take(&mut self.bases);

        let ValueRef::Blob(envelope) = envelope else {
            self.problem(seq, "the envelope is not bytes");
            return Ok(());
        };
        let computed: Vec<Chain> = bases.iter().map(|base| base.after(envelope)).collect();
        match blob::<32>(chain) {
            Some(stored) => {
                let stored = Chain(stored);
                self.end_chain = stored;
                self.bases.push(stored);
                if !computed.is_empty() && !computed.contains(&stored) {
                    self.problem(seq, "the envelope does not match the chain");
                    self.bases.extend(computed);
                }
            }
            None => {
                self.problem(seq, "the chain is not 32 bytes");
                self.bases = computed;
            }
        }

        let decoded = Envelope::decode(envelope);
        if let Err(bad) = &decoded {
            self.problem(seq, format!("the envelope cannot be read: {bad}"));
        }
        match (salt, payload) {
            (ValueRef::Null, ValueRef::Null) => self.erased += 1,
            (salt, ValueRef::Blob(bytes)) => match (blob::<16>(salt), decoded) {
                (None, _) => self.problem(seq, "the salt is not 16 bytes"),
                (Some(salt), Ok(envelope)) => {
                    let payload = Payload { salt, bytes: bytes::Bytes::copy_from_slice(bytes) };
                    if payload.digest() != envelope.digest {
                        self.problem(seq, "the payload does not match its digest");
                    }
                }
                (Some(_), Err(_)) => {}
            },
            _ => self.problem(seq, "the payload is not bytes"),
        }
        Ok(())
    }

    fn checkpoints(&mut self) {
        let end = self.expected - 1;
        let walk = || -> rusqlite::Result<Vec<Problem>> {
            let mut problems = Vec::new();
            let mut select =
                self.reader.conn.prepare("SELECT seq, typeof(state), length(state) FROM checkpoint")?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let (seq, kind, len) =
                    (row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, Option<i64>>(2)?);
                let fault = if seq < 1 || seq.unsigned_abs() > end && self.grown_beyond(seq)? {
                    "belongs to no entry"
                } else if kind != "blob" || len != Some(32) {
                    "is not 32 bytes"
                } else {
                    continue;
                };
                let what = format!("the stored hash of the state at {seq} {fault}");
                problems.push(Problem { seq: u64::try_from(seq).ok().map(Seq), what });
                if problems.len() > PROBLEMS_MAX {
                    break;
                }
            }
            Ok(problems)
        };
        match walk() {
            Ok(problems) => {
                for Problem { seq, what } in problems {
                    self.problems.add(seq, what);
                }
            }
            Err(error) => {
                self.problems.add(None, format!("the stored hashes of the state cannot be read: {error}"));
            }
        }
    }

    /// Is there still no entry at `seq`? A server may have appended some meanwhile.
    fn grown_beyond(&self, seq: i64) -> rusqlite::Result<bool> {
        let mut select = self.reader.conn.prepare_cached("SELECT 1 FROM entry WHERE seq = ?1")?;
        select.exists([seq]).map(|exists| !exists)
    }

    /// SQLite's own check: damage that no entry shows, such as rows below 1 and lost pages.
    fn pages(&mut self) {
        let walk = || -> rusqlite::Result<Vec<String>> {
            let mut found = Vec::new();
            let before_first = "SELECT count(*) FROM entry WHERE seq < 1";
            let rows: i64 = self.reader.conn.query_row(before_first, [], |row| row.get(0))?;
            if rows > 0 {
                found.push(format!("{rows} rows lie before entry 1"));
            }
            let mut check = self.reader.conn.prepare("PRAGMA integrity_check(100)")?;
            let mut rows = check.query([])?;
            while let Some(row) = rows.next()? {
                let text: String = row.get(0)?;
                if text != "ok" {
                    found.push(format!("SQLite: {}", text.trim().replace('\n', "; ")));
                }
            }
            Ok(found)
        };
        match walk() {
            Ok(found) => found.into_iter().for_each(|what| self.problems.add(None, what)),
            Err(error) => self.problems.add(None, format!("the whole file cannot be read: {error}")),
        }
    }

    fn problem(&mut self, seq: u64, what: impl fmt::Display) {
        self.problems.add(Some(Seq(seq)), format!("entry {seq}: {what}"));
    }
}

enum Probed {
    Entry,
    Nothing,
}

#[derive(Default)]
struct Problems {
    listed: Vec<Problem>,
    more: u64,
}

impl Problems {
    fn add(&mut self, seq: Option<Seq>, what: String) {
        if self.listed.len() < PROBLEMS_MAX {
            self.listed.push(Problem { seq, what });
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    fn missing(&mut self, from: u64, to: u64) {
        let listed = to.min(from.saturating_add(PROBLEMS_MAX as u64));
        for seq in from..listed {
            self.add(Some(Seq(seq)), format!("entry {seq} is missing"));
        }
        self.more = self.more.saturating_add(to - listed);
    }

    fn listed(mut self) -> Vec<Problem> {
        if self.more > 0 {
            self.listed.push(Problem { seq: None, what: format!("and {} more", self.more) });
        }
        self.listed
    }
}

fn blob<const N: usize>(value: ValueRef<'_>) -> Option<[u8; N]> {
    match value {
        ValueRef::Blob(bytes) => bytes.try_into().ok(),
        _ => None,
    }
}

fn row_id(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
