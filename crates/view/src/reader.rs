//! Questions to the view while a writer is working. Each answer comes from one consistent state, and nobody
//! waits for anybody.

use std::path::Path;

use rusqlite::Connection;
use vang_chat::{Feed, RoomId, Seq};
use vang_journal::DatabaseWatch;

use crate::connect::hold;
use crate::event::Columns;
use crate::layout::{self, ViewPosition, key};
use crate::seal;
use crate::writer::{Row, texts};
use crate::{EventRow, ViewError};

/// A message and its neighbours in its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Around {
    pub message: EventRow,
    pub before: Option<EventRow>,
    pub after: Option<EventRow>,
}

/// Maximum events to read for a neighbour.
const OTHERS_BETWEEN_MAX: usize = 64;

/// The view, for reading.
#[derive(Debug)]
pub struct ViewReader {
    conn: Connection,
    files: DatabaseWatch,
}

impl ViewReader {
    /// Opens the view at `path`, also while a server writes it. A writer that opens it later can create a new
    /// file (`Opened::Fresh`): then open it again.
    pub fn open(path: &Path) -> Result<ViewReader, ViewError> {
        let conn = layout::connect_to_read(path)?;
        Ok(ViewReader { conn, files: hold(path)? })
    }

    /// The view has everything up to this entry.
    pub fn cursor(&mut self) -> Result<Seq, ViewError> {
        Ok(layout::place(&self.conn)?.cursor)
    }

    /// A feed's events after `after`, in order, at most `limit`: of a room each, of a keyed feed the newest of each key.
    pub fn events(&mut self, feed: Feed, after: Seq, limit: usize) -> Result<Vec<EventRow>, ViewError> {
        match feed {
            Feed::Room(room) => self.events_of_room(room, after, limit),
            Feed::Account(_) | Feed::Server => self.values(feed, after, limit),
        }
    }

    fn values(&mut self, feed: Feed, after: Seq, limit: usize) -> Result<Vec<EventRow>, ViewError> {
        let sql = "SELECT feed, seq, n, class, who, rest, data, seal FROM value WHERE feed = ?1 AND seq > ?2 \
                   ORDER BY seq LIMIT ?3";
        let mut select = self.conn.prepare_cached(sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = select.query((key(feed.number()), key(after.0), limit))?;
        let mut values = Vec::new();
        while let Some(row) = rows.next()? {
            values.push(event(row)?);
        }
        Ok(values)
    }

    fn events_of_room(&mut self, room: RoomId, after: Seq, limit: usize) -> Result<Vec<EventRow>, ViewError> {
        let tx = self.conn.transaction()?;
        let before = "SELECT feed, seq, n, class, who, rest, data, seal FROM event WHERE feed = ?1 AND seq <= ?2 \
                      ORDER BY seq DESC LIMIT 1";
        let mut before = tx.prepare_cached(before)?;
        let mut last = probe(&mut before, room, Some(after))?.map_or(0, |event| event.n);
        let sql = "SELECT feed, seq, n, class, who, rest, data, seal FROM event WHERE feed = ?1 AND seq > ?2 \
                   ORDER BY seq LIMIT ?3";
        let mut select = tx.prepare_cached(sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = select.query((of_room(room), key(after.0), limit))?;
        let mut events = Vec::new();
        while let Some(row) = rows.next()? {
            let found = event(row)?;
            // Numbers are dense: a missing number is a missing row.
            if found.n != last + u64::from(found.is_message()) {
                let what = format!("message {} of room {} is missing", last + 1, room.0);
                return Err(ViewError::Corrupt(what));
            }
            last = found.n;
            events.push(found);
        }
        Ok(events)
    }

    /// Do the feed's readers see this entry, or, in a keyed feed, a later one that took its place? For callers that know that
    /// they must.
    pub fn has(&mut self, feed: Feed, seq: Seq) -> Result<bool, ViewError> {
        let sql = match feed.is_keyed() {
            false => "SELECT 1 FROM event WHERE feed = ?1 AND seq = ?2",
            true => "SELECT 1 FROM value WHERE feed = ?1 AND seq >= ?2",
        };
        Ok(self.conn.prepare_cached(sql)?.exists((key(feed.number()), key(seq.0)))?)
    }

    /// Are its files still at their paths? Otherwise open the view again.
    pub fn is_in_place(&self) -> bool {
        self.files.look().is_ok()
    }

    /// The entry of message `n` of the room; `Seq(0)` for 0. `None`: the room has no such number yet.
    pub fn seq_of(&mut self, room: RoomId, n: u64) -> Result<Option<Seq>, ViewError> {
        if n == 0 {
            return Ok(Some(Seq(0)));
        }
        // One consistent state for all reads.
        let tx = self.conn.transaction()?;
        let mut last = tx.prepare_cached(
            "SELECT feed, seq, n, class, who, rest, data, seal FROM event WHERE feed = ?1 ORDER BY seq DESC LIMIT 1",
        )?;
        let Some(newest) = probe(&mut last, room, None)? else { return Ok(None) };
        if newest.n < n {
            return Ok(None);
        }
        // Binary search for the first event with a number of at least n: the message itself. Events before
        // `low` have lower numbers; `found` is the first at or after `high`.
        let mut probes = tx.prepare_cached(
            "SELECT feed, seq, n, class, who, rest, data, seal FROM event WHERE feed = ?1 AND seq >= ?2 ORDER BY seq LIMIT 1",
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
        if found.n != n || !found.is_message() {
            // Numbers are dense, and a newer one exists.
            return Err(ViewError::Corrupt(format!("message {n} of room {} is missing", room.0)));
        }
        Ok(Some(found.seq))
    }

    /// The messages of these rooms after `after` up to `upto`, in order; `None`: the view does not have them yet.
    pub fn messages(
        &mut self,
        rooms: &[RoomId],
        after: Seq,
        upto: Seq,
    ) -> Result<Option<Vec<(RoomId, EventRow)>>, ViewError> {
        let tx = self.conn.transaction()?;
        if layout::place(&tx)?.cursor < upto {
            return Ok(None);
        }
        let sql = "SELECT feed, seq, n, class, who, rest, data, seal FROM event WHERE feed = ?1 AND seq > ?2 AND seq <= ?3";
        let mut select = tx.prepare_cached(sql)?;
        let mut messages = Vec::new();
        for &room in rooms {
            let mut rows = select.query((of_room(room), key(after.0), key(upto.0)))?;
            while let Some(row) = rows.next()? {
                let event = event(row)?;
                if event.is_message() {
                    messages.push((room, event));
                }
            }
        }
        if rooms.len() > 1 {
            messages.sort_unstable_by_key(|(_, event)| event.seq);
        }
        Ok(Some(messages))
    }

    /// A message of the room and its neighbours; `None`: the entry is no message of this room.
    pub fn around(&mut self, room: RoomId, seq: Seq) -> Result<Option<Around>, ViewError> {
        let tx = self.conn.transaction()?;
        let look = |sql: &str| -> Result<Option<EventRow>, ViewError> {
            let mut select = tx.prepare_cached(sql)?;
            let mut rows = select.query((of_room(room), key(seq.0)))?;
            // A few joins and leaves can lie between two messages.
            for _ in 0..OTHERS_BETWEEN_MAX {
                let Some(row) = rows.next()? else { break };
                let found = event(row)?;
                if found.is_message() {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        };
        let Some(message) = look(
            "SELECT feed, seq, n, class, who, rest, data, seal FROM event WHERE feed = ?1 AND seq = ?2",
        )?
        else {
            return Ok(None);
        };
        let before = "SELECT feed, seq, n, class, who, rest, data, seal FROM event WHERE feed = ?1 AND seq < ?2 ORDER BY seq DESC";
        let after = "SELECT feed, seq, n, class, who, rest, data, seal FROM event WHERE feed = ?1 AND seq > ?2 ORDER BY seq";
        let (before, after, n) = (look(before)?, look(after)?, message.n);
        if before.is_some_and(|event| event.n + 1 != n) || after.is_some_and(|event| event.n != n + 1) {
            return Err(ViewError::Corrupt(format!("a message beside {n} of room {} is missing", room.0)));
        }
        Ok(Some(Around { message, before, after }))
    }

    /// All rows as lines, in an order that depends on nothing else, to compare with a view that was fed again
    /// up to the returned position.
    pub fn each_row(&mut self, line: &mut dyn FnMut(String)) -> Result<ViewPosition, ViewError> {
        let tx = self.conn.transaction()?;
        let place = layout::place(&tx)?;
        let rows = texts(&tx)?.into_iter().map(|(of, seq, text)| Row::Text { seq, of, text });
        rows.for_each(|row| line(row.to_string()));
        for table in ["event", "value"] {
            let sql =
                format!("SELECT feed, seq, n, class, who, rest, data, seal FROM {table} ORDER BY feed, seq");
            let mut select = tx.prepare(&sql)?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let (feed, event) = feed_and_event(row)?;
                line(Row::Event { feed, event }.to_string());
            }
        }
        Ok(place)
    }
}

/// A room's feed, as its rows have it.
fn of_room(room: RoomId) -> i64 {
    key(Feed::Room(room).number())
}

fn probe(
    select: &mut rusqlite::Statement<'_>,
    room: RoomId,
    from: Option<Seq>,
) -> Result<Option<EventRow>, ViewError> {
    let mut rows = match from {
        Some(from) => select.query((of_room(room), key(from.0)))?,
        None => select.query([of_room(room)])?,
    };
    rows.next()?.map(event).transpose()
}

fn event(row: &rusqlite::Row<'_>) -> Result<EventRow, ViewError> {
    Ok(feed_and_event(row)?.1)
}

fn feed_and_event(row: &rusqlite::Row<'_>) -> Result<(Feed, EventRow), ViewError> {
    let mut columns: Columns = [0; 7];
    for (at, column) in columns.iter_mut().enumerate() {
        *column = row.get(at)?;
    }
    let is_sealed = row.get::<_, i64>(columns.len())? == seal::of_event(&columns);
    EventRow::from_columns(columns).filter(|_| is_sealed).ok_or_else(|| {
        let [feed, seq, ..] = columns;
        ViewError::Corrupt(format!("a row of feed {feed}, entry {seq}, is not as it was written"))
    })
}
