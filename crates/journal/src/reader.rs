//! Reads a journal in SQLite, while a server writes it or not, and verifies everything:
//!
//! ```text
//! an envelope   chain(seq) = BLAKE3(chain(seq - 1) ‖ envelope): two rows prove it
//! a payload     the envelope contains BLAKE3(salt ‖ payload)
//! its position  rows are stored in the order of the chain, whatever their numbers
//! ```
//!
//! If that fails, a row is missing, or SQLite calls a page corrupt, `walk` inspects the rows around in their
//! stored order. A fault next to an entry (its chain hash, its row's number, a neighbour) does not hide the
//! entry; an entry that cannot be proven is a `DamageError`. So is the entry after an unreadable row: the chain
//! before it is lost.

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};
use vang_chat::Seq;

use crate::chain::{Chain, genesis};
use crate::contract::{Checked, DamageError, Entry, JournalError, Payload, Reader, Sealed, TakeEntry, give};
use crate::damages::Damages;
use crate::format::{Envelope, digest};
use crate::identity::Identity;
use crate::rows::{
    BUSY_MS, SqliteError, blob, damaged, fixed_blob, is_empty, keep_plans, key, read_identity, seq_in,
};

/// The approximate size of a chat entry, and the maximum that entries read together share: one allocation for
/// all of them.
const ENTRY_BYTES: usize = 512;
const ENTRY_ROOM_BYTES: usize = 16 << 10;

/// How many entries `walk` inspects on each side. A page has about 20, so the first row is in another page than
/// the damage.
const REACH: u64 = 64;

/// A verifying reader of a journal in SQLite.
#[derive(Debug)]
pub struct SqliteReader {
    identity: Identity,
    pub(crate) conn: Connection,
    damages: Arc<Damages>,
}

impl SqliteReader {
    /// Opens the journal at `path`, also while a server writes it.
    pub fn open(path: impl AsRef<Path>) -> Result<SqliteReader, JournalError> {
        SqliteReader::open_or_say_why(path.as_ref()).map_err(JournalError::from)
    }

    fn open_or_say_why(path: &Path) -> Result<SqliteReader, SqliteError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        match SqliteReader::on(Connection::open_with_flags(path, flags)?, path) {
            // Even to read, SQLite needs space for memory shared by connections. If no process has the file
            // open and it has no WAL, nothing needs to be shared.
            Err(error) if error.is_for_want_of_room() && is_alone(path) => {
                let flags = flags | OpenFlags::SQLITE_OPEN_URI;
                SqliteReader::on(Connection::open_with_flags(immutable_uri(path), flags)?, path)
            }
            opened => opened,
        }
    }

    fn on(conn: Connection, path: &Path) -> Result<SqliteReader, SqliteError> {
        conn.busy_timeout(Duration::from_millis(BUSY_MS))?;
        keep_plans(&conn)?;
        conn.pragma_update(None, "query_only", true)?;
        conn.pragma_update(None, "mmap_size", 0)?;
        if is_empty(&conn)? {
            return Err(JournalError::Unavailable(format!("{} contains no journal", path.display())).into());
        }
        Ok(SqliteReader { identity: read_identity(&conn)?, conn, damages: Arc::default() })
    }

    /// Reports damage to `damages`.
    #[must_use]
    pub fn with_damages(self, damages: Arc<Damages>) -> SqliteReader {
        SqliteReader { damages, ..self }
    }

    /// Which journal this is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Rows after `after`, in order and without a gap, at most `limit`.
    fn rows<T>(
        &mut self,
        sql: &str,
        after: Seq,
        limit: usize,
        mut take: impl FnMut(Seq, &Row<'_>, &mut Vec<T>) -> Result<(), SqliteError>,
    ) -> Result<Vec<T>, JournalError> {
        let mut taken = Vec::new();
        let mut last = after;
        let mut walk = || -> Result<(), SqliteError> {
            let mut select = self.conn.prepare_cached(sql)?;
            let mut rows = select.query((key(after), i64::try_from(limit).unwrap_or(i64::MAX)))?;
            while let Some(row) = rows.next()? {
                let seq = seq_in(row)?;
                if seq != last.next() {
                    return Err(damaged(last.next(), "it is missing").into());
                }
                take(seq, row, &mut taken)?;
                last = seq;
            }
            Ok(())
        };
        let walked = walk();
        walked.map_err(|error| error.at(last.next()))?;
        Ok(taken)
    }

    /// Reports damage, but not a position beyond the end.
    fn note(&mut self, checked: &[Checked], beside: &[DamageError]) {
        let found: Vec<&DamageError> =
            checked.iter().filter_map(|one| one.as_ref().err()).chain(beside).collect();
        if !found.is_empty() {
            let end = self.end().unwrap_or(Seq(u64::MAX));
            found.into_iter().filter(|damage| damage.seq <= end).for_each(|one| self.damages.note(one));
        }
    }
}

impl Reader for SqliteReader {
    fn end(&mut self) -> Result<Seq, JournalError> {
        let mut select = self.conn.prepare_cached("SELECT max(seq) FROM entry").map_err(SqliteError::from)?;
        let end: Option<i64> = select.query_row([], |row| row.get(0)).map_err(SqliteError::from)?;
        Ok(Seq(end.and_then(|end| u64::try_from(end).ok()).unwrap_or(0)))
    }

    fn read(&mut self, after: Seq, limit: usize, bytes_max: usize) -> Result<Vec<Checked>, JournalError> {
        let end = self.end()?;
        // One transaction, so that the WAL's index is read once.
        let tx = self.conn.transaction().map_err(SqliteError::from)?;
        let mut look = Look::new(&tx, &self.identity, limit, bytes_max);
        let mut last = after;
        while last < end && !look.is_full(limit) {
            match look.run(&mut last, limit) {
                Ok(()) => {}
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error.at(last.next())),
            }
            if last < end && !look.is_full(limit) {
                last = last.next();
                look.walk(last).map_err(|error| error.at(last))?;
            }
        }
        let Look { taken, beside, .. } = look;
        tx.finish().map_err(SqliteError::from)?;
        self.note(&taken, &beside);
        Ok(taken)
    }

    fn skim(
        &mut self,
        after: Seq,
        limit: usize,
        bytes_max: usize,
        take: &mut TakeEntry<'_>,
    ) -> Result<Seq, JournalError> {
        let (mut last, mut bytes) = (after, 0);
        let mut walk = || -> Result<(), SqliteError> {
            let sql = "SELECT seq, envelope, payload FROM entry WHERE seq > ?1 ORDER BY seq LIMIT ?2";
            let mut select = self.conn.prepare_cached(sql)?;
            let mut rows = select.query((key(after), i64::try_from(limit).unwrap_or(i64::MAX)))?;
            while let Some(row) = rows.next()? {
                let (seq, envelope, payload) = (row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?);
                let payload = match payload {
                    ValueRef::Blob(payload) => Some(payload),
                    _ => None,
                };
                let ValueRef::Blob(envelope) = envelope else { break };
                if seq.as_i64().ok() != Some(key(last.next())) {
                    break;
                }
                last = last.next();
                take(last, envelope, payload);
                bytes += payload.map_or(0, <[u8]>::len);
                if bytes > bytes_max {
                    break;
                }
            }
            Ok(())
        };
        match walk() {
            Err(error) if !error.is_damage() => return Err(error.at(last.next())),
            _ if last > after => return Ok(last),
            _ => {}
        }
        // The next entry is damaged, or there is none: `read` looks at the rows around.
        give(self.read(after, limit, bytes_max)?, after, take)
    }

    fn get(&mut self, seqs: &[Seq], bytes_max: usize) -> Result<Vec<Checked>, JournalError> {
        let tx = self.conn.transaction().map_err(SqliteError::from)?;
        let mut look = Look::new(&tx, &self.identity, seqs.len(), bytes_max);
        let mut wanted = seqs;
        while let Some(&seq) = wanted.first() {
            // Neighbours in the journal are read with one query, and each proves the next.
            let neighbours =
                1 + wanted.windows(2).take_while(|two| two[0].0.checked_add(1) == Some(two[1].0)).count();
            let before = look.taken.len();
            if neighbours > 1 && seq > Seq(0) {
                let mut last = Seq(seq.0 - 1);
                if let Err(error) = look.run(&mut last, before + neighbours)
                    && !error.is_damage()
                {
                    return Err(error.at(last.next()));
                }
            }
            let taken = look.taken.len() - before;
            if taken == 0 {
                let found = match look.row(seq) {
                    Ok(found) => found,
                    Err(error) if error.is_damage() => false,
                    Err(error) => return Err(error.at(seq)),
                };
                if !found {
                    look.walk(seq).map_err(|error| error.at(seq))?;
                }
            }
            if look.is_full(seqs.len()) {
                break;
            }
            wanted = &wanted[taken.max(1)..];
        }
        let Look { taken, beside, .. } = look;
        tx.finish().map_err(SqliteError::from)?;
        self.note(&taken, &beside);
        Ok(taken)
    }

    fn envelope(&mut self, seq: Seq) -> Result<Result<Bytes, DamageError>, JournalError> {
        let proven = || -> Result<Option<Bytes>, SqliteError> {
            let Some(before) = chain_before(&self.conn, &self.identity, seq)? else { return Ok(None) };
            let mut select =
                self.conn.prepare_cached("SELECT seq, envelope, chain FROM entry WHERE seq = ?1")?;
            let mut rows = select.query([key(seq)])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let envelope = blob(seq, row, 1, "envelope")?;
            let is_proven = before.after(envelope).0 == fixed_blob(seq, row, 2, "chain")?;
            Ok(is_proven.then(|| Bytes::copy_from_slice(envelope)))
        };
        match proven() {
            Ok(Some(envelope)) => return Ok(Ok(envelope)),
            Ok(None) => {}
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error.at(seq)),
        }
        Ok(match self.get(&[seq], 0)?.pop().unwrap_or_else(|| Err(DamageError::missing(seq))) {
            Ok(entry) => Ok(entry.envelope),
            Err(DamageError { envelope: Some(envelope), .. }) => Ok(envelope),
            Err(damage) => Err(damage),
        })
    }

    fn sealed(&mut self, after: Seq, limit: usize) -> Result<Vec<Sealed>, JournalError> {
        let sql = "SELECT seq, envelope, chain FROM entry WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        self.rows(sql, after, limit, |seq, row, sealed| {
            let envelope = Bytes::copy_from_slice(blob(seq, row, 1, "envelope")?);
            sealed.push(Sealed { seq, envelope, chain: fixed_blob(seq, row, 2, "chain")? });
            Ok(())
        })
    }

    fn checkpoints(&mut self, after: Seq, limit: usize) -> Result<Vec<(Seq, [u8; 32])>, JournalError> {
        let walk = || -> Result<Vec<(Seq, [u8; 32])>, SqliteError> {
            let mut select = self
                .conn
                .prepare_cached("SELECT seq, state FROM checkpoint WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
            let mut rows = select.query((key(after), i64::try_from(limit).unwrap_or(i64::MAX)))?;
            let mut checkpoints = Vec::new();
            while let Some(row) = rows.next()? {
                let seq = seq_in(row)?;
                checkpoints.push((seq, fixed_blob(seq, row, 1, "hash of the state")?));
            }
            Ok(checkpoints)
        };
        walk().map_err(|error| error.at(after.next()))
    }
}

/// Has the database neither `-wal` nor `-shm`?
fn is_alone(path: &Path) -> bool {
    let is_empty = |end: &str| {
        let mut name = path.to_owned().into_os_string();
        name.push(end);
        std::fs::metadata(name).map_or(true, |found| found.len() == 0)
    };
    is_empty("-wal") && is_empty("-shm")
}

/// The URI of a file that nobody changes (sqlite.org/uri.html).
fn immutable_uri(path: &Path) -> std::ffi::OsString {
    let mut uri = b"file:".to_vec();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' | b'?' | b'#' => uri.extend(format!("%{byte:02x}").into_bytes()),
            byte => uri.push(byte),
        }
    }
    uri.extend(b"?immutable=1");
    std::ffi::OsString::from_vec(uri)
}

/// Reads entries within one transaction.
struct Look<'a> {
    conn: &'a Connection,
    identity: &'a Identity,
    taken: Vec<Checked>,
    /// Faults next to entries that are whole.
    beside: Vec<DamageError>,
    bytes: usize,
    bytes_max: usize,
    room: BytesMut,
    /// The entry proven last, and the chain there.
    proven: Option<(Seq, Chain)>,
}

impl<'a> Look<'a> {
    fn new(conn: &'a Connection, identity: &'a Identity, limit: usize, bytes_max: usize) -> Look<'a> {
        let room = BytesMut::with_capacity(limit.saturating_mul(ENTRY_BYTES).min(ENTRY_ROOM_BYTES));
        let (taken, beside) = (Vec::with_capacity(limit.min(256)), Vec::new());
        Look { conn, identity, taken, beside, bytes: 0, bytes_max, room, proven: None }
    }

    fn is_full(&self, limit: usize) -> bool {
        self.taken.len() >= limit || self.bytes > self.bytes_max
    }

    /// Takes entries after `last` while each follows from the previous one.
    fn run(&mut self, last: &mut Seq, limit: usize) -> Result<(), SqliteError> {
        let Some(mut chain) = self.chain_before(last.next())? else { return Ok(()) };
        let mut select = self.conn.prepare_cached(
            "SELECT seq, envelope, chain, salt, payload FROM entry WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let most = i64::try_from(limit - self.taken.len()).unwrap_or(i64::MAX);
        let mut rows = select.query((key(*last), most))?;
        while let Some(row) = rows.next()? {
            let seq = last.next();
            if row.get_ref(0)?.as_i64().ok() != Some(key(seq)) || !self.take(seq, row, &mut chain)? {
                break;
            }
            *last = seq;
            if self.is_full(limit) {
                break;
            }
        }
        Ok(())
    }

    /// Takes the entry from its row. `false`: it is missing or does not follow from the previous one.
    fn row(&mut self, seq: Seq) -> Result<bool, SqliteError> {
        let Some(mut chain) = self.chain_before(seq)? else { return Ok(false) };
        let mut select = self
            .conn
            .prepare_cached("SELECT seq, envelope, chain, salt, payload FROM entry WHERE seq = ?1")?;
        let mut rows = select.query([key(seq)])?;
        match rows.next()? {
            Some(row) => self.take(seq, row, &mut chain),
            None => Ok(false),
        }
    }

    fn chain_before(&self, seq: Seq) -> Result<Option<Chain>, SqliteError> {
        match self.proven {
            Some((proven, chain)) if proven.next() == seq => Ok(Some(chain)),
            _ => chain_before(self.conn, self.identity, seq),
        }
    }

    /// Takes the entry of this row if it follows from `chain`, and advances `chain`.
    fn take(&mut self, seq: Seq, row: &Row<'_>, chain: &mut Chain) -> Result<bool, SqliteError> {
        let envelope = blob(seq, row, 1, "envelope")?;
        let stored = Chain(fixed_blob(seq, row, 2, "chain")?);
        if chain.after(envelope) != stored {
            return Ok(false);
        }
        *chain = stored;
        self.proven = Some((seq, stored));
        let envelope = self.keep(envelope);
        self.take_content(seq, envelope, row.get_ref(3)?, row.get_ref(4)?);
        Ok(true)
    }

    /// Takes an entry with a proven envelope, if its payload matches the digest.
    fn take_content(&mut self, seq: Seq, envelope: Bytes, salt: ValueRef<'_>, payload: ValueRef<'_>) {
        let checked = match content(&envelope, salt, payload) {
            Err(why) => Err(DamageError { seq, why, envelope: Some(envelope) }),
            Ok(None) => Ok(Entry { seq, envelope, payload: None }),
            Ok(Some((salt, bytes))) => {
                self.bytes += bytes.len();
                let bytes = self.keep(bytes);
                Ok(Entry { seq, envelope, payload: Some(Payload { salt, bytes }) })
            }
        };
        self.taken.push(checked);
    }

    fn keep(&mut self, bytes: &[u8]) -> Bytes {
        if self.room.capacity() < bytes.len() {
            self.room.reserve(bytes.len().max(ENTRY_ROOM_BYTES));
        }
        self.room.extend_from_slice(bytes);
        self.room.split().freeze()
    }

    /// Takes the entry at `seq`, or its damage, from the rows around in their stored order.
    fn walk(&mut self, seq: Seq) -> Result<(), SqliteError> {
        let found = match find_around(self.conn, self.identity, seq)? {
            Ok(found) => found,
            Err(why) => {
                self.taken.push(Err(DamageError { seq, why, envelope: None }));
                return Ok(());
            }
        };
        let Found { envelope, chain, offset, beside } = found;
        self.proven = Some((seq, chain));
        if let Some(why) = beside {
            self.beside.push(DamageError { seq, why, envelope: Some(envelope.clone()) });
        }
        // By its offset: the row's number may be wrong. Rows before it are skipped unread.
        let mut select = self.conn.prepare_cached(
            "SELECT salt, payload FROM entry WHERE seq > ?1 ORDER BY seq LIMIT 1 OFFSET ?2",
        )?;
        let begin = walk_begin(seq);
        let mut rows = select.query((key(begin), key(Seq(offset as u64))))?;
        let why = match rows.next() {
            Ok(Some(row)) => {
                let (salt, payload) = (row.get_ref(0)?, row.get_ref(1)?);
                self.take_content(seq, envelope, salt, payload);
                return Ok(());
            }
            Ok(None) => "it is missing".to_owned(),
            Err(error) => {
                let error = SqliteError::from(error);
                if !error.is_damage() {
                    return Err(error);
                }
                error.at(seq).to_string()
            }
        };
        self.taken.push(Err(DamageError { seq, why, envelope: Some(envelope) }));
        Ok(())
    }
}

/// The stored chain before this entry. `None`: no such row.
fn chain_before(conn: &Connection, identity: &Identity, seq: Seq) -> Result<Option<Chain>, SqliteError> {
    match seq.0.checked_sub(1) {
        None => Ok(None),
        Some(0) => Ok(Some(genesis(identity))),
        Some(before) => {
            let mut select = conn.prepare_cached("SELECT chain FROM entry WHERE seq = ?1")?;
            let mut rows = select.query([key(Seq(before))])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            Ok(Some(Chain(fixed_blob(Seq(before), row, 0, "chain")?)))
        }
    }
}

/// Salt and payload.
type Content<'row> = ([u8; 16], &'row [u8]);

/// The verified salt and payload; `None` if erased; the error says what is wrong.
fn content<'row>(
    envelope: &[u8],
    salt: ValueRef<'row>,
    payload: ValueRef<'row>,
) -> Result<Option<Content<'row>>, String> {
    let (salt, bytes) = match (salt, payload) {
        (ValueRef::Null, ValueRef::Null) => return Ok(None),
        (ValueRef::Blob(salt), ValueRef::Blob(bytes)) => (salt, bytes),
        (ValueRef::Null, _) | (_, ValueRef::Null) => {
            return Err("the salt or the payload is missing".to_owned());
        }
        _ => return Err("the salt or the payload is not bytes".to_owned()),
    };
    let found = salt.len();
    let salt = salt.try_into().map_err(|_| format!("the salt has {found} bytes instead of 16"))?;
    let envelope = Envelope::decode(envelope).map_err(|bad| format!("the envelope cannot be read: {bad}"))?;
    if digest(&salt, bytes) != envelope.digest {
        return Err("the payload does not match its digest".to_owned());
    }
    Ok(Some((salt, bytes)))
}

/// A proven envelope, found by its stored order.
struct Found {
    envelope: Bytes,
    chain: Chain,
    /// Rows from the start of the walk to it.
    offset: usize,
    /// A fault next to it.
    beside: Option<String>,
}

fn walk_begin(seq: Seq) -> Seq {
    Seq(seq.0.saturating_sub(REACH))
}

/// Follows the chain through the rows around to `seq`. Entries are dense and rows are stored in their order, so
/// counting rows gives positions. The inner error says why the envelope cannot be proven.
fn find_around(
    conn: &Connection,
    identity: &Identity,
    seq: Seq,
) -> Result<Result<Found, String>, SqliteError> {
    let begin = walk_begin(seq);
    let mut place = begin.next();
    // The possible chain before the next row: as stored, and as computed if that differs.
    let mut bases: Vec<Chain> = match chain_before(conn, identity, place) {
        Ok(chain) => chain.into_iter().collect(),
        Err(error) if error.is_damage() => Vec::new(),
        Err(error) => return Err(error),
    };
    let (rows, mut why) = rows_after(conn, begin)?;
    // The row at `seq` if it does not follow from the previous one as both are stored: the next row shows
    // whether only its chain hash is wrong.
    let mut doubtful: Option<(Bytes, usize, Vec<Chain>)> = None;
    for (offset, Around { number, envelope, chain }) in rows.iter().enumerate() {
        let after = |base: &Chain| envelope.as_ref().map(|envelope| base.after(envelope));
        let mut computed: Vec<Chain> = bases.iter().filter_map(after).collect();
        let is_linked = chain.is_some_and(|chain| computed.contains(&chain));
        // If rows before this one are lost, later rows continue from its number.
        let counts_on = rows.get(offset + 1).is_none_or(|next| Some(next.number) == number.checked_add(1));
        if !is_linked && *number > key(place) && counts_on {
            place = Seq(number.unsigned_abs());
            computed.clear();
        }
        if place == seq
            && let (true, Some(envelope), Some(chain)) = (is_linked, envelope, *chain)
        {
            let beside = (*number != key(seq)).then(|| format!("its row has the number {number}"));
            return Ok(Ok(Found { envelope: envelope.clone(), chain, offset, beside }));
        }
        if place > seq {
            let (Some((found, offset, bases)), true) = (doubtful, place == seq.next()) else { break };
            let proven = bases.into_iter().find(|base| chain.is_some() && after(base) == *chain);
            if let Some(chain) = proven {
                let beside = Some("the chain stored with it is wrong".to_owned());
                return Ok(Ok(Found { envelope: found, chain, offset, beside }));
            }
            break;
        }
        if place == seq {
            why = match (envelope, computed.is_empty()) {
                (None, _) => "the envelope is not bytes".to_owned(),
                (Some(_), true) => "the entry before it is missing, so it cannot be verified".to_owned(),
                (Some(_), false) => "the envelope does not match the chain".to_owned(),
            };
            doubtful = Some((envelope.clone().unwrap_or_default(), offset, computed.clone()));
        }
        if is_linked {
            computed.clear();
        }
        bases = chain.iter().copied().chain(computed).collect();
        place = place.next();
    }
    Ok(Err(why))
}

/// A row near a position; a column of a wrong type is `None`.
struct Around {
    number: i64,
    envelope: Option<Bytes>,
    chain: Option<Chain>,
}

/// The rows after `begin` in stored order, without payloads, and why there are no more.
fn rows_after(conn: &Connection, begin: Seq) -> Result<(Vec<Around>, String), SqliteError> {
    let mut found = Vec::new();
    let mut select =
        conn.prepare_cached("SELECT seq, envelope, chain FROM entry WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let mut rows = select.query((key(begin), key(Seq(2 * REACH))))?;
    loop {
        let row = match rows.next().map_err(SqliteError::from) {
            Ok(Some(row)) => row,
            Ok(None) => return Ok((found, "it is missing".to_owned())),
            Err(error) if error.is_damage() => {
                return Ok((found, format!("it cannot be read: {error}")));
            }
            Err(error) => return Err(error),
        };
        let chain = row.get_ref(2)?.as_blob().ok().and_then(|bytes| bytes.try_into().ok());
        found.push(Around {
            number: row.get_ref(0)?.as_i64().unwrap_or_default(),
            envelope: row.get_ref(1)?.as_blob().ok().map(Bytes::copy_from_slice),
            chain: chain.map(Chain),
        });
    }
}
