//! The output of `cargo metadata`: our crates and all their dependencies, for every target.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run;

/// All packages in Cargo.lock, by cargo's id.
pub(crate) struct Metadata {
    pub(crate) packages: BTreeMap<String, Package>,
}

pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) ours: bool,
    /// The registry or repository; `None` for a folder on this machine.
    pub(crate) source: Option<String>,
    pub(crate) licence: Option<String>,
    pub(crate) rust_version: Option<String>,
    pub(crate) repository: Option<String>,
    /// Where its sources are on this machine.
    pub(crate) folder: PathBuf,
    /// It runs in the compiler.
    pub(crate) is_macro: bool,
    /// The dependencies in its manifest, also optional ones.
    pub(crate) declared: Vec<Declared>,
    /// Ids of the dependencies that are linked into it: not those for tests or builds.
    pub(crate) linked_with: Vec<String>,
}

/// A dependency in a manifest.
pub(crate) struct Declared {
    pub(crate) name: String,
    /// `normal`, `dev` or `build`.
    pub(crate) kind: String,
}

impl Metadata {
    /// Runs cargo, for every target. Cargo fails if Cargo.lock does not match the manifests.
    pub(crate) fn load() -> Result<Metadata> {
        Metadata::load_for(None)
    }

    /// Only with the dependencies of one target, as `x86_64-unknown-linux-gnu`.
    pub(crate) fn load_for(target: Option<&str>) -> Result<Metadata> {
        let mut cargo = run::command("cargo");
        cargo.args(["metadata", "--format-version", "1", "--locked"]);
        cargo.args(target.iter().flat_map(|target| ["--filter-platform", target]));
        let output = run::answer(&mut cargo)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`{}` ended with {}: {}", run::line(&cargo), output.status, said.trim());
        }
        let json = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
        Metadata::from_json(&json).context("cargo metadata has an unknown shape")
    }

    /// Reads cargo's output.
    pub(crate) fn from_json(json: &Value) -> Result<Metadata> {
        let ours: Vec<&str> = list(json, "workspace_members")?.iter().filter_map(Value::as_str).collect();
        let mut packages = BTreeMap::new();
        for package in list(json, "packages")? {
            let id = text(package, "id")?;
            let mut declared = Vec::new();
            for dependency in list(package, "dependencies")? {
                let kind = optional(dependency, "kind").unwrap_or_else(|| "normal".to_owned());
                declared.push(Declared { name: text(dependency, "name")?, kind });
            }
            let read = Package {
                name: text(package, "name")?,
                version: text(package, "version")?,
                ours: ours.contains(&id.as_str()),
                source: optional(package, "source"),
                licence: optional(package, "license"),
                rust_version: optional(package, "rust_version"),
                repository: optional(package, "repository"),
                folder: Path::new(&text(package, "manifest_path")?)
                    .parent()
                    .map(Path::to_owned)
                    .unwrap_or_default(),
                is_macro: list(package, "targets")?.iter().any(|target| target["kind"][0] == "proc-macro"),
                declared,
                linked_with: Vec::new(),
            };
            packages.insert(id, read);
        }
        for node in list(&json["resolve"], "nodes")? {
            let id = text(node, "id")?;
            let package = packages.get_mut(&id).with_context(|| format!("no package for node {id}"))?;
            for dependency in list(node, "deps")? {
                if list(dependency, "dep_kinds")?
                    .iter()
                    .any(|kind| !matches!(kind["kind"].as_str(), Some("dev" | "build")))
                {
                    package.linked_with.push(text(dependency, "pkg")?);
                }
            }
        }
        Ok(Metadata { packages })
    }

    /// The crates of this workspace.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &Package> {
        self.packages.values().filter(|package| package.ours)
    }
}

fn list<'a>(json: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    json[key].as_array().with_context(|| format!("no list `{key}`"))
}

fn text(json: &Value, key: &str) -> Result<String> {
    optional(json, key).with_context(|| format!("no text `{key}`"))
}

fn optional(json: &Value, key: &str) -> Option<String> {
    json[key].as_str().map(str::to_owned)
}
