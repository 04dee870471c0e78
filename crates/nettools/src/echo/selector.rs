//! Model `selector`: one thread and one buffer; the kernel reports which connections are ready (epoll with mio,
//! edge-triggered: each event is reported once, so each connection is read until it is empty).

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::accept::{AcceptedPeer, ServerContext};
use super::peer::{BUFFER, Peer, Turn};

use super::server_records::CloseReason;
use crate::Stopped;
use crate::listener::Listener;

const LISTENER: Token = Token(usize::MAX - 1);
const STOP: Token = Token(usize::MAX - 2);

/// Pause before the next accept when file descriptors or memory ran out.
const FULL_WAIT: Duration = Duration::from_millis(100);

/// Checks for idle connections during each idle time.
pub(super) const LOOKS: u32 = 4;

struct Slot {
    peer: Peer,
    /// `Peer::moved` at the last check, and checks since then without a change.
    moved: u64,
    still: u32,
}

struct Loop<'a> {
    listener: &'a Listener,
    context: &'a ServerContext,
    poll: Poll,
    slots: Slab<Slot>,
    scratch: Vec<u8>,
    /// Peers with more to do, after the others' turn.
    again: Vec<usize>,
    /// No more connections: `--once` has its client.
    closed: bool,
    /// Accept failed for lack of file descriptors or memory; the queue can have connections.
    full: bool,
}

pub(super) fn serve(listener: &Listener, context: &ServerContext) -> io::Result<Option<Stopped>> {
    let poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&listener.socket.as_raw_fd()), LISTENER, Interest::READABLE)?;
    poll.registry().register(&mut SourceFd(&context.stop.as_fd().as_raw_fd()), STOP, Interest::READABLE)?;
    context
        .reporter
        .explain(|| "epoll: one thread asks which sockets are ready, and sleeps until one is".to_owned());
    Loop {
        listener,
        context,
        poll,
        slots: Slab::new(),
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
        let look_every = (self.context.idle / LOOKS).max(Duration::from_millis(1));
        let mut next_look = Instant::now() + look_every;
        // Stop and deadline are checked once per poll.
        loop {
            let wait = match () {
                () if !self.again.is_empty() => Duration::ZERO,
                () if self.full => FULL_WAIT,
                () => next_look.saturating_duration_since(Instant::now()),
            };
            let wait = self.context.stop.left().map_or(wait, |left| left.min(wait));
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            let waiting = std::mem::take(&mut self.again);
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    STOP => return Ok(Some(Stopped::Requested)),
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
            if self.closed && self.slots.is_empty() {
                return Ok(self.context.stop.now());
            }
            if self.context.stop.left() == Some(Duration::ZERO) {
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
            let peer = match self.context.accept(self.listener, false)? {
                AcceptedPeer::Peer(peer) => *peer,
                AcceptedPeer::Nobody => return Ok(()),
                AcceptedPeer::Full => {
                    self.full = true;
                    return Ok(());
                }
            };
            self.closed = self.context.once;
            let fd = peer.transport.socket.as_raw_fd();
            let key = self.slots.insert(Slot { peer, moved: 0, still: 0 });
            // Edge-triggered: writable is reported only after the kernel has refused bytes, so both cost nothing.
            let both = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = self.poll.registry().register(&mut SourceFd(&fd), Token(key), both) {
                // The limit of epoll: give up this connection, the others go on.
                self.slots.remove(key).peer.end(CloseReason::of(&error));
            }
        }
        Ok(())
    }

    fn turn(&mut self, key: usize, ended: bool) {
        // Removed by an earlier event of the same poll.
        let Some(slot) = self.slots.get_mut(key) else { return };
        match slot.peer.turn(&mut self.scratch, ended) {
            Turn::Read | Turn::Write => {}
            Turn::Again => self.again.push(key),
            Turn::Gone(how) => self.slots.remove(key).peer.end(how),
        }
    }

    /// Closes idle connections.
    fn look(&mut self) {
        let mut idle = Vec::new();
        for (key, slot) in &mut self.slots {
            let moved = slot.peer.moved();
            slot.still = if moved == slot.moved { slot.still + 1 } else { 0 };
            slot.moved = moved;
            if slot.still >= LOOKS {
                idle.push(key);
            }
        }
        for key in idle {
            self.slots.remove(key).peer.end(CloseReason::Idle(self.context.idle));
        }
    }
}
