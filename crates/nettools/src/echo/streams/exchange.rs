//! What one connection does when it is ready: it comes to stand, sends, reads back, compares, and ends.

use std::io;
use std::time::Instant;

use vang_client::trouble::Doing;

use super::{Streams, TOLD_MAX};
use crate::echo::certificate::refused;
use crate::echo::content::Content;
use crate::echo::peer::NARRATED_MAX;
use crate::echo::send::{Back, Broken, Secured, Wrong};
use crate::echo::wire::Wire;
use crate::failure::explain;
use crate::quote::counted;
use crate::{place, quoted};

/// Connections that broke are told each on a line of its own, but not more than so many one after the other for the same
/// cause, for hundreds break alike.
const ALIKE_TOLD_MAX: u64 = 3;

/// Of all that went wrong so many are told; the rest is counted.
const FAULTS_TOLD_MAX: u64 = 100;

/// Reads of one connection before the others have a turn.
const STEPS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    /// For the time when the next message is due, or for input.
    Waiting,
    Exchanging,
    /// We have closed our half.
    Ending,
    Done,
}

/// One connection.
pub(super) struct Line {
    pub(super) wire: Option<Wire>,
    pub(super) state: State,
    pub(super) content: Content,
    /// Messages begun.
    pub(super) begun: u64,
    pub(super) sent: u64,
    pub(super) back: u64,
    pub(super) due: Instant,
    pub(super) sent_at: Instant,
    /// Anything at all that came back before the time for sending was over.
    pub(super) served: bool,
    pub(super) broke: bool,
}

impl Line {
    /// One that is being made, with this to send first.
    pub(super) fn new(content: Content) -> Line {
        let now = Instant::now();
        Line {
            wire: None,
            state: State::Connecting,
            content,
            begun: 0,
            sent: 0,
            back: 0,
            due: now,
            sent_at: now,
            served: false,
            broke: false,
        }
    }
}

/// What reading came to.
enum Came {
    Nothing,
    /// There may be more.
    Some,
    /// Bytes, and for now no more.
    AllThere,
}

impl Streams<'_> {
    /// Does whatever can be done without waiting. `readable`: the kernel says that something has come; `ended`: and
    /// that it is the last.
    pub(super) fn pump(&mut self, number: usize, readable: bool, ended: bool) -> io::Result<()> {
        let mut look = readable;
        for _ in 0..STEPS {
            let line = &mut self.lines[number];
            let Some(wire) = &mut line.wire else { return Ok(()) };
            if line.state == State::Connecting {
                match place::stands(&wire.socket) {
                    Ok(()) => self.has_come_to_stand(number)?,
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                    Err(error) => return self.breaks(number, &error, Doing::Connect),
                }
                continue;
            }
            let sent = match wire.flush() {
                Ok(()) if line.state == State::Exchanging => self.send(number),
                other => other,
            };
            match sent {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return self.breaks(number, &error, Doing::Write);
                }
                // What was just written is not back yet: the kernel will say so.
                _ if !look => return Ok(()),
                _ => {}
            }
            match self.receive(number)? {
                Came::Nothing => return Ok(()),
                Came::Some => {}
                // Whatever comes later is told again; an end that was seen is not.
                Came::AllThere => look = ended,
            }
        }
        self.again.push((number, ended));
        Ok(())
    }

    fn has_come_to_stand(&mut self, number: usize) -> io::Result<()> {
        self.connected += 1;
        let line = &self.lines[number];
        self.report.explain(|| {
            let local = line.wire.as_ref().and_then(|wire| wire.socket.local_addr().ok()?.as_socket());
            let local = local.map_or("our end has no name".to_owned(), |local| format!("our end is {local}"));
            format!("connection {}: writable: it stands; {local}", number + 1)
        })?;
        self.becomes(number, State::Waiting);
        self.begin_next(number)
    }

    /// As much of the message as the kernel takes.
    fn send(&mut self, number: usize) -> io::Result<()> {
        let line = &mut self.lines[number];
        let Some(wire) = &mut line.wire else { return Ok(()) };
        let told = |text: &dyn Fn() -> String| {
            // What cannot be told ends the run with the next record, which cannot be told either.
            let _ = self.report.explain(|| format!("connection {}: {}", number + 1, text()));
        };
        while line.sent < line.content.len {
            let part = line.content.from(line.sent);
            match wire.write(part) {
                Ok(0) => return Ok(()),
                Ok(taken) => {
                    told(&|| {
                        let (given, shown) = (part.len(), quoted(&part[..taken], NARRATED_MAX));
                        let whole = if taken < given { "partial write" } else { "write" };
                        format!("{whole}: {taken} of {given} bytes taken: {shown}")
                    });
                    line.sent += taken as u64;
                    self.moved = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    told(&|| {
                        let (sent, len) = (line.sent, line.content.len);
                        format!(
                            "write would block: the kernel has {sent} of {len} bytes, its send queue is full"
                        )
                    });
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self, number: usize) -> io::Result<Came> {
        let line = &mut self.lines[number];
        let Some(wire) = &mut line.wire else { return Ok(Came::Nothing) };
        let read = match wire.read(&mut self.scratch) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.report.explain(|| {
                    format!("connection {}: read would block: nothing is there now", number + 1)
                })?;
                return Ok(Came::Nothing);
            }
            Err(error) if line.state == State::Ending => {
                self.report.explain(|| {
                    let why = vang_client::trouble::plain(&error);
                    format!("connection {}: read: {why}; everything had come back before", number + 1)
                })?;
                self.done(number);
                return Ok(Came::Nothing);
            }
            Err(error) => {
                self.breaks(number, &error, Doing::Read)?;
                return Ok(Came::Nothing);
            }
        };
        let now = Instant::now();
        self.moved = now;
        if read == 0 {
            self.has_closed(number)?;
            return Ok(Came::Nothing);
        }
        self.last_byte = now;
        line.served |= self.ends.is_none_or(|ends| now < ends);
        if !std::mem::replace(&mut self.answered, true) {
            self.secured(number)?;
        }
        let line = &mut self.lines[number];
        let bytes = &self.scratch[..read];
        let expected = if line.state == State::Exchanging { line.sent - line.back } else { 0 };
        // What comes before it was sent is not an echo of it.
        let compared = bytes.len().min(usize::try_from(expected).unwrap_or(usize::MAX));
        let differs =
            line.content.differs(line.back, &bytes[..compared]).or((compared < read).then_some(compared));
        if let Some(at) = differs {
            let byte = line.back + at as u64;
            let sent = if at < compared { line.content.from(byte) } else { &[] };
            let wrong = Wrong {
                connection: number + 1,
                message: line.begun,
                byte,
                sent: quoted(&sent[..sent.len().min(16)], 16),
                came: quoted(&bytes[at..], 16),
            };
            self.wrong += 1;
            if self.faults_told < FAULTS_TOLD_MAX {
                self.faults_told += 1;
                self.report.tell(&wrong)?;
            }
            self.lines[number].broke = true;
            self.done(number);
            return Ok(Came::Nothing);
        }
        line.back += read as u64;
        self.tally.bytes(read as u64, now);
        self.report.explain(|| {
            let (back, len, shown) = (line.back, line.content.len, quoted(bytes, NARRATED_MAX));
            let rest = if back < len { " (partial read: the rest is on its way)" } else { "" };
            format!(
                "connection {}: readable: read {read} bytes, {back} of {len} back{rest}: {shown}",
                number + 1
            )
        })?;
        let came = match line.wire.as_ref().is_some_and(Wire::is_plain) && read < self.scratch.len() {
            true => Came::AllThere,
            false => Came::Some,
        };
        if line.back < line.content.len {
            return Ok(came);
        }
        let (due, sent_at) = (line.due, line.sent_at);
        self.tally.message(due, sent_at, now);
        if self.plan.tells && self.told < TOLD_MAX {
            self.told += 1;
            let took_us = now.saturating_duration_since(due).as_micros() as u64;
            let (message, bytes) = (line.begun, line.content.len);
            let text = Back::text_of(&line.content);
            let alone = self.plan.connections == 1;
            self.report.tell(&Back { connection: number + 1, message, bytes, text, took_us, alone })?;
        }
        self.becomes(number, State::Waiting);
        self.begin_next(number)?;
        Ok(came)
    }

    /// The end of the stream: as it should be, or too early.
    fn has_closed(&mut self, number: usize) -> io::Result<()> {
        let line = &self.lines[number];
        if line.state == State::Ending {
            self.report.explain(|| {
                let time_wait = match self.address.is_unix() {
                    true => "there is no TIME_WAIT, for nothing can come late",
                    false => "TIME_WAIT is ours, for we closed first",
                };
                format!("connection {}: read 0 bytes: the server has closed too; {time_wait}", number + 1)
            })?;
            self.done(number);
            return Ok(());
        }
        let why = match line.state {
            State::Exchanging => {
                let (back, len) = (line.back, line.content.len);
                format!("the server closed after {back} of {len} bytes of message {}", line.begun)
            }
            _ => "the server closed before we did".to_owned(),
        };
        self.broke(number, why, "")
    }

    /// Says once who answers inside TLS.
    fn secured(&self, number: usize) -> io::Result<()> {
        let Some((_, _, verified)) = &self.tls else { return Ok(()) };
        let Some((key, version)) = self.lines[number].wire.as_ref().and_then(Wire::shown) else {
            return Ok(());
        };
        let verified = *verified;
        self.report.tell(&Secured { version, key: key.clone(), verified })?;
        if verified {
            return Ok(());
        }
        self.report.means(&format!(
            "encrypted, but whoever answers is believed: compare that key with what the server says, or let it be \
             compared with --fingerprint {key}"
        ))
    }

    /// Everything is back: closes our half, and waits for the server to close its own.
    pub(super) fn end(&mut self, number: usize) -> io::Result<()> {
        let line = &mut self.lines[number];
        let Some(wire) = &mut line.wire else { return Ok(()) };
        self.report.explain(|| {
            let fin = if self.address.is_unix() { "" } else { "FIN out, " };
            format!("connection {}: shutdown: {fin}half-close: we could still receive", number + 1)
        })?;
        self.moved = Instant::now();
        let ended = wire.end_writing();
        self.becomes(number, State::Ending);
        if ended.is_err() {
            self.done(number);
        }
        Ok(())
    }

    fn done(&mut self, number: usize) {
        self.lines[number].wire = None;
        self.becomes(number, State::Done);
    }

    pub(super) fn breaks(&mut self, number: usize, error: &io::Error, doing: Doing) -> io::Result<()> {
        if let Some(why) = refused(error) {
            return self.broke(number, format!("TLS: {why}"), "");
        }
        let trouble = explain(error, doing);
        self.broke(number, trouble.to_string(), trouble.advice)
    }

    fn broke(&mut self, number: usize, why: String, advice: &str) -> io::Result<()> {
        self.broken += 1;
        self.lines[number].broke = true;
        self.done(number);
        self.alike = if why == self.last_cause { self.alike + 1 } else { 1 };
        self.last_cause.clone_from(&why);
        if self.alike > ALIKE_TOLD_MAX || self.faults_told >= FAULTS_TOLD_MAX {
            self.untold += 1;
            return Ok(());
        }
        self.faults_told += 1;
        self.report.tell(&Broken { connection: number + 1, why, advice: advice.to_owned() })
    }

    /// Says how many broke that were not told each.
    pub(super) fn tell_untold(&self) -> io::Result<()> {
        match self.untold {
            0 => Ok(()),
            untold => self.report.means(&format!(
                "{} more broke, as the last that are told",
                counted(untold, "connection", "connections")
            )),
        }
    }
}
