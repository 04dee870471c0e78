//! vang: one binary. It reads the command line, calls the other crates, and prints the result.

#![allow(rustdoc::broken_intra_doc_links)] // doc comments are the help texts, and [IPV6] is no link in those

mod cmd; // the tree of commands; one file for each, with its arguments and its run
mod net; // vang net: the socket workbench
mod secret_input; // passwords and tokens: from a terminal, stdin, a variable or a file
mod token_store; // what vang login stored
mod identity; // who a command speaks as
mod args; // arguments that several commands share
mod mistakes; // wrong command lines: what to type instead
mod host_port; // HOST PORT in two words, wherever HOST:PORT is allowed
mod settings; // a server's settings: flags, environment, file, defaults
mod shell; // words as a shell takes them
mod running; // the servers that run on this machine
mod which; // which server or data folder a command means
mod say; // results on stdout, everything else on stderr, exit codes
mod signals; // a runtime for signals, and which signals we handle
mod notify; // systemd's sd_notify
mod clock; // times as people read them, in their zone or in UTC
mod color; // whether output is coloured, and in which colours

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};

/// The server often frees on one thread what another has allocated. glibc's allocator takes a lock for that;
/// with this one a durable send costs a fifth less CPU time (docs/PERFORMANCE.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    vang_client::trust::on_first_use(|server| {
        say::note(&format!(
            "first connection to {}: remembered its key {} in {}",
            server.place,
            server.key,
            server.file.display()
        ));
    });
    let tree = cmd::Args::command();
    let words = host_port::join(&tree, std::env::args_os());
    let typed = match tree.clone().try_get_matches_from(&words) {
        Ok(typed) => typed,
        // A help, or the version.
        Err(error) if !error.use_stderr() || error.kind() == IS_HELP => error.exit(),
        Err(error) => return say::exit(Err(mistakes::explain(&tree, &words, &error).into()), false),
    };
    // clap has checked the same tree already.
    let args = cmd::Args::from_arg_matches(&typed).unwrap_or_else(|error| error.exit());
    let is_json = is_json(&typed);
    say::exit(cmd::run(args.command, &typed), is_json)
}

/// The help of a command that needs a subcommand. It goes to stderr.
const IS_HELP: ErrorKind = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;

/// Was --json typed? Then a program reads what the command prints.
fn is_json(typed: &ArgMatches) -> bool {
    match typed.subcommand() {
        Some((_, inner)) => is_json(inner),
        None => typed.try_get_one::<bool>("json").ok().flatten().copied().unwrap_or_default(),
    }
}
