//! Raw clients that implement `docs/PROTOCOL.md` by themselves, so that an error in our own client library cannot
//! hide an error of the server.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType};
use serde_json::Value;

use crate::harness::{PATIENCE, Server, Tail, read_message, request, succeeded, vang};

/// Time between two attempts to connect to a server that is restarting.
const RETRY: Duration = Duration::from_millis(5);

/// Requests that a sender has in flight.
const WINDOW: usize = 8;

/// Size of a slow reader's buffer: one segment over loopback.
const SMALL_BUFFER: usize = 64 << 10;

/// An address outside the ephemeral range: clients that try a port of that range again and again can connect to
/// themselves.
pub(crate) fn lasting_address() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id() as usize * 7;
        let address = format!("127.0.0.1:{}", 12_000 + step % 18_000);
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

/// A connection and its decoder.
pub(crate) struct Raw {
    stream: BufReader<TcpStream>,
}

impl Raw {
    pub(crate) fn new(stream: TcpStream) -> Raw {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Raw { stream: BufReader::with_capacity(1 << 16, stream) }
    }

    pub(crate) fn connect(address: impl Into<String>) -> Raw {
        Raw::new(TcpStream::connect(address.into()).unwrap())
    }

    /// A connection with a small receive buffer. It is set before connecting: shrinking it below the announced
    /// window loses bytes, and TCP needs minutes to recover from that.
    pub(crate) fn with_small_buffer(server: &Server) -> Raw {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        set_socket_recv_buffer_size(&socket, SMALL_BUFFER).unwrap();
        rustix::net::connect(&socket, &server.socket_addr()).unwrap();
        Raw::new(TcpStream::from(socket))
    }

    /// A second handle for writing while another thread reads.
    pub(crate) fn stream(&self) -> TcpStream {
        self.stream.get_ref().try_clone().unwrap()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub(crate) fn read(&mut self) -> std::io::Result<(Value, Vec<u8>)> {
        read_message(&mut self.stream)
    }

    /// Sends a request and waits for the reply; drops events before it.
    pub(crate) fn ask(&mut self, bytes: &[u8]) -> (Value, Vec<u8>) {
        self.write(bytes).unwrap();
        loop {
            let (header, content) = self.read().unwrap();
            if header.get("event").is_none() {
                return (header, content);
            }
        }
    }

    /// Posts a message; returns the header of the reply.
    pub(crate) fn send(&mut self, name: &str, id: &str, text: &str) -> Value {
        self.ask(&send(name, id, text)).0
    }
}

pub(crate) fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// A `send` to the room general.
pub(crate) fn send(name: &str, id: &str, text: &str) -> Vec<u8> {
    let (name, id) = (quoted(name), quoted(id));
    request("send", &[("as", &name), ("room", "\"general\""), ("id", &id)], text)
}

/// Where a `follow` begins.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Number(u64),
    At { journal: String, epoch: String, seq: u64 },
}

pub(crate) fn follow(place: &Place) -> Vec<u8> {
    match place {
        Place::Number(n) => request("follow", &[("room", "\"general\""), ("since", &n.to_string())], ""),
        Place::At { journal, epoch, seq } => {
            let keys = [
                ("room", "\"general\""),
                ("journal", &*quoted(journal)),
                ("epoch", &*quoted(epoch)),
                ("seq", &*seq.to_string()),
            ];
            request("follow", &keys, "")
        }
    }
}

/// A message of the room general, as a reader receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) seq: u64,
    pub(crate) n: u64,
    pub(crate) text: String,
}

pub(crate) fn received_of(header: &Value, content: &[u8]) -> Received {
    Received {
        seq: header["seq"].as_u64().unwrap(),
        n: header["n"].as_u64().unwrap(),
        text: String::from_utf8_lossy(content).into_owned(),
    }
}

/// One page of history after this number: its reply, and its messages.
pub(crate) fn page(raw: &mut Raw, since: u64) -> (Value, Vec<Received>) {
    let asked = request("history", &[("room", "\"general\""), ("since", &since.to_string())], "");
    let (reply, content) = raw.ask(&asked);
    let mut frames = &content[..];
    let mut page = Vec::new();
    while reply["status"] == "ok" && !frames.is_empty() {
        let (header, content) = read_message(&mut frames).unwrap();
        assert_eq!(header["event"], "message", "history shows only messages here: {header}");
        page.push(received_of(&header, &content));
    }
    (reply, page)
}

/// The whole history of the room general; asks again while the view is behind.
pub(crate) fn history(address: &str) -> Vec<Received> {
    let mut raw = Raw::connect(address);
    let mut all = Vec::new();
    let mut since = 0;
    let end = Instant::now() + PATIENCE;
    loop {
        let (reply, page) = page(&mut raw, since);
        if reply["code"] == "view-behind" {
            assert!(Instant::now() < end, "the view stays behind");
            continue;
        }
        assert_eq!(reply["status"], "ok", "{reply}");
        all.extend(page);
        since = reply["last"].as_u64().unwrap();
        if since == reply["end"].as_u64().unwrap() {
            return all;
        }
    }
}

/// Reads the server's feed from its beginning, until the room general was announced.
pub(crate) fn read_server_feed(address: &str) {
    let mut raw = Raw::connect(address);
    let (hello, _) = raw.ask(&request("hello", &[], ""));
    let keys = [("feeds", "[\"server\"]"), ("journal", &*hello["journal"].to_string()), ("seq", "0")];
    let (reply, _) = raw.ask(&request("follow", &keys, ""));
    assert_eq!(reply["status"], "ok", "{reply}");
    let (event, _) = raw.read().unwrap();
    assert_eq!((&event["event"], &event["room"]), (&"room-created".into(), &"general".into()), "{event}");
}

/// Asserts a consistent history: numbers from 1 without a gap, rising positions, no duplicates.
pub(crate) fn assert_one_history(history: &[Received]) {
    for (said, n) in history.iter().zip(1..) {
        assert_eq!(said.n, n, "numbers have no gap");
    }
    assert!(history.windows(2).all(|two| two[0].seq < two[1].seq), "positions rise");
    let mut texts: Vec<_> = history.iter().map(|said| &said.text).collect();
    texts.sort();
    let all = texts.len();
    texts.dedup();
    assert_eq!(texts.len(), all, "no message is there twice");
}

/// Asserts that every acknowledged message is there, with the number and position of its acknowledgement.
pub(crate) fn assert_kept(history: &[Received], acknowledged: &[Received]) {
    let there: BTreeMap<_, _> = history.iter().map(|said| (&said.text, said)).collect();
    for promised in acknowledged {
        assert_eq!(there.get(&promised.text), Some(&promised), "acknowledged, and not as it was told");
    }
}

/// Runs `vang admin check`, which must pass; returns its output.
pub(crate) fn check(data: &Path) -> String {
    let args = ["admin", "check", "--data", data.to_str().unwrap()];
    let said = succeeded(&args, vang().args(args).output().unwrap());
    assert!(said.starts_with("ok: journal "), "{said}");
    said
}

/// GET: status and body.
pub(crate) fn get(server: &Server, path: &str) -> (u16, String) {
    let mut stream = server.connect();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split("\r\n\r\n").nth(1).unwrap().to_owned())
}

/// A client that sends with ids, several in flight, and repeats unanswered ones, until `enough`. It sends each
/// acknowledgement to `acks`.
pub(crate) fn sender(
    address: &str,
    name: String,
    enough: Arc<AtomicBool>,
    acks: Sender<Received>,
) -> JoinHandle<()> {
    let address: SocketAddr = address.parse().unwrap();
    std::thread::spawn(move || {
        let mut next = 0;
        let mut pending: VecDeque<String> = VecDeque::new();
        while !(enough.load(Ordering::Relaxed) && pending.is_empty()) {
            let Ok(stream) = TcpStream::connect(address) else {
                std::thread::sleep(RETRY);
                continue;
            };
            // After any end of the connection the next one repeats pending messages, in the same order.
            let _ = talk(&mut Raw::new(stream), &name, &mut next, &mut pending, &enough, &acks);
        }
    })
}

fn talk(
    raw: &mut Raw,
    name: &str,
    next: &mut u64,
    pending: &mut VecDeque<String>,
    enough: &AtomicBool,
    acks: &Sender<Received>,
) -> std::io::Result<()> {
    for id in pending.iter() {
        raw.write(&send(name, id, id))?;
    }
    loop {
        while pending.len() < WINDOW && !enough.load(Ordering::Relaxed) {
            *next += 1;
            let id = format!("{name}-{next}");
            raw.write(&send(name, &id, &id))?;
            pending.push_back(id);
        }
        let Some(id) = pending.front() else { return Ok(()) };
        let (reply, _) = raw.read()?;
        if reply["status"] != "ok" {
            let passing = ["stopping", "unavailable", "unknown", "busy", "disk-full"];
            assert!(passing.contains(&reply["code"].as_str().unwrap()), "{reply}");
            return Ok(());
        }
        assert_eq!(reply["re"], **id, "replies come in the order of the requests");
        acks.send(received_of(&reply, id.as_bytes())).unwrap();
        pending.pop_front();
    }
}

/// What a follower received.
#[derive(Clone, Debug)]
pub(crate) enum Heard {
    Received(Received),
    Follows,
    /// The reply that refused to follow from this position.
    Refused(Value),
    Closing,
    Lost,
}

/// A raw follower of the room general from its beginning, which resumes by journal, epoch and seq.
pub(crate) struct Follower {
    heard: Receiver<Heard>,
}

impl Follower {
    pub(crate) fn start(address: &str) -> Follower {
        let (tell, heard) = channel();
        let address = address.parse().unwrap();
        std::thread::spawn(move || {
            let mut place = Place::Number(0);
            let mut last = 0;
            // Ends when its receiver is dropped.
            while tell.send(Heard::Lost).is_ok() {
                let Ok(stream) = TcpStream::connect::<SocketAddr>(address) else {
                    std::thread::sleep(RETRY);
                    continue;
                };
                let _ = listen(&mut Raw::new(stream), &mut place, &mut last, &tell);
                std::thread::sleep(RETRY);
            }
        });
        Follower { heard }
    }

    /// The next one, without lost connections.
    pub(crate) fn next(&mut self) -> Heard {
        loop {
            match self.heard.recv_timeout(PATIENCE).expect("a follower hears something") {
                Heard::Lost => {}
                heard => return heard,
            }
        }
    }

    /// The next message.
    pub(crate) fn received(&mut self) -> Received {
        self.wait_for("a message", |heard| match heard {
            Heard::Received(received) => Some(received),
            _ => None,
        })
    }

    /// The next refusal.
    pub(crate) fn refused(&mut self) -> Value {
        self.wait_for("a refusal", |heard| match heard {
            Heard::Refused(reply) => Some(reply),
            _ => None,
        })
    }

    /// Ends after a limit, whatever else arrives.
    fn wait_for<T>(&mut self, what: &str, wanted: impl Fn(Heard) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = wanted(self.next()) {
                return found;
            }
            assert!(Instant::now() < end, "a follower never heard {what}");
        }
    }

    /// Every message up to the one with this text.
    pub(crate) fn until(&mut self, text: &str) -> Vec<Received> {
        let mut all = Vec::new();
        loop {
            all.push(self.received());
            if all.last().is_some_and(|said| said.text == text) {
                return all;
            }
        }
    }
}

fn listen(raw: &mut Raw, place: &mut Place, last: &mut u64, tell: &Sender<Heard>) -> std::io::Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    raw.write(&follow(place))?;
    loop {
        let (header, content) = raw.read()?;
        let heard = match (header["event"].as_str(), header["code"].as_str()) {
            (Some("message"), _) => {
                let said = received_of(&header, &content);
                *last = said.n;
                Heard::Received(said)
            }
            (Some("closing"), _) => Heard::Closing,
            (Some("epoch"), _) => {
                if let Place::At { epoch, .. } = &mut *place {
                    *epoch = text(&header["epoch"]);
                }
                continue;
            }
            (Some(_), _) => Heard::Lost,
            (None, None) => {
                let (journal, epoch) = (text(&header["journal"]), text(&header["epoch"]));
                *place = Place::At { journal, epoch, seq: header["seq"].as_u64().unwrap() };
                Heard::Follows
            }
            (None, Some(code)) => {
                match (code, &mut *place) {
                    ("seq-ahead", Place::At { epoch, seq, .. }) if header["seq"].is_u64() => {
                        (*seq, *epoch) = (header["seq"].as_u64().unwrap(), text(&header["epoch"]));
                    }
                    ("journal-changed", place) if header["seq"].is_u64() => {
                        let (journal, epoch) = (text(&header["journal"]), text(&header["epoch"]));
                        *place = Place::At { journal, epoch, seq: header["seq"].as_u64().unwrap() };
                    }
                    ("seq-ahead" | "journal-changed", _) => *place = Place::Number(*last),
                    _ => {}
                }
                let _ = tell.send(Heard::Refused(header));
                return Ok(());
            }
        };
        if let (Some(new), Place::At { seq, .. }) = (header["seq"].as_u64(), &mut *place) {
            *seq = new.max(*seq);
        }
        if tell.send(heard).is_err() {
            return Err(std::io::ErrorKind::Other.into());
        }
    }
}

/// A `vang tail --json` of the room general.
pub(crate) fn tail(server: &Server, since: Option<u64>) -> Tail {
    let since = since.map(|since| since.to_string());
    let mut args = vec!["tail", "general", "--json"];
    args.extend(since.iter().flat_map(|since| ["--since", since.as_str()]));
    Tail::start(server.client(&args))
}

/// The next message that a tail shows.
pub(crate) fn shown(tail: &mut Tail) -> Received {
    let line = tail.json();
    assert_eq!(line["event"], "message", "{line}");
    received_of(&line, line["text"].as_str().unwrap().as_bytes())
}

/// All messages that it shows, up to the one with this text.
pub(crate) fn shown_until(tail: &mut Tail, text: &str) -> Vec<Received> {
    let mut all = Vec::new();
    loop {
        all.push(shown(tail));
        if all.last().is_some_and(|said| said.text == text) {
            return all;
        }
    }
}

/// Copies the files of a data folder; sockets belong to the process that made them.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
