//! Names of error types: a public type that is an error ends in `Error`.
//!
//! ```text
//! #[derive(thiserror::Error)] pub enum FrameError { .. }
//! pub struct FrameError; impl std::error::Error for FrameError {}
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::rust::{crate_folders, is_word, length_of_group, rust_files, tokens};

/// Public errors with a term of their own, and why.
const ALLOWED: &[(&str, &str)] =
    &[("Refusal", "a rule of chat said no: an answer, and a word of the glossary")];

/// Every public error type of the workspace whose name does not end in `Error`.
pub(crate) fn problems() -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for folder in crate_folders()? {
        for file in rust_files(Path::new(&folder))? {
            let text = fs::read_to_string(&file)?;
            problems.extend(wrong_names(&text).into_iter().map(|name| {
                format!(
                    "{}: the public error type {name} must have a name that ends in Error",
                    file.display()
                )
            }));
        }
    }
    Ok(problems)
}

/// The public error types of a file whose names are wrong.
fn wrong_names(text: &str) -> BTreeSet<String> {
    let tokens = tokens(text);
    let mut errors = BTreeSet::new();
    let mut public = BTreeSet::new();
    let mut derives_error = false;
    let mut at = 0;
    while at < tokens.len() {
        let rest = &tokens[at..];
        let step = match rest {
            ["#", "[", ..] => {
                let group = length_of_group(&rest[1..]);
                derives_error |= rest[2] == "derive" && rest[..=group].contains(&"Error");
                1 + group
            }
            ["pub", "struct" | "enum" | "union", name, ..] => {
                public.insert(*name);
                if derives_error {
                    errors.insert(*name);
                }
                3
            }
            ["struct" | "enum" | "union" | "fn" | "mod" | "impl", ..] => {
                errors.extend(implements_error(rest));
                1
            }
            _ => 1,
        };
        if !matches!(rest[0], "#" | "pub") {
            derives_error = false;
        }
        at += step;
    }
    let is_wrong =
        |name: &&str| !name.ends_with("Error") && !ALLOWED.iter().any(|(allowed, _)| allowed == name);
    errors.intersection(&public).copied().filter(is_wrong).map(str::to_owned).collect()
}

/// The type of `impl<..> path::Error for path::Type`.
fn implements_error<'t>(tokens: &[&'t str]) -> Option<&'t str> {
    let head = &tokens[..tokens.iter().position(|token| ["{", ";"].contains(token))?];
    let of = head.windows(2).position(|pair| pair == ["Error", "for"]).filter(|_| head[0] == "impl")?;
    let path = &head[of + 2..];
    let end = path.iter().position(|token| !is_word(token) && *token != "::").unwrap_or(path.len());
    path[..end].last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_error_has_a_name_that_ends_in_error() {
        let is_wrong = |text: &str| !wrong_names(text).is_empty();
        for wrong in [
            "#[derive(Debug, thiserror::Error)]\n#[error(\"no\")]\npub struct TooDeep { pub depth: usize }",
            "use thiserror::Error; /// Why.\n#[derive(Error)] pub enum Malformed<T> { A(T) }",
            "pub struct NoKeys; impl std::error::Error for NoKeys {}",
            "impl<T> Error for crate::a::Fault<T> where T: Debug {} pub enum Fault<T> { A(T) }",
        ] {
            assert!(is_wrong(wrong), "{wrong}");
        }
        for right in [
            "#[derive(Debug, thiserror::Error)] pub struct DepthError;",
            "#[derive(Debug, thiserror::Error)] pub(crate) struct TooDeep; pub struct Other;",
            "#[derive(Debug, thiserror::Error)] enum A { B } #[derive(Debug)] pub struct Deep;",
            "pub struct Io; impl From<Io> for Error {} impl fmt::Display for Io {}",
            "#[derive(thiserror::Error)] pub enum Refusal { NoRoom }",
        ] {
            assert!(!is_wrong(right), "{right}");
        }
    }
}
