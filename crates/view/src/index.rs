//! The file `find.db`: which words stand in which message.
//!
//! ```text
//! about(one, journal, cursor, chain)   everything up to the cursor is in; the chain's hash there
//! words (FTS5, without content)        rowid: the message's entry; its folded words, and its tags:
//!     #p        said in a public room          #a5   by account 5       #o   by the server
//!     #r12      said in the public room 12     #g…   by a guest         #京  this character is in it
//! of a message in the private room 12, each word and tag begins with the room:
//!     #12#      said there                     #12##a5, #12##京, …      #12#word
//! ```
//!
//! No text is stored here, only where words are; hits are read from the journal. Tags stand among the
//! words, so that one walk through sorted lists answers who may see what, newest first: nothing is
//! found first and hidden afterwards. A private room's words stand in lists of their own: whoever may not see them
//! walks through none of them, and so learns nothing from how long it took. No word has a `#`.
//!
//! Disposable, and bound to its journal: by id, and by the chain's hash at the cursor, which tells a
//! copy of the journal that went its own way. What an erased message said stays in the lists until the
//! file is made anew (`reset`): whoever erases does that.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use vang_chat::{Access, Command, NameKey, Principal, RoomId, Seq};
use vang_journal::{Chain, DatabaseWatch, Envelope, JournalError, Reader, Said, place};

use crate::connect::{self, CACHE_KIB};
use crate::excerpt::searched_text;
use crate::fold::{self, Kind};
use crate::tables::{self, Opened, Place, Why, damaged, key, remove};
use crate::{ViewError, ViewReader};

/// The layout of the file and the way of folding, kept as its `user_version`: a change of either makes
/// the index anew.
const FORMAT: u64 = 2;

/// Entries in one transaction, and bytes of their payloads: short enough to be interrupted by the end
/// of the server, long enough that a million messages are taken in well under a minute.
const BATCH_ENTRIES_MAX: usize = 4_096;
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Pages of WAL before it is copied back: 16 MiB. Each copying syncs, on the journal's disk.
const WAL_PAGES: u64 = 4_096;

/// Of rooms, whether they are public, in memory.
const ROOMS_KNOWN_MAX: usize = 65_536;

const SCHEMA: &str = "
    CREATE TABLE about(
        one INTEGER PRIMARY KEY CHECK (one = 1), journal BLOB NOT NULL, cursor INTEGER NOT NULL,
        chain BLOB NOT NULL
    ) STRICT;
    CREATE VIRTUAL TABLE words USING fts5(
        said, content = '', columnsize = 0, tokenize = \"ascii tokenchars '#'\"
    );
";

/// Why the index could not be fed.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The index itself.
    #[error(transparent)]
    Index(ViewError),
    /// The tables, which say what came of the entries.
    #[error(transparent)]
    Tables(ViewError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The index, for writing. There is one of these for a file.
#[derive(Debug)]
pub struct Index {
    conn: Connection,
    files: DatabaseWatch,
    journal: [u8; 16],
    cursor: Seq,
    public: HashMap<RoomId, bool>,
}

impl Index {
    /// Opens or creates the index of this journal. One that does not belong to it, or has another
    /// format, or that SQLite calls corrupt, is removed and made anew.
    pub fn open(path: &Path, id: [u8; 16], journal: &mut dyn Reader) -> Result<(Index, Opened), FeedError> {
        let found = match connect(path) {
            Ok(conn) => match look(&conn, &id, journal) {
                Ok(None) => return Index::on(conn, path, id, Opened::Kept),
                Ok(Some(why)) => why,
                Err(FeedError::Index(ViewError::Corrupt(why))) => Why::Corrupt(why),
                Err(other) => return Err(other),
            },
            Err(ViewError::Corrupt(why)) => Why::Corrupt(why),
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
        let cursor = tables::place(&conn).map_err(FeedError::Index)?.cursor;
        let files = connect::hold(path).map_err(FeedError::Index)?;
        Ok((Index { conn, files, journal, cursor, public: HashMap::new() }, opened))
    }

    /// Everything up to here is in the index.
    pub fn cursor(&self) -> Seq {
        self.cursor
    }

    /// Do its files still lie where they were? Otherwise open again.
    pub fn is_in_place(&self) -> bool {
        self.files.look().is_ok()
    }

    /// Takes in some of what the journal has after the cursor, as far as the tables know what came of
    /// it; the cursor moves in the same transaction. Answers how many entries those were: none means
    /// that the tables have to go first.
    pub fn feed(&mut self, journal: &mut dyn Reader, view: &mut ViewReader) -> Result<usize, FeedError> {
        let upto = view.cursor().map_err(FeedError::Tables)?;
        if upto <= self.cursor {
            return Ok(0);
        }
        let mut read = journal.read(self.cursor, BATCH_ENTRIES_MAX, BATCH_BYTES_MAX)?;
        read.retain(|checked| place(checked) <= upto);
        let Some(last) = read.last().map(place) else { return Ok(0) };
        let taken = read.len();
        // What is damaged has no words that could be believed.
        let entries: Vec<_> = read.into_iter().flatten().collect();
        let sends: Vec<_> = entries
            .iter()
            .filter_map(|entry| {
                let command = Envelope::decode(&entry.envelope).ok()?.command;
                let Command::Send { room, from, .. } = command else { return None };
                Some((entry, room, from))
            })
            .collect();
        let mut rooms: Vec<RoomId> = sends.iter().map(|&(_, room, _)| room).collect();
        rooms.sort_unstable();
        rooms.dedup();
        // What was refused, or sent before, is in the journal but is no message.
        let posted = view.posted(&rooms, self.cursor, last).map_err(FeedError::Tables)?;
        let Some(posted) = posted else { return Ok(0) };
        let Some(Chain(chain)) = journal.chain_at(last)? else { return Ok(0) };
        let mut documents = Vec::with_capacity(sends.len());
        for (entry, room, from) in sends {
            let Some(payload) = entry.payload.as_ref().filter(|_| posted.contains(&entry.seq)) else {
                continue;
            };
            let Ok(said) = Said::decode(&payload.bytes) else { continue };
            let is_public = self.is_public(journal, room)?;
            documents.push((entry.seq, document(room, is_public, &from, searched_text(&said).as_deref())));
        }
        self.write(&documents, last, &chain).map_err(FeedError::Index)?;
        self.cursor = last;
        Ok(taken)
    }

    fn write(&mut self, documents: &[(Seq, String)], last: Seq, chain: &[u8; 32]) -> Result<(), ViewError> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = tx.prepare_cached("INSERT INTO words(rowid, said) VALUES (?1, ?2)")?;
            for (seq, document) in documents {
                insert.execute((key(seq.0), document))?;
            }
        }
        tx.prepare_cached("UPDATE about SET cursor = ?1, chain = ?2")?.execute((key(last.0), &chain[..]))?;
        tx.commit()?;
        Ok(())
    }

    /// A room's id is the entry that made it, which says so.
    fn is_public(&mut self, journal: &mut dyn Reader, room: RoomId) -> Result<bool, JournalError> {
        if let Some(&known) = self.public.get(&room) {
            return Ok(known);
        }
        let made = journal.envelope(Seq(room.0))?.ok();
        let made = made.and_then(|envelope| Envelope::decode(&envelope).ok());
        let is_public = made
            .is_some_and(|made| matches!(made.command, Command::CreateRoom { access: Access::Public, .. }));
        if self.public.len() >= ROOMS_KNOWN_MAX {
            self.public.clear();
        }
        self.public.insert(room, is_public);
        Ok(is_public)
    }

    /// Empties it: to be fed again from the journal's beginning. Works on a damaged file too.
    pub fn reset(&mut self) -> Result<(), ViewError> {
        self.conn.flush_prepared_statement_cache();
        // This ignores what the file holds; for a moment readers find nothing.
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

    /// To be called when there is nothing else to do: truncates the WAL, unless somebody is reading.
    pub fn idle(&mut self) {
        // If it fails the WAL only stays long, and the next write will tell what is the matter.
        let _ = tables::truncate_wal(&self.conn);
    }
}

/// Which words are looked at: each scope has its own, even where they are spelt alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those that were said in public rooms.
    Public,
    /// Those of one private room.
    Private(RoomId),
}

impl Scope {
    /// What each word and tag begins with.
    pub(crate) fn prefix(self) -> String {
        match self {
            Scope::Public => String::new(),
            Scope::Private(room) => format!("#{}#", room.0),
        }
    }

    /// The tag that every message of the scope has.
    pub(crate) fn tag(self) -> String {
        match self {
            Scope::Public => PUBLIC_TAG.to_owned(),
            Scope::Private(_) => self.prefix(),
        }
    }
}

/// What the index is given of a message: its tags, then its words.
fn document(room: RoomId, is_public: bool, from: &Principal, text: Option<&str>) -> String {
    let scope = if is_public { Scope::Public } else { Scope::Private(room) };
    let prefix = scope.prefix();
    let mut out = String::with_capacity(64 + text.map_or(0, |text| text.len() * 2));
    out.push_str(&scope.tag());
    if is_public {
        out.push(' ');
        write_room_tag(&mut out, room);
    }
    out.push(' ');
    out.push_str(&prefix);
    write_author_tag(&mut out, from);
    let mut characters = Vec::new();
    fold::words(text.unwrap_or_default(), &mut |word| {
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
    out
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

/// A connection for questions.
pub(crate) fn connect_to_read(path: &Path) -> Result<Connection, ViewError> {
    let conn = connect::to_read(path, FORMAT, "index")?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    Ok(conn)
}

/// What is wrong with the index, at a glance; `None`: it is of this journal.
fn look(conn: &Connection, id: &[u8; 16], journal: &mut dyn Reader) -> Result<Option<Why>, FeedError> {
    let found = tables::format(conn).map_err(FeedError::Index)?;
    if found == 0 {
        return Ok(Some(Why::Missing));
    }
    if found != FORMAT {
        return Ok(Some(Why::OtherFormat { found, expected: FORMAT }));
    }
    let (stored, place) = binding(conn).map_err(FeedError::Index)?;
    ask(conn).map_err(FeedError::Index)?;
    if stored != id {
        return Ok(Some(Why::OtherJournal));
    }
    Ok((!is_at(journal, place)?).then_some(Why::OtherHistory { cursor: place.cursor }))
}

/// Asks the words something, as a question does. A table without content cannot be walked: SQLite refuses that of every
/// one, sound or not.
fn ask(conn: &Connection) -> Result<(), ViewError> {
    let sql = "SELECT rowid FROM words WHERE words MATCH ?1 LIMIT 1";
    let asked = conn.query_row(sql, [format!("\"{PUBLIC_TAG}\"")], |_| Ok(())).optional();
    asked.map(drop).map_err(|error| damaged(&error))
}

fn binding(conn: &Connection) -> Result<(Vec<u8>, Place), ViewError> {
    let stored = conn.query_row("SELECT journal FROM about WHERE cursor >= 0", [], |row| row.get(0));
    Ok((stored.map_err(|error| damaged(&error))?, tables::place(conn)?))
}

/// Is this a place in the journal?
fn is_at(journal: &mut dyn Reader, place: Place) -> Result<bool, JournalError> {
    Ok(place.cursor == Seq(0) || journal.chain_at(place.cursor)? == Some(Chain(place.chain)))
}

/// Looks at the index beside its writer: whether it can be asked, how far it is, and whether it belongs to the journal
/// up to there. For `vang admin check`.
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
