//! What is typed, as bytes to send. A stream of text passes unchanged; elsewhere each line is a message of its own.

use bytes::BytesMut;
use serde_json::{Deserializer, Map, Value};
use vang_proto::compose::Composer;

use super::options::Form;
use crate::hex;

/// Longest line that becomes a message: 1 MiB, the usual limit of a message's content.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Header keys that one message can have: the header has a length of two bytes.
const KEYS_BYTES_MAX: usize = 60_000;

/// Turns typed bytes into messages.
#[derive(Debug)]
pub(super) struct TypedReader {
    form: Form,
    /// Is each line a message? Otherwise text passes as it comes.
    by_line: bool,
    /// What replaces the end of a line of text.
    line_end: &'static [u8],
    /// A line without its end.
    begun: Vec<u8>,
    last: u8,
}

impl TypedReader {
    /// For text, `line_end` is sent after each line; `by_line` if a line is a message.
    pub(super) fn new(form: Form, by_line: bool, line_end: &'static [u8]) -> TypedReader {
        TypedReader { form, by_line: by_line || form != Form::Text, line_end, begun: Vec::new(), last: 0 }
    }

    /// The messages in the next bytes; an error for each line that is none.
    pub(super) fn feed(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Result<Vec<u8>, String>)) {
        if !self.by_line {
            // The end of the input comes without bytes. In a stream that is nothing to send: writing nothing to a peer that
            // has closed is an error (EPIPE).
            if !bytes.is_empty() {
                sink(Ok(self.text(bytes)));
            }
            return;
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(line);
            if line.ends_with(b"\n") {
                self.take_line(sink);
            } else if self.begun.len() > LINE_BYTES_MAX {
                self.begun.clear();
                sink(Err(format!(
                    "a line has more than {LINE_BYTES_MAX} bytes; as text without --udp lines have no limit"
                )));
            }
        }
    }

    /// The end of the input: a last line needs no end.
    pub(super) fn end(&mut self, sink: &mut dyn FnMut(Result<Vec<u8>, String>)) {
        if !self.begun.is_empty() {
            self.take_line(sink);
        }
    }

    /// A stream of text, with the line ends that are wanted.
    fn text(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.line_end == b"\n" {
            return bytes.to_vec();
        }
        let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 16);
        for byte in bytes {
            match byte {
                b'\n' if self.last != b'\r' => out.extend_from_slice(self.line_end),
                byte => out.push(*byte),
            }
            self.last = *byte;
        }
        out
    }

    fn take_line(&mut self, sink: &mut dyn FnMut(Result<Vec<u8>, String>)) {
        let line = std::mem::take(&mut self.begun);
        let has_end = line.ends_with(b"\n");
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.form == Form::Text {
            return sink(Ok([line, if has_end { self.line_end } else { b"" }].concat()));
        }
        let text = std::str::from_utf8(line).map_err(|error| {
            format!("a line is not UTF-8 at byte {}; write other bytes with --hex", error.valid_up_to())
        });
        match text {
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) if self.form == Form::Hex => sink(hex::read(text)),
            Ok(text) => sink(frame(text)),
            Err(error) => sink(Err(error)),
        }
    }
}

/// A message whose content is the line. An object in front of it adds header keys.
fn frame(line: &str) -> Result<Vec<u8>, String> {
    let mut objects = Deserializer::from_str(line).into_iter::<Map<String, Value>>();
    let first = objects.next().and_then(Result::ok);
    let rest = line[objects.byte_offset()..].trim_start();
    let (keys, content) = match first {
        Some(keys) if !rest.is_empty() => (keys, rest),
        _ => (Map::new(), line),
    };
    let is_json = serde_json::from_str::<Map<String, Value>>(content).is_ok();
    let usual = if is_json { "text/json" } else { "text/plain" };
    let content_type = keys.get("content-type").and_then(Value::as_str).unwrap_or(usual);
    let mut out = BytesMut::new();
    let mut message = Composer::new(&mut out, content_type, "utf-8", content.len());
    // As JSON, where a character can have six bytes.
    let mut key_bytes = Value::from(content_type).to_string().len();
    for (key, value) in &keys {
        match key.as_str() {
            "content-type" if value.is_string() => continue,
            "byteorder" | "content-type" | "content-encoding" | "content-length" => {
                return Err(format!(
                    "the header key '{key}' is made from the content; write other headers with --hex"
                ));
            }
            _ => {}
        }
        let value = value.to_string();
        key_bytes += Value::from(key.as_str()).to_string().len() + value.len();
        if key_bytes > KEYS_BYTES_MAX {
            return Err(format!("the header keys have more than {KEYS_BYTES_MAX} bytes"));
        }
        message.raw(key, &value);
    }
    message.finish(content.as_bytes());
    Ok(out.to_vec())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use vang_proto::Decoder;

    use super::*;

    /// All messages of an input in pieces of this size, and the errors.
    fn read(mut reader: TypedReader, input: &[u8], piece: usize) -> (Vec<Vec<u8>>, Vec<String>) {
        let (mut messages, mut errors) = (Vec::new(), Vec::new());
        let mut sink = |typed: Result<Vec<u8>, String>| match typed {
            Ok(message) => messages.push(message),
            Err(error) => errors.push(error),
        };
        input.chunks(piece).for_each(|piece| reader.feed(piece, &mut sink));
        // The end of the input comes without bytes.
        reader.feed(b"", &mut sink);
        reader.end(&mut sink);
        (messages, errors)
    }

    #[test]
    fn text_passes_unchanged_and_line_ends_as_wanted() {
        let input = b"one\ntwo\r\n\xff\0\n\nend";
        for piece in 1..=input.len() {
            let (plain, _) = read(TypedReader::new(Form::Text, false, b"\n"), input, piece);
            assert_eq!(plain.concat(), input, "pieces of {piece}");
            assert!(
                plain.iter().all(|part| !part.is_empty()),
                "writing nothing fails where the peer has closed"
            );
            let (crlf, _) = read(TypedReader::new(Form::Text, false, b"\r\n"), input, piece);
            assert_eq!(crlf.concat(), b"one\r\ntwo\r\n\xff\0\r\n\r\nend", "pieces of {piece}");
            let (lines, _) = read(TypedReader::new(Form::Text, true, b"\n"), input, piece);
            assert_eq!(lines, [&b"one\n"[..], b"two\n", b"\xff\0\n", b"\n", b"end"], "pieces of {piece}");
            let (messages, _) = read(TypedReader::new(Form::Text, true, b""), input, piece);
            assert_eq!(messages, [&b"one"[..], b"two", b"\xff\0", b"", b"end"], "pieces of {piece}");
        }
    }

    #[test]
    fn hexadecimal_is_read_and_mistakes_are_shown_at_the_character() {
        let read = |line: &str| read(TypedReader::new(Form::Hex, false, b"\n"), line.as_bytes(), 3);
        let (messages, errors) = read("48 65 6C\n\n0x0A0d\n0002 \"{}\" 00\n4");
        assert_eq!(messages, [&b"Hel"[..], b"\n\r", b"\0\x02{}\0"]);
        assert_eq!(errors.len(), 1);
        for (line, said) in [
            ("48 6g", "no two hexadecimal digits at character 4;"),
            ("à", "no two hexadecimal digits at character 1;"),
            ("+1", "no two hexadecimal digits at character 1;"),
            ("48 \"x", "a quote that is never closed at character 4;"),
        ] {
            let (messages, errors) = read(line);
            assert!(messages.is_empty() && errors[0].starts_with(said), "{line}: {errors:?}");
        }
    }

    #[test]
    fn a_line_becomes_a_message_with_its_type() {
        for (line, kind, content, more) in [
            ("xin chào", "text/plain", "xin chào", None),
            (
                r#"{"action": "search", "value": "ring"}"#,
                "text/json",
                r#"{"action": "search", "value": "ring"}"#,
                None,
            ),
            (
                r#"{"action": "send", "room": "general"} hi {"#,
                "text/plain",
                "hi {",
                Some(("room", "general")),
            ),
            (r#"{"content-type": "a/b"} {}"#, "a/b", "{}", None),
            ("[1]", "text/plain", "[1]", None),
            ("{not json", "text/plain", "{not json", None),
        ] {
            let (messages, errors) = read(TypedReader::new(Form::Frames, false, b"\n"), line.as_bytes(), 7);
            assert!(errors.is_empty(), "{errors:?}");
            let mut decoder = Decoder::default();
            decoder.feed(&messages[0]);
            let frame = decoder.poll_frame().unwrap().unwrap();
            let text = |key: &str| frame.header.text(key).map(|text| text.to_string());
            assert_eq!(text("content-type").as_deref(), Some(kind), "{line}");
            assert_eq!(frame.content, content.as_bytes(), "{line}");
            if let Some((key, value)) = more {
                assert_eq!(text(key).as_deref(), Some(value), "{line}");
            }
        }
        let (_, errors) =
            read(TypedReader::new(Form::Frames, false, b"\n"), br#"{"content-length": 9} x"#, 99);
        assert!(
            errors[0].starts_with("the header key 'content-length' is made from the content"),
            "{errors:?}"
        );
        let long = format!(r#"{{"x": "{}"}} y"#, "z".repeat(70_000));
        let (_, errors) = read(TypedReader::new(Form::Frames, false, b"\n"), long.as_bytes(), 1 << 16);
        assert!(errors[0].contains("more than 60000 bytes"), "{errors:?}");
    }
}
