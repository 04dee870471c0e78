//! Folding: which spellings are the same word. One function folds messages and searches, so `cho` finds `chó`,
//! `dong` finds `Đồng` and `strasse` finds `Straße`, however they were typed.
//!
//! ```text
//! NFKD ▸ marks dropped ▸ full case folding ▸ NFKD ▸ marks dropped ▸ đ ø ł æ … written out ▸ NFC
//!
//! "Chó ở 東京都!"  ▸  cho  o  東京 京都 都        a run without spaces: pairs, then its last character
//! ```
//!
//! Han, Kana, Hangul, Thai, Lao, Khmer and Myanmar have no spaces between words. There every character starts a
//! word of its own, a pair with the next character, so a search can start and end anywhere. Marks are dropped
//! where they change a letter's sound (Latin, Greek, Cyrillic, Hebrew, Arabic) and kept where they are letters
//! (が, कि, ที่).
//!
//! Pure: no index here.

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Longest word, in characters; a longer word is cut. Nobody types 64 letters; longer words are encoded data.
pub const WORD_CHARS_MAX: usize = 64;

/// The kind of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Letters and digits between spaces, or one emoji.
    Whole,
    /// Two neighbouring characters of a run without spaces.
    Pair,
    /// The last character of such a run.
    Last,
}

/// A folded word and its place in the text: byte offsets at character boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    /// Folded; without spaces, quotes or `#`.
    pub text: &'a str,
    pub kind: Kind,
    pub start: usize,
    /// The end of its first character.
    pub first_end: usize,
    pub end: usize,
}

/// Calls `each` with the words of a text, in order.
pub fn words(text: &str, each: &mut dyn FnMut(Word<'_>)) {
    let mut cutter = Cutter::new(each);
    let mut at = 0;
    while at < text.len() {
        // Most words of most languages begin like this: taken as a whole, not letter by letter.
        let letters = ascii_letters(&text.as_bytes()[at..]);
        if letters > 0 {
            cutter.letters(&text[at..at + letters], at);
            at += letters;
            continue;
        }
        at += fold_next(text, at, &mut |c, start, end| cutter.take(c, start, end));
    }
    cutter.flush();
}

/// How many ASCII letters and digits the text begins with that surely have no marks.
fn ascii_letters(text: &[u8]) -> usize {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric();
    match text.iter().position(|byte| !is_letter(byte)) {
        None => text.len(),
        Some(len) if text[len].is_ascii() => len,
        // What is behind the last of them may be its mark.
        Some(len) => len.saturating_sub(1),
    }
}

/// A folded text; everything between its words stays.
pub fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    folded(text, |c, _, _| out.push(c));
    out
}

/// Calls `each` with every folded character and the byte range that it came from.
fn folded(text: &str, mut each: impl FnMut(char, usize, usize)) {
    let mut at = 0;
    while at < text.len() {
        at += fold_next(text, at, &mut each);
    }
}

/// Folds the character at `at` with its marks; answers how many bytes it has.
fn fold_next(text: &str, at: usize, each: &mut impl FnMut(char, usize, usize)) -> usize {
    let bytes = text.as_bytes();
    // An ASCII character before another ASCII character has no marks.
    if bytes[at].is_ascii() && bytes.get(at + 1).is_none_or(u8::is_ascii) {
        each(char::from(bytes[at].to_ascii_lowercase()), at, at + 1);
        return 1;
    }
    let end = at + cluster_len(&text[at..]);
    for c in fold_cluster(&text[at..end]) {
        each(c, at, end);
    }
    end - at
}

/// The length of a character with its marks and the dropped characters after it. No normal form reaches across
/// its end, before or after dropping.
fn cluster_len(text: &str) -> usize {
    let mut chars = text.char_indices();
    let hangul = chars.next().is_some_and(|(_, first)| is_hangul(first));
    let end = chars.find(|&(_, c)| !(joins(c) || is_dropped(c) || hangul && is_jamo(c)));
    end.map_or(text.len(), |(at, _)| at)
}

fn fold_cluster(cluster: &str) -> impl Iterator<Item = char> {
    let kept = |c: &char| !is_dropped(*c);
    let plain = cluster.nfkd().filter(kept).default_case_fold().nfkd().filter(kept);
    plain.flat_map(written_out).nfc()
}

/// Letters that no normal form decomposes, as people write them without their keyboard.
fn written_out(c: char) -> impl Iterator<Item = char> {
    let (first, second) = match c {
        'đ' | 'ð' | 'ɖ' => ('d', None),
        'ø' => ('o', None),
        'ł' => ('l', None),
        'ħ' => ('h', None),
        'ŧ' => ('t', None),
        'ı' => ('i', None),
        'ŋ' => ('n', None),
        'æ' => ('a', Some('e')),
        'œ' => ('o', Some('e')),
        'þ' => ('t', Some('h')),
        other => (other, None),
    };
    std::iter::once(first).chain(second)
}

/// Marks that change a letter's sound, and invisible characters.
fn is_dropped(c: char) -> bool {
    matches!(u32::from(c),
        0xad | 0x300..=0x36f | 0x483..=0x489
        | 0x591..=0x5bd | 0x5bf | 0x5c1 | 0x5c2 | 0x5c4 | 0x5c5 | 0x5c7
        | 0x610..=0x61a | 0x61c | 0x640 | 0x64b..=0x65f | 0x670
        | 0x6d6..=0x6dc | 0x6df..=0x6e4 | 0x6e7 | 0x6e8 | 0x6ea..=0x6ed
        | 0x180b..=0x180f | 0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x200b..=0x200f | 0x202a..=0x202e
        | 0x2060..=0x206f | 0x20d0..=0x20ff | 0xfe00..=0xfe0f | 0xfe20..=0xfe2f | 0xfeff
        | 0x1f3fb..=0x1f3ff | 0xe0020..=0xe007f | 0xe0100..=0xe01ef)
}

/// Can a normal form join this character to the previous one?
fn joins(c: char) -> bool {
    // Halfwidth voicing marks, and the vowel sign of Kirat Rai that is a letter by its category.
    is_combining_mark(c) || matches!(c, '\u{ff9e}' | '\u{ff9f}' | '\u{16d67}')
}

fn is_hangul(c: char) -> bool {
    matches!(u32::from(c), 0xac00..=0xd7a3) || is_jamo(c)
}

/// Parts of Hangul syllables.
fn is_jamo(c: char) -> bool {
    matches!(u32::from(c),
        0x1100..=0x11ff | 0x3131..=0x318e | 0xa960..=0xa97f | 0xd7b0..=0xd7ff | 0xffa0..=0xffdc)
}

/// Does this script have no spaces between words?
pub(crate) fn is_unspaced(c: char) -> bool {
    let c = u32::from(c);
    // Scripts before Thai have spaces, and most messages use them.
    c >= 0xe01
        && matches!(c,
            0xe01..=0xe3a | 0xe40..=0xe4e | 0xe81..=0xecf | 0xedc..=0xedf
            | 0x1000..=0x103f | 0x1050..=0x108f | 0x109a..=0x109d | 0x1100..=0x11ff
            | 0x1780..=0x17d3 | 0x17d7 | 0x17dc | 0x17dd
            | 0x2e80..=0x2fdf | 0x3005..=0x3007 | 0x3021..=0x3029 | 0x3031..=0x3035 | 0x303b
            | 0x3041..=0x309a | 0x309d..=0x309f | 0x30a1..=0x30fa | 0x30fc..=0x312f
            | 0x3131..=0x318e | 0x31a0..=0x31bf | 0x31f0..=0x31ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff
            | 0xa960..=0xa97f | 0xa9e0..=0xa9ef | 0xa9fa..=0xa9fe | 0xaa60..=0xaa7f
            | 0xac00..=0xd7ff | 0xf900..=0xfaff | 0x1aff0..=0x1b16f | 0x20000..=0x3fffd)
}

/// Arrows, signs and emoji: people search for them, too.
fn is_picture(c: char) -> bool {
    matches!(u32::from(c), 0x2190..=0x21ff | 0x2300..=0x23ff | 0x2600..=0x27bf | 0x2b00..=0x2bff | 0x1f000..=0x1faff)
}

/// Cuts folded characters into words.
struct Cutter<'a> {
    each: &'a mut dyn FnMut(Word<'_>),
    word: String,
    chars: usize,
    /// Of the current word, or of the run's last character.
    start: usize,
    first_end: usize,
    end: usize,
    current: Current,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Current {
    Nothing,
    Word,
    Run,
}

impl<'a> Cutter<'a> {
    fn new(each: &'a mut dyn FnMut(Word<'_>)) -> Cutter<'a> {
        let word = String::with_capacity(64);
        Cutter { each, word, chars: 0, start: 0, first_end: 0, end: 0, current: Current::Nothing }
    }

    fn take(&mut self, c: char, start: usize, end: usize) {
        if c.is_ascii() {
            return if c.is_ascii_alphanumeric() { self.letter(c, start, end) } else { self.flush() };
        }
        if is_unspaced(c) {
            self.unspaced(c, start, end);
        } else if is_picture(c) {
            self.flush();
            self.letter(c, start, end);
            self.flush();
        } else if c.is_alphanumeric() || is_combining_mark(c) {
            self.letter(c, start, end);
        } else {
            self.flush();
        }
    }

    /// ASCII letters and digits that stand together.
    fn letters(&mut self, letters: &str, start: usize) {
        if self.current != Current::Word {
            self.flush();
            self.word.clear();
            (self.current, self.chars) = (Current::Word, 0);
            (self.start, self.first_end) = (start, start + 1);
        }
        let kept = letters.len().min(WORD_CHARS_MAX - self.chars);
        let before = self.word.len();
        self.word.push_str(&letters[..kept]);
        self.word[before..].make_ascii_lowercase();
        self.chars += kept;
        self.end = start + letters.len();
    }

    fn letter(&mut self, c: char, start: usize, end: usize) {
        if self.current != Current::Word {
            self.flush();
            self.begin(Current::Word, c, start, end);
        } else if self.chars < WORD_CHARS_MAX {
            self.word.push(c);
            self.chars += 1;
        }
        self.end = end;
    }

    fn unspaced(&mut self, c: char, start: usize, end: usize) {
        if self.current == Current::Run {
            self.word.push(c);
            self.end = end;
            self.give(Kind::Pair);
        } else {
            self.flush();
        }
        self.begin(Current::Run, c, start, end);
    }

    fn begin(&mut self, what: Current, c: char, start: usize, end: usize) {
        self.word.clear();
        self.word.push(c);
        (self.current, self.chars) = (what, 1);
        (self.start, self.first_end, self.end) = (start, end, end);
    }

    fn give(&mut self, kind: Kind) {
        let Cutter { start, first_end, end, .. } = *self;
        (self.each)(Word { text: &self.word, kind, start, first_end, end });
    }

    fn flush(&mut self) {
        match self.current {
            Current::Nothing => {}
            Current::Word => self.give(Kind::Whole),
            Current::Run => self.give(Kind::Last),
        }
        self.current = Current::Nothing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> String {
        let mut out = Vec::new();
        words(text, &mut |word| out.push(word.text.to_owned()));
        out.join(" ")
    }

    #[test]
    fn spellings_of_a_word_fold_to_one() {
        for (said, folded) in [
            ("Chó và MÈO", "cho va meo"),
            ("Đồng Tháp, Đà Nẵng", "dong thap da nang"),
            ("Straße STRASSE straẞe", "strasse strasse strasse"),
            ("Łódź Ørsted ǿ Æon œuvre Þór", "lodz orsted o aeon oeuvre thor"),
            ("İstanbul ISTANBUL ıstanbul", "istanbul istanbul istanbul"),
            ("Ελλάδα ΣΟΦΟΣ σοφός", "ελλαδα σοφοσ σοφοσ"),
            ("ЁЛКА ёлка Київ", "елка елка киів"),
            ("ﬁne ①②③ ｆｕｌｌ ℃", "fine 123 full c"),
            ("don't foo_bar v1.2 C++", "don t foo bar v1 2 c"),
            ("so\u{ad}ft zero\u{200b}width", "soft zerowidth"),
            ("مَرْحَبًا مـــرحبا", "مرحبا مرحبا"),
            ("हिन्दी में", "हिन्दी में"),
            ("I ❤️ 🐰🐰👍🏽", "i ❤ 🐰 🐰 👍"),
            ("", ""),
            ("?! … —", ""),
        ] {
            assert_eq!(all(said), folded, "{said}");
        }
    }

    #[test]
    fn a_run_without_spaces_becomes_pairs() {
        for (said, folded) in [
            ("東京都", "東京 京都 都"),
            ("第3回", "第 3 回"),
            ("Rust入門", "rust 入門 門"),
            ("ガイド ｶﾞｲﾄﾞ", "ガイ イド ド ガイ イド ド"),
            ("か\u{3099}", "が"),
            ("한국어", "한국 국어 어"),
            ("ประเทศไทย", "ปร ระ ะเ เท ทศ ศไ ไท ทย ย"),
            ("ㅋㅋㅋ", "\u{110f}\u{110f} \u{110f}\u{110f} \u{110f}"),
        ] {
            assert_eq!(all(said), folded, "{said}");
        }
    }

    #[test]
    fn a_word_has_its_place_in_the_text() {
        let text = "ein Gru\u{df}, 東京";
        let mut found = Vec::new();
        words(text, &mut |word| found.push((word.kind, &text[word.start..word.end])));
        let kinds = [Kind::Whole, Kind::Whole, Kind::Pair, Kind::Last];
        assert_eq!(found, kinds.into_iter().zip(["ein", "Gru\u{df}", "東京", "京"]).collect::<Vec<_>>());
    }

    #[test]
    fn a_very_long_word_is_cut() {
        assert_eq!(all(&"x".repeat(5_000)), "x".repeat(WORD_CHARS_MAX));
    }
}
