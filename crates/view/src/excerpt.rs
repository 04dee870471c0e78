//! The searched part of a message's text, and the part that a hit shows.

use std::borrow::Cow;

use vang_journal::MessagePayloadView;
use vang_proto::{ByteOrder, encoding};

/// Searched bytes of a message's text: 64 KiB. A longer text is found by its beginning.
pub const SEARCHED_BYTES_MAX: usize = 1 << 16;

/// Characters that a hit shows.
pub const HIT_CHARS_MAX: usize = 240;

/// Characters before the first match, if the match is not at the start.
const LEAD_CHARS: usize = 80;

/// Characters shown of the messages before and after a hit.
pub const CONTEXT_CHARS_MAX: usize = 120;

/// Part of a text; `…` marks cut ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    pub text: String,
    /// The matches in ascending order: start and end in characters (code points).
    pub marks: Vec<(usize, usize)>,
}

/// The searched text of a message; `None` if it is not text.
pub fn searched_text<'a>(said: &MessagePayloadView<'a>) -> Option<Cow<'a, str>> {
    if !said.content_type.starts_with("text/") {
        return None;
    }
    let known = encoding::find(said.content_encoding)?;
    // The encoding's name in the journal is independent of the sender's byte order.
    let text = encoding::decode(known, ByteOrder::NATIVE, said.content).ok()?;
    let end = text.floor_char_boundary(SEARCHED_BYTES_MAX);
    Some(match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    })
}

/// The part around the first of these places (byte offsets), or the start if there is none.
pub(crate) fn excerpt(text: &str, mut places: Vec<(usize, usize)>, chars_max: usize) -> Excerpt {
    places.sort_unstable();
    let first = places.first().map_or(0, |&(start, _)| start);
    let lead = LEAD_CHARS.min(chars_max / 3);
    // A short text completely; of a long one some words before the first place.
    let is_short = text.chars().nth(chars_max).is_none();
    let start = match text[..first].char_indices().rev().nth(lead) {
        Some((at, _)) if !is_short => word_start(text, at, first),
        _ => 0,
    };
    let end = text[start..].char_indices().nth(chars_max).map_or(text.len(), |(at, _)| start + at);
    let mut excerpt = Excerpt::default();
    let cut = usize::from(start > 0);
    if cut > 0 {
        excerpt.text.push('…');
    }
    let chars = |from: usize, to: usize| text[from..to].chars().count();
    // Places of overlapping phrases overlap; they become one mark.
    let mut marked = start;
    let (mut at, mut count) = (start, cut);
    for (from, to) in places {
        let (from, to) = (from.max(marked), to.min(end));
        if from >= to {
            continue;
        }
        count += chars(at, from);
        let len = chars(from, to);
        match excerpt.marks.last_mut() {
            Some(last) if last.1 == count => last.1 = count + len,
            _ => excerpt.marks.push((count, count + len)),
        }
        count += len;
        (at, marked) = (to, to);
    }
    excerpt.text.push_str(&text[start..end]);
    if end < text.len() {
        excerpt.text.push('…');
    }
    excerpt
}

/// The position after the first space from `at` on, if it is before `until`.
fn word_start(text: &str, at: usize, until: usize) -> usize {
    let space = text[at..until].char_indices().find(|(_, c)| c.is_whitespace());
    space.map_or(at, |(offset, c)| at + offset + c.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vang_journal::UnknownView;

    /// The excerpt with its marks in brackets.
    fn shown(text: &str, places: &[(usize, usize)], chars_max: usize) -> String {
        let Excerpt { text, marks } = excerpt(text, places.to_vec(), chars_max);
        let mut out = String::new();
        for (index, c) in text.chars().enumerate() {
            out.extend(marks.iter().filter(|mark| mark.0 == index).map(|_| '['));
            out.push(c);
            out.extend(marks.iter().filter(|mark| mark.1 == index + 1).map(|_| ']'));
        }
        out
    }

    #[test]
    fn a_short_text_is_shown_whole_with_its_matches() {
        assert_eq!(shown("con chó nhỏ", &[(4, 8)], 99), "con [chó] nhỏ");
        assert_eq!(shown("東京都", &[(3, 9), (0, 6)], 99), "[東京都]");
        assert_eq!(shown("a b", &[], 99), "a b");
        assert_eq!(shown("", &[], 99), "");
    }

    #[test]
    fn a_long_text_is_cut_around_its_first_match() {
        let text = format!("{}needle{}", "hay ".repeat(50), " hay".repeat(50));
        assert_eq!(shown(&text, &[(200, 206)], 30), "…hay hay [needle] hay hay hay hay…");
        assert_eq!(shown(&text, &[(200, 206), (207, 210)], 30), "…hay hay [needle] [hay] hay hay hay…");
        assert_eq!(shown(&text, &[], 7), "hay hay…");
        // A match beyond the excerpt is not marked, and one across its end only within.
        assert_eq!(shown("abcdef gh", &[(0, 2), (4, 9)], 5), "[ab]cd[e]…");
        assert_eq!(shown("abcdef gh", &[(0, 2), (7, 9)], 5), "[ab]cde…");
    }

    #[test]
    fn searched_text_has_any_encoding_and_a_limit() {
        let said = |content_type: &str, encoding: &str, content: &[u8]| {
            let unknown = UnknownView::default();
            let said = MessagePayloadView {
                guest: None,
                content_type,
                content_encoding: encoding,
                content,
                unknown,
            };
            searched_text(&said).map(Cow::into_owned)
        };
        assert_eq!(said("text/plain", "latin-1", b"caf\xe9").as_deref(), Some("café"));
        assert_eq!(said("text/plain", "utf-16-le", b"h\0i\0").as_deref(), Some("hi"));
        assert_eq!(said("image/png", "utf-8", b"hi"), None);
        assert_eq!(said("text/plain", "binary", b"hi"), None);
        assert_eq!(said("text/plain", "utf-8", b"\xff"), None);
        let long = "é".repeat(SEARCHED_BYTES_MAX);
        assert_eq!(
            said("text/plain", "utf-8", long.as_bytes()).map(|text| text.len()),
            Some(SEARCHED_BYTES_MAX)
        );
    }
}
