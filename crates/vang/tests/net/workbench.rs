//! `docs/WORKBENCH.md` is a course, and this is who takes it: every command in it runs as it stands there, in a network
//! namespace of its own for each block, so that its ports are free. What the page shows must come: `…` stands for anything
//! in a line, and alone for any lines. `# exits with N` behind a command is its exit code; without it, 0. A command
//! with `&` runs until its block ends, and is waited for until it has said something.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::folder;

/// A command of the page, and what it should print.
#[derive(Debug)]
struct Step {
    command: String,
    code: i32,
    in_background: bool,
    expected: Vec<String>,
}

/// The blocks marked `console`, each with the line on which it begins.
fn blocks(page: &str) -> Vec<(usize, Vec<Step>)> {
    let mut blocks: Vec<(usize, Vec<Step>)> = Vec::new();
    let mut inside = false;
    for (at, line) in page.lines().enumerate() {
        match line {
            "```console" => {
                inside = true;
                blocks.push((at + 1, Vec::new()));
            }
            "```" => inside = false,
            _ if !inside => {}
            _ => {
                let steps = &mut blocks.last_mut().unwrap().1;
                match line.strip_prefix("$ ") {
                    Some(typed) => {
                        let (command, comment) = typed.split_once("  # ").unwrap_or((typed, ""));
                        let code = comment
                            .strip_prefix("exits with ")
                            .map_or(0, |code| code.trim().parse().unwrap());
                        let command = command.trim_end();
                        let in_background = command.ends_with('&');
                        let command = command.trim_end_matches('&').trim_end().to_owned();
                        steps.push(Step { command, code, in_background, expected: Vec::new() });
                    }
                    None => steps.last_mut().expect("a command comes first").expected.push(line.to_owned()),
                }
            }
        }
    }
    blocks
}

/// Is this line as the page has it?
fn is_like(line: &str, expected: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut ends_open = false;
    for part in parts {
        ends_open = part.is_empty();
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    ends_open
        || rest.is_empty()
        || expected.rsplit('…').next().is_some_and(|last| expected.contains('…') && line.ends_with(last))
}

/// Do these lines come, with nothing between them but where the page says so?
fn shows(lines: &[&str], expected: &[String]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((wild, rest)) if wild.trim() == "…" => {
            (0..=lines.len()).any(|skip| shows(&lines[skip..], rest))
        }
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, others)| is_like(line, first) && shows(others, rest))
        }
    }
}

#[test]
fn every_command_of_the_course_does_what_the_page_shows() {
    let page = include_str!("../../../../docs/WORKBENCH.md");
    let blocks = blocks(page);
    assert!(blocks.iter().map(|(_, steps)| steps.len()).sum::<usize>() >= 8, "the course has been lost");
    for (line, steps) in blocks {
        let dir = folder();
        let mut script = String::from("set -u\nip link set lo up || exit 99\n");
        for (n, step) in steps.iter().enumerate() {
            let command = &step.command;
            if step.in_background {
                writeln!(script, "( exec {command} ) > {n}.out 2>&1 & pid{n}=$!").unwrap();
                writeln!(script, "until [ -s {n}.out ]; do kill -0 $pid{n} || break; sleep 0.02; done")
                    .unwrap();
            } else {
                writeln!(script, "( {command}\n) > {n}.out 2>&1; echo $? > {n}.code").unwrap();
            }
        }
        for (n, _) in steps.iter().enumerate().filter(|(_, step)| step.in_background) {
            writeln!(script, "kill -TERM $pid{n} 2>/dev/null; wait $pid{n}; echo $? > {n}.code").unwrap();
        }
        run(&script, dir.path());
        for (n, step) in steps.iter().enumerate() {
            let said = std::fs::read_to_string(dir.path().join(format!("{n}.out"))).unwrap();
            let code = std::fs::read_to_string(dir.path().join(format!("{n}.code"))).unwrap();
            let what = format!("docs/WORKBENCH.md:{line}: {}\n{said}", step.command);
            assert_eq!(code.trim(), step.code.to_string(), "{what}");
            let lines: Vec<&str> = said.lines().collect();
            assert!(shows(&lines, &step.expected), "{what}\nthe page shows:\n{}", step.expected.join("\n"));
        }
    }
}

/// Runs a script in a network of its own, with `vang` in its path.
fn run(script: &str, dir: &Path) {
    let alone: &[&str] = match is_root() {
        true => &["--net"],
        false => &["--user", "--map-root-user", "--net"],
    };
    let binary = Path::new(env!("CARGO_BIN_EXE_vang")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let output = Command::new("unshare")
        .args(alone)
        .args(["bash", "-c", script])
        .current_dir(dir)
        .env("PATH", path)
        .env_remove("VANG_SERVER")
        .env_remove("VANG_AS")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_ne!(output.status.code(), Some(99), "a network of its own (root, or user namespaces) with ip(8)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn the_page_is_compared_line_by_line() {
    assert!(is_like("wrote 12 bytes in 3 ms", "wrote … bytes in …"));
    assert!(is_like("ok", "ok") && is_like("a b c", "a…c") && is_like("", "…"));
    assert!(
        !is_like("wrote 12 bytes", "wrote … bytes in …")
            && !is_like("ok then", "ok")
            && !is_like("not ok", "ok")
    );
    let expected = ["one", "…", "four"].map(str::to_owned);
    assert!(shows(&["one", "two", "three", "four"], &expected) && shows(&["one", "four"], &expected));
    assert!(!shows(&["one", "two"], &expected) && !shows(&["one", "four", "five"], &expected));
    let page = "text\n```console\n$ first &\nready\n$ second  # exits with 1\n```\n```sh\nnot this\n```\n";
    let found = blocks(page);
    assert_eq!((found.len(), found[0].0, found[0].1.len()), (1, 2, 2));
    assert!(found[0].1[0].in_background && found[0].1[0].command == "first" && found[0].1[1].code == 1);
}
