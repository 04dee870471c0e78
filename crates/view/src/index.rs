//! The file `find.db`, the index: which words are in which message.
//!
//! ```text
//! about(one, journal, cursor, chain)   the index has everything up to the cursor; the chain there
//! words (FTS5, without content)        rowid: the message's entry; its folded words, and its tags:
//!     #p        in a public room               #a5   by account 5       #o   by the server
//!     #r12      in the public room 12          #g…   by a guest         #京  with this character
//! for a message in the private room 12 each word and tag has the room as a prefix:
//!     #12#      in that room                   #12##a5, #12##京, …      #12#word
//! ```
//!
//! No text is stored here, only words and their messages; hits are read from the journal. Tags are words, too,
//! so one walk through sorted lists answers who can see what, newest first: nothing is found first and hidden
//! afterwards. A private room's words have their own lists: other people walk through none of them, so the time
//! of a search tells them nothing. No word contains a `#`.
//!
//! Disposable, and bound to its journal by the id and by the chain at the cursor, which detects another history
//! of the journal. The words of an erased message stay in the lists until the index is rebuilt (`reset`):
//! erasing includes that.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use vang_chat::{Access, NameKey, Principal, RoomId, Seq};
use vang_journal::{Chain, DatabaseWatch, Envelope, JournalError, MessagePayloadView, Reader};

use crate::connect::{self, CACHE_KIB};
use crate::excerpt::searched_text;
use crate::fold::{self, Kind};
use crate::layout::{self, Opened, RebuildReason, ViewPosition, damaged, key, remove};
use crate::{EventClass, EventRow, ViewError, ViewReader};

/// The layout of the file and the way of folding, stored as its `user_version`: a change of either rebuilds the
/// index.
const FORMAT: u64 = 2;

/// Entries in one transaction, and bytes of their payloads: short enough for a server's stop, long enough to
/// index a million messages in less than a minute.
const BATCH_ENTRIES_MAX: usize = 4_096;
const BATCH_BYTES_MAX: usize = 1 << 20;

/// WAL pages before a checkpoint: 16 MiB. Each checkpoint syncs, on the journal's disk.
const WAL_PAGES: u64 = 4_096;

const SCHEMA: &str = "
    CREATE TABLE about(
        one INTEGER PRIMARY KEY CHECK (one = 1), journal BLOB NOT NULL, cursor INTEGER NOT NULL,
        chain BLOB NOT NULL
    ) STRICT;
    CREATE VIRTUAL TABLE words USING fts5(
        said, content = '', columnsize = 0, tokenize = \"ascii tokenchars '#'\"
    );
";

/// Why feeding the index failed.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error(transparent)]
    Index(ViewError),
    /// The view, which has the outcomes of the entries.
    #[error(transparent)]
    View(ViewError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The index, for writing. A file has one writer.
#[derive(Debug)]
pub struct Index {
    conn: Connection,
    files: DatabaseWatch,
    journal: [u8; 16],
    cursor: Seq,
}

impl Index {
    /// Opens or creates the index of this journal. An index of another journal or format, or one that SQLite
    /// calls corrupt, is removed and a new one is made.
    pub fn open(path: &Path, id: [u8; 16], journal: &mut dyn Reader) -> Result<(Index, Opened), FeedError> {
        let found = match connect(path) {
            Ok(conn) => match look(&conn, &id, journal) {
                Ok(None) => return Index::on(conn, path, id, Opened::Kept),
                Ok(Some(why)) => why,
                Err(FeedError::Index(ViewError::Corrupt(why))) => RebuildReason::Corrupt(why),
                Err(other) => return Err(other),
            },
            Err(ViewError::Corrupt(why)) => RebuildReason::Corrupt(why),
            Err(other) => return Err(FeedError::Index(other)),
        };
        remove(path).map_err(|error| {
            let why = format!("cannot remove {} ({found}): {error}", path.display());
            FeedError::Index(ViewError::Unavailable(why))
        })?;
        let mut conn = connect(path).map_err(FeedError::Index)?;
        make(&mut conn, &id).map_err(FeedError::Index)?;
        Index::on(conn, path, id, Opened::Fresh(found))
    }

    fn on(
        conn: Connection,
        path: &Path,
        journal: [u8; 16],
        opened: Opened,
    ) -> Result<(Index, Opened), FeedError> {
        let cursor = layout::place(&conn).map_err(FeedError::Index)?.cursor;
        let files = connect::hold(path).map_err(FeedError::Index)?;
        Ok((Index { conn, files, journal, cursor }, opened))
    }

    /// The index has everything up to this entry.
    pub fn cursor(&self) -> Seq {
        self.cursor
    }

    /// Are its files still at their paths? Otherwise open the index again.
    pub fn is_in_place(&self) -> bool {
        self.files.look().is_ok()
    }

    /// Indexes some entries after the cursor, as far as the view has their outcomes; the cursor moves in the
    /// same transaction. Returns the number of entries; 0 means that the view must advance first.
    pub fn feed(&mut self, journal: &mut dyn Reader, view: &mut ViewReader) -> Result<usize, FeedError> {
        let upto = view.cursor().map_err(FeedError::View)?;
        if upto <= self.cursor {
            return Ok(0);
        }
        let limit = usize::try_from(upto.0 - self.cursor.0).unwrap_or(usize::MAX).min(BATCH_ENTRIES_MAX);
        let mut said = Texts::default();
        let last = journal.skim(self.cursor, limit, BATCH_BYTES_MAX, &mut |seq, envelope, payload| {
            said.take(seq, envelope, payload);
        })?;
        if last == self.cursor {
            return Ok(0);
        }
        let messages = view.messages(&said.rooms(), self.cursor, last).map_err(FeedError::View)?;
        let Some(messages) = messages else { return Ok(0) };
        let Some(Chain(chain)) = chain_at(journal, last)? else { return Ok(0) };
        self.write(&messages, &said, last, &chain).map_err(FeedError::Index)?;
        let taken = (last.0 - self.cursor.0) as usize;
        self.cursor = last;
        Ok(taken)
    }

    fn write(
        &mut self,
        messages: &[(RoomId, EventRow)],
        said: &Texts,
        last: Seq,
        chain: &[u8; 32],
    ) -> Result<(), ViewError> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = tx.prepare_cached("INSERT INTO words(rowid, said) VALUES (?1, ?2)")?;
            let mut document = String::new();
            for (room, message) in messages {
                if let (Some(text), EventClass::Message(access)) = (said.of(message.seq), message.class) {
                    document.clear();
                    write_document(&mut document, (*room, access), &message.who, text);
                    insert.execute((key(message.seq.0), &document))?;
                }
            }
        }
        tx.prepare_cached("UPDATE about SET cursor = ?1, chain = ?2")?.execute((key(last.0), &chain[..]))?;
        tx.commit()?;
        Ok(())
    }

    /// Empties the index, to be fed again from the journal's start. Works on a damaged file, too.
    pub fn reset(&mut self) -> Result<(), ViewError> {
        self.conn.flush_prepared_statement_cache();
        // This ignores the file's content; for a moment readers find nothing.
        self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, true)?;
        let emptied = self.conn.execute_batch("VACUUM");
        self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, false)?;
        emptied?;
        make(&mut self.conn, &self.journal)?;
        self.files.renew();
        self.cursor = Seq(0);
        self.idle();
        Ok(())
    }

    /// Truncates the WAL unless a reader uses it. For idle moments.
    pub fn idle(&mut self) {
        // If it fails, the WAL stays long, and the next write reports the problem.
        let _ = layout::truncate_wal(&self.conn);
    }
}

/// What was said in some entries, and in which rooms to look for their messages: an entry can be refused or repeated,
/// which the view knows.
#[derive(Default)]
struct Texts {
    text: String,
    /// Rising entries, each with the room that its command names, and its part of the text if it is text.
    entries: Vec<(Seq, RoomId, Option<Range<usize>>)>,
}

impl Texts {
    fn take(&mut self, seq: Seq, envelope: &[u8], payload: Option<&[u8]>) {
        let room = Envelope::decode(envelope).ok().and_then(|envelope| envelope.command.room());
        let said = payload.and_then(|payload| MessagePayloadView::decode(payload).ok());
        let (Some(room), Some(said)) = (room, said) else { return };
        let part = searched_text(&said).map(|text| {
            let start = self.text.len();
            self.text.push_str(&text);
            start..self.text.len()
        });
        self.entries.push((seq, room, part));
    }

    fn rooms(&self) -> Vec<RoomId> {
        let mut rooms: Vec<RoomId> = self.entries.iter().map(|(_, room, _)| *room).collect();
        rooms.sort_unstable();
        rooms.dedup();
        rooms
    }

    /// The entry's text, empty if it is something else than text; `None`: it has no content, or was erased.
    fn of(&self, seq: Seq) -> Option<&str> {
        let index = self.entries.binary_search_by_key(&seq, |(seq, ..)| *seq).ok()?;
        let (.., part) = &self.entries[index];
        Some(part.clone().map_or("", |part| &self.text[part]))
    }
}

/// The words of a search: each scope has its own lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Words of public rooms.
    Public,
    /// Words of one private room.
    Private(RoomId),
}

impl Scope {
    /// The prefix of each word and tag.
    pub(crate) fn prefix(self) -> String {
        match self {
            Scope::Public => String::new(),
            Scope::Private(room) => format!("#{}#", room.0),
        }
    }

    /// The tag of every message of the scope.
    pub(crate) fn tag(self) -> String {
        match self {
            Scope::Public => PUBLIC_TAG.to_owned(),
            Scope::Private(_) => self.prefix(),
        }
    }
}

/// Appends the indexed text of a message: its tags, then its words.
fn write_document(out: &mut String, (room, access): (RoomId, Access), from: &Principal, text: &str) {
    let scope = match access {
        Access::Public => Scope::Public,
        Access::Private => Scope::Private(room),
    };
    let prefix = scope.prefix();
    out.push_str(&scope.tag());
    if scope == Scope::Public {
        out.push(' ');
        write_room_tag(out, room);
    }
    out.push(' ');
    out.push_str(&prefix);
    write_author_tag(out, from);
    let mut characters = Vec::new();
    fold::words(text, &mut |word| {
        out.push(' ');
        out.push_str(&prefix);
        out.push_str(word.text);
        if word.kind != Kind::Whole {
            characters.extend(word.text.chars().next());
        }
    });
    characters.sort_unstable();
    characters.dedup();
    for c in characters {
        out.push(' ');
        out.push_str(&prefix);
        out.push('#');
        out.push(c);
    }
}

const PUBLIC_TAG: &str = "#p";

pub(crate) fn room_tag(room: RoomId) -> String {
    let mut tag = String::new();
    write_room_tag(&mut tag, room);
    tag
}

fn write_room_tag(out: &mut String, room: RoomId) {
    let _ = write!(out, "#r{}", room.0);
}

pub(crate) fn author_tag(from: &Principal) -> String {
    let mut tag = String::new();
    write_author_tag(&mut tag, from);
    tag
}

fn write_author_tag(out: &mut String, from: &Principal) {
    // Writing to a string cannot fail.
    let _ = match from {
        Principal::Account(account) => write!(out, "#a{}", account.0),
        Principal::Guest(NameKey(name)) => write!(out, "#g{:032x}", u128::from_be_bytes(*name)),
        Principal::Operator => write!(out, "#o"),
    };
}

pub(crate) fn character_tag(c: char) -> String {
    format!("#{c}")
}

fn connect(path: &Path) -> Result<Connection, ViewError> {
    let conn = connect::to_write(path)?;
    conn.pragma_update_and_check(None, "wal_autocheckpoint", key(WAL_PAGES), |_| Ok(()))?;
    Ok(conn)
}

/// A connection for searches.
pub(crate) fn connect_to_read(path: &Path) -> Result<Connection, ViewError> {
    let conn = connect::to_read(path, FORMAT, "index")?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    Ok(conn)
}

/// A quick check: `None` if the index belongs to this journal.
fn look(
    conn: &Connection,
    id: &[u8; 16],
    journal: &mut dyn Reader,
) -> Result<Option<RebuildReason>, FeedError> {
    let found = layout::format(conn).map_err(FeedError::Index)?;
    if found == 0 {
        return Ok(Some(RebuildReason::Missing));
    }
    if found != FORMAT {
        return Ok(Some(RebuildReason::OtherFormat { found, expected: FORMAT }));
    }
    let (stored, place) = binding(conn).map_err(FeedError::Index)?;
    ask(conn).map_err(FeedError::Index)?;
    if stored != id {
        return Ok(Some(RebuildReason::OtherJournal));
    }
    Ok((!is_at(journal, place)?).then_some(RebuildReason::OtherHistory { cursor: place.cursor }))
}

/// Runs a small search. A table without content cannot be scanned: SQLite refuses that for every such table,
/// sound or not.
fn ask(conn: &Connection) -> Result<(), ViewError> {
    let sql = "SELECT rowid FROM words WHERE words MATCH ?1 LIMIT 1";
    let asked = conn.query_row(sql, [format!("\"{PUBLIC_TAG}\"")], |_| Ok(())).optional();
    asked.map(drop).map_err(|error| damaged(&error))
}

fn binding(conn: &Connection) -> Result<(Vec<u8>, ViewPosition), ViewError> {
    let stored = conn.query_row("SELECT journal FROM about WHERE cursor >= 0", [], |row| row.get(0));
    Ok((stored.map_err(|error| damaged(&error))?, layout::place(conn)?))
}

/// Is this position in the journal's history? Of a damaged entry nobody can tell: the index stays, since a hit is verified
/// before it is shown.
fn is_at(journal: &mut dyn Reader, place: ViewPosition) -> Result<bool, JournalError> {
    let chain = match place.cursor {
        Seq(0) => return Ok(true),
        cursor => chain_at(journal, cursor)?,
    };
    Ok(chain == Some(Chain(place.chain)) || chain == Some(UNKNOWN))
}

/// Stands for the chain at a damaged entry.
const UNKNOWN: Chain = Chain([0; 32]);

/// The chain at this position, or `UNKNOWN`: the index goes on behind it.
fn chain_at(journal: &mut dyn Reader, seq: Seq) -> Result<Option<Chain>, JournalError> {
    match journal.chain_at(seq) {
        Err(JournalError::Damaged { .. }) => Ok(Some(UNKNOWN)),
        found => found,
    }
}

/// Checks the index while a server writes it: its cursor, and whether it belongs to the journal up to there.
/// For `vang admin check`.
pub fn check_index(path: &Path, id: [u8; 16], journal: &mut dyn Reader) -> Result<(Seq, bool), FeedError> {
    let conn = connect_to_read(path).map_err(FeedError::Index)?;
    let (stored, place) = binding(&conn).map_err(FeedError::Index)?;
    ask(&conn).map_err(FeedError::Index)?;
    Ok((place.cursor, stored == id && is_at(journal, place)?))
}

fn make(conn: &mut Connection, journal: &[u8; 16]) -> Result<(), ViewError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(SCHEMA)?;
    let sql = "INSERT INTO about(one, journal, cursor, chain) VALUES (1, ?1, 0, zeroblob(32))";
    tx.execute(sql, [&journal[..]])?;
    tx.pragma_update(None, "user_version", key(FORMAT))?;
    tx.commit()?;
    Ok(())
}
