//! Every setting of the server by its name: value, default, documentation, and whether SIGHUP changes it. A new setting is
//! one row. The program makes of a row a flag (`--listen`), a variable (`VANG_LISTEN`) and a key of its file (`listen`);
//! limits have a table of their own (`limits.rs`).

use std::path::PathBuf;
use std::str::FromStr;

use vang_chat::RoomsBy;
use vang_hub::{Scope, Trust};

use crate::limits::Limits;
use crate::net::listen::{Listen, ListenAddr};
use crate::net::tls::TlsFiles;

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct SettingInfo {
    /// Of the flag, and of the key in a file.
    pub name: &'static str,
    /// What stands for the value in help texts.
    pub value: &'static str,
    /// As it would be typed; empty: none.
    pub default: &'static str,
    pub is_list: bool,
    /// The words that it can be, each with what it means; none: any that can be read.
    pub choices: &'static [(&'static str, &'static str)],
    /// Does SIGHUP change it?
    pub reloads: bool,
    /// A sentence, and behind an empty line what else should be known.
    pub help: &'static str,
    check: fn(&str) -> Result<(), String>,
    split: fn(&str) -> Vec<String>,
}

impl SettingInfo {
    /// Can this be its value, or one of its values? Otherwise why not.
    pub fn check(&self, value: &str) -> Result<(), String> {
        (self.check)(value)
    }

    /// The values of a list that are in one text, as in a variable.
    pub fn split(&self, text: &str) -> Vec<String> {
        (self.split)(text)
    }
}

/// A type that a setting can have.
trait SettingValue: Sized {
    const IS_LIST: bool = false;
    const CHOICES: &'static [(&'static str, &'static str)] = &[];

    /// From what was typed; no value: as if nothing was.
    fn read(values: &[String]) -> Result<Self, String>;

    /// The values in one text.
    fn split(text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }
}

/// A value of a list.
trait ListItem: FromStr {
    /// The items in one text.
    fn split(text: &str) -> Vec<String> {
        text.split(',').map(|item| item.trim().to_owned()).collect()
    }
}

impl ListItem for String {}

impl ListItem for Listen {
    fn split(text: &str) -> Vec<String> {
        Listen::split(text)
    }
}

macro_rules! settings {
    ($($($doc:literal)+ $field:ident $name:literal $value:literal: $type:ty = $default:literal, $reloads:literal;)+) => {
        /// What a server needs to know.
        #[derive(Clone, Debug)]
        pub struct Config {
            $(#[doc = concat!("The setting `", $name, "`.")] pub $field: $type,)+
            pub limits: Limits,
            /// The operator has looked at the clock.
            pub confirm_time: bool,
            /// What the server calls itself, as `vang/0.1.0`.
            pub program: String,
        }

        /// Every setting but the limits, in the order of the help.
        pub const SETTINGS: &[SettingInfo] = &[$(SettingInfo {
            name: $name,
            value: $value,
            default: $default,
            is_list: <$type as SettingValue>::IS_LIST,
            choices: <$type as SettingValue>::CHOICES,
            reloads: $reloads,
            help: concat!($($doc, "\n"),+),
            check: |value| <$type as SettingValue>::read(&[value.to_owned()]).map(drop),
            split: <$type as SettingValue>::split,
        }),+];

        impl Config {
            /// The defaults.
            pub fn new(program: String) -> Config {
                let typed = |default: &str| {
                    Some(default.to_owned()).filter(|default| !default.is_empty()).into_iter().collect::<Vec<_>>()
                };
                Config {
                    $($field: <$type as SettingValue>::read(&typed($default)).expect("the table has good defaults"),)+
                    limits: Limits::default(),
                    confirm_time: false,
                    program,
                }
            }

            /// Sets a setting from what was typed.
            pub fn set(&mut self, name: &str, values: &[String]) -> Result<(), String> {
                match name {
                    $($name => self.$field = SettingValue::read(values)?,)+
                    _ => return Err(format!("there is no setting '{name}'")),
                }
                Ok(())
            }
        }
    };
}

settings! {
    "Address to listen on: HOST:PORT, [IPV6]:PORT or unix:PATH (can be repeated)"
    ""
    "An empty host means all interfaces; port 0 means any free port."
    ""
    "Behind a reverse proxy: ADDR,proxy=KIND[,tls][,from=NETWORK]; only the proxy can connect there."
    "KIND is what it sends: proxy (PROXY protocol 1 and 2), forwarded or x-forwarded-for (HTTP headers)."
    "tls: it speaks TLS to its clients. from: its address or network (can be repeated) [default: this machine]."
    listen "listen" "HOST:PORT": Vec<Listen> = "127.0.0.1:65432", true;
    "The data folder [default: $VANG_DATA, else $XDG_DATA_HOME/vang]"
    data "data" "DIR": PathBuf = "", false;
    "Listen backlog: how many new connections the system can queue"
    backlog "backlog" "N": u32 = "4096", true;
    "Log level: error, warn, info, debug, trace, or for one part, as vang_server=debug"
    log "log" "LEVEL": LogLevels = "info", true;
    "Format of the log on stderr"
    log_format "log-format" "FORMAT": LogFormat = "text", false;
    "Certificate chain in PEM [default: the server's own certificate, made at its first start]"
    tls_cert "tls-cert" "FILE": PathBuf = "", true;
    "Private key of the certificate, in PEM"
    tls_key "tls-key" "FILE": PathBuf = "", true;
    "Host name of this server for browsers (can be repeated)"
    names "name" "NAME": Vec<String> = "", false;
    "From where guests (people without an account) can connect"
    guests "guests" "FROM": Scope = "local", true;
    "Where an account's name is enough to use the account, without a password or a token"
    ""
    "`local` cannot be combined with an address that other machines can reach."
    trust "trust" "WHERE": Trust = "folder", true;
    "Who can create rooms, with `vang create` for example"
    ""
    "Admins are the accounts with this role, and the operator: a user who can open the data folder, who needs no account with --data DIR."
    rooms_by "rooms-by" "WHO": RoomsBy = "accounts", true;
    "Public room of which an account becomes a member with its first sign-in (can be repeated)"
    ""
    "One that there is not is left out."
    default_rooms "default-rooms" "ROOM": Vec<String> = "general", true;
    "From where plain text lines are accepted, as from nc"
    lines "lines" "FROM": Scope = "local", true;
    "From where /metrics can be read"
    metrics "metrics" "FROM": Scope = "local", true;
}

/// What the log contains: a level, or several for parts of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevels(pub String);

const LOG_LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

impl SettingValue for LogLevels {
    fn read(values: &[String]) -> Result<LogLevels, String> {
        let value = values.last().map_or("info", String::as_str);
        for part in value.split(',').map(str::trim) {
            // Behind the name of a part of the program, which can be any.
            let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
            if !LOG_LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
                return Err(format!(
                    "there is no log level '{level}'; use one of {}, or for one part, as vang_server=debug",
                    LOG_LEVELS.join(", ")
                ));
            }
        }
        Ok(LogLevels(value.to_owned()))
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Config {
    /// Is an address listed twice? It cannot be opened twice, and can have one set of options.
    pub fn check_listen(&self) -> Result<(), String> {
        for (at, listen) in self.listen.iter().enumerate() {
            let addr = &listen.addr;
            if !is_any_port(addr) && self.listen[..at].iter().any(|before| before.addr == *addr) {
                return Err(format!("'listen' has {addr} twice; list it once, with its options"));
            }
        }
        Ok(())
    }

    /// The given certificate and key; `None`: the server makes its own.
    pub fn tls(&self) -> Result<Option<TlsFiles>, String> {
        let is_given = |path: &PathBuf| !path.as_os_str().is_empty();
        match (is_given(&self.tls_cert), is_given(&self.tls_key)) {
            (false, false) => Ok(None),
            (true, true) => {
                let (certificate, key) = (self.tls_cert.clone(), self.tls_key.clone());
                Ok(Some(TlsFiles { certificate, key }))
            }
            (true, false) => Err("'tls-cert' is set and 'tls-key' is not; set both".to_owned()),
            (false, true) => Err("'tls-key' is set and 'tls-cert' is not; set both".to_owned()),
        }
    }
}

/// May an address be listed more than once? Any free port may.
fn is_any_port(addr: &ListenAddr) -> bool {
    matches!(addr, ListenAddr::Tcp { port: 0, .. })
}

/// The one value, or the last.
fn one<T: FromStr>(values: &[String], none: T) -> Result<T, String>
where
    T::Err: ToString,
{
    values.last().map_or(Ok(none), |value| value.parse().map_err(|error: T::Err| error.to_string()))
}

impl SettingValue for u32 {
    fn read(values: &[String]) -> Result<u32, String> {
        one(values, 0).map_err(|_| format!("it must be a number from 0 to {}", u32::MAX))
    }
}

impl SettingValue for String {
    fn read(values: &[String]) -> Result<String, String> {
        one(values, String::new())
    }
}

impl SettingValue for PathBuf {
    fn read(values: &[String]) -> Result<PathBuf, String> {
        if values.iter().any(String::is_empty) {
            return Err("it must be a path, and it is empty".to_owned());
        }
        one(values, PathBuf::new())
    }
}

impl<T: ListItem> SettingValue for Vec<T>
where
    T::Err: ToString,
{
    const IS_LIST: bool = true;

    fn read(values: &[String]) -> Result<Vec<T>, String> {
        values.iter().map(|value| value.parse().map_err(|error: T::Err| error.to_string())).collect()
    }

    fn split(text: &str) -> Vec<String> {
        T::split(text)
    }
}

/// A setting that is one of a few words.
pub(crate) trait Word {
    /// As it is written.
    fn word(&self) -> &'static str;
}

/// A type whose values are words: each with what it means, the first where none is given.
macro_rules! words {
    ($type:ident: $($word:literal $variant:ident $help:literal,)+) => {
        impl Word for $type {
            fn word(&self) -> &'static str {
                match self {
                    $($type::$variant => $word,)+
                }
            }
        }

        impl SettingValue for $type {
            const CHOICES: &'static [(&'static str, &'static str)] = &[$(($word, $help)),+];

            fn read(values: &[String]) -> Result<$type, String> {
                let first = <$type as SettingValue>::CHOICES[0].0;
                match values.last().map_or(first, String::as_str) {
                    $($word => Ok($type::$variant),)+
                    _ => Err(format!("it must be {}", [$($word),+].join(" or "))),
                }
            }
        }
    };
}

words! { Scope:
    "local" Local "This machine: loopback and Unix sockets",
    "everywhere" Everywhere "Everywhere; other machines must use TLS",
}

words! { Trust:
    "folder" Folder "On the data folder's own socket: --data DIR",
    "local" Local "On this machine: for all its programs, and all clients of a proxy or tunnel on it",
}

words! { RoomsBy:
    "accounts" Accounts "All accounts, and the admin",
    "admins" Admins "Only the admin",
}

words! { LogFormat:
    "text" Text "For people",
    "json" Json "One JSON object per line",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_can_be_set_and_every_row_has_a_help() {
        let mut config = Config::new("test".to_owned());
        for info in SETTINGS {
            let values: Vec<String> =
                [info.default].iter().filter(|d| !d.is_empty()).map(|d| (*d).into()).collect();
            assert_eq!(config.set(info.name, &values), Ok(()), "{}", info.name);
            assert!(info.help.trim().len() > 20, "{}", info.name);
            for (word, help) in info.choices {
                assert_eq!(config.set(info.name, &[(*word).to_owned()]), Ok(()));
                assert!(!help.is_empty());
            }
        }
        assert!(config.set("nonsense", &[]).is_err());
    }

    #[test]
    fn the_operators_guide_has_the_same_table() {
        let rows = SETTINGS.iter().map(|info| {
            let default = if info.default.is_empty() { "" } else { &format!("`{}`", info.default) };
            let changes = if info.reloads { "yes" } else { "no" };
            format!(
                "| `{}` | {default} | {changes} | {} |\n",
                info.name,
                info.help.lines().next().unwrap().trim()
            )
        });
        let table: String = rows.collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/OPERATING.md");
        assert!(
            std::fs::read_to_string(path).unwrap().contains(&table),
            "put this into docs/OPERATING.md:\n{table}"
        );
    }

    #[test]
    fn an_address_is_listed_once() {
        let mut config = Config::new("test".to_owned());
        let mut check = |listen: &[&str]| {
            let listen: Vec<String> = listen.iter().map(|&one| one.to_owned()).collect();
            config.set("listen", &listen).unwrap();
            config.check_listen()
        };
        assert_eq!(check(&["127.0.0.1:7", ":7", "127.0.0.1:0", "127.0.0.1:0,proxy=proxy"]), Ok(()));
        assert_eq!(
            check(&["[::1]:7", ":7", "[::1]:7,proxy=proxy"]),
            Err("'listen' has [::1]:7 twice; list it once, with its options".to_owned())
        );
    }

    #[test]
    fn a_log_level_is_one_of_six_also_for_a_part() {
        let read = |value: &str| LogLevels::read(&[value.to_owned()]).map(|levels| levels.0);
        for right in ["info", "WARN", "off", "vang_server=debug", "warn, vang_server=trace"] {
            assert_eq!(read(right), Ok(right.to_owned()));
        }
        for wrong in ["loud", "", "vang_server=loud", "vang_server", "info,", "3"] {
            assert!(read(wrong).unwrap_err().starts_with("there is no log level '"), "{wrong}");
        }
    }

    #[test]
    fn certificate_and_key_go_together() {
        let mut config = Config::new("test".to_owned());
        assert!(config.tls().unwrap().is_none());
        config.set("tls-cert", &["c.pem".to_owned()]).unwrap();
        assert_eq!(config.tls().unwrap_err(), "'tls-cert' is set and 'tls-key' is not; set both");
        config.set("tls-key", &["k.pem".to_owned()]).unwrap();
        assert_eq!(config.tls().unwrap().unwrap().key, PathBuf::from("k.pem"));
    }
}
