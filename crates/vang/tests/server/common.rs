//! Helpers of the tests in this folder.

use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

pub(crate) use crate::harness::comes_true;
use crate::harness::{PATIENCE, Server, exchange, folder, message, read_message, request, result_of};

/// A server on a temporary data folder, on a thread of the test.
pub(crate) fn serve(flags: &[&str]) -> (TempDir, Server) {
    let dir = folder();
    let server = Server::here(&dir.path().join("data"), flags);
    (dir, server)
}

/// The same as a process: for tests of its log, signals, memory and threads.
pub(crate) fn serve_process(more: &[&str]) -> (TempDir, Server) {
    let dir = folder();
    let server = Server::start_with(&dir.path().join("data"), "127.0.0.1:0", more);
    (dir, server)
}

/// A server with the accounts ada and these, and ada's private room `cellar`.
pub(crate) fn member_of_cellar(others: &[&str]) -> (TempDir, Server) {
    with_cellar(serve(&["--trust", "local"]), others)
}

/// The same with this server.
pub(crate) fn with_cellar((dir, server): (TempDir, Server), others: &[&str]) -> (TempDir, Server) {
    for name in [&["ada"], others].concat() {
        let mut command = crate::harness::vang();
        let output =
            command.args(["admin", "account", "add", name, "--data"]).arg(dir.path().join("data")).output();
        assert!(output.unwrap().status.success());
    }
    server.ok(&["create", "cellar", "--private", "--as", "ada"]);
    (dir, server)
}

/// A TCP or Unix connection.
pub(crate) trait Wire: Read + Write + Send {
    /// Shuts the sending half.
    fn end_writing(&self);
}

impl Wire for TcpStream {
    fn end_writing(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Wire for UnixStream {
    fn end_writing(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

/// Connects to an address as `vang serve` prints it.
pub(crate) fn dial(address: &str) -> Box<dyn Wire> {
    if let Some(path) = address.strip_prefix("unix:") {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        return Box::new(stream);
    }
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    Box::new(stream)
}

/// Everything up to the end of the stream; a reset is an error.
pub(crate) fn rest(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Connects, writes, and reads everything up to the end.
pub(crate) fn ask(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = dial(address);
    stream.write_all(bytes).unwrap();
    rest(&mut stream)
}

/// A message as Python's `json.dumps` and the guide's server write it on this machine.
pub(crate) fn python_message(content_type: &str, encoding: &str, content: &[u8]) -> Vec<u8> {
    let order = if cfg!(target_endian = "little") { "\"little\"" } else { "\"big\"" };
    let keys = [
        ("byteorder", order.to_owned()),
        ("content-type", format!("\"{content_type}\"")),
        ("content-encoding", format!("\"{encoding}\"")),
        ("content-length", content.len().to_string()),
    ];
    message(&keys.each_ref().map(|(key, value)| (*key, value.as_str())), content)
}

/// The guide's answer with this result, which must need no escapes.
pub(crate) fn answer(result: &str) -> Vec<u8> {
    python_message("text/json", "utf-8", format!("{{\"result\": \"{result}\"}}").as_bytes())
}

/// A connection that is opened before the test's actions, follows `general` and posts there.
pub(crate) struct Witness {
    stream: TcpStream,
    said: u64,
}

/// Part of every message of the witness; it must never be in a log.
pub(crate) const SECRET: &str = "do-not-log-7f3a91";

impl Witness {
    pub(crate) fn new(server: &Server) -> Witness {
        let mut stream = server.connect();
        let follow = request("follow", &[("room", "\"general\""), ("as", "\"witness\"")], "");
        assert_eq!(exchange(&mut stream, &follow).0["status"], "ok");
        Witness { stream, said: 0 }
    }

    /// Sends a message, and reads the reply and its own event.
    pub(crate) fn is_served(&mut self) {
        self.said += 1;
        let text = format!("{SECRET} {}", self.said);
        let (reply, _) = exchange(&mut self.stream, &request("send", &[("room", "\"general\"")], &text));
        assert_eq!(reply["status"], "ok", "{reply}");
        let (event, content) = read_message(&mut self.stream).unwrap();
        assert_eq!((&event["event"], &event["n"]), (&Value::from("message"), &reply["n"]));
        assert_eq!(content, text.as_bytes());
    }

    /// Reads a message of another sender.
    pub(crate) fn hears(&mut self, text: &str) {
        let (_, content) = read_message(&mut self.stream).unwrap();
        assert_eq!(String::from_utf8_lossy(&content), text);
    }

    /// The witness is still served, and the log has neither errors nor message text.
    pub(crate) fn is_unharmed(&mut self, server: &Server) {
        self.is_served();
        let pong = exchange(&mut server.connect(), &request("ping", &[], ""));
        assert_eq!(result_of(&pong.1), "pong");
        let log = server.log();
        assert!(!log.contains("panicked"), "{log}");
        assert!(!log.contains(SECRET), "{log}");
    }
}

/// Waits for the end of the connection or a reset.
pub(crate) fn is_gone(stream: &mut impl Read) -> bool {
    let mut bytes = [0; 1 << 16];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return true,
            Err(_) => return false,
        }
    }
}

/// The real Python interpreter: a version manager's shim costs 0.1 s per start.
pub(crate) fn python() -> Command {
    static PATH: OnceLock<String> = OnceLock::new();
    let path = PATH.get_or_init(|| {
        let mut which = tool("python3", "python3 (3.9 or later)");
        let output = which.args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    });
    let mut command = Command::new(path);
    // Only its standard library, no user settings, and no caches in the source tree.
    command.args(["-S", "-E", "-B", "-X", "utf8"]);
    command
}

/// A program that a test needs; if it is missing the test fails with what to install.
pub(crate) fn tool(name: &str, install: &str) -> Command {
    let found = std::env::var_os("PATH")
        .is_some_and(|paths| std::env::split_paths(&paths).any(|folder| folder.join(name).is_file()));
    assert!(found, "this test needs {name}: install {install}");
    Command::new(name)
}

pub(crate) fn python_says(program: &str, input: &str) -> String {
    let mut child =
        python().args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn from_hex(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command that must end with this exit code; returns its stderr.
pub(crate) fn fails(mut command: Command, code: i32) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
    assert!(output.stdout.is_empty(), "{command:?} answered: {output:?}");
    said
}

/// The same command as a user without root's rights, in its own network namespace where ports under 1024 need
/// root, whatever this machine is set to.
pub(crate) fn as_nobody(command: &Command) -> Command {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let ports = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    let mut words: Vec<&str> = Vec::new();
    if ports.trim().parse::<u32>().is_ok_and(|first| first < 1_024) {
        tool("unshare", "util-linux");
        words.extend(["unshare", "--net"].iter().chain(if is_root {
            &[][..]
        } else {
            &["--map-root-user"][..]
        }));
    }
    if is_root || !words.is_empty() {
        tool("setpriv", "util-linux");
        words.extend([
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--bounding-set=-all",
            "--inh-caps=-all",
        ]);
    }
    let mut all = words.into_iter().map(OsString::from).collect::<Vec<_>>();
    all.push(command.get_program().to_owned());
    all.extend(command.get_args().map(ToOwned::to_owned));
    let mut nobodys = Command::new(&all[0]);
    nobodys.args(&all[1..]).env("HOME", "/nonexistent").env_remove("XDG_DATA_HOME");
    nobodys
}

/// A copy of the binary that all users can run: the target folder can be inside a private home folder.
pub(crate) fn everybodys_vang(dir: &Path) -> Command {
    let copy = dir.join("vang");
    if !copy.exists() {
        std::fs::copy(env!("CARGO_BIN_EXE_vang"), &copy).unwrap();
    }
    std::fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    Command::new(copy)
}
