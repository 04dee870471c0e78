//! What the help of a command says, in parts.

use clap::{Arg, Command};

/// The first example of a command's help, without its comment.
pub(super) fn first_example(command: &Command) -> Option<String> {
    let examples = command.get_before_long_help().or_else(|| command.get_before_help())?.to_string();
    let line = examples.lines().nth(1)?.trim();
    Some(line.split("  ").next().unwrap_or(line).to_owned())
}

/// The first example that has this option.
pub(super) fn example_with(command: &Command, option: &str) -> Option<String> {
    let examples = command.get_before_long_help().or_else(|| command.get_before_help())?.to_string();
    let line = examples.lines().map(str::trim).find(|line| line.split(' ').any(|word| word == option))?;
    Some(line.split("  ").next().unwrap_or(line).to_owned())
}

/// The options of a command, as `--json, --as NAME`.
pub(super) fn options_of(command: &Command) -> String {
    let shown = command.get_arguments().filter(|arg| arg.get_long().is_some() && !arg.is_hide_set());
    shown.map(spelled).collect::<Vec<_>>().join(", ")
}

/// An option as it is typed, as `--as NAME`.
pub(super) fn usage(command: &Command, option: &str) -> String {
    let arg =
        command.get_arguments().find(|arg| arg.get_long().is_some_and(|long| option == format!("--{long}")));
    arg.map_or_else(|| option.to_owned(), spelled)
}

fn spelled(arg: &Arg) -> String {
    let name = arg.get_long().unwrap_or_default();
    match arg.get_value_names().filter(|_| arg.get_action().takes_values()).and_then(<[_]>::first) {
        Some(value) => format!("--{name} {value}"),
        None => format!("--{name}"),
    }
}
