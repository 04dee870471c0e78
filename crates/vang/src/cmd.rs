//! The tree of commands. Each has its own file, with its arguments (`clap`) and its `run`.
//!
//! Every help text begins with examples.

mod serve; // vang serve
mod config; // vang config show
mod send; // vang send
mod tail; // vang tail
mod get; // vang get
mod not_shown; // why a message is not shown, in words
mod find; // vang find
mod rooms; // vang rooms, create, topic
mod members; // vang join, leave
mod sign_in; // vang login, logout, whoami
mod accept; // vang accept
mod invite; // vang invite
mod password; // vang passwd
mod sessions; // vang sessions
mod token; // vang token
mod request; // vang request: a client for servers of the tutorial's protocol
mod bench; // vang bench
mod status; // vang status
mod admin; // vang admin
mod completions; // vang completions
mod man; // vang man

use clap::{ArgMatches, CommandFactory as _, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  vang serve                       run a server on this machine
  vang tail general                show the messages of the room `general`
  vang send general 'hello, all'   post a message there, and print its address, as general#12";

const AFTER: &str = "\
Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 124 timed out. With --json, what stderr says of a refusal begins with the \
server's code for it (docs/PROTOCOL.md, section 4).";

/// Chat and messaging over plain sockets
#[derive(Parser, Debug)]
#[command(name = "vang", version, before_help = EXAMPLES, after_help = AFTER, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Serve(serve::ServeArgs),
    Config(config::ConfigArgs),
    Send(send::SendArgs),
    Tail(tail::TailArgs),
    Get(get::GetArgs),
    Find(find::FindArgs),
    Rooms(rooms::RoomsArgs),
    Create(rooms::CreateArgs),
    Topic(rooms::TopicArgs),
    Join(members::JoinArgs),
    Leave(members::LeaveArgs),
    Accept(accept::AcceptArgs),
    Login(sign_in::LoginArgs),
    Logout(sign_in::LogoutArgs),
    Whoami(sign_in::WhoamiArgs),
    Passwd(password::PasswdArgs),
    Sessions(sessions::SessionsArgs),
    Token(token::TokenArgs),
    Invite(invite::InviteArgs),
    Request(request::RequestArgs),
    Bench(bench::BenchArgs),
    Admin(admin::AdminArgs),
    Status(status::StatusArgs),
    Net(crate::net::NetArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Runs a command. `typed` has the same as clap read it: a server's settings need to know which were typed.
pub(crate) fn run(command: Command, typed: &ArgMatches) -> anyhow::Result<()> {
    let subcommand = |typed: &ArgMatches| typed.subcommand().map(|(_, of_it)| of_it.clone());
    match command {
        Command::Serve(_) => subcommand(typed).map_or(Ok(()), |typed| serve::run(&typed)),
        Command::Config(_) => {
            let show = subcommand(typed).as_ref().and_then(subcommand);
            show.map_or(Ok(()), |typed| config::show(&typed))
        }
        Command::Send(args) => send::run(args),
        Command::Tail(args) => tail::run(args),
        Command::Get(args) => get::run(args),
        Command::Find(args) => find::run(args),
        Command::Rooms(args) => rooms::list(&args),
        Command::Create(args) => rooms::create(&args),
        Command::Topic(args) => rooms::set_topic(&args),
        Command::Join(args) => members::join(&args),
        Command::Leave(args) => members::leave(&args),
        Command::Accept(args) => accept::run(&args),
        Command::Login(args) => sign_in::login(&args),
        Command::Logout(args) => sign_in::logout(&args),
        Command::Whoami(args) => sign_in::whoami(&args),
        Command::Passwd(args) => password::run(&args),
        Command::Sessions(args) => sessions::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Invite(args) => invite::run(&args),
        Command::Request(args) => request::run(&args),
        Command::Bench(args) => bench::run(args),
        Command::Admin(args) => admin::run(args),
        Command::Status(args) => status::run(args),
        Command::Net(args) => crate::net::run(args),
        Command::Completions(args) => completions::run(&args, Args::command()),
        Command::Man(args) => man::run(&args, Args::command()),
    }
}

#[cfg(test)]
mod tests {
    use vang_proto::vang::ACTIONS;

    use super::*;

    #[test]
    fn every_help_begins_with_examples() {
        fn check(command: &mut clap::Command) {
            let help = command.render_long_help().to_string();
            assert!(help.trim_start().starts_with("Examples:\n  vang "), "{help}");
            command.get_subcommands_mut().filter(|command| command.get_name() != "help").for_each(check);
        }
        let mut command = Args::command();
        command.build();
        command.debug_assert();
        check(&mut Args::command());
    }

    #[test]
    fn a_command_that_asks_an_action_has_the_words_of_the_table() {
        let tree = Args::command();
        let mut found = Vec::new();
        for info in ACTIONS {
            // The operator's commands are below `admin`; shells know some names already; others are in groups. Every
            // other command has the name of its action.
            let path = match info.name {
                "account-add" => vec!["admin", "account", "add"],
                "account-role" => vec!["admin", "account", "role"],
                "account-disable" => vec!["admin", "account", "disable"],
                "account-delete" => vec!["admin", "account", "delete"],
                "account-enable" => vec!["admin", "account", "enable"],
                "sign-in" => vec!["login"],
                "sign-out" => vec!["logout"],
                "password" => vec!["passwd"],
                "token-create" => vec!["token", "create"],
                name => vec![name],
            };
            let command = path.iter().try_fold(&tree, |command, name| command.find_subcommand(name));
            let Some(command) = command else { continue };
            assert_eq!(command.get_about().unwrap().to_string(), info.about);
            assert!(command.get_long_about().is_none(), "{}", info.name);
            found.push(info.name);
        }
        let without: Vec<&str> =
            ACTIONS.iter().map(|info| info.name).filter(|name| !found.contains(name)).collect();
        let expected =
            ["hello", "ping", "follow", "history", "who", "invitations", "invitation-end", "session-end"];
        assert_eq!(without, expected, "every other action has a command in its own words");
    }

    #[test]
    fn only_a_request_to_a_chat_server_is_limited_to_an_hour() {
        let parsed = |line: &str| Args::try_parse_from(line.split(' '));
        for line in [
            "vang net capture --timeout 2h",
            "vang net fuzz localhost:7 --timeout 8h",
            "vang net tap --listen localhost:7 --to localhost:8 --delay 2h",
            "vang net tap --listen localhost:7 --to localhost:8 --silence 2h",
            "vang net echo serve --work 10h",
            "vang net echo serve --idle 3d",
            "vang net sockets --watch 2h",
            "vang status --watch 2h",
            "vang bench ping --duration 2h",
            "vang request localhost:7 search ring --timeout 2h",
        ] {
            assert!(parsed(line).is_ok(), "{line}");
            let text =
                parsed(&format!("{} 366d", &line[..line.rfind(' ').unwrap()])).unwrap_err().to_string();
            assert!(text.contains("a time is at most 365d; write a shorter one"), "{line}: {text}");
        }
        for line in [
            "vang send general hi --timeout 2h",
            "vang tail general --timeout 1d",
            "vang bench ping --timeout 2h",
        ] {
            let text = parsed(line).unwrap_err().to_string();
            assert!(
                text.contains("this time is at most 1h: after that a server can forget the id"),
                "{line}: {text}"
            );
        }
    }

    #[test]
    fn a_wrong_server_is_a_usage_error_that_says_what_is_allowed() {
        let error = Args::try_parse_from(["vang", "rooms", "--server", "x:99999"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("port 99999 is out of range; ports are 1 to 65535"), "{error}");
    }
}
