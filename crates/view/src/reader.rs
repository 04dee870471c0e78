//! Questions to the tables, beside the writer: each is answered from one moment's content, and
//! nobody waits for anybody.

use std::collections::HashSet;
use std::path::Path;

use rusqlite::Connection;
use vang_chat::{RoomId, Seq};

use crate::ViewError;
use crate::tables::{self, Place, key, number};
use crate::writer::names;

/// An entry that readers of a room see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomEvent {
    /// The entry.
    pub seq: Seq,
    /// The message's number; for other events the room's newest number then.
    pub n: u64,
    /// Is it a message?
    pub message: bool,
}

/// A message among its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Around {
    /// Its number.
    pub n: u64,
    /// The message before it.
    pub before: Option<RoomEvent>,
    /// The message after it.
    pub after: Option<RoomEvent>,
}

/// Events looked at to find a neighbour.
const OTHERS_BETWEEN_MAX: usize = 64;

/// The tables, for reading.
#[derive(Debug)]
pub struct ViewReader {
    conn: Connection,
}

impl ViewReader {
    /// Opens the view at `path`, also while a server is writing it. A writer that opened it later may
    /// have made a new file (`Opened::Fresh`): then open again.
    pub fn open(path: &Path) -> Result<ViewReader, ViewError> {
        Ok(ViewReader { conn: tables::connect_to_read(path)? })
    }

    /// Everything up to here is in the tables.
    pub fn cursor(&mut self) -> Result<Seq, ViewError> {
        Ok(tables::place(&self.conn)?.cursor)
    }

    /// Events of a room after `after`, in order, at most `limit`.
    pub fn events(&mut self, room: RoomId, after: Seq, limit: usize) -> Result<Vec<RoomEvent>, ViewError> {
        let sql = "SELECT seq, n, message FROM event WHERE room = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
        let mut select = self.conn.prepare_cached(sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = select.query((key(room.0), key(after.0), limit))?;
        let mut events = Vec::new();
        while let Some(row) = rows.next()? {
            events.push(event(row)?);
        }
        Ok(events)
    }

    /// The entry that is message `n` of the room; for 0 the place before everything. `None`: the
    /// message is not there.
    pub fn seq_of(&mut self, room: RoomId, n: u64) -> Result<Option<Seq>, ViewError> {
        if n == 0 {
            return Ok(Some(Seq(0)));
        }
        // One moment's content for all probes.
        let tx = self.conn.transaction()?;
        let mut last =
            tx.prepare_cached("SELECT seq, n, message FROM event WHERE room = ?1 ORDER BY seq DESC LIMIT 1")?;
        let Some(newest) = probe(&mut last, room, None)? else { return Ok(None) };
        if newest.n < n {
            return Ok(None);
        }
        // Look for the first event whose number is not below n: the message itself, which brought the
        // number. Events before `low` are below; `found` is the first at or after `high`, and is not.
        let mut probes = tx.prepare_cached(
            "SELECT seq, n, message FROM event WHERE room = ?1 AND seq >= ?2 ORDER BY seq LIMIT 1",
        )?;
        let mut found = newest;
        let (mut low, mut high) = (0, newest.seq.0);
        while low < high {
            let middle = low + (high - low) / 2;
            match probe(&mut probes, room, Some(Seq(middle)))? {
                Some(event) if event.n < n => low = event.seq.0 + 1,
                Some(event) => (found, high) = (event, middle),
                None => high = middle,
            }
        }
        Ok((found.n == n && found.message).then_some(found.seq))
    }

    /// Which entries after `after` and up to `upto` are messages of these rooms; `None`: the tables are
    /// not there yet.
    pub fn posted(
        &mut self,
        rooms: &[RoomId],
        after: Seq,
        upto: Seq,
    ) -> Result<Option<HashSet<Seq>>, ViewError> {
        let tx = self.conn.transaction()?;
        if tables::place(&tx)?.cursor < upto {
            return Ok(None);
        }
        let sql = "SELECT seq FROM event WHERE room = ?1 AND seq > ?2 AND seq <= ?3 AND message";
        let mut select = tx.prepare_cached(sql)?;
        let mut posted = HashSet::new();
        for room in rooms {
            let mut rows = select.query((key(room.0), key(after.0), key(upto.0)))?;
            while let Some(row) = rows.next()? {
                posted.insert(Seq(number(row.get(0)?)?));
            }
        }
        Ok(Some(posted))
    }

    /// A message's number and its neighbours in the room; `None`: there is no such message.
    pub fn around(&mut self, room: RoomId, seq: Seq) -> Result<Option<Around>, ViewError> {
        let tx = self.conn.transaction()?;
        let look = |sql: &str| -> Result<Option<RoomEvent>, ViewError> {
            let mut select = tx.prepare_cached(sql)?;
            let mut rows = select.query((key(room.0), key(seq.0)))?;
            // Between two messages may stand others' comings and goings; not many.
            for _ in 0..OTHERS_BETWEEN_MAX {
                let Some(row) = rows.next()? else { break };
                let found = event(row)?;
                if found.message {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        };
        let Some(RoomEvent { n, .. }) =
            look("SELECT seq, n, message FROM event WHERE room = ?1 AND seq = ?2")?
        else {
            return Ok(None);
        };
        let before = "SELECT seq, n, message FROM event WHERE room = ?1 AND seq < ?2 ORDER BY seq DESC";
        let after = "SELECT seq, n, message FROM event WHERE room = ?1 AND seq > ?2 ORDER BY seq";
        Ok(Some(Around { n, before: look(before)?, after: look(after)? }))
    }

    /// Everything that the tables say, a line each, in an order that depends on nothing else: to be
    /// compared with a view that was fed again up to the place that this returns.
    pub fn each_row(&mut self, line: &mut dyn FnMut(String)) -> Result<Place, ViewError> {
        let tx = self.conn.transaction()?;
        let place = tables::place(&tx)?;
        let (rooms, accounts) = names(&tx)?;
        for (room, name) in rooms {
            line(format!("room {} {name:?}", room.0));
        }
        for (account, name) in accounts {
            line(format!("account {} {name:?}", account.0));
        }
        let mut select = tx.prepare("SELECT seq, n, message, room FROM event ORDER BY room, seq")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (RoomEvent { seq, n, message }, room) = (event(row)?, row.get::<_, i64>(3)?);
            let kind = if message { "message" } else { "other" };
            line(format!("event {room} {seq} {n} {kind}"));
        }
        Ok(place)
    }
}

fn probe(
    select: &mut rusqlite::Statement<'_>,
    room: RoomId,
    from: Option<Seq>,
) -> Result<Option<RoomEvent>, ViewError> {
    let mut rows = match from {
        Some(from) => select.query((key(room.0), key(from.0)))?,
        None => select.query([key(room.0)])?,
    };
    rows.next()?.map(event).transpose()
}

fn event(row: &rusqlite::Row<'_>) -> Result<RoomEvent, ViewError> {
    Ok(RoomEvent { seq: Seq(number(row.get(0)?)?), n: number(row.get(1)?)?, message: row.get(2)? })
}
