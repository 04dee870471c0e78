//! A text as bytes, in each encoding, as Python's `str.encode` makes them: with the byte order mark where the name asks for it.

use std::fmt;

use serde::Serialize;
use vang_proto::ByteOrder;
use vang_proto::encoding::{Encoding, begins_with_mark, byte_order_mark, encode, find};
use vang_proto::text::counted;

use crate::error::Outcome;
use crate::{Record, Report, Verdict, hex};

/// The encodings that are shown if none is named.
const USUAL: [&str; 7] = ["utf-8", "utf-16-be", "utf-16-le", "utf-32-be", "utf-32-le", "latin-1", "cp1252"];

/// Bytes shown of one encoding in a line of text.
const SHOWN_BYTES: usize = 48;

#[derive(Serialize)]
struct Encoded {
    encoding: &'static str,
    bytes: usize,
    /// With the byte order mark, if `begins_with_mark`.
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    /// The byte order mark, where the encoding has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    byte_order_mark: Option<String>,
    /// The mark is the beginning of `hex`.
    begins_with_mark: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    shown: String,
}

impl Record for Encoded {
    const EVENT: &'static str = "encoded";
}

impl fmt::Display for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:14}  ", self.encoding)?;
        if let Some(error) = &self.error {
            return f.write_str(error.strip_prefix(self.encoding).unwrap_or(error).trim_start());
        }
        write!(f, "{:>8}  {}", counted(self.bytes as u64, "byte", "bytes"), self.shown)?;
        match &self.byte_order_mark {
            Some(mark) if self.begins_with_mark => write!(f, "  ({mark} is the byte order mark)"),
            Some(mark) => write!(f, "  (with a byte order mark: {mark} first)"),
            None => Ok(()),
        }
    }
}

/// Shows a text in these encodings. `Bad`: one that was named does not have all its characters.
pub(super) fn show(text: &str, encodings: &[Encoding], report: &Report) -> Outcome {
    report.explain(|| {
        format!(
            "{} of text; an encoding is the rule that makes bytes of them, and a receiver must know which one was used",
            counted(text.chars().count() as u64, "character", "characters")
        )
    })?;
    let usual: Vec<Encoding> = USUAL.into_iter().filter_map(find).collect();
    let are_named = !encodings.is_empty();
    let mut verdict = Verdict::Good;
    for encoding in if are_named { encodings } else { &usual } {
        let written = encode(*encoding, ByteOrder::NATIVE, text);
        if are_named && written.is_err() {
            verdict = Verdict::Bad;
        }
        let mark = byte_order_mark(*encoding, ByteOrder::NATIVE).filter(|_| written.is_ok());
        let begins_with_mark = mark.is_some() && begins_with_mark(*encoding);
        let before = mark.filter(|_| begins_with_mark).unwrap_or_default();
        let bytes = [before, written.as_deref().unwrap_or_default()].concat();
        let mut shown = hex::spaced(&bytes[..bytes.len().min(SHOWN_BYTES)]);
        if bytes.len() > SHOWN_BYTES {
            shown.push_str(" …");
        }
        report.record(&Encoded {
            encoding: encoding.name(),
            bytes: bytes.len(),
            hex: written.is_ok().then(|| hex::spaced(&bytes)),
            byte_order_mark: mark.map(hex::spaced),
            begins_with_mark,
            error: written.err().map(|error| error.to_string()),
            shown,
        })?;
    }
    if !are_named {
        report.means(
            "UTF-8 has no byte order and needs no mark. UTF-16 and UTF-32 have two orders: the name says which, or the mark at \
             the beginning does, or the protocol must",
        )?;
    }
    Ok(verdict)
}
