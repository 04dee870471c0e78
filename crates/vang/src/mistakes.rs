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
            CommandError::usage(format!("'{argument}' takes no value, and '{value}' is one; use it alone"))
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

    /// What to do instead of this command line.
    fn advice(line: &str) -> String {
        answer(line).split_once(" | ").unwrap().1.to_owned()
    }

    #[test]
    fn every_word_is_a_mistake_and_is_answered_with_its_command() {
        let tree = tree();
        for row in commands::SYNONYMS {
            for words in row.words {
                let line: Vec<&str> =
                    ["vang", row.under, words].into_iter().filter(|part| !part.is_empty()).collect();
                let line = line.join(" ");
                let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
                assert!(!correct::is_accepted(&tree, &words), "{line} is a command");
                let advice = advice(&line);
                match row.means {
                    commands::Means::Command { path, .. } => {
                        let right = format!("use: vang {}", path_of(path));
                        let rest = advice.strip_prefix(&right);
                        assert!(
                            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')),
                            "{line} is answered with {advice:?}, not {right:?}"
                        );
                    }
                    commands::Means::Advice(text) => assert_eq!(advice, text, "{line}"),
                }
            }
            if let commands::Means::Command { path, example } = row.means {
                assert!(correct::is_accepted(&tree, &shlex::split(example).unwrap()), "{example}");
                assert!(example.starts_with(&format!("vang {}", path_of(path))), "{example}");
            }
        }
    }

    /// The words of a command without its options; for an option of `vang` itself, the option.
    fn path_of(path: &str) -> &str {
        path.split_once(" -").map_or(path, |(path, _)| path)
    }

    #[test]
    fn every_option_is_a_mistake_below_some_command_and_means_one_that_exists() {
        let tree = tree();
        for row in options::SYNONYMS {
            let means = match row.means {
                options::Means::Option(name)
                | options::Means::Prefixed(name, _)
                | options::Means::Port(name)
                | options::Means::Host(name) => name,
                options::Means::Words(words) => words[0],
                options::Means::JsonOr(_) => "--json",
                options::Means::TypeOrRoom => "--type",
                _ => continue,
            };
            for under in row.under {
                let words: Vec<String> = under.split(' ').map(str::to_owned).collect();
                // A command that has others below it has no options of its own.
                for command in leaves(command(&tree, &words)) {
                    let has = command.get_arguments().any(|arg| arg.get_long() == means.strip_prefix("--"));
                    assert!(has, "{under}: {} has no {means}", command.get_name());
                }
            }
        }
    }

    /// The commands below a command that have none below them; or the command itself.
    fn leaves(command: &Command) -> Vec<&Command> {
        match command.has_subcommands() {
            true => command.get_subcommands().flat_map(leaves).collect(),
            false => vec![command],
        }
    }

    /// What `tests/mistakes.rs` compares with the answers of the program.
    const TRANSCRIPT: &str = include_str!("../tests/docs/mistakes.txt");

    /// Words of an answer that says in its first line what to do.
    const WHAT_TO_DO: [&str; 12] = [
        "; use ",
        " write ",
        " give a ",
        "; choose ",
        "; set ",
        "; ask ",
        " it can be ",
        "; it must be ",
        "; ports are ",
        "; did you mean ",
        // An example, or an option.
        ", as ",
        "(--",
    ];

    /// Answers without a word about what to do: another path or another name.
    const SAYS_ALL: [&str; 3] = ["no such file or directory", "there is an account ", "there is no account "];

    #[test]
    fn every_answer_of_the_transcript_says_what_to_do() {
        let tree = tree();
        let mut answers: Vec<(&str, Vec<&str>)> = Vec::new();
        for line in TRANSCRIPT.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.strip_prefix("$ ") {
                Some(command) => answers.push((command, Vec::new())),
                None => answers.last_mut().unwrap().1.push(line),
            }
        }
        for (command, answer) in answers {
            for line in &answer {
                all_are_accepted(&tree, line);
            }
            let says =
                |words: &[&str]| answer.iter().any(|line| words.iter().any(|part| line.contains(part)));
            assert!(
                answer.iter().any(|line| line.starts_with("  ")) || says(&WHAT_TO_DO) || says(&SAYS_ALL),
                "{command}: {answer:?} does not say what to do"
            );
        }
    }

    #[test]
    fn every_command_in_an_advice_is_accepted() {
        let tree = tree();
        for row in commands::SYNONYMS {
            if let commands::Means::Advice(text) = row.means {
                all_are_accepted(&tree, text);
            }
        }
        for row in options::SYNONYMS {
            match row.means {
                options::Means::Advice(text)
                | options::Means::Nothing(text)
                | options::Means::Example(text)
                | options::Means::JsonOr(text) => all_are_accepted(&tree, text),
                _ => {}
            }
        }
    }

    /// Would vang run every command that this text names?
    fn all_are_accepted(tree: &Command, text: &str) {
        for command in commands_in(text) {
            let words = shlex::split(command).unwrap_or_else(|| panic!("{command:?} in {text:?}"));
            // Behind the words for vang come words for the shell, as in `vang serve 2>>serve.log &`.
            let words: Vec<String> =
                words.into_iter().take_while(|word| word != "&" && !word.contains('>')).collect();
            assert!(correct::is_accepted(tree, &words), "{words:?} in {text:?}");
        }
    }

    /// The commands in a text. One ends where its sentence has a mark outside quotes; behind `use:` it is all that follows.
    fn commands_in(text: &str) -> Vec<&str> {
        let whole = ["use: ", "for example: "].iter().find_map(|start| text.trim_start().strip_prefix(start));
        if let Some(command) = whole.filter(|command| command.starts_with("vang ")) {
            return vec![command];
        }
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(next) = text[at..].find("vang ") {
            let begin = at + next;
            let is_command = text[..begin].chars().next_back().is_none_or(|before| " (`".contains(before))
                && !text[begin..].starts_with("vang cannot ");
            let mut is_quoted = false;
            let length = text[begin..].find(|c: char| {
                is_quoted ^= c == '\'';
                !is_quoted && ";,)`".contains(c)
            });
            let end = length.map_or(text.len(), |length| begin + length);
            if is_command {
                found.push(&text[begin..end]);
            }
            at = if is_command { end } else { begin + "vang ".len() };
        }
        found
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
            ("vang send general hello --as -ada", "use: vang send general hello --as ada"),
            ("vang join cellar --who --bob --as ada", "use: vang join cellar --who bob --as ada"),
            ("vang send general hello --id -5", "use: vang send general hello --id=-5"),
            ("vang account", "use: vang admin account add ada"),
            ("vang admin user add eve", "use: vang admin account add eve"),
            ("vang room create garden", "use: vang create garden"),
            ("vang admin account list", "vang cannot do that yet"),
            ("vang find deploy -test", "use: vang find -- deploy -test"),
            ("vang find deploy -review -n20", "use: vang find -- deploy -review -n20"),
            ("vang rooms create garden --as ada", "use: vang create garden --as ada"),
            ("vang rooms join garden", "use: vang join garden"),
            ("vang rooms list", "use: vang rooms"),
            ("vang tail general -n 5 -o json", "use: vang tail general -n 5 --json"),
            ("vang tail general -o 'my file'", "for a file write `> 'my file'` at the end"),
            ("vang rooms --format xml", "the only other format is JSON: write --json"),
            ("vang rooms -n 5", "its options are --json, "),
            ("vang rooms -5", "its options are --json, "),
            ("vang bench ping -n 1000", "its options are --connections N, "),
            ("vang bench ping --user ada", "use: vang bench ping --as ada"),
            ("vang net sockets -p 65432", "use: vang net sockets --port 65432"),
            ("vang net sockets -p65432", "use: vang net sockets --port 65432"),
            ("vang ss -t -p", "use: vang net sockets --tcp"),
            ("vang lsof -i:65432", "use: vang net sockets --port 65432"),
        ] {
            let advice = advice(typed);
            assert!(advice.starts_with(right), "{typed}: {}", answer(typed));
        }
    }

    #[test]
    fn an_option_before_the_command_is_moved_if_the_command_has_it() {
        for (typed, what, right) in [
            (
                "vang --as ada say general hello",
                "the option '--as' stands before the command; options come behind it",
                "use: vang send general hello --as ada",
            ),
            (
                "vang --as list say general hello",
                "the option '--as' stands before the command; options come behind it",
                "use: vang send general hello --as list",
            ),
            (
                "vang --as ada send -- general -hello",
                "the option '--as' stands before the command; options come behind it",
                "use: vang send --as ada -- general -hello",
            ),
            ("vang -v send general hi", "'vang send' has no option '-v'", "use: vang send general hi"),
            (
                "vang --port 7000 serve",
                "'vang serve' has no option '--port'",
                "use: vang serve --listen 127.0.0.1:7000",
            ),
            ("vang --foo", "'vang' has no option '--foo'", "there are serve, "),
        ] {
            let said = answer(typed);
            assert!(said.starts_with(&format!("{what} | {right}")), "{typed}: {said}");
        }
    }

    #[test]
    fn a_word_with_a_hyphen_is_part_of_the_text_and_an_option_does_not_take_another_place() {
        for (typed, right) in [
            ("vang send general -done", "use: vang send -- general -done"),
            ("vang send general -test it --as ada", "use: vang send --as ada -- general '-test it'"),
            ("vang send -done", "use: vang send general 'hello, all'"),
            ("vang send general -as ada", "its options are --file PATH, "),
            ("vang send general we --really need it", "use: vang send general 'we --really need it'"),
            ("vang send general -m hello --really", "use: vang send general 'hello --really'"),
            ("vang topic general we -really", "use: vang topic general 'we -really'"),
            ("vang send general --text='hello, all'", "use: vang send general 'hello, all'"),
            ("vang send general hi -t text/html", "use: vang send general hi --type text/html"),
            ("vang send -t general -m hi", "use: vang send general hi"),
            ("vang send hi --room general", "use: vang send general hi"),
            ("vang send --room general it is late", "use: vang send general 'it is late'"),
            ("vang send general hi --room lab", "its options are --file PATH, "),
            ("vang send general hi -t lab", "its options are --file PATH, "),
            ("vang topic general --topic 'the new topic'", "use: vang topic general 'the new topic'"),
            ("vang tail general -c 5", "its options are --since N, "),
            ("vang tail -c 5 general", "its options are --since N, "),
            ("vang admin backup chat.vang -o other.vang", "its options are "),
        ] {
            let advice = advice(typed);
            assert!(advice.starts_with(right), "{typed}: {}", answer(typed));
        }
    }
}
