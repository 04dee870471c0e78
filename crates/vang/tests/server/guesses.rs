//! Thousands of guesses at one account's password, from a thousand addresses: hardly any is hashed, the owner signs in all the same,
//! and tokens do not wait. Hashes are counted; how long the owner waited is printed (`--nocapture`).

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use mio::{Events, Interest, Poll, Token};
use serde_json::Value;

use crate::common::{ask, comes_true, serve_process};
use crate::doors::{operate, quoted};
use crate::harness::{PATIENCE, Server, exchange, read_message, request};

const GUESSES: u64 = 10_000;

/// Guesses under way at once, each on a connection of its own: after `busy` a connection is not read for a second.
const AT_ONCE: usize = 256;

/// Passwords of one account that wait: of strangers, and from known addresses, 32 each (limit `passwords-per-account`).
const WAITING: u64 = 2 * 32;

/// From here the first guesses come, and then every fourth.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 9);

/// The attacker's neighbours: from one the owner signed in before, from the other nobody did.
const OWNERS: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 77);
const NOBODYS: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 78);

const PASSWORD: &str = "several plain words";

/// How much memory the attack takes at most, KiB: 256 MiB. A hash takes 19 MiB. On a fast machine all ten thousand connections,
/// of up to 16 KiB, are there in the second in which those that were refused are not read.
const MEMORY_KIB: u64 = 256 << 10;

/// A connection from this address of the machine.
fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The address of a guess: a thousand networks of one address each, and `ATTACKER`.
fn address(number: u64) -> Ipv4Addr {
    match number {
        0..256 => ATTACKER,
        _ if number.is_multiple_of(4) => ATTACKER,
        _ => Ipv4Addr::new(127, 10 + (number / 250 % 4) as u8, (number % 250) as u8, 1),
    }
}

#[derive(Default)]
struct Counts {
    /// Guesses that were hashed: found to be wrong.
    wrong: AtomicU64,
    busy: AtomicU64,
    is_over: AtomicBool,
}

impl Counts {
    fn answered(&self) -> u64 {
        self.wrong.load(Ordering::SeqCst) + self.busy.load(Ordering::SeqCst)
    }

    fn add(&self, code: &str) {
        match code {
            "wrong-secret" => self.wrong.fetch_add(1, Ordering::SeqCst),
            "busy" => self.busy.fetch_add(1, Ordering::SeqCst),
            other => panic!("a guess was answered {other}"),
        };
    }
}

/// A guess whose answer has not come.
struct Guess {
    stream: mio::net::TcpStream,
    is_http: bool,
    received: Vec<u8>,
}

impl Guess {
    /// Every twentieth comes by HTTP, as the page signs in.
    fn send(number: u64, to: SocketAddr) -> Guess {
        let is_http = number % 20 == 9;
        let guess = format!("guess number {number}");
        let bytes = if is_http {
            let body = format!(r#"{{"name": "ada", "password": "{guess}"}}"#);
            let length = body.len();
            let head = "Host: localhost\r\nOrigin: http://localhost\r\nConnection: close";
            format!("POST /session HTTP/1.1\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
        } else {
            request("sign-in", &[("as", "\"ada\""), ("password", &quoted(&guess))], "")
        };
        let mut stream = connect(address(number), to);
        stream.write_all(&bytes).unwrap();
        stream.set_nonblocking(true).unwrap();
        Guess { stream: mio::net::TcpStream::from_std(stream), is_http, received: Vec::new() }
    }

    /// The code of its answer, when that is there. `busy` names a time.
    fn answer(&mut self) -> Option<String> {
        let mut bytes = [0; 4_096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) if self.is_http => break,
                Ok(0) => panic!("a guess was not answered"),
                Ok(n) => self.received.extend(&bytes[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("a guess was not answered: {error}"),
            }
        }
        if self.is_http {
            let text = std::str::from_utf8(&self.received).unwrap();
            let (head, body) = text.split_once("\r\n\r\n")?;
            let body: Value = serde_json::from_str(body).ok()?;
            let code = body["error"]["code"].as_str().unwrap().to_owned();
            assert_eq!(code == "busy", head.contains("\r\nretry-after: "), "{head}");
            return Some(code);
        }
        let (header, _) = read_message(&mut self.received.as_slice()).ok()?;
        let code = header["code"].as_str().unwrap().to_owned();
        assert_eq!(code == "busy", header["retry-after"].is_u64(), "{header}");
        Some(code)
    }
}

/// Guesses until all are answered and the owner is done; then those that are answered without waiting. What is left waits.
fn attack(to: SocketAddr, counts: &Counts) -> usize {
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(AT_ONCE);
    let mut guesses: Vec<Option<Guess>> = (0..AT_ONCE).map(|_| None).collect();
    let mut free: Vec<usize> = (0..AT_ONCE).collect();
    let mut sent = 0;
    loop {
        let goes_on = counts.answered() < GUESSES || !counts.is_over.load(Ordering::SeqCst);
        while goes_on && let Some(slot) = free.pop() {
            let mut guess = Guess::send(sent, to);
            sent += 1;
            poll.registry().register(&mut guess.stream, Token(slot), Interest::READABLE).unwrap();
            guesses[slot] = Some(guess);
        }
        let left = AT_ONCE - free.len();
        // One is hashed, others wait.
        if !goes_on && left as u64 <= WAITING + 1 {
            return left;
        }
        poll.poll(&mut events, Some(PATIENCE)).unwrap();
        assert!(!events.is_empty(), "{left} guesses got no answer");
        for Token(slot) in events.iter().map(mio::event::Event::token) {
            let Some(code) = guesses[slot].as_mut().and_then(Guess::answer) else { continue };
            counts.add(&code);
            guesses[slot] = None;
            free.push(slot);
        }
    }
}

/// A number of `/metrics`.
fn metric(server: &Server, name: &str) -> u64 {
    let get = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let text = String::from_utf8(ask(&server.addr, get)).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

#[test]
fn the_owner_signs_in_while_ten_thousand_guesses_come() {
    let (dir, server) = serve_process(&["--limit", "password-threads=1"]);
    let data = dir.path().join("data");
    operate(&data, "account-add", &[("name", "\"ada\"")]);
    operate(&data, "password", &[("name", "\"ada\""), ("new", &quoted(PASSWORD))]);
    let to = server.socket_addr();
    let sign_in = |from: Ipv4Addr, more: &[(&str, &str)]| {
        let password = quoted(PASSWORD);
        let keys = [&[("as", "\"ada\""), ("password", &*password)][..], more].concat();
        exchange(&mut connect(from, to), &request("sign-in", &keys, "")).0
    };
    // What the server knows of the owner before the attack: an address, and a device that signed in elsewhere.
    assert_eq!(sign_in(OWNERS, &[])["name"], "ada");
    let device = sign_in(Ipv4Addr::new(127, 200, 0, 1), &[("device", "\"phone\"")]);
    let token = quoted(device["token"].as_str().unwrap());
    let (hashed, memory) = (metric(&server, "vang_password_hashes_total"), server.status_kib("VmHWM"));

    let counts = Counts::default();
    let left = std::thread::scope(|scope| {
        let attacking = scope.spawn(|| attack(to, &counts));
        // Also when an assertion fails below.
        let _end = End(&counts.is_over);
        let refused = |least: u64| {
            comes_true("more guesses are refused", || {
                assert!(!attacking.is_finished(), "the attack ended early");
                counts.busy.load(Ordering::SeqCst) >= least
            });
        };
        let is_owner_in = |how: &str, from: Ipv4Addr, more: &[(&str, &str)]| {
            let (before, began) = (metric(&server, "vang_password_hashes_total"), Instant::now());
            let answer = sign_in(from, more);
            let waited = began.elapsed();
            assert_eq!(answer["name"], "ada", "{how}: {answer}");
            let hashes = metric(&server, "vang_password_hashes_total") - before;
            println!("{how}: {waited:.1?}, {hashes} hashes");
            assert!(hashes < WAITING / 4, "{how}: {hashes} hashes, the owner's one of them");
        };
        for round in 1..=3 {
            refused(round * GUESSES / 5);
            assert!(metric(&server, "vang_passwords_waiting") <= WAITING);
            is_owner_in("from a known address", OWNERS, &[]);
            if round == 1 {
                // From an address that is not known, the right password is one guess more of that network.
                assert_eq!(sign_in(NOBODYS, &[])["code"], "busy");
            }
            is_owner_in("on a known device, from the attacker's address", ATTACKER, &[("token", &token)]);
        }
        let before = metric(&server, "vang_password_hashes_total");
        for _ in 0..100 {
            let by_token = request("sign-in", &[("token", &token)], "");
            assert_eq!(exchange(&mut connect(ATTACKER, to), &by_token).0["name"], "ada");
        }
        let hashes = metric(&server, "vang_password_hashes_total") - before;
        assert!(hashes < WAITING, "100 tokens signed in behind {hashes} hashes");
        counts.is_over.store(true, Ordering::SeqCst);
        attacking.join().unwrap()
    });
    let hashed = metric(&server, "vang_password_hashes_total") - hashed;
    let (wrong, busy) = (counts.wrong.load(Ordering::SeqCst), counts.busy.load(Ordering::SeqCst));
    println!("{wrong} guesses wrong, {busy} refused, {left} waiting; {hashed} hashes");
    assert!(wrong + busy >= GUESSES && hashed <= 100, "{hashed} hashes");
    assert!(metric(&server, "vang_passwords_refused_total") >= busy);
    let memory = server.status_kib("VmHWM") - memory;
    println!("memory: {memory} KiB more");
    assert!(memory <= MEMORY_KIB, "{memory} KiB");
}

/// Ends the attack.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
