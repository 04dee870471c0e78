//! Servers as processes of their own: the bench's own program in another role. Each prints its address
//! and runs until its standard input ends, so that none outlives the bench.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running server.
pub(crate) struct Running {
    pub(crate) addr: String,
    /// Of vang's server: where its data lie.
    pub(crate) data: PathBuf,
    pub(crate) child: Child,
    _folder: tempfile::TempDir,
}

impl Running {
    /// This program in a role. The first argument that it gets is a new folder beside the build: on a
    /// disk, not in memory.
    pub(crate) fn start(role: &str, args: &[&str]) -> Running {
        Running::start_program(&std::env::current_exe().expect("this program"), role, args)
    }

    /// The same of another build of this program.
    pub(crate) fn start_program(program: &Path, role: &str, args: &[&str]) -> Running {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
        let folder = tempfile::tempdir_in(beside).expect("a folder");
        let mut child = Command::new(program)
            .arg(format!("--role={role}"))
            .arg(folder.path())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut addr = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut addr).expect("its address");
        let data = folder.path().join("data");
        Running { addr: addr.trim().to_owned(), data, child, _folder: folder }
    }

    /// CPU time of all its threads so far, s.
    pub(crate) fn cpu(&self) -> f64 {
        cpu(self.child.id())
    }

    /// Its resident memory, bytes.
    pub(crate) fn rss(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// What `/proc/PID/status` says of its memory, bytes.
    pub(crate) fn memory(&self, line: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = text.lines().find_map(|found| found.strip_prefix(line)).expect("a line of this name");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") * 1_024
    }
}

/// CPU time of all threads of a process so far, s.
pub(crate) fn cpu(process: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let nanoseconds = threads.flatten().filter_map(|thread| {
        // "time on a CPU, time waiting for one, slices", in ns.
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    nanoseconds.sum::<u64>() as f64 / 1e9
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Tells the address, and ends the process when the bench has ended.
pub(crate) fn announce(addr: &str) {
    println!("{addr}");
    let _ = std::io::stdout().flush();
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
}
