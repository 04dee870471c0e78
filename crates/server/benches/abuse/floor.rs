//! The floor: a bare epoll echo on one thread. Attackers get the beginning of what they wrote, if their
//! socket takes it; the honest client gets its frame back, and a frame that asks for it is written to a
//! file first, with one `fdatasync` a round. Every turn is bounded: one read of at most 64 KiB a
//! connection, so many new connections a round.
//!
//! ```text
//! honest frame = `floor-ping` or `floor-send`, filled up to 128 bytes; anything else is an attacker's
//! ```

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use rustix::event::epoll;

/// Bytes of an honest frame.
pub(crate) const FRAME: usize = 128;
pub(crate) const PING: &[u8] = b"floor-ping";
pub(crate) const SEND: &[u8] = b"floor-send";

/// New connections a round.
const ACCEPTS: usize = 64;
/// What an attacker gets back of one read, bytes.
const ECHO: usize = 64;

struct Connection {
    stream: TcpStream,
    /// Nothing came yet, or what did is an honest client's.
    honest: bool,
    /// The beginning of an honest frame that is not whole.
    rest: Vec<u8>,
}

pub(crate) fn run(announce: impl Fn(&str), log: &Path) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    // As many as vang lets wait.
    rustix::net::listen(&listener, 1_024).expect("a longer queue");
    listener.set_nonblocking(true).expect("a socket");
    announce(&listener.local_addr().expect("an address").to_string());
    let mut log = File::create(log).expect("a file");
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
    let add = |source: &dyn std::os::fd::AsFd, token| {
        let data = epoll::EventData::new_u64(token);
        epoll::add(&epoll, source.as_fd(), data, epoll::EventFlags::IN).expect("room");
    };
    add(&listener, u64::MAX);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut ready: Vec<epoll::Event> = Vec::with_capacity(1_024);
    let mut scratch = vec![0; 64 << 10];
    let mut owed: Vec<usize> = Vec::new();
    loop {
        ready.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut ready), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
        for happened in &ready {
            let token = happened.data.u64();
            if token == u64::MAX {
                for (stream, _) in std::iter::from_fn(|| listener.accept().ok()).take(ACCEPTS) {
                    stream.set_nonblocking(true).expect("a socket");
                    stream.set_nodelay(true).expect("no delay");
                    let at = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    add(&stream, at as u64);
                    connections[at] = Some(Connection { stream, honest: true, rest: Vec::new() });
                }
                continue;
            }
            let at = token as usize;
            let Some(connection) = &mut connections[at] else { continue };
            match connection.stream.read(&mut scratch) {
                Ok(n @ 1..) => connection.take(&scratch[..n], at, &mut owed),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => {
                    connections[at] = None;
                    free.push(at);
                }
            }
        }
        if !owed.is_empty() {
            log.write_all(&vec![b'x'; owed.len() * FRAME]).expect("room on the disk");
            log.sync_data().expect("a sync");
        }
        for at in owed.drain(..) {
            if let Some(connection) = &mut connections[at] {
                let _ = connection.stream.write(&[b'x'; FRAME]);
            }
        }
    }
}

impl Connection {
    /// Answers what came; who is owed an answer after the round's sync is put on the list.
    fn take(&mut self, bytes: &[u8], at: usize, owed: &mut Vec<usize>) {
        self.honest = self.honest && (!self.rest.is_empty() || bytes.starts_with(b"floor-"));
        if !self.honest {
            // What the socket does not take is dropped.
            let _ = self.stream.write(&bytes[..bytes.len().min(ECHO)]);
            return;
        }
        self.rest.extend_from_slice(bytes);
        while self.rest.len() >= FRAME {
            let frame: Vec<u8> = self.rest.drain(..FRAME).collect();
            if frame.starts_with(SEND) {
                owed.push(at);
            } else {
                let _ = self.stream.write(&frame);
            }
        }
    }
}
