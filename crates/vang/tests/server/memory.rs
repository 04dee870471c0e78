//! The system gives the server no more memory: clients that want much are refused, the server lives, and the others
//! go on.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::thread::JoinHandle;

use tempfile::TempDir;

use crate::common::comes_true;
use crate::harness::{Server, exchange, folder, guide, read_message, request};

/// What the system gives the server, KiB: 320 MiB, of which its allocator takes 128 MiB at the start.
const MEMORY_KIB: u32 = 320 << 10;

/// Uploads of 1 MiB each: more than there is memory.
const UPLOADS: usize = 400;

/// A server that the system gives so many KiB of memory (RLIMIT_DATA), and whose own budget allows far more: only the
/// allocator can say no.
fn serve_within(data_kib: u32, flags: &[&str]) -> (TempDir, Server) {
    let dir = folder();
    let data = dir.path().join("data");
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -d {data_kib} && exec \"$0\" \"$@\""));
    command.args(["env", "--default-signal", env!("CARGO_BIN_EXE_vang"), "serve", "--listen", "127.0.0.1:0"]);
    command.args(["--limit", "memory=64GiB"]).args(flags).arg("--data").arg(&data);
    let server = Server::spawn(command, &data);
    (dir, server)
}

/// Clients that write this and read nothing; a refused one can get a reset while it writes.
fn write_from(server: &Server, clients: usize, bytes: &[u8]) -> (Vec<TcpStream>, Vec<JoinHandle<()>>) {
    let streams: Vec<TcpStream> = (0..clients).map(|_| server.connect()).collect();
    let write = |stream: &TcpStream| {
        let (mut stream, bytes) = (stream.try_clone().unwrap(), bytes.to_vec());
        std::thread::spawn(move || drop(stream.write_all(&bytes)))
    };
    let threads = streams.iter().map(write).collect();
    (streams, threads)
}

/// Content of blanks without its last byte.
fn unfinished(bytes: usize) -> Vec<u8> {
    let mut message = guide(&" ".repeat(bytes));
    message.pop();
    message
}

#[test]
fn a_server_without_memory_refuses_who_wants_much_and_serves_the_others() {
    let flags = ["questions-per-second", "messages-per-second", "bytes-per-second"];
    let flags = flags.map(|rate| format!("{rate}=1000000000"));
    let flags: Vec<&str> = flags.iter().flat_map(|rate| ["--limit", rate.as_str()]).collect();
    let (dir, server) = serve_within(MEMORY_KIB, &flags);
    let mut honest = server.connect();
    let send = |text: &str| request("send", &[("room", "\"general\""), ("as", "\"ada\"")], text);
    for _ in 0..4 {
        assert_eq!(exchange(&mut honest, &send(&"x".repeat(200_000))).0["status"], "ok");
    }

    let mut acknowledged = Vec::new();
    let mut rounds = 0..;
    let mut serve_honest = || {
        let (pong, _) = exchange(&mut honest, &request("ping", &[], ""));
        assert_eq!(pong["status"], "ok", "{pong}");
        let text = format!("message {}.", rounds.next().unwrap());
        let (reply, _) = exchange(&mut honest, &send(&text));
        match reply["status"] == "ok" {
            true => acknowledged.push(text),
            false => assert_eq!(reply["code"], "busy", "{reply}"),
        }
        reply["status"] == "ok"
    };
    let history = request("history", &[("room", "\"general\""), ("as", "\"eve\"")], "").repeat(200);
    let (readers, mut threads) = write_from(&server, 10, &history);
    let (mut uploads, mut short_uploads) = (Vec::new(), Vec::new());
    for _ in 0..UPLOADS / 20 {
        let (streams, more) = write_from(&server, 20, &unfinished(1 << 20));
        uploads.extend(streams);
        threads.extend(more);
        let (streams, more) = write_from(&server, 10, &unfinished(60_000));
        short_uploads.extend(streams);
        threads.extend(more);
        serve_honest();
    }
    // Who writes uploads ends when it is refused or all is written.
    while threads[10..].iter().any(|thread| !thread.is_finished()) {
        serve_honest();
    }
    let (mut refused, mut kept) = (0, 0);
    for mut stream in uploads {
        let _ = stream.write_all(b" ");
        match read_message(&mut stream) {
            Ok((reply, _)) if reply["code"] == "busy" => {
                assert!(reply["detail"].as_str().unwrap().contains("memory"), "{reply}");
                refused += 1;
            }
            Ok((reply, _)) => {
                assert_eq!(reply["code"], "malformed", "blanks are no JSON: {reply}");
                kept += 1;
            }
            // It was cut off while it wrote.
            Err(_) => refused += 1,
        }
        serve_honest();
    }
    assert!(
        refused >= 100,
        "{refused} of {UPLOADS} MiB were refused, {kept} MiB kept, with memory of 320 MiB"
    );
    for stream in readers.iter().chain(&short_uploads) {
        let _ = stream.shutdown(Shutdown::Both);
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());

    // Their memory is free again.
    comes_true("messages are accepted again", &mut serve_honest);
    comes_true("a new client is served", || {
        let mut stream = server.connect();
        exchange(&mut stream, &request("ping", &[], "")).0["status"] == "ok"
    });
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains("memory allocation of"), "{log}");
    server.kill();
    let server = Server::start(&dir.path().join("data"));
    let all = server.ok(&["tail", "general", "--since", "4", "--no-follow"]);
    for text in &acknowledged {
        assert!(all.contains(text.as_str()), "'{text}' was acknowledged and is lost");
    }
}
