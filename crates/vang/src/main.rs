//! vang: one binary, one file a subcommand. Parses, calls, prints; what it does is in the other crates.

#![allow(rustdoc::broken_intra_doc_links)] // doc comments are the help texts, and [IPV6] is no link in those

mod args; // what can be typed
mod say; // what is answered: stdout, stderr, exit codes
mod which; // which server a command talks to
mod config; // where settings come from; vang config show
mod notify; // a word to the service manager
mod serve; // vang serve
mod admin; // vang admin
mod status; // vang status
mod send; // vang send
mod tail; // vang tail
mod find; // vang find
mod bench; // vang bench
mod net; // vang net: the socket workbench
mod request; // vang rooms, create, join, leave, request: one question, one answer

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::args::{Args, Command};

/// What one thread of the server allocates for a message another frees, which costs glibc's allocator a
/// lock each time: with this one a durable send takes a fifth less CPU time (docs/PERFORMANCE.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    vang_client::trust::on_first_meeting(|met| {
        say::note(&format!(
            "met {} for the first time; its key is {} (remembered in {})",
            met.place,
            met.key,
            met.file.display()
        ));
    });
    let typed = Args::command().get_matches();
    // What clap has let through is what the tree of commands describes.
    let args = Args::from_arg_matches(&typed).unwrap_or_else(|error| error.exit());
    let outcome = match args.command {
        Command::Serve(_) => typed.subcommand().map_or(Ok(()), |(_, typed)| serve::run(typed)),
        Command::Config(_) => {
            let show = typed.subcommand().and_then(|(_, config)| config.subcommand());
            show.map_or(Ok(()), |(_, typed)| config::show(typed))
        }
        Command::Send(args) => send::run(args),
        Command::Tail(args) => tail::run(args),
        Command::Find(args) => find::run(args),
        Command::Rooms(args) => request::rooms(&args),
        Command::Create(args) => request::create(&args),
        Command::Join(args) => request::join(&args),
        Command::Leave(args) => request::leave(&args),
        Command::Request(args) => request::guide(&args),
        Command::Bench(args) => bench::run(args),
        Command::Admin(args) => admin::run(args),
        Command::Status(args) => status::run(args),
        Command::Net(args) => net::run(args),
    };
    say::exit(outcome)
}
