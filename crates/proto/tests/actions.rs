//! The table of actions is the one in `docs/PROTOCOL.md` section 3: names, their order, arguments, who can ask.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use vang_proto::vang::{ACTIONS, Audience, Forms, Need};

/// Keys that the table names beside an argument's own: other spellings of it.
const SPELLINGS: &[(&str, &[&str])] =
    &[("rooms", &["room", "rooms"]), ("since", &["since", "journal", "epoch", "seq"])];

/// The rows of section 3, each with its cells.
fn rows() -> Vec<Vec<String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/PROTOCOL.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with("3. Requests")).unwrap();
    let lines = section.lines().filter(|line| line.starts_with("| `"));
    lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// The words between backticks, each with what stands behind it up to the next.
fn words(cell: &str) -> Vec<(String, bool)> {
    let parts: Vec<&str> = cell.split('`').collect();
    parts
        .chunks(2)
        .filter(|pair| pair.len() == 2)
        .enumerate()
        .map(|(index, pair)| {
            let behind = parts.get(2 * index + 2).copied().unwrap_or_default();
            (pair[1].to_owned(), behind.starts_with('?'))
        })
        .collect()
}

#[test]
fn the_specification_lists_these_actions_in_this_order() {
    let documented: Vec<String> = rows().iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    let known: Vec<&str> = ACTIONS.iter().map(|info| info.name).collect();
    assert_eq!(documented, known);
}

#[test]
fn the_specification_has_the_arguments_of_each_action() {
    for (row, info) in rows().iter().zip(ACTIONS) {
        // Values of `access` stand in parentheses; `as` and `re` go with every request.
        let cell = row[1].split('(').next().unwrap();
        let documented: BTreeSet<(String, bool)> =
            words(cell).into_iter().filter(|(word, _)| word != "as").collect();
        let is_follow = info.name == "follow";
        let mut known = BTreeSet::new();
        for argument in info.arguments.iter().filter(|argument| argument.need != Need::Content) {
            let spellings = SPELLINGS.iter().find(|(key, _)| is_follow && *key == argument.key);
            let keys = spellings.map_or(std::slice::from_ref(&argument.key), |(_, keys)| keys);
            known.extend(keys.iter().map(|key| ((*key).to_owned(), argument.need == Need::Optional)));
        }
        let keys =
            |set: &BTreeSet<(String, bool)>| set.iter().map(|(key, _)| key.clone()).collect::<BTreeSet<_>>();
        assert_eq!(keys(&documented), keys(&known), "{}", info.name);
        if !is_follow {
            assert_eq!(documented, known, "{}: a key with ? is optional", info.name);
        }
        let takes_content = info.arguments.iter().any(|argument| argument.need == Need::Content);
        assert_eq!(cell.contains("content"), takes_content, "{}", info.name);
    }
}

#[test]
fn the_specification_says_who_can_ask_and_in_which_form() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/PROTOCOL.md");
    let text = std::fs::read_to_string(path).unwrap();
    for (row, info) in rows().iter().zip(ACTIONS) {
        let is_operators = row[2].contains("Only over the data folder's own socket");
        assert_eq!(is_operators, info.audience == Audience::OperatorSocket, "{}", info.name);
    }
    let header_only: Vec<&str> =
        ACTIONS.iter().filter(|info| info.forms == Forms::Header).map(|info| info.name).collect();
    let sentence =
        format!("`{}` answer with more than one value and need the header form", header_only.join("` and `"));
    assert!(text.contains(&sentence), "{sentence}");
}
