//! Judging a client: it connects once for each case, sends what it sends, and is answered well in an unusual way, or badly.
//! What can be seen from here: whether its request is one message, whether it reads an answer to its end, and whether
//! it ends its connection in good time. What it makes of an answer only its own output shows.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use serde::Serialize;
use socket2::SockRef;
use vang_client::trouble::Doing;
use vang_proto::Decoder;

use super::wire::Stream;
use crate::failure::{Failure, Outcome};
use crate::quote::quoted;
use crate::{Record, Report, Stop, Target, Verdict};

/// How long a client may take for its request, and to go away after the answer.
const CLIENT_WAIT: Duration = Duration::from_secs(10);

/// A client's request beyond this is not read: 4 MiB.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// The server of the cases is ready.
#[derive(Serialize)]
struct Listening {
    address: String,
    cases: usize,
}

impl Record for Listening {
    const EVENT: &'static str = "listening";
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listening on {}: run your client {} times, once for each case", self.address, self.cases)
    }
}

#[derive(Serialize)]
struct Tried {
    case: &'static str,
    what: &'static str,
    passed: bool,
    why: Option<String>,
}

impl Record for Tried {
    const EVENT: &'static str = "case";
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed { "ok    " } else { "FAILED" };
        write!(f, "{verdict} {}: {}", self.case, self.what)?;
        self.why.as_ref().map_or(Ok(()), |why| write!(f, "\n{why}"))
    }
}

#[derive(Serialize)]
struct Summary {
    passed: usize,
    failed: usize,
    not_run: usize,
}

impl Record for Summary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.not_run > 0 {
            write!(f, "; {} were not run: no client came", self.not_run)?;
        }
        Ok(())
    }
}

/// An answer, and how it goes out.
struct Case {
    name: &'static str,
    what: &'static str,
    bytes: Vec<u8>,
    piece: usize,
    then: Then,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The sending half is shut, and the client's end awaited.
    Close,
    /// The client closes first.
    Wait,
    Reset,
}

fn cases() -> Vec<Case> {
    let utf16: Vec<u8> = "{\"result\": \"utf-16 🐶\"}".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let usual = |text: &str| message("little", "utf-8", format!("{{\"result\": \"{text}\"}}").as_bytes(), "");
    let strange = r#", "x": {"y": [1, null]}, "connection": "close""#;
    let case = |name, what, bytes, piece, then| Case { name, what, bytes, piece, then };
    let long = format!("{{\"result\": \"{}\"}}", "🐶".repeat(30_000));
    vec![
        case("usual", "an answer in one piece, then the end", usual("usual 🐶"), usize::MAX, Then::Close),
        case("bytes", "the same byte by byte", usual("byte by byte 🐶"), 1, Then::Close),
        case(
            "patient",
            "the server waits until the client closes",
            usual("patient 🐶"),
            usize::MAX,
            Then::Wait,
        ),
        case(
            "other-header",
            "keys in another order, spaces, keys that nobody knows, the other byte order",
            message("big", "UTF-8", "{\"result\": \"other header 🐶\"}".as_bytes(), strange),
            7,
            Then::Close,
        ),
        case(
            "utf-16",
            "content in UTF-16 of the byte order named",
            message("big", "utf-16", &utf16, ""),
            3,
            Then::Close,
        ),
        case(
            "long",
            "content of 120 KB",
            message("little", "utf-8", long.as_bytes(), ""),
            usize::MAX,
            Then::Close,
        ),
        case(
            "not-json",
            "a header that is no JSON",
            [&[0, 9][..], b"{\"a\": 1,}"].concat(),
            usize::MAX,
            Then::Wait,
        ),
        case("no-length", "a header without content-length", no_length(), usize::MAX, Then::Wait),
        case(
            "cut-header",
            "the end in the middle of the header",
            usual("cut")[..20].to_vec(),
            usize::MAX,
            Then::Close,
        ),
        case("cut-content", "the end in the middle of the content", cut_content(), usize::MAX, Then::Close),
        case("nothing", "the end without an answer", Vec::new(), usize::MAX, Then::Close),
        case(
            "reset",
            "a reset in the middle of the answer",
            usual("reset")[..40].to_vec(),
            usize::MAX,
            Then::Reset,
        ),
    ]
}

fn message(byteorder: &str, encoding: &str, content: &[u8], more: &str) -> Vec<u8> {
    // Not in the guide's order, and with spaces where JSON allows them.
    let header = format!(
        "{{ \"content-length\" : {}, \"byteorder\":\"{byteorder}\",\t\"content-type\": \"text/json\", \"content-encoding\": \"{encoding}\"{more} }}",
        content.len()
    );
    let len = u16::try_from(header.len()).expect("these headers are short").to_be_bytes();
    [&len[..], header.as_bytes(), content].concat()
}

fn no_length() -> Vec<u8> {
    let header = br#"{"byteorder": "little", "content-type": "text/json", "content-encoding": "utf-8"}"#;
    [&(header.len() as u16).to_be_bytes()[..], header].concat()
}

fn cut_content() -> Vec<u8> {
    let mut whole = message("little", "utf-8", b"{\"result\": \"never told whole\"}", "");
    whole.truncate(whole.len() - 8);
    whole
}

/// Listens here, plays one case to each connection, and ends after the last. `Bad`: a client failed a case.
pub fn run(listen: &Target, report: &Report, stop: &Stop) -> Outcome {
    let Target::Net { host, port } = listen else {
        return Err(Failure::Usage("clients are judged by TCP: --listen ADDR:PORT".to_owned()));
    };
    let cannot = |error: &io::Error| Failure::of(format!("cannot listen at {listen}"), error, Doing::Bind);
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    let listener = TcpListener::bind((host, port.unwrap_or(0))).map_err(|error| cannot(&error))?;
    let address = listener.local_addr().map_err(|error| cannot(&error))?.to_string();
    let cases = cases();
    report.tell(&Listening { address, cases: cases.len() })?;
    let mut sum = Summary { passed: 0, failed: 0, not_run: cases.len() };
    for case in &cases {
        let mut fds = [PollFd::new(&listener, PollFlags::IN)];
        if stop.wait(&mut fds, None).map_err(|error| cannot(&error))?.is_some() {
            break;
        }
        let (stream, peer) = listener.accept().map_err(|error| cannot(&error))?;
        report.explain(|| format!("accepted {peer}; it is played the case {}", case.name))?;
        let why = play(case, Stream::Tcp(stream)).err();
        let passed = why.is_none();
        report.tell(&Tried { case: case.name, what: case.what, passed, why })?;
        sum.not_run -= 1;
        sum.passed += usize::from(passed);
        sum.failed += usize::from(!passed);
    }
    report.tell(&sum)?;
    Ok(match (sum.failed, sum.not_run) {
        (1.., _) => Verdict::Bad,
        (0, 0) => Verdict::Good,
        (0, _) => Verdict::TimedOut,
    })
}

fn play(case: &Case, mut stream: Stream) -> Result<(), String> {
    read_request(&mut stream)?;
    stream.write_in_pieces(&case.bytes, case.piece);
    let said = |error: io::Error| crate::failure::explain(&error, Doing::Read).to_string();
    match case.then {
        Then::Close => stream.end_writing().map_err(said)?,
        Then::Wait => {}
        Then::Reset => {
            if let Stream::Tcp(stream) = &stream {
                // Closed with a linger of no time: a reset.
                SockRef::from(stream).set_linger(Some(Duration::ZERO)).map_err(said)?;
            }
            return Ok(());
        }
    }
    let until = Instant::now() + CLIENT_WAIT;
    match stream.read(&mut [0; 64], until) {
        Ok(0) => Ok(()),
        Ok(_) => Err("it sends more after the answer, without \"connection\": \"keep-alive\"".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(format!("it has not closed its connection after {} s", CLIENT_WAIT.as_secs()))
        }
        // It had read what it wanted, or did not want to read more of what was broken.
        Err(_) => Ok(()),
    }
}

/// One whole message and nothing behind it.
fn read_request(stream: &mut Stream) -> Result<(), String> {
    let until = Instant::now() + CLIENT_WAIT;
    let mut decoder = Decoder::default();
    let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match decoder.poll_frame() {
            Ok(Some(frame)) => {
                let len = 2 + frame.header.json().len() + frame.content.len();
                return match all.get(len..) {
                    Some([]) | None => Ok(()),
                    Some(rest) => {
                        Err(format!("behind its request stand {} bytes: {}", rest.len(), quoted(rest, 60)))
                    }
                };
            }
            Ok(None) if all.len() > REQUEST_BYTES_MAX => return Err("its request does not end".to_owned()),
            Ok(None) => {}
            Err(malformed) => {
                return Err(format!("its request is no message: {malformed}: {}", quoted(&all, 120)));
            }
        }
        match stream.read(&mut buffer, until) {
            Ok(0) => return Err(format!("it closed before its request was whole: {}", quoted(&all, 120))),
            Ok(n) => {
                all.extend_from_slice(&buffer[..n]);
                decoder.feed(&buffer[..n]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let what = crate::failure::explain(&error, Doing::Read);
                return Err(format!("waiting for its request: {what}; so far: {}", quoted(&all, 120)));
            }
        }
    }
}
