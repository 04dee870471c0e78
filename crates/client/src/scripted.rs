//! A scripted server for the tests: each connection gets the next script; requests can be inspected. After the
//! last script the server and its port are gone.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use socket2::{Domain, Socket, Type};
use vang_proto::vang::{
    Code, Content, ErrorReply, Event, ReplyKeys, RoomEvent, Speaker, Value, write_error, write_ok,
};
use vang_proto::{Decoder, Frame};

use crate::address::ServerAddr;
use crate::retry::Deadline;

/// One step of a script. After the last step the server closes the connection.
#[derive(Clone)]
pub(crate) enum Step {
    Request,
    Bytes(usize),
    Write(Vec<u8>),
    /// Waits until the client closes.
    Hold,
    /// Shuts the sending half and reads until the client closes.
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

    /// A port without a listener, reserved until the tests end.
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

    /// The next request received.
    pub(crate) fn request(&self) -> Frame {
        self.requests.recv_timeout(Duration::from_secs(20)).expect("a request comes")
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
                // A test that inspects no request has dropped the receiver.
                let _ = requests.send(frame);
            }
            Step::Bytes(n) => stream.read_exact(&mut buffer[..*n]).unwrap(),
            Step::Write(bytes) => stream.write_all(bytes).unwrap(),
            Step::Hold | Step::Drain => {
                if matches!(step, Step::Drain) {
                    stream.shutdown(std::net::Shutdown::Write).unwrap();
                }
                while matches!(stream.read(&mut buffer), Ok(n) if n > 0) {}
            }
        }
    }
}

/// A deadline that no passing test reaches.
pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

pub(crate) fn ok(re: u64, keys: &impl ReplyKeys, result: &str) -> Vec<u8> {
    write_ok(Some(&re.to_string()), keys, result).to_vec()
}

pub(crate) fn error(re: u64, code: Code, detail: &str, keys: &[(&'static str, Value)]) -> Vec<u8> {
    let mut error = ErrorReply::new(code, detail);
    error.keys = keys.to_vec();
    write_error(Some(&re.to_string()), &error).to_vec()
}

pub(crate) fn message(seq: u64, n: u64, text: &str) -> Bytes {
    let what = RoomEvent::Message { n, from: Speaker::Guest("ada"), time: "2026-05-01T14:03:00.000Z" };
    let content = Content { bytes: text.as_bytes(), ..Content::NONE };
    let mut out = BytesMut::new();
    Event::Room { seq, room: "general", what }.write(&mut out, content);
    out.freeze()
}

pub(crate) fn hole(seq: u64, from: u64, to: u64) -> Bytes {
    let what = RoomEvent::Hole { from, to, why: "not-member" };
    Event::Room { seq, room: "general", what }.to_bytes()
}
