//! Words of other programs (IRC clients, nc, docker, systemctl, redis-cli, nats, ss, tcpdump) for what a command of vang does.

/// A word, or two, that somebody types in place of a command.
pub(super) struct Synonym {
    /// The command in front of it; empty: `vang` itself.
    pub(super) under: &'static str,
    pub(super) words: &'static [&'static str],
    pub(super) means: Means,
}

/// What such a word means.
#[derive(Clone, Copy)]
pub(super) enum Means {
    /// This command, also with options. The example is shown when what is typed behind the word does not fit the command.
    Command { path: &'static str, example: &'static str },
    /// vang has no such command; what to do instead.
    Advice(&'static str),
}

const fn command(
    under: &'static str,
    words: &'static [&'static str],
    path: &'static str,
    example: &'static str,
) -> Synonym {
    Synonym { under, words, means: Means::Command { path, example } }
}

const fn advice(under: &'static str, words: &'static [&'static str], advice: &'static str) -> Synonym {
    Synonym { under, words, means: Means::Advice(advice) }
}

const NOT_YET: &str = "vang cannot do that yet; vang --help shows what it can do";

#[rustfmt::skip]
pub(super) const SYNONYMS: &[Synonym] = &[
    // Messages and rooms.
    command("", &["say", "post", "msg", "message", "publish", "pub", "write", "speak", "privmsg", "put", "produce", "tell", "notify", "push", "reply"],
        "send", "vang send general 'hello, all'"),
    advice("", &["upload", "attach"], "use: vang send general --file photo.png --type image/png"),
    command("", &["follow", "watch", "subscribe", "sub", "receive", "recv", "consume", "monitor"],
        "tail", "vang tail general"),
    command("", &["read", "cat", "history", "messages", "scrollback", "less", "more"],
        "tail --since 0 --no-follow", "vang tail general --since 0 --no-follow"),
    command("", &["download", "fetch", "wget"], "get", "vang get general#4"),
    advice("", &["log", "logs", "journalctl"],
        "messages of a room: vang tail general --since 0 --no-follow; log of a server: its stderr, as in vang serve 2>>serve.log"),
    command("", &["search", "grep", "query", "lookup"], "find", "vang find 'release notes'"),
    command("", &["ls", "list", "channels", "channel", "chans", "topics", "subjects", "streams", "keys", "room", "dir"],
        "rooms", "vang rooms"),
    command("", &["room create", "room add", "room new", "channel create", "rooms create", "rooms add", "rooms new", "mkroom", "mkchan", "mkdir", "new", "make"],
        "create", "vang create garden"),
    command("", &["enter", "joinroom", "room join", "rooms join"], "join", "vang join garden --as ada"),
    advice("", &["add-member", "addmember"], "use: vang join garden --who bob --as ada"),
    command("", &["part", "exit", "quit", "unjoin", "unsubscribe", "unsub", "room leave", "rooms leave"], "leave", "vang leave garden --as ada"),
    command("", &["settopic", "describe", "room topic", "rooms topic"], "topic", "vang topic garden 'what grows, and when'"),
    advice("", &["users", "who", "names", "members", "people", "online", "whois"],
        "who is in a room: vang net talk localhost:65432, then type your name and /who; counts: vang status"),
    advice("", &["nick", "name"],
        "--as gives a guest's name, as in vang send general 'hello' --as kim; an account signs in: vang login ada"),
    command("", &["signin", "sign-in", "auth", "auth login", "identify", "authenticate", "logon", "log-in"], "login", "vang login ada"),
    command("", &["signout", "sign-out", "logoff", "auth logout", "log-out"], "logout", "vang logout"),
    command("", &["id", "me", "auth status", "who am i"], "whoami", "vang whoami"),
    command("", &["password", "chpasswd", "setpassword"], "passwd", "vang passwd"),
    command("", &["session", "devices", "logins", "session list", "last"], "sessions", "vang sessions"),
    command("", &["session end", "kick-session", "revoke-session"], "sessions end", "vang sessions end 12"),
    command("", &["tokens"], "token list", "vang token list"),
    command("", &["apikey", "api-key", "pat", "keygen"], "token create", "vang token create --title backup --scope read"),
    command("", &["revoke"], "token end", "vang token end 12"),
    advice("", &["dm", "pm", "whisper", "direct"],
        "there are no direct messages yet; only members see a private room: vang create cellar --private --as ada"),
    advice("", &["kick", "ban", "mute", "op", "deop", "delete", "del", "rm", "remove", "erase", "edit", "rename", "react"], NOT_YET),

    // Servers.
    command("", &["start", "run", "up", "server", "daemon", "launch", "listen", "service", "init", "serv"], "serve", "vang serve"),
    advice("", &["stop", "halt", "kill", "shutdown", "down", "terminate"],
        "to stop a server press Ctrl-C in its terminal, or kill its PID, which `vang net sockets --process vang --state listen` shows"),
    advice("", &["restart", "reboot"],
        "stop the server (Ctrl-C in its terminal), then: vang serve; systemd: systemctl restart vang"),
    advice("", &["reload", "hup", "rehash"], "a server reads its settings again at `kill -HUP PID`; `vang net sockets --process vang --state listen` shows the PID"),
    command("", &["info", "ps", "stats", "stat", "health", "top", "uptime", "state"], "status", "vang status"),
    command("", &["settings", "configure", "conf", "env"], "config show", "vang config show"),
    command("", &["adduser", "useradd", "register", "signup", "user add", "user create", "account create", "account new", "users add", "acl setuser"],
        "admin account add", "vang admin account add ada"),
    advice("", &["deluser", "userdel", "user"], NOT_YET),
    command("", &["dump", "export", "save", "snapshot", "bgsave"], "admin backup", "vang admin backup chat.vang"),
    command("", &["import", "load"], "admin restore", "vang admin restore chat.vang --data ./again"),
    command("", &["fsck", "validate", "integrity"], "admin check", "vang admin check"),
    command("", &["version", "ver", "-v", "-version"], "--version", "vang --version"),
    command("", &["docs", "usage", "commands", "?"], "--help", "vang --help"),

    // Tools.
    command("", &["netstat", "ss", "lsof", "ports", "port"], "net sockets", "vang net sockets --state listen"),
    command("", &["tcpdump", "wireshark", "tshark", "dumpcap", "ngrep", "sniff", "pcap"], "net capture", "vang net capture --port 65432"),
    command("", &["nc", "ncat", "netcat", "telnet", "socat", "connect", "client", "chat", "irc", "open"], "net talk", "vang net talk localhost:65432"),
    command("", &["dig", "nslookup", "getent", "host", "dns"], "net resolve", "vang net resolve localhost 65432"),
    command("", &["ping"], "net ping", "vang net ping localhost"),
    command("", &["nmap", "scan"], "net ping --tcp 65432", "vang net ping localhost --tcp 65432"),
    command("", &["traceroute", "tracepath", "mtr"], "net ping --ttl 3", "vang net ping example.org --ttl 3"),
    command("", &["xxd", "hexdump", "od", "iconv"], "net bytes", "vang net bytes 512"),
    command("", &["proxy", "mitmproxy", "netem", "tc", "forward"], "net tap", "vang net tap --listen localhost:7000 --to localhost:65432"),
    command("", &["ab", "wrk", "iperf", "iperf3", "benchmark", "perf"], "bench", "vang bench ping"),
    advice("", &["curl", "http"],
        "curl itself posts: curl -d hi http://127.0.0.1:65432/rooms/general; a request of the tutorial: vang request 127.0.0.1:65432 search morpheus"),

    command("net", &["ls", "list", "ps", "show"], "net sockets", "vang net sockets --state listen"),
    command("net", &["listen", "server"], "net echo serve", "vang net echo serve"),
    command("net", &["read"], "net decode", "vang net decode talk.pcapng"),
    command("net", &["trace", "dump"], "net capture", "vang net capture --port 65432"),
    command("net echo", &["server", "start", "listen", "run"], "net echo serve", "vang net echo serve"),
    command("net echo", &["client", "connect"], "net echo send", "vang net echo send localhost:65432"),
    command("admin", &["add", "create"], "admin account add", "vang admin account add ada"),
    command("admin account", &["create", "new", "register"], "admin account add", "vang admin account add ada"),
    command("admin account", &["passwd", "setpassword", "reset", "pass"], "admin account password", "vang admin account password ada"),
    command("admin account", &["lock", "suspend", "ban", "deactivate", "block"], "admin account disable", "vang admin account disable ada"),
    command("admin account", &["unlock", "unban", "activate", "unblock"], "admin account enable", "vang admin account enable ada"),
    command("admin account", &["promote", "grant"], "admin account role", "vang admin account role ada admin"),
    command("admin account", &["del", "rm", "remove", "erase"], "admin account delete", "vang admin account delete ada --yes"),
    advice("admin account", &["list", "ls", "show", "rename"], NOT_YET),
    command("admin token", &["add", "new", "make", "generate"], "admin token create", "vang admin token create ada --title backup --scope read"),
    command("admin token", &["ls", "show"], "admin token list", "vang admin token list ada"),
    command("admin token", &["revoke", "delete", "del", "rm", "remove"], "admin token end", "vang admin token end ada 12"),
    command("admin session", &["ls", "show"], "admin session list", "vang admin session list ada"),
    command("admin session", &["revoke", "kill", "delete", "rm", "close"], "admin session end", "vang admin session end ada 12"),
    command("token", &["add", "new", "make", "generate"], "token create", "vang token create --title backup --scope read"),
    command("token", &["ls", "show"], "token list", "vang token list"),
    command("token", &["revoke", "delete", "del", "rm", "remove"], "token end", "vang token end 12"),
    command("sessions", &["list", "ls", "show"], "sessions", "vang sessions"),
    command("sessions", &["revoke", "kill", "delete", "rm", "close"], "sessions end", "vang sessions end 12"),
    command("config", &["get", "list", "ls", "print", "view", "cat", "dump"], "config show", "vang config show"),
    advice("config", &["set", "edit", "unset"],
        "a setting is an option, a variable or a key of a file, as in vang serve --config vang.toml; docs/OPERATING.md lists them"),
    command("bench", &["pub", "post", "publish"], "bench send", "vang bench send general"),
    command("bench", &["latency"], "bench ping", "vang bench ping"),
];
