//! A search, read from one line as people type it:
//!
//! ```text
//! release notes        messages with both words          "release notes"   these words in this order
//! releas*              words with this beginning         -draft            without this word
//! from:ada  in:#lab    by ada, in the room lab           -from:ci          not by ci
//! after:2026-05-01     from the start of that day        before:2026-06-01T12:00:00Z   before that time
//! ```
//!
//! Several `from:` or `in:` mean any of them; all other conditions must hold together. Days are in UTC. Any
//! character that is not a letter, digit or emoji separates words and has no other meaning: a text is only an
//! error if `QueryError` names it. Pure; names are not looked up here.

use jiff::{Timestamp, civil, tz::TimeZone};
use vang_chat::Time;

use crate::fold::{self, Kind};

/// Maximum number of words, names and dates in one search.
pub const CONDITIONS_MAX: usize = 16;

/// Minimum letters before a `*`: a shorter prefix matches too many words.
pub const PREFIX_CHARS_MIN: usize = 3;

/// A search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The message has all of these.
    pub phrases: Vec<Phrase>,
    /// The message has none of these.
    pub without: Vec<Phrase>,
    /// By any of these people, names as typed.
    pub from: Vec<String>,
    /// By none of these people.
    pub not_from: Vec<String>,
    /// In any of these rooms, names as typed.
    pub rooms: Vec<String>,
    /// In none of these rooms.
    pub not_rooms: Vec<String>,
    /// At this time or later.
    pub after: Option<Time>,
    pub before: Option<Time>,
}

/// Words in order: typed without a space, or within quotation marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrase {
    /// Folded; at least one.
    pub words: Vec<String>,
    pub last: LastWord,
}

/// How the last word of a phrase matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastWord {
    Exact,
    /// As the beginning of a word.
    Prefix,
    /// A single character of a script without spaces: anywhere in a text.
    Character,
}

/// Why a search is invalid: what was found and what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("there is nothing to search for: give a word, or from:NAME, in:ROOM, after:DATE, before:DATE")]
    Empty,
    #[error("there is no letter, digit or picture in '{found}'")]
    NoWord { found: String },
    #[error("unclosed quotation mark before '{behind}'")]
    UnclosedQuote { behind: String },
    #[error("'{key}:' has no value; write {key}:{example}, without a space")]
    NoValue { key: &'static str, example: &'static str },
    #[error("'{key}:{found}' is not a date; write 2026-05-01 or 2026-05-01T14:00:00Z")]
    NoDate { key: &'static str, found: String },
    #[error("-{key}: is not supported; use {other}:")]
    NotNegatable { key: &'static str, other: &'static str },
    #[error("'{found}*' is too short; write at least {PREFIX_CHARS_MIN} letters before *")]
    ShortPrefix { found: String },
    #[error("{found} words, names and dates exceed the limit of {CONDITIONS_MAX} in one search")]
    TooMany { found: usize },
}

/// The keys with an example value.
const KEYS: [(&str, &str); 4] =
    [("from", "ada"), ("in", "general"), ("after", "2026-05-01"), ("before", "2026-05-01")];

impl Query {
    /// Reads a search.
    pub fn parse(text: &str) -> Result<Query, QueryError> {
        let mut query = Query::default();
        let mut rest = text.trim();
        let (mut conditions, mut empty_words) = (0, None);
        while !rest.is_empty() {
            let (item, behind) = next_item(rest)?;
            rest = behind.trim_start();
            conditions += 1;
            match item {
                Item { key: None, wanted, value, .. } => match Phrase::read(value)? {
                    None => empty_words = empty_words.or(Some(value)),
                    Some(phrase) if wanted => query.phrases.push(phrase),
                    Some(phrase) => query.without.push(phrase),
                },
                Item { key: Some("from"), wanted, value, .. } => {
                    let names = if wanted { &mut query.from } else { &mut query.not_from };
                    names.push(value.trim_start_matches('@').to_owned());
                }
                Item { key: Some("in"), wanted, value, .. } => {
                    let names = if wanted { &mut query.rooms } else { &mut query.not_rooms };
                    names.push(value.trim_start_matches('#').to_owned());
                }
                Item { key: Some(key), wanted, value, .. } => {
                    let (key, other) = if key == "after" { ("after", "before") } else { ("before", "after") };
                    if !wanted {
                        return Err(QueryError::NotNegatable { key, other });
                    }
                    let time =
                        date(value).ok_or_else(|| QueryError::NoDate { key, found: beginning(value) })?;
                    match key {
                        "after" => query.after = Some(query.after.unwrap_or(Time(0)).max(time)),
                        _ => query.before = Some(query.before.unwrap_or(Time(u64::MAX)).min(time)),
                    }
                }
            }
        }
        if conditions > CONDITIONS_MAX {
            return Err(QueryError::TooMany { found: conditions });
        }
        match empty_words {
            Some(found) if query == Query::default() => Err(QueryError::NoWord { found: beginning(found) }),
            None if conditions == 0 => Err(QueryError::Empty),
            _ => Ok(query),
        }
    }

    /// Does a text have the wanted words and none of the unwanted ones?
    pub fn matches(&self, text: &str) -> bool {
        let said = TextWords::new(text);
        self.phrases.iter().all(|phrase| said.has(phrase))
            && !self.without.iter().any(|phrase| said.has(phrase))
    }
}

/// One condition of a search.
struct Item<'a> {
    key: Option<&'static str>,
    wanted: bool,
    value: &'a str,
}

/// The first condition of a text without leading spaces, and the rest.
fn next_item(text: &str) -> Result<(Item<'_>, &str), QueryError> {
    // `-word` means without; people also search for `--flag`, `-` and `->`.
    let (wanted, rest) = match text.strip_prefix('-') {
        Some(rest) if rest.starts_with(|c: char| c.is_alphanumeric() || is_quote(c)) => (false, rest),
        _ => (true, text),
    };
    let keyed = KEYS.iter().find_map(|&(key, example)| {
        let (before, value) = rest.split_once(':')?;
        before.eq_ignore_ascii_case(key).then_some((key, example, value))
    });
    let (key, rest) = match keyed {
        Some((key, _, value)) => (Some(key), value),
        None => (None, rest),
    };
    let (value, behind) = match rest.strip_prefix(is_quote) {
        Some(quoted) => {
            let end = quoted.find(is_quote);
            let end = end.ok_or_else(|| QueryError::UnclosedQuote { behind: beginning(quoted) })?;
            let behind = &quoted[end..];
            (&quoted[..end], behind.strip_prefix(is_quote).unwrap_or(behind))
        }
        None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
    };
    if let Some((key, example, _)) = keyed
        && value.trim().is_empty()
    {
        return Err(QueryError::NoValue { key, example });
    }
    Ok((Item { key, wanted, value: if key.is_some() { value.trim() } else { value } }, behind))
}

/// Also the typographic ones of keyboards and word processors.
fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{ab}' | '\u{bb}')
}

fn beginning(text: &str) -> String {
    let mut out: String = text.chars().take(20).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

fn date(text: &str) -> Option<Time> {
    let stamp = match text.parse::<civil::Date>() {
        // A time with an offset starts with a date, but it does not mean the whole day.
        Ok(day) if text.len() <= 10 => day.to_zoned(TimeZone::UTC).ok()?.timestamp(),
        _ => text.parse::<Timestamp>().ok()?,
    };
    Some(Time(u64::try_from(stamp.as_millisecond()).unwrap_or(0)))
}

impl Phrase {
    /// A phrase as typed; `None` if it has no words.
    fn read(typed: &str) -> Result<Option<Phrase>, QueryError> {
        let (text, starred) = match typed.strip_suffix('*') {
            Some(text) => (text, true),
            None => (typed, false),
        };
        let mut words: Vec<(String, Kind)> = Vec::new();
        fold::words(text, &mut |word| words.push((word.text.to_owned(), word.kind)));
        let Some((last_text, last_kind)) = words.last().cloned() else { return Ok(None) };
        let before = words.len().checked_sub(2).map(|index| words[index].1);
        let last = match (last_kind, before) {
            // The run can continue: its last pair is enough.
            (Kind::Last, Some(Kind::Pair)) => {
                words.pop();
                LastWord::Exact
            }
            (Kind::Last, None) => LastWord::Character,
            (Kind::Last, Some(_)) => LastWord::Prefix,
            _ if starred && text.ends_with(char::is_alphanumeric) => {
                if last_text.chars().count() < PREFIX_CHARS_MIN {
                    return Err(QueryError::ShortPrefix { found: last_text });
                }
                LastWord::Prefix
            }
            _ => LastWord::Exact,
        };
        Ok(Some(Phrase { words: words.into_iter().map(|(text, _)| text).collect(), last }))
    }
}

/// The words of a text, to find phrases in it.
pub(crate) struct TextWords {
    words: Vec<PlacedWord>,
}

struct PlacedWord {
    text: String,
    kind: Kind,
    start: usize,
    first_end: usize,
    end: usize,
}

impl TextWords {
    pub(crate) fn new(text: &str) -> TextWords {
        let mut words = Vec::new();
        fold::words(text, &mut |word| {
            let fold::Word { kind, start, first_end, end, .. } = word;
            words.push(PlacedWord { text: word.text.to_owned(), kind, start, first_end, end });
        });
        TextWords { words }
    }

    fn has(&self, phrase: &Phrase) -> bool {
        self.places(phrase).next().is_some()
    }

    /// The places of a phrase: byte offsets.
    pub(crate) fn places(&self, phrase: &Phrase) -> impl Iterator<Item = (usize, usize)> {
        self.words.windows(phrase.words.len()).filter_map(|window| {
            let (last, before) = window.split_last()?;
            let (last_word, words_before) = phrase.words.split_last()?;
            if !before.iter().zip(words_before).all(|(placed, word)| placed.text == *word) {
                return None;
            }
            let start = window.first()?.start;
            match phrase.last {
                LastWord::Exact => (last.text == *last_word).then_some((start, last.end)),
                LastWord::Prefix | LastWord::Character => last
                    .text
                    .starts_with(&**last_word)
                    .then(|| (start, if last.kind == Kind::Whole { last.end } else { last.first_end })),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrase(words: &str, last: LastWord) -> Phrase {
        Phrase { words: words.split(' ').map(str::to_owned).collect(), last }
    }

    fn exact(words: &str) -> Phrase {
        phrase(words, LastWord::Exact)
    }

    fn wrong(text: &str) -> String {
        Query::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn words_phrases_names_and_dates_are_read() {
        let query = Query::parse(
            r#"Chó "xin chào" -mèo from:@ada in:#lab -from:ci after:2026-05-01 before:2026-05-02T00:00:00+02:00"#,
        );
        let expected = Query {
            phrases: vec![exact("cho"), exact("xin chao")],
            without: vec![exact("meo")],
            from: vec!["ada".to_owned()],
            not_from: vec!["ci".to_owned()],
            rooms: vec!["lab".to_owned()],
            not_rooms: vec![],
            after: Some(Time(1_777_593_600_000)),
            before: Some(Time(1_777_672_800_000)),
        };
        assert_eq!(query, Ok(expected));
    }

    #[test]
    fn words_without_a_space_between_are_a_phrase() {
        let phrases = |text: &str| Query::parse(text).unwrap().phrases;
        assert_eq!(phrases("don't"), [exact("don t")]);
        assert_eq!(phrases("https://vang.example/x"), [exact("https vang example x")]);
        assert_eq!(phrases("deplo*"), [phrase("deplo", LastWord::Prefix)]);
        assert_eq!(phrases("東京"), [exact("東京")]);
        assert_eq!(phrases("東京都"), [exact("東京 京都")]);
        assert_eq!(phrases("東"), [phrase("東", LastWord::Character)]);
        assert_eq!(phrases("第3回"), [phrase("第 3 回", LastWord::Prefix)]);
        assert_eq!(phrases("“xin chào”bạn"), [exact("xin chao"), exact("ban")]);
        assert_eq!(phrases("a ??? b"), [exact("a"), exact("b")]);
        assert_eq!(phrases("--flag -> x"), [exact("flag"), exact("x")]);
    }

    #[test]
    fn search_engine_syntax_has_no_meaning() {
        let phrases = |text: &str| Query::parse(text).unwrap().phrases;
        for typed in ["NEAR(a b)", "a AND b", "{said}:a", "^a + b", "a'; DROP TABLE about; --"] {
            assert!(
                phrases(typed)
                    .iter()
                    .flat_map(|phrase| &phrase.words)
                    .all(|word| word.bytes().all(|b| b.is_ascii_alphanumeric()))
            );
        }
        assert_eq!(phrases("a OR b"), [exact("a"), exact("or"), exact("b")]);
    }

    #[test]
    fn mistakes_are_named() {
        assert!(wrong("").starts_with("there is nothing to search for: give a word"));
        assert_eq!(wrong("?!"), "there is no letter, digit or picture in '?!'");
        assert_eq!(wrong("a \"b c"), "unclosed quotation mark before 'b c'");
        assert_eq!(wrong("from: ada"), "'from:' has no value; write from:ada, without a space");
        assert_eq!(
            wrong("after:soon"),
            "'after:soon' is not a date; write 2026-05-01 or 2026-05-01T14:00:00Z"
        );
        assert_eq!(wrong("-before:2026-05-01"), "-before: is not supported; use after:");
        assert_eq!(wrong("ab*"), "'ab*' is too short; write at least 3 letters before *");
        assert_eq!(wrong(&"x ".repeat(17)), "17 words, names and dates exceed the limit of 16 in one search");
    }

    #[test]
    fn dates_are_days_in_utc_or_moments() {
        let after = |text: &str| Query::parse(&format!("after:{text}")).ok().and_then(|query| query.after);
        assert_eq!(after("1970-01-02"), Some(Time(86_400_000)));
        assert_eq!(after("1970-01-02T00:00:00.500Z"), Some(Time(86_400_500)));
        assert_eq!(after("1970-01-02T02:00:00+02:00"), Some(Time(86_400_000)));
        assert_eq!(after("1969-01-02"), Some(Time(0)));
        for wrong in ["2026-13-01", "2026-05", "01.05.2026", "2026-05-01T14:00:00", "x"] {
            assert_eq!(after(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_text_matches_as_the_index_does() {
        let has = |query: &str, text: &str| Query::parse(query).unwrap().matches(text);
        assert!(has("cho", "con Chó") && !has("cho", "chọn") && has("\"con cho\"", "Con chó!"));
        assert!(
            has("京都", "東京都") && has("都", "東京都") && has("東", "東京都") && !has("東都", "東京都")
        );
        assert!(has("ไทย", "ประเทศไทย") && has("第3", "大会第3回") && has("3回", "第3回会議"));
        assert!(has("hello -world", "hello there") && !has("hello -world", "hello world"));
        assert!(has("rel*", "release") && !has("rel", "release"));
    }
}
