//! Autobahn's fuzzing client against our WebSocket codec: all cases except those of compression, which we refuse.
//!
//! The server's `/ws` does not echo, so the client tests `crates/server/examples/ws_echo.rs`: the same codec, a
//! socket, nothing else. A case passes if its result is OK, NON-STRICT or INFORMATIONAL; the last two are named in
//! the output.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run;

/// Framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, limits, cuts. 12 and 13 are compression.
const CASES: &[&str] = &["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"];
/// The number of these cases, so that missing ones are noticed.
const COUNT: usize = 301;
const FOLDER: &str = "target/autobahn";

/// Installs the client into its own folder, runs it, sums up.
pub(crate) fn check() -> Result<()> {
    eprintln!("\n== autobahn: a fuzzing client against our WebSocket codec");
    let client = install()?;
    run::cargo(["build", "--locked", "-p", "vang-server", "--example", "ws_echo"])?;
    let echo = Echo::start()?;
    let report = format!("{FOLDER}/report");
    if fs::exists(&report)? {
        fs::remove_dir_all(&report)?;
    }
    let mut command = run::command(&client);
    command.args(["--parallelism", "2", "--outdir", &report]);
    command.args(CASES.iter().flat_map(|cases| ["--include", cases]));
    let ran = run::through(command.arg(&echo.address));
    let index = fs::read_to_string(format!("{report}/index.json"));
    let verdict = summary(&index.context("the fuzzing client left no report")?)?;
    eprintln!("   {verdict}; each case in {report}/index.html");
    ran.context("the fuzzing client is not content")
}

/// Installs the client; returns its path. A second run finds it there.
fn install() -> Result<String> {
    let bin = format!("{FOLDER}/python/bin");
    if !fs::exists(format!("{bin}/pip"))? {
        run::through(run::command("python3").args(["-m", "venv", &format!("{FOLDER}/python")]))
            .context("cannot make a folder for Python packages (Debian: `apt-get install python3-venv`)")?;
    }
    let mut pip = run::command(&format!("{bin}/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
    pip.args(["--require-hashes", "--requirement", "xtask/autobahn.txt"]);
    run::through(&mut pip)?;
    Ok(format!("{bin}/kosoku"))
}

/// The echo server; it ends with us, because its stdin closes.
struct Echo {
    child: Child,
    address: String,
}

impl Echo {
    fn start() -> Result<Echo> {
        let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
        let mut command = Command::new(format!("{target}/debug/examples/ws_echo"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().context("cannot start the echo server")?;
        let mut address = String::new();
        let stdout = child.stdout.take().context("its stdout is not piped")?;
        BufReader::new(stdout).read_line(&mut address)?;
        Ok(Echo { child, address: address.trim().to_owned() })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The results of the cases; an error names those that did not pass.
fn summary(index: &str) -> Result<String> {
    let index: Value = serde_json::from_str(index).context("the report is not JSON")?;
    let agent = index.as_object().and_then(|agents| agents.values().next()).and_then(Value::as_object);
    let cases = agent.context("the report names no server")?;
    let (mut failed, mut passed, mut loosely) = (Vec::new(), 0, Vec::new());
    for (id, case) in cases {
        let verdicts = ["behavior", "behaviorClose"].map(|key| case[key].as_str().unwrap_or("missing"));
        let is = |accepted: &[&str]| verdicts.iter().all(|verdict| accepted.contains(verdict));
        if is(&["OK"]) {
            passed += 1;
        } else if is(&["OK", "NON-STRICT", "INFORMATIONAL"]) {
            loosely.push(format!("{id} {}", verdicts[0].to_lowercase()));
        } else {
            failed.push(format!("{id} {} (closing: {})", verdicts[0], verdicts[1]));
        }
    }
    if !failed.is_empty() {
        bail!("{} of {} cases failed\n  {}", failed.len(), cases.len(), failed.join("\n  "));
    }
    if cases.len() != COUNT {
        bail!("{} cases ran, but there are {COUNT}", cases.len());
    }
    let loosely = if loosely.is_empty() { String::new() } else { format!("; {}", loosely.join(", ")) };
    Ok(format!("{COUNT} cases: {passed} OK{loosely}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdicts: &[(&str, &str)]) -> String {
        let case = |(at, (behavior, close)): (usize, &(&str, &str))| {
            (at.to_string(), serde_json::json!({"behavior": behavior, "behaviorClose": close}))
        };
        let cases: serde_json::Map<_, _> = verdicts.iter().enumerate().map(case).collect();
        serde_json::json!({ "127.0.0.1:9": cases }).to_string()
    }

    #[test]
    fn a_case_passes_in_the_suites_own_words_only() {
        let mut all = vec![("OK", "OK"); COUNT];
        assert_eq!(summary(&report(&all)).unwrap(), "301 cases: 301 OK");
        all[7] = ("INFORMATIONAL", "INFORMATIONAL");
        all[8] = ("NON-STRICT", "OK");
        assert_eq!(summary(&report(&all)).unwrap(), "301 cases: 299 OK; 7 informational, 8 non-strict");
        for bad in [("FAILED", "OK"), ("OK", "FAILED"), ("UNIMPLEMENTED", "OK"), ("OK", "WRONG CODE")] {
            all[9] = bad;
            let said = summary(&report(&all)).unwrap_err().to_string();
            assert!(said.contains("1 of 301 cases failed\n  9 "), "{said}");
        }
        assert!(summary(&report(&all[10..])).unwrap_err().to_string().contains("291 cases ran"));
        for broken in ["", "{}", "[]", "{\"a\": 1}"] {
            assert!(summary(broken).is_err(), "{broken}");
        }
    }
}
