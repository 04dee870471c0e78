//! One connection of your own protocol: receive buffer, send buffer and the order of steps. No I/O: you read and
//! write, it says what is next.
//!
//! ```text
//!  Length ──▶ Header ──▶ Content ──▶ Process ──▶ Write ──▶ Length …     one message after the other
//!    the socket is read              you answer   the socket is written
//!                                                      └──▶ Close       after `close`, an error, the peer's end
//! ```
//!
//! Never both reading and writing: nothing is read while bytes wait to be sent, so a peer that does not read its
//! answers cannot fill the memory, and a selector is not woken by a socket that can always be written. There are
//! no time-outs here: the owner has the clock, and closes a connection on which nothing has moved for too long.

use bytes::{Buf, BytesMut};

use crate::compose::{ComposeError, Composer};
use crate::frame::{Decoder, Frame, Limits, Part};
use crate::frame_error::FrameError;

/// What the owner of a connection does next.
///
/// ```
/// use vang_proto::{Connection, Step};
///
/// let mut connection = Connection::default();
/// assert_eq!(connection.step(), Step::Length);
/// connection.handle_read(b"\0\x6b{\"byteorder\"");
/// assert_eq!(connection.step(), Step::Header);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Read: the two bytes of the length are missing, or one of them.
    Length,
    /// Read: the header is not whole.
    Header,
    /// Read: the content is not whole.
    Content,
    /// A message, or an error, is here: take it with [`Connection::poll_frame`].
    Process,
    /// Write: [`Connection::unsent`] to the socket; then [`Connection::handle_written`].
    Write,
    /// Close the socket.
    Close,
}

impl Step {
    /// Does this step read from the socket? [`Step::Write`] is the only one that writes to it.
    pub fn is_read(self) -> bool {
        matches!(self, Step::Length | Step::Header | Step::Content)
    }
}

/// Why no further message can be read from a connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// The bytes are not a message. Where the next one would begin is not known.
    #[error(transparent)]
    Malformed(#[from] FrameError),
    /// The peer ended the stream within a message.
    #[error("the peer closed within a message, {received} bytes after the last whole part of one")]
    Truncated {
        /// Bytes that came of the unfinished part: of length and header together, or of the content.
        received: usize,
    },
}

/// The state of one connection: what came, what is to be sent, which step is next.
///
/// A server that answers each message with its content in capitals, and a client; the bytes go through two slices here,
/// through a socket in `examples/selector_server.rs` (mio) and `examples/async_server.rs` (tokio).
///
/// ```
/// use vang_proto::{Connection, Step};
///
/// let (mut client, mut server) = (Connection::default(), Connection::default());
/// client.send("text/plain", "utf-8", b"hello")?;
///
/// // `send` put it into the client's send buffer; a socket takes as much of it as it likes.
/// assert_eq!(client.step(), Step::Write);
/// while client.step() == Step::Write {
///     let taken = client.unsent().len().min(10);
///     server.handle_read(&client.unsent()[..taken]);
///     client.handle_written(taken);
/// }
///
/// assert_eq!(server.step(), Step::Process);
/// let request = server.poll_frame()?.expect("the step says so");
/// server.send("text/plain", "utf-8", &request.content.to_ascii_uppercase())?;
/// server.close();
///
/// client.handle_read(server.unsent());
/// server.handle_written(server.unsent().len());
/// assert_eq!(server.step(), Step::Close);
/// assert_eq!(&client.poll_frame()?.expect("the answer").content[..], b"HELLO");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Connection {
    decoder: Decoder,
    /// The message that is handed out next, or what is wrong with it: taken out of the decoder as soon as it is whole.
    next: Option<Result<Frame, FrameError>>,
    unsent: BytesMut,
    peer_ended: bool,
    is_closing: bool,
}

impl Connection {
    /// A connection at its beginning that takes messages up to these limits; `default()` takes headers up to 65,535 bytes
    /// and contents up to 1 MiB.
    ///
    /// ```
    /// use vang_proto::{Connection, Limits};
    ///
    /// let sensor = Connection::new(Limits { header: 1_024, content: 256 });
    /// # let _ = sensor;
    /// ```
    pub fn new(limits: Limits) -> Connection {
        Connection { decoder: Decoder::new(limits), ..Connection::default() }
    }

    /// What to do next. Ask again after each step.
    pub fn step(&self) -> Step {
        if !self.unsent.is_empty() {
            return Step::Write;
        }
        if self.is_closing {
            return Step::Close;
        }
        if self.next.is_some() {
            return Step::Process;
        }
        match (self.decoder.waits_for(), self.peer_ended) {
            (Part::Nothing, true) => Step::Close,
            (_, true) => Step::Process, // the error that it ended within a message
            (Part::Content, false) => Step::Content,
            (Part::Header | Part::Nothing, false) if self.decoder.buffered() < 2 => Step::Length,
            (Part::Header | Part::Nothing, false) => Step::Header,
        }
    }

    /// Takes what `read` gave: any number of bytes, also less or more than a message. No bytes are the end of the stream,
    /// as for `read`; what came before it is still processed and answered.
    ///
    /// It holds at most one message and one read more, as long as the owner reads only when [`Step::is_read`] says so.
    pub fn handle_read(&mut self, bytes: &[u8]) {
        match bytes {
            [] => self.peer_ended = true,
            _ if self.is_closing => {}
            bytes => {
                self.decoder.feed(bytes);
                self.look_for_next();
            }
        }
    }

    fn look_for_next(&mut self) {
        if self.next.is_none() {
            self.next = self.decoder.poll_frame().transpose();
        }
    }

    /// The next message; `None` while bytes of it are missing, or while bytes wait to be sent.
    ///
    /// # Errors
    /// What came is not a message ([`ConnectionError::Malformed`]), or ended within one ([`ConnectionError::Truncated`]).
    /// Then the connection closes: `send` may still add a last message that says why, and after it [`Step::Close`] follows.
    ///
    /// ```
    /// use vang_proto::{Connection, Step};
    ///
    /// let mut connection = Connection::default();
    /// connection.handle_read(b"\0\x02{}");
    /// let error = connection.poll_frame().expect_err("not a header");
    /// assert_eq!(error.to_string(), "missing required header 'byteorder'");
    /// assert_eq!(connection.step(), Step::Close);
    /// ```
    pub fn poll_frame(&mut self) -> Result<Option<Frame>, ConnectionError> {
        if self.is_closing || !self.unsent.is_empty() {
            return Ok(None);
        }
        let error = match self.next.take() {
            Some(Ok(frame)) => {
                self.look_for_next();
                return Ok(Some(frame));
            }
            Some(Err(error)) => ConnectionError::Malformed(error),
            None if self.peer_ended && self.decoder.waits_for() != Part::Nothing => {
                match self.decoder.swapped_length() {
                    Some(length) => FrameError::WrongByteOrder(length).into(),
                    None => ConnectionError::Truncated { received: self.decoder.buffered() },
                }
            }
            None => return Ok(None),
        };
        self.close();
        Err(error)
    }

    /// Adds a message to the send buffer.
    ///
    /// # Errors
    /// As [`Connection::send_with`].
    pub fn send(
        &mut self,
        content_type: &str,
        content_encoding: &str,
        content: &[u8],
    ) -> Result<(), ComposeError> {
        self.send_with(content_type, content_encoding, content, |_| ())
    }

    /// Adds a message with header keys of your own to the send buffer. `content` is in `content_encoding` already: nothing
    /// is converted here.
    ///
    /// The buffer grows with what you send. If you send without being asked, look at `unsent().len()`, in bytes, and stop
    /// while the peer does not read.
    ///
    /// # Errors
    /// The header is longer than 65,535 bytes. Nothing is added then.
    ///
    /// ```
    /// use vang_proto::Connection;
    ///
    /// let mut connection = Connection::default();
    /// connection.send_with("text/plain", "utf-8", b"20.5", |header| {
    ///     header.text("sensor", "roof").number("reading", 1);
    /// })?;
    /// let too_long = connection.send_with("text/plain", "utf-8", b"", |header| {
    ///     header.text("sensor", &"x".repeat(70_000));
    /// });
    /// assert!(too_long.is_err());
    /// # Ok::<(), vang_proto::ComposeError>(())
    /// ```
    pub fn send_with(
        &mut self,
        content_type: &str,
        content_encoding: &str,
        content: &[u8],
        add_keys: impl FnOnce(&mut Composer<'_>),
    ) -> Result<(), ComposeError> {
        let mut message = Composer::new(&mut self.unsent, content_type, content_encoding, content.len());
        add_keys(&mut message);
        message.try_finish(content)
    }

    /// The send buffer: bytes that the socket has not taken yet.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// The socket took so many bytes of [`Connection::unsent`], from its beginning; `write` often takes less than all.
    pub fn handle_written(&mut self, bytes: usize) {
        self.unsent.advance(bytes.min(self.unsent.len()));
        if self.unsent.is_empty() {
            // A connection that waits holds no buffer.
            self.unsent = BytesMut::new();
        }
    }

    /// Takes no more messages: when the send buffer is written, [`Step::Close`] follows. What the peer sends from here on is
    /// dropped. A socket that is closed while such bytes are unread is reset, which can take your last message from the peer;
    /// if it may have sent more, shut down the sending half first, and read to the end.
    pub fn close(&mut self) {
        self.is_closing = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with this content.
    fn message(content: &[u8]) -> Vec<u8> {
        let mut connection = Connection::default();
        connection.send("text/plain", "utf-8", content).expect("a short header");
        connection.unsent().to_vec()
    }

    /// Reads these bytes one by one and gives the steps that were next, each once.
    fn steps_of(bytes: &[u8]) -> Vec<Step> {
        let mut connection = Connection::default();
        let mut steps = vec![connection.step()];
        for byte in bytes {
            connection.handle_read(&[*byte]);
            steps.push(connection.step());
        }
        steps.dedup();
        steps
    }

    #[test]
    fn a_message_byte_by_byte_goes_through_every_step() {
        assert_eq!(steps_of(&message(b"hello")), [Step::Length, Step::Header, Step::Content, Step::Process]);
        assert_eq!(steps_of(&message(b"")), [Step::Length, Step::Header, Step::Process]);
    }

    #[test]
    fn two_messages_survive_every_split() {
        let bytes = [message(b"one"), message(b"two")].concat();
        for cut in 0..=bytes.len() {
            let mut connection = Connection::default();
            let mut came = Vec::new();
            for piece in [&bytes[..cut], &bytes[cut..]].iter().filter(|piece| !piece.is_empty()) {
                connection.handle_read(piece);
                while let Some(frame) = connection.poll_frame().expect("whole messages") {
                    came.push(frame.content);
                }
            }
            assert_eq!(came, [&b"one"[..], b"two"], "cut at {cut}");
            assert_eq!(connection.step(), Step::Length);
        }
    }

    #[test]
    fn nothing_is_read_or_handed_out_while_bytes_wait_to_be_sent() {
        let mut connection = Connection::default();
        connection.handle_read(&[message(b"one"), message(b"two")].concat());
        assert!(connection.poll_frame().expect("a message").is_some());
        connection.send("text/plain", "utf-8", b"answer").expect("a short header");
        let all = connection.unsent().len();
        for left in (1..=all).rev() {
            assert_eq!((connection.step(), connection.unsent().len()), (Step::Write, left));
            assert_eq!(connection.poll_frame(), Ok(None));
            connection.handle_written(1);
        }
        assert_eq!(connection.step(), Step::Process);
        assert!(connection.poll_frame().expect("a message").is_some());
    }

    #[test]
    fn a_peer_that_ended_its_half_still_gets_its_answer() {
        let mut connection = Connection::default();
        connection.handle_read(&message(b"last"));
        connection.handle_read(b"");
        assert_eq!(connection.step(), Step::Process);
        assert!(connection.poll_frame().expect("a message").is_some());
        connection.send("text/plain", "utf-8", b"answer").expect("a short header");
        assert_eq!(connection.step(), Step::Write);
        connection.handle_written(usize::MAX);
        assert_eq!(connection.step(), Step::Close);
        assert_eq!(connection.poll_frame(), Ok(None));
    }

    #[test]
    fn an_end_within_a_message_is_an_error_once_and_then_a_close() {
        let bytes = message(b"hello");
        for cut in 1..bytes.len() {
            let mut connection = Connection::default();
            connection.handle_read(&bytes[..cut]);
            connection.handle_read(b"");
            assert_eq!(connection.step(), Step::Process, "cut at {cut}");
            let error = connection.poll_frame().expect_err("not whole");
            assert!(matches!(error, ConnectionError::Truncated { received } if received <= cut), "{error}");
            assert_eq!((connection.step(), connection.poll_frame()), (Step::Close, Ok(None)));
        }
    }

    #[test]
    fn after_a_malformed_message_a_last_message_can_be_sent() {
        let mut connection = Connection::default();
        connection.handle_read(b"GET / HTTP/1.1\r\n");
        assert_eq!(connection.step(), Step::Header, "'GE' is a length: 18,245 bytes");
        let mut connection = Connection::new(Limits { header: 1_024, content: 8 });
        connection.handle_read(b"GET / HTTP/1.1\r\n");
        assert_eq!(connection.step(), Step::Process);
        let error = connection.poll_frame().expect_err("no message").to_string();
        assert_eq!(error, "header of 18245 bytes exceeds the limit of 1024");
        connection.send("text/plain", "utf-8", error.as_bytes()).expect("a short header");
        assert_eq!(connection.step(), Step::Write);
        connection.handle_written(connection.unsent().len());
        assert_eq!(connection.step(), Step::Close);
    }

    #[test]
    fn a_header_that_is_too_long_is_refused_and_leaves_no_byte() {
        let mut connection = Connection::default();
        connection.send("text/plain", "utf-8", b"first").expect("a short header");
        let before = connection.unsent().to_vec();
        let sent = connection.send(&"x".repeat(65_535), "utf-8", b"");
        let error = sent.expect_err("too long").to_string();
        assert!(error.starts_with("header of 65") && error.ends_with("bytes exceeds 65535"), "{error}");
        assert_eq!(connection.unsent(), before);
    }
}
