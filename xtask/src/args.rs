//! The command line: what was asked, or the mistake in it.
//!
//! Everything behind a bare `--` goes on to cargo as it is, a second `--` included.

use crate::steps::{STEPS, Step};

/// What was asked.
pub(crate) enum Request {
    /// Say what there is.
    Help,
    /// Every step in order.
    Test { passed_on: Vec<String> },
    /// One step alone.
    Step { step: &'static Step, passed_on: Vec<String> },
    /// The tests with larger numbers.
    Soak { minutes: Option<u64> },
    /// The measurements.
    Bench { passed_on: Vec<String> },
}

/// Reads the arguments behind the program's name. The error is a sentence about the mistake.
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
        "soak" => {
            if !passed_on.is_empty() {
                return Err("`soak` passes nothing on to cargo".to_owned());
            }
            Request::Soak { minutes: take_minutes(&mut own)? }
        }
        _ => return Err(format!("no command `{command}`; there are: test, step, soak, bench")),
    };
    match own.first() {
        Some(word) => {
            Err(format!("`{command}` does not understand `{word}`; words for cargo go behind `--`"))
        }
        None => Ok(request),
    }
}

fn take_minutes(own: &mut Vec<String>) -> Result<Option<u64>, String> {
    let Some(first) = own.first().cloned() else { return Ok(None) };
    let value = if let Some(value) = first.strip_prefix("--minutes=") {
        own.drain(..1);
        value.to_owned()
    } else if first == "--minutes" && own.len() > 1 {
        own.drain(..2).next_back().unwrap_or_default()
    } else if first == "--minutes" {
        return Err("`--minutes` needs a number".to_owned());
    } else {
        return Ok(None);
    };
    match value.parse() {
        Ok(minutes) if minutes > 0 => Ok(Some(minutes)),
        _ => Err(format!("`--minutes {value}`: not a whole number above 0")),
    }
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
  cargo xtask test                       all that must hold, cheapest first; what CI runs
  cargo xtask test -- kick               the same, but only the tests whose name contains `kick`
  cargo xtask test -- -p vang-proto      the same, but only the tests of one crate
  cargo xtask step clippy                one step alone
  cargo xtask step test -- kick          the tests alone, filtered
  cargo xtask soak                       one long round: more seeds, more kills, a minute per fuzz target
  cargo xtask soak --minutes 60          rounds with fresh seeds until an hour has passed
  cargo xtask bench                      the measurements, in release

Usage:
  cargo xtask test [-- ARGUMENTS OF cargo test]
  cargo xtask step NAME [-- ARGUMENTS OF cargo test]
  cargo xtask soak [--minutes N]
  cargo xtask bench [-- ARGUMENTS OF THE BENCHES]
";

const REST: &str = "
Environment:
  CI=true                     end the tests with one line `N passed, N failed, N ignored`
  VANG_SEEDS, VANG_FIRST_SEED, VANG_KILLS, VANG_FUZZ_SECONDS
                              how long the tests try; `soak` sets them, without it they are short

Exit status: 0 done, 1 something failed, 2 a mistake in the command line.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Request, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_stands_behind_the_dashes_goes_on_to_cargo_as_it_is() {
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
    fn an_unknown_word_is_a_mistake_never_ignored() {
        for mistake in ["tset", "test --quick", "step", "step nothing", "step fmt -- kick", "bench codec"] {
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
