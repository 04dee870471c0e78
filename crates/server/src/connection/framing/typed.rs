//! Typed lines: what a person types becomes native requests, what the session says becomes lines.

use std::io::IoSlice;

use bytes::{Buf, Bytes};
use vang_proto::Millis;
use vang_proto::limits::LINE_QUIET_MS;
use vang_proto::typed::TypedLines;
use vang_proto::vang::ServerSession;

use super::{End, Framing, SLICES_PER_WRITE};

/// Bytes of messages that are turned into lines at once: then those are written first.
const TRANSLATED_BYTES: usize = 16 << 10;

/// Messages that are turned into lines at once.
const TRANSLATED_MESSAGES: usize = 32;

/// One write of lines makes room for the next, which must be translated: that takes time.
const WRITES_OF_LINES_AT_ONCE: usize = 1;

/// Typed lines, and how far those that go out are written.
pub(crate) struct TypedFraming {
    lines: TypedLines,
    text: Bytes,
    /// Bytes of the session's output that `text` was made of: written when it is.
    owed: usize,
    /// For a client whose lines have no end: when it last sent bytes. Each line ends after a time without a byte.
    typed_at: Option<Millis>,
}

impl TypedFraming {
    /// Lines of at most so many bytes. `without_end`: the first came without its end, at this time; so the others will.
    pub(crate) fn new(line_max: usize, without_end: Option<Millis>) -> TypedFraming {
        TypedFraming { lines: TypedLines::new(line_max), text: Bytes::new(), owed: 0, typed_at: without_end }
    }

    /// Takes what the translator made: lines for the peer, requests for the session.
    fn pass_on(&mut self, session: &mut ServerSession, now: Millis) {
        if self.text.is_empty() {
            self.text = self.lines.poll_text().unwrap_or_default();
        }
        while let Some(native) = self.lines.poll_native() {
            session.handle_bytes(now, &native);
        }
    }

    /// Turns what the session says into lines when the last are written.
    fn prepare(&mut self, session: &mut ServerSession, now: Millis) {
        while self.text.is_empty() {
            session.wrote(now, std::mem::take(&mut self.owed));
            if session.has_output() {
                for bytes in session.output().take(TRANSLATED_MESSAGES) {
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
    }
}

impl Framing for TypedFraming {
    fn handle_bytes(&mut self, bytes: &mut [u8], session: &mut ServerSession, now: Millis) {
        if let Some(at) = &mut self.typed_at {
            *at = now;
        }
        self.lines.handle_bytes(bytes);
        self.pass_on(session, now);
    }

    /// Lines end as if `/quit` had been typed.
    fn handle_end(&mut self, end: End, session: &mut ServerSession, now: Millis) {
        match end {
            End::Complete => self.lines.handle_end(),
            End::CutOff => self.lines.handle_cut(),
        }
        self.pass_on(session, now);
    }

    fn output<'a>(
        &'a mut self,
        session: &'a mut ServerSession,
        now: Millis,
        slices: &mut [IoSlice<'a>; SLICES_PER_WRITE],
    ) -> usize {
        self.prepare(session, now);
        slices[0] = IoSlice::new(&self.text);
        usize::from(!self.text.is_empty())
    }

    fn wrote(&mut self, n: usize, session: &mut ServerSession, now: Millis) {
        self.text.advance(n);
        if self.text.is_empty() {
            session.wrote(now, std::mem::take(&mut self.owed));
            self.pass_on(session, now);
        }
    }

    fn has_output(&self, session: &ServerSession) -> bool {
        !self.text.is_empty() || session.has_output()
    }

    fn writes_at_once(&self) -> usize {
        WRITES_OF_LINES_AT_ONCE
    }

    fn wants_input(&self) -> bool {
        self.lines.wants_input()
    }

    /// When a line that has no end is taken as complete.
    fn deadline(&self, _is_writing: bool) -> Option<Millis> {
        let typed_at = self.typed_at.filter(|_| self.lines.awaits_line_end());
        typed_at.map(|at| at + LINE_QUIET_MS)
    }

    /// Takes such a line as complete.
    fn handle_time(&mut self, session: &mut ServerSession, now: Millis) {
        self.lines.handle_quiet();
        self.pass_on(session, now);
    }

    fn is_over(&self) -> bool {
        self.lines.wants_close()
    }

    fn refusal(&self) -> Option<&'static str> {
        self.lines.refusal()
    }

    fn held_bytes(&self) -> usize {
        self.lines.held_bytes() + self.text.len()
    }
}
