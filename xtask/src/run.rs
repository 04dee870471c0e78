//! Starts other programs.
//!
//! They run in the workspace's root (`main` changes to it) with the caller's environment. Variables that cargo sets
//! for the xtask package are removed, because builds would see them.

use std::env;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// A command in the caller's environment.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for (key, _) in env::vars_os() {
        let set_by_cargo = key.to_str().is_some_and(|key| {
            key.starts_with("CARGO_PKG_") || key.starts_with("CARGO_MANIFEST_") || key == "CARGO_BIN_NAME"
        });
        if set_by_cargo {
            command.env_remove(key);
        }
    }
    command
}

/// Runs cargo; its output goes to ours.
pub(crate) fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Result<()> {
    through(command("cargo").args(args))
}

/// Runs a command; its output goes to ours. Fails unless it succeeds.
pub(crate) fn through(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line(command));
    }
    Ok(())
}

/// Runs a command and returns its output, also if it fails.
pub(crate) fn answer(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{}`", line(command)))
}

/// The first line that `program args` prints, if it can be started and succeeds.
pub(crate) fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let output = answer(command(program).args(args)).ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

/// The command as typed in a shell.
pub(crate) fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}
