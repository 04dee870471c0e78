//! Step `advisories`: known vulnerabilities and withdrawn versions among the dependencies.
//!
//! The only step that can end without a result: it needs a tool that few machines have, and a database from the
//! network. It then says why, and which command gives the result. An advisory fails the step.

use anyhow::{Result, bail};
use serde_json::Value;

use crate::outcome::Outcome;
use crate::run;

/// Uses cargo-deny, else cargo-audit, else says that nothing was checked.
pub(crate) fn check() -> Result<Outcome> {
    if run::first_line("cargo-deny", &["--version"]).is_some() {
        deny()
    } else if run::first_line("cargo-audit", &["--version"]).is_some() {
        audit()
    } else {
        Ok(Outcome::NotChecked(
            "neither cargo-deny nor cargo-audit is installed; \
             `cargo install --locked cargo-deny && cargo deny check advisories` does it"
                .to_owned(),
        ))
    }
}

fn deny() -> Result<Outcome> {
    // A separate fetch, because `check` has the same exit code for a missing database and for an advisory.
    let fetched = run::answer(run::command("cargo").args(["deny", "fetch", "db"]))?;
    if !fetched.status.success() {
        return Ok(unfetched("cargo-deny", &fetched.stderr, "cargo deny check advisories"));
    }
    run::cargo(["deny", "check", "--disable-fetch", "advisories"])?;
    Ok(Outcome::Passed)
}

fn audit() -> Result<Outcome> {
    // The exit code is the same for a missing database and for an advisory, but it prints JSON only with a database.
    let output = run::answer(run::command("cargo").args(["audit", "--json"]))?;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let Some(found) = report["vulnerabilities"]["list"].as_array() else {
        return Ok(unfetched("cargo-audit", &output.stderr, "cargo audit"));
    };
    if found.is_empty() {
        return Ok(Outcome::Passed);
    }
    let lines: Vec<String> = found.iter().map(describe).collect();
    bail!("dependencies have known vulnerabilities (`cargo audit` tells more)\n  {}", lines.join("\n  "))
}

fn describe(vulnerability: &Value) -> String {
    let text = |of: &str, key: &str| vulnerability[of][key].as_str().unwrap_or("?").to_owned();
    let (name, version) = (text("package", "name"), text("package", "version"));
    format!("{name} {version}: {} {}", text("advisory", "id"), text("advisory", "title"))
}

fn unfetched(tool: &str, stderr: &[u8], command: &str) -> Outcome {
    let said = String::from_utf8_lossy(stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it did not say why");
    Outcome::NotChecked(format!(
        "{tool} could not get its database ({}); with a network, `{command}` does it",
        last.trim()
    ))
}
