//! Searches in the index: hits, newest first, each with its neighbours.
//!
//! ```text
//! what is visible ──▶ streams ──▶ merged, newest first ──▶ the journal: not erased? ──▶ hits
//!     public rooms                       one stream
//!     a stay in a private room           one stream each, opened when the walk reaches it
//! ```
//!
//! Messages that the asker cannot see are in no stream: they cannot change the hits, their order or number, or
//! whether there are more. Nor the time: the words of each private room have their own lists (`Scope`), so no
//! list with other rooms' messages is walked.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode};
use vang_chat::{Principal, RoomId, Seq, Time};
use vang_journal::{DatabaseWatch, Entry, Envelope, JournalError, MessagePayloadView, Reader};

use crate::connect::hold;
use crate::excerpt::{CONTEXT_CHARS_MAX, Excerpt, HIT_CHARS_MAX, excerpt, searched_text};
use crate::index::{self, Scope, author_tag, character_tag, room_tag};
use crate::layout::{self, key, number};
use crate::query::{self, LastWord, Phrase, Query};
use crate::{EventRow, ViewError, ViewReader};

/// First read of a stream when there are several, in entries: with many streams few of them give more to a
/// page. Each read doubles it.
const CHUNK: usize = 4;

/// Largest read of a stream, in entries: 8 KiB of positions.
const CHUNK_MAX: usize = 1_024;

/// SQLite's steps between two checks of a search's time. A page of the index takes three steps, so this is a
/// check every page or two, 20 to 50 µs apart.
const STEPS_BETWEEN_CHECKS: i32 = 8;

/// Is a search's time over? The caller has the clock.
pub type IsOver = Arc<dyn Fn() -> bool + Send + Sync>;

/// What the asker can see, as of one entry of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visible {
    /// All public rooms.
    pub public: bool,
    /// These public rooms, unless all are searched.
    pub public_rooms: Vec<RoomId>,
    /// These parts of private rooms; a room can have several.
    pub stretches: Vec<Stretch>,
}

/// A part of a private room, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub room: RoomId,
    pub from: Seq,
    pub to: Seq,
}

/// A search with its names looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Find {
    /// Words and times; its names are ignored.
    pub query: Query,
    /// By any of these, if there are any.
    pub from: Vec<Principal>,
    /// By none of these.
    pub not_from: Vec<Principal>,
    /// In none of these rooms.
    pub not_rooms: Vec<RoomId>,
    pub visible: Visible,
    /// The entry as of which `visible` holds: later entries are not searched.
    pub end: Seq,
    /// Hits at or before this entry.
    pub upto: Seq,
    /// Maximum number of hits.
    pub limit: usize,
}

/// The result of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Newest first.
    pub hits: Vec<Hit>,
    pub more: bool,
    /// Hits that are damaged in the journal and cannot be shown.
    pub damaged: u64,
}

/// A hit, with its neighbours in the room if the asker can see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    pub message: Shown,
    pub before: Option<Shown>,
    pub after: Option<Shown>,
}

/// A message as a hit shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub seq: Seq,
    pub room: RoomId,
    pub n: u64,
    pub time: Time,
    pub from: Principal,
    pub guest: Option<String>,
    pub content_type: String,
    pub text: Option<Excerpt>,
}

/// Why a search failed.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error("the index: {0}")]
    Index(ViewError),
    #[error(transparent)]
    View(ViewError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the search took too long")]
    OverTime,
}

impl Visible {
    /// Can an asker who sees one entry of the room see this one, too?
    fn sees_beside(&self, room: RoomId, seq: Seq) -> bool {
        let mut stretches = self.stretches.iter().filter(|stretch| stretch.room == room).peekable();
        stretches.peek().is_none() || stretches.any(|stretch| stretch.from <= seq && seq <= stretch.to)
    }
}

/// The index, for searches.
#[derive(Debug)]
pub struct IndexReader {
    conn: Connection,
    files: DatabaseWatch,
}

impl IndexReader {
    /// Opens the index at `path`, also while a server writes it.
    pub fn open(path: &Path) -> Result<IndexReader, ViewError> {
        Ok(IndexReader { conn: index::connect_to_read(path)?, files: hold(path)? })
    }

    /// Are its files still at their paths? Otherwise open the index again.
    pub fn is_in_place(&self) -> bool {
        self.files.look().is_ok()
    }

    /// The index has everything up to this entry.
    pub fn cursor(&mut self) -> Result<Seq, ViewError> {
        Ok(layout::place(&self.conn)?.cursor)
    }

    /// Searches, or fails with `OverTime`. `is_over` is called at every step that can take time, also within
    /// SQLite.
    pub fn find(
        &mut self,
        view: &mut ViewReader,
        journal: &mut dyn Reader,
        find: &Find,
        is_over: &IsOver,
    ) -> Result<Found, FindError> {
        let asked = is_over.clone();
        self.conn.progress_handler(STEPS_BETWEEN_CHECKS, Some(move || asked())).map_err(index_fault)?;
        let found = self.walk(view, journal, find, is_over);
        self.conn.progress_handler(0, None::<fn() -> bool>).map_err(index_fault)?;
        found
    }

    fn walk(
        &mut self,
        view: &mut ViewReader,
        journal: &mut dyn Reader,
        find: &Find,
        is_over: &IsOver,
    ) -> Result<Found, FindError> {
        let mut upto = find.upto.min(find.end).min(journal.end()?);
        let mut least = Seq(1);
        if let Some(after) = find.query.after {
            least = first_at(journal, after, upto, is_over)?;
        }
        if let Some(before) = find.query.before {
            upto = Seq(first_at(journal, before, upto, is_over)?.0.saturating_sub(1));
        }
        // One consistent state for all streams.
        let tx = self.conn.transaction().map_err(index_fault)?;
        let mut walk = Walk::new(find, (least, upto));
        let mut found = Found::default();
        while let Some(seq) = walk.next(&tx, is_over)? {
            let Some(checked) = journal.get(&[seq], usize::MAX)?.pop() else { continue };
            // Erased since it was indexed.
            if checked.as_ref().is_ok_and(|entry| entry.payload.is_none()) {
                continue;
            }
            if found.hits.len() == find.limit {
                found.more = true;
                break;
            }
            let Ok(entry) = checked else {
                found.damaged += 1;
                continue;
            };
            found.hits.extend(hit(view, journal, find, &entry)?);
        }
        Ok(found)
    }
}

fn index_fault(error: rusqlite::Error) -> FindError {
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => FindError::OverTime,
        _ => FindError::Index(error.into()),
    }
}

/// The first entry at this time or later; after `end` if there is none. Times never decrease in a journal.
fn first_at(journal: &mut dyn Reader, time: Time, end: Seq, is_over: &IsOver) -> Result<Seq, FindError> {
    let (mut low, mut high) = (1, end.0 + 1);
    while low < high {
        if is_over() {
            return Err(FindError::OverTime);
        }
        let middle = low + (high - low) / 2;
        // A damaged entry's time is unknown: use the next entry.
        let mut at = middle;
        let mut is_before = None;
        while at < high && is_before.is_none() {
            let envelope = journal.envelope(Seq(at))?.ok();
            let envelope = envelope.and_then(|envelope| Envelope::decode(&envelope).ok());
            is_before = envelope.map(|envelope| envelope.time < time);
            at += 1;
        }
        if is_before == Some(true) {
            low = at;
        } else {
            high = middle;
        }
    }
    Ok(Seq(low))
}

/// All streams of a search, walked from the newest entry to the oldest.
struct Walk<'a> {
    find: &'a Find,
    open: Vec<Stream>,
    /// Streams that start at older entries, the newest last.
    later: Vec<Stream>,
}

struct Stream {
    scope: Scope,
    least: Seq,
    /// No later entry can come next.
    most: Seq,
    /// Read from the index and not returned yet, the oldest first.
    taken: Vec<Seq>,
    /// How many to read next.
    chunk: usize,
    is_drained: bool,
}

impl<'a> Walk<'a> {
    fn new(find: &'a Find, (least, upto): (Seq, Seq)) -> Walk<'a> {
        let Visible { public, public_rooms, stretches } = &find.visible;
        let stream = |scope, least: Seq, most: Seq| Stream {
            scope,
            least,
            most,
            taken: Vec::new(),
            chunk: CHUNK,
            is_drained: least > most,
        };
        let wanted = stretches.iter().filter(|stretch| !find.not_rooms.contains(&stretch.room));
        let mut later: Vec<Stream> = wanted
            .map(|stretch| {
                stream(Scope::Private(stretch.room), stretch.from.max(least), stretch.to.min(upto))
            })
            .collect();
        if *public || !public_rooms.is_empty() {
            later.push(stream(Scope::Public, least, upto));
        }
        later.retain(|stream| !stream.is_drained);
        if let [only] = &mut later[..] {
            // A page in one read, and whether there is more.
            only.chunk = find.limit + 1;
        }
        later.sort_by_key(|stream| stream.most);
        Walk { find, open: Vec::new(), later }
    }

    /// The next entry, always older than the previous one.
    fn next(&mut self, conn: &Connection, is_over: &IsOver) -> Result<Option<Seq>, FindError> {
        loop {
            let mut newest = None;
            for stream in &mut self.open {
                if is_over() {
                    return Err(FindError::OverTime);
                }
                if stream.taken.is_empty() && !stream.is_drained {
                    stream.take(conn, self.find)?;
                }
                newest = newest.max(stream.taken.last().copied());
            }
            self.open.retain(|stream| !stream.taken.is_empty());
            // A stream is opened when the walk reaches its newest entry.
            match self.later.last() {
                Some(stream) if newest.is_none_or(|newest| stream.most > newest) => {
                    self.open.extend(self.later.pop());
                }
                _ => {
                    let last = self.open.iter_mut().find(|stream| stream.taken.last().copied() == newest);
                    return Ok(last.and_then(|stream| stream.taken.pop()));
                }
            }
        }
    }
}

impl Stream {
    fn take(&mut self, conn: &Connection, find: &Find) -> Result<(), FindError> {
        let taken = self.rows(conn, &question(find, self.scope)).map_err(index_fault)?;
        for row in taken {
            self.taken.push(Seq(number(row).map_err(FindError::Index)?));
        }
        self.taken.reverse();
        self.is_drained = self.taken.len() < self.chunk;
        self.chunk = (2 * self.chunk).min(CHUNK_MAX);
        if let Some(oldest) = self.taken.first() {
            self.is_drained |= *oldest <= self.least;
            self.most = Seq(oldest.0 - 1);
        }
        Ok(())
    }

    fn rows(&self, conn: &Connection, question: &str) -> rusqlite::Result<Vec<i64>> {
        let sql = "SELECT rowid FROM words WHERE words MATCH ?1 AND rowid BETWEEN ?2 AND ?3 \
                   ORDER BY rowid DESC LIMIT ?4";
        let mut select = conn.prepare_cached(sql)?;
        let bounds = (question, key(self.least.0), key(self.most.0), key(self.chunk as u64));
        select.query_map(bounds, |row| row.get(0))?.collect()
    }
}

/// The search in FTS5's language, for one scope. Only quoted words come from outside, and no word contains a
/// quotation mark.
fn question(find: &Find, scope: Scope) -> String {
    let any = |tags: Vec<String>| format!("({})", tags.join(" OR "));
    let authors = |who: &[Principal]| -> Vec<String> {
        who.iter().map(|from| quoted(scope, [author_tag(from)])).collect()
    };
    let rooms =
        |ids: &[RoomId]| -> Vec<String> { ids.iter().map(|room| quoted(scope, [room_tag(*room)])).collect() };
    let matching = |phrase: &Phrase| matching(phrase, scope);
    let mut all: Vec<String> = find.query.phrases.iter().map(matching).collect();
    let mut none: Vec<String> = find.query.without.iter().map(matching).collect();
    if !find.from.is_empty() {
        all.push(any(authors(&find.from)));
    }
    none.extend(authors(&find.not_from));
    if scope == Scope::Public {
        if !find.visible.public {
            all.push(any(rooms(&find.visible.public_rooms)));
        }
        none.extend(rooms(&find.not_rooms));
    }
    if all.is_empty() {
        all.push(format!("\"{}\"", scope.tag()));
    }
    let all = all.join(" AND ");
    if none.is_empty() { all } else { format!("({all}) NOT ({})", none.join(" OR ")) }
}

fn matching(phrase: &Phrase, scope: Scope) -> String {
    match (phrase.last, phrase.words.first().and_then(|word| word.chars().next())) {
        (LastWord::Character, Some(c)) => quoted(scope, [character_tag(c)]),
        (LastWord::Prefix, _) => format!("{} *", quoted(scope, &phrase.words)),
        _ => quoted(scope, &phrase.words),
    }
}

/// A phrase, as the index has its words in this scope.
fn quoted(scope: Scope, words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let prefix = scope.prefix();
    let words: Vec<String> = words.into_iter().map(|word| format!("{prefix}{}", word.as_ref())).collect();
    format!("\"{}\"", words.join(" "))
}

/// A hit with its neighbours; `None`: not a message in the view (any more).
fn hit(
    view: &mut ViewReader,
    journal: &mut dyn Reader,
    find: &Find,
    entry: &Entry,
) -> Result<Option<Hit>, FindError> {
    let room = Envelope::decode(&entry.envelope).ok().and_then(|envelope| envelope.command.room());
    let Some(room) = room else { return Ok(None) };
    let around = view.around(room, entry.seq).map_err(FindError::View)?;
    let Some(around) = around else { return Ok(None) };
    let mut neighbour = |event: Option<EventRow>| -> Result<Option<Shown>, FindError> {
        let is_seen = |seq| seq <= find.end && find.visible.sees_beside(room, seq);
        let Some(event) = event.filter(|event| is_seen(event.seq)) else { return Ok(None) };
        let entry = journal.get(&[event.seq], usize::MAX)?.pop().and_then(Result::ok);
        Ok(entry.and_then(|entry| shown(&entry, (room, &event), &[], CONTEXT_CHARS_MAX)))
    };
    let message = shown(entry, (room, &around.message), &find.query.phrases, HIT_CHARS_MAX);
    let Some(message) = message else { return Ok(None) };
    let (before, after) = (neighbour(around.before)?, neighbour(around.after)?);
    Ok(Some(Hit { message, before, after }))
}

/// A message as a hit shows it; `None`: it was erased.
fn shown(
    entry: &Entry,
    (room, &EventRow { seq, n, who: from, .. }): (RoomId, &EventRow),
    phrases: &[Phrase],
    chars_max: usize,
) -> Option<Shown> {
    let time = Envelope::decode(&entry.envelope).ok()?.time;
    let said = MessagePayloadView::decode(&entry.payload.as_ref()?.bytes).ok()?;
    let text = searched_text(&said).map(|text| {
        let places = if phrases.is_empty() {
            Vec::new()
        } else {
            let words = query::TextWords::new(&text);
            phrases.iter().flat_map(|phrase| words.places(phrase)).collect()
        };
        excerpt(&text, places, chars_max)
    });
    let (guest, content_type) = (said.guest.map(str::to_owned), said.content_type.to_owned());
    Some(Shown { seq, room, n, time, from, guest, content_type, text })
}
