//! Names of types: no two public types of a crate have one name, whatever modules they are in. A reader of one file must not
//! have to ask which of them is meant.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::rust::{crate_folders, is_word, rust_files, tokens};

/// Every public type of the workspace whose crate has another one of that name.
pub(crate) fn problems() -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for folder in crate_folders()? {
        let mut types = BTreeMap::<String, Vec<PathBuf>>::new();
        for file in rust_files(&Path::new(&folder).join("src"))? {
            for name in public_types(&fs::read_to_string(&file)?) {
                types.entry(name).or_default().push(file.clone());
            }
        }
        problems.extend(types.into_iter().filter(|(_, files)| files.len() > 1).map(|(name, files)| {
            let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
            format!("{folder}: {} public types have the name {name}: {}", files.len(), files.join(", "))
        }));
    }
    Ok(problems)
}

/// The names of a file's public types.
fn public_types(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let public = tokens.windows(3).filter_map(|three| match three {
        // In a macro the name is an argument.
        ["pub", "struct" | "enum" | "union" | "trait" | "type", name] if is_word(name) => {
            Some((*name).to_owned())
        }
        _ => None,
    });
    public.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_types_are_those_that_other_crates_can_see() {
        let text = "pub struct A { pub b: B } pub(crate) enum C {} enum D {} pub trait E {} pub type F = A; pub fn g() {}";
        assert_eq!(public_types(text), ["A", "E", "F"]);
    }
}
