//! Drives one connection when it is ready: connect, send, read, compare, close.

use std::io;
use std::time::Instant;

use vang_client::trouble::Doing;
use vang_proto::text::counted;

use super::connection::State;
use super::{RECORDED_MAX, Streams};
use crate::destination::check_connected;
use crate::echo::client_records::{ConnectionFailed, MessageBack, Mismatch};
use crate::echo::peer::NARRATED_MAX;
use crate::error::explain;
use crate::quoted;
use crate::transport::Transport;
use crate::trust::refused;

/// Failures in a row with the same cause that get a record: often hundreds fail for one cause.
const ALIKE_RECORDED_MAX: u64 = 3;

/// All failures that get a record; further ones are only counted.
const FAULTS_RECORDED_MAX: u64 = 100;

/// Reads of one connection before the others have a turn.
const STEPS: usize = 16;

enum ReadResult {
    Nothing,
    /// There can be more.
    Some,
    /// Bytes, and no more for now.
    AllThere,
}

impl Streams<'_> {
    /// Does everything that does not block. `readable`: the kernel reports data; `ended`: and the end of the stream.
    pub(super) fn advance(&mut self, number: usize, readable: bool, ended: bool) -> io::Result<()> {
        let mut look = readable;
        for _ in 0..STEPS {
            let conn = &mut self.conns[number];
            let Some(transport) = &mut conn.transport else { return Ok(()) };
            if conn.state == State::Connecting {
                match check_connected(&transport.socket) {
                    Ok(()) => self.on_connected(number)?,
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                    Err(error) => return self.connection_error(number, &error, Doing::Connect),
                }
                continue;
            }
            let sent = match transport.flush() {
                Ok(()) if conn.state == State::Exchanging => self.send(number),
                other => other,
            };
            match sent {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return self.connection_error(number, &error, Doing::Write);
                }
                // The answer to the new bytes will be reported by the kernel.
                _ if !look => return Ok(()),
                _ => {}
            }
            match self.receive(number)? {
                ReadResult::Nothing => return Ok(()),
                ReadResult::Some => {}
                // Later data is reported again; an end that was already reported is not.
                ReadResult::AllThere => look = ended,
            }
        }
        self.again.push((number, ended));
        Ok(())
    }

    fn on_connected(&mut self, number: usize) -> io::Result<()> {
        self.connected += 1;
        let conn = &self.conns[number];
        self.report.explain(|| {
            let local =
                conn.transport.as_ref().and_then(|transport| transport.socket.local_addr().ok()?.as_socket());
            let local =
                local.map_or("our end has no address".to_owned(), |local| format!("our end is {local}"));
            format!("connection {}: writable: connected; {local}", number + 1)
        })?;
        self.set_state(number, State::Waiting);
        self.begin_next(number)
    }

    /// Sends as much of the message as the kernel takes.
    fn send(&mut self, number: usize) -> io::Result<()> {
        let conn = &mut self.conns[number];
        let Some(transport) = &mut conn.transport else { return Ok(()) };
        let explain = |text: &dyn Fn() -> String| {
            // An output error is reported by the next record.
            let _ = self.report.explain(|| format!("connection {}: {}", number + 1, text()));
        };
        while conn.sent < conn.content.len {
            let part = conn.content.from(conn.sent);
            match transport.write(part) {
                Ok(0) => return Ok(()),
                Ok(taken) => {
                    explain(&|| {
                        let (given, shown) = (part.len(), quoted(&part[..taken], NARRATED_MAX));
                        let whole = if taken < given { "partial write" } else { "write" };
                        format!("{whole}: {taken} of {given} bytes taken: {shown}")
                    });
                    conn.sent += taken as u64;
                    self.moved = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    explain(&|| {
                        let (sent, len) = (conn.sent, conn.content.len);
                        format!("write would block: {sent} of {len} bytes sent, the send queue is full")
                    });
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self, number: usize) -> io::Result<ReadResult> {
        let conn = &mut self.conns[number];
        let Some(transport) = &mut conn.transport else { return Ok(ReadResult::Nothing) };
        let read = match transport.read(&mut self.scratch) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.report.explain(|| {
                    format!("connection {}: read would block: nothing is there now", number + 1)
                })?;
                return Ok(ReadResult::Nothing);
            }
            Err(error) if conn.state == State::Ending => {
                self.report.explain(|| {
                    let why = vang_client::trouble::plain(&error);
                    format!("connection {}: read: {why}, after everything had come back", number + 1)
                })?;
                self.done(number);
                return Ok(ReadResult::Nothing);
            }
            Err(error) => {
                self.connection_error(number, &error, Doing::Read)?;
                return Ok(ReadResult::Nothing);
            }
        };
        let now = Instant::now();
        self.moved = now;
        if read == 0 {
            self.on_closed(number)?;
            return Ok(ReadResult::Nothing);
        }
        self.last_byte = now;
        conn.served |= self.ends.is_none_or(|ends| now < ends);
        if !std::mem::replace(&mut self.answered, true) {
            self.record_tls(number)?;
        }
        let conn = &mut self.conns[number];
        let bytes = &self.scratch[..read];
        let expected = if conn.state == State::Exchanging { conn.sent - conn.back } else { 0 };
        // Bytes that come before they were sent are not an echo.
        let compared = bytes.len().min(usize::try_from(expected).unwrap_or(usize::MAX));
        let differs =
            conn.content.differs(conn.back, &bytes[..compared]).or((compared < read).then_some(compared));
        if let Some(at) = differs {
            let byte = conn.back + at as u64;
            let sent = if at < compared { conn.content.from(byte) } else { &[] };
            let wrong = Mismatch {
                connection: number + 1,
                message: conn.begun,
                byte,
                sent: quoted(&sent[..sent.len().min(16)], 16),
                came: quoted(&bytes[at..], 16),
            };
            self.wrong += 1;
            if self.faults_recorded < FAULTS_RECORDED_MAX {
                self.faults_recorded += 1;
                self.report.record(&wrong)?;
            }
            self.conns[number].failed = true;
            self.done(number);
            return Ok(ReadResult::Nothing);
        }
        conn.back += read as u64;
        self.tally.bytes(read as u64, now);
        self.report.explain(|| {
            let (back, len, shown) = (conn.back, conn.content.len, quoted(bytes, NARRATED_MAX));
            let rest = if back < len { " (partial read: the rest follows)" } else { "" };
            format!(
                "connection {}: readable: read {read} bytes, {back} of {len} back{rest}: {shown}",
                number + 1
            )
        })?;
        let came = match conn.transport.as_ref().is_some_and(Transport::is_plain) && read < self.scratch.len()
        {
            true => ReadResult::AllThere,
            false => ReadResult::Some,
        };
        if conn.back < conn.content.len {
            return Ok(came);
        }
        let (due, sent_at) = (conn.due, conn.sent_at);
        self.tally.message(due, sent_at, now);
        if self.plan.records_each && self.recorded < RECORDED_MAX {
            self.recorded += 1;
            let took_us = now.saturating_duration_since(due).as_micros() as u64;
            let (message, bytes) = (conn.begun, conn.content.len);
            let text = MessageBack::text_of(&conn.content);
            let alone = self.plan.connections == 1;
            self.report.record(&MessageBack {
                connection: number + 1,
                message,
                bytes,
                text,
                took_us,
                alone,
            })?;
        }
        self.set_state(number, State::Waiting);
        self.begin_next(number)?;
        Ok(came)
    }

    /// The end of the stream: expected, or too early.
    fn on_closed(&mut self, number: usize) -> io::Result<()> {
        let conn = &self.conns[number];
        if conn.state == State::Ending {
            self.report.explain(|| {
                let time_wait = match self.address.is_unix() {
                    true => "no TIME_WAIT: Unix sockets have no late packets",
                    false => "TIME_WAIT is on our side, because we closed first",
                };
                format!("connection {}: read 0 bytes: the server has closed too; {time_wait}", number + 1)
            })?;
            self.done(number);
            return Ok(());
        }
        let why = match conn.state {
            State::Exchanging => {
                let (back, len) = (conn.back, conn.content.len);
                format!("the server closed after {back} of {len} bytes of message {}", conn.begun)
            }
            _ => "the server closed before we did".to_owned(),
        };
        self.connection_failed(number, why, "")
    }

    /// Records once the result of the TLS handshake.
    fn record_tls(&self, number: usize) -> io::Result<()> {
        let shown = self.conns[number].transport.as_ref().and_then(Transport::shown);
        let Some((tls, shown)) = self.tls.as_ref().zip(shown) else { return Ok(()) };
        let established = tls.established(shown);
        self.report.record(&established)?;
        established.warning().map_or(Ok(()), |warning| self.report.means(&warning))
    }

    /// After the last answer: closes our half and waits for the server's close.
    pub(super) fn end(&mut self, number: usize) -> io::Result<()> {
        let conn = &mut self.conns[number];
        let Some(transport) = &mut conn.transport else { return Ok(()) };
        self.report.explain(|| {
            let fin = if self.address.is_unix() { "" } else { "FIN out, " };
            format!("connection {}: shutdown: {fin}half-close: we can still receive", number + 1)
        })?;
        self.moved = Instant::now();
        let ended = transport.end_writing();
        self.set_state(number, State::Ending);
        if ended.is_err() {
            self.done(number);
        }
        Ok(())
    }

    fn done(&mut self, number: usize) {
        self.conns[number].transport = None;
        self.set_state(number, State::Done);
    }

    pub(super) fn connection_error(
        &mut self,
        number: usize,
        error: &io::Error,
        doing: Doing,
    ) -> io::Result<()> {
        if let Some(why) = refused(error) {
            return self.connection_failed(number, format!("TLS: {why}"), "");
        }
        let trouble = explain(error, doing);
        self.connection_failed(number, trouble.to_string(), trouble.advice)
    }

    fn connection_failed(&mut self, number: usize, why: String, advice: &str) -> io::Result<()> {
        self.broken += 1;
        self.conns[number].failed = true;
        self.done(number);
        self.alike = if why == self.last_cause { self.alike + 1 } else { 1 };
        self.last_cause.clone_from(&why);
        if self.alike > ALIKE_RECORDED_MAX || self.faults_recorded >= FAULTS_RECORDED_MAX {
            self.omitted += 1;
            return Ok(());
        }
        self.faults_recorded += 1;
        self.report.record(&ConnectionFailed { connection: number + 1, why, advice: advice.to_owned() })
    }

    /// Reports the number of failures without a record.
    pub(super) fn record_omitted(&self) -> io::Result<()> {
        match self.omitted {
            0 => Ok(()),
            omitted => self.report.means(&format!(
                "{} more failed for the same reasons",
                counted(omitted, "connection", "connections")
            )),
        }
    }
}
