//! A stop finishes accepted work, informs all clients and loses nothing. A restart is fast, also with a million
//! messages, and also after kill -9.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use vang_chat::{Command, MessageCommand, Node, Principal, SendId, Seq, State};
use vang_hub::NameMaker;
use vang_journal::{
    Appended, Batch, Draft, Durability, Envelope, MessagePayload, Origin, Payload, Through, Unknown,
    open_journal,
};

use crate::common::{
    Follower, Heard, Place, Raw, Received, assert_kept, assert_one_history, check, follow, history, page,
    received_of, send, tail,
};
use crate::harness::{PATIENCE, Server, comes_true, exchange, folder, ignores, ignoring_ctrl_c, request};

/// The replies to a sender until the server closed the connection.
#[derive(Default)]
struct Answers {
    kept: Vec<Received>,
    stopping: usize,
}

/// Requests that a sender has in flight: less than the server drops after its last reply. A client that sends more
/// during the stop gets a reset, which can destroy replies.
const UNDER_WAY: usize = 512;

/// A sender with many requests in flight that reads to the end of the connection.
fn pipelining_sender(address: &str, name: String, ack: Sender<()>) -> JoinHandle<Answers> {
    let stream = std::net::TcpStream::connect(address).unwrap();
    let mut writing = Raw::new(stream.try_clone().unwrap());
    let mut reading = Raw::new(stream);
    std::thread::spawn(move || {
        let (take, given) = sync_channel(UNDER_WAY);
        let writer = std::thread::spawn({
            let name = name.clone();
            move || {
                for i in 1_u64.. {
                    let id = format!("{name}-{i}");
                    if take.send(()).is_err() || writing.write(&send(&name, &id, &id)).is_err() {
                        return;
                    }
                }
            }
        });
        let mut answers = Answers::default();
        // Until the end of the stream, which the server sends after everything that it owes.
        while let Ok((reply, _)) = reading.read() {
            match (reply["status"].as_str(), reply["code"].as_str()) {
                (Some("ok"), _) => {
                    answers.kept.push(received_of(&reply, reply["re"].as_str().unwrap().as_bytes()));
                }
                (_, Some("stopping")) => answers.stopping += 1,
                (_, Some("busy")) => {}
                _ => panic!("{reply}"),
            }
            given.recv().unwrap();
            let _ = ack.send(());
        }
        drop((reading, given));
        writer.join().unwrap();
        answers
    })
}

#[test]
fn a_stop_under_load_answers_all_accepted_requests() {
    let folder = folder();
    let data = folder.path().join("data");
    let unix = folder.path().join("vang.sock");
    let listen = format!("unix:{}", unix.display());
    let mut server = Server::start_with(&data, "127.0.0.1:0", &["--listen", &listen]);
    assert_eq!(server.listening(), listen);

    let mut follower = Follower::start(&server.addr);
    let mut tail = tail(&server, Some(0));
    let (ack, acks) = channel();
    let senders: Vec<_> =
        (0..8).map(|i| pipelining_sender(&server.addr, format!("s{i}"), ack.clone())).collect();
    for _ in 0..2_000 {
        acks.recv_timeout(PATIENCE).unwrap();
    }
    // It follows now: a process that is still starting would get nothing.
    tail.line();
    server.signal("TERM");
    assert!(server.wait().success(), "a stop that was asked for is no failure");
    drop(server);
    let answers: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
    let kept: Vec<_> = answers.iter().flat_map(|answers| answers.kept.clone()).collect();
    let stopping: usize = answers.iter().map(|answers| answers.stopping).sum();
    eprintln!("{} acknowledged, {stopping} told that it stops", kept.len());

    let mut heard = 0;
    loop {
        match follower.next() {
            Heard::Received(_) => heard += 1,
            Heard::Closing => break,
            Heard::Follows => {}
            other => panic!("{other:?}"),
        }
    }
    tail.said("the server is shutting down");
    assert!(!unix.exists() && !data.join("admin.sock").exists(), "the sockets are gone");
    for file in ["journal.db-wal", "view.db-wal"] {
        assert!(!data.join(file).exists(), "{file}: everything is in one file");
    }

    check(&data);
    let server = Server::start(&data);
    let history = history(&server.addr);
    assert_one_history(&history);
    assert_kept(&history, &kept);
    // Every accepted request was answered: no message was posted without an acknowledgement.
    assert_eq!(history.len(), kept.len());
    assert!(heard <= history.len());
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_slow_clients() {
    let folder = folder();
    let data = folder.path().join("data");
    let mut server = Server::start(&data);
    assert_eq!(Raw::connect(&*server.addr).send("ada", "1", "hi")["n"], 1);
    server.signal("INT");
    assert!(server.wait().success());

    let mut server = Server::start_with(&data, "127.0.0.1:0", &["--limit", "stop-time=1h"]);
    let _slow = reader_that_does_not_read(&server, 300);
    server.signal("INT");
    // The first server, which has the same log, said it once. Two signals that wait together are one.
    comes_true("it is stopping", || server.log().matches("INFO stopping").count() == 2);
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(1));
    drop(server);
    check(&data);
    let server = Server::start(&data);
    assert_eq!(history(&server.addr).len(), 301);
}

#[test]
fn an_inherited_ignored_sigint_stays_ignored_and_sigterm_stops() {
    let folder = folder();
    let data = folder.path().join("data");
    let mut command = ignoring_ctrl_c();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&data);
    let mut server = Server::spawn(command, &data);
    // The kernel drops an ignored signal, so there is nothing to wait for.
    assert!(ignores(server.pid(), Signal::INT));
    server.signal("INT");
    assert_eq!(Raw::connect(&*server.addr).send("ada", "1", "hi")["n"], 1);
    let kill = format!("Stop it with `kill {}`", server.pid());
    assert!(server.log().contains(&kill) && !server.log().contains("Ctrl-C"), "{}", server.log());
    server.signal("TERM");
    assert!(server.wait().success());
}

/// Posts so much that the buffers of a follower that reads nothing are full.
fn reader_that_does_not_read(server: &Server, messages: usize) -> Raw {
    let mut slow = Raw::with_small_buffer(server);
    slow.write(&follow(&Place::Number(0))).unwrap();
    let mut honest = Raw::new(server.connect());
    let text = "x".repeat(64 << 10);
    for i in 0..messages {
        assert_eq!(honest.send("bob", &format!("x{i}"), &text)["status"], "ok");
    }
    slow
}

#[test]
fn a_client_that_never_reads_delays_a_stop_up_to_stop_time() {
    let folder = folder();
    let data = folder.path().join("data");
    let mut server = Server::start_with(&data, "127.0.0.1:0", &["--limit", "stop-time=300ms"]);
    let mut slow = reader_that_does_not_read(&server, 300);
    let mut idle = UnixStream::connect(data.join("admin.sock")).unwrap();
    let (reply, _) = exchange(&mut idle, &request("ping", &[], ""));
    assert_eq!(reply["status"], "ok");
    let asked = Instant::now();
    server.signal("TERM");
    assert!(server.wait().success());
    eprintln!("stopped after {} ms", asked.elapsed().as_millis());
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0, "who owes nothing is closed in order");
    let (reply, _) = slow.read().unwrap();
    assert_eq!(reply["status"], "ok");
    check(&data);
}

const MILLION: u64 = 1_000_000;

/// Almost as many as between two snapshots.
const SINCE_SNAPSHOT: u64 = 64_000;

/// With these it is time for one.
const MORE: u64 = 2_048;

/// Messages of a usual length.
const TEXT: &str = "a message of usual length, more or less";

/// Appends messages to the room general as a server does, but without a server: in the profile of the tests that
/// takes half a minute for a million.
fn write_journal(data: &Path, messages: u64) {
    let mut journal = open_journal(&data.join("journal.db"), Durability::Crash).unwrap();
    let names = NameMaker::new(journal.identity().key);
    let mut room = State::default();
    for sealed in journal.reader().unwrap().sealed(Seq(0), 100).unwrap() {
        let envelope = Envelope::decode(&sealed.envelope).unwrap();
        room.apply(envelope.position(sealed.seq), &envelope.command).unwrap();
    }
    let (time, (room, _)) = (room.time(), room.rooms().next().unwrap());
    let node = Node(0xf111);
    let content = MessagePayload {
        guest: Some("filler".to_owned()),
        content_type: "text/plain".to_owned(),
        content_encoding: "utf-8".to_owned(),
        content: TEXT.into(),
        unknown: Unknown::default(),
    };
    let said = content.encode();
    let from = Principal::Guest(names.make("filler").unwrap().1);
    for batch in (1..=messages).collect::<Vec<_>>().chunks(4_096) {
        let draft = |&counter: &u64| {
            let mut salt = [0; 16];
            salt[..8].copy_from_slice(&counter.to_le_bytes());
            let payload = Payload { salt, bytes: said.clone() };
            let id = Some(SendId { key: salt, print: [1; 16] });
            let origin = Origin { node, counter };
            let command = Command::Message(MessageCommand::Send { room, from, id });
            let envelope = Envelope {
                rules: vang_chat::NEWEST_RULES,
                origin,
                time,
                through: Through::default(),
                digest: payload.digest(),
                command,
            };
            Draft { envelope: envelope.encode(), payload }
        };
        let batch = Batch { drafts: batch.iter().map(draft).collect(), checkpoints: Vec::new() };
        assert!(matches!(journal.append(&batch), Appended::Appended { .. }));
    }
}

/// Posts through the server: connections that write and read at once.
fn fill(server: &Server, connections: u64, each: u64) {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for connection in 0..connections {
            let mut writing = Raw::new(server.connect());
            let mut reading = Raw::new(writing.stream());
            let name = format!("filler{connection}");
            scope.spawn(move || {
                let ids = (1..=each).map(|i| format!("{name}-{i}"));
                for ids in ids.collect::<Vec<_>>().chunks(128) {
                    let sends: Vec<u8> = ids.iter().flat_map(|id| send(&name, id, TEXT)).collect();
                    writing.write(&sends).unwrap();
                }
            });
            scope.spawn(move || {
                for _ in 0..each {
                    let (reply, _) = reading.read().unwrap();
                    assert_eq!(reply["status"], "ok", "{reply}");
                }
            });
        }
    });
    let rate = (connections * each) as f64 / began.elapsed().as_secs_f64();
    eprintln!("{connections} pipelining connections: {rate:.0} sends a second");
}

/// Starts a server, prints the time until it listened, and returns the number of replayed entries.
fn counted_start(data: &Path, when: &str) -> (Server, u64) {
    let began = Instant::now();
    let server = Server::start(data);
    let took = began.elapsed();
    let log = server.log();
    let replayed = log.rsplit_once("replayed=").map_or("", |(_, rest)| rest.lines().next().unwrap());
    eprintln!("ready {} ms {when}; replayed={replayed}", took.as_millis());
    let digits: String = replayed.chars().take_while(char::is_ascii_digit).collect();
    (server, digits.parse().unwrap())
}

/// The entry of the newest snapshot in the view.
fn newest_snapshot(data: &Path) -> i64 {
    let view = rusqlite::Connection::open(data.join("view.db")).unwrap();
    view.busy_timeout(PATIENCE).unwrap();
    view.query_row("SELECT max(seq) FROM snapshot", [], |row| row.get(0)).unwrap()
}

/// P7. The cost of a start is the number of replayed entries. The test counts them, because a clock would measure
/// other load of the machine too. docs/PERFORMANCE.md has the times.
#[test]
fn a_restart_replays_only_entries_after_the_last_snapshot() {
    let folder = folder();
    let data = folder.path().join("data");
    assert!(Server::start(&data).stop().success());
    write_journal(&data, MILLION);
    let newest = |server: &Server, last: u64| {
        let (reply, page) = page(&mut Raw::new(server.connect()), last - 1);
        assert_eq!((reply["end"].as_u64(), page.len()), (Some(last), 1), "{reply}");
    };
    let (server, replayed) = counted_start(&data, "without a view");
    assert_eq!(replayed, MILLION);
    newest(&server, MILLION);
    assert!(server.stop().success());
    let (server, replayed) = counted_start(&data, "after a stop");
    assert_eq!(replayed, 0);
    newest(&server, MILLION);
    fill(&server, 8, SINCE_SNAPSHOT / 8);
    server.kill();
    let (server, replayed) = counted_start(&data, "after kill -9");
    assert!((SINCE_SNAPSHOT..2 * SINCE_SNAPSHOT).contains(&replayed), "{replayed}");
    newest(&server, MILLION + SINCE_SNAPSHOT);
    // A few more, and a snapshot is due: it is written while the server runs.
    let before = newest_snapshot(&data);
    fill(&server, 8, MORE / 8);
    let asked = Instant::now();
    while newest_snapshot(&data) == before {
        assert!(asked.elapsed() < PATIENCE, "no snapshot after {MORE} more entries");
        std::thread::sleep(Duration::from_millis(20));
    }
    server.kill();
    let (server, replayed) = counted_start(&data, "after a snapshot and kill -9");
    assert!(replayed <= MORE, "{replayed}");
    newest(&server, MILLION + SINCE_SNAPSHOT + MORE);
}
