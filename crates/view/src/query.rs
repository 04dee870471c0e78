//! What somebody looks for, read from one line as people type it:
//!
//! ```text
//! release notes        messages with both words          "release notes"   one behind the other
//! releas*              words that begin so               -draft            not with this word
//! from:ada  in:#lab    of ada, in the room lab           -from:ci          not of ci
//! after:2026-05-01     from the beginning of that day    before:2026-06-01T12:00:00Z   before that moment
//! ```
//!
//! Several `from:` or `in:` mean any of them; everything else must hold at once. Days are days in
//! UTC. Whatever is no letter, digit or picture parts words and means nothing else: no text is an
//! error but those that `BadQuery` names. Pure; names are not looked up here.

use jiff::{Timestamp, civil, tz::TimeZone};
use vang_chat::Time;

use crate::fold::{self, Kind};

/// Words, names and dates in one question: more is a text, not a question.
pub const CONDITIONS_MAX: usize = 16;

/// Letters that must stand before a `*`: fewer would begin too many words.
pub const PREFIX_CHARS_MIN: usize = 3;

/// What is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// All of these are in the message.
    pub phrases: Vec<Phrase>,
    /// None of these is.
    pub without: Vec<Phrase>,
    /// Of any of these people: names as typed.
    pub from: Vec<String>,
    /// Of none of these.
    pub not_from: Vec<String>,
    /// In any of these rooms: names as typed.
    pub rooms: Vec<String>,
    /// In none of these.
    pub not_rooms: Vec<String>,
    /// At this moment or later.
    pub after: Option<Time>,
    /// Before this moment.
    pub before: Option<Time>,
}

/// Words one behind the other: what was typed without a space, or within quotation marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrase {
    /// Folded, at least one.
    pub words: Vec<String>,
    /// How the last of them is to be taken.
    pub last: LastWord,
}

/// How the last word of a phrase is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastWord {
    /// As it is.
    Exact,
    /// As the beginning of a word.
    Prefix,
    /// One character of a writing without spaces, and nothing else: anywhere.
    Character,
}

/// A question that cannot be understood. Says what was found, and what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    /// Nothing to look for.
    #[error("there is nothing to look for: give a word, or from:NAME, in:ROOM, after:DATE, before:DATE")]
    Empty,
    /// Only what has no letters.
    #[error("there is no letter, digit or picture in '{found}'")]
    NoWord {
        /// The beginning of it.
        found: String,
    },
    /// A quotation mark without its partner.
    #[error("the quotation mark before '{behind}' has no partner")]
    OpenQuote {
        /// What stands behind it.
        behind: String,
    },
    /// `from:` and nothing.
    #[error("'{key}:' has nothing behind it; write {key}:{example}, without a space")]
    NoValue {
        /// Which.
        key: &'static str,
        /// As it should be.
        example: &'static str,
    },
    /// Not a date.
    #[error("'{found}' behind {key}: is no date; write 2026-05-01 or 2026-05-01T14:00:00Z")]
    NoDate {
        /// Which.
        key: &'static str,
        /// As typed.
        found: String,
    },
    /// `-before:`.
    #[error("-{key}: says nothing; use {other}: instead")]
    NotDate {
        /// Which.
        key: &'static str,
        /// Its counterpart.
        other: &'static str,
    },
    /// A prefix that is too short.
    #[error("'{found}*' is too short a beginning; write at least {PREFIX_CHARS_MIN} letters before *")]
    ShortPrefix {
        /// As folded.
        found: String,
    },
    /// Too much of it.
    #[error("{found} words, names and dates; one question has at most {CONDITIONS_MAX}")]
    TooMany {
        /// How many.
        found: usize,
    },
}

/// The keys, each with an example of its value.
const KEYS: [(&str, &str); 4] =
    [("from", "ada"), ("in", "general"), ("after", "2026-05-01"), ("before", "2026-05-01")];

impl Query {
    /// Reads a question.
    pub fn parse(text: &str) -> Result<Query, BadQuery> {
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
                        return Err(BadQuery::NotDate { key, other });
                    }
                    let time =
                        date(value).ok_or_else(|| BadQuery::NoDate { key, found: beginning(value) })?;
                    match key {
                        "after" => query.after = Some(query.after.unwrap_or(Time(0)).max(time)),
                        _ => query.before = Some(query.before.unwrap_or(Time(u64::MAX)).min(time)),
                    }
                }
            }
        }
        if conditions > CONDITIONS_MAX {
            return Err(BadQuery::TooMany { found: conditions });
        }
        match empty_words {
            Some(found) if query == Query::default() => Err(BadQuery::NoWord { found: beginning(found) }),
            None if conditions == 0 => Err(BadQuery::Empty),
            _ => Ok(query),
        }
    }

    /// Does a text have the words that are looked for, and none of the others?
    pub fn matches(&self, text: &str) -> bool {
        let said = Said::new(text);
        self.phrases.iter().all(|phrase| said.has(phrase))
            && !self.without.iter().any(|phrase| said.has(phrase))
    }
}

/// A part of a question.
struct Item<'a> {
    key: Option<&'static str>,
    wanted: bool,
    value: &'a str,
}

/// The first part of a question that begins with no space, and what stands behind it.
fn next_item(text: &str) -> Result<(Item<'_>, &str), BadQuery> {
    // `-word` means without; `--flag`, `-` and `->` are something that people look for.
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
            let end = end.ok_or_else(|| BadQuery::OpenQuote { behind: beginning(quoted) })?;
            let behind = &quoted[end..];
            (&quoted[..end], behind.strip_prefix(is_quote).unwrap_or(behind))
        }
        None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
    };
    if let Some((key, example, _)) = keyed
        && value.trim().is_empty()
    {
        return Err(BadQuery::NoValue { key, example });
    }
    Ok((Item { key, wanted, value: if key.is_some() { value.trim() } else { value } }, behind))
}

/// Also those that a keyboard or a word processor makes of them.
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
        // A time with an offset begins with a date; it must not be taken for the whole day.
        Ok(day) if text.len() <= 10 => day.to_zoned(TimeZone::UTC).ok()?.timestamp(),
        _ => text.parse::<Timestamp>().ok()?,
    };
    Some(Time(u64::try_from(stamp.as_millisecond()).unwrap_or(0)))
}

impl Phrase {
    /// What was typed as one; `None`: it has no words.
    fn read(typed: &str) -> Result<Option<Phrase>, BadQuery> {
        let (text, starred) = match typed.strip_suffix('*') {
            Some(text) => (text, true),
            None => (typed, false),
        };
        let mut words: Vec<(String, Kind)> = Vec::new();
        fold::words(text, &mut |word| words.push((word.text.to_owned(), word.kind)));
        let Some((last_text, last_kind)) = words.last().cloned() else { return Ok(None) };
        let before = words.len().checked_sub(2).map(|index| words[index].1);
        let last = match (last_kind, before) {
            // The run goes on, perhaps: its last pair says all.
            (Kind::Last, Some(Kind::Pair)) => {
                words.pop();
                LastWord::Exact
            }
            (Kind::Last, None) => LastWord::Character,
            (Kind::Last, Some(_)) => LastWord::Prefix,
            _ if starred && text.ends_with(char::is_alphanumeric) => {
                if last_text.chars().count() < PREFIX_CHARS_MIN {
                    return Err(BadQuery::ShortPrefix { found: last_text });
                }
                LastWord::Prefix
            }
            _ => LastWord::Exact,
        };
        Ok(Some(Phrase { words: words.into_iter().map(|(text, _)| text).collect(), last }))
    }
}

/// A text's words, to look for phrases in it.
pub(crate) struct Said {
    words: Vec<Placed>,
}

struct Placed {
    text: String,
    kind: Kind,
    start: usize,
    first_end: usize,
    end: usize,
}

impl Said {
    pub(crate) fn new(text: &str) -> Said {
        let mut words = Vec::new();
        fold::words(text, &mut |word| {
            let fold::Word { kind, start, first_end, end, .. } = word;
            words.push(Placed { text: word.text.to_owned(), kind, start, first_end, end });
        });
        Said { words }
    }

    fn has(&self, phrase: &Phrase) -> bool {
        self.places(phrase).next().is_some()
    }

    /// Where the phrase stands: byte offsets.
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
    fn what_is_typed_without_a_space_stands_together() {
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
    fn nothing_of_a_search_engine_s_syntax_means_anything() {
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
        assert!(wrong("").starts_with("there is nothing to look for: give a word"));
        assert_eq!(wrong("?!"), "there is no letter, digit or picture in '?!'");
        assert_eq!(wrong("a \"b c"), "the quotation mark before 'b c' has no partner");
        assert_eq!(wrong("from: ada"), "'from:' has nothing behind it; write from:ada, without a space");
        assert_eq!(
            wrong("after:soon"),
            "'soon' behind after: is no date; write 2026-05-01 or 2026-05-01T14:00:00Z"
        );
        assert_eq!(wrong("-before:2026-05-01"), "-before: says nothing; use after: instead");
        assert_eq!(wrong("ab*"), "'ab*' is too short a beginning; write at least 3 letters before *");
        assert_eq!(wrong(&"x ".repeat(17)), "17 words, names and dates; one question has at most 16");
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
    fn a_text_is_looked_at_as_the_index_does() {
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
