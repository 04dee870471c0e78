//! Bytes taken apart: as numbers in both byte orders, and as text in every encoding in which they are text.

use std::fmt;

use serde::Serialize;
use vang_proto::encoding::{Encoding, decode, find};
use vang_proto::text::{counted, size};
use vang_proto::{ByteOrder, SwappedLength};

use super::number::{SIZES, value};
use crate::error::Outcome;
use crate::{Record, Report, Verdict, hex, quoted};

/// Rows of hexadecimal that are drawn.
const ROWS_MAX: usize = 8;

/// Bytes of one text that are shown.
const TEXT_BYTES_MAX: usize = 160;

/// The encodings that are tried if none is named.
const USUAL: [&str; 8] =
    ["ascii", "utf-8", "utf-16-be", "utf-16-le", "utf-32-be", "utf-32-le", "latin-1", "cp1252"];

/// The byte order marks; the longer one first, because the shorter is its beginning.
const MARKS: [(&[u8], &str, &str); 5] = [
    (b"\xff\xfe\0\0", "utf-32", "little-endian"),
    (b"\0\0\xfe\xff", "utf-32", "big-endian"),
    (b"\xef\xbb\xbf", "utf-8-sig", "which has no byte order"),
    (b"\xff\xfe", "utf-16", "little-endian"),
    (b"\xfe\xff", "utf-16", "big-endian"),
];

/// The first bytes as a number of one size.
#[derive(Serialize)]
struct AsNumber {
    bits: u32,
    hex: String,
    /// As text: JSON has no integers of 64 bits everywhere.
    big: String,
    little: String,
    struct_big: String,
    struct_little: String,
    /// With a sign, where that is another number.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_big: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_little: Option<String>,
}

impl Record for AsNumber {
    const EVENT: &'static str = "as-number";
}

impl fmt::Display for AsNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = |signed: &Option<String>| match signed {
            Some(signed) => format!(", signed {signed}"),
            None => String::new(),
        };
        write!(f, "{:2} bits {}: ", self.bits, self.hex)?;
        if self.bits == 8 {
            return write!(f, "{}{}", self.big, signed(&self.signed_big));
        }
        write!(
            f,
            "{}{} in network order ('{}'), {}{} little-endian ('{}')",
            self.big,
            signed(&self.signed_big),
            self.struct_big,
            self.little,
            signed(&self.signed_little),
            self.struct_little
        )
    }
}

/// One text, and every tried encoding in which the bytes are that text.
#[derive(Serialize)]
struct AsText {
    encodings: Vec<&'static str>,
    text: String,
}

impl Record for AsText {
    const EVENT: &'static str = "as-text";
}

impl fmt::Display for AsText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", quoted(self.text.as_bytes(), TEXT_BYTES_MAX), self.encodings.join(", "))
    }
}

/// An encoding that was named, and in which the bytes are not text.
#[derive(Serialize)]
struct NotText {
    encoding: &'static str,
    at: usize,
    why: String,
}

impl Record for NotText {
    const EVENT: &'static str = "not-text";
}

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not {}: {} at byte {}", self.encoding, self.why, self.at)
    }
}

/// Shows bytes. `Bad`: they are not text in an encoding that was named.
pub(super) fn show(bytes: &[u8], encodings: &[Encoding], report: &Report) -> Outcome {
    for (number, row) in bytes.chunks(hex::ROW_BYTES).take(ROWS_MAX).enumerate() {
        report.draw(&hex::row((number * hex::ROW_BYTES) as u64, row))?;
    }
    let shown = bytes.len().min(ROWS_MAX * hex::ROW_BYTES);
    if shown < bytes.len() {
        report.draw(&format!("{:08x}  … {} in all", shown, size(bytes.len() as u64)))?;
    }
    if bytes.is_empty() {
        report.means(
            "there are no bytes: every text encoding reads them as an empty text, and no number has none",
        )?;
        return Ok(Verdict::Good);
    }
    numbers(bytes, report)?;
    let mark = MARKS.into_iter().find(|(mark, ..)| bytes.starts_with(mark));
    let verdict = texts(bytes, encodings, mark.map(|(_, name, _)| name), report)?;
    if let Some((mark, name, order)) = mark {
        report.means(&format!(
            "{} is a byte order mark: {} follows, {order}. `{name}` reads it as no part of the text; an encoding whose name \
             has the order reads it as the character U+FEFF",
            hex::spaced(mark),
            name.trim_end_matches("-sig"),
        ))?;
    }
    if let Some(text) = header_length(bytes) {
        report.means(&text)?;
    }
    Ok(verdict)
}

fn numbers(bytes: &[u8], report: &Report) -> std::io::Result<()> {
    for (bits, _, unsigned, _) in SIZES {
        let Some(these) = bytes.get(..bits as usize / 8) else { continue };
        let read = |order| {
            let (plain, signed) = (value(these, order, false), value(these, order, true));
            (plain.to_string(), (plain != signed).then(|| signed.to_string()))
        };
        let (big, signed_big) = read(ByteOrder::Big);
        let (little, signed_little) = read(ByteOrder::Little);
        report.record(&AsNumber {
            bits,
            hex: hex::spaced(these),
            big,
            little,
            struct_big: format!(">{unsigned}"),
            struct_little: format!("<{unsigned}"),
            signed_big,
            signed_little,
        })?;
    }
    Ok(())
}

/// `marked`: the encoding of the byte order mark at the beginning.
fn texts(bytes: &[u8], encodings: &[Encoding], marked: Option<&str>, report: &Report) -> Outcome {
    let are_named = !encodings.is_empty();
    let usual: Vec<Encoding> = marked.into_iter().chain(USUAL).filter_map(find).collect();
    let mut found: Vec<AsText> = Vec::new();
    let mut verdict = Verdict::Good;
    for encoding in if are_named { encodings } else { &usual } {
        match decode(*encoding, ByteOrder::NATIVE, bytes) {
            Ok(text) => match found.iter_mut().find(|known| known.text == text) {
                Some(known) => known.encodings.push(encoding.name()),
                None => found.push(AsText { encodings: vec![encoding.name()], text: text.into_owned() }),
            },
            Err(error) if are_named => {
                verdict = Verdict::Bad;
                let (at, why) = (error.at, error.found.to_string());
                report.record(&NotText { encoding: encoding.name(), at, why })?;
            }
            Err(_) => {}
        }
    }
    for text in &found {
        report.record(text)?;
    }
    if found.len() > 1 && marked.is_none() {
        report.means(&format!(
            "the bytes are {} in different encodings, and nothing in them says which was meant: the sender must declare it",
            counted(found.len() as u64, "text", "different texts")
        ))?;
    }
    Ok(verdict)
}

/// The first two bytes as the length of a header, if a JSON object follows.
fn header_length(bytes: &[u8]) -> Option<String> {
    if let Some(length) = SwappedLength::of(bytes) {
        return Some(format!("a header length in the wrong byte order: {length}"));
    }
    let length = bytes.first_chunk::<2>().map(|prefix| u16::from_be_bytes(*prefix))?;
    (length > 1 && bytes.get(2) == Some(&b'{')).then(|| {
        format!("perhaps a message whose header has {length} bytes; `vang net decode -` reads messages")
    })
}
