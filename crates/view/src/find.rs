//! Questions to the index: hits, newest first, each with its surroundings.
//!
//! ```text
//! what may be seen ──▶ streams ──▶ merged, newest first ──▶ the journal: is it still there? ──▶ hits
//!     public rooms                       one stream
//!     a stay in a private room           one stream each, opened when the walk comes there
//! ```
//!
//! What the asker may not see is no part of any stream: nothing of it can change what is found, in
//! which order, how much, or whether there is more. Nor how long it takes: the words of each private room
//! are words of their own in the index (`Scope`), so that no list is walked in which others' messages stand.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode};
use vang_chat::{Principal, RoomId, Seq, Time};
use vang_journal::{DatabaseWatch, Entry, Envelope, JournalError, Reader, Said};

use crate::connect::hold;
use crate::excerpt::{CONTEXT_CHARS_MAX, Excerpt, HIT_CHARS_MAX, excerpt, searched_text};
use crate::index::{self, Scope, author_tag, character_tag, room_tag};
use crate::query::{self, LastWord, Phrase, Query};
use crate::tables::{self, key, number};
use crate::{ViewError, ViewReader};

/// Entries taken at once from a stream beside others, at first: of many streams few give more than that to a page.
/// Each time twice as many.
const CHUNK: usize = 4;

/// And at the most: 8 KiB of positions.
const CHUNK_MAX: usize = 1_024;

/// SQLite's steps between two looks at whether a question's time is over. A page of the index that is read takes three,
/// so this is a look at every page or two, 20 to 50 µs apart.
const STEPS_BETWEEN_LOOKS: i32 = 8;

/// Is a question's time over? Whoever asks brings the clock.
pub type IsOver = Arc<dyn Fn() -> bool + Send + Sync>;

/// What the asker may see, as of one entry of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// Every public room.
    pub public: bool,
    /// These public rooms, if it is not every one.
    pub public_rooms: Vec<RoomId>,
    /// Of private rooms, these stretches; a room may have several.
    pub stretches: Vec<Stretch>,
}

/// A part of a private room, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The room.
    pub room: RoomId,
    /// From this entry.
    pub from: Seq,
    /// To this one.
    pub to: Seq,
}

/// A question with its names looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Find {
    /// Words and times; the names in it are not looked at.
    pub query: Query,
    /// Of any of these, if there are any.
    pub from: Vec<Principal>,
    /// Of none of these.
    pub not_from: Vec<Principal>,
    /// In none of these rooms.
    pub not_rooms: Vec<RoomId>,
    /// Where to look at all.
    pub sight: Sight,
    /// The entry as of which that holds: nothing later is looked at.
    pub end: Seq,
    /// Hits up to this entry.
    pub upto: Seq,
    /// At most as many hits.
    pub limit: usize,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Newest first.
    pub hits: Vec<Hit>,
    /// Are there older ones?
    pub more: bool,
    /// Found, but damaged in the journal, so that they cannot be shown.
    pub damaged: u64,
}

/// A message that was found, and its neighbours in the room as far as they may be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The message.
    pub message: Shown,
    /// The one before it.
    pub before: Option<Shown>,
    /// The one after it.
    pub after: Option<Shown>,
}

/// A message, as far as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its entry.
    pub seq: Seq,
    /// Its room.
    pub room: RoomId,
    /// Its number there.
    pub n: u64,
    /// When it was said.
    pub time: Time,
    /// Who said it.
    pub from: Principal,
    /// A guest's name.
    pub guest: Option<String>,
    /// What it is.
    pub content_type: String,
    /// Of a text, a part.
    pub text: Option<Excerpt>,
}

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The index.
    #[error("the index of words: {0}")]
    Index(ViewError),
    /// The tables.
    #[error(transparent)]
    Tables(ViewError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Its time was over.
    #[error("the question took too long")]
    OverTime,
}

impl Sight {
    /// May an asker who sees one entry of the room see this one of it too?
    fn sees_beside(&self, room: RoomId, seq: Seq) -> bool {
        let mut stretches = self.stretches.iter().filter(|stretch| stretch.room == room).peekable();
        stretches.peek().is_none() || stretches.any(|stretch| stretch.from <= seq && seq <= stretch.to)
    }
}

/// The index, for questions.
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

    /// Are the files that it reads still those that lie there? Otherwise open again.
    pub fn is_in_place(&self) -> bool {
        self.files.look().is_ok()
    }

    /// Everything up to here is in the index.
    pub fn cursor(&mut self) -> Result<Seq, ViewError> {
        Ok(tables::place(&self.conn)?.cursor)
    }

    /// Answers a question, unless its time is over before: then nothing is answered. `is_over` is asked at every step
    /// that may cost something, and within SQLite's.
    pub fn find(
        &mut self,
        view: &mut ViewReader,
        journal: &mut dyn Reader,
        find: &Find,
        is_over: &IsOver,
    ) -> Result<Found, FindError> {
        let asked = is_over.clone();
        self.conn.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || asked())).map_err(index_fault)?;
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
        // One moment's content for all streams.
        let tx = self.conn.transaction().map_err(index_fault)?;
        let mut walk = Walk::new(find, (least, upto));
        let mut found = Found::default();
        while let Some(seq) = walk.next(&tx, is_over)? {
            let Some(checked) = journal.get(&[seq], usize::MAX)?.pop() else { continue };
            // What was erased since is there no more.
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

/// What SQLite says of the index.
fn index_fault(error: rusqlite::Error) -> FindError {
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => FindError::OverTime,
        _ => FindError::Index(error.into()),
    }
}

/// The first entry of this time or later; behind `end` if there is none. Time never falls in a journal.
fn first_at(journal: &mut dyn Reader, time: Time, end: Seq, is_over: &IsOver) -> Result<Seq, FindError> {
    let (mut low, mut high) = (1, end.0 + 1);
    while low < high {
        if is_over() {
            return Err(FindError::OverTime);
        }
        let middle = low + (high - low) / 2;
        // Of one that is damaged the time is not known: the next one tells.
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

/// All streams of a question, walked from the newest entry to the oldest.
struct Walk<'a> {
    find: &'a Find,
    open: Vec<Stream>,
    /// Those whose newest entry lies farther down, the newest last.
    later: Vec<Stream>,
}

struct Stream {
    scope: Scope,
    least: Seq,
    /// The newest entry that may come next.
    most: Seq,
    /// Taken from the index and not given yet, the oldest first.
    taken: Vec<Seq>,
    /// How many it takes next.
    chunk: usize,
    is_drained: bool,
}

impl<'a> Walk<'a> {
    fn new(find: &'a Find, (least, upto): (Seq, Seq)) -> Walk<'a> {
        let Sight { public, public_rooms, stretches } = &find.sight;
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
            // A page in one go, and whether there is more.
            only.chunk = find.limit + 1;
        }
        later.sort_by_key(|stream| stream.most);
        Walk { find, open: Vec::new(), later }
    }

    /// The next entry, always older than the one before.
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
            // A stream is opened only when the walk has come down to where it begins.
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

/// The question in FTS5's language, to what was said in one scope. Only what is quoted here comes from outside, and
/// no word has a quotation mark.
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
        if !find.sight.public {
            all.push(any(rooms(&find.sight.public_rooms)));
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

/// Words one behind the other, as the index has them in this scope.
fn quoted(scope: Scope, words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let prefix = scope.prefix();
    let words: Vec<String> = words.into_iter().map(|word| format!("{prefix}{}", word.as_ref())).collect();
    format!("\"{}\"", words.join(" "))
}

/// A message with its neighbours; `None`: the tables do not have it (any more).
fn hit(
    view: &mut ViewReader,
    journal: &mut dyn Reader,
    find: &Find,
    entry: &Entry,
) -> Result<Option<Hit>, FindError> {
    let Some(message) = shown(entry, 0, &find.query.phrases, HIT_CHARS_MAX) else { return Ok(None) };
    let room = message.room;
    let around = view.around(room, entry.seq).map_err(FindError::Tables)?;
    let Some(around) = around else { return Ok(None) };
    let mut neighbour = |event: Option<crate::RoomEvent>| -> Result<Option<Shown>, FindError> {
        let is_seen = |seq| seq <= find.end && find.sight.sees_beside(room, seq);
        let Some(event) = event.filter(|event| is_seen(event.seq)) else { return Ok(None) };
        let entry = journal.get(&[event.seq], usize::MAX)?.pop().and_then(Result::ok);
        Ok(entry.and_then(|entry| shown(&entry, event.n, &[], CONTEXT_CHARS_MAX)))
    };
    let (before, after) = (neighbour(around.before)?, neighbour(around.after)?);
    Ok(Some(Hit { message: Shown { n: around.n, ..message }, before, after }))
}

/// A message as it is shown; `None`: it is none, or erased.
fn shown(entry: &Entry, n: u64, phrases: &[Phrase], chars_max: usize) -> Option<Shown> {
    let envelope = Envelope::decode(&entry.envelope).ok()?;
    let vang_chat::Command::Send { room, from, .. } = envelope.command else { return None };
    let said = Said::decode(&entry.payload.as_ref()?.bytes).ok()?;
    let text = searched_text(&said).map(|text| {
        let places = if phrases.is_empty() {
            Vec::new()
        } else {
            let words = query::Said::new(&text);
            phrases.iter().flat_map(|phrase| words.places(phrase)).collect()
        };
        excerpt(&text, places, chars_max)
    });
    let Said { guest, content_type, .. } = said;
    Some(Shown { seq: entry.seq, room, n, time: envelope.time, from, guest, content_type, text })
}
