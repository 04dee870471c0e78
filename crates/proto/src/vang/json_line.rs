//! An event as one line of JSON: for programs behind `vang tail --json` and HTTP.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Event, EventMessage, RoomEvent};
use crate::python::write_json_string;
use crate::terminal::one_line;

/// The header's keys as they came, and the content: `text`, or `base64` of what is no text. No line end.
pub fn json_line(event: &EventMessage) -> String {
    let mut out = b"{".to_vec();
    let key = |out: &mut Vec<u8>, key: &str| {
        if out.len() > 1 {
            out.extend_from_slice(b", ");
        }
        write_json_string(out, key);
        out.extend_from_slice(b": ");
    };
    // The last two are ours.
    for (name, raw) in event.header.iter().filter(|(name, _)| !["text", "base64"].contains(name)) {
        key(&mut out, name);
        out.extend_from_slice(raw.as_bytes());
    }
    if matches!(event.event, Event::Room { what: RoomEvent::Message { .. }, .. }) {
        match event.text() {
            Some(text) => {
                key(&mut out, "text");
                write_json_string(&mut out, &text);
            }
            None => {
                key(&mut out, "base64");
                write_json_string(&mut out, &STANDARD.encode(&event.content));
            }
        }
    }
    out.push(b'}');
    one_line(&String::from_utf8_lossy(&out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Decoder;
    use crate::vang::{Incoming, incoming};

    /// An event with these keys, as its bytes come.
    fn event(kind: (&str, &str), keys: &str, content: &[u8]) -> EventMessage {
        let (content_type, encoding) = kind;
        let header = format!(
            r#"{{"byteorder": "little", "content-type": "{content_type}", "content-encoding": "{encoding}", "content-length": {}, {keys}}}"#,
            content.len()
        );
        let mut decoder = Decoder::default();
        decoder.feed(&(header.len() as u16).to_be_bytes());
        decoder.feed(header.as_bytes());
        decoder.feed(content);
        match incoming(decoder.poll_frame().unwrap().unwrap()).unwrap() {
            Incoming::Event(event) => event,
            Incoming::Reply(reply) => panic!("{reply:?}"),
        }
    }

    const TEXT: (&str, &str) = ("text/plain", "utf-8");

    fn message(kind: (&str, &str), content: &[u8]) -> EventMessage {
        let keys = r#""event": "message", "seq": 31, "room": "general", "n": 12, "from": "guest:ada", "time": "2026-05-01T14:03:59.123Z""#;
        event(kind, keys, content)
    }

    #[test]
    fn json_has_the_keys_as_they_came_and_the_text() {
        let expected = concat!(
            r#"{"byteorder": "little", "content-type": "text/plain", "content-encoding": "utf-8", "content-length": 5, "#,
            r#""event": "message", "seq": 31, "room": "general", "n": 12, "from": "guest:ada", "#,
            r#""time": "2026-05-01T14:03:59.123Z", "text": "a\n\"\u001b"}"#
        );
        assert_eq!(json_line(&message(TEXT, b"a\n\"\x1b ")), expected.replace("u001b\"}", "u001b \"}"));
    }

    #[test]
    fn json_is_one_harmless_line_whatever_came() {
        let keys = "\"event\": \"message\", \"seq\": 3, \"room\": \"a\", \"n\": 1, \"from\": \"ada\", \"time\": \"\", \"x\": [1,\n2], \"text\": \"no\"";
        let line = json_line(&event(TEXT, keys, "\u{9b}\u{2028}\u{7f}".as_bytes()));
        assert!(line.ends_with(r#""x": [1, 2], "text": "\u009b\u2028\u007f"}"#), "{line}");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["text"], "\u{9b}\u{2028}\u{7f}");
    }

    #[test]
    fn json_has_base64_for_what_is_no_text() {
        let value: serde_json::Value =
            serde_json::from_str(&json_line(&message(("image/png", "binary"), b"\x89PNG"))).unwrap();
        assert_eq!(value["base64"], "iVBORw==");
        assert_eq!(value.get("text"), None);
        let broken = json_line(&message(TEXT, b"\xff"));
        assert!(broken.ends_with(r#""base64": "/w=="}"#), "{broken}");
    }
}
