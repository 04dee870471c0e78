//! Runs the steps of a Containerfile without a container engine, in a root of its own that is this machine's system instead
//! of the base image. It shows that the steps work on a Debian system.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::own_root::{self, quoted};

/// What a Containerfile says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Containerfile {
    pub(crate) base: String,
    steps: Vec<Step>,
    environment: Vec<(String, String)>,
    user: Option<String>,
    healthcheck: Vec<String>,
    entrypoint: Vec<String>,
    command: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A pattern in the folder of the build, and an absolute path.
    Copy(String, String),
    Run(String),
}

impl Containerfile {
    /// Reads the instructions that ours has; any other is an error, so that none is passed over.
    pub(crate) fn parse(text: &str) -> Result<Containerfile> {
        let mut file = Containerfile::default();
        let joined = text.replace("\\\n", " ");
        for line in joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (instruction, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let rest = rest.split_whitespace().collect::<Vec<_>>().join(" ");
            match instruction {
                "FROM" => file.base = rest,
                "COPY" => {
                    let (from, to) = rest.split_once(' ').context("COPY needs a source and a destination")?;
                    file.steps.push(Step::Copy(from.to_owned(), to.to_owned()));
                }
                "RUN" => file.steps.push(Step::Run(rest)),
                "ENV" => {
                    let (name, value) = rest.split_once('=').context("ENV needs NAME=VALUE")?;
                    file.environment.push((name.to_owned(), value.to_owned()));
                }
                "USER" => file.user = Some(rest),
                "HEALTHCHECK" => file.healthcheck = words(rest.strip_prefix("CMD ").unwrap_or(&rest))?,
                "ENTRYPOINT" => file.entrypoint = words(&rest)?,
                "CMD" => file.command = words(&rest)?,
                // For the engine; nothing is done in the image.
                "VOLUME" | "EXPOSE" => {}
                _ => bail!(
                    "the instruction {instruction} is not known here: add it to xtask/src/dist/containerfile.rs"
                ),
            }
        }
        if file.base.is_empty() || file.entrypoint.is_empty() {
            bail!("a Containerfile needs FROM and ENTRYPOINT");
        }
        Ok(file)
    }

    /// Runs the steps with the files of `folder`, starts the server as the image would, waits until it listens, and posts a
    /// message. Fails with what the failed step printed.
    pub(crate) fn try_out(&self, folder: &Path) -> Result<()> {
        own_root::run(&self.script(), folder).context("the steps of the Containerfile failed")
    }

    /// The whole run as a shell script, in the folder of the build.
    fn script(&self) -> String {
        let mut script = String::new();
        for step in &self.steps {
            match step {
                // The pattern is for the shell.
                Step::Copy(from, to) => writeln!(script, "cp {from} \"$root\"{}", quoted(to)),
                Step::Run(command) => writeln!(script, "chroot \"$root\" sh -c {}", quoted(command)),
            }
            .expect("a String takes all");
        }
        let variables: Vec<String> =
            self.environment.iter().map(|(name, value)| quoted(&format!("{name}={value}"))).collect();
        let user =
            self.user.as_deref().map(|user| format!("--userspec={} ", quoted(user))).unwrap_or_default();
        let inside = format!(
            "chroot {user}\"$root\" env --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin {}",
            variables.join(" ")
        );
        let line = |words: &[String]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        let start = [self.entrypoint.clone(), self.command.clone()].concat();
        let send: Vec<String> =
            ["send", "general", "from a container", "--as", "ada"].map(str::to_owned).to_vec();
        let send = [self.entrypoint.clone(), send].concat();
        let _ = writeln!(script, "{inside} {} > \"$work/out\" 2> \"$work/log\" & server=$!", line(&start));
        script.push_str(UNTIL_IT_LISTENS);
        if !self.healthcheck.is_empty() {
            let _ = writeln!(script, "{inside} {}", line(&self.healthcheck));
        }
        let _ = writeln!(script, "{inside} {}", line(&send));
        script.push_str("kill -TERM $server\nwait $server\n");
        script
    }
}

const UNTIL_IT_LISTENS: &str = r#"until [ -s "$work/out" ]; do kill -0 $server 2>/dev/null || { cat "$work/log" >&2; exit 1; }; sleep 0.05; done
"#;

fn words(json: &str) -> Result<Vec<String>> {
    serde_json::from_str(json).with_context(|| format!("not a list of strings: {json}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = include_str!("../../../contrib/container/Containerfile");

    #[test]
    fn our_containerfile_is_understood() {
        let file = Containerfile::parse(OURS).unwrap();
        assert_eq!(file.base, "docker.io/library/debian:12-slim");
        assert_eq!(file.steps.len(), 2);
        assert_eq!(file.user.as_deref(), Some("vang"), "the server does not run as root");
        assert_eq!(
            (file.entrypoint.as_slice(), file.command[0].as_str()),
            (&["vang".to_owned()][..], "serve")
        );
        assert_eq!(file.healthcheck, ["vang", "status"]);
        let script = file.script();
        assert!(script.contains("cp vang_*.deb \"$root\"'/tmp/vang.deb'\n"), "{script}");
        assert!(script.contains("sh -c 'dpkg --install /tmp/vang.deb && rm /tmp/vang.deb'\n"), "{script}");
    }

    #[test]
    fn the_script_is_one_that_a_shell_understands() {
        let script = Containerfile::parse(OURS).unwrap().script();
        let status = std::process::Command::new("sh").args(["-n", "-c", &script]).status().unwrap();
        assert!(status.success(), "{script}");
    }

    #[test]
    fn an_unknown_instruction_is_an_error() {
        for wrong in
            ["FROM x\nONBUILD y\nENTRYPOINT [\"a\"]", "FROM x", "FROM x\nENTRYPOINT a", "FROM x\nCOPY y"]
        {
            assert!(Containerfile::parse(wrong).is_err(), "{wrong}");
        }
    }
}
