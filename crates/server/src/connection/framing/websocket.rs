//! Native messages in a WebSocket's binary frames (RFC 6455); what waits in the session is one message, of which no byte
//! is moved. Pings are sent when nothing else is.

use std::io::IoSlice;

use bytes::{Buf, Bytes};
use vang_proto::Millis;
use vang_proto::vang::ServerSession;
use vang_proto::websocket::{CloseCode, MessageKind, WebSocket, WebSocketInput, message_header};

use super::{End, Framing, SLICES_PER_WRITE, fill};

/// A ping without content, from the server: FIN, opcode 9, no mask.
const PING_FRAME: &[u8] = &[0x89, 0];

/// A WebSocket, and how far the message that goes out is written.
pub(crate) struct WebSocketFraming {
    incoming: WebSocket,
    /// A control frame that goes out before the next message.
    control: Bytes,
    /// The message's header, at the end of the array, and how many bytes of it are left.
    head: [u8; 10],
    head_left: usize,
    /// What is left of the message's payload: the first bytes of what the session has.
    left: usize,
    /// The peer has closed, or broken the rules, before we sent a close frame.
    is_over: bool,
    /// Silence after which a ping is sent, ms, and when something was last written.
    ping_after_ms: u64,
    wrote_at: Millis,
}

impl WebSocketFraming {
    /// After the handshake. A ping is sent after so much silence.
    pub(crate) fn new(ping_after_ms: u64, now: Millis) -> WebSocketFraming {
        WebSocketFraming {
            incoming: WebSocket::default(),
            control: Bytes::new(),
            head: [0; 10],
            head_left: 0,
            left: 0,
            is_over: false,
            ping_after_ms,
            wrote_at: now,
        }
    }

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
        if waiting == 0 || self.is_over {
            return false;
        }
        // Everything that waits is whole messages: it is one payload, and no byte of it is moved.
        let (head, len) = message_header(MessageKind::Binary, waiting as u64);
        self.head_left = len;
        let at = self.head.len() - len;
        self.head[at..].copy_from_slice(&head[..len]);
        self.left = waiting;
        true
    }

    /// The peer gets no more messages. A frame that was begun is not completed; inside it no close frame can be sent, so
    /// then the connection ends without one.
    fn give_up(&mut self) {
        self.is_over = true;
        if self.left > 0 || self.head_left > 0 {
            self.left = 0;
            self.head_left = 0;
            self.control = Bytes::new();
            let _ = self.incoming.take_answer();
        }
    }
}

impl Framing for WebSocketFraming {
    fn handle_bytes(&mut self, bytes: &mut [u8], session: &mut ServerSession, now: Millis) {
        let was_close_sent = self.incoming.is_close_sent();
        let (mut text, mut closed) = (false, false);
        self.incoming.handle_bytes(bytes, &mut |heard| match heard {
            WebSocketInput::Payload(MessageKind::Binary, payload) => session.handle_bytes(now, payload),
            WebSocketInput::Payload(MessageKind::Text, _) | WebSocketInput::End(MessageKind::Text) => {
                text = true;
            }
            WebSocketInput::End(MessageKind::Binary) => {}
            WebSocketInput::Closed(_) => closed = true,
        });
        if text {
            self.incoming.close(CloseCode::UnsupportedData, "messages here are binary");
        }
        match was_close_sent {
            // The peer's answer to our close frame.
            true if closed => session.handle_end(now),
            true => {}
            false if closed || text => self.give_up(),
            false => {}
        }
    }

    fn handle_end(&mut self, _end: End, session: &mut ServerSession, now: Millis) {
        // The stream ended without a close frame: the peer is gone. A WebSocket cannot be half closed.
        if !self.incoming.is_close_sent() {
            self.incoming.close(CloseCode::Normal, "");
            self.give_up();
        }
        session.handle_end(now);
    }

    fn output<'a>(
        &'a mut self,
        session: &'a mut ServerSession,
        _now: Millis,
        slices: &mut [IoSlice<'a>; SLICES_PER_WRITE],
    ) -> usize {
        if !self.prepare(session) {
            return 0;
        }
        slices[0] = IoSlice::new(self.before());
        let mut room = self.left;
        let payload = session.output().map_while(|bytes| {
            let here = bytes.len().min(room);
            room -= here;
            (here > 0).then(|| &bytes[..here])
        });
        1 + fill(&mut slices[1..], payload)
    }

    fn wrote(&mut self, n: usize, session: &mut ServerSession, now: Millis) {
        let of_head = n.min(self.before().len());
        match self.control.is_empty() {
            false => self.control.advance(of_head),
            true => self.head_left -= of_head,
        }
        self.left -= n - of_head;
        self.wrote_at = now;
        session.wrote(now, n - of_head);
    }

    fn has_output(&self, session: &ServerSession) -> bool {
        !self.before().is_empty() || self.incoming.has_answer() || session.has_output()
    }

    /// With pings, a proxy between does not end an idle connection, and finds out that a client is gone (RFC 6455, 5.5.2).
    /// While something waits to be written, no ping is needed.
    fn deadline(&self, is_writing: bool) -> Option<Millis> {
        (!is_writing && !self.incoming.is_close_sent()).then(|| self.wrote_at + self.ping_after_ms)
    }

    fn handle_time(&mut self, _session: &mut ServerSession, _now: Millis) {
        self.control = Bytes::from_static(PING_FRAME);
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn finish(&mut self, session: &ServerSession) {
        let refused = session.refusal().is_some();
        let code = if refused { CloseCode::PolicyViolation } else { CloseCode::Normal };
        self.incoming.close(code, "");
    }
}

#[cfg(test)]
mod tests {
    use vang_proto::vang::ServerLimits;

    use super::*;

    const NOW: Millis = Millis(1_000);

    fn session() -> ServerSession {
        ServerSession::new(NOW, ServerLimits::default())
    }

    /// What the peer gets of everything that waits, if the socket takes `most` bytes at once.
    fn written(framing: &mut WebSocketFraming, session: &mut ServerSession, most: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        while framing.has_output(session) {
            let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
            let count = framing.output(session, NOW, &mut slices);
            let bytes: Vec<u8> =
                slices[..count].iter().flat_map(|slice| slice.iter().copied()).take(most).collect();
            framing.wrote(bytes.len(), session, NOW);
            taken.extend(bytes);
        }
        taken
    }

    #[test]
    fn one_frame_holds_all_that_waits_in_every_partial_write() {
        for most in 1..=10 {
            let (mut framing, mut session) = (WebSocketFraming::new(10, NOW), session());
            session.push_event(NOW, Bytes::from_static(b"one"));
            session.push_event(NOW, Bytes::from_static(b"three"));
            let taken = written(&mut framing, &mut session, most);
            assert_eq!(taken, b"\x82\x08onethree", "{most} bytes at once");
        }
    }

    #[test]
    fn a_ping_is_due_only_while_nothing_is_written_and_no_close_was_sent() {
        let (mut framing, mut session) = (WebSocketFraming::new(10, NOW), session());
        assert_eq!(framing.deadline(true), None);
        assert_eq!(framing.deadline(false), Some(NOW + 10));
        framing.handle_time(&mut session, NOW + 10);
        assert_eq!(written(&mut framing, &mut session, 1), PING_FRAME);
        framing.finish(&session);
        assert_eq!(framing.deadline(false), None);
    }

    #[test]
    fn a_peer_that_closes_inside_our_frame_gets_no_more_bytes() {
        let (mut framing, mut session) = (WebSocketFraming::new(10, NOW), session());
        session.push_event(NOW, Bytes::from_static(b"three"));
        let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
        assert_eq!(framing.output(&mut session, NOW, &mut slices), 2);
        framing.wrote(4, &mut session, NOW);
        let mut close = [0x88, 0x80, 0, 0, 0, 0];
        framing.handle_bytes(&mut close, &mut session, NOW);
        assert!(framing.is_over());
        session.hang_up();
        assert_eq!(written(&mut framing, &mut session, 1), b"");
    }
}
