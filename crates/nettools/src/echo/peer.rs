//! One connection of the echo server's: read, give back at once, keep what the kernel did not take. While something is
//! kept nothing is read, so that a peer that sends and does not receive costs one buffer and no more. Every model
//! turns this same machine; they differ in how they wait.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::tell::{Counts, How, Teller};
use super::wire::Wire;
use crate::place::Who;
use crate::quoted;

/// Read at once, and kept of what a peer does not take: 64 KiB, what a pipe holds. More makes bulk no faster.
pub(super) const BUFFER: usize = 1 << 16;

/// Bytes that narration shows of a read or a write.
pub(super) const NARRATED_MAX: usize = 32;

/// Steps for one peer before the others have a turn.
const STEPS: usize = 16;

/// What one step came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Bytes moved. Drained: for now nothing more is there to read.
    Moved { drained: bool },
    /// Nothing to read.
    NoRead,
    /// The kernel takes nothing more.
    NoWrite,
    /// The end.
    Gone(How),
}

/// What a peer waits for after its turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Read,
    Write,
    /// There is more to do; others first.
    Again,
    Gone(How),
}

/// See the module's head. When it is dropped its end is told and its connection closed.
pub(super) struct Peer {
    pub(super) wire: Wire,
    who: String,
    /// Over a network, where closing first has a price: TIME_WAIT.
    is_net: bool,
    number: u64,
    began: Instant,
    /// What was read and not taken, from `from` on.
    kept: Vec<u8>,
    from: usize,
    pub(super) counts: Counts,
    /// Reads everything first, then answers in words: row 3 of the checklist.
    greets: bool,
    /// It had closed its sending half before what we gave back.
    half: bool,
    how: Option<How>,
    teller: Arc<Teller>,
}

impl Peer {
    pub(super) fn new(wire: Wire, who: Who, greets: bool, teller: Arc<Teller>) -> Peer {
        let (is_net, who) = (matches!(who, Who::Net(_)), who.to_string());
        teller.explain(|| {
            format!("accept: the kernel hands over the connection of {who}; it has a socket of its own now")
        });
        let number = teller.connected(&who);
        let (counts, began) = (Counts::default(), Instant::now());
        Peer {
            wire,
            who,
            is_net,
            number,
            began,
            kept: Vec::new(),
            from: 0,
            counts,
            greets,
            half: false,
            how: None,
            teller,
        }
    }

    /// Bytes and reads so far: who has moved nothing between two looks is idle.
    pub(super) fn moved(&self) -> u64 {
        self.counts.bytes + self.from as u64
    }

    /// So it has ended if nobody comes to turn it.
    pub(super) fn unless_turned(&mut self, how: How) {
        self.how = Some(how);
    }

    /// Ends it so.
    pub(super) fn end(mut self, how: How) {
        self.how = Some(how);
    }

    /// One read and what follows from it.
    pub(super) fn step(&mut self, scratch: &mut [u8]) -> Step {
        if let Some(stuck) = self.give_kept() {
            return stuck;
        }
        let read = match self.wire.read(scratch) {
            Ok(0) if self.greets => return self.answer(true),
            Ok(0) => return self.ended(),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return if self.wire.is_unsent() { Step::NoWrite } else { Step::NoRead };
            }
            Err(error) => return self.broke(&error),
        };
        let bytes = &scratch[..read];
        self.counts.reads += 1;
        self.counts.bytes += read as u64;
        self.teller.explain(|| {
            let (who, shown, room) = (&self.who, quoted(bytes, NARRATED_MAX), scratch.len());
            let more = if read < room { "" } else { " (partial read: more may be there)" };
            format!("{who}: readable: read {read} bytes of at most {room}{more}: {shown}")
        });
        let done = if self.greets { "read" } else { "echoed" };
        if self.teller.echoed(Some(self.number), &self.who, bytes, done) {
            self.counts.told += 1;
        }
        // Only for the words at the end: has it closed its half already? Then it still waits for this.
        self.half |= !self.teller.is_quiet() && has_closed_its_half(&self.wire);
        let drained = read < scratch.len() && self.wire.is_plain();
        if !self.greets {
            match self.give(bytes) {
                Ok(taken) if taken < read => {
                    self.teller.explain(|| {
                        format!(
                            "{}: partial write: the kernel took {taken} of {read} bytes; the next would block: its \
                             send queue is full. The rest is kept, and nothing is read until it is writable",
                            self.who
                        )
                    });
                    self.kept.extend_from_slice(&bytes[taken..]);
                    return Step::NoWrite;
                }
                Ok(_) => self.teller.explain(|| format!("{}: write: all {read} bytes taken", self.who)),
                Err(error) => return self.broke(&error),
            }
        }
        Step::Moved { drained }
    }

    /// As many bytes as are taken without waiting.
    fn give(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        while taken < bytes.len() {
            match self.wire.write(&bytes[taken..]) {
                Ok(0) => break,
                Ok(n) => taken += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// What was kept, and what TLS has not got rid of. `None`: all of it is gone.
    fn give_kept(&mut self) -> Option<Step> {
        while self.from < self.kept.len() {
            match self.wire.write(&self.kept[self.from..]) {
                Ok(0) => return Some(Step::NoWrite),
                Ok(n) => self.from += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(Step::NoWrite),
                Err(error) => return Some(self.broke(&error)),
            }
        }
        if self.from > 0 {
            self.teller.explain(|| {
                format!("{}: writable again: write: the rest of {} bytes taken", self.who, self.from)
            });
        }
        // Given back to the allocator: most peers never need it again.
        self.kept = Vec::new();
        self.from = 0;
        match self.wire.flush() {
            Ok(()) => None,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Step::NoWrite),
            Err(error) => Some(self.broke(&error)),
        }
    }

    /// Everything was read (`ended`), or the peer waits: the two answers of row 3, and the end.
    pub(super) fn answer(&mut self, ended: bool) -> Step {
        self.teller.explain(|| {
            let told = if ended { "end of stream" } else { "silence: it waits for us" };
            let who = &self.who;
            match (ended, self.is_net) {
                (_, false) => format!("{who}: {told}; write the answers, then close"),
                (true, true) => format!(
                    "{who}: {told}; write the answers, then close: FIN out after its own; TIME_WAIT is the other side's"
                ),
                (false, true) => {
                    format!("{who}: {told}; write the answers, then close: FIN out first; TIME_WAIT is ours")
                }
            }
        });
        let read = self.counts.bytes;
        let answers = format!(
            "I have read everything you sent: {read} bytes.\nNow I close this connection. Goodbye.\n"
        );
        match self.give(answers.as_bytes()).and_then(|_| self.wire.end_writing()) {
            Ok(()) => Step::Gone(How::Answered),
            // It was reset before; what was reading did not notice it.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                self.broke(&io::ErrorKind::ConnectionReset.into())
            }
            Err(error) => self.broke(&error),
        }
    }

    fn ended(&mut self) -> Step {
        self.teller.explain(|| {
            let time_wait = match self.is_net {
                true => "TIME_WAIT is the other side's, which closed first",
                false => "there is no TIME_WAIT, for nothing can come late",
            };
            let half = if self.half { " (half-close: it still receives)" } else { "" };
            format!("{}: read 0 bytes: end of stream{half}. We close our half too; {time_wait}", self.who)
        });
        // Fails where the other side is gone altogether: then there is nobody to tell.
        let _ = self.wire.end_writing();
        Step::Gone(if self.half { How::HalfClose } else { How::EndOfStream })
    }

    fn broke(&mut self, error: &io::Error) -> Step {
        self.teller.explain(|| format!("{}: {error}", self.who));
        Step::Gone(How::of(error))
    }

    /// Steps until there is something to wait for. `ended`: the end of the stream was seen behind what is there.
    pub(super) fn turn(&mut self, scratch: &mut [u8], ended: bool) -> Turn {
        for _ in 0..STEPS {
            match self.step(scratch) {
                // What comes later makes the socket ready again; an end that was seen does not.
                Step::Moved { drained: true } if !ended => {
                    self.teller.explain(|| {
                        format!("{}: another read would block: we wait until it is readable", self.who)
                    });
                    return Turn::Read;
                }
                Step::Moved { .. } => {}
                Step::NoRead => {
                    self.teller.explain(|| format!("{}: read would block: nothing is there now", self.who));
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
        let how = self.how.take().unwrap_or(How::Stopped);
        if self.is_net && how.is_first() {
            self.teller.explain(|| {
                format!(
                    "{}: close: FIN out, and TIME_WAIT is ours, for we close first (RST if something is unread)",
                    self.who
                )
            });
        }
        self.teller.closed(self.number, &self.who, &how, self.counts, self.began);
    }
}

fn has_closed_its_half(wire: &Wire) -> bool {
    let socket = wire.socket.as_fd();
    let mut fds = [PollFd::new(&socket, PollFlags::RDHUP)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let polled = poll(&mut fds, Some(&at_once)).is_ok();
    let seen = fds[0].revents();
    polled && seen.contains(PollFlags::RDHUP) && !seen.intersects(PollFlags::HUP | PollFlags::ERR)
}
