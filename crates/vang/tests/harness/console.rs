//! Runs the blocks marked `console` of a document as a reader would: every command unchanged, in bash, in its own
//! network namespace, so that its ports are free. The output must be what the page shows:
//!
//!     $ command                    its stdout and stderr are compared, line by line, with the lines below
//!     $ command  # exits with 1    without it, 0
//!     $ command &                  runs until the page kills it, or the session ends; its output must come first
//!     wrote … bytes                `…` stands for anything in a line, and alone for any lines
//!
//! A background command counts as started when it has printed something. `vang net sockets`, which only looks, is run
//! again until it shows what the page shows, as a reader would: the kernel's own steps (a delayed ACK, the last FIN) need
//! time on a busy machine. Nothing waits for a fixed time.

#![allow(dead_code, unreachable_pub)] // each test binary uses its part

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A command of a page, and its expected output.
#[derive(Debug)]
pub struct Step {
    pub line: usize,
    pub command: String,
    pub code: i32,
    pub in_background: bool,
    pub expected: Vec<String>,
}

/// The blocks marked `console`, in their order.
pub fn blocks(page: &str) -> Vec<Vec<Step>> {
    let mut blocks: Vec<Vec<Step>> = Vec::new();
    let mut inside = false;
    for (at, line) in page.lines().enumerate() {
        match line.strip_prefix("$ ") {
            _ if line == "```console" => {
                inside = true;
                blocks.push(Vec::new());
            }
            _ if line.starts_with("```") => inside = false,
            _ if !inside => {}
            Some(typed) => blocks.last_mut().unwrap().push(step(at + 1, typed)),
            None => {
                let steps = blocks.last_mut().unwrap();
                steps.last_mut().expect("a command comes first").expected.push(line.to_owned());
            }
        }
    }
    blocks
}

fn step(line: usize, typed: &str) -> Step {
    let (command, code) = match typed.split_once("  # exits with ") {
        Some((command, code)) => (command, code.trim().parse().unwrap()),
        None => (typed, 0),
    };
    let command = command.trim_end();
    // `&&` at the end would be no command at all.
    let in_background = command.ends_with('&');
    let command = command.trim_end_matches('&').trim_end().to_owned();
    Step { line, command, code, in_background, expected: Vec::new() }
}

/// Runs these steps of `page` in one session in `dir`, with `vang` in its path, and compares.
pub fn run(page: &str, steps: &[Step], dir: &Path) {
    let mut script = String::from("set -um\nip link set lo up || exit 99\n");
    for (n, Step { command, in_background, .. }) in steps.iter().enumerate() {
        let out = format!(".{n}.out");
        if *in_background {
            // `exec`, so that its number is the command's own, and a signal reaches it.
            writeln!(script, "( exec {command} ) > {out} 2>&1 & pid{n}=$!").unwrap();
            writeln!(script, "until [ -s {out} ]; do kill -0 $pid{n} || break; sleep 0.02; done").unwrap();
        } else if command.starts_with("vang net sockets ") {
            let shown = glob(&steps[n].expected);
            writeln!(script, "end=$((SECONDS + 60)); while :; do {{ {command}\n}} > {out} 2>&1; code=$?")
                .unwrap();
            writeln!(script, "[[ $(<{out}) == {shown} ]] || ((SECONDS > end)) && break; sleep 0.02; done")
                .unwrap();
            writeln!(script, "echo $code > .{n}.code").unwrap();
        } else {
            // In this shell, which knows the jobs.
            writeln!(script, "{{ {command}\n}} > {out} 2>&1; echo $? > .{n}.code").unwrap();
        }
    }
    for (n, _) in steps.iter().enumerate().filter(|(_, step)| step.in_background) {
        writeln!(script, "kill -TERM $pid{n} 2>/dev/null; wait $pid{n} 2>/dev/null; echo $? > .{n}.code")
            .unwrap();
    }
    let mut said = in_its_own_network(&script, dir);
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|extension| extension == "log") {
            let log = std::fs::read_to_string(entry.path()).unwrap();
            write!(said, "{}:\n{log}", entry.path().display()).unwrap();
        }
    }
    for (n, step) in steps.iter().enumerate() {
        let read = |what: &str| std::fs::read_to_string(dir.join(format!(".{n}.{what}"))).unwrap_or_default();
        let (printed, code) = (read("out"), read("code"));
        let what = format!("{page}:{}: {}\n{printed}", step.line, step.command);
        // By a command of the page, or with SIGTERM at the end: ours handle it, small programs of the examples do not.
        let killed_by_the_page = step.in_background
            && match code.trim() {
                "127" | "137" => true,
                "143" => !step.command.starts_with("vang "),
                _ => false,
            };
        assert!(killed_by_the_page || code.trim() == step.code.to_string(), "{what}exit code {code}\n{said}");
        // Bash says what became of a job, as it would at a prompt: nothing that the page must show.
        let of_a_job = |line: &str| line.starts_with("bash: line ") || line.contains("( exec ");
        let lines: Vec<&str> = printed.lines().filter(|line| !of_a_job(line)).collect();
        assert!(
            shows(&lines, &step.expected),
            "{what}\nthe page shows:\n{}\n{said}",
            step.expected.join("\n")
        );
    }
}

/// The expected lines as a pattern of bash for `$(<file)`, which has no newlines at its end. It takes all that [`shows`]
/// takes, and a little more: `shows` has the last word. Only lines of bash about jobs, which are left out before `shows`,
/// are not left out here; with one of them the command runs once more, and bash says each only once.
fn glob(expected: &[String]) -> String {
    let is_gap = |line: &String| line.trim() == "…";
    let end = expected.iter().rposition(|line| !line.is_empty() && !is_gap(line)).map_or(0, |last| last + 1);
    let mut pattern = String::new();
    for (n, line) in expected[..end].iter().enumerate() {
        if is_gap(line) {
            pattern.push('*');
            continue;
        }
        // The newlines around a gap belong to it: it can stand for no line at all.
        let start = if n > 0 && !is_gap(&expected[n - 1]) { "\n" } else { "" };
        let literal =
            format!("{start}{line}").replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n");
        write!(pattern, "$'{}'", literal.replace('…', "'*$'")).unwrap();
    }
    if expected[end..].iter().any(is_gap) {
        pattern.push('*');
    }
    // Without a word bash would not read the comparison.
    if pattern.is_empty() { "''".to_owned() } else { pattern }
}

/// Runs these commands one after the other in one session in `dir`, after `setup`, with `vang` in its path. Returns the exit
/// code and the output of each. A command that does not end is stopped, with the exit code 124. What `setup` leaves running
/// it adds to `pids`; it is stopped at the end. For `exec` and `command`, `vang` is the program itself, without a time limit.
pub fn answers(setup: &str, commands: &[&str], dir: &Path) -> Vec<(i32, String)> {
    let mut script = String::from("set -um\nip link set lo up || exit 99\n");
    writeln!(script, "pids=\nvang() {{ timeout --foreground 60 vang \"$@\"; }}\n{setup}").unwrap();
    for (n, command) in commands.iter().enumerate() {
        writeln!(script, "{{ {command}\n}} > .{n}.out 2>&1; echo $? > .{n}.code").unwrap();
    }
    script.push_str("kill -TERM $pids; wait $pids\n");
    let said = in_its_own_network(&script, dir);
    let read = |name: String| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
    let answer = |n| {
        let code = read(format!(".{n}.code"));
        let code = code.trim().parse().unwrap_or_else(|_| panic!("{}: no exit code\n{said}", commands[n]));
        (code, read(format!(".{n}.out")))
    };
    (0..commands.len()).map(answer).collect()
}

/// Runs a script in its own network namespace; returns the output of bash itself.
fn in_its_own_network(script: &str, dir: &Path) -> String {
    let alone: &[&str] = match rustix::process::geteuid().is_root() {
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
        .env("USER", "ada")
        .env("HOME", dir)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("XDG_DATA_HOME")
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("VANG_SERVER")
        .env_remove("VANG_DATA")
        .env_remove("VANG_AS")
        .env_remove("VANG_TOKEN")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_ne!(output.status.code(), Some(99), "a network of its own (root, or user namespaces) with ip(8)");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// True if a line matches a line of the page.
fn is_like(line: &str, expected: &str) -> bool {
    let Some((start, rest)) = expected.split_once('…') else { return line == expected };
    let Some(line) = line.strip_prefix(start) else { return false };
    let ends = std::iter::once(line.len()).chain(line.char_indices().map(|(at, _)| at));
    ends.into_iter().any(|at| is_like(&line[at..], rest))
}

/// True if the output matches the page's lines, with gaps only where the page has `…`.
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
fn a_page_is_compared_line_by_line() {
    assert!(is_like("wrote 12 bytes in 3 ms", "wrote … bytes in …"));
    assert!(is_like("ok", "ok") && is_like("a b c", "a…c") && is_like("", "…") && is_like("ab ab", "a…ab"));
    assert!(
        !is_like("wrote 12 bytes", "wrote … bytes in …")
            && !is_like("ok then", "ok")
            && !is_like("not ok", "ok")
    );
    let expected = ["one", "…", "four"].map(str::to_owned);
    assert!(shows(&["one", "two", "three", "four"], &expected) && shows(&["one", "four"], &expected));
    assert!(!shows(&["one", "two"], &expected) && !shows(&["one", "four", "five"], &expected));
    for (expected, pattern) in [
        (&["it's …, 5", "…", "end"][..], r"$'it\'s '*$', 5'*$'end'"),
        (&["a", "b"], r"$'a'$'\nb'"),
        (&["a", "…"], "$'a'*"),
        (&["a", "", "…"], "$'a'*"),
        (&["…", "a", ""], "*$'a'"),
        (&["…"], "*"),
        (&[], "''"),
    ] {
        let expected: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(glob(&expected), pattern);
    }
    let page = "text\n```console\n$ first &\nready\n$ second  # exits with 1\n```\n```sh\nnot this\n```\n";
    let found = blocks(page);
    assert_eq!((found.len(), found[0].len(), found[0][0].line), (1, 2, 3));
    assert!(found[0][0].in_background && found[0][0].command == "first" && found[0][1].code == 1);
}
