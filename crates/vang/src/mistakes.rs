//! Mistakes on the command line: what is wrong, what is allowed, and what to type instead. Exit code 2.
//!
//! clap finds a mistake. Where people know a command or an option from another program (`commands.rs`, `options.rs`), or
//! forget quotes, the answer is the right command line, ready to copy (`correct.rs`). `tests/docs/mistakes.txt` has a
//! hundred of them with their answers.

mod commands; // words of other programs for a command
mod options; // options of other programs for an option
mod help; // parts of a command's help
mod correct; // from what was typed to what was meant

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use self::correct::{Similar, correct};
use self::help::{example_with, first_example};
use crate::say::CommandError;

/// Explains clap's error about these words, of which the first is the program.
pub(crate) fn explain(tree: &Command, typed: &[OsString], error: &clap::Error) -> CommandError {
    let words: Vec<String> = typed.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let is_unknown = matches!(error.kind(), ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument);
    // Of several the last one is the most similar.
    let right = all_of(error, ContextKind::SuggestedSubcommand)
        .pop()
        .or_else(|| of(error, ContextKind::SuggestedArg));
    let wrong = of(error, ContextKind::InvalidSubcommand).or_else(|| of(error, ContextKind::InvalidArg));
    let similar = Similar { wrong: wrong.as_deref().unwrap_or_default(), right: right.as_deref() };
    match is_unknown.then(|| correct(tree, &words, similar)).flatten() {
        Some(correction) => CommandError::usage(correction.what).advise(correction.instead),
        None => in_our_words(command(tree, &words), error),
    }
}

/// The first text of a part of clap's error.
fn of(error: &clap::Error, part: ContextKind) -> Option<String> {
    all_of(error, part).into_iter().next()
}

fn all_of(error: &clap::Error, part: ContextKind) -> Vec<String> {
    match error.get(part) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// The command that these words name.
fn command<'a>(tree: &'a Command, words: &[String]) -> &'a Command {
    words.iter().fold(tree, |command, word| command.find_subcommand(word).unwrap_or(command))
}

fn in_our_words(command: &Command, error: &clap::Error) -> CommandError {
    let example =
        || first_example(command).map(|example| format!("for example: {example}")).unwrap_or_default();
    let argument = of(error, ContextKind::InvalidArg).unwrap_or_default();
    let value = of(error, ContextKind::InvalidValue).unwrap_or_default();
    let allowed = all_of(error, ContextKind::ValidValue);
    match error.kind() {
        ErrorKind::MissingRequiredArgument => {
            let missing = all_of(error, ContextKind::InvalidArg);
            let verb = if missing.len() == 1 { "is" } else { "are" };
            CommandError::usage(format!("{} {verb} missing", missing.join(", "))).advise(example())
        }
        ErrorKind::MissingSubcommand => {
            let names = all_of(error, ContextKind::ValidSubcommand);
            CommandError::usage(format!("a command is missing; there are {}", names.join(", ")))
                .advise(example())
        }
        ErrorKind::InvalidValue if value.is_empty() => {
            let option = argument.split(' ').next().unwrap_or_default();
            let example = example_with(command, option).map(|example| format!("for example: {example}"));
            CommandError::usage(format!("a value is missing for '{argument}'{}", choices(&allowed)))
                .advise(example.unwrap_or_default())
        }
        ErrorKind::InvalidValue if !allowed.is_empty() => {
            CommandError::usage(format!("invalid value '{value}' for '{argument}'{}", choices(&allowed)))
        }
        ErrorKind::ArgumentConflict if of(error, ContextKind::PriorArg).as_ref() == Some(&argument) => {
            CommandError::usage(format!("'{argument}' is there twice; use it once")).advise(example())
        }
        ErrorKind::ArgumentConflict => {
            let prior = of(error, ContextKind::PriorArg).unwrap_or_default();
            CommandError::usage(format!("'{argument}' cannot be used with '{prior}'; use one of them"))
        }
        ErrorKind::TooManyValues => {
            CommandError::usage(format!("'{argument}' takes no value, and '{value}' is one"))
        }
        _ => {
            let text = error.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            // The usage and a pointer to the help follow.
            let text = text.split("\n\n").next().unwrap_or_default().trim_end();
            let text =
                NUMBERS.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours));
            CommandError::usage(text)
        }
    }
}

/// What the standard library says of numbers, and what people say.
const NUMBERS: [(&str, &str); 3] = [
    ("invalid digit found in string", "it is not a whole number"),
    ("number too large to fit in target type", "the number is too large"),
    ("cannot parse integer from empty string", "it is empty; give a number"),
];

fn choices(allowed: &[String]) -> String {
    match allowed {
        [] => String::new(),
        [only] => format!(": it can be {only}"),
        [others @ .., last] => format!(": it can be {} or {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cmd::Args;

    fn tree() -> Command {
        Args::command()
    }

    fn answer(line: &str) -> String {
        let words: Vec<OsString> = shlex::split(line).unwrap().into_iter().map(OsString::from).collect();
        let words = crate::host_port::join(&tree(), words.into_iter());
        let error = tree().try_get_matches_from(&words).unwrap_err();
        let answer = explain(&tree(), &words, &error);
        format!("{answer} | {}", answer.advice())
    }

    #[test]
    fn every_word_is_a_mistake_and_its_example_is_none() {
        let tree = tree();
        for row in commands::SYNONYMS {
            for words in row.words {
                let line: Vec<&str> =
                    ["vang", row.under, words].into_iter().filter(|part| !part.is_empty()).collect();
                let words: Vec<String> = line.join(" ").split(' ').map(str::to_owned).collect();
                assert!(!correct::is_accepted(&tree, &words), "{words:?} is a command");
            }
            if let commands::Means::Command { path, example } = row.means {
                let words = shlex::split(example).unwrap();
                assert!(correct::is_accepted(&tree, &words), "{example}");
                let path: Vec<&str> = path.split(' ').take_while(|word| !word.starts_with('-')).collect();
                assert!(path_of(&words).starts_with(&path), "{example}");
            }
        }
    }

    fn path_of(words: &[String]) -> Vec<&str> {
        words.iter().skip(1).map(String::as_str).collect()
    }

    #[test]
    fn every_option_is_a_mistake_below_some_command_and_means_one_that_exists() {
        let tree = tree();
        for row in options::SYNONYMS {
            for under in row.under {
                let words: Vec<String> = under.split(' ').map(str::to_owned).collect();
                let command = command(&tree, &words);
                let has = |option: &str| {
                    option
                        .strip_prefix("--")
                        .is_some_and(|name| command.get_arguments().any(|arg| arg.get_long() == Some(name)))
                };
                let means = match row.means {
                    options::Means::Option(name)
                    | options::Means::Prefixed(name, _)
                    | options::Means::Port(name)
                    | options::Means::Host(name) => Some(name),
                    options::Means::Words(words) | options::Means::InsteadOfValue(words) => Some(words[0]),
                    _ => None,
                };
                // A command that has others below it has no options of its own.
                if let Some(name) = means.filter(|_| !command.has_subcommands()) {
                    assert!(has(name), "{under} has no {name}");
                }
            }
        }
    }

    #[test]
    fn a_known_word_of_another_program_is_answered_with_the_right_command() {
        for (typed, right) in [
            ("vang say general 'hello, all' --as ada", "use: vang send general 'hello, all' --as ada"),
            ("vang history general", "use: vang tail general --since 0 --no-follow"),
            ("vang say", "use: vang send general 'hello, all'"),
            ("vang PUBLISH general hi", "use: vang send general hi"),
            ("vang /join garden --as ada", "use: vang join garden --as ada"),
            ("vang '#general'", "use: vang tail '#general'"),
            ("vang ls -la", "its options are "),
            ("vang netstat -tlnp", "use: vang net sockets --tcp --state listen"),
            ("vang lsof -i :65432", "use: vang net sockets --port 65432"),
            ("vang sockets --port 80", "use: vang net sockets --port 80"),
            ("vang net send general hi", "use: vang send general hi"),
            ("vang user add ada", "use: vang admin account add ada"),
            ("vang --as ada send general hi", "use: vang send general hi --as ada"),
            ("vang serve --port 7000", "use: vang serve --listen 127.0.0.1:7000"),
            ("vang serve --host 0.0.0.0 -p7000", "use: vang serve --listen 0.0.0.0:7000"),
            ("vang serve --idle 5m", "use: vang serve --limit idle=5m"),
            ("vang send --room general -m 'hi there'", "use: vang send general 'hi there'"),
            ("vang send general hello world", "use: vang send general 'hello world'"),
            ("vang send general '-5 degrees'", "use: vang send -- general '-5 degrees'"),
            ("vang send general it\\'s me", "use: vang send general \"it's me\""),
            ("vang tail general --sicne 5", "use: vang tail general --since 5"),
            ("vang tail general -10", "use: vang tail general --lines 10"),
            ("vang general#4", "use: vang get general#4"),
            ("vang rom", "use: vang rooms"),
            ("vang create my room", "use: vang create my-room"),
            ("vang net capture tcp port 80", "use: vang net capture --port 80"),
            ("vang xyzzy", "there are serve, "),
            ("vang -v", "use: vang --version"),
            ("vang nc localhost 65432", "use: vang net talk localhost:65432"),
            (
                "vang send general it is 5 degrees --as eve",
                "use: vang send general 'it is 5 degrees' --as eve",
            ),
            ("vang send general hello --as -ada", "use: vang send general hello --as=-ada"),
            ("vang account", "use: vang admin account add ada"),
            ("vang admin user add eve", "use: vang admin account add eve"),
            ("vang room create garden", "use: vang create garden"),
            ("vang admin account list", "vang cannot do that yet"),
            ("vang find deploy -test", "use: vang find -- deploy -test"),
        ] {
            let said = answer(typed);
            let advice = said.split_once(" | ").unwrap().1;
            assert!(advice.starts_with(right), "{typed}: {said}");
        }
    }
}
