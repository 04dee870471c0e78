//! HTTP requests that are wrong in one place (RFC 9112): the request line, the fields, the length of the body, its chunks.

use super::hostile;
use super::random::Random;

/// A request, and what is wrong with it.
pub(super) fn generate(random: &mut Random) -> (String, Vec<u8>) {
    let (what, head, body): (&str, String, Vec<u8>) = match random.below(6) {
        0 => request_line(random),
        1 => field(random),
        2 => many(random),
        3 => body_length(random),
        4 => chunks(random),
        _ => together(random),
    };
    (what.to_owned(), [head.as_bytes(), &body].concat())
}

/// A request that every HTTP server answers.
pub(super) fn honest() -> Vec<u8> {
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec()
}

fn request_line(random: &mut Random) -> (&'static str, String, Vec<u8>) {
    let method = *random.pick(&[
        "GET",
        "get",
        "",
        "G\0T",
        "POST",
        "CONNECT",
        "TRACE",
        "PRI",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ]);
    let target = match random.below(8) {
        0 => "/".to_owned() + &"a".repeat(hostile::length(random)),
        1 => "/%00%2e%2e/%2e%2e/etc/passwd".to_owned(),
        2 => "/../../../etc/passwd".to_owned(),
        3 => "http://user:pass@elsewhere.example:99999/".to_owned(),
        4 => "*".to_owned(),
        5 => String::new(),
        6 => "/find?query=".to_owned() + &hostile::text(random).replace(['\r', '\n'], "%0a"),
        _ => "/%zz?%&=&&#\u{1f436}".to_owned(),
    };
    let version = *random.pick(&[
        "HTTP/1.1",
        "HTTP/1.0",
        "HTTP/9.9",
        "HTTP/1.1.1",
        "http/1.1",
        "HTTP/",
        "",
        "HTTP/2.0",
    ]);
    let space = *random.pick(&[" ", " ", " ", "  ", "\t", ""]);
    (
        "request line",
        format!("{method}{space}{target}{space}{version}\r\nHost: localhost\r\n\r\n"),
        Vec::new(),
    )
}

fn field(random: &mut Random) -> (&'static str, String, Vec<u8>) {
    let text = hostile::text(random);
    let fields = match random.below(10) {
        0 => String::new(),
        1 => "Host: a\r\nHost: b\r\n".to_owned(),
        2 => format!("Host : localhost\r\nX: {text}\r\n"),
        3 => "Host: localhost\r\n folded: line\r\n\tmore\r\n".to_owned(),
        4 => "Host: localhost\nX: bare line feed\n".to_owned(),
        5 => "Host: localhost\rX: bare return\r".to_owned(),
        6 => "Host: localhost\r\nno colon at all\r\n: no name\r\n".to_owned(),
        7 => format!("Host: {text}\r\n"),
        8 => format!("Host: localhost\r\nRange: bytes={}-,-1,0-0,5-1\r\nCookie: {text}\r\n", hostile::integer(random)),
        _ => "Host: localhost\r\nExpect: 100-continue\r\nUpgrade: h2c, websocket\r\nConnection: Upgrade, close, keep-alive\r\n".to_owned(),
    };
    ("fields", format!("GET / HTTP/1.1\r\n{fields}\r\n"), Vec::new())
}

fn many(random: &mut Random) -> (&'static str, String, Vec<u8>) {
    let fields: String = match random.below(2) {
        0 => (0..1 + random.below(3_000)).map(|n| format!("X-{n}: 1\r\n")).collect(),
        _ => format!("X: {}\r\n", "a".repeat(hostile::length(random))),
    };
    ("many or long fields", format!("GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"), Vec::new())
}

fn body_length(random: &mut Random) -> (&'static str, String, Vec<u8>) {
    let length = hostile::integer(random);
    let other = match random.below(3) {
        0 => format!("Content-Length: {}\r\n", hostile::integer(random)),
        1 => "Transfer-Encoding: chunked\r\n".to_owned(),
        _ => String::new(),
    };
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{other}\r\n");
    ("Content-Length", head, b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n".to_vec())
}

fn chunks(random: &mut Random) -> (&'static str, String, Vec<u8>) {
    let coding = *random.pick(&[
        "chunked",
        "Chunked",
        "gzip, chunked",
        "chunked, chunked",
        " chunked",
        "xchunked",
        "identity",
    ]);
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {coding}\r\n\r\n");
    let size = *random.pick(&[
        "5",
        "0",
        "-1",
        "0x5",
        "ffffffffffffffff",
        "7fffffffffffffff",
        "100000000",
        "",
        "g",
        "5;a=\"",
        "00000005",
    ]);
    let end = *random.pick(&["\r\n", "\n", "", "\r"]);
    ("chunks", head, format!("{size}{end}hello{end}0{end}X: trailer\r\n\r\n").into_bytes())
}

fn together(random: &mut Random) -> (&'static str, String, Vec<u8>) {
    let one = *random.pick(&[
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
    ]);
    ("many requests at once", one.repeat(1 + random.below(60)), Vec::new())
}
