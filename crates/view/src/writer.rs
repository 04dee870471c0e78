//! The one writer: takes the outcomes of the journal's entries, in order, and stores its cursor in the same
//! transaction. Feeding it something again changes nothing.

use std::fmt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, MAIN_DB, OptionalExtension, Transaction, TransactionBehavior};
use vang_chat::{Access, Feed, Seq, State};
use vang_journal::{DatabaseWatch, FileWatchError};

use crate::connect::hold;
use crate::layout::{self, Chains, Opened, key, number};
use crate::seal;
use crate::{EventClass, EventRow, TextOf, ViewError};

/// Rows per insert statement. More than this is not faster.
const ROWS_PER_INSERT: usize = 32;

/// Stored snapshots: the newest, and the previous one in case the newest is damaged.
const SNAPSHOTS_KEPT: usize = 2;

/// A row of the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// An entry that a feed's readers see. In a keyed feed it takes the place of the one with the same key.
    Event { feed: Feed, event: EventRow },
    /// A text from this entry on.
    Text { seq: Seq, of: TextOf, text: String },
}

impl fmt::Display for Row {
    /// The whole row as a line, to compare.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Row::Event { feed, event: EventRow { seq, n, class, who, data } } => {
                let class = match class {
                    EventClass::Other => "other",
                    EventClass::Message(Access::Public) => "message",
                    EventClass::Message(Access::Private) => "private-message",
                };
                match feed {
                    Feed::Room(room) => write!(f, "event {} {seq} {n} {class} {who:?} {data:?}", room.0),
                    Feed::Account(_) | Feed::Server => {
                        write!(f, "value {feed:?} {seq} {n} {class} {who:?} {data:?}")
                    }
                }
            }
            Row::Text { seq, of, text } => write!(f, "text {of:?} {seq} {text:?}"),
        }
    }
}

/// The outcomes of the entries after the previous delta.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// The last entry covered.
    pub upto: Seq,
    /// In the order of the entries.
    pub rows: Vec<Row>,
    /// From time to time: not of an entry after `upto`.
    pub snapshot: Option<Snapshot>,
}

/// The chat state after an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub seq: Seq,
    /// Its bytes, one piece behind the other.
    pub pieces: Vec<Vec<u8>>,
}

impl Snapshot {
    /// This state, written at once.
    pub fn of(state: &State) -> Snapshot {
        Snapshot { seq: state.seq(), pieces: vec![state.to_snapshot()] }
    }
}

/// The view, for writing. A file has one writer.
pub struct View {
    path: PathBuf,
    conn: Connection,
    files: DatabaseWatch,
    journal: [u8; 16],
    chains: Box<dyn Chains>,
    cursor: Seq,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

impl View {
    /// Opens or creates the view of a journal. A file of another journal, history or format, or one that SQLite
    /// calls corrupt, is removed and a new one is made.
    pub fn open(
        path: &Path,
        journal: [u8; 16],
        mut chains: impl Chains + 'static,
    ) -> Result<(View, Opened), ViewError> {
        let (conn, opened) = layout::open(path, &journal, &mut chains)?;
        let cursor = layout::place(&conn)?.cursor;
        let (path, files) = (path.to_owned(), hold(path)?);
        Ok((View { path, conn, files, journal, chains: Box::new(chains), cursor }, opened))
    }

    /// The view has everything up to this entry.
    pub fn cursor(&self) -> Seq {
        self.cursor
    }

    /// Applies the deltas in one transaction, as if one by one. Rows of deltas at or before the cursor are
    /// skipped, and so are such events of a delta that reaches beyond it. A snapshot is stored if it is newer
    /// than the stored ones.
    pub fn apply(&mut self, deltas: &[Delta]) -> Result<(), ViewError> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let from = layout::place(&tx)?.cursor;
        let mut cursor = from;
        let (mut events, mut values) = (Vec::new(), Vec::new());
        for delta in deltas {
            if delta.upto > cursor {
                for row in &delta.rows {
                    match row {
                        Row::Event { event, .. } if event.seq <= cursor => {}
                        Row::Event { feed, event } => {
                            let rows = if feed.is_keyed() { &mut values } else { &mut events };
                            rows.push((*feed, *event));
                        }
                        Row::Text { seq, of, text } => keep_text(&tx, *seq, *of, text)?,
                    }
                }
                cursor = delta.upto;
            }
            if let Some(snapshot) = &delta.snapshot {
                keep_snapshot(&tx, snapshot)?;
            }
        }
        insert_events(&tx, events)?;
        insert_values(&tx, values)?;
        if cursor > from {
            layout::advance(&tx, cursor, &mut *self.chains)?;
        }
        tx.commit()?;
        self.cursor = cursor;
        Ok(())
    }

    /// The newest snapshot of the chat state at or before the cursor.
    pub fn snapshot(&self) -> Result<Option<(Seq, Vec<u8>)>, ViewError> {
        self.newest_snapshot_until(self.cursor)
    }

    /// The newest snapshot before this entry, to try when a later one is damaged.
    pub fn snapshot_before(&self, seq: Seq) -> Result<Option<(Seq, Vec<u8>)>, ViewError> {
        let Some(last) = seq.0.checked_sub(1) else { return Ok(None) };
        self.newest_snapshot_until(self.cursor.min(Seq(last)))
    }

    fn newest_snapshot_until(&self, last: Seq) -> Result<Option<(Seq, Vec<u8>)>, ViewError> {
        let sql = "SELECT seq, state FROM snapshot WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1";
        let found =
            self.conn.query_row(sql, [key(last.0)], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        found.map(|(seq, state)| Ok((Seq(number(seq)?), state))).transpose()
    }

    /// Deletes damaged snapshots. If that fails, they stay, and the next start finds the damage again.
    pub fn drop_snapshots(&mut self) {
        let _ = self.conn.execute("DELETE FROM snapshot", []);
    }

    /// The newest of all texts, each with its entry.
    pub fn texts(&self) -> Result<Vec<(TextOf, Seq, String)>, ViewError> {
        texts(&self.conn)
    }

    /// Checks that its files are still at their paths: nobody reads what is written elsewhere.
    pub fn look(&self) -> Result<(), FileWatchError> {
        self.files.look()
    }

    /// Empties the view, to be fed again from the journal's start. Works on a damaged or removed file, too.
    pub fn reset(&mut self) -> Result<(), ViewError> {
        self.conn.flush_prepared_statement_cache();
        if self.look().is_err() {
            // The remaining files belong to no database any more.
            layout::remove(&self.path).map_err(|error| {
                ViewError::Unavailable(format!("cannot remove {}: {error}", self.path.display()))
            })?;
            self.conn = layout::open(&self.path, &self.journal, &mut *self.chains)?.0;
        }
        layout::make_again(&mut self.conn, &self.journal)?;
        self.files = hold(&self.path)?;
        self.cursor = layout::place(&self.conn)?.cursor;
        self.idle();
        Ok(())
    }

    /// Truncates the WAL unless a reader uses it. For idle moments.
    pub fn idle(&mut self) {
        // If it fails, the WAL stays long, and the next write reports the problem.
        let _ = layout::truncate_wal(&self.conn);
    }
}

/// In the order of the table: a room's rows go into the same page one after another.
fn insert_events(tx: &Transaction<'_>, mut events: Vec<(Feed, EventRow)>) -> Result<(), ViewError> {
    events.sort_by_key(|(feed, event)| (*feed, event.seq));
    let mut chunks = events.chunks_exact(ROWS_PER_INSERT);
    if events.len() >= ROWS_PER_INSERT {
        let sql = format!("{INSERT}{}", ", (?, ?, ?, ?, ?, ?, ?, ?)".repeat(ROWS_PER_INSERT - 1));
        let mut insert = tx.prepare_cached(&sql)?;
        for chunk in &mut chunks {
            for (index, (feed, event)) in chunk.iter().enumerate() {
                bind(&mut insert, index * COLUMNS, *feed, event)?;
            }
            insert.raw_execute()?;
        }
    }
    let mut insert = tx.prepare_cached(INSERT)?;
    for (feed, event) in chunks.remainder() {
        bind(&mut insert, 0, *feed, event)?;
        insert.raw_execute()?;
    }
    Ok(())
}

/// In the order of their entries, so that the newest of a key stays.
fn insert_values(tx: &Transaction<'_>, values: Vec<(Feed, EventRow)>) -> Result<(), ViewError> {
    if values.is_empty() {
        return Ok(());
    }
    let mut insert = tx.prepare_cached(INSERT_VALUE)?;
    for (feed, event) in values {
        bind(&mut insert, 0, feed, &event)?;
        insert.raw_execute()?;
    }
    Ok(())
}

const INSERT: &str = "INSERT OR REPLACE INTO event(feed, seq, n, class, who, rest, data, seal) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";

const INSERT_VALUE: &str = "INSERT OR REPLACE INTO value(feed, seq, n, class, who, rest, data, seal) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";

const COLUMNS: usize = 8;

/// Binds a row's columns behind so many others.
fn bind(
    insert: &mut rusqlite::Statement<'_>,
    others: usize,
    feed: Feed,
    event: &EventRow,
) -> Result<(), ViewError> {
    let columns = event.columns(feed);
    let seal = seal::of_event(&columns);
    for (at, column) in columns.into_iter().chain([seal]).enumerate() {
        insert.raw_bind_parameter(others + at + 1, column)?;
    }
    Ok(())
}

fn keep_snapshot(tx: &Transaction<'_>, Snapshot { seq, pieces }: &Snapshot) -> Result<(), ViewError> {
    let newest: Option<i64> = tx.query_row("SELECT max(seq) FROM snapshot", [], |row| row.get(0))?;
    if newest.is_some_and(|newest| newest >= key(seq.0)) {
        return Ok(());
    }
    // Deleted first, so that the new one can use its pages.
    let sql = "DELETE FROM snapshot WHERE seq NOT IN (SELECT seq FROM snapshot ORDER BY seq DESC LIMIT ?1)";
    tx.execute(sql, [key(SNAPSHOTS_KEPT as u64 - 1)])?;
    let bytes: usize = pieces.iter().map(Vec::len).sum();
    let sql = "INSERT INTO snapshot(seq, state) VALUES (?1, zeroblob(?2))";
    tx.execute(sql, (key(seq.0), key(bytes as u64)))?;
    // A bound value would be copied twice: it may have 100 MB.
    let mut blob = tx.blob_open(MAIN_DB, "snapshot", "state", key(seq.0), false)?;
    let mut at = 0;
    for piece in pieces {
        blob.write_at(piece, at)?;
        at += piece.len();
    }
    blob.close()?;
    Ok(())
}

fn keep_text(tx: &Transaction<'_>, seq: Seq, of: TextOf, text: &str) -> Result<(), ViewError> {
    let (kind, id) = of.numbers();
    let mut insert = tx.prepare_cached(
        "INSERT OR REPLACE INTO text(kind, id, seq, text, seal) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    insert.execute((key(kind), key(id), key(seq.0), text, seal::of_text((kind, id), seq, text)))?;
    Ok(())
}

pub(crate) fn texts(conn: &Connection) -> Result<Vec<(TextOf, Seq, String)>, ViewError> {
    let mut select = conn.prepare("SELECT kind, id, seq, text, seal FROM text ORDER BY kind, id")?;
    let mut rows = select.query([])?;
    let mut texts = Vec::new();
    while let Some(row) = rows.next()? {
        let (kind, id) = (number(row.get(0)?)?, number(row.get(1)?)?);
        let (seq, text) = (Seq(number(row.get(2)?)?), row.get::<_, String>(3)?);
        let of = TextOf::from_numbers(kind, id);
        let of = of.filter(|_| {
            row.get::<_, i64>(4).is_ok_and(|found| found == seal::of_text((kind, id), seq, &text))
        });
        let Some(of) = of else {
            let what = format!("the row of text {kind} of {id} is not as it was written");
            return Err(ViewError::Corrupt(what));
        };
        texts.push((of, seq, text));
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use vang_chat::{AccountId, Principal, RoomId};

    use super::*;
    use crate::{EventData, ViewReader};

    const JOURNAL: [u8; 16] = [7; 16];

    fn one_history(_: Seq) -> Result<Option<[u8; 32]>, String> {
        Ok(Some([3; 32]))
    }

    fn talk(from: u64, upto: u64) -> Delta {
        let data = EventData::new(&[6, 1]).unwrap();
        let (class, who) = (EventClass::Message(Access::Public), Principal::Operator);
        let event = |seq| EventRow { seq: Seq(seq), n: seq, class, who, data };
        let rows =
            (from..=upto).map(|seq| Row::Event { feed: Feed::Room(RoomId(1 + seq % 3)), event: event(seq) });
        Delta { upto: Seq(upto), rows: rows.collect(), snapshot: None }
    }

    fn taken(seq: u64, state: Vec<u8>) -> Snapshot {
        Snapshot { seq: Seq(seq), pieces: vec![state] }
    }

    fn lines(path: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        ViewReader::open(path).unwrap().each_row(&mut |line| lines.push(line)).unwrap();
        lines
    }

    #[test]
    fn a_full_disk_loses_nothing_and_recovers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("view.db");
        let (mut view, _) = View::open(&path, JOURNAL, one_history).unwrap();
        view.apply(&[talk(1, 100)]).unwrap();
        let before = lines(&path);
        // The file cannot grow: SQLite reports this like ENOSPC.
        let pages: i64 = view.conn.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        view.conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
        let large = Delta { snapshot: Some(taken(9_000, vec![1; 50_000])), ..talk(101, 9_000) };
        for _ in 0..3 {
            let error = view.apply(std::slice::from_ref(&large)).unwrap_err();
            assert!(matches!(error, ViewError::Unavailable(ref why) if why.contains("full")), "{error}");
            assert_eq!((view.cursor(), lines(&path)), (Seq(100), before.clone()));
            assert_eq!(view.snapshot().unwrap(), None);
        }
        view.conn.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(())).unwrap();
        view.apply(&[large]).unwrap();
        assert_eq!((view.cursor(), lines(&path).len()), (Seq(9_000), 9_000));
        assert_eq!(view.snapshot().unwrap(), Some((Seq(9_000), vec![1; 50_000])));
    }

    #[test]
    fn a_reset_works_where_the_tables_cannot_be_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("view.db");
        let (mut view, _) = View::open(&path, JOURNAL, one_history).unwrap();
        view.apply(&[talk(1, 9_000)]).unwrap();
        view.conn
            .execute_batch("CREATE VIEW odd AS SELECT 1; DROP TABLE about; CREATE VIEW about AS SELECT 1")
            .unwrap();
        assert!(view.apply(&[talk(9_001, 9_002)]).is_err());
        let mut reader = ViewReader::open(&path).unwrap();
        view.reset().unwrap();
        assert_eq!((view.cursor(), reader.cursor().unwrap()), (Seq(0), Seq(0)));
        view.apply(&[talk(1, 10)]).unwrap();
        assert_eq!(reader.seq_of(RoomId(2), 10).unwrap(), Some(Seq(10)));
    }

    #[test]
    fn a_snapshot_beyond_the_cursor_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let (mut view, _) = View::open(&folder.path().join("view.db"), JOURNAL, one_history).unwrap();
        for upto in [10, 20] {
            let snapshot = Some(taken(upto, vec![upto as u8]));
            view.apply(&[Delta { upto: Seq(upto), rows: Vec::new(), snapshot }]).unwrap();
        }
        // Only damage leads here.
        view.conn.execute("UPDATE about SET cursor = 15", []).unwrap();
        view.cursor = Seq(15);
        assert_eq!(view.snapshot().unwrap(), Some((Seq(10), vec![10])));
        assert_eq!(view.snapshot_before(Seq(10)).unwrap(), None);
    }

    #[test]
    fn a_replaced_name_is_gone_from_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("view.db");
        let (mut view, _) = View::open(&path, JOURNAL, one_history).unwrap();
        let named = |upto: u64, name: &str| Delta {
            upto: Seq(upto),
            rows: vec![Row::Text {
                seq: Seq(1),
                of: TextOf::AccountName(AccountId(1)),
                text: name.to_owned(),
            }],
            snapshot: None,
        };
        view.apply(&[named(1, "a-name-that-is-to-go")]).unwrap();
        view.idle();
        view.apply(&[named(2, "erased")]).unwrap();
        view.idle();
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(20).any(|window| window == b"a-name-that-is-to-go"));
        }
    }
}
