//! A person at a terminal: a line is typed below, what comes is shown above it. Each change erases the line, prints, and
//! draws it again; so received data never destroys what is typed.
//!
//! ```text
//! < what the peer sent  (0.24 ms)
//! > what is typed
//! ```

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crossterm::event::{self, Event, KeyEventKind};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode, size};
use rustix::process::{Signal, getpid, kill_process};
use vang_nettools::talk::{Console, EscapedText, Typed, TypedEnd};
use vang_proto::terminal::{harmless, indented};
use vang_proto::text::short_duration;

use super::line::{Line, Pressed, printable};

/// Before what is typed, and before what comes: no line of the peer can look like one of ours.
const PROMPT: &str = "> ";
const FROM_PEER: &str = "< ";

/// Erases the terminal's line.
const ERASE: &str = "\r\x1b[K";

/// The terminal, in raw mode from `start` until it is dropped.
pub(super) struct Terminal {
    stdin: io::Stdin,
    line: Line,
    escaped: EscapedText,
    is_raw: bool,
    /// Has the person ended the input? Then there is no prompt.
    is_ended: bool,
    hints: bool,
}

impl Terminal {
    /// `hints`: say which keys end it.
    pub(super) fn new(hints: bool) -> Terminal {
        let (line, escaped) = (Line::default(), EscapedText::default());
        Terminal { stdin: io::stdin(), line, escaped, is_raw: false, is_ended: false, hints }
    }

    /// Prints lines above the one that is typed.
    fn print(&self, lines: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.is_raw {
            true => {
                let lines = lines.replace('\n', "\r\n");
                write!(out, "{ERASE}{lines}\r\n{}", self.prompt())?;
            }
            false => writeln!(out, "{lines}")?,
        }
        out.flush()
    }

    fn draw(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        write!(out, "{ERASE}{}", self.prompt())?;
        out.flush()
    }

    /// The line that is typed, with the cursor in its place.
    fn prompt(&self) -> String {
        if self.is_ended {
            return String::new();
        }
        let columns = size().map_or(80, |(columns, _)| usize::from(columns));
        let (shown, cursor) = self.line.view(columns.saturating_sub(PROMPT.len()));
        format!("{PROMPT}{shown}\r\x1b[{}C", PROMPT.len() + cursor)
    }

    fn set_raw(&mut self, is_raw: bool) -> io::Result<()> {
        self.is_raw = is_raw;
        if is_raw { enable_raw_mode() } else { disable_raw_mode() }
    }

    /// As Ctrl-Z does to every program: the shell goes on, `fg` comes back.
    fn suspend(&mut self) -> io::Result<()> {
        self.leave()?;
        kill_process(getpid(), Signal::TSTP)?;
        self.set_raw(true)?;
        self.draw()
    }

    /// Leaves the terminal as it was, with the cursor at the beginning of a line.
    fn leave(&mut self) -> io::Result<()> {
        if !self.is_raw {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        match self.line.is_empty() || self.is_ended {
            true => write!(out, "{ERASE}")?,
            false => write!(out, "\r\n")?,
        }
        out.flush()?;
        drop(out);
        self.set_raw(false)
    }

    fn press(&mut self, key: event::KeyEvent, typed: &mut Typed) -> io::Result<()> {
        match self.line.press(key) {
            Pressed::Edited => self.draw(),
            Pressed::Line(line) => {
                self.print(&format!("{PROMPT}{}", printable(&line)))?;
                typed.bytes.extend_from_slice(line.as_bytes());
                typed.bytes.push(b'\n');
                Ok(())
            }
            Pressed::EndInput => {
                self.is_ended = true;
                typed.then = Some(TypedEnd::Input);
                self.draw()
            }
            Pressed::EndProgram => {
                typed.then = Some(TypedEnd::Program);
                Ok(())
            }
            Pressed::Suspend => self.suspend(),
            Pressed::ClearScreen => {
                write!(io::stdout(), "\x1b[2J\x1b[H")?;
                self.draw()
            }
        }
    }

    /// Prints a text of the peer, each line with its mark; remarks stand behind the first one.
    fn print_from_peer(&self, text: &str, remarks: &[String]) -> io::Result<()> {
        let mut lines = text.split('\n').map(|line| format!("{FROM_PEER}{line}"));
        let mut first = lines.next().unwrap_or_default();
        if !remarks.is_empty() {
            first.push_str(&format!("  ({})", remarks.join(", ")));
        }
        let rest: String = lines.map(|line| format!("\n{line}")).collect();
        self.print(&format!("{first}{rest}"))
    }
}

impl Console for Terminal {
    fn start(&mut self) -> io::Result<()> {
        if self.hints {
            self.print("type a line and press Enter; Ctrl-D ends the input, Ctrl-C the program")?;
        }
        self.set_raw(true)?;
        self.draw()
    }

    fn input(&self) -> BorrowedFd<'_> {
        self.stdin.as_fd()
    }

    fn read(&mut self) -> io::Result<Typed> {
        let mut typed = Typed::default();
        while typed.then != Some(TypedEnd::Program) && event::poll(Duration::ZERO)? {
            match event::read()? {
                // Behind the end of the input only the end of the program counts.
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    let mut pressed = Typed::default();
                    let was_ended = self.is_ended;
                    self.press(key, &mut pressed)?;
                    if !was_ended {
                        typed.bytes.append(&mut pressed.bytes);
                    }
                    typed.then = pressed.then.or(typed.then);
                }
                Event::Resize(..) => self.draw()?,
                _ => {}
            }
        }
        Ok(typed)
    }

    fn is_person(&self) -> bool {
        true
    }

    fn received(&mut self, bytes: &[u8], ends: bool, after: Option<Duration>) -> io::Result<()> {
        let mut text = self.escaped.feed(bytes);
        if ends {
            text.push_str(&self.escaped.end());
        }
        if text.is_empty() && !ends {
            return Ok(());
        }
        let has_end = text.ends_with('\n');
        let mut remarks: Vec<String> = after.map(short_duration).into_iter().collect();
        if !has_end && !ends {
            remarks.push("no line end".to_owned());
        }
        self.print_from_peer(text.strip_suffix('\n').unwrap_or(&text), &remarks)
    }

    fn line(&mut self, text: &str, after: Option<Duration>) -> io::Result<()> {
        let remarks: Vec<String> = after.map(short_duration).into_iter().collect();
        self.print_from_peer(&harmless(text), &remarks)
    }

    fn note(&mut self, text: &str) -> io::Result<()> {
        self.print(&indented(&harmless(text), "  "))
    }

    fn end(&mut self) -> io::Result<()> {
        let held = self.escaped.end();
        if !held.is_empty() {
            self.print_from_peer(&held, &[])?;
        }
        self.leave()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // After an error too the shell must get its terminal back.
        let _ = self.leave();
    }
}
