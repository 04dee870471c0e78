//! `vang man`: the manual pages, made of the same texts as `--help`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use vang_client::trouble::plain;

use crate::say::{self, CommandError};

const EXAMPLES: &str = "\
Examples:
  vang man | man -l -                        read the manual page of vang
  vang man net tap | man -l -                the page of one command
  vang man --to ~/.local/share/man/man1      write all pages, for `man vang-net-tap`";

/// Print a manual page, or write all of them
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct ManArgs {
    /// The command [default: vang itself]
    #[arg(value_name = "COMMAND", conflicts_with = "to")]
    command: Vec<String>,
    /// Write every page into this folder, which is created if it is missing
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs, tree: Command) -> anyhow::Result<()> {
    let tree = built(tree);
    if let Some(folder) = &args.to {
        return Ok(write_all(&tree, folder)?);
    }
    let mut command = &tree;
    for word in &args.command {
        command = command.find_subcommand(word).ok_or_else(|| {
            let known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
            let place = command.get_bin_name().unwrap_or("vang");
            let known = match known.is_empty() {
                true => format!("`{place}` has no commands below it"),
                false => format!("`{place}` has {}", known.join(", ")),
            };
            CommandError::usage(format!("there is no command '{word}' in `{place}`")).advise(known)
        })?;
    }
    Ok(say::print(&page(command))?)
}

/// The tree with the full name of every command, and without the commands `help`, which have no pages.
fn built(tree: Command) -> Command {
    let mut tree = without_help(tree);
    tree.build();
    tree
}

fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}

fn write_all(tree: &Command, folder: &Path) -> Result<(), CommandError> {
    let failed = |what: &str, path: &Path, error: &std::io::Error| {
        CommandError::new(format!("cannot {what} {}: {}", path.display(), plain(error)))
    };
    fs::create_dir_all(folder).map_err(|error| failed("create", folder, &error))?;
    for (name, page) in pages(tree) {
        let path = folder.join(name);
        fs::write(&path, page).map_err(|error| failed("write", &path, &error))?;
    }
    Ok(())
}

/// Every page with its file's name.
fn pages(command: &Command) -> Vec<(String, Vec<u8>)> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let mut all = vec![(format!("{name}.1"), page(command))];
    all.extend(command.get_subcommands().filter(|command| !command.is_hide_set()).flat_map(pages));
    all
}

/// One page. Examples come early, as in `--help`; they and the tables at its end keep their lines.
fn page(command: &Command) -> Vec<u8> {
    let man = Man::new(command.clone()).manual("vang").source(format!("vang {}", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    let text = |text: Option<&clap::builder::StyledStr>| text.map(ToString::to_string).unwrap_or_default();
    let examples = text(command.get_before_help());
    let notes = text(command.get_after_long_help().or_else(|| command.get_after_help()));
    let mut render = || -> std::io::Result<()> {
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        // The page indents them itself.
        let examples = examples.strip_prefix("Examples:").unwrap_or(&examples).replace("\n  ", "\n");
        literal("EXAMPLES", examples.trim_start()).to_writer(&mut page)?;
        man.render_options_section(&mut page)?;
        if command.has_subcommands() {
            man.render_subcommands_section(&mut page)?;
        }
        literal("NOTES", &notes).to_writer(&mut page)
    };
    render().expect("a Vec takes all bytes");
    page
}

/// A section whose lines stay as they are; an empty text has none.
fn literal(heading: &str, text: &str) -> Roff {
    let mut roff = Roff::new();
    if text.trim().is_empty() {
        return roff;
    }
    roff.control("SH", [heading]);
    roff.control("EX", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("EE", []);
    roff
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn tree() -> Command {
        built(crate::cmd::Args::command())
    }

    #[test]
    fn every_command_has_a_page_that_begins_with_its_examples() {
        fn count(command: &Command) -> usize {
            1 + command.get_subcommands().filter(|command| !command.is_hide_set()).map(count).sum::<usize>()
        }
        let pages = pages(&tree());
        assert_eq!(pages.len(), count(&tree()));
        for name in ["vang.1", "vang-serve.1", "vang-net-tap.1", "vang-admin-account-add.1"] {
            assert!(pages.iter().any(|(page, _)| page == name), "{name}");
        }
        for (name, page) in &pages {
            assert!(!name.contains("help"), "{name}");
            let page = String::from_utf8(page.clone()).unwrap();
            let (examples, options) = (page.find(".SH EXAMPLES"), page.find(".SH OPTIONS"));
            assert!(examples.is_some() && examples < options, "{name}: {page}");
        }
    }

    #[test]
    fn examples_and_the_table_of_limits_keep_their_lines() {
        let pages = pages(&tree());
        let (_, page) = pages.iter().find(|(name, _)| name == "vang-serve.1").unwrap();
        let page = String::from_utf8(page.clone()).unwrap();
        let examples = page.split(".SH EXAMPLES\n.EX\n").nth(1).unwrap().split(".EE").next().unwrap();
        assert!(examples.lines().count() >= 3 && examples.starts_with("vang serve  "), "{examples}");
        let notes = page.split(".SH NOTES\n.EX\n").nth(1).unwrap();
        assert!(notes.lines().count() > 20, "{notes}");
    }
}
