//! Step `house`: which crate may depend on which, where dependencies come from, no new circles of files, and
//! how error types are named.
//!
//! ```text
//! vang ─ server ─ hub ─ view ─ journal ─ chat        arrows point down only;
//!   │              └ sim (tests)       ─ proto       chat and proto do not know each other
//!   └─── client ─────────────────────── proto
//! ```
//!
//! The table below is the picture in `docs/ARCHITECTURE.md` as a rule. A new crate starts with a row in it.
//! Licences are checked in the next step, circles of files in `circles.rs`, names of errors in `error_names.rs`, names of types in `type_names.rs`.

use std::collections::{BTreeMap, VecDeque};

use anyhow::{Result, bail};

use crate::metadata::{Metadata, Package};
use crate::outcome::Outcome;
use crate::{circles, error_names, type_names};

/// One of our crates: which others it may depend on, and which dependencies it must not have.
struct Row {
    name: &'static str,
    knows: &'static [&'static str],
    never: &'static [&'static str],
}

/// For crates without I/O, clock and randomness. Their tests and examples may have them.
const PURE: &[&str] = &["getrandom", "rusqlite", "socket2", "tokio", "tracing"];
/// For crates that work without an async runtime, so that a test can drive them.
const NO_RUNTIME: &[&str] = &["tokio"];

const HOUSE: &[Row] = &[
    Row {
        name: "vang",
        knows: &[
            "vang-chat",
            "vang-client",
            "vang-hub",
            "vang-journal",
            "vang-nettools",
            "vang-proto",
            "vang-server",
            "vang-view",
        ],
        never: &[],
    },
    Row {
        name: "vang-server",
        knows: &["vang-chat", "vang-hub", "vang-journal", "vang-proto", "vang-view"],
        never: &[],
    },
    Row {
        name: "vang-sim",
        knows: &["vang-chat", "vang-hub", "vang-journal", "vang-proto", "vang-view"],
        never: NO_RUNTIME,
    },
    Row { name: "vang-hub", knows: &["vang-chat", "vang-journal", "vang-proto", "vang-view"], never: PURE },
    Row { name: "vang-view", knows: &["vang-chat", "vang-journal", "vang-proto"], never: NO_RUNTIME },
    Row { name: "vang-journal", knows: &["vang-chat", "vang-proto"], never: NO_RUNTIME },
    Row { name: "vang-nettools", knows: &["vang-client", "vang-proto"], never: &[] },
    Row { name: "vang-client", knows: &["vang-proto"], never: NO_RUNTIME },
    Row { name: "vang-chat", knows: &[], never: PURE },
    Row { name: "vang-proto", knows: &[], never: PURE },
    Row { name: "xtask", knows: &[], never: &[] },
];

/// The names of crates.io in Cargo.lock; a mirror does not change them.
const CRATES_IO: &[&str] =
    &["registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io/"];

/// Reads the workspace and fails with every violation of the rules.
pub(crate) fn check() -> Result<Outcome> {
    let metadata = Metadata::load()?;
    let mut breaches = arrows(&metadata);
    breaches.extend(origins(&metadata));
    breaches.extend(compilers(&metadata));
    breaches.extend(circles::problems()?);
    breaches.extend(error_names::problems()?);
    breaches.extend(type_names::problems()?);
    if !breaches.is_empty() {
        bail!(
            "the rules in xtask/src/house.rs, circles.rs, error_names.rs and type_names.rs are violated\n  {}",
            breaches.join("\n  ")
        );
    }
    eprintln!("   {} crates of ours, {} packages in all", metadata.ours().count(), metadata.packages.len());
    Ok(Outcome::Passed)
}

fn arrows(metadata: &Metadata) -> Vec<String> {
    let mut breaches = Vec::new();
    for (id, package) in metadata.packages.iter().filter(|(_, package)| package.ours) {
        let name = &package.name;
        let Some(row) = HOUSE.iter().find(|row| row.name == name) else {
            breaches.push(format!("{name} has no row in the table: add it with what it may know"));
            continue;
        };
        for declared in &package.declared {
            let dependency = declared.name.as_str();
            if metadata.ours().any(|other| other.name == dependency) && !row.knows.contains(&dependency) {
                let knows = if row.knows.is_empty() { "none of ours".into() } else { row.knows.join(", ") };
                breaches
                    .push(format!("{name} depends on {dependency} ({}), may know {knows}", declared.kind));
            }
            if row.never.contains(&dependency) && declared.kind != "dev" {
                breaches.push(format!("{name} depends on {dependency} ({}), never may", declared.kind));
            }
        }
        for path in buried(metadata, id, row.never) {
            breaches.push(format!(
                "{name} must not contain {}: {name} > {}",
                path[path.len() - 1],
                path.join(" > ")
            ));
        }
    }
    breaches
}

/// Paths to forbidden dependencies of this crate, each of two steps or more. They do not go through our
/// other crates, which have their own rows (the hub depends on the journal, and the journal may use SQLite).
fn buried(metadata: &Metadata, id: &str, never: &[&str]) -> Vec<Vec<String>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut waiting = VecDeque::from([id]);
    let mut found = Vec::new();
    while let Some(at) = waiting.pop_front() {
        let package = &metadata.packages[at];
        if at != id && came_from[at] != id && never.contains(&package.name.as_str()) {
            let mut path = Vec::new();
            let mut step = at;
            while step != id {
                path.insert(0, metadata.packages[step].name.clone());
                step = came_from[step];
            }
            found.push(path);
        }
        for next in &package.linked_with {
            if !metadata.packages[next].ours && next != id && !came_from.contains_key(next.as_str()) {
                came_from.insert(next, at);
                waiting.push_back(next);
            }
        }
    }
    found
}

fn origins(metadata: &Metadata) -> Vec<String> {
    let foreign = metadata.packages.values().filter(|package| !package.ours);
    foreign
        .filter_map(|package| {
            let source = package.source.as_deref();
            if source.is_some_and(|source| CRATES_IO.contains(&source)) {
                return None;
            }
            let whence = source.unwrap_or("a folder outside the workspace");
            Some(format!(
                "{} {} must come from crates.io, comes from {whence}",
                package.name, package.version
            ))
        })
        .collect()
}

fn compilers(metadata: &Metadata) -> Vec<String> {
    let Some(ours) = metadata.ours().filter_map(minimum).flatten().min() else {
        return vec!["no crate of ours states its rust-version".to_owned()];
    };
    let needs_newer =
        |package: &&Package| minimum(package).is_some_and(|theirs| theirs.is_none_or(|v| v > ours));
    let newer = metadata.packages.values().filter(needs_newer);
    newer
        .map(|package| {
            let theirs = package.rust_version.as_deref().unwrap_or_default();
            let (major, minor, _) = ours;
            format!("{} {} needs Rust {theirs}, we promise {major}.{minor}", package.name, package.version)
        })
        .collect()
}

type Version = (u32, u32, u32);

/// The oldest compiler that a package supports. Outer `None`: not stated; inner `None`: unreadable.
fn minimum(package: &Package) -> Option<Option<Version>> {
    package.rust_version.as_deref().map(|text| {
        let mut parts = text.split('.').map(str::parse::<u32>);
        let major = parts.next()?.ok()?;
        let minor = parts.next().unwrap_or(Ok(0)).ok()?;
        let patch = parts.next().unwrap_or(Ok(0)).ok()?;
        parts.next().is_none().then_some((major, minor, patch))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A workspace of `(name, dependencies)`; names that begin with `vang` are ours. A dependency
    /// `dev:x` is for tests only, `build:x` for building.
    fn workspace(packages: &[(&str, &[&str])]) -> Metadata {
        let mut described = Vec::new();
        let mut nodes = Vec::new();
        for (name, dependencies) in packages {
            let split = |dependency: &&str| match dependency.split_once(':') {
                Some((kind, name)) => (name.to_owned(), json!(kind)),
                None => ((*dependency).to_owned(), Value::Null),
            };
            let ours = name.starts_with("vang");
            let declared: Vec<_> = dependencies
                .iter()
                .map(split)
                .map(|(name, kind)| json!({"name": name, "kind": kind}))
                .collect();
            let deps: Vec<_> = dependencies
                .iter()
                .map(split)
                .map(|(name, kind)| json!({"pkg": name, "dep_kinds": [{"kind": kind}]}))
                .collect();
            described.push(json!({
                "id": name, "name": name, "version": "1.0.0", "dependencies": declared, "license": "MIT",
                "source": if ours { Value::Null } else { json!(CRATES_IO[0]) },
                "rust_version": if ours { json!("1.95") } else { Value::Null },
                "manifest_path": "/x/Cargo.toml", "targets": [],
            }));
            nodes.push(json!({"id": name, "deps": deps}));
        }
        let ours: Vec<_> =
            packages.iter().map(|(name, _)| name).filter(|name| name.starts_with("vang")).collect();
        let json = json!({"packages": described, "workspace_members": ours, "resolve": {"nodes": nodes}});
        Metadata::from_json(&json).expect("shaped as cargo shapes it")
    }

    #[test]
    fn arrows_point_down() {
        let good =
            workspace(&[("vang-hub", &["vang-chat", "vang-proto"]), ("vang-chat", &[]), ("vang-proto", &[])]);
        assert_eq!(arrows(&good), Vec::<String>::new());
    }

    #[test]
    fn an_arrow_up_or_across_is_named_even_in_tests() {
        let up = workspace(&[("vang-hub", &[]), ("vang-chat", &["dev:vang-hub"])]);
        assert_eq!(arrows(&up), ["vang-chat depends on vang-hub (dev), may know none of ours"]);
        let across = workspace(&[("vang-chat", &[]), ("vang-proto", &["vang-chat"])]);
        assert_eq!(arrows(&across), ["vang-proto depends on vang-chat (normal), may know none of ours"]);
    }

    #[test]
    fn a_crate_without_a_row_is_named() {
        let metadata = workspace(&[("vang-new", &[])]);
        assert_eq!(arrows(&metadata), ["vang-new has no row in the table: add it with what it may know"]);
    }

    #[test]
    fn a_pure_crate_contains_no_io_directly_or_deeper() {
        let direct = workspace(&[("vang-proto", &["tokio"]), ("tokio", &[])]);
        assert_eq!(arrows(&direct), ["vang-proto depends on tokio (normal), never may"]);
        let deeper = workspace(&[
            ("vang-chat", &["a"]),
            ("a", &["b"]),
            ("b", &["getrandom", "a"]),
            ("getrandom", &[]),
        ]);
        assert_eq!(arrows(&deeper), ["vang-chat must not contain getrandom: vang-chat > a > b > getrandom"]);
    }

    #[test]
    fn what_only_tests_or_builds_use_may_use_anything_below_it() {
        let metadata = workspace(&[
            ("vang-chat", &["dev:proptest", "build:cc", "dev:tokio"]),
            ("proptest", &["getrandom"]),
            ("cc", &["getrandom"]),
            ("getrandom", &[]),
            ("tokio", &[]),
        ]);
        assert_eq!(arrows(&metadata), Vec::<String>::new());
    }

    #[test]
    fn a_crate_of_ours_answers_for_itself() {
        let metadata =
            workspace(&[("vang-hub", &["vang-journal"]), ("vang-journal", &["rusqlite"]), ("rusqlite", &[])]);
        assert_eq!(arrows(&metadata), Vec::<String>::new());
    }

    #[test]
    fn dependencies_come_from_crates_io() {
        let mut metadata = workspace(&[("vang-chat", &["a", "b"]), ("a", &[]), ("b", &[])]);
        assert_eq!(origins(&metadata), Vec::<String>::new());
        metadata.packages.get_mut("a").expect("is there").source = Some("git+https://example.org/a".into());
        metadata.packages.get_mut("b").expect("is there").source = None;
        assert_eq!(
            origins(&metadata),
            [
                "a 1.0.0 must come from crates.io, comes from git+https://example.org/a",
                "b 1.0.0 must come from crates.io, comes from a folder outside the workspace",
            ]
        );
    }

    #[test]
    fn no_dependency_needs_a_newer_compiler_than_we_promise() {
        let mut metadata = workspace(&[("vang-chat", &["a"]), ("a", &[])]);
        for (wants, breaches) in [("1.95", 0), ("1.95.0", 0), ("1.9", 0), ("1.95.1", 1), ("2", 1), ("new", 1)]
        {
            metadata.packages.get_mut("a").expect("is there").rust_version = Some(wants.into());
            assert_eq!(compilers(&metadata).len(), breaches, "rust-version {wants}");
        }
    }
}
