//! From a command line with a mistake to the one that was meant:
//!
//! ```text
//! vang say general hello world    ─▶  vang send general 'hello world'
//! vang serve --port 7000          ─▶  vang serve --listen 127.0.0.1:7000
//! vang netstat                    ─▶  vang net sockets
//! ```
//!
//! A correction is only shown if vang accepts it; otherwise an example of the command is.

use std::cmp::Reverse;
use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};
use vang_proto::address::{host_and_port, with_port};
use vang_server::Limits;

use super::commands::{self, Means};
use super::help::{first_example, options_of, usage};
use super::options::{self, Means as OptionMeans};
use crate::{host_port, shell};

/// What is wrong with a command line, and what to type instead.
pub(super) struct Correction {
    pub(super) what: String,
    pub(super) instead: String,
}

/// What clap found that is similar to a wrong command or option.
#[derive(Clone, Copy, Default)]
pub(super) struct Similar<'a> {
    pub(super) wrong: &'a str,
    pub(super) right: Option<&'a str>,
}

impl Similar<'_> {
    /// An option with its typing error corrected. Synonyms come first: clap compares only letters.
    fn corrected(&self, line: &Line<'_>, word: &str, found: &mut Found) -> String {
        let Some(right) = self.right.filter(|right| right.starts_with("--")) else { return word.to_owned() };
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        if self.wrong != name || known(line.command, right).is_none() || read_option(line, word).is_some() {
            return word.to_owned();
        }
        found.note(|| no_option(line, name));
        value.map_or_else(|| right.to_owned(), |value| format!("{right}={value}"))
    }
}

/// Corrects what was typed behind `vang`; `None`: no mistake that is known here.
pub(super) fn correct(tree: &Command, typed: &[String], similar: Similar<'_>) -> Option<Correction> {
    let mut found = Found::default();
    let words = options_behind_the_command(tree, typed, &mut found);
    let (line, rest) = match find_command(tree, &words, similar, &mut found)? {
        Step::Go(line, rest) => (line, rest),
        Step::Stop(instead) => return found.what.map(|what| Correction { what, instead }),
    };
    let rest = joined(tree, &line, rest);
    let instead = match read_arguments(&line, &rest, similar, &mut found) {
        Err(instead) => instead,
        Ok(arguments) => {
            let mut pieces = fit(&line, arguments, &mut found);
            pieces.extend(std::mem::take(&mut found.options).into_iter().map(Piece::Option));
            shown(tree, &line, &pieces, found.example.as_deref())
        }
    };
    found.what.map(|what| Correction { what, instead })
}

/// The arguments with `HOST PORT` as one word, which could not be done before the command was known.
fn joined(tree: &Command, line: &Line<'_>, rest: &[String]) -> Vec<String> {
    let words = [&["vang".to_owned()], &line.path[..], rest].concat();
    let words = host_port::join(tree, words.iter().map(OsString::from));
    words.into_iter().skip(1 + line.path.len()).map(|word| word.to_string_lossy().into_owned()).collect()
}

/// What was found on the way. The first mistake is reported, and all that are known are corrected.
#[derive(Default)]
struct Found {
    what: Option<String>,
    /// Of the command that a word means.
    example: Option<String>,
    /// Options that belong to what the word means.
    options: Vec<String>,
}

impl Found {
    fn note(&mut self, what: impl FnOnce() -> String) {
        self.what.get_or_insert_with(what);
    }
}

/// A command with the words that name it.
struct Line<'a> {
    command: &'a Command,
    path: Vec<String>,
}

impl Line<'_> {
    fn path(&self) -> String {
        self.path.join(" ")
    }

    /// As people type it.
    fn name(&self) -> String {
        [&["vang".to_owned()], &self.path[..]].concat().join(" ")
    }

    /// Is it one of these commands, or below one?
    fn is_under(&self, paths: &[&str]) -> bool {
        let path = self.path();
        paths.iter().any(|above| {
            path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        })
    }
}

enum Step<'a, 'w> {
    Go(Line<'a>, &'w [String]),
    /// What to do instead; no command is meant.
    Stop(String),
}

fn is_option(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-')
}

/// `vang --as ada send …` as `vang send … --as ada`. Options that the command does not have are left out.
fn options_behind_the_command(tree: &Command, typed: &[String], found: &mut Found) -> Vec<String> {
    if typed.first().is_none_or(|word| !is_option(word)) {
        return typed.to_vec();
    }
    let moves: Vec<Moved> = (1..typed.len()).filter_map(|at| moved(tree, typed, at)).collect();
    // The value of an option can be a command of another program, as in `vang --as list say general hello`.
    let Some(best) = moves.iter().find(|moved| moved.is_whole).or_else(|| moves.first()) else {
        return typed.to_vec();
    };
    if let Some(what) = &best.what {
        found.note(|| what.clone());
    }
    best.words.clone()
}

/// A command line whose options were moved behind its command.
struct Moved {
    words: Vec<String>,
    /// Of the first option: what is wrong with its place, or that the command does not have it.
    what: Option<String>,
    /// Does the command have all the options?
    is_whole: bool,
}

/// Moves the options before this word behind it. `None`: no command begins there, or what is before it is not options.
fn moved(tree: &Command, typed: &[String], at: usize) -> Option<Moved> {
    let (before, behind) = typed.split_at(at);
    let step = find_command(tree, behind, Similar::default(), &mut Found::default())?;
    let Step::Go(line, _) = step else { return None };
    let (mut options, mut what, mut is_whole) = (Vec::new(), None, true);
    let mut words = before.iter().peekable();
    while let Some(word) = words.next() {
        if !is_option(word) {
            return None;
        }
        if let Some(arg) = known(line.command, word) {
            what.get_or_insert_with(|| {
                format!("the option '{word}' stands before the command; options come behind it")
            });
            options.push(word.clone());
            if waits_for_value(arg, word) {
                options.push(words.next()?.clone());
            }
        } else if read_option(&line, word).is_some() {
            // What it means is said when it is read behind the command.
            options.push(word.clone());
            options.extend(words.next_if(|next| !is_option(next)).cloned());
        } else {
            // Only a real command: what is left out makes any other a guess.
            tree.find_subcommand(&behind[0])?;
            what.get_or_insert_with(|| no_option(&line, word));
            is_whole = false;
        }
    }
    // Behind `--` they would be arguments.
    let end = behind.iter().position(|word| word == "--").unwrap_or(behind.len());
    Some(Moved { words: [&behind[..end], &options[..], &behind[end..]].concat(), what, is_whole })
}

/// Reads the words that name a command.
fn find_command<'a, 'w>(
    tree: &'a Command,
    words: &'w [String],
    similar: Similar<'_>,
    found: &mut Found,
) -> Option<Step<'a, 'w>> {
    let (mut line, mut rest) = (Line { command: tree, path: Vec::new() }, words);
    while line.command.has_subcommands() {
        // A command that does something by itself, too, as `vang sessions`, has options and no other arguments.
        let is_complete = !line.path.is_empty() && !line.command.is_subcommand_required_set();
        if is_complete && rest.first().is_none_or(|word| is_option(word)) {
            break;
        }
        let Some(word) = rest.first() else {
            found.what.as_ref()?;
            let example = found.example.clone().unwrap_or_else(|| example_of(&line));
            return Some(Step::Stop(format!("use: {example}")));
        };
        let is_two_words = is_of_two_words(&line, rest);
        let inner = line.command.find_subcommand(word);
        if let Some(inner) = inner.filter(|_| !is_two_words) {
            line.command = inner;
            line.path.push(word.clone());
            rest = &rest[1..];
            continue;
        }
        found.note(|| match line.path.is_empty() {
            _ if is_option(word) => no_option(&line, word),
            // The first word alone is a command.
            true if inner.is_some() => format!("there is no command '{}'", rest[..2].join(" ")),
            true => format!("there is no command '{word}'"),
            false => format!("'{}' has no command '{word}'", line.name()),
        });
        match meaning(tree, &line, rest, similar) {
            Some(Meant { path, example, used }) => {
                found.example = Some(example);
                line = at(tree, &path);
                rest = &rest[used..];
                found.options = path[line.path.len()..].to_vec();
                // An option of `vang` itself, as --version.
                if line.path.is_empty() {
                    return Some(Step::Stop(format!("use: vang {}", path.join(" "))));
                }
            }
            None => {
                let instead = advice(&line, word).map_or_else(|| commands_of(&line), str::to_owned);
                return Some(Step::Stop(instead));
            }
        }
    }
    Some(Step::Go(line, rest))
}

fn commands_of(line: &Line<'_>) -> String {
    let names: Vec<&str> = visible(line.command).map(Command::get_name).collect();
    format!("there are {}; {} --help shows examples", names.join(", "), line.name())
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|inner| inner.get_name() != "help" && !inner.is_hide_set())
}

fn at<'a>(tree: &'a Command, path: &[String]) -> Line<'a> {
    let mut line = Line { command: tree, path: Vec::new() };
    for word in path {
        let Some(inner) = line.command.find_subcommand(word) else { break };
        line.command = inner;
        line.path.push(word.clone());
    }
    line
}

/// The command that a word means.
struct Meant {
    path: Vec<String>,
    example: String,
    /// So many words of the command line name it.
    used: usize,
}

fn meaning(tree: &Command, line: &Line<'_>, rest: &[String], similar: Similar<'_>) -> Option<Meant> {
    let typed = rest.first()?;
    let word = bare(typed);
    let here = line.path();
    let by_row = |under: &str, row: &commands::Synonym| -> Option<Meant> {
        let Means::Command { path, example } = row.means else { return None };
        let used = used_words(under, row, rest)?;
        Some(Meant { path: words_of(path), example: example.to_owned(), used })
    };
    // Two words before one of them; of several the first.
    let rows = |under: &str| {
        let rows = commands::SYNONYMS.iter().filter_map(|row| by_row(under, row));
        rows.min_by_key(|meant| Reverse(meant.used))
    };
    let below = |path: Vec<String>| {
        let example = first_example(at(tree, &path).command).unwrap_or_default();
        Meant { path, example, used: 1 }
    };
    let elsewhere = || search(tree, &word).map(below);
    let is_advised = advice(line, typed).is_some();
    let meant = match here.is_empty() {
        true => rows("").or_else(|| elsewhere().filter(|_| !is_advised)),
        false => rows(&here)
            .or_else(|| rows("").filter(|meant| meant.used > 1))
            .or_else(|| elsewhere().or_else(|| rows("")).filter(|_| !is_advised)),
    };
    meant
        .or_else(|| {
            let right = similar.right.filter(|_| similar.wrong == typed && !is_advised)?;
            Some(below([&line.path[..], &[right.to_owned()]].concat()))
        })
        .or_else(|| by_its_form(typed, rest.len()))
}

/// A room or an address in place of a command.
fn by_its_form(typed: &str, words: usize) -> Option<Meant> {
    let whole = |path: &str, example: &str| {
        Some(Meant { path: words_of(path), example: example.to_owned(), used: 0 })
    };
    match () {
        () if typed.rsplit_once('#').is_some_and(|(_, number)| is_number(number)) => {
            whole("get", "vang get general#4")
        }
        () if typed.starts_with('#') && words > 1 => whole("send", "vang send general 'hello, all'"),
        () if typed.starts_with('#') => whole("tail", "vang tail general"),
        () if typed.contains("://")
            || matches!(host_and_port(typed), Ok((_, Some(_))))
            || typed == "localhost" =>
        {
            whole("net talk", "vang net talk localhost:65432")
        }
        () => None,
    }
}

/// As typed to an IRC client, or in capitals as to Redis.
fn bare(word: &str) -> String {
    word.strip_prefix('/').unwrap_or(word).to_lowercase()
}

/// How many words of the command line are this synonym.
fn used_words(under: &str, row: &commands::Synonym, rest: &[String]) -> Option<usize> {
    if row.under != under {
        return None;
    }
    let is_typed = |synonym: &&&str| {
        let words = words_of(synonym);
        words.len() <= rest.len() && words.iter().zip(rest).all(|(word, typed)| *word == bare(typed))
    };
    row.words.iter().filter(is_typed).map(|synonym| words_of(synonym).len()).max()
}

/// Do two words mean a command here? The first can be a command itself, as in `rooms create`.
fn is_of_two_words(line: &Line<'_>, rest: &[String]) -> bool {
    let here = line.path();
    commands::SYNONYMS.iter().any(|row| used_words(&here, row, rest).is_some_and(|used| used > 1))
}

/// What to do instead of a command that vang does not have.
fn advice(line: &Line<'_>, word: &str) -> Option<&'static str> {
    let here = line.path();
    let word = [word.to_owned()];
    [&*here, ""].into_iter().find_map(|under| {
        commands::SYNONYMS.iter().find_map(|row| match row.means {
            Means::Advice(text) => used_words(under, row, &word).map(|_| text),
            Means::Command { .. } => None,
        })
    })
}

fn words_of(path: &str) -> Vec<String> {
    path.split(' ').map(str::to_owned).collect()
}

/// A command of this name anywhere; the one with the shortest path.
fn search(tree: &Command, name: &str) -> Option<Vec<String>> {
    let mut level = vec![(tree, Vec::new())];
    while !level.is_empty() {
        let mut next = Vec::new();
        for (command, path) in level {
            for inner in visible(command) {
                let path = [&path[..], &[inner.get_name().to_owned()]].concat();
                if inner.get_name() == name {
                    return Some(path);
                }
                next.push((inner, path));
            }
        }
        level = next;
    }
    None
}

/// A word behind the command.
#[derive(Clone, Debug)]
enum Piece {
    Positional(String),
    /// An option, or its value.
    Option(String),
}

/// The arguments with every known synonym replaced; or what to do instead.
fn read_arguments(
    line: &Line<'_>,
    rest: &[String],
    similar: Similar<'_>,
    found: &mut Found,
) -> Result<Vec<Piece>, String> {
    let (mut first, mut pieces, mut last): (Vec<Piece>, Vec<Piece>, Vec<Piece>) = Default::default();
    let places = line.command.get_positionals().count();
    let mut had_arguments = false;
    let mut address = Address::default();
    let mut words = rest.iter().peekable();
    while let Some(word) = words.next() {
        if word == "--" {
            last.extend(words.by_ref().cloned().map(Piece::Positional));
            break;
        }
        if !is_option(word) {
            pieces.push(Piece::Positional(word.clone()));
            continue;
        }
        if word == "--help" || word == "-h" {
            pieces.push(Piece::Option(word.clone()));
            continue;
        }
        let word = &similar.corrected(line, word, found);
        if let Some(arg) = known(line.command, word) {
            pieces.push(Piece::Option(word.clone()));
            match words.next_if(|_| waits_for_value(arg, word)) {
                // clap takes it for an option.
                Some(value) if is_option(value) && ["--as", "--who"].contains(&word.as_str()) => {
                    found.note(|| {
                        format!("the name '{value}' begins with '-'; a name begins with a letter or digit")
                    });
                    pieces.push(Piece::Option(value.trim_start_matches('-').to_owned()));
                }
                Some(value) if is_option(value) && !arg.is_allow_hyphen_values_set() => {
                    found.note(|| {
                        format!("the value '{value}' of '{word}' begins with '-'; {word}= joins them")
                    });
                    pieces.pop();
                    pieces.push(Piece::Option(format!("{word}={value}")));
                }
                Some(value) => pieces.push(Piece::Option(value.clone())),
                None => {}
            }
            continue;
        }
        if (is_text(word) || is_exclusion(line, word)) && places > 0 && !line.is_under(&["tail"]) {
            found.note(|| is_read_as_option(word));
            pieces.push(Piece::Positional(word.clone()));
            continue;
        }
        // `-p` alone shows processes in `ss`; with a number it is a port, as in other programs.
        let is_port = word == "-p" && words.peek().is_some_and(|next| is_number(next));
        if line.is_under(&["net sockets"])
            && !is_port
            && let Some(options) = as_ss(word)
        {
            found.note(|| no_option(line, word));
            pieces.extend(options.into_iter().map(Piece::Option));
            continue;
        }
        let Some((name, attached, means)) = read_option(line, word) else {
            let has_text = count(&first) + count(&pieces) + count(&last) >= places;
            if !is_word_of_text(line, word, has_text) {
                found.note(|| no_option(line, word));
                return Err(its_options(line));
            }
            found.note(|| match has_text {
                true => format!("{}; a text with spaces needs quotes", no_option(line, word)),
                false => is_read_as_option(word),
            });
            // Words keep their order, also behind a text that was an option's value.
            let text = if last.is_empty() { &mut pieces } else { &mut last };
            text.push(Piece::Positional(word.clone()));
            continue;
        };
        match means {
            OptionMeans::Nothing(why) => {
                found.note(|| format!("'{}' needs no option '{name}': {why}", line.name()));
            }
            _ => found.note(|| no_option(line, &name)),
        }
        let mut value = |with: &str| -> Result<String, String> {
            let next = words.next_if(|next| attached.is_none() && !is_option(next));
            attached.clone().or_else(|| next.cloned()).ok_or_else(|| format!("use: {with}"))
        };
        let option = |text: &str| Piece::Option(text.to_owned());
        if matches!(means, OptionMeans::First | OptionMeans::TypeOrRoom) {
            had_arguments |= count(&pieces) + count(&last) > 0;
        }
        match means {
            OptionMeans::Option(right) => {
                let value = value(&usage(line.command, right))?;
                // As in `lsof -i :80`.
                let value = if right == "--port" { value.trim_start_matches(':').to_owned() } else { value };
                pieces.extend([option(right), Piece::Option(value)]);
            }
            OptionMeans::Prefixed(right, prefix) => {
                let value = value(&usage(line.command, right))?;
                pieces.extend([option(right), Piece::Option(format!("{prefix}{value}"))]);
            }
            OptionMeans::Limit(name) => {
                let value = value(&usage(line.command, "--limit"))?;
                pieces.extend([option("--limit"), Piece::Option(format!("{name}={value}"))]);
            }
            OptionMeans::Words(right) => pieces.extend(right.iter().map(|word| option(word))),
            OptionMeans::JsonOr(advice) => match value("") {
                Ok(other) if other != "json" => return Err(advice.replace("{}", &shell::quoted(&other))),
                _ => pieces.push(option("--json")),
            },
            OptionMeans::TypeOrRoom => {
                let value = value(&usage(line.command, "--type"))?;
                match value.contains('/') {
                    true => pieces.extend([option("--type"), Piece::Option(value)]),
                    false => first.push(Piece::Positional(value)),
                }
            }
            OptionMeans::Port(right) => {
                let port = value(&usage(line.command, right))?;
                address.port = Some(port.trim_start_matches(':').to_owned());
                address.option = right;
            }
            OptionMeans::Host(right) => {
                address.host = Some(value(&usage(line.command, right))?);
                address.option = right;
            }
            OptionMeans::First => first.push(Piece::Positional(value(&example_of(line))?)),
            OptionMeans::Last(prefix) => {
                last.push(Piece::Positional(format!("{prefix}{}", value(&example_of(line))?)));
            }
            OptionMeans::Nothing(_) => {}
            OptionMeans::Example(example) => return Err(format!("use: {example}")),
            OptionMeans::Advice(text) => return Err(text.to_owned()),
        }
    }
    // In `tail general -c 5` the first place is taken, so -c is not the room. Where `fit` finds a place for more, only what
    // was typed before the option can have taken it.
    let is_taken = !first.is_empty() && count(&first) + count(&pieces) + count(&last) > places;
    if is_taken && (had_arguments || !line.is_under(&["send", "topic", "join"])) {
        return Err(its_options(line));
    }
    pieces.extend(address.pieces());
    Ok([first, pieces, last].concat())
}

/// The number of arguments that are not options.
fn count(pieces: &[Piece]) -> usize {
    pieces.iter().filter(|piece| matches!(piece, Piece::Positional(_))).count()
}

fn is_read_as_option(word: &str) -> String {
    format!("'{word}' begins with '-', so it is read as an option; -- ends the options")
}

fn its_options(line: &Line<'_>) -> String {
    format!("its options are {}; {} --help explains them", options_of(line.command), line.name())
}

fn no_option(line: &Line<'_>, option: &str) -> String {
    format!("'{}' has no option '{option}'", line.name())
}

fn example_of(line: &Line<'_>) -> String {
    first_example(line.command).unwrap_or_else(|| line.name())
}

/// Host and port that were typed as two options.
#[derive(Default)]
struct Address {
    host: Option<String>,
    port: Option<String>,
    option: &'static str,
}

impl Address {
    fn pieces(self) -> Vec<Piece> {
        let address = match (self.host, self.port) {
            (None, None) => return Vec::new(),
            (Some(host), None) if matches!(host_and_port(&host), Ok((_, Some(_)))) => host,
            (host, port) => {
                let host = host.unwrap_or_else(|| "127.0.0.1".to_owned());
                let port = port.unwrap_or_else(|| "65432".to_owned());
                with_port(&host, &port).unwrap_or_else(|| format!("{host}:{port}"))
            }
        };
        [self.option.to_owned(), address].map(Piece::Option).into()
    }
}

/// The option of the command that this word is.
fn known<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let find = |is_it: &dyn Fn(&Arg) -> bool| command.get_arguments().find(|arg| is_it(arg));
    match word.strip_prefix("--") {
        Some(name) => {
            let name = name.split('=').next().unwrap_or_default();
            find(&|arg| arg.get_long() == Some(name))
        }
        None => word.chars().nth(1).and_then(|short| find(&|arg| arg.get_short() == Some(short))),
    }
}

fn waits_for_value(arg: &Arg, word: &str) -> bool {
    let needs_value =
        arg.get_action().takes_values() && arg.get_num_args().is_none_or(|count| count.min_values() > 0);
    let has_value = if word.starts_with("--") { word.contains('=') } else { word.chars().count() > 2 };
    needs_value && !has_value
}

/// Not an option, but a text that begins with a hyphen. The value of an option can have spaces, as in `--text='hello, all'`.
fn is_text(word: &str) -> bool {
    let name = word.split('=').next().unwrap_or_default();
    name.contains(char::is_whitespace) || word[1..].starts_with(|c: char| c.is_ascii_digit())
}

/// `-test` in a query of `find`: without this word.
fn is_exclusion(line: &Line<'_>, word: &str) -> bool {
    line.is_under(&["find"]) && has_one_hyphen(word)
}

/// As `-test`, which is more than one letter of an option.
fn has_one_hyphen(word: &str) -> bool {
    !word.starts_with("--") && word.chars().count() > 2
}

/// A word that is no option, in a command with a text: part of the text, or the text if there is none yet.
fn is_word_of_text(line: &Line<'_>, word: &str, has_text: bool) -> bool {
    // `-as` is an option with a hyphen too few.
    let is_nearly_option = !word.starts_with("--") && known(line.command, &format!("-{word}")).is_some();
    line.is_under(&["send", "topic"]) && !is_nearly_option && (has_text || has_one_hyphen(word))
}

/// The option's name as typed, the value in the same word, and what it means.
fn read_option(line: &Line<'_>, word: &str) -> Option<(String, Option<String>, OptionMeans)> {
    let row = |name: &str| {
        let row =
            options::SYNONYMS.iter().find(|row| line.is_under(row.under) && row.options.contains(&name));
        row.map(|row| row.means)
    };
    // As in `tail -10`.
    if is_number(&word[1..]) {
        return row("-n").map(|means| (word.to_owned(), Some(word[1..].to_owned()), means));
    }
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (word, None),
    };
    let limit = || {
        let name = name.strip_prefix("--").filter(|_| line.is_under(SERVERS))?.replace('_', "-");
        Limits::defaults().find(|(known, _)| *known == name).map(|(known, _)| OptionMeans::Limit(known))
    };
    if let Some(means) = row(name).or_else(limit) {
        return Some((name.to_owned(), value, means));
    }
    // As in `-p7000`, or `-i:80`. Only a number: `-done` is a word, not the option `-d` with a value.
    let (short, rest) = word.split_at_checked(2)?;
    let means = row(short).filter(|_| is_number(rest.trim_start_matches(':')))?;
    Some((short.to_owned(), Some(rest.to_owned()), means))
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Commands with the settings of a server.
const SERVERS: &[&str] = &["serve", "config show"];

/// `-tlnp` as `ss` and `netstat` take it.
fn as_ss(word: &str) -> Option<Vec<String>> {
    let letters = word.strip_prefix('-').filter(|letters| !letters.is_empty())?;
    let mut options = Vec::new();
    for letter in letters.chars() {
        options.extend_from_slice(match letter {
            't' => &["--tcp"][..],
            'u' => &["--udp"],
            'x' => &["--unix"],
            'l' => &["--state", "listen"],
            // Numbers, processes, all: they are shown anyway.
            'n' | 'p' | 'a' | 'r' | 'W' => &[],
            _ => return None,
        });
    }
    Some(options.into_iter().map(str::to_owned).collect())
}

/// Finds a place for arguments that are too many: a text without quotes is one argument.
fn fit(line: &Line<'_>, pieces: Vec<Piece>, found: &mut Found) -> Vec<Piece> {
    let places = line.command.get_positionals().count();
    let is_list = line.command.get_positionals().any(|arg| matches!(arg.get_action(), ArgAction::Append));
    let positionals: Vec<usize> =
        (0..pieces.len()).filter(|at| matches!(pieces[*at], Piece::Positional(_))).collect();
    if is_list || positionals.len() <= places {
        return pieces;
    }
    let text = |at: &usize| match &pieces[*at] {
        Piece::Positional(text) | Piece::Option(text) => text.clone(),
    };
    let words: Vec<String> = positionals.iter().map(text).collect();
    let extra = &words[places..];
    let path = line.path();
    let (put, keep) = match &*path {
        "send" | "topic" => {
            found.note(|| {
                format!(
                    "the text is {} words without quotes; a text with spaces needs quotes",
                    extra.len() + 1
                )
            });
            (vec![Piece::Positional(words[places - 1..].join(" "))], places - 1)
        }
        "create" if extra == ["private"] || extra == ["public"] => {
            found.note(|| format!("'{}' takes one name; '{}' is an option", line.name(), extra[0]));
            let option =
                extra.iter().filter(|word| *word == "private").map(|word| Piece::Option(format!("--{word}")));
            (option.collect(), places)
        }
        "create" | "admin account add" => {
            found.note(|| format!("a name is one word, and here are {}", words.len()));
            (vec![Piece::Positional(words.join("-"))], 0)
        }
        "join" if extra.len() == 1 => {
            found.note(|| format!("'{}' takes one room; --who names an account", line.name()));
            (["--who", &extra[0]].map(|word| Piece::Option(word.to_owned())).into(), places)
        }
        "net capture" if port_in(&words).is_some() => {
            found.note(|| {
                format!(
                    "'{}' cannot read the filter '{}'; use --port and --interface",
                    line.name(),
                    words.join(" ")
                )
            });
            (
                ["--port", port_in(&words).unwrap_or_default()]
                    .map(|word| Piece::Option(word.to_owned()))
                    .into(),
                0,
            )
        }
        _ => {
            found.note(|| match places {
                0 => format!("'{}' takes no argument, and '{}' is one", line.name(), extra[0]),
                _ => format!("'{}' is one argument too many for '{}'", extra[0], line.name()),
            });
            (Vec::new(), places)
        }
    };
    // In the place of what was too many: the others keep their order.
    let mut put = Some(put);
    let mut fitted = Vec::new();
    for (at, piece) in pieces.into_iter().enumerate() {
        match positionals.iter().position(|place| *place == at) {
            Some(nth) if nth >= keep => fitted.extend(put.take().unwrap_or_default()),
            _ => fitted.push(piece),
        }
    }
    fitted
}

/// The number in a filter of tcpdump, as `tcp port 80`.
fn port_in(words: &[String]) -> Option<&str> {
    let at = words.iter().position(|word| word == "port")?;
    words.get(at + 1).map(String::as_str)
}

/// The corrected command line if vang accepts it; otherwise an example.
fn shown(tree: &Command, line: &Line<'_>, pieces: &[Piece], example: Option<&str>) -> String {
    let is_hyphenated = |piece: &Piece| matches!(piece, Piece::Positional(text) if is_option(text));
    let (behind, before): (Vec<&Piece>, Vec<&Piece>) = match pieces.iter().any(is_hyphenated) {
        true => pieces.iter().partition(|piece| matches!(piece, Piece::Positional(_))),
        false => (Vec::new(), pieces.iter().collect()),
    };
    let text = |piece: &&Piece| match piece {
        Piece::Positional(text) | Piece::Option(text) => text.clone(),
    };
    let mut words: Vec<String> = [&["vang".to_owned()], &line.path[..]].concat();
    words.extend(before.iter().map(text));
    if !behind.is_empty() {
        words.push("--".to_owned());
        words.extend(behind.iter().map(text));
    }
    // The name of no room begins with a hyphen: in `send -done` the room is missing.
    let first = pieces.iter().find(|piece| matches!(piece, Piece::Positional(_)));
    let has_room = !line.is_under(options::ROOM) || first.is_none_or(|piece| !is_hyphenated(piece));
    match has_room && is_accepted(tree, &words) {
        true => format!("use: {}", shell::line(&words)),
        false => format!("use: {}", example.map_or_else(|| example_of(line), str::to_owned)),
    }
}

/// Would vang run this?
pub(super) fn is_accepted(tree: &Command, words: &[String]) -> bool {
    let words = host_port::join(tree, words.iter().map(OsString::from));
    match tree.clone().try_get_matches_from(words) {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion),
    }
}
