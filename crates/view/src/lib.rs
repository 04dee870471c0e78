//! vang-view: tables that answer questions about what the journal holds. Fed in journal order by the
//! one [`View`], asked through any number of [`ViewReader`]s, in this process or another.
//!
//! Disposable: everything here can be made again from the journal, so what is damaged, or of another
//! journal or format, is thrown away without asking. Nothing here decides anything, and of a
//! message's text only its folded words are kept here, in the index; it is in the journal.

mod error; // what can be the matter, by what to do next
mod connect; // connections to the files
mod seal; // what shows that a row is not as it was written
mod tables; // the tables' file: its layout, its making and its end
mod writer; // `View`: rows in, with the cursor, in one transaction
mod reader; // `ViewReader`: questions
mod fold; // which spellings are the same word
mod query; // what somebody looks for, as typed
mod excerpt; // the text that is searched, and the part of it that a hit shows
mod index; // `Index`: which words stand in which message, in a file of its own
mod find; // `IndexReader`: hits, newest first, of what the asker may see

pub use error::ViewError;
pub use excerpt::{CONTEXT_CHARS_MAX, Excerpt, HIT_CHARS_MAX, SEARCHED_BYTES_MAX, searched_text};
pub use find::{Find, FindError, Found, Hit, IndexReader, IsOver, Shown, Sight, Stretch};
pub use fold::{Kind, WORD_CHARS_MAX, Word, fold, words};
pub use index::{FeedError, Index, check_index};
pub use query::{BadQuery, CONDITIONS_MAX, LastWord, PREFIX_CHARS_MIN, Phrase, Query};
pub use reader::{Around, RoomEvent, ViewReader};
pub use tables::{Chains, Opened, Place, Why};
pub use writer::{Delta, Names, Row, View};
