//! The settings of a server, and where each comes from: flags over environment over file over default. The
//! keys of the file are the names of the flags, and `[limits]` those of the limits:
//!
//! ```text
//! listen = ["127.0.0.1:65432", ":65433"]      --listen …        VANG_LISTEN=…,…
//! guests = "everywhere"                       --guests …        VANG_GUESTS=…
//! [limits]
//! idle = "5m"                                 --limit idle=5m   VANG_LIMIT_IDLE=5m
//! ```
//!
//! TOML, because people write it without counting spaces, and it has comments. A key that nobody knows is an
//! error: a limit that was misspelled would otherwise be believed to hold. The values of every layer are
//! read by the flags' own parsers, so there is one place that says what a value may be.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{ArgMatches, Args as _, Command, FromArgMatches as _, parser::ValueSource};
use vang_server::Limits;

use crate::say::{Failure, print_line};
use crate::serve::ServeArgs;

/// Flags that say something about this one start, or where the rest stands.
const NOT_SETTINGS: [&str; 5] = ["config", "confirm-time", "limit", "help", "version"];

/// Where a value comes from; later ones go before earlier ones.
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

/// A key with its values: none where nothing is set, several where several are possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// As in the file; limits begin with `limits.`.
    pub(crate) key: String,
    pub(crate) values: Vec<String>,
    /// It may have several values.
    is_list: bool,
    pub(crate) origin: Origin,
}

impl Setting {
    /// As the file would say it.
    pub(crate) fn text(&self) -> String {
        let quoted: Vec<String> = self.values.iter().map(|value| format!("{value:?}")).collect();
        match (self.is_list, &quoted[..]) {
            (true, all) => format!("[{}]", all.join(", ")),
            (false, [one, ..]) => one.clone(),
            (false, []) => "unset".to_owned(),
        }
    }

    fn flag(&self) -> impl Iterator<Item = String> {
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
}

fn command() -> Command {
    ServeArgs::augment_args(Command::new("serve"))
}

impl Settings {
    /// From what was typed, and what stands behind it.
    pub(crate) fn gather(typed: &ArgMatches) -> Result<Settings, Failure> {
        let file = match typed.get_one::<PathBuf>("config") {
            Some(path) => File::read(path)?,
            None => File::default(),
        };
        let mut all = Vec::new();
        for arg in command().get_arguments() {
            let Some(key) = arg.get_long().filter(|long| !NOT_SETTINGS.contains(long)) else { continue };
            let id = arg.get_id().as_str();
            let flags = match typed.value_source(id) {
                Some(ValueSource::CommandLine) => raw(typed, id),
                _ => Vec::new(),
            };
            let is_list = matches!(arg.get_action(), clap::ArgAction::Append);
            let usual = arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned());
            all.push(file.choose(key, flags, is_list, usual.collect()));
        }
        let given = raw(typed, "limits");
        for (name, usual) in Limits::defaults() {
            let of_name = |given: &String| {
                let (of, value) = given.split_once('=')?;
                (of.trim() == name).then(|| value.trim().to_owned())
            };
            // Of one that is given twice, the last counts.
            let flags = given.iter().filter_map(of_name).next_back().into_iter().collect();
            let usual = if usual == "-" { Vec::new() } else { vec![usual] };
            all.push(file.choose(&format!("limits.{name}"), flags, false, usual));
        }
        file.refuse_unknown(&all)?;
        for given in &given {
            // What is no limit at all would otherwise not be looked at again.
            Limits::default().set(given).map_err(|error| Failure::usage(error.to_string()))?;
        }
        Ok(Settings { all, confirm_time: typed.get_flag("confirm_time") })
    }

    /// As if all of it had been typed.
    pub(crate) fn args(&self) -> Result<ServeArgs, Failure> {
        let set = self.all.iter().filter(|setting| setting.origin != Origin::Default);
        let mut line = vec!["serve".to_owned()];
        line.extend(set.clone().flat_map(Setting::flag));
        line.extend(self.confirm_time.then(|| "--confirm-time".to_owned()));
        let parsed =
            command().try_get_matches_from(&line).and_then(|found| ServeArgs::from_arg_matches(&found));
        let args = parsed.map_err(|error| {
            let wrong = set.clone().find_map(|setting| {
                let alone = std::iter::once("serve".to_owned()).chain(setting.flag());
                let kinds = [ErrorKind::ValueValidation, ErrorKind::InvalidValue];
                let error = command().try_get_matches_from(alone).err()?;
                kinds.contains(&error.kind()).then(|| told(&setting.origin, &error))
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

    /// What is not as it was before: key, before, now.
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

fn told(origin: &Origin, error: &clap::Error) -> String {
    format!("{origin}: {}", first_line(error))
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// What a file says, each value as it would be typed.
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

    /// The value that counts.
    fn choose(&self, key: &str, flags: Vec<String>, is_list: bool, usual: Vec<String>) -> Setting {
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
            None => setting(usual, Origin::Default),
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

/// `vang config show`: every setting as the file would say it, and where it comes from.
pub(crate) fn show(typed: &ArgMatches) -> anyhow::Result<()> {
    let settings = Settings::gather(typed)?;
    settings.args()?;
    let mut in_limits = false;
    for setting in &settings.all {
        let key = match setting.key.strip_prefix("limits.") {
            Some(name) => {
                if !std::mem::replace(&mut in_limits, true) {
                    print_line("[limits]")?;
                }
                name
            }
            None => &setting.key,
        };
        // What is not set stands as a comment, so that all of it can be a file.
        let mark = if setting.values.is_empty() { "# " } else { "" };
        let line = format!("{mark}{key} = {}", setting.text());
        print_line(&format!("{line:<44} # {}", setting.origin))?;
    }
    Ok(())
}
