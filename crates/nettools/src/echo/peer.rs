//! One connection of the echo server: reads, sends back at once, and keeps what the kernel did not take. While it keeps
//! bytes it does not read, so that a peer that does not receive costs one buffer. Every model uses this type; they differ
//! in how they wait.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::server_records::{CloseReason, Counts, Reporter};
use super::work::Work;
use crate::peer_name::PeerName;
use crate::transport::Transport;
use crate::{Stop, quoted};

/// Bytes of one read, and most bytes that are kept: 64 KiB. More is not faster.
pub(super) const BUFFER: usize = 1 << 16;

/// Bytes shown of a read or write under `--explain`.
pub(super) const NARRATED_MAX: usize = 32;

/// Steps of one peer before the others' turn.
const STEPS: usize = 16;

/// The result of one step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Bytes were read and sent back. `drained`: the receive queue is empty.
    Moved {
        drained: bool,
    },
    /// Nothing to read.
    NoRead,
    /// The send queue is full.
    NoWrite,
    Gone(CloseReason),
}

/// What a peer waits for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Read,
    Write,
    /// It has more to do, after the others' turn.
    Again,
    Gone(CloseReason),
}

/// One connection. Dropping it closes the connection and records its end.
pub(super) struct Peer {
    pub(super) transport: Transport,
    peer_name: String,
    /// TCP, where the side that closes first keeps TIME_WAIT.
    is_net: bool,
    number: u64,
    began: Instant,
    /// Bytes that the kernel did not take, from `from` on.
    kept: Vec<u8>,
    from: usize,
    pub(super) counts: Counts,
    /// With `--greet`: reads everything, then answers with two texts.
    greets: bool,
    /// For each read: a message, if it comes whole.
    work: Work,
    /// Ends the work.
    stop: Stop,
    /// The peer closed its sending half before our answer.
    half: bool,
    how: Option<CloseReason>,
    reporter: Arc<Reporter>,
}

impl Peer {
    pub(super) fn new(
        transport: Transport,
        peer_name: PeerName,
        greets: bool,
        (work, stop): (Work, Stop),
        reporter: Arc<Reporter>,
    ) -> Peer {
        let (is_net, peer_name) = (matches!(peer_name, PeerName::Net(_)), peer_name.to_string());
        reporter.explain(|| {
            format!("accept: the kernel returns a new socket for the connection from {peer_name}")
        });
        let number = reporter.connected(&peer_name);
        let (counts, began) = (Counts::default(), Instant::now());
        Peer {
            transport,
            peer_name,
            is_net,
            number,
            began,
            kept: Vec::new(),
            from: 0,
            counts,
            greets,
            work,
            stop,
            half: false,
            how: None,
            reporter,
        }
    }

    /// Bytes so far: a peer with no change between two checks is idle.
    pub(super) fn moved(&self) -> u64 {
        self.counts.bytes + self.from as u64
    }

    /// The reason if it is dropped before it is served.
    pub(super) fn set_default_close_reason(&mut self, how: CloseReason) {
        self.how = Some(how);
    }

    /// Ends it for this reason.
    pub(super) fn end(mut self, how: CloseReason) {
        self.how = Some(how);
    }

    /// One read, and the write of its bytes.
    pub(super) fn step(&mut self, scratch: &mut [u8]) -> Step {
        if let Some(stuck) = self.give_kept() {
            return stuck;
        }
        let read = match self.transport.read(scratch) {
            Ok(0) if self.greets => return self.answer(true),
            Ok(0) => return self.ended(),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return if self.transport.is_unsent() { Step::NoWrite } else { Step::NoRead };
            }
            Err(error) => return self.connection_error(&error),
        };
        let bytes = &scratch[..read];
        self.counts.reads += 1;
        self.counts.bytes += read as u64;
        self.reporter.explain(|| {
            let (peer_name, shown, room) = (&self.peer_name, quoted(bytes, NARRATED_MAX), scratch.len());
            let more = if read < room { "" } else { " (partial read: more can be there)" };
            format!("{peer_name}: readable: read {read} bytes of at most {room}{more}: {shown}")
        });
        let done = if self.greets { "read" } else { "echoed" };
        if self.reporter.echoed(Some(self.number), &self.peer_name, bytes, done) {
            self.counts.recorded += 1;
        }
        // Only for the record of the end: a peer that has already closed its half still waits for this answer.
        self.half |= !self.reporter.is_quiet() && has_closed_its_half(&self.transport);
        self.work.run(&self.stop);
        let drained = read < scratch.len() && self.transport.is_plain();
        if !self.greets {
            match self.give(bytes) {
                Ok(taken) if taken < read => {
                    self.reporter.explain(|| {
                        format!(
                            "{}: partial write: the kernel took {taken} of {read} bytes; the next would block: its \
                             send queue is full. The rest is kept, and nothing is read until the socket is writable",
                            self.peer_name
                        )
                    });
                    self.kept.extend_from_slice(&bytes[taken..]);
                    return Step::NoWrite;
                }
                Ok(_) => {
                    self.reporter.explain(|| format!("{}: write: all {read} bytes taken", self.peer_name));
                }
                Err(error) => return self.connection_error(&error),
            }
        }
        Step::Moved { drained }
    }

    /// Writes as many bytes as the kernel takes.
    fn give(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        while taken < bytes.len() {
            match self.transport.write(&bytes[taken..]) {
                Ok(0) => break,
                Ok(n) => taken += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// Writes kept bytes, and bytes that TLS holds. `None`: nothing is left.
    fn give_kept(&mut self) -> Option<Step> {
        while self.from < self.kept.len() {
            match self.transport.write(&self.kept[self.from..]) {
                Ok(0) => return Some(Step::NoWrite),
                Ok(n) => self.from += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(Step::NoWrite),
                Err(error) => return Some(self.connection_error(&error)),
            }
        }
        if self.from > 0 {
            self.reporter.explain(|| {
                format!("{}: writable again: write: the rest of {} bytes taken", self.peer_name, self.from)
            });
        }
        // Free the memory: most peers never need it again.
        self.kept = Vec::new();
        self.from = 0;
        match self.transport.flush() {
            Ok(()) => None,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Step::NoWrite),
            Err(error) => Some(self.connection_error(&error)),
        }
    }

    /// With `--greet`: writes the two texts and ends. `ended`: the peer closed; otherwise it is silent.
    pub(super) fn answer(&mut self, ended: bool) -> Step {
        self.reporter.explain(|| {
            let cause = if ended { "end of stream" } else { "silence: the peer waits for us" };
            let peer_name = &self.peer_name;
            match (ended, self.is_net) {
                (_, false) => format!("{peer_name}: {cause}; write the answers, then close"),
                (true, true) => format!(
                    "{peer_name}: {cause}; write the answers, then close: FIN out after its own; TIME_WAIT is on the other side"
                ),
                (false, true) => {
                    format!("{peer_name}: {cause}; write the answers, then close: FIN out first; TIME_WAIT is on our side")
                }
            }
        });
        let read = self.counts.bytes;
        let answers = format!(
            "I have read everything you sent: {read} bytes.\nNow I close this connection. Goodbye.\n"
        );
        match self.give(answers.as_bytes()).and_then(|_| self.transport.end_writing()) {
            Ok(()) => Step::Gone(CloseReason::Answered),
            // It was reset after the last read.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                self.connection_error(&io::ErrorKind::ConnectionReset.into())
            }
            Err(error) => self.connection_error(&error),
        }
    }

    fn ended(&mut self) -> Step {
        self.reporter.explain(|| {
            let time_wait = match self.is_net {
                true => "TIME_WAIT is on the other side, which closed first",
                false => "no TIME_WAIT: Unix sockets have no late packets",
            };
            let half = if self.half { " (half-close: the peer still receives)" } else { "" };
            format!(
                "{}: read 0 bytes: end of stream{half}. We close our half too; {time_wait}",
                self.peer_name
            )
        });
        // It fails if the peer is gone.
        let _ = self.transport.end_writing();
        Step::Gone(if self.half { CloseReason::HalfClose } else { CloseReason::EndOfStream })
    }

    fn connection_error(&mut self, error: &io::Error) -> Step {
        self.reporter.explain(|| format!("{}: {error}", self.peer_name));
        Step::Gone(CloseReason::of(error))
    }

    /// Steps until it must wait. `ended`: the kernel has already reported the end of the stream.
    pub(super) fn turn(&mut self, scratch: &mut [u8], ended: bool) -> Turn {
        for _ in 0..STEPS {
            match self.step(scratch) {
                // Later data makes the socket ready again; an end that was already reported does not.
                Step::Moved { drained: true } if !ended => {
                    self.reporter.explain(|| {
                        format!("{}: another read would block: wait until it is readable", self.peer_name)
                    });
                    return Turn::Read;
                }
                Step::Moved { .. } => {}
                Step::NoRead => {
                    self.reporter
                        .explain(|| format!("{}: read would block: nothing is there now", self.peer_name));
                    return Turn::Read;
                }
                Step::NoWrite => return Turn::Write,
                Step::Gone(how) => return Turn::Gone(how),
            }
        }
        Turn::Again
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let how = self.how.take().unwrap_or(CloseReason::Stopped);
        if self.is_net && how.is_first() {
            self.reporter.explain(|| {
                format!(
                    "{}: close: FIN out; TIME_WAIT is on our side, because we close first (RST if bytes are unread)",
                    self.peer_name
                )
            });
        }
        self.reporter.closed(self.number, &self.peer_name, &how, self.counts, self.began);
    }
}

fn has_closed_its_half(transport: &Transport) -> bool {
    let socket = transport.socket.as_fd();
    let mut fds = [PollFd::new(&socket, PollFlags::RDHUP)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let polled = poll(&mut fds, Some(&at_once)).is_ok();
    let seen = fds[0].revents();
    polled && seen.contains(PollFlags::RDHUP) && !seen.intersects(PollFlags::HUP | PollFlags::ERR)
}
