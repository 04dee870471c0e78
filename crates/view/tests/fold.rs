//! Properties of folding for any text: the spelling does not matter, and every word of a text finds it.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;
use vang_view::{Kind, Query, fold, words};

/// Any characters, often those with normal forms, marks and case.
fn text() -> impl Strategy<Value = String> {
    let of_interest = "[a-zA-Z0-9 ÀÁÂÃĂẠẢấầđĐơưỹ\u{300}-\u{304}\u{323}ßẞøØłŁæŒıİſﬁ①ΣσςΐЙйЁ\u{308}אָبَُआिकत्र\u{ac00}-\u{ac10}\u{1100}-\u{1112}\u{1161}-\u{1175}\u{11a8}-\u{11c2}ㅋㅠ東京都かがｶﾞ゛ทยี่ลາວខ្មែរမြန်🐰👍🏽\u{200b}-\u{200f}]{0,40}";
    prop_oneof![
        any::<String>(),
        of_interest,
        proptest::collection::vec(any::<char>(), 0..30).prop_map(|chars| chars.into_iter().collect())
    ]
}

fn all(text: &str) -> Vec<(String, Kind)> {
    let mut out = Vec::new();
    words(text, &mut |word| out.push((word.text.to_owned(), word.kind)));
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn composed_and_decomposed_are_the_same_words(text in text()) {
        let (nfc, nfd): (String, String) = (text.nfc().collect(), text.nfd().collect());
        prop_assert_eq!(fold(&nfc), fold(&nfd));
        prop_assert_eq!(all(&nfc), all(&nfd));
        prop_assert_eq!(all(&text), all(&nfc));
    }

    /// Words are taken as a whole where they can be; `fold` goes letter by letter.
    #[test]
    fn the_words_of_a_text_are_those_of_the_folded_text(text in prop_oneof![text(), "[a-zA-Z0-9]{0,70}[ .\u{301}đ東]{0,2}[a-zA-Z0-9]{0,70}"]) {
        prop_assert_eq!(all(&text), all(&fold(&text)));
        let letters: String = fold(&text).chars().flat_map(|c| [c, '\u{200d}']).collect();
        prop_assert_eq!(all(&letters), all(&text));
    }

    #[test]
    fn folding_twice_is_folding_once(text in text()) {
        let once = fold(&text);
        prop_assert_eq!(fold(&once), once);
    }

    #[test]
    fn case_does_not_matter(text in "[a-zA-ZÀ-ÖØ-öø-ſΑ-Ωα-ωА-я ]{0,40}") {
        prop_assert_eq!(all(&text), all(&text.to_lowercase()));
        prop_assert_eq!(all(&text), all(&text.to_uppercase()));
    }

    #[test]
    fn words_are_in_order_and_contain_no_separators(text in text()) {
        let mut last = (0, 0);
        words(&text, &mut |word| {
            assert!(word.start <= word.first_end && word.first_end <= word.end && word.end <= text.len());
            assert!(text.is_char_boundary(word.start) && text.is_char_boundary(word.first_end) && text.is_char_boundary(word.end));
            assert!(last <= (word.start, word.end), "{text:?}");
            last = (word.start, word.end);
            assert!(!word.text.is_empty() && word.text.chars().all(|c| !c.is_ascii() || c.is_ascii_lowercase() || c.is_ascii_digit()), "{word:?}");
        });
    }

    #[test]
    fn every_word_of_a_text_finds_it(text in text(), which: prop::sample::Index) {
        let typed: Vec<&str> = text.split_whitespace().filter(|word| !all(word).is_empty()).collect();
        if !typed.is_empty() {
            let word = which.get(&typed).replace(['"', '“', '”', '„', '«', '»', '*'], " ");
            let query = Query::parse(&format!("\"{word}\"")).unwrap();
            prop_assert!(query.matches(&text), "{query:?} in {text:?}");
        }
    }

    #[test]
    fn every_part_of_a_run_without_spaces_finds_it(text in "[東京都大阪かなカナ한국어ไทยลาวមြန်]{1,12}", from: prop::sample::Index, len in 1..6_usize) {
        let chars: Vec<char> = text.nfc().collect();
        let from = from.index(chars.len());
        // A part of whole characters with their marks.
        let part: String = chars[from..(from + len).min(chars.len())].iter().collect();
        if let Ok(query) = Query::parse(&part) {
            prop_assert!(query.matches(&text), "{query:?} in {text:?}");
        }
    }

    #[test]
    fn any_line_is_a_search_or_a_named_mistake(line in prop_oneof![any::<String>(), "(-?(from|in|after|before|AND|NEAR)?[:(]?[\"“*^{}'a東 ]{0,3}){0,6}"]) {
        if let Err(mistake) = Query::parse(&line) {
            prop_assert!(!mistake.to_string().is_empty());
        }
    }
}
