//! The first bytes of a connection say which kind of client it is. Decided once, on a whole first
//! token; never changed later. The server says nothing before it knows.

use crate::limits::KIND_BYTES_MAX;
use crate::terminal::{harmless, speaks_to_terminal};

/// What speaks on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Messages of `frame.rs`: `{` behind two length bytes, or lengths that cannot be anything else.
    Native,
    /// HTTP/1.x: a method that everybody knows and a space, or a whole request line (RFC 9112, 3).
    Http,
    /// A TLS record with a handshake.
    Tls,
    /// An IRC client: its first command and a space.
    Irc,
    /// A proxy that says for whom it connects before it passes anything on (the PROXY protocol, 1 and 2).
    Proxy,
    /// A person who types: a whole first line of readable text that could be a name or begins with `/`.
    Lines,
    /// Nothing that is known here; the third byte is where a native header would begin.
    Unknown {
        /// That byte.
        third: u8,
    },
}

// HTTP/2's preface `PRI * HTTP/2.0` is none of them: it is not spoken here, and is refused as such.
const HTTP_METHODS: [&[u8]; 9] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE "];
/// How the PROXY protocol begins: version 1 is a line, version 2 has a signature that was chosen so that protocols of
/// lines fail on it (haproxy.org/download/2.8/doc/proxy-protocol.txt, 2.1 and 2.2).
const PROXY_LINES: [&[u8]; 3] = [b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN"];
const PROXY_SIGNATURE: &[u8] = crate::proxy::header::SIGNATURE;

const IRC_COMMANDS: [&[u8]; 4] = [b"NICK ", b"USER ", b"PASS ", b"CAP "];

/// How others' protocols of lines begin: a banner or a health check is nobody's name. SSH, HTTP/2, a
/// server's answer, Redis, SMTP, IRC in its middle, memcached.
const OTHER_LINES: [&[u8]; 13] = [
    b"SSH-",
    b"PRI * ",
    b"HTTP/",
    b"PING\r\n",
    b"PING\n",
    b"INFO\r\n",
    b"QUIT\r\n",
    b"EHLO ",
    b"HELO ",
    b"LHLO ",
    b"PRIVMSG ",
    b"stats\r\n",
    b"version\r\n",
];

/// Tells the kind from the bytes so far; `None` while more are needed.
pub fn detect(bytes: &[u8]) -> Option<Kind> {
    let bytes = &bytes[..bytes.len().min(KIND_BYTES_MAX)];
    match *bytes {
        [] | [_] => return None,
        // Too short for any JSON object: native, and malformed.
        [0, 0 | 1, ..] | [_, _, b'{', ..] => return Some(Kind::Native),
        [0x16, 0x03, _, ..] => return Some(Kind::Tls),
        // Also of a line that is whole already: it may be the length of a native message.
        [_, _] => return None,
        _ => {}
    }
    let unknown = Kind::Unknown { third: bytes[2] };
    let is_full = bytes.len() == KIND_BYTES_MAX;
    if bytes.starts_with(PROXY_SIGNATURE) {
        return Some(Kind::Proxy);
    }
    if PROXY_SIGNATURE.starts_with(bytes) {
        return None;
    }
    // Empty lines say nothing: a person presses Enter, and some programs of HTTP send one (RFC 9112, 2.2).
    let rest = without_empty_lines(bytes);
    if matches!(rest, [] | [b'\r']) {
        return is_full.then_some(unknown);
    }
    for (tokens, kind) in [
        (&HTTP_METHODS[..], Kind::Http),
        (&PROXY_LINES[..], Kind::Proxy),
        (&IRC_COMMANDS[..], Kind::Irc),
        (&OTHER_LINES[..], unknown),
    ] {
        for token in tokens {
            let common = token.len().min(rest.len());
            let matches = if kind == Kind::Irc {
                rest[..common].eq_ignore_ascii_case(&token[..common])
            } else {
                rest[..common] == token[..common]
            };
            if matches && common == token.len() {
                return Some(kind);
            }
            if matches && !is_full {
                return None;
            }
        }
    }
    match first_line(rest) {
        Line::Whole if is_http_request(rest.split(|byte| *byte == b'\n').next().unwrap_or_default()) => {
            Some(Kind::Http)
        }
        Line::Whole => Some(Kind::Lines),
        Line::Begun if !is_full => None,
        // Too long for a name, and so far a request with a long target.
        Line::Begun if begins_request(rest) => Some(Kind::Http),
        Line::Begun | Line::No => Some(unknown),
    }
}

/// Bytes that tell no kind yet: are they a whole name, except for the end of its line? Not if more bytes may make them
/// the greeting of a protocol.
pub fn is_name_without_end(bytes: &[u8]) -> bool {
    let is_inside =
        |c: char| !c.is_whitespace() && (!c.is_ascii_punctuation() || matches!(c, '-' | '_' | '.'));
    let rest = without_empty_lines(bytes);
    let may_greet = [&HTTP_METHODS[..], &PROXY_LINES, &IRC_COMMANDS, &OTHER_LINES]
        .into_iter()
        .flatten()
        .any(|token| rest.len() < token.len() && token[..rest.len()].eq_ignore_ascii_case(rest));
    !may_greet
        && detect(bytes).is_none()
        && matches!(first_line(rest), Line::Begun)
        && str::from_utf8(rest).is_ok_and(|name| !name.is_empty() && name.chars().all(is_inside))
}

/// The line for a client that began nothing that is known here in so many ms, before it is closed.
///
/// Browsers open connections before they need them, and use them even after bytes came: to a client that sent nothing,
/// the line is also an HTTP response 408, after which a browser sends its request again on another connection (RFC 9110,
/// 15.5.9). The text is its reason phrase.
pub fn silence_line(bytes: &[u8], ms: u64) -> String {
    let time = if ms.is_multiple_of(1_000) { format!("{} s", ms / 1_000) } else { format!("{ms} ms") };
    let how = "To chat here, type your name and press Enter, then a message and Enter. For a server that echoes: \
               vang net echo serve";
    if bytes.is_empty() {
        return format!("HTTP/1.1 408 -- nothing came for {time}. {how}\r\n\r\n");
    }
    let text = harmless(&String::from_utf8_lossy(bytes)).replace('\n', "\\n");
    let plural = if bytes.len() == 1 { "" } else { "s" };
    format!("-- {} byte{plural} came ('{text}'), then nothing for {time}. {how}\n", bytes.len())
}

fn without_empty_lines(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let Some(behind) = rest.strip_prefix(b"\n").or_else(|| rest.strip_prefix(b"\r\n")) {
        rest = behind;
    }
    rest
}

enum Line {
    Whole,
    Begun,
    No,
}

/// Do these bytes begin with a line that a person may have typed? The first of its bytes that says no
/// settles it, whatever stands behind.
fn first_line(bytes: &[u8]) -> Line {
    let (line, whole) = match bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&bytes[..end], true),
        None => (bytes, false),
    };
    // Before the line's end a return may be the half of it that came.
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (text, cut) = match std::str::from_utf8(line) {
        Ok(text) => (text, false),
        // A character whose other bytes are still to come.
        Err(error) if error.error_len().is_none() && !whole => {
            (std::str::from_utf8(&line[..error.valid_up_to()]).unwrap_or_default(), true)
        }
        Err(_) => return Line::No,
    };
    if cut && bytes.ends_with(b"\r") || text.chars().any(speaks_to_terminal) {
        return Line::No;
    }
    match text.chars().next() {
        Some(first) if first == '/' || first.is_alphanumeric() => {}
        // A return alone, so far.
        None => {}
        Some(_) => return Line::No,
    }
    if whole { Line::Whole } else { Line::Begun }
}

/// Is this line the beginning of an HTTP request? A web page can make a browser send one anywhere, so
/// typed lines end there.
pub fn is_http_request(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if HTTP_METHODS.iter().any(|method| line.starts_with(method))
        && line.windows(5).any(|part| part == b"HTTP/")
    {
        return true;
    }
    // A method that we do not know: any token. What is asked for tells a request from a sentence about one.
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    let is_version = |version: &[u8]| matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit());
    parts.next().is_none()
        && method.is_some_and(is_token)
        && target.is_some_and(begins_target)
        && version.is_some_and(is_version)
}

/// The same of a line whose end has not come.
fn begins_request(begun: &[u8]) -> bool {
    let mut parts = begun.split(|byte| *byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    parts.next().is_none()
        && method.is_some_and(is_token)
        && target.is_some_and(begins_target)
        && version.is_none_or(|version| b"HTTP/".starts_with(version) || version.starts_with(b"HTTP/"))
}

/// RFC 9110, 5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_inside)
}

/// A path, a whole address, or `*` (RFC 9112, 3.2).
fn begins_target(bytes: &[u8]) -> bool {
    bytes.starts_with(b"/") || bytes == b"*" || bytes.windows(3).any(|part| part == b"://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_does_not_depend_on_how_the_bytes_came() {
        let unknown = |third| Kind::Unknown { third };
        let long = "x".repeat(62) + "\n";
        let too_long = "x".repeat(64) + "\n";
        let long_target = format!("REPORT /{} HTTP/1.1\r\n", "x".repeat(64));
        let firsts: [(&[u8], Kind); 58] = [
            (b"\x00\x65{\"byteorder\"", Kind::Native),
            (b"PU{}", Kind::Native),
            (b"a\n{", Kind::Native),
            (b"\n\n{", Kind::Native),
            (b"\x00\x00", Kind::Native),
            (b"GET / HTTP/1.1\r\n", Kind::Http),
            (b"PRI * HTTP/2.0", unknown(b'I')),
            (b"\x16\x03\x01\x02\x00", Kind::Tls),
            (b"NICK ada\r\n", Kind::Irc),
            (b"nick ada\n", Kind::Irc),
            (b"\xff\xfe\xfd\xfc", unknown(0xfd)),
            // Names, and what a person may type in place of one.
            (b"ada\n", Kind::Lines),
            (b"ada\r\nhello", Kind::Lines),
            (b"bo\n", Kind::Lines),
            (b"b\r\n", Kind::Lines),
            (b"b\nh", Kind::Lines),
            (b"\nada\n", Kind::Lines),
            (b"\r\n\r\nada\r\n", Kind::Lines),
            // An empty line first, as some programs send it.
            (b"\r\nGET / HTTP/1.1\r\n", Kind::Http),
            (b"\nHEAD / HTTP/1.1\r\n", Kind::Http),
            (b"\r\nNICK ada\r\n", Kind::Irc),
            // Methods that not everybody knows.
            (b"PROPFIND / HTTP/1.1\r\n", Kind::Http),
            (b"M-SEARCH * HTTP/1.1\r\n", Kind::Http),
            (long_target.as_bytes(), Kind::Http),
            // The PROXY protocol, 1 and 2.
            (b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\nada\n", Kind::Proxy),
            (b"PROXY UNKNOWN\r\n", Kind::Proxy),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", Kind::Proxy),
            (b"\r\n\r\n\0\r\nQUIT\r\n", unknown(b'\r')),
            (b"PROXY hello\n", Kind::Lines),
            (b"nick\n", Kind::Lines),
            (b"GETA\nGET / HTTP/1.1\r\n", Kind::Lines),
            (b"/help\n", Kind::Lines),
            (b"hello, world\n", Kind::Lines),
            ("chó\n".as_bytes(), Kind::Lines),
            ("đồng\r\n".as_bytes(), Kind::Lines),
            ("猫\n".as_bytes(), Kind::Lines),
            (b"ping\n", Kind::Lines),
            (long.as_bytes(), Kind::Lines),
            (too_long.as_bytes(), unknown(b'x')),
            // No line of a person's.
            (b"ada\x1b[A\n", unknown(b'a')),
            (b"ada\rbob\n", unknown(b'a')),
            (b"ad\xc3\n", unknown(0xc3)),
            (b"ad\xc3\r\n", unknown(0xc3)),
            (b"ada\0\n", unknown(b'a')),
            (b"\xff\xfd\x01ada\n", unknown(0x01)),
            ("a\u{202e}b\n".as_bytes(), unknown(0x80)),
            // Others' protocols: SSH, Redis (both forms), memcached, SMTP, RDP, SMB, XML, JSON, rsync, PostgreSQL.
            (b"SSH-2.0-OpenSSH_9.6\r\n", unknown(b'H')),
            (b"*1\r\n$4\r\nPING\r\n", unknown(b'\r')),
            (b"PING\r\n", unknown(b'N')),
            (b"stats\r\n", unknown(b'a')),
            (b"EHLO example.org\r\n", unknown(b'L')),
            (b"PRIVMSG #general :hi\r\n", unknown(b'I')),
            (b"\x03\x00\x00\x13\x0e\xe0", unknown(0x00)),
            (b"\x00\x00\x00\x85\xffSMB", Kind::Native),
            (b"<?xml version='1.0'?>\n", unknown(b'x')),
            (b"{\"method\": 1}\n", unknown(b'm')),
            (b"@RSYNCD: 31.0\n", unknown(b'S')),
            (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Kind::Native),
        ];
        for (bytes, kind) in firsts {
            let first_kind = (0..=bytes.len()).find_map(|cut| detect(&bytes[..cut]));
            assert_eq!(first_kind, Some(kind), "{bytes:?}");
            // Once told it stays so, whatever comes with it.
            let decided_at =
                (0..=bytes.len()).find(|&cut| detect(&bytes[..cut]).is_some()).unwrap_or_default();
            for cut in decided_at..=bytes.len() {
                assert_eq!(detect(&bytes[..cut]), Some(kind), "{bytes:?} up to {cut}");
            }
        }
    }

    #[test]
    fn a_name_without_a_line_end_differs_from_the_beginning_of_a_greeting() {
        for name in ["ada", "a", "bo", "đồng", "cho\u{301}", "ada.l-1_x", "\r\nada", "getter", "猫", "PINGU"]
        {
            assert!(is_name_without_end(name.as_bytes()), "{name:?}");
        }
        for other in [
            "",
            "\n",
            "ada\n",
            "ada\r",
            "Hello, world",
            "hi there",
            "/help",
            "-a",
            "a!",
            "GET",
            "g",
            "pos",
            "NICK",
            "user",
            "PROXY",
            "ping",
            "SSH",
            "EHLO",
            "PUTTER{",
            "a\u{1b}",
        ] {
            assert!(!is_name_without_end(other.as_bytes()), "{other:?}");
        }
        // A length and the first byte of a header; a character that is cut; a NUL.
        for other in [&b"ab{"[..], b"ad\xc3", b"ad\0", b"\x16\x03\x01", &[b'x'; 64]] {
            assert!(!is_name_without_end(other), "{other:?}");
        }
    }

    #[test]
    fn silence_is_answered_in_one_line() {
        assert_eq!(
            silence_line(b"Hello, world", 10_000),
            "-- 12 bytes came ('Hello, world'), then nothing for 10 s. To chat here, type your name and press Enter, then a \
             message and Enter. For a server that echoes: vang net echo serve\n"
        );
        let empty = silence_line(b"", 300);
        assert!(empty.starts_with("HTTP/1.1 408 -- nothing came for 300 ms. To chat"), "{empty}");
        assert!(empty.ends_with("echo serve\r\n\r\n") && empty.lines().count() == 2, "{empty}");
        let hostile = silence_line(b"a\x1b[2J\nb\r\xff", 1_000);
        assert!(hostile.starts_with("-- 9 bytes came ('a\\u{1b}[2J\\nb"), "{hostile}");
        assert_eq!(hostile.matches('\n').count(), 1);
    }

    #[test]
    fn a_request_line_is_distinguished_from_a_sentence() {
        for line in [
            "GET / HTTP/1.1",
            "POST /rooms HTTP/1.0",
            "OPTIONS * HTTP/1.1",
            "PROPFIND / HTTP/1.1\r",
            "REPORT http://a/ HTTP/1.0",
        ] {
            assert!(is_http_request(line.as_bytes()), "{line}");
        }
        for line in [
            "GET me a coffee",
            "I said GET / HTTP/1.1",
            "get / http/1.1",
            "POSTER HTTP/",
            "I like HTTP/1.1",
            "try /rooms HTTP/1.1 please",
        ] {
            assert!(!is_http_request(line.as_bytes()), "{line}");
        }
    }
}
