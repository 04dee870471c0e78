//! Lines of text: typed lines and IRC, in both directions. A line longer than the protocol allows comes out in parts of
//! that length.

use vang_proto::limits::LINE_BYTES_MAX;

use super::message::{Decoded, Message, Next, Sink};

#[derive(Debug)]
pub(super) struct Lines {
    kind: &'static str,
    begun: Vec<u8>,
}

impl Lines {
    pub(super) fn new(kind: &'static str) -> Lines {
        Lines { kind, begun: Vec::new() }
    }

    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(super) fn feed(&mut self, at: u64, bytes: &[u8], sink: Sink<'_>) -> Next {
        let mut used = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            let room = LINE_BYTES_MAX - self.begun.len();
            let window = &rest[..rest.len().min(room)];
            let from = at + used as u64 - self.begun.len() as u64;
            let end = window.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(window.len(), |end| end + 1);
            used += taken;
            let to = at + used as u64;
            if self.begun.is_empty() && end.is_some() {
                self.emit(from, to, &window[..taken], sink);
                continue;
            }
            self.begun.extend_from_slice(&window[..taken]);
            if end.is_some() || self.begun.len() == LINE_BYTES_MAX {
                let line = std::mem::take(&mut self.begun);
                self.emit(from, to, &line, sink);
                self.begun = line;
                self.begun.clear();
            }
        }
        Next::Stay
    }

    fn emit(&self, from: u64, to: u64, line: &[u8], sink: Sink<'_>) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        sink(Decoded { from, to, message: Message::Line { kind: self.kind, text } });
    }

    /// Gives out an incomplete line; `at` is the offset after it.
    pub(super) fn flush(&mut self, at: u64, sink: Sink<'_>) {
        if !self.begun.is_empty() {
            let line = std::mem::take(&mut self.begun);
            sink(Decoded { from: at - line.len() as u64, to: at, message: Message::Bytes(&line) });
        }
    }

    pub(super) fn held(&self) -> usize {
        self.begun.capacity()
    }
}
