//! Step `licences`: the licence expression of every package, compared with the list in `deny.toml`.
//!
//! `deny.toml` is a file of cargo-deny, so that cargo-deny gives the same result. This step reads only
//! `allow` in `[licenses]`. There are no exceptions for single crates: a licence is allowed or not.

use std::fs;

use anyhow::{Context, Result, bail};
use spdx::{Expression, Licensee, ParseMode};

use crate::metadata::{Metadata, Package};
use crate::outcome::Outcome;

/// Reads the list and the workspace; fails with every package that the list does not cover.
pub(crate) fn check() -> Result<Outcome> {
    let text = fs::read_to_string("deny.toml").context("cannot read deny.toml")?;
    let allowed = allow_list(&text).context("deny.toml")?;
    let metadata = Metadata::load()?;
    let shown = allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let problems: Vec<String> = metadata.packages.values().filter_map(|p| problem(p, &allowed)).collect();
    if !problems.is_empty() {
        bail!("licences are not covered by deny.toml ({shown})\n  {}", problems.join("\n  "));
    }
    eprintln!("   {} packages, all under {shown}", metadata.packages.len());
    Ok(Outcome::Passed)
}

fn problem(package: &Package, allowed: &[Licensee]) -> Option<String> {
    let Package { name, version, .. } = package;
    let Some(licence) = package.licence.as_deref() else {
        return Some(format!("{name} {version} states no licence expression"));
    };
    // Lax: old crates write `MIT/Apache-2.0`.
    match Expression::parse_mode(licence, ParseMode::LAX) {
        Ok(expression) if expression.evaluate(|needed| allowed.iter().any(|one| one.satisfies(needed))) => {
            None
        }
        Ok(_) => Some(format!("{name} {version} is under {licence}")),
        Err(error) => Some(format!("{name} {version} is under `{licence}`: {}", error.reason)),
    }
}

/// The licences in `allow = [...]` of the table `[licenses]`.
fn allow_list(text: &str) -> Result<Vec<Licensee>> {
    let table: toml::Table = text.parse().context("not TOML")?;
    let allow = table.get("licenses").and_then(|licenses| licenses.get("allow"));
    let allow = allow.and_then(toml::Value::as_array).context("no `allow = [...]` in [licenses]")?;
    allow
        .iter()
        .map(|licence| {
            let licence = licence.as_str().with_context(|| format!("`{licence:?}` is not a string"))?;
            Licensee::parse(licence).map_err(|error| anyhow::anyhow!("`{licence}`: {}", error.reason))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(licences: &[&str]) -> Vec<Licensee> {
        licences.iter().map(|licence| Licensee::parse(licence).expect("a licence")).collect()
    }

    fn package(licence: Option<&str>) -> Package {
        Package {
            name: "a".into(),
            version: "1.0.0".into(),
            ours: false,
            source: None,
            licence: licence.map(str::to_owned),
            rust_version: None,
            repository: None,
            folder: std::path::PathBuf::new(),
            is_macro: false,
            declared: Vec::new(),
            linked_with: Vec::new(),
        }
    }

    fn is_allowed(licence: &str, list: &[&str]) -> bool {
        problem(&package(Some(licence)), &allowed(list)).is_none()
    }

    #[test]
    fn the_list_is_the_one_in_licenses() {
        let toml =
            "[bans]\nallow = ['B']\n[licenses] # ours\nallow = ['MIT', 'Apache-2.0 WITH LLVM-exception']\n";
        assert_eq!(
            allow_list(toml).expect("well-formed"),
            allowed(&["MIT", "Apache-2.0 WITH LLVM-exception"])
        );
        for toml in ["", "[licenses]\n", "[licenses]\nallow = 'MIT'", "[licenses]\nallow = [1]", "allow = ["]
        {
            assert!(allow_list(toml).is_err(), "{toml:?}");
        }
        let error = allow_list("[licenses]\nallow = ['MIIT']").expect_err("not a licence").to_string();
        assert!(error.starts_with("`MIIT`: "), "{error}");
    }

    #[test]
    fn a_choice_needs_one_licence_and_a_conjunction_all() {
        assert!(is_allowed("Zlib OR MIT", &["MIT"]));
        assert!(is_allowed("MIT/Apache-2.0", &["Apache-2.0"]), "the old way to write OR");
        assert!(!is_allowed("MIT AND Zlib", &["MIT"]));
        assert!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0", &["Apache-2.0", "Unicode-3.0"]));
    }

    #[test]
    fn a_licence_with_an_exception_is_another_licence() {
        assert!(!is_allowed("Apache-2.0 WITH LLVM-exception", &["Apache-2.0"]));
        assert!(is_allowed("Apache-2.0 WITH LLVM-exception OR MIT", &["MIT"]));
    }

    #[test]
    fn a_package_outside_the_list_is_named() {
        let list = allowed(&["MIT"]);
        let said = |licence| problem(&package(licence), &list);
        assert_eq!(said(Some("Zlib")).as_deref(), Some("a 1.0.0 is under Zlib"));
        assert_eq!(said(None).as_deref(), Some("a 1.0.0 states no licence expression"));
        assert!(said(Some("MIT OR")).is_some_and(|said| said.starts_with("a 1.0.0 is under `MIT OR`: ")));
    }
}
