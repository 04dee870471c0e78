//! Where typed bytes come from, and where received ones go: a pipe or file (`Pipe`), or a person at a terminal.

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use vang_proto::terminal::{harmless, indented};

use super::escaped::EscapedText;

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// What was typed since the last read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    /// Lines with their ends, or any part of a stream.
    pub bytes: Vec<u8>,
    /// What follows after these bytes.
    pub then: Option<TypedEnd>,
}

/// The last that is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypedEnd {
    /// The input has ended; the conversation goes on.
    Input,
    /// The person ends the program.
    Program,
}

/// The side of the user. The texts of `line` and `note` can hold what the peer sent: implementations escape them.
pub trait Console {
    /// Called once, when the peer can be talked to; nothing is read before.
    fn start(&mut self) -> io::Result<()>;

    /// Becomes readable when `read` has something; `read` does not block then, and takes all that is there.
    fn input(&self) -> BorrowedFd<'_>;

    /// The next typed bytes.
    fn read(&mut self) -> io::Result<Typed>;

    /// Does a person type, who sees what is noted and can type again?
    fn is_person(&self) -> bool;

    /// Shows received bytes. `ends`: a message or datagram ends with them. `after`: the time of the answer that they begin.
    fn received(&mut self, bytes: &[u8], ends: bool, after: Option<Duration>) -> io::Result<()>;

    /// Shows received bytes that were made a line of text.
    fn line(&mut self, text: &str, after: Option<Duration>) -> io::Result<()>;

    /// Shows a line about the connection.
    fn note(&mut self, text: &str) -> io::Result<()>;

    /// Shows what is held.
    fn end(&mut self) -> io::Result<()>;
}

/// Any input and output. Received bytes go out unchanged, to a terminal escaped; notes go aside.
#[derive(Debug)]
pub struct Pipe<I, O, A> {
    input: I,
    output: O,
    aside: A,
    /// Set if the output is a terminal.
    escaped: Option<EscapedText>,
    /// Is the terminal's cursor at the beginning of a line?
    at_line_start: bool,
}

impl<I: Read + AsFd, O: Write + IsTerminal, A: Write> Pipe<I, O, A> {
    /// Notes go to `aside`.
    pub fn new(input: I, output: O, aside: A) -> Pipe<I, O, A> {
        let escaped = output.is_terminal().then(EscapedText::default);
        Pipe { input, output, aside, escaped, at_line_start: true }
    }

    fn show(&mut self, text: &str) -> io::Result<()> {
        if let Some(last) = text.chars().next_back() {
            self.at_line_start = last == '\n';
        }
        self.output.write_all(text.as_bytes())?;
        self.output.flush()
    }

    fn finish_line(&mut self) -> io::Result<()> {
        let held = self.escaped.as_mut().map(EscapedText::end).unwrap_or_default();
        self.show(&held)?;
        if self.at_line_start { Ok(()) } else { self.show("\n") }
    }
}

impl<I: Read + AsFd, O: Write + IsTerminal, A: Write> Console for Pipe<I, O, A> {
    fn start(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn input(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    fn read(&mut self) -> io::Result<Typed> {
        let mut bytes = vec![0; READ_BYTES];
        match self.input.read(&mut bytes) {
            Ok(0) => Ok(Typed { then: Some(TypedEnd::Input), ..Typed::default() }),
            Ok(len) => {
                bytes.truncate(len);
                Ok(Typed { bytes, then: None })
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
                Ok(Typed::default())
            }
            Err(error) => Err(error),
        }
    }

    fn is_person(&self) -> bool {
        false
    }

    fn received(&mut self, bytes: &[u8], ends: bool, _after: Option<Duration>) -> io::Result<()> {
        let Some(escaped) = &mut self.escaped else {
            self.output.write_all(bytes)?;
            return self.output.flush();
        };
        let text = escaped.feed(bytes);
        self.show(&text)?;
        if ends { self.finish_line() } else { Ok(()) }
    }

    fn line(&mut self, text: &str, _after: Option<Duration>) -> io::Result<()> {
        self.show(&format!("{}\n", indented(&harmless(text), "  ")))
    }

    fn note(&mut self, text: &str) -> io::Result<()> {
        if self.escaped.is_some() {
            self.finish_line()?;
        }
        // A closed stderr is no error.
        let _ = writeln!(self.aside, "{}", indented(&harmless(text), "  "));
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if self.escaped.is_some() { self.finish_line() } else { Ok(()) }
    }
}
