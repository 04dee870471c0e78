//! Rust files of the workspace, read as tokens. Macros are not expanded.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folders of our crates, from the workspace's root.
pub(crate) fn crate_folders() -> Result<Vec<String>> {
    let mut folders = vec!["xtask".to_owned()];
    for entry in fs::read_dir("crates").context("cannot read crates")? {
        folders.push(format!("crates/{}", entry?.file_name().to_string_lossy()));
    }
    folders.sort();
    Ok(folders)
}

/// Every Rust file below a folder.
pub(crate) fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

/// How many tokens the group has that begins here, with its brackets.
pub(crate) fn length_of_group(tokens: &[&str]) -> usize {
    let mut depth = 0_i32;
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// True for a name or keyword.
pub(crate) fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::`, and single characters. Comments, strings and character literals are left out.
pub(crate) fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = length_of_literal(rest) {
            length
        } else if first.is_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(&rest[..length]);
            length
        } else if rest.starts_with("::") {
            tokens.push("::");
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(&rest[..first.len_utf8()]);
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of the string, the character or the quote of a lifetime that the text begins with.
fn length_of_literal(text: &str) -> Option<usize> {
    for prefix in ["br", "cr", "r"] {
        let after = text.strip_prefix(prefix).unwrap_or_default();
        let quoted = after.trim_start_matches('#');
        if let Some(inside) = quoted.strip_prefix('"') {
            let end = format!("\"{}", &after[..after.len() - quoted.len()]);
            let begin = text.len() - inside.len();
            return Some(inside.find(&end).map_or(text.len(), |at| begin + at + end.len()));
        }
    }
    let after = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let begin = text.len() - after.len() + 1;
    let ends_at = |quote: char, from: usize| {
        let mut is_escaped = false;
        let end = text.get(from..)?.char_indices().find(|(_, character)| {
            let is_end = *character == quote && !is_escaped;
            is_escaped = *character == '\\' && !is_escaped;
            is_end
        });
        Some(end.map_or(text.len(), |(at, _)| from + at + 1))
    };
    if after.starts_with('"') {
        return ends_at('"', begin);
    }
    let inside = after.strip_prefix('\'')?;
    let is_character = inside.starts_with('\\') || inside.chars().nth(1) == Some('\'');
    if is_character { ends_at('\'', begin) } else { Some(begin) }
}
