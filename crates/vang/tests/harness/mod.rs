//! Helpers of all tests of the binary: a server with a temporary folder, client commands, raw sockets. Tests wait
//! for events (a line, an exit, bytes); `PATIENCE` only ends a test that hangs.

#![allow(dead_code, unreachable_pub)] // each test binary uses its part
#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on ends there

pub mod in_process; // a server on a thread of the test
pub mod hosts; // network namespaces with cables between them
pub mod socket; // a WebSocket client
pub mod terminal; // a command on a terminal, and its screen

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use self::in_process::InProcess;

/// After this time a test fails as hanging. No test depends on its value.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Polls a condition until it is true.
pub fn comes_true(what: &str, mut is_true: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < until, "this never came true: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A program with the default signals: a script's background job would inherit an ignored SIGINT.
pub fn program(program: &str) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal").arg(program);
    command
}

/// The binary under test.
pub fn vang() -> Command {
    without_settings(program(env!("CARGO_BIN_EXE_vang")))
}

/// The same, started as shells start a script's background job: SIGINT ignored.
pub fn ignoring_ctrl_c() -> Command {
    ignoring("INT")
}

/// The same with these signals ignored, as `INT,HUP`.
pub fn ignoring(signals: &str) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal").arg(format!("--ignore-signal={signals}")).arg(env!("CARGO_BIN_EXE_vang"));
    without_settings(command)
}

fn without_settings(mut command: Command) -> Command {
    for key in SETTINGS {
        command.env_remove(key);
    }
    command
}

/// Variables of the caller that change what our programs do or print.
pub const SETTINGS: [&str; 9] = [
    "VANG_SERVER",
    "VANG_DATA",
    "VANG_AS",
    "VANG_TOKEN",
    "VANG_LOG",
    "NO_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "TZ",
];

/// A temporary folder with a path short enough for Unix sockets.
pub fn folder() -> TempDir {
    tempfile::Builder::new().prefix("vang-").tempdir_in("/tmp").unwrap()
}

/// A port of 127.0.0.1 without a listener. It stays bound while this lives, so that no other test can get it.
pub struct Refusing {
    _bound: socket2::Socket,
    pub addr: SocketAddr,
}

pub fn refusing() -> Refusing {
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let addr = bound.local_addr().unwrap().as_socket().unwrap();
    Refusing { _bound: bound, addr }
}

/// True when this process runs the binary under test and handles this signal. Earlier the signal would end it; a shell
/// that starts it can handle the signal too.
pub fn catches(pid: u32, signal: Signal) -> bool {
    let is_ours = std::fs::read_link(format!("/proc/{pid}/exe"))
        .is_ok_and(|exe| exe == Path::new(env!("CARGO_BIN_EXE_vang")));
    is_ours && has_signal(pid, "SigCgt", signal)
}

/// True if the process ignores this signal.
pub fn ignores(pid: u32, signal: Signal) -> bool {
    has_signal(pid, "SigIgn", signal)
}

fn has_signal(pid: u32, mask: &str, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix(mask)?.strip_prefix(':')).unwrap().trim();
    u64::from_str_radix(mask, 16).unwrap() & 1 << (signal.as_raw() - 1) != 0
}

/// A server.
pub struct Server {
    running: Running,
    /// Its first address.
    pub addr: String,
}

enum Running {
    Here(InProcess),
    Process(ServerProcess),
}

/// A server process: its stdout has its addresses, its stderr is its log.
struct ServerProcess {
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Server {
    /// Starts a server on this data folder, on a free port of 127.0.0.1.
    pub fn start(data: &Path) -> Server {
        Server::start_with(data, "127.0.0.1:0", &[])
    }

    /// Starts a server with `--trust local`: for tests of what accounts do, not of how they are identified.
    pub fn start_trusting(data: &Path) -> Server {
        Server::start_with(data, "127.0.0.1:0", &["--trust", "local"])
    }

    /// Starts a server with `listen` as its first address, and more flags.
    pub fn start_with(data: &Path, listen: &str, more: &[&str]) -> Server {
        let mut command = vang();
        command.args(["serve", "--listen", listen]).args(more).arg("--data").arg(data);
        Server::spawn(command, data)
    }

    /// Starts a server on a thread of the test, on a free port of 127.0.0.1. It has no log, no signals and no id.
    pub fn here(data: &Path, flags: &[&str]) -> Server {
        let (server, addr) = InProcess::start(data, "127.0.0.1:0", flags);
        Server { running: Running::Here(server), addr }
    }

    fn process(&self) -> &ServerProcess {
        match &self.running {
            Running::Process(process) => process,
            Running::Here(_) => panic!("this server is no process: start it with `serve_process`"),
        }
    }

    fn process_mut(&mut self) -> &mut ServerProcess {
        match &mut self.running {
            Running::Process(process) => process,
            Running::Here(_) => panic!("this server is no process: start it with `serve_process`"),
        }
    }

    /// Starts a command that runs a server on this data folder.
    pub fn spawn(mut command: Command, data: &Path) -> Server {
        let log = data.with_extension("log");
        let stderr = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).stdin(Stdio::null()).spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        let running = Running::Process(ServerProcess { child, lines, log });
        let mut server = Server { running, addr: String::new() };
        server.addr = server.listening();
        server
    }

    /// The next address that it prints.
    pub fn listening(&mut self) -> String {
        match self.process().lines.recv_timeout(PATIENCE) {
            Ok(line) => line.strip_prefix("listening on ").expect("its stdout has nothing else").to_owned(),
            Err(_) => panic!("the server did not begin to listen; its log:\n{}", self.log()),
        }
    }

    /// Its stderr so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.process().log).unwrap_or_default()
    }

    /// The port of its TCP address.
    pub fn socket_addr(&self) -> SocketAddr {
        self.addr.parse().unwrap()
    }

    /// A connection with a read timeout of `PATIENCE`.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A client command with this server's address.
    pub fn client(&self, args: &[&str]) -> Command {
        let mut command = vang();
        command.args(args).env("VANG_SERVER", &self.addr);
        command
    }

    /// Runs a client command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.client(args).output().unwrap()
    }

    /// Runs a client command that must succeed; returns its stdout.
    pub fn ok(&self, args: &[&str]) -> String {
        succeeded(args, self.run(args))
    }

    pub fn pid(&self) -> u32 {
        self.process().child.id()
    }

    /// kill -9, and wait for its end.
    pub fn kill(mut self) {
        self.process_mut().child.kill().unwrap();
        self.process_mut().child.wait().unwrap();
    }

    /// Sends a signal by its name, as `TERM`.
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Stops it, a process by SIGTERM, and waits for its end.
    pub fn stop(mut self) -> ExitStatus {
        if let Running::Here(server) = &mut self.running {
            return server.stop();
        }
        self.signal("TERM");
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.process_mut().child)
    }

    /// A line of /proc/PID/status, as `VmRSS`, in KiB.
    pub fn status_kib(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a process's end.
pub fn wait(child: &mut Child) -> ExitStatus {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < until, "process {} did not end", child.id());
        thread::sleep(Duration::from_millis(2));
    }
}

/// The stdout of a command that must have succeeded.
pub fn succeeded(what: &[&str], output: Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what:?} failed: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of a stream, read by a thread, so that a wait can time out.
pub fn lines_of(stdout: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// A running command such as `vang tail`; killed when dropped.
pub struct Tail {
    child: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

impl Tail {
    pub fn start(command: Command) -> Tail {
        Tail::start_with(command, Stdio::null())
    }

    /// A command with a stdin, which is the second value.
    pub fn start_with_stdin(command: Command) -> (Tail, ChildStdin) {
        let mut tail = Tail::start_with(command, Stdio::piped());
        let stdin = tail.child.stdin.take().unwrap();
        (tail, stdin)
    }

    fn start_with(mut command: Command, stdin: Stdio) -> Tail {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(stdin).spawn().unwrap();
        let stdout: ChildStdout = child.stdout.take().unwrap();
        let stderr: ChildStderr = child.stderr.take().unwrap();
        Tail { lines: lines_of(stdout), errors: lines_of(stderr), child }
    }

    /// The next line of stdout.
    pub fn line(&mut self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let errors: Vec<_> = self.errors.try_iter().collect();
            panic!("no line came; stderr: {errors:?}")
        })
    }

    /// The next line as JSON.
    pub fn json(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    /// The next line of stderr that contains this.
    pub fn said(&mut self, part: &str) -> String {
        loop {
            let line = self.errors.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("never said: {part}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    /// All lines of stdout that have arrived.
    pub fn rest(&mut self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// All lines of stdout up to its end.
    pub fn until_end(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.lines.recv_timeout(PATIENCE).ok()).collect()
    }

    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A message as bytes, from header keys (JSON values) and content.
pub fn message(keys: &[(&str, &str)], content: &[u8]) -> Vec<u8> {
    let body: Vec<String> = keys.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
    let header = format!("{{{}}}", body.join(", "));
    let mut bytes = (header.len() as u16).to_be_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(content);
    bytes
}

/// A message of the guide: `text/json` in UTF-8.
pub fn guide(json: &str) -> Vec<u8> {
    let len = json.len().to_string();
    let keys = [
        ("byteorder", "\"little\""),
        ("content-type", "\"text/json\""),
        ("content-encoding", "\"utf-8\""),
        ("content-length", len.as_str()),
    ];
    message(&keys, json.as_bytes())
}

/// A vang request in the header form, with plain text as content; keys are JSON values.
pub fn request(action: &str, more: &[(&str, &str)], text: &str) -> Vec<u8> {
    let (len, action) = (text.len().to_string(), format!("{action:?}"));
    let mut keys = vec![
        ("byteorder", "\"little\""),
        ("content-type", "\"text/plain\""),
        ("content-encoding", "\"utf-8\""),
        ("content-length", len.as_str()),
        ("action", action.as_str()),
    ];
    keys.extend(more);
    message(&keys, text.as_bytes())
}

/// Reads one message: its header and content.
pub fn read_message(stream: &mut impl Read) -> std::io::Result<(serde_json::Value, Vec<u8>)> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut header = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut header)?;
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    let mut content = vec![0; header["content-length"].as_u64().unwrap() as usize];
    stream.read_exact(&mut content)?;
    Ok((header, content))
}

/// Writes bytes and reads one message.
pub fn exchange(stream: &mut (impl Read + Write), bytes: &[u8]) -> (serde_json::Value, Vec<u8>) {
    stream.write_all(bytes).unwrap();
    read_message(stream).unwrap()
}

/// `result` of a `text/json` content.
pub fn result_of(content: &[u8]) -> serde_json::Value {
    serde_json::from_slice::<serde_json::Value>(content).unwrap()["result"].clone()
}
