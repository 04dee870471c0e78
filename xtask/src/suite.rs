//! Step `test`: `cargo test` over the whole workspace in one build, passed through and counted.
//!
//! An ignored test looks like a passed one, so an ignored test fails the step. So does a filter that matches no test,
//! which would otherwise pass without a check.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::outcome::Outcome;
use crate::run;

/// Runs the tests; `passed_on` goes to `cargo test` unchanged.
pub(crate) fn check(passed_on: &[String]) -> Result<Outcome> {
    cargo_test(passed_on, &[])?;
    Ok(Outcome::Passed)
}

/// Runs the tests with these environment variables in addition.
pub(crate) fn cargo_test(passed_on: &[String], settings: &[(&str, String)]) -> Result<()> {
    let mut cargo = run::command("cargo");
    // All failures in one run.
    cargo.args(["test", "--locked", "--no-fail-fast"]);
    if !chooses_packages(passed_on) {
        cargo.arg("--workspace");
    }
    cargo.args(passed_on);
    cargo.envs(settings.iter().map(|(key, value)| (key, value)));
    let line = run::line(&cargo);
    let mut child = cargo.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{line}`"))?;
    let stdout = child.stdout.take().context("the output of cargo test is not piped")?;
    let tally = pass_through(BufReader::new(stdout)).context("cannot pass on what the tests print");
    let status = child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
    let tally = tally?;

    if env::var("CI").is_ok_and(|value| value == "true") {
        let Tally { passed, failed, ignored, .. } = tally;
        println!("\n{passed} passed, {failed} failed, {ignored} ignored");
    }
    if !tally.failures.is_empty() {
        bail!("`{line}`: {} failed\n  {}", tally.failures.len(), tally.failures.join("\n  "));
    }
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    if tally.ignored > 0 {
        bail!("{} ignored, but none may be\n  {}", tally.ignored, tally.ignored_names.join("\n  "));
    }
    if tally.passed == 0 {
        bail!("`{line}` ran no test");
    }
    Ok(())
}

/// For cargo, `--workspace -p one` means all packages.
fn chooses_packages(passed_on: &[String]) -> bool {
    let mut for_cargo = passed_on.iter().take_while(|word| *word != "--");
    for_cargo.any(|word| word.starts_with("-p") || word.starts_with("--package"))
}

/// The sums over all test programs.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    failures: Vec<String>,
    ignored_names: Vec<String>,
}

fn pass_through(mut from: impl BufRead) -> io::Result<Tally> {
    let mut to = io::stdout().lock();
    let mut tally = Tally::default();
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        tally.add(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(tally)
}

impl Tally {
    fn add(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test ") else { return };
        if let Some(counts) = rest.strip_prefix("result: ") {
            // "ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s"
            let counts = counts.split_once(". ").map_or("", |(_, counts)| counts);
            for count in counts.split("; ") {
                match count.split_once(' ').map(|(n, what)| (n.parse::<u64>(), what)) {
                    Some((Ok(n), "passed")) => self.passed += n,
                    Some((Ok(n), "failed")) => self.failed += n,
                    Some((Ok(n), "ignored")) => self.ignored += n,
                    _ => {}
                }
            }
        } else if let Some((name, verdict)) = rest.rsplit_once(" ... ") {
            if verdict == "FAILED" {
                self.failures.push(name.to_owned());
            } else if verdict == "ignored" || verdict.starts_with("ignored, ") {
                self.ignored_names.push(name.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_add_up_and_what_did_not_pass_is_named() {
        let mut tally = Tally::default();
        for line in "
running 3 tests
test frame::a_name ... ok
test frame::b_name ... FAILED
test frame::c_name ... ignored, too slow
test frame - d (line 3) ... ignored
test prints something without a verdict
test result: FAILED. 1 passed; 1 failed; 2 ignored; 0 measured; 7 filtered out; finished in 0.00s
test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s"
            .lines()
        {
            tally.add(line);
        }
        let expected = Tally {
            passed: 41,
            failed: 1,
            ignored: 2,
            failures: vec!["frame::b_name".into()],
            ignored_names: vec!["frame::c_name".into(), "frame - d (line 3)".into()],
        };
        assert_eq!(tally, expected);
    }

    #[test]
    fn packages_are_chosen_before_the_dashes() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(chooses_packages(&words("-p vang-proto kick")));
        assert!(chooses_packages(&words("--package=vang-proto")));
        assert!(!chooses_packages(&words("kick --profile release -- -p")));
    }
}
