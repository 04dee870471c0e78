//! `HOST PORT`, as the tutorial's programs take an address, is understood wherever a command takes `HOST:PORT`:
//!
//! ```text
//! vang request 127.0.0.1 65432 search ring    ─▶  vang request 127.0.0.1:65432 search ring
//! vang net echo send ::1 65432 2              ─▶  vang net echo send [::1]:65432 2
//! ```
//!
//! The two words become one before clap reads them. Which arguments are addresses is in their value names, which end in
//! `:PORT`; so the help of a command and this file never differ.
//!
//! After `--server URL` a number can be an argument of its own, as a room's name or a message's text. There it is a port
//! only if the command has no place for it: what is complete without a port keeps its meaning, also in a script whose
//! text happens to be a number.
//!
//! ```text
//! vang tail general --server localhost 65432      ─▶  vang tail general --server localhost:65432
//! vang send general hi --server localhost 65432   ─▶  vang send general hi --server localhost:65432
//! vang send general --server localhost 65432          unchanged: 65432 is the text
//! ```
//!
//! The same is done after `HOST`, as in `vang net ping localhost 80`, so that the error is about a port.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};
use vang_proto::address::with_port;

/// What a word of the command line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word<'a> {
    /// The value of this option or positional argument; `None`: one too many.
    Value(Option<&'a Arg>),
    /// An option, a subcommand, or `--`.
    Other,
}

/// Joins host and port where they are two words. Nothing else changes.
pub(crate) fn join(tree: &Command, typed: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut typed: Vec<OsString> = typed.collect();
    let (command, words) = read(tree, &typed);
    let is_positional = |word: &&Word<'_>| match word {
        Word::Value(arg) => arg.is_none_or(Arg::is_positional),
        Word::Other => false,
    };
    let is_list = |arg: &Arg| matches!(arg.get_action(), ArgAction::Append);
    let too_many = words.iter().filter(is_positional).count() > command.get_positionals().count()
        && !command.get_positionals().any(is_list);
    for at in (1..words.len().saturating_sub(1)).rev() {
        let (Word::Value(Some(arg)), Word::Value(next)) = (words[at], words[at + 1]) else { continue };
        let (Some(host), Some(port)) = (typed[at].to_str(), typed[at + 1].to_str()) else { continue };
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let is_port = match Reading::of(arg) {
            // Without a number it is an address with a wrong port if the command has no place for the word.
            Reading::Address => is_number || next.is_none() || arg.is_positional() && too_many,
            Reading::Host => is_number && too_many,
            Reading::Other => false,
        };
        if is_port && let Some(joined) = with_port(host, port) {
            typed[at] = joined.into();
            typed.remove(at + 1);
        }
    }
    typed
}

/// How a number after the value of an argument is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// As its port.
    Address,
    /// As its port if the command has no other place for it.
    Host,
    Other,
}

impl Reading {
    fn of(arg: &Arg) -> Reading {
        let names = arg.get_value_names().unwrap_or_default();
        let has = |is_it: fn(&str) -> bool| names.iter().any(|name| is_it(name));
        match () {
            () if has(|name| name.ends_with(":PORT")) => Reading::Address,
            () if has(|name| name == "URL" || name == "HOST") => Reading::Host,
            () => Reading::Other,
        }
    }
}

/// The command that is meant, and what each word is.
fn read<'a>(tree: &'a Command, typed: &[OsString]) -> (&'a Command, Vec<Word<'a>>) {
    let mut command = tree;
    let mut positionals = command.get_positionals();
    let mut words = vec![Word::Other];
    let mut of_option = None;
    let mut only_values = false;
    for word in typed.iter().skip(1) {
        let text = word.to_str().unwrap_or_default();
        if let Some(option) = of_option.take() {
            words.push(Word::Value(Some(option)));
        } else if !only_values && text.len() > 1 && text.starts_with('-') {
            only_values = text == "--";
            of_option = waiting_option(command, text);
            words.push(Word::Other);
        } else if let Some(inner) = command.find_subcommand(text).filter(|_| !only_values) {
            command = inner;
            positionals = command.get_positionals();
            words.push(Word::Other);
        } else {
            words.push(Word::Value(positionals.next()));
        }
    }
    (command, words)
}

/// The option of this word, if its value is the next word.
fn waiting_option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let needs_value = |arg: &Arg| {
        arg.get_action().takes_values() && arg.get_num_args().is_none_or(|count| count.min_values() > 0)
    };
    let find = |is_it: &dyn Fn(&Arg) -> bool| command.get_arguments().find(|arg| is_it(arg));
    if let Some(name) = word.strip_prefix("--") {
        return find(&|arg| arg.get_long() == Some(name)).filter(|arg| needs_value(arg));
    }
    // The first short option of several that needs a value has the rest as its value.
    let mut shorts = word.chars().skip(1);
    let taken = shorts
        .by_ref()
        .find_map(|short| find(&|arg| arg.get_short() == Some(short)).filter(|arg| needs_value(arg)));
    taken.filter(|_| shorts.next().is_none())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// The words of a command line after joining.
    fn joined(line: &str) -> String {
        let words = line.split(' ').map(|word| OsString::from(word.trim_matches('\'')));
        let words = join(&crate::cmd::Args::command(), words);
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn host_and_port_are_understood_wherever_an_address_is() {
        for (typed, means) in [
            ("vang request localhost 65432 search ring", "vang request localhost:65432 search ring"),
            ("vang request ::1 65432 search 5", "vang request [::1]:65432 search 5"),
            ("vang net doctor fe80::1%lo 80 --wait 5s", "vang net doctor [fe80::1%lo]:80 --wait 5s"),
            ("vang net doctor --wait 5s [::1] 80", "vang net doctor --wait 5s [::1]:80"),
            ("vang net echo send 127.0.0.1 65432", "vang net echo send 127.0.0.1:65432"),
            ("vang net echo send 127.0.0.1 65432 2", "vang net echo send 127.0.0.1:65432 2"),
            ("vang net echo send -c 5 localhost 7", "vang net echo send -c 5 localhost:7"),
            ("vang net echo send -c5 localhost 7", "vang net echo send -c5 localhost:7"),
            ("vang net echo serve '' 65432", "vang net echo serve :65432"),
            (
                "vang net echo serve --listen ::1 65432 --once",
                "vang net echo serve --listen [::1]:65432 --once",
            ),
            ("vang serve 127.0.0.1 65432", "vang serve 127.0.0.1:65432"),
            ("vang serve --listen :: 1 --listen :: 2", "vang serve --listen [::]:1 --listen [::]:2"),
            ("vang net tap --listen a 1 --to b 2", "vang net tap --listen a:1 --to b:2"),
            ("vang net stall send -- localhost 80", "vang net stall send -- localhost:80"),
            ("vang net talk localhost 80", "vang net talk localhost:80"),
            // A wrong port, for which the command has no other use: the error is the port's.
            ("vang net doctor localhost http", "vang net doctor localhost:http"),
            ("vang net doctor localhost +80", "vang net doctor localhost:+80"),
            ("vang request localhost http search ring", "vang request localhost:http search ring"),
            ("vang net doctor 127.1 80", "vang net doctor 127.1:80"),
            // No other argument can be this number.
            ("vang tail general --server ::1 24012", "vang tail general --server [::1]:24012"),
            ("vang tail --server localhost 24012 general", "vang tail --server localhost:24012 general"),
            (
                "vang send general hi --server localhost 7 --as ada",
                "vang send general hi --server localhost:7 --as ada",
            ),
            ("vang send --server localhost 7 general 5", "vang send --server localhost:7 general 5"),
            ("vang rooms --server localhost 7", "vang rooms --server localhost:7"),
            ("vang net ping localhost 80", "vang net ping localhost:80"),
        ] {
            assert_eq!(joined(typed), means);
        }
        for unchanged in [
            "vang",
            "vang request localhost search ring",
            "vang request localhost:65432 search 5",
            "vang net echo send localhost:65432 2",
            "vang net echo send unix:/run/x 2",
            "vang net echo send localhost --connections 2",
            "vang net echo serve --listen localhost --backlog 5",
            "vang net resolve localhost 65432",
            "vang send general 5",
            // The command line is complete: the room 5, the text 5, the word 5 of the query.
            "vang send --server localhost 5 hello",
            "vang send general --server localhost 5",
            "vang find --server localhost 5 ring",
            "vang find ring --server localhost 5",
            "vang tail --server localhost 5",
            // Not a number, or the address has a port.
            "vang tail general --server localhost http",
            "vang tail general --server localhost:7 5",
            "vang tail general --server vang://localhost 5",
            "vang net ping localhost http",
            "vang net sockets --watch --port 80",
        ] {
            assert_eq!(joined(unchanged), unchanged);
        }
    }
}
