//! What comes, as it is shown: bytes, lines of hexadecimal, or messages.

use std::io;
use std::time::Duration;

use super::console::Console;
use super::options::Form;
use super::records::Received;
use crate::protocols::{Awaited, MessageRecord, Reader};
use crate::{Report, hex};

/// Shows received bytes in one form.
pub(super) struct Shown {
    form: Form,
    /// Offset of the next byte.
    at: u64,
    reader: Reader,
    awaited: Awaited,
    /// The error of a sink that cannot return one.
    failed: io::Result<()>,
}

/// Received bytes and what is known about them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) bytes: &'a [u8],
    /// Does a message or datagram end with them?
    pub(super) ends: bool,
    /// Time of the answer that they begin.
    pub(super) after: Option<Duration>,
    /// Since the beginning.
    pub(super) at: Duration,
}

impl Shown {
    pub(super) fn new(form: Form) -> Shown {
        Shown { form, at: 0, reader: Reader::default(), awaited: Awaited::default(), failed: Ok(()) }
    }

    pub(super) fn piece(
        &mut self,
        piece: Piece<'_>,
        console: &mut dyn Console,
        report: &Report,
    ) -> io::Result<()> {
        let from = self.at;
        self.at += piece.bytes.len() as u64;
        if report.is_json() && self.form != Form::Frames {
            return report.record(&record(piece, self.form));
        }
        match self.form {
            Form::Text => console.received(piece.bytes, piece.ends, piece.after),
            Form::Hex => {
                let mut after = piece.after;
                for (number, row) in piece.bytes.chunks(hex::ROW_BYTES).enumerate() {
                    console.line(&hex::row(from + (number * hex::ROW_BYTES) as u64, row), after.take())?;
                }
                Ok(())
            }
            Form::Frames => self.frames(Some(piece), console, report),
        }
    }

    /// Shows what was held.
    pub(super) fn end(&mut self, console: &mut dyn Console, report: &Report) -> io::Result<()> {
        if self.form == Form::Frames {
            self.frames(None, console, report)?;
        }
        console.end()
    }

    /// Shows the messages that a piece completes, or that the end cuts.
    fn frames(
        &mut self,
        piece: Option<Piece<'_>>,
        console: &mut dyn Console,
        report: &Report,
    ) -> io::Result<()> {
        let at = piece.map_or(Duration::ZERO, |piece| piece.at);
        let mut after = piece.and_then(|piece| piece.after);
        let Shown { reader, awaited, failed, .. } = self;
        let mut sink = |decoded: crate::protocols::Decoded<'_>| {
            if failed.is_err() {
                return;
            }
            let record = MessageRecord::of(at, None, &decoded);
            *failed = match report.is_json() {
                true => report.record(&record),
                false => console.line(&record.to_string(), after.take()),
            };
        };
        match piece {
            Some(piece) => reader.feed(piece.bytes, awaited, &mut sink),
            None => reader.end(&mut sink),
        }
        std::mem::replace(&mut self.failed, Ok(()))
    }
}

fn record(piece: Piece<'_>, form: Form) -> Received {
    let text = std::str::from_utf8(piece.bytes).ok().filter(|_| form == Form::Text);
    Received {
        bytes: piece.bytes.len() as u64,
        text: text.map(str::to_owned),
        hex: text.is_none().then(|| hex::spaced(piece.bytes)),
        ends: piece.ends,
        after_us: piece.after.map(|after| after.as_micros() as u64),
    }
}
