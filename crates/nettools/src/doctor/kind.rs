//! Detects the kind of a server by its answers: vang, a tutorial server, echo, HTTP, or another that sends first. At most
//! three requests, each on a new connection; no user name is sent.

use std::io::{Read, Write};

use vang_proto::vang::{Action, RequestWriter};
use vang_proto::{Decoder, Frame, OrderWatch, SwappedLength};

use crate::Target;
use crate::quote::quoted;

/// A connection, with or without TLS.
pub(super) trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

/// The kind of server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `server` is its name and version.
    Vang {
        server: String,
        journal: String,
    },
    /// A vang server that refuses this connection or request.
    VangRefuses {
        code: String,
        detail: String,
    },
    /// A tutorial server: one exchange, then close.
    Guide,
    Echo,
    /// `status` is the status line.
    Http {
        status: String,
    },
    /// It writes the length of a header in the wrong byte order.
    WrongByteOrder(SwappedLength),
    /// Another protocol; `says` is the beginning of its answer.
    Other {
        says: String,
    },
    /// It closed without an answer.
    Mute,
    /// No answer in time.
    Silent,
}

/// Characters of an answer that are shown.
const TEXT_CHARS_MAX: usize = 100;

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The request that a vang server answers.
pub(super) fn hello() -> Vec<u8> {
    RequestWriter { name: None }.write(1, &Action::Hello).to_vec()
}

/// The request that a tutorial server answers. It has a content, because the tutorial's own programs never answer a request
/// with an empty one.
pub(super) fn search() -> Vec<u8> {
    const CONTENT: &str = r#"{"action": "search", "value": "vang"}"#;
    let header = format!(
        r#"{{"byteorder": "little", "content-type": "text/json", "content-encoding": "utf-8", "content-length": {}}}"#,
        CONTENT.len()
    );
    [&(header.len() as u16).to_be_bytes()[..], header.as_bytes(), CONTENT.as_bytes()].concat()
}

/// The request that an HTTP server answers.
pub(super) fn http(host: &str, port: u16) -> Vec<u8> {
    // A scope names an interface of this machine; the server does not know it.
    let host = host.split('%').next().map(str::to_owned);
    let host = Target::Net { host: host.unwrap_or_default(), port: Some(port) };
    format!("HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes()
}

/// Sends a request and detects the kind of server by the answer.
pub(super) fn ask(stream: &mut dyn ReadWrite, question: &[u8]) -> Kind {
    // On an error there can still be something to read, if the peer sent first or closed early.
    let _ = stream.write_all(question).and_then(|()| stream.flush());
    let (mut came, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return identify(&came, question).unwrap_or(Kind::Mute),
            Ok(n) => came.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut && came.is_empty() => {
                return Kind::Silent;
            }
            Err(_) => return identify(&came, question).unwrap_or(Kind::Mute),
        }
        if is_enough(&came, question) || came.len() > ANSWER_BYTES_MAX {
            return identify(&came, question).unwrap_or(Kind::Mute);
        }
    }
}

fn is_enough(came: &[u8], question: &[u8]) -> bool {
    came.starts_with(question)
        || first_frame(came).is_some()
        || OrderWatch::default().look(came).is_some()
        || !could_be_a_frame(came) && came.contains(&b'\n')
}

fn could_be_a_frame(came: &[u8]) -> bool {
    came.get(2).is_none_or(|third| *third == b'{')
}

fn first_frame(came: &[u8]) -> Option<Frame> {
    let mut decoder = Decoder::default();
    decoder.feed(came);
    decoder.poll_frame().ok().flatten()
}

fn identify(came: &[u8], question: &[u8]) -> Option<Kind> {
    if came.is_empty() {
        return None;
    }
    if came.starts_with(question) {
        return Some(Kind::Echo);
    }
    let line = String::from_utf8_lossy(came.split(|byte| *byte == b'\n').next().unwrap_or_default());
    if line.starts_with("HTTP/") {
        return Some(Kind::Http { status: line.trim_end().chars().take(TEXT_CHARS_MAX).collect() });
    }
    let Some(frame) = first_frame(came) else {
        return Some(match SwappedLength::of(came) {
            Some(length) => Kind::WrongByteOrder(length),
            None => Kind::Other { says: quoted(came, 60) },
        });
    };
    let text = |key: &str| -> String {
        frame.header.text(key).unwrap_or_default().chars().take(TEXT_CHARS_MAX).collect()
    };
    Some(match (frame.header.number("protocol"), text("code").as_str()) {
        (Some(_), _) => Kind::Vang { server: text("server"), journal: text("journal") },
        (None, "") => Kind::Guide,
        (None, code) => Kind::VangRefuses { code: code.to_owned(), detail: text("detail") },
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_server_follows_from_its_answer() {
        let message = |keys: &str| {
            let header = format!(
                r#"{{"byteorder": "little", "content-type": "text/json", "content-encoding": "utf-8", "content-length": 2{keys}}}"#
            );
            [&(header.len() as u16).to_be_bytes()[..], header.as_bytes(), b"{}"].concat()
        };
        for (answer, kind) in [
            (
                message(r#", "protocol": 1, "server": "vang/1", "journal": "ab""#),
                Kind::Vang { server: "vang/1".to_owned(), journal: "ab".to_owned() },
            ),
            (
                message(r#", "code": "tls-required", "detail": "no""#),
                Kind::VangRefuses { code: "tls-required".to_owned(), detail: "no".to_owned() },
            ),
            (message(""), Kind::Guide),
            (hello(), Kind::Echo),
            (
                b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n".to_vec(),
                Kind::Http { status: "HTTP/1.1 400 Bad Request".to_owned() },
            ),
            (
                b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
                Kind::Other { says: "\"SSH-2.0-OpenSSH_9.2\\r\\n\"".to_owned() },
            ),
            (
                b"\x02\0{}{\"result\": 1}".to_vec(),
                Kind::WrongByteOrder(SwappedLength { network: 512, swapped: 2 }),
            ),
        ] {
            assert_eq!(identify(&answer, &hello()), Some(kind));
            assert!(is_enough(&answer, &hello()));
        }
        assert_eq!(identify(b"", &hello()), None);
        // Spaces may still fill this header to its length.
        assert!(!is_enough(b"\x02\0{}", &hello()));
        assert!(!is_enough(&message("")[..40], &hello()));
    }
}
