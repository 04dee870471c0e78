//! A hundred mistakes of people who come from other programs, and what vang answers: `docs/mistakes.txt`. Each is a command
//! line, run by bash beside two servers in a network of its own; the answer is compared byte by byte. `VANG_BLESS=1` writes
//! the answers instead; the diff is then to be reviewed as text: what was found, what is allowed, what to do. That each says
//! what to do, with commands that vang accepts, is tested in `src/mistakes.rs`, which has the parser.
//!
//! ```text
//! $ vang say general hello  # exits with 2
//! vang: there is no command 'say'
//!   use: vang send general hello
//! ```

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on ends there

#[path = "harness/console.rs"]
mod console;
#[path = "harness/mod.rs"]
mod harness;

use std::fmt::Write as _;
use std::path::Path;

/// A server as most people have it, with accounts; one on which only admins create rooms; a clone of somebody's project.
const SETUP: &str = "
export USER=kim
start() {
    # `exec`, so that a signal reaches the server; it also takes the program, not the function with its time limit.
    ( exec vang serve \"$@\" ) > $1.addr 2> $1.log &
    pids=\"$pids $!\"
    until [ -s $1.addr ]; do kill -0 $! || exit 98; sleep 0.02; done
}
start 127.0.0.1:65432 --data ./chat
start 127.0.0.1:7001 --data ./strict --rooms-by admins --trust local
for name in ada bob; do
    command vang admin account add $name --data ./chat
    command vang admin account add $name --data ./strict
done > /dev/null 2>&1
command vang create cellar --private --as ada --data ./chat > /dev/null
mkdir clone && echo 'their project' > clone/README.md
";

/// A command of the transcript, with the comments in front of it.
struct Mistake<'a> {
    before: String,
    command: &'a str,
}

fn mistakes(transcript: &str) -> (Vec<Mistake<'_>>, String) {
    let mut before = String::new();
    let mut found = Vec::new();
    for line in transcript.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => {
                let command = command.split_once("  # exits with ").map_or(command, |(command, _)| command);
                found.push(Mistake { before: std::mem::take(&mut before), command });
            }
            None if line.starts_with('#') || line.is_empty() => writeln!(before, "{line}").unwrap(),
            // An answer.
            None => {}
        }
    }
    (found, before)
}

/// Without what differs from run to run: the folder, and the process that holds something.
fn constant(answer: &str, dir: &Path) -> String {
    let answer = answer.replace(dir.to_str().unwrap(), "/home/kim");
    let lines = answer.lines().map(|line| match line.split_once(", pid ") {
        Some((holder, _)) => format!("{holder}, pid …\n"),
        None => ["process ", "kill "]
            .iter()
            .fold(format!("{line}\n"), |line, before| without_number(&line, before)),
    });
    lines.collect()
}

/// Without the number behind this word.
fn without_number(line: &str, before: &str) -> String {
    match line.split_once(before) {
        Some((start, rest)) if rest.starts_with(|c: char| c.is_ascii_digit()) => {
            format!("{start}{before}…{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        _ => line.to_owned(),
    }
}

#[test]
fn every_mistake_is_answered_as_written() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/mistakes.txt");
    let written = std::fs::read_to_string(path).unwrap();
    let (mistakes, end) = mistakes(&written);
    assert!(mistakes.len() >= 100, "the transcript has {} mistakes", mistakes.len());
    let dir = harness::folder();
    let commands: Vec<&str> = mistakes.iter().map(|mistake| mistake.command).collect();
    let mut found = String::new();
    for (mistake, (code, answer)) in mistakes.iter().zip(console::answers(SETUP, &commands, dir.path())) {
        let Mistake { before, command } = mistake;
        let answer = constant(&answer, dir.path());
        assert!(matches!(code, 1 | 2), "{command}: exit code {code}: {answer}");
        assert!(!answer.contains("byte "), "{command}: a place that only a program needs: {answer}");
        write!(found, "{before}$ {command}  # exits with {code}\n{answer}").unwrap();
    }
    found.push_str(&end);
    if std::env::var_os("VANG_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(path, &found).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    let differs = found.lines().zip(written.lines()).find(|(found, written)| found != written);
    assert_eq!(found, written, "first difference: {differs:?}; rerun with VANG_BLESS=1 and review the diff");
    let untouched: Vec<_> = std::fs::read_dir(dir.path().join("clone")).unwrap().collect();
    assert_eq!(untouched.len(), 1, "a folder of others stays as it is: {untouched:?}");
}
