//! `vang config show`: every setting as a file would have it, and its origin.

use clap::{ArgMatches, Args, Subcommand};

use super::serve::ServeArgs;
use crate::say::print_line;
use crate::settings::Settings;

const EXAMPLES: &str = "\
Examples:
  vang config show                          what a server started without flags would use
  vang config show --config vang.toml       the same with a file
  vang config show --limit idle=5m > vang.toml";

/// Show the settings of a server and the origin of each
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Subcommand, Debug)]
enum ConfigCommand {
    /// Print every setting as a line of a settings file, and its origin: flag, environment, file or default
    #[command(before_help = EXAMPLES)]
    Show(Box<ServeArgs>),
}

pub(crate) fn show(typed: &ArgMatches) -> anyhow::Result<()> {
    let settings = Settings::gather(typed)?;
    settings.config("")?;
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
        // An unset key is a comment, so that the whole output is a valid file.
        let mark = if setting.values.is_empty() { "# " } else { "" };
        let line = format!("{mark}{key} = {}", setting.text());
        print_line(&format!("{line:<44} # {}", setting.origin))?;
    }
    Ok(())
}
