//! The load generator: connections on one epoll, one thread. Of a room's members all get the same
//! bytes, so one of them is read frame by frame; of the others the kernel only counts the bytes
//! (`MSG_TRUNC`), and the bench compares the counts at the end of a round.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::net::{RecvFlags, recv};

use crate::common::requests::HANDSHAKE;
use crate::frames::{Received, Wire, frame_header, framed};

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    wire: Wire,
    rest: Vec<u8>,
    /// What is left of a WebSocket's frame.
    framed: usize,
    /// Bytes of messages that came.
    pub(crate) bytes: u64,
    /// Its bytes are counted, not looked at.
    pub(crate) only_counts: bool,
}

/// All of them, and what is ready.
pub(crate) struct Clients {
    pub(crate) all: Vec<Client>,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    scratch: Vec<u8>,
}

impl Default for Clients {
    fn default() -> Clients {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
        Clients { all: Vec::new(), epoll, events: Vec::with_capacity(1_024), scratch: vec![0; 1 << 20] }
    }
}

impl Clients {
    /// One more connection; its index.
    pub(crate) fn connect(&mut self, addr: &str, wire: Wire) -> usize {
        let mut stream = TcpStream::connect(addr).expect("a server that listens");
        stream.set_nodelay(true).expect("no delay");
        if wire == Wire::WebSocket {
            stream.write_all(HANDSHAKE).expect("a server that reads");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a head");
                head.push(byte[0]);
            }
            assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        }
        stream.set_nonblocking(true).expect("a socket");
        let data = epoll::EventData::new_u64(self.all.len() as u64);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN).expect("room");
        self.all.push(Client { stream, wire, rest: Vec::new(), framed: 0, bytes: 0, only_counts: false });
        self.all.len() - 1
    }

    /// Something else to wait for; gives `token` when it is ready.
    pub(crate) fn watch(&mut self, source: &OwnedFd, token: usize) {
        let data = epoll::EventData::new_u64(token as u64);
        epoll::add(&self.epoll, source, data, epoll::EventFlags::IN).expect("room");
    }

    /// Writes; so little is in flight that a socket takes it.
    pub(crate) fn send(&mut self, index: usize, bytes: &[u8]) {
        let framed = (self.all[index].wire == Wire::WebSocket).then(|| framed(bytes));
        let mut bytes = framed.as_deref().unwrap_or(bytes);
        let mut stream = &self.all[index].stream;
        while !bytes.is_empty() {
            match stream.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => panic!("connection {index}: {error}"),
            }
        }
    }

    /// Waits, and gives who is ready.
    pub(crate) fn wait(&mut self, at_most: Duration, ready: &mut Vec<usize>) {
        let at_most =
            Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: i64::from(at_most.subsec_nanos()) };
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&at_most)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
        ready.clear();
        ready.extend(self.events.iter().map(|event| event.data.u64() as usize));
    }

    /// Reads once what came for a connection that is ready.
    pub(crate) fn read(&mut self, index: usize, mut hear: impl FnMut(Received<'_>)) {
        let client = &mut self.all[index];
        if client.only_counts && client.wire != Wire::WebSocket {
            match recv(&client.stream, &mut self.scratch[..], RecvFlags::TRUNC) {
                Ok((_, 0)) => panic!("connection {index} was closed"),
                Ok((_, n)) => client.bytes += n as u64,
                Err(rustix::io::Errno::AGAIN) => {}
                Err(error) => panic!("connection {index}: {error}"),
            }
            return;
        }
        // What is left of the last read comes first.
        let kept = client.rest.len();
        self.scratch[..kept].copy_from_slice(&client.rest);
        let n = match client.stream.read(&mut self.scratch[kept..]) {
            Ok(0) => panic!("connection {index} was closed"),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("connection {index}: {error}"),
        };
        let (mut at, end) = (0, kept + n);
        loop {
            if client.wire == Wire::WebSocket && client.framed == 0 {
                let Some((head, payload)) = frame_header(&self.scratch[at..end]) else { break };
                at += head;
                client.framed = payload;
            }
            let len = if client.only_counts {
                client.framed.min(end - at)
            } else if let Some((len, heard)) = client.wire.next(&self.scratch[at..end]) {
                hear(heard);
                len
            } else {
                break;
            };
            if len == 0 {
                break;
            }
            at += len;
            client.bytes += len as u64;
            client.framed = client.framed.saturating_sub(len);
        }
        client.rest.clear();
        client.rest.extend_from_slice(&self.scratch[at..end]);
    }

    /// Writes the same to some and waits until each has one reply.
    pub(crate) fn ask_all(&mut self, asked: std::ops::Range<usize>, request: impl Fn(usize) -> Vec<u8>) {
        let mut ready = Vec::new();
        // Not all at once: a server's backlog of work is not what is measured.
        for chunk in asked.collect::<Vec<_>>().chunks(64) {
            for &index in chunk {
                self.send(index, &request(index));
            }
            let mut left = chunk.len();
            while left > 0 {
                self.wait(Duration::from_secs(5), &mut ready);
                for &index in &ready {
                    self.read(index, |heard| left -= usize::from(matches!(heard, Received::Reply)));
                }
            }
        }
    }
}
