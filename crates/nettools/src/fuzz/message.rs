//! Messages of docs/PROTOCOL.md, section 1, that are wrong in one place: the length of the header, its JSON, its keys, the length
//! of the content, its encoding, its value.

use super::hostile;
use super::random::Random;

/// A message, and what is wrong with it.
pub(super) fn generate(random: &mut Random) -> (String, Vec<u8>) {
    match random.below(6) {
        0 => length(random),
        1 => header(random),
        2 => key(random),
        3 => content_length(random),
        4 => encoding(random),
        _ => value(random),
    }
}

/// An honest request, which every server of the guide's exchange answers.
pub(super) fn honest() -> Vec<u8> {
    let content = br#"{"action": "search", "value": "ring"}"#;
    framed(header_of("\"utf-8\"", &content.len().to_string(), ""), content)
}

fn header_of(encoding: &str, length: &str, more: &str) -> String {
    format!(
        r#"{{"byteorder": "little", "content-type": "text/json", "content-encoding": {encoding}, "content-length": {length}{more}}}"#
    )
}

fn framed(header: impl AsRef<[u8]>, content: &[u8]) -> Vec<u8> {
    let header = header.as_ref();
    // A longer header cannot have its length: then the length is wrong, too.
    [&(header.len() as u16).to_be_bytes()[..], header, content].concat()
}

fn length(random: &mut Random) -> (String, Vec<u8>) {
    let mut bytes = honest();
    let right = u16::from_be_bytes([bytes[0], bytes[1]]);
    let (what, length) = match random.below(7) {
        0 => ("0", 0),
        1 => ("1", 1),
        2 => ("the longest", u16::MAX),
        3 => ("one too short", right - 1),
        4 => ("one too long", right + 1),
        5 => ("in the wrong byte order", right.swap_bytes()),
        _ => ("at random", random.next() as u16),
    };
    bytes[..2].copy_from_slice(&length.to_be_bytes());
    (format!("header length {length} ({what})"), bytes)
}

fn header(random: &mut Random) -> (String, Vec<u8>) {
    let good = header_of("\"utf-8\"", "2", "");
    let (what, header): (&str, Vec<u8>) = match random.below(9) {
        0 => ("header is cut", good.as_bytes()[..random.below(good.len())].to_vec()),
        1 => ("header has more behind its object", format!("{good}}}{{").into_bytes()),
        2 => ("header is nested deeply", hostile::deep_json(random).into_bytes()),
        3 => ("header is not UTF-8", {
            let at = random.below(good.len());
            [&good.as_bytes()[..at], &hostile::not_utf8(random), &good.as_bytes()[at..]].concat()
        }),
        4 => ("header begins with a byte order mark", format!("\u{feff}{good}").into_bytes()),
        5 => ("header is UTF-16", good.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        6 => {
            ("header is no object", random.pick(&["[]", "null", "1e400", "\"x\"", "{}"]).as_bytes().to_vec())
        }
        7 => ("header is all spaces", vec![b' '; 2 + hostile::length(random)]),
        _ => ("header has thousands of keys", {
            let keys: String = (0..1 + random.below(4_000)).map(|n| format!("\"{n}\":0,")).collect();
            format!("{{{keys}{}", &good[1..]).into_bytes()
        }),
    };
    (what.to_owned(), framed(header, b"{}"))
}

fn key(random: &mut Random) -> (String, Vec<u8>) {
    let name = *random.pick(&["byteorder", "content-type", "content-encoding", "content-length"]);
    let good = header_of("\"utf-8\"", "2", "");
    let value =
        *random.pick(&["null", "true", "[]", "{}", "-0", "1e999", "\"\"", "\"\\ud800\"", "\"\\u0000\""]);
    let (what, header) = match random.below(3) {
        0 => ("missing", good.replace(name, "other")),
        1 => ("twice", format!("{},\"{name}\":{value}}}", &good[..good.len() - 1])),
        _ => ("of another kind", {
            let at = good.find(name).map_or(0, |at| at + name.len() + 3);
            let end = good[at..].find([',', '}']).map_or(good.len(), |end| at + end);
            format!("{}{value}{}", &good[..at], &good[end..])
        }),
    };
    (format!("header key '{name}' {what}"), framed(header, b"{}"))
}

fn content_length(random: &mut Random) -> (String, Vec<u8>) {
    let content = br#"{"action": "search", "value": "ring"}"#;
    let right = content.len();
    let (length, said) = match random.below(4) {
        0 => (hostile::integer(random).to_owned(), "no length"),
        1 => ((right - 1).to_string(), "one too short"),
        2 => ((right + 1).to_string(), "one too long"),
        _ => ("1048576".to_owned(), "1 MiB that never comes"),
    };
    let header = header_of("\"utf-8\"", &length, "");
    (format!("content-length {length:?} ({said})"), framed(header, content))
}

fn encoding(random: &mut Random) -> (String, Vec<u8>) {
    let name = *random.pick(&[
        "utf-16",
        "utf-16-le",
        "utf-32",
        "utf-8-sig",
        "ascii",
        "latin-1",
        "shift_jis",
        "iso2022_jp",
        "gb18030",
        "cp037",
        "utf-7",
        "idna",
        "zlib_codec",
        "binary",
        "../utf-8",
        "utf-8\\u0000",
        "klingon",
    ]);
    let content = match random.below(4) {
        0 => hostile::not_utf8(random),
        1 => b"\x3d\xd8".to_vec(),
        2 => b"\x00\x00\x11\x00".to_vec(),
        _ => {
            let len = random.below(200);
            random.bytes(len)
        }
    };
    let header = header_of(&format!("\"{name}\""), &content.len().to_string(), "");
    (format!("content in '{name}' that it is not"), framed(header, &content))
}

fn value(random: &mut Random) -> (String, Vec<u8>) {
    let text = serde_json::Value::from(hostile::text(random)).to_string();
    let (what, content) = match random.below(4) {
        0 => ("action", format!(r#"{{"action": {text}, "value": "ring"}}"#)),
        1 => ("value", format!(r#"{{"action": "search", "value": {text}}}"#)),
        2 => ("kind of value", format!(r#"{{"action": "search", "value": {}}}"#, hostile::deep_json(random))),
        _ => ("header key", String::new()),
    };
    let more = match what {
        "header key" => {
            let action =
                *random.pick(&["hello", "ping", "find", "history", "follow", "rooms", "topic", "none"]);
            let key = *random.pick(&["as", "re", "query", "room", "since", "limit", "id", "who"]);
            format!(r#", "action": "{action}", "{key}": {text}"#)
        }
        _ => String::new(),
    };
    let header = header_of("\"utf-8\"", &content.len().to_string(), &more);
    (format!("hostile {what}"), framed(header, content.as_bytes()))
}
