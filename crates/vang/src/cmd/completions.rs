//! `vang completions`: lets a shell complete commands and flags.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::say;

const EXAMPLES: &str = "\
Examples:
  vang completions bash > ~/.local/share/bash-completion/completions/vang
  vang completions zsh > ~/.zfunc/_vang                   a folder that is in fpath before compinit runs
  vang completions fish > ~/.config/fish/completions/vang.fish";

/// Print a script with which a shell completes commands and flags
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs, tree: Command) -> anyhow::Result<()> {
    Ok(say::print(&script(args.shell, tree))?)
}

fn script(shell: Shell, mut tree: Command) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree, "vang", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use clap::{CommandFactory, ValueEnum};

    use super::*;

    #[test]
    fn bash_understands_its_script_and_completes_with_it() {
        let mut script = script(Shell::Bash, crate::cmd::Args::command());
        script.extend(
            b"\nCOMP_WORDS=(vang net ta) COMP_CWORD=2; _vang vang ta net; echo \"<${COMPREPLY[*]}>\"\n",
        );
        let mut bash = Command::new("bash");
        bash.arg("--norc").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut bash = bash.spawn().unwrap();
        bash.stdin.take().unwrap().write_all(&script).unwrap();
        let output = bash.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "<talk tap>\n", "{output:?}");
    }

    #[test]
    fn every_shell_gets_a_script_with_the_commands() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell, crate::cmd::Args::command())).unwrap();
            assert!(["serve", "tail", "confirm-time"].iter().all(|word| script.contains(word)), "{shell}");
        }
    }
}
