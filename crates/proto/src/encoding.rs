//! Content encodings by Python's names: bytes in, text out, or where and why they are not text.
//!
//! ```text
//! "Latin1" ──find──> Encoding ──decode(byteorder, bytes)──> text | DecodeError { encoding, at, found }
//! ```
//!
//! The names, the single-byte tables (`charmap.rs`) and the strictness are those of CPython 3.11 with
//! `errors="strict"`. Nothing is guessed, replaced or skipped: one bad byte refuses the whole content. What vang
//! sends is UTF-8; `encode` is for tools. Not known, though Python has them: utf-7, punycode, idna, charmap and
//! the escape codecs; hz, johab, iso2022_kr, the jisx0213 and 2004 codecs, every iso2022_jp but the plain one.
//!
//! The multibyte encodings of East Asia come from the crate `encoding_rs`, whose tables are those of browsers.
//! Where they name another character than Python's, the character is exchanged afterwards (`BIG5`, `JIS`, …).
//! These differences are left:
//!
//! - More is read than Python reads: shift_jis as cp932; euc_kr as cp949; gb2312 and gbk as gb18030; big5 and cp950
//!   with HKSCS; vendor rows in euc_jp and iso2022_jp; half-width katakana in iso2022_jp; byte 80 in shift_jis
//!   (U+0080) and the gb family (the euro sign).
//! - Less: cp932 bytes a0, fd, fe, ff (private use in Python); in iso2022_jp the bytes 0e and 0f, an escape
//!   character that begins no sequence, and two escape sequences with nothing between; in euc_kr the composed
//!   syllables of eight bytes are read as their parts.
//! - Other characters: big5 and cp950 c6de, c6df (`〃`, `仝`; Python: `ぺ`, `ほ`); euc_jp 8fa2b7 (`〜`; Python: `~`);
//!   gb18030 a3a0, fe59 and 17 more pairs, whose characters left the private use area since Python's edition.

mod encode; // the other way: text to bytes

use std::borrow::Cow;
use std::fmt;

use crate::charmap;
pub use encode::{EncodeError, begins_with_mark, byte_order_mark, encode};

/// A text encoding that vang can decode: see [`find`].
#[derive(Clone, Copy)]
pub struct Encoding {
    name: &'static str,
    kind: Kind,
}

/// The byte order of a machine, as the header key `byteorder` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// The content is not text in the encoding that its header names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("content is not {encoding}: {found} at offset {at}")]
pub struct DecodeError {
    /// Python's canonical name of the encoding.
    pub encoding: &'static str,
    /// Where the first character that cannot be read begins, in bytes from the start of the content.
    pub at: usize,
    /// What stands there.
    pub found: Found,
}

/// What stands where content stops being text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A byte that begins no character of the encoding, alone or with those after it.
    Byte(u8),
    /// A surrogate that is not half of a pair, as a number in the content's byte order.
    Surrogate(u32),
    /// A number above U+10FFFF.
    OutOfRange(u32),
    /// The beginning of a character: the content ends within it.
    Truncated,
}

#[derive(Clone, Copy)]
enum Kind {
    Ascii,
    Latin1,
    Utf8,
    /// One leading byte order mark is not content.
    Utf8Signed,
    /// Without an order, a byte order mark or else the header decides.
    Utf16(Option<ByteOrder>),
    Utf32(Option<ByteOrder>),
    /// The characters of the last bytes; those before them are ASCII.
    Table(&'static [u16]),
    /// A decoder of the library, then (its character, Python's character), sorted.
    Library(&'static encoding_rs::Encoding, &'static [&'static [(char, char)]]),
}

/// The encoding that Python's `codecs.lookup` finds under this name, if vang can decode it.
///
/// Case does not matter; runs of anything but ASCII letters, digits and dots count as one `_`, and none at the ends.
#[must_use]
pub fn find(name: &str) -> Option<Encoding> {
    // Nearly everybody's, looked up for every message: going through the tables costs thirty times as much.
    if name == "utf-8" {
        return Some(Encoding { name: "utf-8", kind: Kind::Utf8 });
    }
    let name = normalised(name)?;
    let alias = |name: &str| {
        let found = charmap::ALIASES.binary_search_by_key(&name, |(alias, _)| alias);
        found.ok().map(|i| charmap::ALIASES[i].1)
    };
    match alias(&name).or_else(|| alias(&name.replace('.', "_"))) {
        Some(module) => by_module(module),
        // A module is found by its exact name only: "utf.8" is nothing, "iso8859.1" is an alias.
        None => by_module(&name),
    }
}

/// Every encoding that vang can decode, each once: Unicode, East Asia, then one byte a character.
pub fn all() -> impl Iterator<Item = Encoding> {
    let own = OWN.iter().map(|row| row.0);
    let tables = charmap::UPPER.iter().map(|row| row.0).chain(charmap::WHOLE.iter().map(|row| row.0));
    own.chain(tables).filter(|module| *module != "iso8859_1").filter_map(by_module)
}

/// The text of `bytes`, borrowed where they are that text in UTF-8 already.
///
/// `byteorder` is that of the sender's machine: it decides for utf-16 and utf-32 without a byte order mark. The text
/// is at most three times as long as the content, in bytes.
///
/// # Errors
/// The first byte that is not text in this encoding, with its offset: nothing is guessed or replaced.
///
/// ```
/// use vang_proto::encoding::{ByteOrder, decode, find};
///
/// let latin1 = find("Latin-1").expect("a name that Python knows");
/// assert_eq!(decode(latin1, ByteOrder::NATIVE, b"caf\xe9")?, "café");
/// let utf8 = find("utf-8").expect("a name that Python knows");
/// let error = decode(utf8, ByteOrder::NATIVE, b"caf\xe9").expect_err("no UTF-8");
/// assert_eq!(error.to_string(), "content is not utf-8: truncated character at offset 3");
/// # Ok::<(), vang_proto::encoding::DecodeError>(())
/// ```
pub fn decode(encoding: Encoding, byteorder: ByteOrder, bytes: &[u8]) -> Result<Cow<'_, str>, DecodeError> {
    let decoded = match encoding.kind {
        Kind::Ascii => match bytes.iter().position(|byte| !byte.is_ascii()) {
            Some(at) => Err((at, Found::Byte(bytes[at]))),
            None => utf8(bytes),
        },
        Kind::Latin1 if bytes.is_ascii() => utf8(bytes),
        Kind::Latin1 => Ok(Cow::Owned(bytes.iter().map(|&byte| char::from(byte)).collect())),
        Kind::Utf8 => utf8(bytes),
        Kind::Utf8Signed => match bytes.strip_prefix(b"\xef\xbb\xbf") {
            Some(rest) => utf8(rest).map_err(|(at, found)| (at + 3, found)),
            None => utf8(bytes),
        },
        Kind::Utf16(order) => {
            let (order, skip) = marked(order, bytes, b"\xff\xfe", b"\xfe\xff").unwrap_or((byteorder, 0));
            utf16(order, bytes, skip).map(Cow::Owned)
        }
        Kind::Utf32(order) => {
            let (order, skip) =
                marked(order, bytes, b"\xff\xfe\0\0", b"\0\0\xfe\xff").unwrap_or((byteorder, 0));
            utf32(order, bytes, skip).map(Cow::Owned)
        }
        Kind::Table(table) => tabled(table, bytes),
        Kind::Library(decoder, exchange) => library(decoder, exchange, bytes),
    };
    decoded.map_err(|(at, found)| DecodeError { encoding: encoding.name, at, found })
}

/// The name under which this content can be passed on to readers who do not know the sender's byte order.
///
/// It is Python's `codecs.lookup(name).name`, except that utf-16 and utf-32 without a byte order mark become
/// `utf-16-le`, `utf-16-be` and so on.
#[must_use]
pub fn canonical(encoding: Encoding, byteorder: ByteOrder, bytes: &[u8]) -> &'static str {
    match (encoding.kind, byteorder) {
        (Kind::Utf16(None), _) if marked(None, bytes, b"\xff\xfe", b"\xfe\xff").is_some() => "utf-16",
        (Kind::Utf16(None), ByteOrder::Little) => "utf-16-le",
        (Kind::Utf16(None), ByteOrder::Big) => "utf-16-be",
        (Kind::Utf32(None), _) if marked(None, bytes, b"\xff\xfe\0\0", b"\0\0\xfe\xff").is_some() => "utf-32",
        (Kind::Utf32(None), ByteOrder::Little) => "utf-32-le",
        (Kind::Utf32(None), ByteOrder::Big) => "utf-32-be",
        _ => encoding.name,
    }
}

impl Encoding {
    /// Python's canonical name, as `codecs.lookup` gives it: `latin-1` is `iso8859-1`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }
}

impl PartialEq for Encoding {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Encoding {}

impl fmt::Debug for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoding({})", self.name)
    }
}

impl ByteOrder {
    /// The byte order of the machine that this runs on.
    pub const NATIVE: Self = if cfg!(target_endian = "big") { Self::Big } else { Self::Little };

    /// As the header says it: `little` or `big`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Little => "little",
            Self::Big => "big",
        }
    }
}

impl fmt::Display for ByteOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte(byte) => write!(f, "byte {byte:#04x}"),
            Self::Surrogate(unit) => write!(f, "lone surrogate {unit:#x}"),
            Self::OutOfRange(number) => write!(f, "{number:#x}, beyond U+10FFFF,"),
            Self::Truncated => f.write_str("truncated character"),
        }
    }
}

/// Where, and what was found there.
type BadPlace = (usize, Found);

fn normalised(name: &str) -> Option<String> {
    if name.contains('\0') {
        return None;
    }
    let mut out = String::new();
    let mut parted = false;
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'.' {
            if parted && !out.is_empty() {
                out.push('_');
            }
            parted = false;
            out.push(char::from(byte.to_ascii_lowercase()));
            if out.len() > ENCODING_NAME_BYTES_MAX {
                return None;
            }
        } else {
            parted = true;
        }
    }
    Some(out)
}

fn by_module(module: &str) -> Option<Encoding> {
    let own = || OWN.iter().find(|(name, _)| *name == module).map(|(_, encoding)| *encoding);
    let upper = || {
        let found = charmap::UPPER.binary_search_by_key(&module, |row| row.0).ok()?;
        let (_, name, table) = &charmap::UPPER[found];
        Some(Encoding { name, kind: Kind::Table(table) })
    };
    let whole = || {
        let found = charmap::WHOLE.binary_search_by_key(&module, |row| row.0).ok()?;
        let (_, name, table) = &charmap::WHOLE[found];
        Some(Encoding { name, kind: Kind::Table(table) })
    };
    own().or_else(upper).or_else(whole)
}

fn utf8(bytes: &[u8]) -> Result<Cow<'_, str>, BadPlace> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|fault| {
        let at = fault.valid_up_to();
        match (fault.error_len(), bytes.get(at)) {
            (Some(_), Some(&byte)) => (at, Found::Byte(byte)),
            _ => (at, Found::Truncated),
        }
    })
}

/// The byte order to read by and the length of the mark: `None` where neither name nor mark tells.
fn marked(fixed: Option<ByteOrder>, bytes: &[u8], little: &[u8], big: &[u8]) -> Option<(ByteOrder, usize)> {
    match fixed {
        Some(order) => Some((order, 0)),
        None if bytes.starts_with(little) => Some((ByteOrder::Little, little.len())),
        None if bytes.starts_with(big) => Some((ByteOrder::Big, big.len())),
        None => None,
    }
}

fn utf16(order: ByteOrder, bytes: &[u8], skip: usize) -> Result<String, BadPlace> {
    let (units, cut) = bytes[skip..].as_chunks::<2>();
    let units = units.iter().map(|&unit| match order {
        ByteOrder::Little => u16::from_le_bytes(unit),
        ByteOrder::Big => u16::from_be_bytes(unit),
    });
    let mut text = String::with_capacity(bytes.len());
    let mut at = skip;
    for decoded in char::decode_utf16(units) {
        match decoded {
            Ok(c) => {
                text.push(c);
                at += 2 * c.len_utf16();
            }
            Err(lone) => {
                let unit = lone.unpaired_surrogate();
                // A first half as the last whole unit: its other half may be what is missing.
                let last = bytes.len() - at < 4;
                let found =
                    if last && unit < 0xdc00 { Found::Truncated } else { Found::Surrogate(unit.into()) };
                return Err((at, found));
            }
        }
    }
    if cut.is_empty() { Ok(text) } else { Err((at, Found::Truncated)) }
}

fn utf32(order: ByteOrder, bytes: &[u8], skip: usize) -> Result<String, BadPlace> {
    let (units, cut) = bytes[skip..].as_chunks::<4>();
    let mut text = String::with_capacity(bytes.len() / 2);
    for (i, &unit) in units.iter().enumerate() {
        let number = match order {
            ByteOrder::Little => u32::from_le_bytes(unit),
            ByteOrder::Big => u32::from_be_bytes(unit),
        };
        let found = if number > 0x10_ffff { Found::OutOfRange(number) } else { Found::Surrogate(number) };
        text.push(char::from_u32(number).ok_or((skip + 4 * i, found))?);
    }
    if cut.is_empty() { Ok(text) } else { Err((bytes.len() - cut.len(), Found::Truncated)) }
}

fn tabled<'a>(table: &[u16], bytes: &'a [u8]) -> Result<Cow<'a, str>, BadPlace> {
    let first = 256 - table.len();
    if first == 128 && bytes.is_ascii() {
        return utf8(bytes);
    }
    let mut text = String::with_capacity(2 * bytes.len());
    for (at, &byte) in bytes.iter().enumerate() {
        let means = match usize::from(byte).checked_sub(first) {
            None => Some(char::from(byte)),
            Some(i) if table[i] == UNDEFINED => None,
            Some(i) => char::from_u32(table[i].into()),
        };
        text.push(means.ok_or((at, Found::Byte(byte)))?);
    }
    Ok(Cow::Owned(text))
}

fn library<'a>(
    encoding: &'static encoding_rs::Encoding,
    exchange: &[&[(char, char)]],
    bytes: &'a [u8],
) -> Result<Cow<'a, str>, BadPlace> {
    // Escape and shift characters are ASCII, and a shift is a fault.
    if bytes.is_ascii()
        && (encoding != encoding_rs::ISO_2022_JP || !bytes.iter().any(|b| b"\x0e\x0f\x1b".contains(b)))
    {
        return utf8(bytes);
    }
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 2 + 16);
    let mut read = 0;
    // First as if more came, then the end alone: so that a character cut short is distinguished from a bad one.
    for last in [false, true] {
        loop {
            let (result, took) =
                decoder.decode_to_string_without_replacement(&bytes[read..], &mut text, last);
            read += took;
            match result {
                encoding_rs::DecoderResult::InputEmpty => break,
                encoding_rs::DecoderResult::OutputFull => text.reserve(bytes.len() - read + 16),
                encoding_rs::DecoderResult::Malformed(bad, after) => {
                    let at = read.saturating_sub(usize::from(bad) + usize::from(after));
                    let found = match bytes.get(at) {
                        Some(&byte) if !last => Found::Byte(byte),
                        _ => Found::Truncated,
                    };
                    return Err((at, found));
                }
            }
        }
    }
    if exchange.is_empty() {
        return Ok(Cow::Owned(text));
    }
    Ok(Cow::Owned(text.chars().map(|c| exchanged(exchange, c)).collect()))
}

fn exchanged(tables: &[&[(char, char)]], c: char) -> char {
    if c.is_ascii() {
        return c;
    }
    let lookup =
        |table: &&[(char, char)]| table.binary_search_by_key(&c, |pair| pair.0).ok().map(|i| table[i].1);
    tables.iter().find_map(lookup).unwrap_or(c)
}

/// As `charmap.rs` marks a byte without a meaning; no encoding has U+FFFE.
const UNDEFINED: u16 = 0xfffe;

/// No name that Python knows is as long as this: 32 bytes. Longer ones are unknown without being copied.
const ENCODING_NAME_BYTES_MAX: usize = 32;

/// The encodings that are not tables, by Python's module.
static OWN: [(&str, Encoding); 23] = [
    ("ascii", Encoding { name: "ascii", kind: Kind::Ascii }),
    ("latin_1", Encoding { name: "iso8859-1", kind: Kind::Latin1 }),
    ("iso8859_1", Encoding { name: "iso8859-1", kind: Kind::Latin1 }),
    ("utf_8", Encoding { name: "utf-8", kind: Kind::Utf8 }),
    ("utf_8_sig", Encoding { name: "utf-8-sig", kind: Kind::Utf8Signed }),
    ("utf_16", Encoding { name: "utf-16", kind: Kind::Utf16(None) }),
    ("utf_16_le", Encoding { name: "utf-16-le", kind: Kind::Utf16(Some(ByteOrder::Little)) }),
    ("utf_16_be", Encoding { name: "utf-16-be", kind: Kind::Utf16(Some(ByteOrder::Big)) }),
    ("utf_32", Encoding { name: "utf-32", kind: Kind::Utf32(None) }),
    ("utf_32_le", Encoding { name: "utf-32-le", kind: Kind::Utf32(Some(ByteOrder::Little)) }),
    ("utf_32_be", Encoding { name: "utf-32-be", kind: Kind::Utf32(Some(ByteOrder::Big)) }),
    ("big5", Encoding { name: "big5", kind: Kind::Library(&encoding_rs::BIG5_INIT, &[&BIG5, &ETEN]) }),
    ("big5hkscs", Encoding { name: "big5hkscs", kind: Kind::Library(&encoding_rs::BIG5_INIT, &[&BIG5]) }),
    ("cp950", Encoding { name: "cp950", kind: Kind::Library(&encoding_rs::BIG5_INIT, &[&CP950, &ETEN]) }),
    ("cp932", Encoding { name: "cp932", kind: Kind::Library(&encoding_rs::SHIFT_JIS_INIT, &[]) }),
    ("shift_jis", Encoding { name: "shift_jis", kind: Kind::Library(&encoding_rs::SHIFT_JIS_INIT, &[&JIS]) }),
    ("euc_jp", Encoding { name: "euc_jp", kind: Kind::Library(&encoding_rs::EUC_JP_INIT, &[&JIS]) }),
    (
        "iso2022_jp",
        Encoding { name: "iso2022_jp", kind: Kind::Library(&encoding_rs::ISO_2022_JP_INIT, &[&JIS]) },
    ),
    ("cp949", Encoding { name: "cp949", kind: Kind::Library(&encoding_rs::EUC_KR_INIT, &[]) }),
    ("euc_kr", Encoding { name: "euc_kr", kind: Kind::Library(&encoding_rs::EUC_KR_INIT, &[]) }),
    ("gbk", Encoding { name: "gbk", kind: Kind::Library(&encoding_rs::GBK_INIT, &[]) }),
    ("gb2312", Encoding { name: "gb2312", kind: Kind::Library(&encoding_rs::GBK_INIT, &[&GB2312]) }),
    ("gb18030", Encoding { name: "gb18030", kind: Kind::Library(&encoding_rs::GB18030_INIT, &[&GB18030]) }),
];

// Each pair: the character that the library reads, the one that Python reads from the same bytes. Found by
// comparing every sequence that Python decodes; the `pairs` lines of `vectors/encodings.txt` hold on to it.

static JIS: [(char, char); 6] =
    [('∥', '‖'), ('－', '−'), ('～', '〜'), ('￠', '¢'), ('￡', '£'), ('￢', '¬')];

static GB2312: [(char, char); 2] = [('·', '・'), ('—', '―')];

/// U+1E3F left the private use area for a8bc, and U+E7C7 took its old bytes.
static GB18030: [(char, char); 2] = [('\u{1e3f}', '\u{e7c7}'), ('\u{e7c7}', '\u{1e3f}')];

static BIG5: [(char, char); 11] = [
    ('¯', '‾'),
    ('‧', '•'),
    ('∕', '／'),
    ('⊕', '♁'),
    ('⊙', '☉'),
    ('﹑', '､'),
    ('﹨', '＼'),
    ('～', '∼'),
    ('￠', '¢'),
    ('￡', '£'),
    ('￥', '¥'),
];

static CP950: [(char, char); 1] = [('￭', '▓')];

/// Rows c6 to c8, which the two fill with the same kana, Cyrillic and circled digits in another order.
#[rustfmt::skip]
static ETEN: [(char, char); 247] = [
    ('¨', 'ぴ'), ('ˆ', 'ふ'), ('Ё', '⑺'), ('А', '⑴'), ('Б', '⑵'), ('В', '⑶'), ('Г', '⑷'), ('Д', '⑸'),
    ('Е', '⑹'), ('Ж', '⑻'), ('З', '⑼'), ('И', '⑽'), ('ⅰ', 'け'), ('ⅱ', 'げ'), ('ⅲ', 'こ'), ('ⅳ', 'ご'),
    ('ⅴ', 'さ'), ('ⅵ', 'ざ'), ('ⅶ', 'し'), ('ⅷ', 'じ'), ('ⅸ', 'す'), ('ⅹ', 'ず'), ('①', 'ヾ'), ('②', 'ゝ'),
    ('③', 'ゞ'), ('④', '々'), ('⑤', 'ぁ'), ('⑥', 'あ'), ('⑦', 'ぃ'), ('⑧', 'い'), ('⑨', 'ぅ'), ('⑩', 'う'),
    ('⑴', 'ぇ'), ('⑵', 'え'), ('⑶', 'ぉ'), ('⑷', 'お'), ('⑸', 'か'), ('⑹', 'が'), ('⑺', 'き'), ('⑻', 'ぎ'),
    ('⑼', 'く'), ('⑽', 'ぐ'), ('✽', 'も'), ('⼳', 'ど'), ('々', 'ぼ'), ('〆', 'ぽ'), ('〇', 'ま'), ('ぁ', 'ゃ'),
    ('あ', 'や'), ('ぃ', 'ゅ'), ('い', 'ゆ'), ('ぅ', 'ょ'), ('う', 'よ'), ('ぇ', 'ら'), ('え', 'り'), ('ぉ', 'る'),
    ('お', 'れ'), ('か', 'ろ'), ('が', 'ゎ'), ('き', 'わ'), ('ぎ', 'ゐ'), ('く', 'ゑ'), ('ぐ', 'を'), ('け', 'ん'),
    ('げ', 'ァ'), ('こ', 'ア'), ('ご', 'ィ'), ('さ', 'イ'), ('ざ', 'ゥ'), ('し', 'ウ'), ('じ', 'ェ'), ('す', 'エ'),
    ('ず', 'ォ'), ('せ', 'オ'), ('ぜ', 'カ'), ('そ', 'ガ'), ('ぞ', 'キ'), ('た', 'ギ'), ('だ', 'ク'), ('ち', 'グ'),
    ('ぢ', 'ケ'), ('っ', 'ゲ'), ('つ', 'コ'), ('づ', 'ゴ'), ('て', 'サ'), ('で', 'ザ'), ('と', 'シ'), ('ど', 'ジ'),
    ('な', 'ス'), ('に', 'ズ'), ('ぬ', 'セ'), ('ね', 'ゼ'), ('の', 'ソ'), ('は', 'ゾ'), ('ば', 'タ'), ('ぱ', 'ダ'),
    ('ひ', 'チ'), ('び', 'ヂ'), ('ぴ', 'ッ'), ('ふ', 'ツ'), ('ぶ', 'ヅ'), ('ぷ', 'テ'), ('へ', 'デ'), ('べ', 'ト'),
    ('ぺ', 'ド'), ('ほ', 'ナ'), ('ぼ', 'ニ'), ('ぽ', 'ヌ'), ('ま', 'ネ'), ('み', 'ノ'), ('む', 'ハ'), ('め', 'バ'),
    ('も', 'パ'), ('ゃ', 'ヒ'), ('や', 'ビ'), ('ゅ', 'ピ'), ('ゆ', 'フ'), ('ょ', 'ブ'), ('よ', 'プ'), ('ら', 'ヘ'),
    ('り', 'ベ'), ('る', 'ペ'), ('れ', 'ホ'), ('ろ', 'ボ'), ('ゎ', 'ポ'), ('わ', 'マ'), ('ゐ', 'ミ'), ('ゑ', 'ム'),
    ('を', 'メ'), ('ん', 'モ'), ('ゝ', 'へ'), ('ゞ', 'べ'), ('ァ', 'ャ'), ('ア', 'ヤ'), ('ィ', 'ュ'), ('イ', 'ユ'),
    ('ゥ', 'ョ'), ('ウ', 'ヨ'), ('ェ', 'ラ'), ('エ', 'リ'), ('ォ', 'ル'), ('オ', 'レ'), ('カ', 'ロ'), ('ガ', 'ヮ'),
    ('キ', 'ワ'), ('ギ', 'ヰ'), ('ク', 'ヱ'), ('グ', 'ヲ'), ('ケ', 'ン'), ('ゲ', 'ヴ'), ('コ', 'ヵ'), ('ゴ', 'ヶ'),
    ('サ', 'Д'), ('ザ', 'Е'), ('シ', 'Ё'), ('ジ', 'Ж'), ('ス', 'З'), ('ズ', 'И'), ('セ', 'Й'), ('ゼ', 'К'),
    ('ソ', 'Л'), ('ゾ', 'М'), ('タ', 'У'), ('ダ', 'Ф'), ('チ', 'Х'), ('ヂ', 'Ц'), ('ッ', 'Ч'), ('ツ', 'Ш'),
    ('ヅ', 'Щ'), ('テ', 'Ъ'), ('デ', 'Ы'), ('ト', 'Ь'), ('ド', 'Э'), ('ナ', 'Ю'), ('ニ', 'Я'), ('ヌ', 'а'),
    ('ネ', 'б'), ('ノ', 'в'), ('ハ', 'г'), ('バ', 'д'), ('パ', 'е'), ('ヒ', 'ё'), ('ビ', 'ж'), ('ピ', 'з'),
    ('フ', 'и'), ('ブ', 'й'), ('プ', 'к'), ('ヘ', 'л'), ('ベ', 'м'), ('ペ', 'н'), ('ホ', 'о'), ('ボ', 'п'),
    ('ポ', 'р'), ('マ', 'с'), ('ミ', 'т'), ('ム', 'у'), ('メ', 'ф'), ('モ', 'х'), ('ャ', 'ц'), ('ヤ', 'ч'),
    ('ュ', 'ш'), ('ユ', 'щ'), ('ョ', 'ъ'), ('ヨ', 'ы'), ('ラ', 'ь'), ('リ', 'э'), ('ル', 'ю'), ('レ', 'я'),
    ('ロ', '①'), ('ヮ', '②'), ('ワ', '③'), ('ヰ', '④'), ('ヱ', '⑤'), ('ヲ', '⑥'), ('ン', '⑦'), ('ヴ', '⑧'),
    ('ヵ', '⑨'), ('ヶ', '⑩'), ('ー', 'み'), ('ヽ', 'ぶ'), ('ヾ', 'ぷ'), ('丶', 'せ'), ('丿', 'ぜ'), ('亅', 'そ'),
    ('亠', 'ぞ'), ('冂', 'た'), ('冖', 'だ'), ('冫', 'ち'), ('勹', 'ぢ'), ('匸', 'っ'), ('卩', 'つ'), ('厶', 'づ'),
    ('夊', 'て'), ('宀', 'で'), ('巛', 'と'), ('广', 'な'), ('廴', 'に'), ('彐', 'ぬ'), ('彡', 'ね'), ('攴', 'の'),
    ('无', 'は'), ('疒', 'ば'), ('癶', 'ぱ'), ('辵', 'ひ'), ('隶', 'び'), ('［', 'む'), ('］', 'め'),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VECTORS: &str = include_str!("../vectors/encodings.txt");

    fn lines(kind: &str) -> Vec<Vec<&'static str>> {
        let lines = VECTORS.lines().filter(|line| !line.starts_with('#'));
        let fields = lines.map(|line| line.split(' ').collect::<Vec<_>>());
        let found: Vec<_> = fields.filter(|fields| fields[0] == kind).collect();
        assert!(!found.is_empty(), "no line of kind {kind}");
        found
    }

    fn unhex(hex: &str) -> Vec<u8> {
        if hex == "-" {
            return Vec::new();
        }
        let digit = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).expect("vectors are hex");
        (0..hex.len()).step_by(2).map(digit).collect()
    }

    fn order(name: &str) -> ByteOrder {
        if name == "big" { ByteOrder::Big } else { ByteOrder::Little }
    }

    fn every_encoding() -> Vec<Encoding> {
        let own = OWN.iter().map(|row| row.0);
        let tables = charmap::UPPER.iter().map(|row| row.0).chain(charmap::WHOLE.iter().map(|row| row.0));
        own.chain(tables).map(|module| by_module(module).expect("a module of ours")).collect()
    }

    #[test]
    fn names_are_found_as_python_finds_them() {
        for line in lines("name") {
            let spelling = String::from_utf8(unhex(line[1])).expect("vectors are UTF-8");
            let found = find(&spelling).map(Encoding::name);
            assert_eq!(found, (line[2] != "-").then_some(line[2]), "{spelling:?}");
        }
        assert_eq!(find("utf-8\0"), None, "Python refuses a name with a zero byte");
    }

    #[test]
    fn every_alias_leads_to_an_encoding_and_is_short_enough_to_be_found() {
        assert!(charmap::ALIASES.is_sorted() && charmap::UPPER.is_sorted() && charmap::WHOLE.is_sorted());
        for (alias, module) in charmap::ALIASES {
            assert_eq!(find(alias), by_module(module), "{alias}");
            assert!(find(alias).is_some() && alias.len() < ENCODING_NAME_BYTES_MAX, "{alias}");
        }
        for encoding in every_encoding() {
            assert_eq!(find(encoding.name()), Some(encoding), "canonical names are names");
        }
    }

    #[test]
    fn every_byte_of_every_single_byte_encoding_is_pythons() {
        let lines = lines("charmap");
        for line in &lines {
            let encoding = find(line[1]).expect("charmaps are known");
            let expected = String::from_utf8(unhex(line[2])).expect("vectors are UTF-8");
            assert_eq!(expected.chars().count(), 256);
            for (byte, c) in (0..=255).zip(expected.chars()) {
                let decoded = decode(encoding, ByteOrder::Little, &[byte]).map(Cow::into_owned);
                let expected = match c {
                    '\u{fffe}' => Err(DecodeError { encoding: line[1], at: 0, found: Found::Byte(byte) }),
                    c => Ok(c.to_string()),
                };
                assert_eq!(decoded, expected, "{} byte {byte:#x}", line[1]);
            }
        }
        let single = |e: &Encoding| matches!(e.kind, Kind::Table(_) | Kind::Ascii | Kind::Latin1);
        let ours: std::collections::BTreeSet<_> =
            every_encoding().into_iter().filter(single).map(Encoding::name).collect();
        assert_eq!(ours, lines.iter().map(|line| line[1]).collect(), "a vector for every table");
    }

    #[test]
    fn every_pair_that_python_reads_is_read_alike() {
        for line in lines("pairs") {
            let encoding = find(line[1]).expect("multibyte encodings are known");
            let (before, after) = (unhex(line[2]), unhex(line[3]));
            let mut hash = 0xcbf2_9ce4_8422_2325_u64;
            for range in line[4].split(',') {
                let number = |hex| u16::from_str_radix(hex, 16).expect("vectors are hex");
                for pair in number(&range[..4])..=number(&range[5..]) {
                    let bytes = [&before[..], &pair.to_be_bytes(), &after].concat();
                    let text = decode(encoding, ByteOrder::Little, &bytes);
                    for byte in text.unwrap_or_else(|why| panic!("{pair:#x}: {why}")).bytes() {
                        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
                    }
                }
            }
            assert_eq!(format!("{hash:016x}"), line[5], "{} {}", line[1], line[2]);
        }
    }

    #[test]
    fn content_is_decoded_and_refused_where_python_does() {
        for line in lines("decode") {
            let encoding = find(line[1]).expect("encodings of vectors are known");
            let bytes = unhex(line[3]);
            let decoded = decode(encoding, order(line[2]), &bytes);
            match line[4] {
                "ok" => {
                    assert_eq!(decoded.as_deref().map(str::as_bytes), Ok(&unhex(line[5])[..]), "{line:?}");
                }
                _ => {
                    assert_eq!(
                        decoded.map_err(|why| why.at.to_string()),
                        Err(line[5].to_owned()),
                        "{line:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_decoding_error_names_its_place() {
        let failure = |name: &str, bytes: &[u8]| {
            let encoding = find(name).expect("a name of ours");
            decode(encoding, ByteOrder::Little, bytes).expect_err("bad content").to_string()
        };
        assert_eq!(failure("utf8", b"abc\xff"), "content is not utf-8: byte 0xff at offset 3");
        assert_eq!(failure("utf8", b"ab\xe2\x82"), "content is not utf-8: truncated character at offset 2");
        assert_eq!(failure("utf-16", b"a\0b"), "content is not utf-16: truncated character at offset 2");
        assert_eq!(
            failure("utf-16", b"\0\xdca\0"),
            "content is not utf-16: lone surrogate 0xdc00 at offset 0"
        );
        assert_eq!(
            failure("utf-16", b"\0\xd8a\0"),
            "content is not utf-16: lone surrogate 0xd800 at offset 0"
        );
        assert_eq!(failure("utf-16", b"a\0\0\xd8"), "content is not utf-16: truncated character at offset 2");
        assert_eq!(
            failure("utf-32", b"\0\0\x11\0"),
            "content is not utf-32: 0x110000, beyond U+10FFFF, at offset 0"
        );
        assert_eq!(failure("cp1252", b"a\x81"), "content is not cp1252: byte 0x81 at offset 1");
        assert_eq!(failure("sjis", b"\x82"), "content is not shift_jis: truncated character at offset 0");
        assert_eq!(failure("sjis", b"a\x82\x01b"), "content is not shift_jis: byte 0x82 at offset 1");
    }

    #[test]
    fn content_that_is_utf_8_already_is_borrowed() {
        let borrowed = |name: &str, bytes| {
            let encoding = find(name).expect("a name of ours");
            matches!(decode(encoding, ByteOrder::Little, bytes), Ok(Cow::Borrowed(_)))
        };
        assert!(borrowed("utf-8", "grüß".as_bytes()));
        assert!(borrowed("utf-8-sig", b"\xef\xbb\xbfhi"));
        for name in ["ascii", "latin-1", "cp1252", "shift_jis", "gb18030", "iso2022_jp"] {
            assert!(borrowed(name, b"plain"), "{name}");
        }
        assert!(!borrowed("cp037", b"plain"));
        assert!(!borrowed("iso2022_jp", b"\x1b(B"));
    }

    #[test]
    fn the_name_passed_on_includes_the_byte_order() {
        let passed = |name: &str, order, bytes| canonical(find(name).expect("a name of ours"), order, bytes);
        assert_eq!(passed("UTF16", ByteOrder::Little, b"a\0"), "utf-16-le");
        assert_eq!(passed("UTF16", ByteOrder::Big, b"\0a"), "utf-16-be");
        assert_eq!(passed("UTF16", ByteOrder::Big, b"\xff\xfea\0"), "utf-16");
        assert_eq!(passed("utf_16_be", ByteOrder::Little, b"\0a"), "utf-16-be");
        assert_eq!(passed("U32", ByteOrder::Little, b""), "utf-32-le");
        assert_eq!(passed("U32", ByteOrder::Little, b"\0\0\xfe\xff"), "utf-32");
        assert_eq!(passed("latin1", ByteOrder::Little, b"a"), "iso8859-1");
        assert_eq!(passed("Windows-1252", ByteOrder::Little, b"a"), "cp1252");
    }

    fn encoded(text: &str, bits: u32, order: ByteOrder) -> Vec<u8> {
        match (bits, order) {
            (16, ByteOrder::Little) => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            (16, ByteOrder::Big) => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            (_, ByteOrder::Little) => text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect(),
            (_, ByteOrder::Big) => text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect(),
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_text_or_a_fault_inside_them(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            for encoding in every_encoding() {
                for order in [ByteOrder::Little, ByteOrder::Big] {
                    match decode(encoding, order, &bytes) {
                        Ok(text) => prop_assert!(text.len() <= 3 * bytes.len()),
                        Err(fault) => prop_assert!(fault.at < bytes.len(), "{encoding:?} {fault}"),
                    }
                    let _ = canonical(encoding, order, &bytes);
                }
            }
        }

        #[test]
        fn escapes_and_leads_are_text_or_a_fault(picks in proptest::collection::vec(0_usize..12, 0..24)) {
            let parts: [&[u8]; 12] = [
                b"\x1b$B", b"\x1b(B", b"\x1b(J", b"\x1b(I", b"\x1b", b"!!", b"a", b"\x8f", b"\x81", b"\x30", b"\xff", b"\x0e",
            ];
            let bytes: Vec<u8> = picks.iter().flat_map(|&i| parts[i]).copied().collect();
            for encoding in every_encoding() {
                match decode(encoding, ByteOrder::Little, &bytes) {
                    Ok(text) => prop_assert!(text.len() <= 3 * bytes.len()),
                    Err(fault) => prop_assert!(fault.at < bytes.len(), "{encoding:?} {fault}"),
                }
            }
        }

        #[test]
        fn utf_16_and_utf_32_come_back_as_they_went(text in any::<String>(), mark: bool) {
            for bits in [16, 32] {
                for order in [ByteOrder::Little, ByteOrder::Big] {
                    let bytes = encoded(&text, bits, order);
                    let exact = format!("utf-{bits}-{}e", &order.as_str()[..1]);
                    let loose = find(&format!("utf-{bits}")).expect("a name of ours");
                    let exact = find(&exact).expect("a name of ours");
                    prop_assert_eq!(decode(exact, ByteOrder::Little, &bytes), Ok(Cow::Borrowed(&text[..])));
                    let sent = if mark { encoded(&format!("\u{feff}{text}"), bits, order) } else { bytes };
                    let read_by = if mark { ByteOrder::NATIVE } else { order };
                    let unmarked = if mark { &text } else { text.strip_prefix('\u{feff}').unwrap_or(&text) };
                    prop_assert_eq!(decode(loose, read_by, &sent), Ok(Cow::Borrowed(unmarked)));
                }
            }
        }
    }
}
