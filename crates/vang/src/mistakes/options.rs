//! Options of other programs for what an option of vang does.

/// An option that somebody types, below some commands.
pub(super) struct Synonym {
    /// The commands; what is below one of them counts, too.
    pub(super) under: &'static [&'static str],
    pub(super) options: &'static [&'static str],
    pub(super) means: Means,
}

/// What such an option means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// This option, with the same value.
    Option(&'static str),
    /// This option, with this in front of the value.
    Prefixed(&'static str, &'static str),
    /// The limit of this name. Every limit is one, so no row has it.
    Limit(&'static str),
    /// These words; the option has no value.
    Words(&'static [&'static str]),
    /// `--json` if the value is `json`, or missing. Else what to do instead; `{}` stands for the value.
    JsonOr(&'static str),
    /// A port of the address that this option takes.
    Port(&'static str),
    /// A host of the address that this option takes.
    Host(&'static str),
    /// The value is the first argument.
    First,
    /// `--type` if the value has a slash, as content types do and rooms do not; else the value is the first argument.
    TypeOrRoom,
    /// The value is the last argument, with this in front of it.
    Last(&'static str),
    /// Nothing: the command does it already, or does not need it.
    Nothing(&'static str),
    /// This whole command.
    Example(&'static str),
    /// vang has no such option; what to do instead.
    Advice(&'static str),
}

use Means::{Advice, Example, First, Host, JsonOr, Last, Nothing, Port, Prefixed, Words};

const fn row(under: &'static [&'static str], options: &'static [&'static str], means: Means) -> Synonym {
    Synonym { under, options, means }
}

/// Commands that ask a server as somebody.
#[rustfmt::skip]
const CLIENT: &[&str] = &[
    "send", "tail", "get", "find", "rooms", "create", "topic", "join", "leave", "whoami", "passwd", "sessions", "token", "bench",
];
/// Commands that ask a server.
#[rustfmt::skip]
const SERVER: &[&str] = &[
    "send", "tail", "get", "find", "rooms", "create", "topic", "join", "leave", "login", "logout", "whoami", "passwd", "sessions",
    "token", "bench",
];
/// Commands of a data folder.
const FOLDER: &[&str] = &[
    "send",
    "tail",
    "get",
    "find",
    "rooms",
    "create",
    "topic",
    "join",
    "leave",
    "login",
    "logout",
    "whoami",
    "passwd",
    "sessions",
    "token",
    "serve",
    "config show",
    "status",
    "admin",
];
/// Commands whose first argument is a room.
pub(super) const ROOM: &[&str] = &["send", "tail", "create", "topic", "join", "leave"];

const ASKED: &str = "all users of the machine can see a command line, so a password is never there; you are asked for it: vang login ada";
const TOKEN: &str = "all users of the machine can see a command line, so a token is never there: set VANG_TOKEN, or name its file with --token-file";
const ON_STDIN: &str = "all users of the machine can see a command line, so a password is never there; write it to stdin: vang admin account add ada --password-stdin";

/// The first row that fits counts: rows of one command come before those of several.
#[rustfmt::skip]
pub(super) const SYNONYMS: &[Synonym] = &[
    row(&["send"], &["-m", "--message", "--text", "--body", "--msg", "--payload", "--content", "-b", "-d", "--data-raw"], Last("")),
    row(&["send"], &["-f", "-F", "--attach", "--attachment", "--upload", "--input"], Means::Option("--file")),
    row(&["send"], &["--content-type", "--mime", "--mime-type"], Means::Option("--type")),
    row(&["send"], &["--message-id", "--nonce", "--uuid", "--idempotency-key"], Means::Option("--id")),
    row(&["send"], &["-t"], Means::TypeOrRoom),
    row(&["send"], &["--stdin"], Nothing("without a text, the message is read from stdin")),
    row(&["tail"], &["-f", "-F", "--follow"], Nothing("tail follows the room already")),
    // Its own -n is typed as -20, too.
    row(&["tail"], &["-n", "--last", "--tail", "--limit", "--count"], Means::Option("--lines")),
    row(&["tail"], &["--all", "--history", "--from-beginning", "--beginning", "--from-start"], Words(&["--since", "0"])),
    row(&["tail"], &["--after", "--offset", "--seq", "--start", "--from"], Means::Option("--since")),
    row(&["tail"], &["--once", "--no-wait", "--exit", "--nofollow", "--no-stream"], Words(&["--no-follow"])),
    row(&["find"], &["--room", "--in", "--channel", "-r", "-c"], Last("in:")),
    row(&["find"], &["--from", "--user", "--author", "-u"], Last("from:")),
    row(&["find"], &["--since", "--after"], Last("after:")),
    row(&["find"], &["--until", "--before"], Last("before:")),
    row(&["find"], &["-n", "--max", "--count", "-l"], Means::Option("--limit")),
    row(&["find"], &["-i", "--ignore-case"], Nothing("find ignores case and accents already")),
    row(&["create"], &["--hidden", "--secret", "--invite-only", "--closed"], Words(&["--private"])),
    row(&["create"], &["--public"], Nothing("rooms are public without an option")),
    row(&["create"], &["--topic", "--description", "--desc"], Advice("set the topic afterwards: vang topic garden 'what grows, and when'")),
    row(&["topic"], &["--topic", "--subject", "-t"], Last("")),
    row(&["join"], &["--user", "--account", "--member", "--invite"], Means::Option("--who")),
    row(&["status"], &["-w", "-f", "--follow"], Words(&["--watch"])),
    row(&["admin account add"], &["--name", "--user", "--username", "-u", "-n"], First),
    row(&["admin account add", "admin account password"], &["--password", "--pass", "-p"], Advice(ON_STDIN)),
    row(&["admin account add", "admin account password"], &["--stdin"], Words(&["--password-stdin"])),
    row(&["admin account role"], &["--role"], Last("")),
    row(&["admin account role"], &["--admin"], Example("vang admin account role ada admin")),
    row(&["login", "logout"], &["--as", "--user", "-u", "-U", "--username", "--name", "--account", "--login"], First),
    row(&["login"], &["--password", "--pass", "-p"], Advice("all users of the machine can see a command line, so a password is never there; you are asked for it: vang login ada; a script writes it to stdin: vang login ada --password-stdin")),
    row(&["login"], &["--token", "--api-key", "--with-token"], Advice("all users of the machine can see a command line, so a token is never there; write it to stdin: vang login --token-stdin")),
    row(&["login"], &["--stdin"], Words(&["--password-stdin"])),
    row(&["login"], &["--title", "--host-name"], Means::Option("--device")),
    row(&["passwd"], &["--password", "--old", "--new", "-p"], Advice("all users of the machine can see a command line, so a password is never there; you are asked for both: vang passwd; a script writes them to stdin: vang passwd --password-stdin")),
    row(&["token create", "admin token create"], &["--name", "-n", "--label", "--description", "--desc", "--note"], Means::Option("--title")),
    row(&["token create", "admin token create"], &["--scopes", "--permission", "--permissions", "--role", "--access"], Means::Option("--scope")),
    row(&["token create", "admin token create"], &["--expires", "--expiry", "--ttl", "--expires-in", "--expiration", "--valid"], Means::Option("--days")),
    row(&["token create", "admin token create"], &["--rooms", "--channel", "-r"], Means::Option("--room")),
    row(&["sessions end"], &["--all", "-a"], Words(&["--others"])),
    row(&["admin backup"], &["-o", "--output", "--file", "-f", "--to"], First),
    row(&["admin restore"], &["-i", "--input", "--file", "-f", "--from"], First),
    row(&["admin restore"], &["--to", "--target"], Means::Option("--data")),
    row(&["tail", "find", "rooms", "status", "admin backup"], &["-o", "--output"], JsonOr("for a file write `> {}` at the end; for JSON write --json")),
    row(&["tail", "find", "rooms", "status", "admin backup"], &["--format"], JsonOr("the only other format is JSON: write --json")),
    row(&["tail", "find", "rooms", "status", "admin backup"], &["-j"], Words(&["--json"])),

    row(&["serve", "config show"], &["--port", "-p", "-P", "--http-port"], Port("--listen")),
    row(&["serve", "config show"], &["--host", "--bind", "--addr", "--address", "--ip", "-b", "-H", "-a", "-l"], Host("--listen")),
    row(&["serve", "config show"], &["--socket", "--unix", "--unixsocket", "-s"], Prefixed("--listen", "unix:")),
    row(&["serve", "config show"], &["--verbose", "-v", "-vv", "--debug"], Words(&["--log", "debug"])),
    row(&["serve", "config show"], &["--trace"], Words(&["--log", "trace"])),
    row(&["serve", "config show"], &["--quiet", "-q", "--silent"], Words(&["--log", "error"])),
    row(&["serve", "config show"], &["--log-level", "--loglevel", "--level", "--verbosity"], Means::Option("--log")),
    row(&["serve", "config show"], &["--log-file", "--logfile", "-L"], Advice("the log is written to stderr: vang serve 2>>serve.log")),
    row(&["serve"], &["-d", "--daemon", "--daemonize", "--detach", "--background"], Example("vang serve 2>>serve.log &")),
    row(&["serve"], &["--foreground"], Nothing("a server always runs in the foreground")),
    row(&["serve", "config show"], &["--cert", "--certificate", "--ssl-cert", "--tls-certificate", "--crt"], Means::Option("--tls-cert")),
    row(&["serve", "config show"], &["--key", "--private-key", "--ssl-key"], Means::Option("--tls-key")),
    row(&["serve", "config show"], &["--tls", "--ssl", "--https"], Nothing("TLS is on: clients can use it on the same port")),
    row(&["serve", "config show"], &["-c", "-f", "--conf", "--config-file", "--cfg", "--settings"], Means::Option("--config")),
    row(&["serve", "config show"], &["--hostname", "--domain", "--server-name", "--fqdn"], Means::Option("--name")),
    row(&["serve", "config show"], &["--max-connections", "--maxclients", "--max-clients", "--max-conn"], Prefixed("--limit", "connections=")),
    row(&["serve", "config show"], &["--allow-guests", "--anonymous", "--public"], Words(&["--guests", "everywhere"])),
    row(&["serve", "config show"], &["--password", "--requirepass", "--auth", "--token", "--user", "--pass"], Advice("each account has its own password: vang admin account password ada")),

    row(ROOM, &["--room", "--channel", "--chan", "-c", "-r", "-t", "--subject", "--topic"], First),
    row(SERVER, &["--port", "-p"], Port("--server")),
    row(SERVER, &["--host", "-H", "--address", "--addr"], Host("--server")),
    row(SERVER, &["--url", "--uri", "--endpoint", "--connect", "--broker", "-s", "-S"], Means::Option("--server")),
    row(SERVER, &["--socket", "--unix", "--unix-socket"], Prefixed("--server", "unix:")),
    row(CLIENT, &["--user", "-u", "-U", "--username", "--nick", "--nickname", "--name", "--from", "--login", "--sender", "--client-id"], Means::Option("--as")),
    row(CLIENT, &["--password", "--pass", "-P", "--auth", "-a"], Advice(ASKED)),
    row(CLIENT, &["--token", "--api-key", "--bearer"], Advice(TOKEN)),
    row(SERVER, &["--wait", "--deadline", "--max-time", "--connect-timeout", "-w", "-W"], Means::Option("--timeout")),
    row(SERVER, &["--tls", "--ssl"], Nothing("TLS is used on the way to other machines, without an option")),
    row(FOLDER, &["--dir", "--datadir", "--data-dir", "--data-path", "--path", "--folder", "--db", "--storage", "--store", "--directory", "-D"], Means::Option("--data")),

    row(&["net sockets"], &["-i", "-p"], Means::Option("--port")),
    row(&["net sockets"], &["--pid", "--name", "--program", "-c"], Means::Option("--process")),
    row(&["net sockets"], &["--listening", "--listen"], Words(&["--state", "listen"])),
    row(&["net capture"], &["--iface", "--dev", "-I"], Means::Option("--interface")),
    row(&["net capture"], &["-w", "--write"], Means::Option("--output")),
    row(&["net capture"], &["-r", "--read"], Example("vang net decode talk.pcapng")),
    row(&["net capture"], &["-n", "-nn", "-v", "-vv", "-X", "-A", "-x", "-q", "-l", "-e", "-U"], Nothing("capture shows messages already")),
    row(&["net talk"], &["-l", "--listen", "-k"], Example("vang net echo serve")),
    row(&["net talk"], &["-u"], Words(&["--udp"])),
    row(&["net talk"], &["-z", "--scan"], Example("vang net ping localhost --tcp 65432")),
    row(&["net talk"], &["-C"], Words(&["--crlf"])),
    row(&["net talk"], &["-N", "-n", "-v"], Nothing("talk half-closes at the end of the input, and says what happens")),
    row(&["net talk"], &["-w"], Means::Option("--timeout")),
    row(&["net talk"], &["-x", "--hexdump"], Words(&["--hex"])),
    row(&["net talk"], &["--ssl"], Words(&["--tls"])),
    row(&["net ping"], &["-p", "--port"], Means::Option("--tcp")),
    row(&["net ping"], &["-w", "-W", "--deadline"], Means::Option("--wait")),
    row(&["net ping"], &["-n"], Means::Option("--count")),
    row(&["net resolve"], &["-p", "--port"], Last("")),
    row(&["net echo serve"], &["--port", "-p"], Port("--listen")),
    row(&["net echo serve"], &["--host", "--bind", "--address"], Host("--listen")),
    row(&["net echo serve"], &["-u"], Words(&["--udp"])),
    row(&["net echo serve"], &["--threads"], Words(&["--model", "threads"])),
    row(&["net tap"], &["--local", "-l"], Means::Option("--listen")),
    row(&["net tap"], &["--remote", "--target", "--upstream", "--dest"], Means::Option("--to")),
    row(&["net tap"], &["--loss"], Means::Option("--drop")),
    row(&["net tap"], &["--latency"], Means::Option("--delay")),
    row(&["net tap"], &["-w", "-o", "--write", "--output"], Means::Option("--record")),
];
