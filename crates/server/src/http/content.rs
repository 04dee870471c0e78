//! The type of a message by HTTP: in which one it is stored, by the headers of the request that posts it, and in which one
//! it is given to a reader.
//!
//! ```text
//! curl -d hi                                   text/plain, utf-8      (a body without a type, or with curl's default one,
//! curl --data-binary @photo.png                octet-stream, binary    is text if it is UTF-8; it is never decoded)
//! Content-Type: application/json               text/json, utf-8       which people can read in the room
//! Content-Type: text/csv; charset=latin1       text/csv, latin1
//! Content-Type: image/png                      image/png, binary
//! ```

use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use hyper::{Response, StatusCode};
use vang_proto::limits::TYPE_BYTES_MAX;
use vang_proto::vang::{Code, EventMessage};

use super::reply::{ResponseBody, error, fault};

/// What `curl -d` says of every body.
const CURLS_DEFAULT: &str = "application/x-www-form-urlencoded";

/// The type and the encoding that a message is stored with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) content_type: String,
    pub(super) content_encoding: String,
}

/// What the headers of a request say of its body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Declared {
    /// Nothing: it is text if it is UTF-8.
    Nothing,
    Kind(Kind),
}

/// Why a body is not taken, whatever is in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TypeError {
    NotText,
    TooLong(usize),
    /// A form with files: parts with headers of their own.
    Multipart,
    /// Compressed: readers would get bytes that they cannot read.
    Coding(String),
}

impl TypeError {
    pub(super) fn answer(&self) -> Response<ResponseBody> {
        let unsupported = |detail: &str| error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad-request", detail);
        match self {
            TypeError::NotText => {
                fault(Code::BadRequest, "the Content-Type has bytes that are not ASCII text")
            }
            TypeError::TooLong(found) => fault(
                Code::BadRequest,
                &format!("the Content-Type has {found} bytes; the limit is {TYPE_BYTES_MAX}"),
            ),
            TypeError::Multipart => unsupported(
                "a form with files (curl -F) is not a message; send the file itself: curl --data-binary @FILE -H \
                 'Content-Type: image/png'",
            ),
            TypeError::Coding(coding) => unsupported(&format!(
                "a body with Content-Encoding '{coding}' is not taken; send it as it is"
            )),
        }
    }
}

/// Reads the headers.
pub(super) fn declared(headers: &HeaderMap) -> Result<Declared, TypeError> {
    for coding in headers.get_all(CONTENT_ENCODING) {
        let coding = coding.to_str().map_err(|_| TypeError::NotText)?;
        if !coding.trim().eq_ignore_ascii_case("identity") {
            return Err(TypeError::Coding(coding.chars().take(TYPE_BYTES_MAX).collect()));
        }
    }
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(Declared::Nothing) };
    let value = value.to_str().map_err(|_| TypeError::NotText)?.trim();
    if value.len() > TYPE_BYTES_MAX {
        return Err(TypeError::TooLong(value.len()));
    }
    let kind = |content_type: &str, content_encoding: &str| {
        Declared::Kind(Kind {
            content_type: content_type.to_owned(),
            content_encoding: content_encoding.to_owned(),
        })
    };
    Ok(match essence(value).as_str() {
        "" | CURLS_DEFAULT => Declared::Nothing,
        "multipart/form-data" => return Err(TypeError::Multipart),
        // Both are JSON in UTF-8 (RFC 8259); only `text/…` is shown to people.
        "application/json" => kind("text/json", "utf-8"),
        text if text.starts_with("text/") => kind(text, charset(value).unwrap_or("utf-8")),
        _ => kind(value, "binary"),
    })
}

impl Declared {
    /// With the body itself.
    pub(super) fn of(self, body: &[u8]) -> Kind {
        let (content_type, content_encoding) = match self {
            Declared::Kind(kind) => return kind,
            Declared::Nothing if std::str::from_utf8(body).is_ok() => ("text/plain", "utf-8"),
            Declared::Nothing => ("application/octet-stream", "binary"),
        };
        Kind { content_type: content_type.to_owned(), content_encoding: content_encoding.to_owned() }
    }
}

/// The type that a reader gets. Everybody can post, and this server's page comes from the same origin: no type that a
/// browser would run as a part of it. Text is plain text.
pub(super) fn served(message: &EventMessage) -> String {
    let (sent, encoding) = (message.header.content_type(), message.header.content_encoding());
    match essence(&sent).as_str() {
        "text/json" | "application/json" => "application/json".to_owned(),
        text if text.starts_with("text/") => match charset_name(&encoding) {
            Some(charset) => format!("text/plain; charset={charset}"),
            None => "text/plain".to_owned(),
        },
        media if is_media(media) => media.to_owned(),
        _ => "application/octet-stream".to_owned(),
    }
}

/// Pictures, sound and films. SVG can have scripts.
fn is_media(essence: &str) -> bool {
    let (top, sub) = essence.split_once('/').unwrap_or_default();
    let is_token =
        !sub.is_empty() && sub.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.+".contains(&byte));
    matches!(top, "image" | "audio" | "video") && is_token && !sub.contains("xml") && !sub.contains("svg")
}

/// As HTTP has it, from one of Python's names. `None`: it is no name that could be in a header.
fn charset_name(encoding: &str) -> Option<String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_name = !encoding.is_empty() && encoding.bytes().all(is_token) && encoding != "binary";
    is_name.then(|| encoding.replace("utf-16-", "utf-16").replace("utf-32-", "utf-32"))
}

/// The type without its parameters, in lower case.
fn essence(value: &str) -> String {
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn charset(value: &str) -> Option<&str> {
    value.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (name.trim().eq_ignore_ascii_case("charset") && !value.is_empty()).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use hyper::header::HeaderValue;
    use vang_proto::Decoder;
    use vang_proto::vang::{Content, Event, Incoming, RoomEvent, Speaker, incoming};

    use super::*;

    fn kind(content_type: Option<&str>, body: &[u8]) -> Result<String, TypeError> {
        let mut headers = HeaderMap::new();
        if let Some(value) = content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_str(value).unwrap());
        }
        let Kind { content_type, content_encoding } = declared(&headers)?.of(body);
        Ok(format!("{content_type} {content_encoding}"))
    }

    #[test]
    fn a_body_without_a_type_or_with_curls_default_is_text_if_it_is_utf8() {
        for given in
            [None, Some(""), Some(CURLS_DEFAULT), Some("Application/X-WWW-Form-URLencoded; charset=x")]
        {
            assert_eq!(kind(given, "chào".as_bytes()).unwrap(), "text/plain utf-8", "{given:?}");
            assert_eq!(kind(given, b"\x89PNG").unwrap(), "application/octet-stream binary", "{given:?}");
        }
    }

    #[test]
    fn a_given_type_is_kept_and_json_is_text() {
        for (given, expected) in [
            ("text/plain", "text/plain utf-8"),
            ("TEXT/CSV; Header=present; CharSet=\"latin-1\"", "text/csv latin-1"),
            ("text/html;charset=", "text/html utf-8"),
            ("application/json", "text/json utf-8"),
            ("application/json; charset=utf-8", "text/json utf-8"),
            ("image/png", "image/png binary"),
            ("application/vnd.x+json; v=1", "application/vnd.x+json; v=1 binary"),
        ] {
            assert_eq!(kind(Some(given), b"x").unwrap(), expected, "{given}");
        }
    }

    #[test]
    fn what_readers_could_not_use_is_refused_with_what_to_send() {
        assert_eq!(kind(Some("multipart/form-data; boundary=x"), b""), Err(TypeError::Multipart));
        assert_eq!(kind(Some(&"x".repeat(256)), b""), Err(TypeError::TooLong(256)));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_bytes(b"text/\xff").unwrap());
        assert_eq!(declared(&headers), Err(TypeError::NotText));
        headers.clear();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(declared(&headers), Err(TypeError::Coding("gzip".to_owned())));
        assert_eq!(TypeError::Multipart.answer().status(), 415);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("Identity"));
        assert_eq!(declared(&headers), Ok(Declared::Nothing));
    }

    fn served_as(content_type: &str, content_encoding: &str) -> String {
        let mut bytes = BytesMut::new();
        let what = RoomEvent::Message { n: 1, from: Speaker::Guest("ada"), time: "" };
        let content = Content { content_type, content_encoding, bytes: b"x" };
        Event::Room { seq: 1, room: "general", what }.write(&mut bytes, content);
        let mut decoder = Decoder::default();
        decoder.feed(&bytes);
        match incoming(decoder.poll_frame().unwrap().unwrap()).unwrap() {
            Incoming::Event(message) => served(&message),
            Incoming::Reply(reply) => panic!("{reply:?}"),
        }
    }

    #[test]
    fn no_type_that_a_browser_runs_is_served() {
        for (sent, encoding, expected) in [
            ("text/plain", "utf-8", "text/plain; charset=utf-8"),
            ("text/html", "utf-8", "text/plain; charset=utf-8"),
            ("TEXT/JavaScript", "utf-16-le", "text/plain; charset=utf-16le"),
            ("text/x", "a\r\nb", "text/plain"),
            ("text/json", "utf-8", "application/json"),
            ("image/png", "binary", "image/png"),
            ("Image/PNG; x=\r\ny", "binary", "image/png"),
            ("image/svg+xml", "binary", "application/octet-stream"),
            ("image/\u{1b}", "binary", "application/octet-stream"),
            ("image/", "binary", "application/octet-stream"),
            ("application/javascript", "binary", "application/octet-stream"),
            ("application/xhtml+xml", "binary", "application/octet-stream"),
            ("nonsense", "binary", "application/octet-stream"),
        ] {
            assert_eq!(served_as(sent, encoding), expected, "{sent}");
        }
    }
}
