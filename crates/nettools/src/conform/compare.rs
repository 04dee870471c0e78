//! Compares an answer with the expected one. Not compared is what an implementation can choose: byte order, order of keys,
//! spaces, further keys, and the text of an error.

use serde_json::{Map, Value};
use vang_proto::{Decoder, Frame, SwappedLength};

use super::case::{Strictness, VectorCase};
use crate::quote::quoted;

/// How an answer matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Exact,
    /// Other bytes with the same meaning.
    Equivalent,
}

/// Compares all received bytes with the expected ones; `Err` names the first difference.
pub(super) fn answers(came: &[u8], case: &VectorCase) -> Result<Match, String> {
    let found = frames(came)?;
    match case.strictness {
        Strictness::EndsOnly => Ok(Match::Exact),
        Strictness::Refused => match found.as_slice() {
            [one] => refusal(one).map(|()| Match::Exact),
            others => Err(format!("expected one error reply, got {} messages", others.len())),
        },
        Strictness::Guide | Strictness::Vang => {
            if came == case.expected {
                return Ok(Match::Exact);
            }
            let expected = frames(&case.expected)?;
            if found.len() != expected.len() {
                let came = if came.is_empty() { "nothing".to_owned() } else { quoted(came, 200) };
                return Err(format!("expected {} messages, got {}: {came}", expected.len(), found.len()));
            }
            for (found, expected) in found.iter().zip(&expected) {
                same(found, expected, case.strictness)?;
            }
            Ok(Match::Equivalent)
        }
    }
}

fn frames(bytes: &[u8]) -> Result<Vec<Frame>, String> {
    let mut decoder = Decoder::default();
    decoder.feed(bytes);
    let mut frames = Vec::new();
    loop {
        match decoder.poll_frame() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => break,
            Err(malformed) => {
                return Err(format!("the answer is not a message: {malformed}: {}", quoted(bytes, 200)));
            }
        }
    }
    let whole: usize = frames.iter().map(|frame| 2 + frame.header.json().len() + frame.content.len()).sum();
    match whole == bytes.len() {
        true => Ok(frames),
        false => {
            let other = SwappedLength::of(&bytes[whole..])
                .map_or_else(String::new, |length| format!("; its header length is {length}"));
            Err(format!(
                "the answer ends in the middle of a message: {}{other}",
                quoted(&bytes[whole..], 200)
            ))
        }
    }
}

fn header(frame: &Frame) -> Result<Map<String, Value>, String> {
    serde_json::from_slice(frame.header.json()).map_err(|error| format!("the header is not JSON: {error}"))
}

fn same(found: &Frame, expected: &Frame, strictness: Strictness) -> Result<(), String> {
    let (has, wants) = (header(found)?, header(expected)?);
    let is_error = wants.get("status").is_some_and(|status| status == "error");
    for (key, wanted) in &wants {
        let free = match key.as_str() {
            "byteorder" => true,
            "content-length" | "detail" => is_error,
            "content-encoding" => {
                let lower =
                    |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_ascii_lowercase);
                lower(has.get(key)) == lower(Some(wanted))
            }
            // JSON can have other spaces.
            _ => strictness == Strictness::Guide && key == "content-length",
        };
        if !free && key != "content-length" && has.get(key) != Some(wanted) {
            let found = has.get(key).map_or("nothing".to_owned(), Value::to_string);
            return Err(format!("header '{key}' should be {wanted}, is {found}"));
        }
    }
    if is_error {
        return refusal(found);
    }
    if found.content == expected.content {
        return Ok(());
    }
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    let is_json = wants.get("content-type").is_some_and(|kind| kind == "text/json");
    let means_the_same =
        is_json && json(&found.content).is_some() && json(&found.content) == json(&expected.content);
    let escapes = |bytes: &[u8]| bytes.windows(2).any(|pair| pair == b"\\u");
    match means_the_same {
        true if escapes(&found.content) && !escapes(&expected.content) => {
            Err(format!("JSON must not be escaped to ASCII: {}", quoted(&found.content, 200)))
        }
        true => Ok(()),
        false => Err(format!(
            "content should be {}, is {}",
            quoted(&expected.content, 200),
            quoted(&found.content, 200)
        )),
    }
}

/// Checks an error reply by section 4 of the protocol.
fn refusal(frame: &Frame) -> Result<(), String> {
    refusal_of(&header(frame)?, &frame.content)
}

/// The same, for a header and a content.
pub(super) fn refusal_of(header: &Map<String, Value>, content: &[u8]) -> Result<(), String> {
    let text = |key: &str| header.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if text("status") != Some("error") {
        return Err("expected an error reply: 'status' is not \"error\"".to_owned());
    }
    if text("code").is_none() {
        return Err("an error reply has no 'code'".to_owned());
    }
    let Some(detail) = text("detail") else { return Err("an error reply has no 'detail'".to_owned()) };
    let parsed: Option<Value> = serde_json::from_slice(content).ok();
    let result = parsed.as_ref().and_then(|content| content.get("result")).and_then(Value::as_str);
    match result.and_then(|result| result.strip_prefix("Error: ")) {
        Some(said) if said == detail => Ok(()),
        _ => Err(format!(
            "the result of an error reply should be \"Error: {detail}\", is {}",
            quoted(content, 200)
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn message(header: &str, content: &str) -> Vec<u8> {
        let header = format!(
            r#"{{"content-length": {}, "byteorder": "big", "content-encoding": "UTF-8", {header}}}"#,
            content.len()
        );
        let mut out = u16::try_from(header.len()).unwrap().to_be_bytes().to_vec();
        out.extend([header.as_bytes(), content.as_bytes()].concat());
        out
    }

    fn case(expected: Vec<u8>, strictness: Strictness) -> VectorCase {
        VectorCase { name: String::new(), sent: vec![], expected, strictness, ends: true, is_abuse: false }
    }

    #[test]
    fn equivalent_answers_pass_and_differences_are_named() {
        let dog =
            crate::conform::vectors::guide().into_iter().find(|case| case.name == "search-dog").unwrap();
        assert_eq!(answers(&dog.expected, &dog), Ok(Match::Exact));
        let other = message(r#""content-type": "text/json", "x": 1"#, "{\"result\":\"🐾 Playing ball! 🏐\"}");
        assert_eq!(answers(&other, &dog), Ok(Match::Equivalent));
        for (header, content, why) in [
            (r#""content-type": "text/json""#, "{\"result\":\"🐾\"}", "content should be"),
            (
                r#""content-type": "text/plain""#,
                "{\"result\":\"🐾 Playing ball! 🏐\"}",
                "header 'content-type' should be \"text/json\", is \"text/plain\"",
            ),
            (
                r#""content-type": "text/json""#,
                "{\"result\":\"\\ud83d\\udc3e Playing ball! \\ud83c\\udfd0\"}",
                "must not be escaped",
            ),
        ] {
            let said = answers(&message(header, content), &dog).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        assert!(answers(&other[..other.len() - 1], &dog).unwrap_err().contains("in the middle"));
        let mut swapped = other.clone();
        swapped[..2].reverse();
        let read = ", which fits";
        let behind_header = 2 + usize::from(u16::from_be_bytes([other[0], other[1]]));
        for (bytes, why) in [(&swapped[..], "byte order"), (&swapped[..behind_header], "in the middle")] {
            let said = answers(bytes, &dog).unwrap_err();
            assert!(said.contains(why) && said.contains(read), "{said}");
        }
        assert!(answers(b"", &dog).unwrap_err().contains("got 0: nothing"));
        assert!(answers(b"HTTP/1.1 400 Bad Request\r\n\r\n", &dog).is_err());
    }

    #[test]
    fn an_error_reply_has_a_code_and_its_detail_as_result() {
        let case = case(vec![], Strictness::Refused);
        let header = r#""content-type": "text/json", "status": "error", "code": "malformed", "detail": "no""#;
        assert_eq!(answers(&message(header, r#"{"result": "Error: no"}"#), &case), Ok(Match::Exact));
        for (header, content) in [
            (header, r#"{"result": "Error: yes"}"#),
            (r#""content-type": "text/json", "status": "ok""#, r#"{"result": "Error: no"}"#),
            (
                r#""content-type": "text/json", "status": "error", "detail": "no""#,
                r#"{"result": "Error: no"}"#,
            ),
        ] {
            assert!(answers(&message(header, content), &case).is_err(), "{header}");
        }
    }
}
