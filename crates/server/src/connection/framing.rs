//! Between a socket and a `proto` session: nothing for native messages, frames for a WebSocket, a translator for
//! typed lines. Bytes that all readers share are not copied here (TLS must, to encrypt them).
//!
//! ```text
//! socket ──bytes──▶ decode ──native bytes──▶ session          session ──slices──▶ framing ──▶ socket
//! ```

use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use vang_proto::Millis;
use vang_proto::limits::LINE_QUIET_MS;
use vang_proto::typed::TypedLines;
use vang_proto::vang::ServerSession;
use vang_proto::websocket::{CloseCode, Heard, Kind, WebSocket, message_header};

use crate::net::socket::Socket;

/// Pieces in one write: more only cost.
const SLICES_PER_WRITE: usize = 32;

/// Writes in a row before the turn's time is looked at: a reader may take as fast as we write. One write of lines makes
/// room for the next, which must be translated.
const WRITES_AT_ONCE: usize = 4;
const WRITES_OF_LINES_AT_ONCE: usize = 1;

/// Bytes of messages that are turned into lines at once: then those are written first.
const TRANSLATED_BYTES: usize = 16 << 10;

/// A ping without content, from the server: FIN, opcode 9, no mask.
const PING_FRAME: &[u8] = &[0x89, 0];

/// See the module's head.
pub(crate) struct Wire {
    pub(crate) socket: Socket,
    framing: Framing,
    ending: Ending,
}

enum Framing {
    Native,
    WebSocket(Box<Framed>),
    Lines(Box<Typed>),
}

/// Typed lines, and how far those that go out are written.
struct Typed {
    lines: TypedLines,
    text: Bytes,
    /// Bytes of the session's output that `text` was made of: written when it is.
    owed: usize,
    /// If its lines have no end: when something was last typed. Then quiet ends them.
    typed_at: Option<Millis>,
}

/// A WebSocket, and how far the message that goes out is written.
#[derive(Default)]
struct Framed {
    incoming: WebSocket,
    /// A control frame that goes out before the next message.
    control: Bytes,
    /// The message's header, at the end of the array, and how many bytes of it are left.
    head: [u8; 10],
    head_left: usize,
    /// What is left of the message's payload: the first bytes of what the session has.
    left: usize,
    /// The peer has closed, or broke the rules, before we said goodbye: it is told nothing more.
    over: bool,
    /// Silence after which a ping is sent, ms, and when something was last written.
    ping_after_ms: u64,
    wrote_at: Millis,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    /// To be said behind everything else.
    Wanted,
    /// Said; when it is written the sending half is shut.
    Said,
    Shut,
}

impl Wire {
    /// Native messages.
    pub(crate) fn native(socket: Socket) -> Wire {
        Wire { socket, framing: Framing::Native, ending: Ending::No }
    }

    /// A WebSocket whose handshake is over; it is sent a ping after so much silence.
    pub(crate) fn web_socket(socket: Socket, ping_after_ms: u64, now: Millis) -> Wire {
        let framed = Framed { ping_after_ms, wrote_at: now, ..Framed::default() };
        Wire { socket, framing: Framing::WebSocket(Box::new(framed)), ending: Ending::No }
    }

    /// When the silence is long enough for a ping, if there will be one.
    pub(crate) fn ping_at(&self) -> Option<Millis> {
        match &self.framing {
            Framing::WebSocket(framed) if self.ending == Ending::No && !framed.over => {
                Some(framed.wrote_at + framed.ping_after_ms)
            }
            Framing::Native | Framing::WebSocket(_) | Framing::Lines(_) => None,
        }
    }

    /// Sends a ping when it is time: a proxy in between keeps the connection, and one whose client is gone ends it
    /// (RFC 6455, 5.5.2). While something waits to be written, that is sign enough.
    pub(crate) fn ping(&mut self, session: &ServerSession, now: Millis) {
        let is_due = self.ping_at().is_some_and(|at| now >= at) && !self.has_output(session);
        if let Framing::WebSocket(framed) = &mut self.framing
            && is_due
        {
            framed.control = Bytes::from_static(PING_FRAME);
        }
    }

    /// Lines of at most so many bytes. `without_end`: the first came without its end, so quiet ends them.
    pub(crate) fn lines(socket: Socket, line_max: usize, without_end: bool, now: Millis) -> Wire {
        let typed_at = without_end.then_some(now);
        let typed = Typed { lines: TypedLines::new(line_max), text: Bytes::new(), owed: 0, typed_at };
        Wire { socket, framing: Framing::Lines(Box::new(typed)), ending: Ending::No }
    }

    /// When a line that has no end will have been quiet for long enough.
    pub(crate) fn quiet_at(&self) -> Option<Millis> {
        match &self.framing {
            Framing::Lines(typed) if typed.lines.awaits_line_end() => {
                typed.typed_at.map(|at| at + LINE_QUIET_MS)
            }
            Framing::Native | Framing::WebSocket(_) | Framing::Lines(_) => None,
        }
    }

    /// Ends such a line when it is time.
    pub(crate) fn end_quiet_line(&mut self, session: &mut ServerSession, now: Millis) {
        let is_due = self.quiet_at().is_some_and(|at| now >= at);
        if let Framing::Lines(typed) = &mut self.framing
            && is_due
        {
            typed.lines.handle_quiet();
            typed.pass_on(session, now);
        }
    }

    /// Bytes came.
    pub(crate) fn hand_in(&mut self, bytes: &mut [u8], session: &mut ServerSession, now: Millis) {
        match &mut self.framing {
            Framing::Native => session.handle_bytes(now, bytes),
            Framing::WebSocket(framed) => {
                let (mut text, mut closed) = (false, false);
                framed.incoming.handle_bytes(bytes, &mut |heard| match heard {
                    Heard::Payload(Kind::Binary, payload) => session.handle_bytes(now, payload),
                    Heard::Payload(Kind::Text, _) | Heard::End(Kind::Text) => text = true,
                    Heard::End(Kind::Binary) => {}
                    Heard::Closed => closed = true,
                });
                if text {
                    framed.incoming.close(CloseCode::UnsupportedData, "messages here are binary");
                }
                match self.ending {
                    Ending::No => framed.over |= closed || text,
                    // The answer to our goodbye.
                    Ending::Wanted | Ending::Said | Ending::Shut if closed => session.handle_end(now),
                    Ending::Wanted | Ending::Said | Ending::Shut => {}
                }
            }
            Framing::Lines(typed) => {
                if let Some(at) = &mut typed.typed_at {
                    *at = now;
                }
                typed.lines.handle_bytes(bytes);
                typed.pass_on(session, now);
            }
        }
    }

    /// May it be read, as far as what is around the messages is concerned?
    pub(crate) fn wants_input(&self) -> bool {
        match &self.framing {
            Framing::Native | Framing::WebSocket(_) => true,
            Framing::Lines(typed) => typed.lines.wants_input(),
        }
    }

    /// Bytes of memory that stand between socket and session.
    pub(crate) fn held_bytes(&self) -> usize {
        let framing = match &self.framing {
            Framing::Native | Framing::WebSocket(_) => 0,
            Framing::Lines(typed) => typed.lines.held_bytes() + typed.text.len(),
        };
        framing + self.socket.held_bytes()
    }

    /// Why the peer's bytes were refused, for the log, where the session does not know of it.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        match &self.framing {
            Framing::Native | Framing::WebSocket(_) => None,
            Framing::Lines(typed) => typed.lines.refusal(),
        }
    }

    /// The peer sends no more.
    pub(crate) fn hand_in_end(&mut self, session: &mut ServerSession, now: Millis) {
        match &mut self.framing {
            Framing::Native => session.handle_end(now),
            // Without a goodbye: it is gone. A WebSocket has no half.
            Framing::WebSocket(framed) => {
                framed.over |= self.ending == Ending::No;
                framed.incoming.close(CloseCode::Normal, "");
                session.handle_end(now);
            }
            // Lines end as if it had said so.
            Framing::Lines(typed) => {
                match self.socket.is_cut_off() {
                    false => typed.lines.handle_end(),
                    true => typed.lines.handle_cut(),
                }
                typed.pass_on(session, now);
            }
        }
    }

    /// Has the peer closed, or broken the rules of what is around its messages?
    pub(crate) fn is_over(&self) -> bool {
        match &self.framing {
            Framing::Native => false,
            Framing::WebSocket(framed) => framed.over,
            Framing::Lines(typed) => self.ending == Ending::No && typed.lines.wants_close(),
        }
    }

    /// The session is told nothing more: a frame that was begun is not ended. Inside it no goodbye can be said, so
    /// then the connection just ends.
    pub(crate) fn give_up(&mut self) {
        if let Framing::WebSocket(framed) = &mut self.framing
            && (framed.left > 0 || framed.head_left > 0)
        {
            framed.left = 0;
            framed.head_left = 0;
            framed.control = Bytes::new();
            let _ = framed.incoming.take_answer();
        }
    }

    /// Is there anything to write?
    pub(crate) fn has_output(&self, session: &ServerSession) -> bool {
        let own = match &self.framing {
            Framing::Native => false,
            Framing::WebSocket(framed) => !framed.before().is_empty() || framed.incoming.has_answer(),
            Framing::Lines(typed) => !typed.text.is_empty(),
        };
        let ending = matches!(self.ending, Ending::Wanted | Ending::Said);
        own || ending || session.has_output() || self.socket.wants_flush()
    }

    /// Writes what waits, or a good part of it. `false`: the socket takes no more now.
    pub(crate) fn write(&mut self, session: &mut ServerSession, now: Millis) -> io::Result<bool> {
        let most = match self.framing {
            Framing::Native | Framing::WebSocket(_) => WRITES_AT_ONCE,
            Framing::Lines(_) => WRITES_OF_LINES_AT_ONCE,
        };
        for writes in 0.. {
            if writes == most {
                return Ok(true);
            }
            let written = match &mut self.framing {
                Framing::Native if !session.has_output() => break,
                Framing::Native => {
                    let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
                    let mut count = 0;
                    for (slot, bytes) in slices.iter_mut().zip(session.output()) {
                        *slot = IoSlice::new(bytes);
                        count += 1;
                    }
                    self.socket.try_write(&slices[..count]).map(|n| session.wrote(now, n))
                }
                Framing::WebSocket(framed) => match framed.prepare(session) {
                    true => framed.write(&mut self.socket, session, now),
                    false => break,
                },
                Framing::Lines(typed) => match typed.prepare(session, now) {
                    true => typed.write(&mut self.socket, session, now),
                    false => break,
                },
            };
            match written {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
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
        if self.ending != Ending::No {
            return;
        }
        self.ending = Ending::Wanted;
        if let Framing::WebSocket(framed) = &mut self.framing {
            let refused = session.refusal().is_some();
            let code = if refused { CloseCode::PolicyViolation } else { CloseCode::Normal };
            framed.incoming.close(code, "");
        }
    }
}

impl Framed {
    /// What goes out before the payload.
    fn before(&self) -> &[u8] {
        match self.control.is_empty() {
            false => &self.control,
            true => &self.head[self.head.len() - self.head_left..],
        }
    }

    /// Begins the next frame when the last is written. `false`: there is nothing to write.
    fn prepare(&mut self, session: &ServerSession) -> bool {
        if !self.before().is_empty() || self.left > 0 {
            return true;
        }
        if let Some(answer) = self.incoming.take_answer() {
            self.control = answer;
            return true;
        }
        let waiting = session.output_len();
        if waiting == 0 || self.over {
            return false;
        }
        // Everything that waits is whole messages: it is one payload, and no byte of it is moved.
        let (head, len) = message_header(Kind::Binary, waiting as u64);
        self.head_left = len;
        let at = self.head.len() - len;
        self.head[at..].copy_from_slice(&head[..len]);
        self.left = waiting;
        true
    }

    fn write(&mut self, socket: &mut Socket, session: &mut ServerSession, now: Millis) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
        slices[0] = IoSlice::new(self.before());
        let (mut count, mut room) = (1, self.left);
        for (slot, bytes) in slices[1..].iter_mut().zip(session.output()) {
            if room == 0 {
                break;
            }
            let here = bytes.len().min(room);
            *slot = IoSlice::new(&bytes[..here]);
            room -= here;
            count += 1;
        }
        let written = socket.try_write(&slices[..count])?;
        let of_head = written.min(self.before().len());
        match self.control.is_empty() {
            false => self.control.advance(of_head),
            true => self.head_left -= of_head,
        }
        self.left -= written - of_head;
        self.wrote_at = now;
        session.wrote(now, written - of_head);
        Ok(())
    }
}

impl Typed {
    /// What came of lines or frames goes where it belongs.
    fn pass_on(&mut self, session: &mut ServerSession, now: Millis) {
        if self.text.is_empty() {
            self.text = self.lines.poll_text().unwrap_or_default();
        }
        while let Some(native) = self.lines.poll_native() {
            session.handle_bytes(now, &native);
        }
    }

    /// Turns what the session says into lines when the last are written. `false`: there is nothing to write.
    fn prepare(&mut self, session: &mut ServerSession, now: Millis) -> bool {
        while self.text.is_empty() {
            session.wrote(now, std::mem::take(&mut self.owed));
            if session.has_output() {
                for bytes in session.output().take(SLICES_PER_WRITE) {
                    self.lines.handle_frames(bytes);
                    self.owed += bytes.len();
                    if self.owed >= TRANSLATED_BYTES {
                        break;
                    }
                }
            }
            self.pass_on(session, now);
            if self.owed == 0 {
                break;
            }
        }
        !self.text.is_empty()
    }

    fn write(&mut self, socket: &mut Socket, session: &mut ServerSession, now: Millis) -> io::Result<()> {
        let written = socket.try_write(&[IoSlice::new(&self.text)])?;
        self.text.advance(written);
        if self.text.is_empty() {
            session.wrote(now, std::mem::take(&mut self.owed));
            self.pass_on(session, now);
        }
        Ok(())
    }
}
