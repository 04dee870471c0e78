//! The README's tour, line by line: what a stranger types, and what they see. `[..]` stands for
//! anything within a line. The port is another one, so that the test disturbs no server of yours.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on ends there

#[path = "harness/mod.rs"]
mod harness;

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;

use harness::{PATIENCE, folder, lines_of, wait};

/// A command and the lines that it prints.
struct Step {
    command: String,
    prints: Vec<String>,
}

fn tour(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        match line.strip_prefix("$ ") {
            _ if line == "```console" => inside = true,
            _ if line.starts_with("```") => inside = false,
            Some(command) if inside => steps.push(Step { command: command.to_owned(), prints: vec![] }),
            None if inside => steps.last_mut().unwrap().prints.push(line.to_owned()),
            _ => {}
        }
    }
    steps
}

/// Does the line look like this, `[..]` standing for anything?
fn looks_like(line: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once("[..]") else { return line == pattern };
    let Some(line) = line.strip_prefix(start) else { return false };
    let ends = std::iter::once(line.len()).chain(line.char_indices().map(|(at, _)| at));
    ends.into_iter().any(|at| looks_like(&line[at..], rest))
}

fn next_line(lines: &Receiver<String>, command: &str) -> String {
    lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{command} prints less than the README says"))
}

#[test]
fn every_line_of_the_readme_s_tour_is_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let home = folder();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    std::os::unix::fs::symlink(root.join("examples"), home.path().join("examples")).unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_vang")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash")
        .current_dir(home.path())
        .env("PATH", path)
        .env("USER", "ada")
        .env("HOME", home.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("VANG_SERVER", format!("127.0.0.1:{port}"))
        .env_remove("VANG_AS")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = lines_of(shell.stdout.take().unwrap());
    let mut stdin = shell.stdin.take().unwrap();
    // Jobs (`%1`) as at a prompt; what a command says on stderr is part of what a stranger sees.
    stdin.write_all(b"set -m\nexec 2>/dev/null\n").unwrap();
    let steps = tour(&readme);
    assert!(steps.len() > 20, "the tour has {} commands", steps.len());
    for Step { command, prints } in steps {
        let typed = command
            .replace("65432", &port)
            .replace("vang serve", &format!("vang serve --listen 127.0.0.1:{port}"));
        if typed.ends_with('&') {
            writeln!(stdin, "{typed}").unwrap();
            for pattern in prints {
                let line = next_line(&lines, &command);
                assert!(looks_like(&line, &pattern.replace("65432", &port)), "{command}\n{line}\n{pattern}");
            }
            continue;
        }
        writeln!(stdin, "{{ {typed}; }} 2>&1; printf '\\n=== end\\n'").unwrap();
        let mut printed = Vec::new();
        loop {
            match next_line(&lines, &command) {
                line if line == "=== end" => break,
                line => printed.push(line),
            }
        }
        // The line before the mark is the rest of a last line, which most commands end themselves.
        if printed.last().is_some_and(String::is_empty) {
            printed.pop();
        }
        // Bash itself says that a job was killed: a prompt shows it, a script's reader need not see it.
        printed.retain(|line| !line.starts_with("bash: line") && !line.starts_with("[1]"));
        let same = printed.len() == prints.len()
            && printed.iter().zip(&prints).all(|(line, pattern)| looks_like(line, pattern));
        assert!(same, "$ {command}\nprints    {printed:#?}\nthe README says {prints:#?}");
    }
    drop(stdin);
    wait(&mut shell);
}
