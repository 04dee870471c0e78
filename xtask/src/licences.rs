//! Step `licences`: every package's licence expression against the list in `deny.toml`.
//!
//! The file is cargo-deny's, so that cargo-deny says the same; of it, only `allow` in `[licenses]`
//! is read here. Exceptions for single crates are not: a licence is fine for vang or it is not.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::metadata::{Metadata, Package};
use crate::spdx::Expression;
use crate::steps::Outcome;

/// Reads the list and the workspace; fails with every package that the list does not cover.
pub(crate) fn check() -> Result<Outcome> {
    let text = fs::read_to_string("deny.toml").context("cannot read deny.toml")?;
    let allowed = allow_list(&text).context("deny.toml")?;
    let metadata = Metadata::load()?;
    let faults: Vec<String> = metadata.packages.values().filter_map(|p| fault(p, &allowed)).collect();
    if !faults.is_empty() {
        bail!("licences are not covered by deny.toml ({})\n  {}", allowed.join(", "), faults.join("\n  "));
    }
    eprintln!("   {} packages, all under {}", metadata.packages.len(), allowed.join(", "));
    Ok(Outcome::Passed)
}

fn fault(package: &Package, allowed: &[String]) -> Option<String> {
    let Package { name, version, .. } = package;
    let Some(licence) = package.licence.as_deref() else {
        return Some(format!("{name} {version} states no licence expression"));
    };
    match Expression::parse(licence) {
        Ok(expression) if expression.is_met_by(allowed) => None,
        Ok(_) => Some(format!("{name} {version} is under {licence}")),
        Err(malformed) => Some(format!("{name} {version} is under `{licence}`: {malformed}")),
    }
}

/// The strings of `allow = [...]` in the table `[licenses]`.
fn allow_list(toml: &str) -> Result<Vec<String>> {
    let mut in_licenses = false;
    let mut at = 0;
    for line in toml.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let bare = line.split('#').next().unwrap_or_default().trim();
        if bare.starts_with('[') {
            in_licenses = bare == "[licenses]";
        } else if let Some((key, _)) = line.split_once('=')
            && in_licenses
            && key.trim() == "allow"
        {
            return strings(&toml[start + key.len() + 1..]).context("`allow` in [licenses]");
        }
    }
    bail!("no `allow = [...]` in [licenses]")
}

/// The strings of the array that this text begins with. No escapes: a licence needs none.
fn strings(toml: &str) -> Result<Vec<String>> {
    let mut rest = toml.trim_start().strip_prefix('[').context("must be a list")?;
    let mut strings = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        let first = rest.chars().next().context("the list has no end")?;
        rest = &rest[first.len_utf8()..];
        match first {
            ']' => return Ok(strings),
            '#' => rest = rest.split_once('\n').context("the list has no end")?.1,
            '"' | '\'' => {
                let (string, after) = rest.split_once(first).context("a string has no end")?;
                if string.contains(['\n', '\\']) {
                    bail!("a string has no end or an escape: {first}{string}");
                }
                strings.push(string.to_owned());
                rest = after;
            }
            _ => bail!("found `{first}` where a string was expected"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_with_comments_and_both_quotes() {
        let toml = r#"
            # allow = ["A"]
            [bans]
            allow = ["B"]
            [licenses] # ours
            version = 2
            allow=[ # why [so] "x"
              "MIT", # "C"
              'Apache-2.0 WITH LLVM-exception',
            ] # end
            [sources]
            allow = []
        "#;
        assert_eq!(allow_list(toml).expect("well-formed"), ["MIT", "Apache-2.0 WITH LLVM-exception"]);
        assert_eq!(allow_list("[licenses]\nallow = []").expect("well-formed"), Vec::<String>::new());
    }

    #[test]
    fn a_list_that_is_not_understood_is_refused() {
        for toml in [
            "",
            "[licenses]\n",
            "[bans]\nallow = [\"MIT\"]",
            "[licenses]\nallow = \"MIT\"",
            "[licenses]\nallow = [\"MIT\"",
            "[licenses]\nallow = [\"MIT]\n",
            "[licenses]\nallow = [\"MIT\n\"]",
            "[licenses]\nallow = [MIT]",
            "[licenses]\nallow = [{ id = \"MIT\" }]",
        ] {
            assert!(allow_list(toml).is_err(), "{toml:?}");
        }
    }

    #[test]
    fn a_package_without_an_expression_or_outside_the_list_is_named() {
        let with = |licence: Option<&str>| Package {
            name: "a".into(),
            version: "1.0.0".into(),
            ours: false,
            source: None,
            licence: licence.map(str::to_owned),
            rust_version: None,
            declared: Vec::new(),
            linked_with: Vec::new(),
        };
        let allowed = ["MIT".to_owned()];
        assert_eq!(fault(&with(Some("Zlib OR MIT")), &allowed), None);
        assert_eq!(fault(&with(Some("Zlib")), &allowed).as_deref(), Some("a 1.0.0 is under Zlib"));
        assert_eq!(fault(&with(None), &allowed).as_deref(), Some("a 1.0.0 states no licence expression"));
        assert!(fault(&with(Some("MIT OR")), &allowed).is_some_and(|said| said.contains("found the end")));
    }
}
