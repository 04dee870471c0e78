//! A peer in memory, for tests: its bytes are ready whenever the server reads, and it takes whatever the server writes.
//! Nothing of it depends on the kernel or on a clock.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, Waker};

/// Bytes that a connection reads in one turn at most, however wrong its turns are: 1 MiB. Beyond it the peer is gone.
const TURN_BYTES_MAX: usize = 1 << 20;

/// The peer's side of a connection.
#[derive(Default)]
pub(crate) struct MemoryPeer {
    /// What the peer sends, before what it repeats.
    sends: RefCell<VecDeque<u8>>,
    /// Sent after that, again and again; empty: the peer waits for `send`.
    repeats: Vec<u8>,
    repeated: Cell<usize>,
    /// The most that one read gives, bytes.
    piece: usize,
    /// What the server wrote, where the peer never stops sending only its length.
    received: RefCell<Vec<u8>>,
    received_bytes: Cell<u64>,
    waker: RefCell<Option<Waker>>,
    /// What was read in this turn, and in the longest one.
    turn_bytes: Cell<usize>,
    longest_turn_bytes: Cell<usize>,
}

impl MemoryPeer {
    /// A peer that sends only what `send` is given.
    pub(crate) fn quiet() -> MemoryPeer {
        MemoryPeer { piece: usize::MAX, ..MemoryPeer::default() }
    }

    /// A peer that sends `first`, and then `again` without end. A read gives at most `piece` bytes.
    pub(crate) fn endless(first: &[u8], again: &[u8], piece: usize) -> MemoryPeer {
        let sends = RefCell::new(first.iter().copied().collect());
        MemoryPeer { sends, repeats: again.to_vec(), piece, ..MemoryPeer::default() }
    }

    /// The peer sends this.
    pub(crate) fn send(&self, bytes: &[u8]) {
        self.sends.borrow_mut().extend(bytes);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Takes what the server wrote.
    pub(crate) fn take_received(&self) -> Vec<u8> {
        self.received.take()
    }

    /// How many bytes the server wrote.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes.get()
    }

    /// A turn of its connection begins.
    pub(crate) fn begin_turn(&self) {
        self.turn_bytes.set(0);
    }

    /// The most that its connection read in one turn, bytes.
    pub(crate) fn longest_turn_bytes(&self) -> usize {
        self.longest_turn_bytes.get()
    }

    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len().min(self.piece);
        let mut sends = self.sends.borrow_mut();
        let mut n = room.min(sends.len());
        buffer.iter_mut().zip(sends.drain(..n)).for_each(|(to, from)| *to = from);
        while n < room && !self.repeats.is_empty() {
            let from = &self.repeats[self.repeated.get()..];
            let len = from.len().min(room - n);
            buffer[n..n + len].copy_from_slice(&from[..len]);
            self.repeated.set((self.repeated.get() + len) % self.repeats.len());
            n += len;
        }
        let in_turn = self.turn_bytes.get() + n;
        self.turn_bytes.set(in_turn);
        self.longest_turn_bytes.set(self.longest_turn_bytes.get().max(in_turn));
        match n {
            _ if in_turn > TURN_BYTES_MAX => Err(io::ErrorKind::ConnectionReset.into()),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }

    pub(crate) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.repeats.is_empty() {
            slices.iter().for_each(|slice| self.received.borrow_mut().extend_from_slice(slice));
        }
        let n = slices.iter().map(|slice| slice.len()).sum();
        self.received_bytes.set(self.received_bytes.get() + n as u64);
        Ok(n)
    }

    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.sends.borrow().is_empty() || !self.repeats.is_empty() {
            return Poll::Ready(Ok(()));
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}
