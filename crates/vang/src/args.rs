//! What can be typed: the tree of commands and their flags. Flags over environment over default.
//!
//! Every help begins with examples: who reads it wants to type something. The arguments of `serve` and
//! `admin` stand beside what they do.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use vang_client::ServerAddr;

use crate::admin::AdminArgs;
use crate::bench::BenchArgs;
use crate::net::NetArgs;
use crate::say::Failure;
use crate::serve::ServeArgs;
use crate::status::StatusArgs;
use crate::which;

const EXAMPLES: &str = "\
Examples:
  vang serve                       run a server on this machine
  vang tail general                show what is said in the room `general`
  vang send general 'hello, all'   say something there; prints its address, as general#12";

const AFTER: &str = "\
Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 124 timed out.";

/// Chat and messaging over plain sockets
#[derive(Parser, Debug)]
#[command(name = "vang", version, before_help = EXAMPLES, after_help = AFTER, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Serve(ServeArgs),
    Config(ConfigArgs),
    Send(SendArgs),
    Tail(TailArgs),
    Find(FindArgs),
    Rooms(RoomsArgs),
    Create(CreateArgs),
    Join(JoinArgs),
    Leave(LeaveArgs),
    Request(RequestArgs),
    Bench(BenchArgs),
    Admin(AdminArgs),
    Status(StatusArgs),
    Net(NetArgs),
}

const CONFIG_EXAMPLES: &str = "\
Examples:
  vang config show                          what a server started without flags would use
  vang config show --config vang.toml       the same with a file
  vang config show --limit idle=5m > vang.toml";

/// Show the settings of a server and where each comes from
#[derive(ClapArgs, Debug)]
#[command(before_help = CONFIG_EXAMPLES)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ConfigCommand {
    /// Every setting as a file would say it, and its origin: flag, environment, file or default
    #[command(before_help = CONFIG_EXAMPLES)]
    Show(Box<ServeArgs>),
}

/// Which server, as whom, for how long: of every client command.
#[derive(ClapArgs, Debug, Clone)]
pub(crate) struct ClientArgs {
    /// The server: vang://HOST:PORT, HOST:PORT, HOST, [IPV6]:PORT or unix:PATH
    ///
    /// Looked for in this order: --server, --data, $VANG_SERVER, $VANG_DATA, the default data folder if its server runs,
    /// 127.0.0.1:65432.
    #[arg(long, value_name = "URL", value_parser = ServerAddr::parse)]
    pub(crate) server: Option<ServerAddr>,

    /// The server of this data folder, by its own socket: there an account needs its name only
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Who speaks [default: $USER, else anon]
    #[arg(long = "as", value_name = "NAME", env = "VANG_AS")]
    pub(crate) name: Option<String>,

    /// When to give up: 200ms, 5s, 2m, at most 1h
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    pub(crate) timeout: Duration,
}

const SEND_EXAMPLES: &str = "\
Examples:
  vang send general 'hello, all'
  uptime | vang send general --as monitor
  vang send general --file photo.png --type image/png";

const SEND_AFTER: &str = "\
Done means durable: when the address is printed, the message survives a crash of the server. When the time \
is over and nobody knows whether it was posted, the exit code is 124 and the id to repeat it with is printed.";

/// Say something in a room; prints its address
#[derive(ClapArgs, Debug)]
#[command(before_help = SEND_EXAMPLES, after_help = SEND_AFTER)]
pub(crate) struct SendArgs {
    /// The room
    pub(crate) room: String,

    /// What to say; without it, what stdin gives, but for the last line's end
    #[arg(conflicts_with = "file")]
    pub(crate) text: Option<String>,

    /// Sends this file's bytes; - is stdin, to the byte
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,

    /// What the content is [default: text/plain if it is UTF-8, else application/octet-stream]
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) content_type: Option<String>,

    /// The same for every repetition of this message: it is posted once [default: a random one]
    #[arg(long, value_name = "NONCE")]
    pub(crate) id: Option<String>,

    #[command(flatten)]
    pub(crate) reach: ClientArgs,
}

const TAIL_EXAMPLES: &str = "\
Examples:
  vang tail general                          what is said from now on
  vang tail general --since 0 --no-follow    everything until now
  vang tail general --since 12 --json        from message 13 on, an object a line";

const TAIL_AFTER: &str = "\
Connects again by itself, for ever, and shows each message once. Times are UTC. Messages that you may not see \
are shown as holes. Ctrl-C ends it, as usual with the shell's exit code 130.";

/// Show what is said in a room
#[derive(ClapArgs, Debug)]
#[command(before_help = TAIL_EXAMPLES, after_help = TAIL_AFTER)]
pub(crate) struct TailArgs {
    /// The room
    pub(crate) room: String,

    /// Begin after message N; 0 is the beginning [default: only new messages]
    #[arg(long, value_name = "N")]
    pub(crate) since: Option<u64>,

    /// Stop at the room's end
    #[arg(long)]
    pub(crate) no_follow: bool,

    /// One object a line: the header's keys, and `text`, or `base64` for what is no text
    #[arg(long)]
    pub(crate) json: bool,

    /// Show also who joined and left
    #[arg(long)]
    pub(crate) events: bool,

    #[command(flatten)]
    pub(crate) reach: ClientArgs,
}

const FIND_EXAMPLES: &str = "\
Examples:
  vang find release notes                  messages with both words, in any room that you may see
  vang find '\"release notes\" in:lab'       one word behind the other, in the room `lab`
  vang find 'deploy -test from:ada after:2026-05-01'
  vang find 東京 --json                    an object a line";

const FIND_AFTER: &str = "\
Accents and case do not matter: cho finds Chó, strasse finds Straße. WORD* finds words that begin so, -WORD \
leaves out messages that have it. from:NAME, in:ROOM; after:DAY (from its beginning), before:DAY, days in UTC, or \
moments as 2026-05-01T14:00:00Z. Newest first, with the messages before and after. Exit code 1: nothing was found.";

/// Find what was said, in every room that you may see
#[derive(ClapArgs, Debug)]
#[command(before_help = FIND_EXAMPLES, after_help = FIND_AFTER)]
pub(crate) struct FindArgs {
    /// What to look for: words, "phrases", from:NAME, in:ROOM, after:DATE, before:DATE
    #[arg(required = true)]
    pub(crate) query: Vec<String>,

    /// Hits at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: u64,

    /// Without the messages before and after
    #[arg(long)]
    pub(crate) no_context: bool,

    /// One object a line, with `text` and `marks` (what matched, counted in characters)
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) reach: ClientArgs,
}

const ROOMS_EXAMPLES: &str = "\
Examples:
  vang rooms
  vang rooms --as ada --json";

/// List the rooms that you may see
#[derive(ClapArgs, Debug)]
#[command(before_help = ROOMS_EXAMPLES)]
pub(crate) struct RoomsArgs {
    /// One object a line: `room`, `access`, `n` (its newest message), `member`
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) reach: ClientArgs,
}

const CREATE_EXAMPLES: &str = "\
Examples:
  vang create garden --as ada
  vang create cellar --private --as ada --data ./chat";

/// Create a room; its creator is its first member
#[derive(ClapArgs, Debug)]
#[command(before_help = CREATE_EXAMPLES)]
pub(crate) struct CreateArgs {
    /// Its name
    pub(crate) room: String,

    /// Only its members may know of it
    #[arg(long)]
    pub(crate) private: bool,

    #[command(flatten)]
    pub(crate) reach: ClientArgs,
}

const JOIN_EXAMPLES: &str = "\
Examples:
  vang join garden --as ada
  vang join cellar --who bob --as ada";

/// Join a room, or bring somebody into it
#[derive(ClapArgs, Debug)]
#[command(before_help = JOIN_EXAMPLES)]
pub(crate) struct JoinArgs {
    /// The room
    pub(crate) room: String,

    /// Who joins [default: who speaks]
    #[arg(long, value_name = "NAME")]
    pub(crate) who: Option<String>,

    #[command(flatten)]
    pub(crate) reach: ClientArgs,
}

const LEAVE_EXAMPLES: &str = "\
Examples:
  vang leave garden --as ada
  vang leave cellar --as bob --server unix:/run/vang.sock";

/// Leave a room
#[derive(ClapArgs, Debug)]
#[command(before_help = LEAVE_EXAMPLES)]
pub(crate) struct LeaveArgs {
    /// The room
    pub(crate) room: String,

    #[command(flatten)]
    pub(crate) reach: ClientArgs,
}

const REQUEST_EXAMPLES: &str = "\
Examples:
  vang request 127.0.0.1:65432 search morpheus
  vang request 127.0.0.1:65432 double hello";

/// Ask any server of the guide's protocol; prints its answer
#[derive(ClapArgs, Debug)]
#[command(before_help = REQUEST_EXAMPLES)]
pub(crate) struct RequestArgs {
    /// The server
    #[arg(value_name = "HOST:PORT", value_parser = ServerAddr::parse)]
    pub(crate) place: ServerAddr,

    /// `search` is asked in JSON, any other action in bytes
    pub(crate) action: String,

    /// What is asked
    #[arg(allow_hyphen_values = true)]
    pub(crate) value: String,

    /// When to give up: 200ms, 5s, 2m, at most 1h
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    pub(crate) timeout: Duration,
}

/// `200ms`, `5s`, `2m`, `1h`; a plain number is seconds.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    if digits == 0 || unit_ms == 0 {
        return Err("not a time; write a whole number and ms, s, m or h, as in 200ms, 5s, 2m".to_owned());
    }
    // A number of more than 20 digits is too long anyway.
    let ms = number.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(unit_ms);
    match ms {
        0 => Err("a time must be longer than nothing".to_owned()),
        1..=3_600_000 => Ok(Duration::from_millis(ms)),
        _ => Err("a time is at most 1h: after that a server may have forgotten a message's id".to_owned()),
    }
}

const _: () = assert!(vang_client::send::SEND_MAX.as_millis() == 3_600_000);

impl ClientArgs {
    /// The server that is meant.
    pub(crate) fn server(&self) -> Result<ServerAddr, Failure> {
        which::server(self.server.as_ref(), self.data.as_deref())
    }

    /// Who speaks, always somebody: an account's name would be that account.
    pub(crate) fn speaker(&self) -> String {
        match &self.name {
            Some(name) if !name.is_empty() => name.clone(),
            _ => name_from(std::env::var("USER").ok()),
        }
    }
}

/// Who is logged in, as a name that a server takes.
fn name_from(user: Option<String>) -> String {
    let user = user.unwrap_or_default();
    let allowed = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = user.chars().map(allowed).collect();
    let name = name.trim_start_matches(|c: char| !c.is_alphanumeric());
    let end = (0..=name.len().min(NAME_BYTES_MAX)).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    match &name[..end] {
        "" => "anon".to_owned(),
        name => name.to_owned(),
    }
}

/// Longest name, as `docs/PROTOCOL.md` section 3 has it.
const NAME_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_is_sound_and_every_help_begins_with_examples() {
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
    fn times_are_read_and_wrong_ones_refused() {
        let ms = |text: &str| parse_time(text).map(|time| time.as_millis());
        assert_eq!(ms("200ms"), Ok(200));
        assert_eq!(ms("5s"), Ok(5_000));
        assert_eq!(ms("5"), Ok(5_000));
        assert_eq!(ms("2m"), Ok(120_000));
        assert_eq!(ms("1h"), Ok(3_600_000));
        for wrong in ["", "s", "5 s", "-5s", "1.5s", "5d", "0", "2h", "99999999999999999999999"] {
            assert!(ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_users_name_becomes_one_that_a_server_takes() {
        let name = |user: &str| name_from(Some(user.to_owned()));
        assert_eq!(name("ada"), "ada");
        assert_eq!(name("ada lovelace@x"), "ada-lovelace-x");
        assert_eq!(name("_www"), "www");
        assert_eq!(name("\u{1b}[31m"), "31m");
        assert_eq!(name("@"), "anon");
        assert_eq!(name_from(None), "anon");
        assert_eq!(name(&"\u{1ea3}".repeat(30)), "\u{1ea3}".repeat(21));
    }

    #[test]
    fn a_wrong_server_is_a_usage_error_that_says_what_is_allowed() {
        let error = Args::try_parse_from(["vang", "rooms", "--server", "x:99999"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("port 99999 is out of range; ports are 1 to 65535"), "{error}");
    }
}
