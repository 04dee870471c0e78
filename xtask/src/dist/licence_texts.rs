//! The licence texts of everything that is linked into the program, each text once, with the packages that it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use spdx::{Expression, ParseMode};

use crate::metadata::{Metadata, Package};

/// The beginnings of the names of files with licence texts.
const NAMES: &[&str] = &["license", "licence", "copying", "copyright", "notice", "unlicense"];
/// Endings of files that have such a name and are no text for people.
const NOT_TEXTS: &[&str] = &["c", "go", "h", "html", "js", "json", "pl", "py", "rs", "sh", "toml"];
/// Libraries in C are some folders below their crates.
const DEPTH_MAX: usize = 5;

/// A package, or a part of one, with its texts.
pub(crate) struct Part {
    /// As `bytes 1.12.0 (MIT)`.
    pub(crate) name: String,
    pub(crate) texts: Vec<String>,
}

/// The packages linked into `program`, except our own, with their texts. `apache` is the text of the Apache licence, for
/// packages that offer it and contain no text.
pub(crate) fn parts(metadata: &Metadata, program: &str, apache: &str) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for package in linked(metadata, program)? {
        let licence = package.licence.as_deref().unwrap_or("unknown licence");
        let mut texts = BTreeSet::new();
        collect(&package.folder, DEPTH_MAX, &mut texts)
            .with_context(|| format!("cannot read {}", package.folder.display()))?;
        if texts.is_empty() {
            if !allows_apache(licence) {
                bail!(
                    "{} {} ({licence}) contains no licence text: put one into xtask/src/dist/licence_texts.rs",
                    package.name,
                    package.version
                );
            }
            texts.insert(apache.to_owned());
        }
        let name = format!("{} {} ({licence})", package.name, package.version);
        parts.push(Part { name, texts: texts.into_iter().collect() });
    }
    Ok(parts)
}

/// Packages of others from which code gets into the program, by name.
fn linked<'a>(metadata: &'a Metadata, program: &str) -> Result<Vec<&'a Package>> {
    let root = metadata.packages.iter().find(|(_, package)| package.ours && package.name == program);
    let (root, _) = root.with_context(|| format!("the workspace has no package {program}"))?;
    let (mut seen, mut next) = (BTreeSet::from([root]), vec![root]);
    while let Some(id) = next.pop() {
        for dependency in &metadata.packages[id].linked_with {
            // A macro runs in the compiler; its own code is not in the program.
            if !metadata.packages[dependency].is_macro && seen.insert(dependency) {
                next.push(dependency);
            }
        }
    }
    let mut found: Vec<&Package> =
        seen.into_iter().map(|id| &metadata.packages[id]).filter(|package| !package.ours).collect();
    found.sort_by_key(|package| (&package.name, &package.version));
    Ok(found)
}

fn allows_apache(licence: &str) -> bool {
    let expression = Expression::parse_mode(licence, ParseMode::LAX);
    expression.is_ok_and(|expression| {
        expression.evaluate(|needed| needed.license.id().is_some_and(|id| id.name == "Apache-2.0"))
    })
}

fn collect(folder: &Path, depth: usize, texts: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if depth > 0 {
                collect(&path, depth - 1, texts)?;
            }
        } else if path.file_name().is_some_and(|name| is_licence(&name.to_string_lossy())) {
            let text = String::from_utf8_lossy(&fs::read(&path)?).replace("\r\n", "\n");
            texts.insert(text.trim_matches('\n').to_owned());
        }
    }
    Ok(())
}

fn is_licence(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let ending = name.rsplit_once('.').map(|(_, ending)| ending).unwrap_or_default();
    NAMES.iter().any(|begin| name.starts_with(begin)) && !NOT_TEXTS.contains(&ending)
}

/// All texts in one file.
pub(crate) fn document(introduction: &str, parts: &[Part]) -> String {
    let mut by_text: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for part in parts {
        for text in &part.texts {
            by_text.entry(text).or_default().push(&part.name);
        }
    }
    let mut groups: Vec<(Vec<&str>, &str)> = by_text.into_iter().map(|(text, names)| (names, text)).collect();
    groups.sort();
    let mut document = format!("{}\n\n", introduction.trim());
    for part in parts {
        let _ = writeln!(document, "  {}", part.name);
    }
    for (names, text) in groups {
        let line = "=".repeat(78);
        let _ = write!(document, "\n{line}\n{}\n{line}\n\n{text}\n", names.join("\n"));
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_by_their_names_in_every_folder() {
        for name in ["LICENSE", "LICENSE-MIT", "license.txt", "COPYING", "NOTICE.md", "LICENCE.Apache-2.0"] {
            assert!(is_licence(name), "{name}");
        }
        for name in ["licenses.rs", "license.html", "README.md", "copyright.py", "Cargo.toml"] {
            assert!(!is_licence(name), "{name}");
        }
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("c/lib")).unwrap();
        fs::write(folder.path().join("LICENSE"), "one\r\n\n").unwrap();
        fs::write(folder.path().join("c/lib/COPYING"), "two\n").unwrap();
        let mut texts = BTreeSet::new();
        collect(folder.path(), DEPTH_MAX, &mut texts).unwrap();
        assert_eq!(texts.into_iter().collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn a_text_that_many_packages_share_is_printed_once() {
        let part = |name: &str, texts: &[&str]| Part {
            name: name.to_owned(),
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        };
        let parts = [part("b 1 (MIT)", &["mit"]), part("c 2 (MIT)", &["mit", "apache"])];
        let document = document("What vang contains:", &parts);
        assert_eq!(document.matches("\nmit\n").count(), 1, "{document}");
        assert!(document.starts_with("What vang contains:\n\n  b 1 (MIT)\n  c 2 (MIT)\n"), "{document}");
        assert!(document.contains("=\nb 1 (MIT)\nc 2 (MIT)\n="), "{document}");
    }

    #[test]
    fn the_apache_licence_stands_in_only_where_it_is_offered() {
        assert!(allows_apache("MIT OR Apache-2.0") && allows_apache("MIT/Apache-2.0"));
        assert!(!allows_apache("MIT") && !allows_apache("MIT AND Apache-2.0") && !allows_apache("?"));
    }

    #[test]
    fn every_package_of_vang_has_a_text() {
        // Where the test runs, the sources are there.
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let apache = fs::read_to_string(root.join("LICENSE-APACHE")).unwrap();
        let metadata = Metadata::load_for(Some(&crate::dist::host().unwrap())).unwrap();
        let parts = parts(&metadata, "vang", &apache).unwrap();
        let has = |name: &str| parts.iter().any(|part| part.name.starts_with(name));
        assert!(has("tokio ") && has("rusqlite ") && has("aws-lc-sys ") && !has("syn ") && !has("vang"));
    }
}
