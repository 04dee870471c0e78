//! What stands between a socket and a `proto` session: nothing for native messages, frames for a WebSocket, a
//! translator for typed lines. Bytes that all readers share are not copied here (TLS must, to encrypt them).
//!
//! ```text
//! socket ──handle_bytes──▶ Framing ──native bytes──▶ session
//! socket ◀────slices────── Framing ◀────output────── session
//! ```
//!
//! A framing does no I/O: `Wire` reads and writes the socket, and calls the framing for what the bytes mean. A new door
//! is one more file here that implements `Framing`.

pub(crate) mod native; // messages as they are
pub(crate) mod websocket; // messages in frames
pub(crate) mod typed; // lines that a person types, translated

use std::io::{self, IoSlice};

use vang_proto::Millis;
use vang_proto::vang::ServerSession;

use crate::net::socket::Socket;

/// Slices in one write: more cost time and gain nothing.
const SLICES_PER_WRITE: usize = 32;

/// Writes in a row before the turn's time is looked at: a reader may take as fast as we write.
const WRITES_AT_ONCE: usize = 4;

/// What stands between a socket and a session.
pub(crate) trait Framing {
    /// Bytes came. They may be changed in place.
    fn handle_bytes(&mut self, bytes: &mut [u8], session: &mut ServerSession, now: Millis);

    /// The peer sends no more.
    fn handle_end(&mut self, end: End, session: &mut ServerSession, now: Millis);

    /// Sets `slices` to what to write next, first bytes first; returns how many it set. 0: there is nothing to write.
    /// Slices point into the session's output where possible, so that no byte is copied. Then call `wrote`.
    fn output<'a>(
        &'a mut self,
        session: &'a mut ServerSession,
        now: Millis,
        slices: &mut [IoSlice<'a>; SLICES_PER_WRITE],
    ) -> usize;

    /// The socket took this many bytes of `output`.
    fn wrote(&mut self, n: usize, session: &mut ServerSession, now: Millis);

    /// Is there anything to write?
    fn has_output(&self, session: &ServerSession) -> bool {
        session.has_output()
    }

    /// How often `output` is written before the turn's time is looked at.
    fn writes_at_once(&self) -> usize {
        WRITES_AT_ONCE
    }

    /// May the socket be read?
    fn wants_input(&self) -> bool {
        true
    }

    /// When to call `handle_time`, if nothing else happens before. `is_writing`: something waits for the socket.
    fn deadline(&self, _is_writing: bool) -> Option<Millis> {
        None
    }

    /// The deadline has passed.
    fn handle_time(&mut self, _session: &mut ServerSession, _now: Millis) {}

    /// Has the peer closed, or broken the rules of the framing? Then what the session has for it is dropped.
    fn is_over(&self) -> bool {
        false
    }

    /// The session is over: adds the goodbye of this protocol behind the last message.
    fn finish(&mut self, _session: &ServerSession) {}

    /// Why the peer's bytes were refused, for the log, where the session does not know of it.
    fn refusal(&self) -> Option<&'static str> {
        None
    }

    /// Bytes of memory that it holds.
    fn held_bytes(&self) -> usize {
        0
    }
}

/// How the peer's bytes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Complete,
    /// TLS did not say that this is the end: somebody between may have dropped the rest.
    CutOff,
}

/// Sets `slices` to as many pieces as there is room for; returns how many.
fn fill<'a>(slices: &mut [IoSlice<'a>], pieces: impl Iterator<Item = &'a [u8]>) -> usize {
    let mut count = 0;
    for (slot, bytes) in slices.iter_mut().zip(pieces) {
        *slot = IoSlice::new(bytes);
        count += 1;
    }
    count
}

/// A socket and its framing.
pub(crate) struct Wire {
    pub(crate) socket: Socket,
    framing: Box<dyn Framing>,
    ending: Ending,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    /// The goodbye goes out behind everything else.
    Wanted,
    /// The goodbye is in the output. When all is written, the sending half is shut.
    Said,
    Shut,
}

impl Wire {
    pub(crate) fn new(socket: Socket, framing: Box<dyn Framing>) -> Wire {
        Wire { socket, framing, ending: Ending::No }
    }

    /// Bytes came.
    pub(crate) fn handle_bytes(&mut self, bytes: &mut [u8], session: &mut ServerSession, now: Millis) {
        self.framing.handle_bytes(bytes, session, now);
    }

    /// The peer sends no more.
    pub(crate) fn handle_end(&mut self, session: &mut ServerSession, now: Millis) {
        let end = if self.socket.is_cut_off() { End::CutOff } else { End::Complete };
        self.framing.handle_end(end, session, now);
    }

    /// May it be read, as far as the framing is concerned?
    pub(crate) fn wants_input(&self) -> bool {
        self.framing.wants_input()
    }

    /// When to call `handle_time`, if nothing else happens before.
    pub(crate) fn deadline(&self, session: &ServerSession) -> Option<Millis> {
        self.framing.deadline(self.has_output(session))
    }

    /// Time passed.
    pub(crate) fn handle_time(&mut self, session: &mut ServerSession, now: Millis) {
        if self.deadline(session).is_some_and(|at| now >= at) {
            self.framing.handle_time(session, now);
        }
    }

    /// Has the peer closed, or broken the rules of the framing, before we said goodbye?
    pub(crate) fn is_over(&self) -> bool {
        self.ending == Ending::No && self.framing.is_over()
    }

    /// Why the peer's bytes were refused, for the log, where the session does not know of it.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        self.framing.refusal()
    }

    /// Bytes of memory that stand between socket and session.
    pub(crate) fn held_bytes(&self) -> usize {
        self.framing.held_bytes() + self.socket.held_bytes()
    }

    /// Is there anything to write?
    pub(crate) fn has_output(&self, session: &ServerSession) -> bool {
        let ending = matches!(self.ending, Ending::Wanted | Ending::Said);
        self.framing.has_output(session) || ending || self.socket.wants_flush()
    }

    /// Writes what waits, or a good part of it. `false`: the socket takes no more now.
    pub(crate) fn write(&mut self, session: &mut ServerSession, now: Millis) -> io::Result<bool> {
        for _ in 0..self.framing.writes_at_once() {
            if !self.framing.has_output(session) {
                return self.write_end();
            }
            let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
            let count = self.framing.output(session, now, &mut slices);
            if count == 0 {
                return self.write_end();
            }
            match self.socket.try_write(&slices[..count]) {
                Ok(n) => self.framing.wrote(n, session, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// All output is written: TLS's goodbye and the end of the stream, if it is time for them.
    fn write_end(&mut self) -> io::Result<bool> {
        if self.ending == Ending::Wanted {
            self.ending = Ending::Said;
            self.socket.say_goodbye();
        }
        if !self.socket.try_flush()? {
            return Ok(false);
        }
        if self.ending == Ending::Said {
            self.ending = Ending::Shut;
            self.socket.shut_down_writing()?;
        }
        Ok(true)
    }

    /// Says goodbye as the peer understands it, behind all that was written; then shuts the sending half.
    pub(crate) fn finish(&mut self, session: &ServerSession) {
        if self.ending == Ending::No {
            self.ending = Ending::Wanted;
            self.framing.finish(session);
        }
    }
}
