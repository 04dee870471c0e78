//! vang-view: tables that answer questions about what the journal holds. Fed in journal order by the
//! one [`View`], asked through any number of [`ViewReader`]s, in this process or another.
//!
//! Disposable: everything here can be made again from the journal, so what is damaged, or of another
//! journal or format, is thrown away without asking. Nothing here decides anything, and no text of a
//! message is kept here; it is in the journal.

mod error; // what can be the matter, by what to do next
mod tables; // the file: its layout, its connections, its making and its end
mod writer; // `View`: rows in, with the cursor, in one transaction
mod reader; // `ViewReader`: questions

pub use error::ViewError;
pub use reader::{RoomEvent, ViewReader};
pub use tables::{Chains, Opened, Place, Why};
pub use writer::{Delta, Names, Row, View};
