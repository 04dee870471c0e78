//! The settings of a server and the origin of each. Order: flags, environment, file, defaults. The keys of
//! the file are the names of the flags; the keys in `[limits]` are the names of the limits:
//!
//! ```text
//! listen = ["127.0.0.1:65432", ":65433"]      --listen …        VANG_LISTEN=…,…
//! guests = "everywhere"                       --guests …        VANG_GUESTS=…
//! [limits]
//! idle = "5m"                                 --limit idle=5m   VANG_LIMIT_IDLE=5m
//! ```
//!
//! TOML, because its meaning does not depend on indentation, and it has comments. An unknown key is an error:
//! otherwise a misspelled limit would silently not apply. Flags, variables and keys are made of the server's two tables
//! (`SETTINGS`, `Limits`), which also read the values of every layer.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser, ValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use vang_server::{Config, Limits, SETTINGS, SettingInfo};

use crate::say::CommandError;

/// The flags of all settings, in a command's help. Their values are read from the `ArgMatches`, by `Settings::gather`.
#[derive(Clone, Debug)]
pub(crate) struct SettingFlags;

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let command = command.args(SETTINGS.iter().map(flag));
        command
            .arg(
                Arg::new("limit")
                    .long("limit")
                    .value_name("NAME=VALUE")
                    .action(ArgAction::Append)
                    .help("Set a limit (can be repeated)"),
            )
            .arg(
                Arg::new("config")
                    .long("config")
                    .value_name("FILE")
                    .env("VANG_CONFIG")
                    .value_parser(clap::value_parser!(PathBuf))
                    .help("Settings file in TOML; its keys are the names of these flags, and [limits]")
                    .long_help(
                        "Settings file in TOML; its keys are the names of these flags, and [limits]\n\n\
                         Order: flags, environment (VANG_LISTEN, VANG_LIMIT_IDLE), file, defaults. SIGHUP reads the \
                         file again.",
                    ),
            )
            .arg(
                Arg::new("confirm-time")
                    .long("confirm-time")
                    .action(ArgAction::SetTrue)
                    .help("Start although this machine's clock is far ahead of the newest entry in the journal"),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        SettingFlags::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(_: &ArgMatches) -> Result<SettingFlags, clap::Error> {
        Ok(SettingFlags)
    }

    fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), clap::Error> {
        Ok(())
    }
}

fn flag(info: &'static SettingInfo) -> Arg {
    let help = info.help.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let short = help.split("\n\n").next().unwrap_or_default().trim().to_owned();
    let values: ValueParser = match info.choices {
        [] => ValueParser::new(move |value: &str| info.check(value).map(|()| value.to_owned())),
        choices => {
            let possible =
                |(word, help): &(&'static str, &'static str)| PossibleValue::new(*word).help(*help);
            PossibleValuesParser::new(choices.iter().map(possible)).into()
        }
    };
    let arg = Arg::new(info.name)
        .long(info.name)
        .value_name(info.value)
        .action(if info.is_list { ArgAction::Append } else { ArgAction::Set })
        .value_parser(values)
        .help(short)
        .long_help(help.trim().to_owned());
    if info.default.is_empty() { arg } else { arg.default_value(info.default) }
}

/// Where a value comes from; later ones take precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File(PathBuf),
    Env(String),
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Env(name) => write!(f, "environment {name}"),
            Origin::Flag => f.write_str("flag"),
        }
    }
}

/// A key with its values: none if it is not set, several if it is a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// As in the file, with `limits.` in front of a limit.
    pub(crate) key: String,
    pub(crate) values: Vec<String>,
    is_list: bool,
    pub(crate) origin: Origin,
    /// Does SIGHUP change it?
    pub(crate) reloads: bool,
}

impl Setting {
    /// The values as TOML, or `unset`.
    pub(crate) fn text(&self) -> String {
        let quoted: Vec<String> = self.values.iter().map(|value| format!("{value:?}")).collect();
        match (self.is_list, &quoted[..]) {
            (true, all) => format!("[{}]", all.join(", ")),
            (false, [one, ..]) => one.clone(),
            (false, []) => "unset".to_owned(),
        }
    }
}

/// Every setting of a server.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) all: Vec<Setting>,
    confirm_time: bool,
}

impl Settings {
    /// Collects the settings from all layers; `typed` is the command line.
    pub(crate) fn gather(typed: &ArgMatches) -> Result<Settings, CommandError> {
        let file = match typed.get_one::<PathBuf>("config") {
            Some(path) => File::read(path)?,
            None => File::default(),
        };
        let mut all = Vec::new();
        for info in SETTINGS {
            let given = match typed.value_source(info.name) {
                Some(ValueSource::CommandLine) => raw(typed, info.name),
                // `vang serve HOST:PORT`, as the tutorial's servers take it.
                _ if info.name == "listen" => raw(typed, "address"),
                _ => Vec::new(),
            };
            let default = [info.default].into_iter().filter(|default| !default.is_empty());
            let default = default.map(str::to_owned).collect();
            let split = info.is_list.then_some(|text: &str| info.split(text));
            all.push(file.choose(info.name, given, (split, info.reloads), default));
        }
        let given = raw(typed, "limit");
        for (name, default) in Limits::defaults() {
            let of_name = |given: &String| {
                let (of, value) = given.split_once('=')?;
                (of.trim() == name).then(|| value.trim().to_owned())
            };
            // A limit that is given twice has the last value.
            let last = given.iter().filter_map(of_name).next_back().into_iter().collect();
            let default = if default == "-" { Vec::new() } else { vec![default] };
            all.push(file.choose(
                &format!("limits.{name}"),
                last,
                (None::<fn(&str) -> Vec<String>>, true),
                default,
            ));
        }
        file.refuse_unknown(&all)?;
        for given in &given {
            // No other check sees a flag that names no limit.
            Limits::default().set(given).map_err(|error| CommandError::usage(error.to_string()))?;
        }
        Ok(Settings { all, confirm_time: typed.get_flag("confirm-time") })
    }

    /// What a server needs to know; `program` is what it calls itself.
    pub(crate) fn config(&self, program: &str) -> Result<Config, CommandError> {
        let mut config = Config::new(program.to_owned());
        config.confirm_time = self.confirm_time;
        for setting in self.all.iter().filter(|setting| setting.origin != Origin::Default) {
            let wrong = |error: String| CommandError::usage(format!("{}: {error}", setting.origin));
            if let Some(name) = setting.key.strip_prefix("limits.") {
                let given = format!("{name}={}", setting.values.concat());
                config.limits.set(&given).map_err(|error| wrong(error.to_string()))?;
                continue;
            }
            let info = SETTINGS.iter().find(|info| info.name == setting.key);
            for (info, value) in
                info.iter().flat_map(|info| setting.values.iter().map(move |value| (info, value)))
            {
                info.check(value).map_err(|why| {
                    wrong(format!("invalid value '{value}' for '--{} <{}>': {why}", info.name, info.value))
                })?;
            }
            config.set(&setting.key, &setting.values).map_err(wrong)?;
        }
        // Now, not when the socket is open already.
        config.tls().map_err(CommandError::usage)?;
        config.check_listen().map_err(CommandError::usage)?;
        Ok(config)
    }

    /// The settings that changed, each with its value before and now.
    pub(crate) fn differences<'a>(&'a self, before: &'a Settings) -> Vec<(&'a Setting, String, String)> {
        let pairs = before.all.iter().zip(&self.all);
        pairs
            .filter(|(old, new)| old.values != new.values)
            .map(|(old, new)| (new, old.text(), new.text()))
            .collect()
    }
}

fn raw(typed: &ArgMatches, id: &str) -> Vec<String> {
    let values = typed.try_get_raw(id).ok().flatten();
    values.into_iter().flatten().map(|value| value.to_string_lossy().into_owned()).collect()
}

/// A settings file, each value as text.
#[derive(Default)]
struct File {
    path: PathBuf,
    values: Vec<(String, Vec<String>)>,
}

impl File {
    fn read(path: &Path) -> Result<File, CommandError> {
        let shown = path.display();
        let text = vang_server::read_file(path).map_err(|error| {
            CommandError::usage(format!("cannot read {shown}: {}", vang_client::trouble::plain(&error)))
        })?;
        let text = String::from_utf8(text)
            .map_err(|error| CommandError::usage(format!("{shown} is not TOML: {}", error.utf8_error())))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            CommandError::usage(format!("{shown} is not TOML: {}", error.to_string().trim()))
        })?;
        let mut values = Vec::new();
        for (key, value) in &table {
            match value {
                toml::Value::Table(limits) if key == "limits" => {
                    for (name, value) in limits {
                        values
                            .push((format!("limits.{name}"), texts(path, &format!("limits.{name}"), value)?));
                    }
                }
                _ => values.push((key.clone(), texts(path, key, value)?)),
            }
        }
        Ok(File { path: path.to_owned(), values })
    }

    /// The setting from the layer that takes precedence; a list has a function that splits the text of a variable.
    fn choose(
        &self,
        key: &str,
        flags: Vec<String>,
        (split, reloads): (Option<impl Fn(&str) -> Vec<String>>, bool),
        default: Vec<String>,
    ) -> Setting {
        let name = format!("VANG_{}", key.replace("limits.", "limit_").replace('-', "_").to_uppercase());
        let is_list = split.is_some();
        let setting = |values, origin| Setting { key: key.to_owned(), values, is_list, origin, reloads };
        if !flags.is_empty() {
            return setting(flags, Origin::Flag);
        }
        if let Some(value) = std::env::var(&name).ok().filter(|value| !value.is_empty()) {
            let values = match split {
                Some(split) => split(&value),
                None => vec![value],
            };
            return setting(values, Origin::Env(name));
        }
        match self.values.iter().find(|(known, _)| known == key) {
            Some((_, values)) => setting(values.clone(), Origin::File(self.path.clone())),
            None => setting(default, Origin::Default),
        }
    }

    fn refuse_unknown(&self, all: &[Setting]) -> Result<(), CommandError> {
        for (key, values) in &self.values {
            let Some(setting) = all.iter().find(|setting| setting.key == *key) else {
                let likeness = |known: &&Setting| (strsim::jaro_winkler(&known.key, key) * 1_000.0) as u32;
                let nearest = all.iter().max_by_key(likeness).filter(|known| likeness(known) > 700);
                let known: Vec<&str> = all.iter().map(|setting| setting.key.as_str()).collect();
                let hint = match nearest {
                    Some(known) => format!("did you mean '{}'?", known.key),
                    None => format!("there are {}", known.join(", ")),
                };
                return Err(CommandError::usage(format!(
                    "{}: there is no key '{key}'; {hint}",
                    self.path.display()
                )));
            };
            if !setting.is_list && values.len() != 1 {
                return Err(CommandError::usage(format!(
                    "{}: '{key}' has one value, not a list",
                    self.path.display()
                )));
            }
        }
        Ok(())
    }
}

fn texts(path: &Path, key: &str, value: &toml::Value) -> Result<Vec<String>, CommandError> {
    let one = |value: &toml::Value| match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        _ => None,
    };
    let all = match value {
        toml::Value::Array(values) => values.iter().map(one).collect(),
        value => one(value).map(|text| vec![text]),
    };
    all.ok_or_else(|| {
        let found = value.type_str();
        CommandError::usage(format!(
            "{}: '{key}' is a {found}; give a string, an integer, or a list of strings",
            path.display()
        ))
    })
}
