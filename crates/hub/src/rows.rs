//! What the book and the view keep of an event: the same when an entry is applied and when it is replayed, or a view that
//! was rebuilt would be another one.

use vang_chat::{Happened, Seq};

use crate::Row;
use crate::events::Effects;
use crate::names::Book;

/// Keeps an event's text in the book, and adds its rows. `text` is asked only of an event that has one.
pub(crate) fn keep<E>(
    (book, rows): (&mut Book, &mut Vec<Row>),
    seq: Seq,
    (happened, effects): (&Happened, Effects),
    text: impl FnOnce() -> Result<String, E>,
) -> Result<(), E> {
    if let Some(of) = effects.text {
        let text = text()?;
        book.keep(of, text.clone());
        rows.push(Row::Text { seq, of, text });
    }
    if let Some(shown) = effects.shown {
        shown.add_rows(seq, happened, rows);
    }
    Ok(())
}
