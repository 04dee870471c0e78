//! Servers as processes of their own: this same program in another role. Each prints its address and
//! runs until its standard input ends, so that none outlives the bench.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use vang_server::{Config, Limits, Server};

use crate::floor;

/// A running server.
pub(crate) struct Running {
    pub(crate) addr: String,
    /// Of vang's server: where its data lie.
    pub(crate) data: PathBuf,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Running {
    /// vang's server with a new data folder beside the build: on a disk, not in memory.
    pub(crate) fn vang() -> Running {
        Running::start("serve", &[])
    }

    /// The floor: `sync` for one `fdatasync` a round.
    pub(crate) fn floor(sync: bool, event_bytes: usize, reply_bytes: usize) -> Running {
        let sync = if sync { "sync" } else { "-" };
        Running::start("floor", &[sync, &event_bytes.to_string(), &reply_bytes.to_string()])
    }

    /// A bare tokio echo.
    pub(crate) fn echo() -> Running {
        Running::start("echo", &[])
    }

    fn start(role: &str, args: &[&str]) -> Running {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
        let folder = tempfile::tempdir_in(beside).expect("a folder");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
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
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        let nanoseconds = threads.flatten().filter_map(|thread| {
            // "time on a CPU, time waiting for one, slices", in ns.
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        nanoseconds.sum::<u64>() as f64 / 1e9
    }

    /// Its resident memory, bytes.
    pub(crate) fn rss(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line for RSS");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") * 1_024
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What a child does.
pub(crate) fn play(role: &str, args: &[String]) {
    let folder = Path::new(&args[0]);
    match role {
        "serve" => serve(folder),
        "floor" => {
            let number = |at: usize| args[at].parse().expect("a number of bytes");
            let log = (args[1] == "sync").then(|| folder.join("log"));
            floor::run(announce, log.as_deref(), number(2), number(3));
        }
        "echo" => echo(),
        other => panic!("no role {other}"),
    }
}

/// Tells the address, and ends the process when the bench has ended.
fn announce(addr: &str) {
    println!("{addr}");
    let _ = std::io::stdout().flush();
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
}

fn serve(folder: &Path) {
    let mut limits = Limits::default();
    // What is measured is the server, not its quotas.
    for quota in ["messages-per-second", "bytes-per-second", "questions-per-second"] {
        limits.set(&format!("{quota}=1000000000")).expect("a limit");
    }
    let config = Config {
        listen: vec!["127.0.0.1:0".parse().expect("an address")],
        limits,
        ..Config::new(folder.join("data"), "bench".to_owned())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let server = Server::open(config).expect("a server");
        let addr = server.addresses()[0].clone();
        server.run(|| announce(&addr)).await.expect("a good end");
    });
}

/// The peer of `ping`: whatever comes is written back, with tokio on one thread.
fn echo() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        announce(&listener.local_addr().expect("an address").to_string());
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("no delay");
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 << 10];
                while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..n]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
}
