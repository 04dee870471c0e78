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
//! otherwise a misspelled limit would silently not apply. The values of every layer are read by the parsers
//! of the flags, so each rule for a value is in one place. The flags are given as a `clap::Command`.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{ArgMatches, Command, FromArgMatches, parser::ValueSource};
use vang_server::Limits;

use crate::say::Failure;

/// Flags that are not settings: they are for one start, or name the file.
const NOT_SETTINGS: [&str; 5] = ["config", "confirm-time", "limit", "help", "version"];

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

    fn flags(&self) -> impl Iterator<Item = String> {
        self.values.iter().map(|value| match self.key.strip_prefix("limits.") {
            Some(name) => format!("--limit={name}={value}"),
            None => format!("--{}={value}", self.key),
        })
    }
}

/// Every setting of a server.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) all: Vec<Setting>,
    confirm_time: bool,
    flags: Command,
}

impl Settings {
    /// Collects the settings from all layers. `flags` describes the command, `typed` is its command line.
    pub(crate) fn gather(flags: Command, typed: &ArgMatches) -> Result<Settings, Failure> {
        let file = match typed.get_one::<PathBuf>("config") {
            Some(path) => File::read(path)?,
            None => File::default(),
        };
        let mut all = Vec::new();
        for arg in flags.get_arguments() {
            let Some(key) = arg.get_long().filter(|long| !NOT_SETTINGS.contains(long)) else { continue };
            let id = arg.get_id().as_str();
            let given = match typed.value_source(id) {
                Some(ValueSource::CommandLine) => raw(typed, id),
                _ => Vec::new(),
            };
            let is_list = matches!(arg.get_action(), clap::ArgAction::Append);
            let default = arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned());
            all.push(file.choose(key, given, is_list, default.collect()));
        }
        let given = raw(typed, "limits");
        for (name, default) in Limits::defaults() {
            let of_name = |given: &String| {
                let (of, value) = given.split_once('=')?;
                (of.trim() == name).then(|| value.trim().to_owned())
            };
            // A limit that is given twice has the last value.
            let last = given.iter().filter_map(of_name).next_back().into_iter().collect();
            let default = if default == "-" { Vec::new() } else { vec![default] };
            all.push(file.choose(&format!("limits.{name}"), last, false, default));
        }
        file.refuse_unknown(&all)?;
        for given in &given {
            // No other check sees a flag that names no limit.
            Limits::default().set(given).map_err(|error| Failure::usage(error.to_string()))?;
        }
        Ok(Settings { all, confirm_time: typed.get_flag("confirm_time"), flags })
    }

    /// The same as clap reads it from a command line that has all of them.
    pub(crate) fn args<A: FromArgMatches>(&self) -> Result<A, Failure> {
        let set = self.all.iter().filter(|setting| setting.origin != Origin::Default);
        let mut line = vec!["serve".to_owned()];
        line.extend(set.clone().flat_map(Setting::flags));
        line.extend(self.confirm_time.then(|| "--confirm-time".to_owned()));
        let flags = || self.flags.clone();
        let parsed = flags().try_get_matches_from(&line).and_then(|found| A::from_arg_matches(&found));
        let args = parsed.map_err(|error| {
            // clap cannot name the layer: each setting is read once more, alone, to find the wrong one.
            let wrong = set.clone().find_map(|setting| {
                let alone = std::iter::once("serve".to_owned()).chain(setting.flags());
                let kinds = [ErrorKind::ValueValidation, ErrorKind::InvalidValue];
                let error = flags().try_get_matches_from(alone).err()?;
                kinds.contains(&error.kind()).then(|| format!("{}: {}", setting.origin, first_line(&error)))
            });
            Failure::usage(wrong.unwrap_or_else(|| first_line(&error)))
        })?;
        for setting in set.filter(|setting| setting.key.starts_with("limits.")) {
            let given = format!("{}={}", &setting.key["limits.".len()..], setting.values.concat());
            Limits::default()
                .set(&given)
                .map_err(|error| Failure::usage(format!("{}: {error}", setting.origin)))?;
        }
        Ok(args)
    }

    /// The settings that changed: key, value before, value now.
    pub(crate) fn differences<'a>(&'a self, before: &'a Settings) -> Vec<(&'a str, String, String)> {
        let pairs = before.all.iter().zip(&self.all);
        pairs
            .filter(|(old, new)| old.values != new.values)
            .map(|(old, new)| (new.key.as_str(), old.text(), new.text()))
            .collect()
    }
}

fn raw(typed: &ArgMatches, id: &str) -> Vec<String> {
    let values = typed.try_get_raw(id).ok().flatten();
    values.into_iter().flatten().map(|value| value.to_string_lossy().into_owned()).collect()
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// A settings file, each value as text.
#[derive(Default)]
struct File {
    path: PathBuf,
    values: Vec<(String, Vec<String>)>,
}

impl File {
    fn read(path: &Path) -> Result<File, Failure> {
        let shown = path.display();
        let text = vang_server::read_file(path).map_err(|error| {
            Failure::usage(format!("cannot read {shown}: {}", vang_client::trouble::plain(&error)))
        })?;
        let text = String::from_utf8(text)
            .map_err(|error| Failure::usage(format!("{shown} is not TOML: {}", error.utf8_error())))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            Failure::usage(format!("{shown} is not TOML: {}", error.to_string().trim()))
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

    /// The setting from the layer that takes precedence.
    fn choose(&self, key: &str, flags: Vec<String>, is_list: bool, default: Vec<String>) -> Setting {
        let name = format!("VANG_{}", key.replace("limits.", "limit_").replace('-', "_").to_uppercase());
        let setting = |values, origin| Setting { key: key.to_owned(), values, is_list, origin };
        if !flags.is_empty() {
            return setting(flags, Origin::Flag);
        }
        if let Some(value) = std::env::var(&name).ok().filter(|value| !value.is_empty()) {
            let values = match is_list {
                true => value.split(',').map(|one| one.trim().to_owned()).collect(),
                false => vec![value],
            };
            return setting(values, Origin::Env(name));
        }
        match self.values.iter().find(|(known, _)| known == key) {
            Some((_, values)) => setting(values.clone(), Origin::File(self.path.clone())),
            None => setting(default, Origin::Default),
        }
    }

    fn refuse_unknown(&self, all: &[Setting]) -> Result<(), Failure> {
        for (key, values) in &self.values {
            let Some(setting) = all.iter().find(|setting| setting.key == *key) else {
                let likeness = |known: &&Setting| (strsim::jaro_winkler(&known.key, key) * 1_000.0) as u32;
                let nearest = all.iter().max_by_key(likeness).filter(|known| likeness(known) > 700);
                let hint =
                    nearest.map(|known| format!(" (did you mean '{}'?)", known.key)).unwrap_or_default();
                let known: Vec<&str> = all.iter().map(|setting| setting.key.as_str()).collect();
                return Err(Failure::usage(format!(
                    "{}: there is no key '{key}'{hint}; there are {}",
                    self.path.display(),
                    known.join(", ")
                )));
            };
            if !setting.is_list && values.len() != 1 {
                return Err(Failure::usage(format!(
                    "{}: '{key}' has one value, not a list",
                    self.path.display()
                )));
            }
        }
        Ok(())
    }
}

fn texts(path: &Path, key: &str, value: &toml::Value) -> Result<Vec<String>, Failure> {
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
        Failure::usage(format!(
            "{}: '{key}' is a {found}; give a string, an integer, or a list of strings",
            path.display()
        ))
    })
}
