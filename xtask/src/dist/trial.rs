//! Runs an unpacked program as its user would: version, server, message, history.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};

use crate::run;

/// Fails with what is wrong. `program` is the binary, `version` what it must say.
pub(crate) fn run(program: &Path, version: &str) -> Result<()> {
    let program = program.to_str().context("the path of the program is not UTF-8")?;
    let said = run::first_line(program, &["--version"]);
    if said.as_deref() != Some(&format!("vang {version}")) {
        bail!("{program} --version prints {said:?}");
    }
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let data = data.to_str().context("the temporary folder is not UTF-8")?;
    let server = Server::start(program, data)?;
    let sent = answer(program, &["send", "general", "it runs", "--as", "ada", "--data", data])?;
    let shown = answer(program, &["tail", "general", "--since", "0", "--no-follow", "--data", data])?;
    if sent != "general#1\n" || !shown.contains("ada: it runs") {
        bail!("{program} posted {sent:?} and then showed {shown:?}");
    }
    server.stop()
}

fn answer(program: &str, words: &[&str]) -> Result<String> {
    let output = run::answer(run::command(program).args(words))?;
    if !output.status.success() {
        bail!("{program} {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

struct Server(Child);

impl Server {
    fn start(program: &str, data: &str) -> Result<Server> {
        let mut command = run::command(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data", data]).stdin(Stdio::null());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut server = Server(child.with_context(|| format!("cannot start {program}"))?);
        let stdout = server.0.stdout.take().context("its stdout is not piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if !line.starts_with("listening on 127.0.0.1:") {
            bail!("{program} serve prints {line:?}");
        }
        Ok(server)
    }

    fn stop(mut self) -> Result<()> {
        run::through(run::command("kill").args(["-TERM", &self.0.id().to_string()]))?;
        let status = self.0.wait()?;
        if !status.success() {
            bail!("the server ended with {status} after SIGTERM");
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
