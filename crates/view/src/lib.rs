//! vang-view: the view (`view.db`), SQLite tables that answer questions about the journal, and the index
//! (`find.db`) for searches. One [`View`] is fed in journal order; any number of [`ViewReader`]s, in this
//! process or another, ask it.
//!
//! Disposable: everything here can be rebuilt from the journal, so a damaged file, or one of another journal or
//! format, is discarded without asking. Nothing is decided here. Of a message's text only the folded words are
//! stored, in the index; the text is in the journal.

mod error; // errors, by what to do next
mod connect; // connections to the files
mod event; // an entry that a room's readers see
mod text; // texts of rooms and accounts
mod seal; // a hash that detects a changed row
mod layout; // the file `view.db`: its tables, creation and removal
mod writer; // `View`: rows and the cursor in one transaction
mod reader; // `ViewReader`: questions
mod fold; // which spellings are the same word
mod query; // a search as it is typed
mod excerpt; // the searched text, and the part that a hit shows
mod index; // `Index`: the file `find.db`, which words are in which message
mod find; // `IndexReader`: hits that the asker can see, newest first

pub use error::ViewError;
pub use event::{EventClass, EventData, EventRow};
pub use excerpt::{CONTEXT_CHARS_MAX, Excerpt, HIT_CHARS_MAX, SEARCHED_BYTES_MAX, searched_text};
pub use find::{Find, FindError, Found, Hit, IndexReader, IsOver, Shown, Stretch, Visible};
pub use fold::{Kind, WORD_CHARS_MAX, Word, fold, words};
pub use index::{FeedError, Index, check_index};
pub use layout::{Chains, Opened, RebuildReason, ViewPosition};
pub use query::{CONDITIONS_MAX, LastWord, PREFIX_CHARS_MIN, Phrase, Query, QueryError};
pub use reader::{Around, ViewReader};
pub use text::TextOf;
pub use writer::{Delta, Row, Snapshot, View};
