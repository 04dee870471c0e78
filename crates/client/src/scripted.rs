//! A server for the tests: plays to each connection, in turn, what it is told, and hands out what it was
//! asked. After its last script it is gone, and so is its port.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use socket2::{Domain, Socket, Type};
use vang_proto::vang::{
    Code, ErrorReply, EventHead, Speaker, Value, write_error, write_hole, write_message, write_ok,
};
use vang_proto::{Decoder, Frame};

use crate::address::ServerAddr;
use crate::patience::Deadline;

/// What the server does next. At the end of its steps it closes the connection.
#[derive(Clone)]
pub(crate) enum Step {
    /// Reads one request.
    Request,
    /// Reads so many bytes of one.
    Bytes(usize),
    /// Writes these bytes.
    Play(Vec<u8>),
    /// Waits, silently, until the client goes.
    Stay,
    /// Shuts the sending half, and reads until the client goes.
    Drain,
}

pub(crate) struct Server {
    place: ServerAddr,
    requests: Receiver<Frame>,
}

impl Server {
    pub(crate) fn start(scripts: Vec<Vec<Step>>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = ServerAddr::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        let (sender, requests) = channel();
        thread::spawn(move || {
            for script in scripts {
                let (stream, _) = listener.accept().unwrap();
                play(stream, &script, &sender);
            }
        });
        Server { place, requests }
    }

    /// A port at which nobody listens: taken until the tests end, so that nobody else gets it.
    pub(crate) fn closed_port() -> ServerAddr {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        std::mem::forget(socket);
        ServerAddr::parse(&address.to_string()).unwrap()
    }

    pub(crate) fn place(&self) -> ServerAddr {
        self.place.clone()
    }

    /// The next request that came.
    pub(crate) fn request(&self) -> Frame {
        self.requests.recv_timeout(Duration::from_secs(20)).expect("a request was to come")
    }
}

fn play(mut stream: TcpStream, script: &[Step], requests: &Sender<Frame>) {
    let mut decoder = Decoder::default();
    let mut buffer = [0; 4_096];
    for step in script {
        match step {
            Step::Request => {
                let frame = loop {
                    if let Some(frame) = decoder.poll_frame().unwrap() {
                        break frame;
                    }
                    match stream.read(&mut buffer) {
                        Ok(n) if n > 0 => decoder.feed(&buffer[..n]),
                        _ => return,
                    }
                };
                // A test that looks at no request has dropped its end.
                let _ = requests.send(frame);
            }
            Step::Bytes(n) => stream.read_exact(&mut buffer[..*n]).unwrap(),
            Step::Play(bytes) => stream.write_all(bytes).unwrap(),
            Step::Stay | Step::Drain => {
                if matches!(step, Step::Drain) {
                    stream.shutdown(std::net::Shutdown::Write).unwrap();
                }
                while matches!(stream.read(&mut buffer), Ok(n) if n > 0) {}
            }
        }
    }
}

/// Long enough for anything that happens at all.
pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

pub(crate) fn ok(re: u64, keys: &[(&str, Value)], result: &str) -> Vec<u8> {
    write_ok(Some(&re.to_string()), keys, result).to_vec()
}

pub(crate) fn error(re: u64, code: Code, detail: &str, keys: &[(&'static str, Value)]) -> Vec<u8> {
    let mut error = ErrorReply::new(code, detail);
    error.keys = keys.to_vec();
    write_error(Some(&re.to_string()), &error).to_vec()
}

pub(crate) fn message(seq: u64, n: u64, text: &str) -> Bytes {
    let mut out = BytesMut::new();
    let head = EventHead { seq, room: "general", time: "2026-05-01T14:03:00.000Z" };
    write_message(&mut out, head, n, Speaker::Guest("ada"), ("text/plain", "utf-8", text.as_bytes()));
    out.freeze()
}

pub(crate) fn hole(seq: u64, from: u64, to: u64) -> Bytes {
    let mut out = BytesMut::new();
    write_hole(&mut out, seq, "general", (from, to), "not-member");
    out.freeze()
}
