//! The floor: the cheapest server that does to the sockets what a chat server does. One thread, one
//! epoll. A round: read every ready socket, then write to each member once all that came. No JSON, no
//! state, nobody is asked who they are; a journal only when asked for, and then only bytes and one
//! `fdatasync` a round. What it writes has as many bytes as vang's events and replies.
//!
//! ```text
//! frame = u16 length | one letter | anything; the content is its end
//!         f: follow, p: publish       a: answer, e: event
//! ```

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use rustix::event::epoll;

use crate::frames::{CONTENT, floor_frame, floor_len};

struct Member {
    stream: TcpStream,
    follows: bool,
    /// The beginning of a frame that is not whole.
    rest: Vec<u8>,
    /// What this round owes to this connection alone.
    answers: Vec<u8>,
    /// What its socket did not take.
    unsent: Vec<u8>,
}

pub(crate) fn run(announce: impl Fn(&str), log: Option<&Path>, event_bytes: usize, reply_bytes: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    announce(&listener.local_addr().expect("an address").to_string());
    let mut log = log.map(|path| File::create(path).expect("a file"));
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
    let add = |source: &dyn std::os::fd::AsFd, token| {
        let data = epoll::EventData::new_u64(token);
        epoll::add(&epoll, source.as_fd(), data, epoll::EventFlags::IN).expect("room");
    };
    add(&listener, u64::MAX);
    let mut members: Vec<Option<Member>> = Vec::new();
    let mut ready: Vec<epoll::Event> = Vec::with_capacity(1_024);
    let mut scratch = vec![0; 64 << 10];
    let (mut event, answer) = (floor_frame(b'e', event_bytes), floor_frame(b'a', reply_bytes));
    let (mut round, mut answered) = (Vec::new(), Vec::new());
    loop {
        ready.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut ready), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
        for happened in &ready {
            let token = happened.data.u64();
            if token == u64::MAX {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).expect("a socket");
                    stream.set_nodelay(true).expect("no delay");
                    add(&stream, members.len() as u64);
                    let (rest, answers, unsent) = (Vec::new(), Vec::new(), Vec::new());
                    members.push(Some(Member { stream, follows: false, rest, answers, unsent }));
                }
                continue;
            }
            let Some(member) = &mut members[token as usize] else { continue };
            match member.stream.read(&mut scratch) {
                Ok(0) => members[token as usize] = None,
                Ok(n) => {
                    member.rest.extend_from_slice(&scratch[..n]);
                    let mut at = 0;
                    while let Some(len) = floor_len(&member.rest[at..]) {
                        let frame = &member.rest[at..at + len];
                        match frame[2] {
                            b'f' => member.follows = true,
                            _ => {
                                event[event_bytes - CONTENT..].copy_from_slice(&frame[len - CONTENT..]);
                                round.extend_from_slice(&event);
                            }
                        }
                        member.answers.extend_from_slice(&answer);
                        at += len;
                    }
                    member.rest.drain(..at);
                    answered.push(token);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => members[token as usize] = None,
            }
        }
        if let Some(log) = &mut log
            && !round.is_empty()
        {
            log.write_all(&round).expect("room on the disk");
            log.sync_data().expect("a sync");
        }
        for token in answered.drain(..) {
            if let Some(member) = &mut members[token as usize] {
                let answers = std::mem::take(&mut member.answers);
                write_to(member, &answers);
            }
        }
        for member in members.iter_mut().flatten() {
            if member.follows && !(round.is_empty() && member.unsent.is_empty()) {
                write_to(member, &round);
            }
        }
        round.clear();
    }
}

/// One write.
fn write_to(member: &mut Member, bytes: &[u8]) {
    if !member.unsent.is_empty() {
        member.unsent.extend_from_slice(bytes);
        let sent = member.stream.write(&member.unsent).unwrap_or(0);
        member.unsent.drain(..sent);
        return;
    }
    let sent = member.stream.write(bytes).unwrap_or(0);
    member.unsent.extend_from_slice(&bytes[sent..]);
}
