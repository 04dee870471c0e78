//! The command line.
//!
//! Everything after a bare `--` is passed on to cargo unchanged, also a second `--`.

use crate::steps::{STEPS, Step};

/// A command with its arguments.
pub(crate) enum Request {
    Help,
    Test { passed_on: Vec<String> },
    Step { step: &'static Step, passed_on: Vec<String> },
    Fix,
    Bless,
    Sim { seed: Option<u64> },
    Soak { minutes: Option<u64> },
    Bench { passed_on: Vec<String> },
    Dist,
}

/// Reads the arguments after the program's name. The error is a sentence about the mistake.
pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Request, String> {
    let mut words = words.into_iter();
    let mut own: Vec<String> = words.by_ref().take_while(|word| word != "--").collect();
    let passed_on: Vec<String> = words.collect();
    if own.is_empty() || own.iter().any(|word| word == "--help" || word == "-h" || word == "help") {
        return Ok(Request::Help);
    }
    let command = own.remove(0);
    let request = match command.as_str() {
        "test" => Request::Test { passed_on },
        "bench" => Request::Bench { passed_on },
        "step" => {
            if own.is_empty() {
                return Err(format!("`step` needs a name: {}", step_names()));
            }
            let name = own.remove(0);
            let step = STEPS.iter().find(|step| step.name == name);
            let step = step.ok_or_else(|| format!("no step `{name}`; there are: {}", step_names()))?;
            if step.name != "test" && !passed_on.is_empty() {
                return Err(format!("step `{name}` passes nothing on to cargo; only `test` does"));
            }
            Request::Step { step, passed_on }
        }
        "fix" | "bless" | "sim" | "soak" | "dist" if !passed_on.is_empty() => {
            return Err(format!("`{command}` passes nothing on to cargo"));
        }
        "fix" => Request::Fix,
        "bless" => Request::Bless,
        "dist" => Request::Dist,
        "sim" => Request::Sim { seed: take_number("--seed", &mut own)? },
        "soak" => match take_number("--minutes", &mut own)? {
            Some(0) => return Err("`--minutes 0`: not a whole number above 0".to_owned()),
            minutes => Request::Soak { minutes },
        },
        _ => {
            let known = "test, step, fix, bless, sim, soak, bench, dist";
            return Err(format!("no command `{command}`; there are: {known}"));
        }
    };
    match own.first() {
        Some(word) => {
            Err(format!("`{command}` does not understand `{word}`; arguments for cargo go after `--`"))
        }
        None => Ok(request),
    }
}

/// Takes `--flag N` or `--flag=N` from the front.
fn take_number(flag: &str, own: &mut Vec<String>) -> Result<Option<u64>, String> {
    let Some(first) = own.first().cloned() else { return Ok(None) };
    let value = match first.strip_prefix(flag) {
        Some("") if own.len() > 1 => own.drain(..2).next_back().unwrap_or_default(),
        Some("") => return Err(format!("`{flag}` needs a number")),
        Some(value) if value.starts_with('=') => {
            own.remove(0);
            value[1..].to_owned()
        }
        Some(_) | None => return Ok(None),
    };
    value.parse().map(Some).map_err(|_| format!("`{flag} {value}`: not a whole number"))
}

fn step_names() -> String {
    STEPS.iter().map(|step| step.name).collect::<Vec<_>>().join(", ")
}

/// What `--help` prints.
pub(crate) fn help() -> String {
    let mut steps = String::new();
    for step in STEPS {
        steps.push_str(&format!("  {:<12}{}\n", step.name, step.what));
    }
    format!("{EXAMPLES}\nThe steps of `test`, in their order:\n{steps}{REST}")
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask test                       all checks and tests, cheapest first; CI runs the same
  cargo xtask test -- kick               the same, but only the tests whose name contains `kick`
  cargo xtask test -- -p vang-proto      the same, but only the tests of one crate
  cargo xtask step clippy                one step alone
  cargo xtask step test -- kick          the tests alone, filtered
  cargo xtask fix                        format the code, and apply clippy's suggestions
  cargo xtask bless                      write new golden files; review their diff
  cargo xtask sim --seed 8841            one simulated history, with its trace
  cargo xtask soak                       one long round: more seeds, more kills, a minute per fuzz target
  cargo xtask soak --minutes 60          rounds with fresh seeds until an hour has passed
  cargo xtask bench                      the measurements, in release
  cargo xtask dist                       archive, Debian package and container file in target/distribution

Usage:
  cargo xtask test [-- ARGUMENTS OF cargo test]
  cargo xtask step NAME [-- ARGUMENTS OF cargo test]
  cargo xtask fix
  cargo xtask bless
  cargo xtask sim [--seed N]
  cargo xtask soak [--minutes N]
  cargo xtask bench [-- ARGUMENTS OF THE BENCHES]
  cargo xtask dist
";

const REST: &str = "
Environment:
  CI=true          end the tests with one line `N passed, N failed, N ignored`
  VANG_…           variables of the tests; CONTRIBUTING.md lists them. `soak`, `bless` and `sim` set them

Exit status: 0 done, 1 something failed, 2 a mistake in the command line.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Request, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_after_the_dashes_are_passed_on_unchanged() {
        let Ok(Request::Test { passed_on }) = asked("test -- kick -- --nocapture") else { panic!() };
        assert_eq!(passed_on, ["kick", "--", "--nocapture"]);
        let Ok(Request::Step { step, passed_on }) = asked("step test -- kick") else { panic!() };
        assert_eq!((step.name, passed_on.as_slice()), ("test", ["kick".to_owned()].as_slice()));
    }

    #[test]
    fn minutes_are_a_whole_number_above_zero() {
        assert!(matches!(asked("soak"), Ok(Request::Soak { minutes: None })));
        assert!(matches!(asked("soak --minutes 5"), Ok(Request::Soak { minutes: Some(5) })));
        assert!(matches!(asked("soak --minutes=5"), Ok(Request::Soak { minutes: Some(5) })));
        for mistake in ["soak --minutes", "soak --minutes 0", "soak --minutes x", "soak 5", "soak -- x"] {
            assert!(asked(mistake).is_err(), "{mistake}");
        }
    }

    #[test]
    fn a_seed_can_be_any_number() {
        assert!(matches!(asked("sim"), Ok(Request::Sim { seed: None })));
        assert!(matches!(asked("sim --seed 0"), Ok(Request::Sim { seed: Some(0) })));
        assert!(matches!(asked("sim --seed=8841"), Ok(Request::Sim { seed: Some(8_841) })));
        for mistake in ["sim --seed", "sim --seed -1", "sim --seeds 3", "sim 5", "sim -- x"] {
            assert!(asked(mistake).is_err(), "{mistake}");
        }
    }

    #[test]
    fn an_unknown_argument_is_an_error() {
        let mistakes = [
            "tset",
            "test --quick",
            "step",
            "step nothing",
            "step fmt -- kick",
            "bench codec",
            "fix x",
            "bless -- x",
            "dist x",
        ];
        for mistake in mistakes {
            assert!(asked(mistake).is_err(), "{mistake}");
        }
    }

    #[test]
    fn help_lists_every_step() {
        assert!(matches!(asked(""), Ok(Request::Help)));
        assert!(matches!(asked("test --help"), Ok(Request::Help)));
        assert!(STEPS.iter().all(|step| help().contains(step.what)));
    }
}
