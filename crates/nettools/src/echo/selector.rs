//! Model `selector`: one thread and one buffer; the kernel tells which of many connections are ready (epoll, by mio,
//! edge-triggered: each is told once, so each is read until there is nothing more).

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::peer::{BUFFER, Peer, Turn};
use super::serve::{Accepted, Works};
use super::tell::How;
use crate::Stopped;
use crate::place::Door;

const DOOR: Token = Token(usize::MAX - 1);
const STOP: Token = Token(usize::MAX - 2);

/// Before the next try, when the system has nothing left for another connection.
const FULL_WAIT: Duration = Duration::from_millis(100);

/// Looks for idle ones in each time that they may be idle.
pub(super) const LOOKS: u32 = 4;

struct Seat {
    peer: Peer,
    /// `Peer::moved` at the last look, and looks since without any.
    moved: u64,
    still: u32,
}

struct Loop<'a> {
    door: &'a Door,
    works: &'a Works,
    poll: Poll,
    seats: Slab<Seat>,
    scratch: Vec<u8>,
    /// Who has more to do, after the others' turn.
    again: Vec<usize>,
    /// Nobody more: `--once` has its client.
    closed: bool,
    /// The queue may hold somebody, and there was no room.
    full: bool,
}

pub(super) fn serve(door: &Door, works: &Works) -> io::Result<Option<Stopped>> {
    let poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&door.socket.as_raw_fd()), DOOR, Interest::READABLE)?;
    poll.registry().register(&mut SourceFd(&works.stop.as_fd().as_raw_fd()), STOP, Interest::READABLE)?;
    works.teller.explain(|| {
        "epoll: one thread asks which of all sockets are ready, and sleeps until one is".to_owned()
    });
    Loop {
        door,
        works,
        poll,
        seats: Slab::new(),
        scratch: vec![0; BUFFER],
        again: Vec::new(),
        closed: false,
        full: false,
    }
    .run()
}

impl Loop<'_> {
    fn run(mut self) -> io::Result<Option<Stopped>> {
        let mut events = Events::with_capacity(1_024);
        let look_every = (self.works.idle / LOOKS).max(Duration::from_millis(1));
        let mut next_look = Instant::now() + look_every;
        // The end and the deadline are looked at when the kernel says so, not between any two bytes.
        loop {
            let wait = match () {
                () if !self.again.is_empty() => Duration::ZERO,
                () if self.full => FULL_WAIT,
                () => next_look.saturating_duration_since(Instant::now()),
            };
            let wait = self.works.stop.left().map_or(wait, |left| left.min(wait));
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            let waiting = std::mem::take(&mut self.again);
            for event in &events {
                match event.token() {
                    DOOR => self.accept()?,
                    STOP => return Ok(Some(Stopped::Asked)),
                    Token(key) => self.turn(key, event.is_read_closed()),
                }
            }
            for key in waiting {
                self.turn(key, true);
            }
            if self.full {
                self.full = false;
                self.accept()?;
            }
            if self.closed && self.seats.is_empty() {
                return Ok(self.works.stop.now());
            }
            if self.works.stop.left() == Some(Duration::ZERO) {
                return Ok(Some(Stopped::TimedOut));
            }
            if Instant::now() >= next_look {
                next_look = Instant::now() + look_every;
                self.look();
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        while !self.closed {
            let peer = match self.works.accept(self.door, false)? {
                Accepted::Peer(peer) => *peer,
                Accepted::Nobody => return Ok(()),
                Accepted::Full => {
                    self.full = true;
                    return Ok(());
                }
            };
            self.closed = self.works.once;
            let fd = peer.wire.socket.as_raw_fd();
            let key = self.seats.insert(Seat { peer, moved: 0, still: 0 });
            // Writable is told only after the kernel has refused bytes, so asking for both costs nothing.
            let both = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = self.poll.registry().register(&mut SourceFd(&fd), Token(key), both) {
                // epoll has its limits too: this one is given up, the others go on.
                self.seats.remove(key).peer.end(How::of(&error));
            }
        }
        Ok(())
    }

    fn turn(&mut self, key: usize, ended: bool) {
        // Gone already, by an earlier event of the same round.
        let Some(seat) = self.seats.get_mut(key) else { return };
        match seat.peer.turn(&mut self.scratch, ended) {
            Turn::Read | Turn::Write => {}
            Turn::Again => self.again.push(key),
            Turn::Gone(how) => self.seats.remove(key).peer.end(how),
        }
    }

    /// Closes those on which nothing moves.
    fn look(&mut self) {
        let mut idle = Vec::new();
        for (key, seat) in &mut self.seats {
            let moved = seat.peer.moved();
            seat.still = if moved == seat.moved { seat.still + 1 } else { 0 };
            seat.moved = moved;
            if seat.still >= LOOKS {
                idle.push(key);
            }
        }
        for key in idle {
            self.seats.remove(key).peer.end(How::Idle(self.works.idle));
        }
    }
}
