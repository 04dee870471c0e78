//! Tests a client. It connects once for each case and sends its request; the answer is valid but unusual, invalid, or
//! missing. This side sees whether the request is one message, whether the client reads an answer to its end, and whether
//! it closes the connection in time. The client's own output and exit code are not visible here, so each result says what
//! they should be.

use std::fmt;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use serde::Serialize;
use socket2::Type;
use vang_client::trouble::Doing;
use vang_proto::Decoder;
use vang_proto::text::counted;

use super::exchange::write_in_pieces;
use super::options::{Choice, no_such_case};
use super::verdict::verdict;
use crate::deadline_stream::DeadlineStream;
use crate::error::{Outcome, ToolError};
use crate::listener::{ListenOptions, Listener, Sharing};
use crate::quote::quoted;
use crate::{Record, Report, Stop, Target};

/// Time limit of a client for its request, and for closing after the answer.
const CLIENT_WAIT: Duration = Duration::from_secs(10);

/// Time limit of a client that waits for a missing answer: it needs its own timeout.
const SILENCE_WAIT: Duration = Duration::from_secs(60);

/// Clients that wait while another one is tested.
const BACKLOG: u32 = 128;

/// Pause after each byte of a slow answer.
const PAUSE: Duration = Duration::from_millis(10);

/// Longest request: 4 MiB.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// The first record.
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
        let times = counted(self.cases as u64, "time", "times");
        write!(f, "listening on {}: run your client {times}, once for each case", self.address)
    }
}

#[derive(Serialize)]
struct ClientCaseResult<'a> {
    case: &'static str,
    what: &'static str,
    passed: bool,
    why: Option<String>,
    /// Expected output of the client; `None`: it should report an error and fail.
    prints: Option<&'a str>,
}

impl Record for ClientCaseResult<'_> {
    const EVENT: &'static str = "case";
}

impl fmt::Display for ClientCaseResult<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed { "ok    " } else { "FAILED" };
        write!(f, "{verdict} {}: {}", self.case, self.what)?;
        match (&self.why, self.prints) {
            (Some(why), _) => write!(f, "\n{why}"),
            (None, Some(text)) if text.len() > 40 => f.write_str(" (expected output: the whole content)"),
            (None, Some(text)) => write!(f, " (expected output: {})", quoted(text.as_bytes(), 80)),
            (None, None) => f.write_str(" (expected: an error message and a failing exit code)"),
        }
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
            write!(f, "; {} not run", self.not_run)?;
        }
        Ok(())
    }
}

/// An answer, and how it is sent.
struct ClientCase {
    name: &'static str,
    what: &'static str,
    bytes: Vec<u8>,
    pace: Pace,
    then: Then,
    /// See `ClientCaseResult`.
    prints: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Whole,
    /// In pieces of this many bytes.
    Pieces(usize),
    /// A pause after each byte.
    Slow,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Closes the sending half and waits for the client to close.
    Close,
    /// Waits for the client to close first: it has the whole answer.
    Wait,
    /// Sends nothing more, while the client expects more.
    Hang,
    Reset,
}

fn cases() -> Vec<ClientCase> {
    use Pace::{Pieces, Slow, Whole};
    use Then::{Close, Hang, Reset, Wait};
    let result = |text: &str| format!("{{\"result\": \"{text}\"}}");
    let usual = |text: &str| message("little", "utf-8", result(text).as_bytes(), "");
    let lying = |length: &str| with_length(length, result("never shown").as_bytes());
    let units = |text: &str| result(text).encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let latin: Vec<u8> = result("café").chars().filter_map(|c| u8::try_from(c).ok()).collect();
    let strange = r#", "x": {"y": [1, null]}, "connection": "close""#;
    let good = |name, what, bytes, pace, then, text: &str| {
        let prints = Some(text.to_owned());
        ClientCase { name, what, bytes, pace, then, prints }
    };
    let bad = |name, what, bytes, pace, then| ClientCase { name, what, bytes, pace, then, prints: None };
    let long = "🐶".repeat(30_000);
    vec![
        good("usual", "an answer in one piece, then close", usual("usual 🐶"), Whole, Close, "usual 🐶"),
        good("bytes", "the same byte by byte", usual("bytes 🐶"), Pieces(1), Close, "bytes 🐶"),
        good("slow", "the same with a pause after each byte", usual("slow 🐶"), Slow, Close, "slow 🐶"),
        good(
            "patient",
            "the server waits until the client closes",
            usual("patient 🐶"),
            Whole,
            Wait,
            "patient 🐶",
        ),
        good(
            "other-header",
            "keys in another order, spaces, unknown keys, the other byte order",
            message("big", "UTF-8", result("other header 🐶").as_bytes(), strange),
            Pieces(7),
            Close,
            "other header 🐶",
        ),
        good("long", "content of 120 KB", usual(&long), Whole, Close, &long),
        good(
            "utf-16",
            "content in UTF-16 in the stated byte order",
            message("big", "utf-16", &units("utf-16 🐶"), ""),
            Pieces(3),
            Close,
            "utf-16 🐶",
        ),
        good("latin-1", "content in Latin-1", message("little", "latin-1", &latin, ""), Whole, Close, "café"),
        bad(
            "unknown-encoding",
            "content in an unknown encoding",
            message("little", "klingon-1", result("never shown").as_bytes(), ""),
            Whole,
            Close,
        ),
        bad(
            "not-utf-8",
            "content that is not valid in the stated encoding",
            message("little", "utf-8", &latin, ""),
            Whole,
            Close,
        ),
        bad("not-json", "a header that is not JSON", [&[0, 9][..], b"{\"a\": 1,}"].concat(), Whole, Wait),
        bad("no-length", "a header without content-length", no_length(), Whole, Wait),
        bad("negative-length", "a content-length of -1", lying("-1"), Whole, Wait),
        bad("text-length", "a content-length that is text", lying("\"many\""), Whole, Wait),
        bad("short-length", "a content-length that is too short", lying("9"), Whole, Close),
        bad("huge-length", "a content-length of 1 TiB", lying("1099511627776"), Whole, Hang),
        bad("cut-header", "close in the middle of the header", usual("cut")[..20].to_vec(), Whole, Close),
        bad("cut-content", "close in the middle of the content", cut_content(), Whole, Close),
        bad("nothing", "close without an answer", Vec::new(), Whole, Close),
        bad("reset", "a reset in the middle of the answer", usual("reset")[..40].to_vec(), Whole, Reset),
        bad("silence", "no answer and no close", Vec::new(), Whole, Hang),
        bad("silence-inside", "nothing more in the middle of the content", cut_content(), Whole, Hang),
    ]
}

fn message(byteorder: &str, encoding: &str, content: &[u8], more: &str) -> Vec<u8> {
    let more = format!("\"content-encoding\": \"{encoding}\"{more}");
    written(&content.len().to_string(), byteorder, &more, content)
}

/// A message with any content-length in its header.
fn with_length(length: &str, content: &[u8]) -> Vec<u8> {
    written(length, "little", "\"content-encoding\": \"utf-8\"", content)
}

fn written(length: &str, byteorder: &str, more: &str, content: &[u8]) -> Vec<u8> {
    // Keys in another order than the tutorial's, and additional spaces.
    let header = format!(
        "{{ \"content-length\" : {length}, \"byteorder\":\"{byteorder}\",\t\"content-type\": \"text/json\", {more} }}"
    );
    let len = u16::try_from(header.len()).expect("these headers are short").to_be_bytes();
    [&len[..], header.as_bytes(), content].concat()
}

fn no_length() -> Vec<u8> {
    let header = br#"{"byteorder": "little", "content-type": "text/json", "content-encoding": "utf-8"}"#;
    [&(header.len() as u16).to_be_bytes()[..], header].concat()
}

fn cut_content() -> Vec<u8> {
    let mut whole = message("little", "utf-8", b"{\"result\": \"never shown whole\"}", "");
    whole.truncate(whole.len() - 8);
    whole
}

/// Listens, runs one case on each connection, and ends after the last. `Bad`: a case failed.
pub fn run(listen: &Target, choice: &Choice, report: &Report, stop: &Stop) -> Outcome {
    let Target::Net { host, port } = listen else {
        return Err(ToolError::Usage("clients are tested over TCP: --listen ADDR:PORT".to_owned()));
    };
    let cannot = |error: &io::Error| ToolError::of(format!("cannot listen on {listen}"), error, Doing::Bind);
    let host = if host.is_empty() { "127.0.0.1".to_owned() } else { host.clone() };
    let cases: Vec<ClientCase> = cases().into_iter().filter(|case| choice.takes(case.name)).collect();
    if cases.is_empty() {
        return Err(no_such_case());
    }
    let at = Target::Net { host, port: Some(port.unwrap_or(0)) };
    let options = ListenOptions {
        kind: Type::STREAM,
        backlog: BACKLOG,
        receive_buffer: None,
        sharing: Sharing::Nobody,
    };
    let Some(opened) = Listener::open(&at, options, report, stop)? else {
        report.record(&Summary { passed: 0, failed: 0, not_run: cases.len() })?;
        return Ok(verdict(false, 0, stop));
    };
    // Non-blocking: a waiting client can be gone before accept.
    let listener: TcpListener = opened.socket.try_clone().map_err(|error| cannot(&error))?.into();
    let address = listener.local_addr().map_err(|error| cannot(&error))?.to_string();
    report.record(&Listening { address, cases: cases.len() })?;
    let mut sum = Summary { passed: 0, failed: 0, not_run: cases.len() };
    for case in &cases {
        let Some(stream) = accept(&listener, stop).map_err(|error| cannot(&error))? else { break };
        report.explain(|| format!("accepted a client for the case {}", case.name))?;
        let why = match DeadlineStream::from_socket(stream.into(), stop) {
            Ok(stream) => play(case, stream, stop).err(),
            Err(error) => Some(error.to_string()),
        };
        let passed = why.is_none();
        // A case that was interrupted by the stop is not a failure.
        if !passed && stop.now().is_some() {
            break;
        }
        let ClientCase { name: case, what, prints, .. } = case;
        let prints = prints.as_deref();
        report.record(&ClientCaseResult { case, what, passed, why, prints })?;
        sum.not_run -= 1;
        sum.passed += usize::from(passed);
        sum.failed += usize::from(!passed);
    }
    report.record(&sum)?;
    Ok(verdict(sum.not_run == 0, sum.failed as u64, stop))
}

/// The next client; `None`: stopped.
fn accept(listener: &TcpListener, stop: &Stop) -> io::Result<Option<TcpStream>> {
    loop {
        if stop.wait(&mut [PollFd::new(listener, PollFlags::IN)], None)?.is_some() {
            return Ok(None);
        }
        match listener.accept() {
            Ok((stream, _)) => {
                // Without Nagle's algorithm, so that pieces are not merged.
                stream.set_nodelay(true)?;
                return Ok(Some(stream));
            }
            Err(error)
                if [io::ErrorKind::WouldBlock, io::ErrorKind::ConnectionAborted].contains(&error.kind()) => {}
            Err(error) => return Err(error),
        }
    }
}

fn play(case: &ClientCase, mut stream: DeadlineStream<'_>, stop: &Stop) -> Result<(), String> {
    stream.set_deadline(Instant::now() + CLIENT_WAIT);
    read_request(&mut stream)?;
    let said = |error: io::Error| crate::error::explain(&error, Doing::Read).to_string();
    match case.pace {
        Pace::Whole => {
            stream.set_deadline(Instant::now() + CLIENT_WAIT);
            write_in_pieces(&mut stream, &case.bytes, usize::MAX);
        }
        Pace::Pieces(size) => {
            stream.set_deadline(Instant::now() + CLIENT_WAIT);
            write_in_pieces(&mut stream, &case.bytes, size);
        }
        Pace::Slow => {
            for byte in &case.bytes {
                stream.set_deadline(Instant::now() + CLIENT_WAIT);
                write_in_pieces(&mut stream, &[*byte], 1);
                if stop.wait(&mut [], Some(PAUSE)).map_err(said)?.is_some() {
                    return Err("stopped".to_owned());
                }
            }
        }
    }
    let wait = match case.then {
        Then::Close => {
            stream.end_writing().map_err(said)?;
            CLIENT_WAIT
        }
        Then::Wait => CLIENT_WAIT,
        Then::Hang => SILENCE_WAIT,
        Then::Reset => return stream.reset().map_err(said),
    };
    stream.set_deadline(Instant::now() + wait);
    match stream.read(&mut [0; 64]) {
        Ok(0) => Ok(()),
        Ok(_) => Err("it sends more after the answer, without \"connection\": \"keep-alive\"".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let why = format!("it did not close its connection within {} s", wait.as_secs());
            match case.then {
                Then::Hang => {
                    Err(format!("{why}: it needs its own timeout, or it hangs together with the server"))
                }
                Then::Close | Then::Wait | Then::Reset => Err(why),
            }
        }
        // It read everything it needed, or stopped at the broken part.
        Err(_) => Ok(()),
    }
}

/// Reads one whole message; bytes after it are an error.
fn read_request(stream: &mut DeadlineStream<'_>) -> Result<(), String> {
    let mut decoder = Decoder::default();
    let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    let order = |decoder: &Decoder| {
        decoder.swapped_length().map_or_else(String::new, |length| format!("; its header length is {length}"))
    };
    loop {
        match decoder.poll_frame() {
            Ok(Some(frame)) => {
                let len = 2 + frame.header.json().len() + frame.content.len();
                return match all.get(len..) {
                    Some([]) | None => Ok(()),
                    Some(rest) => {
                        Err(format!("{} bytes after its request: {}", rest.len(), quoted(rest, 60)))
                    }
                };
            }
            Ok(None) if all.len() > REQUEST_BYTES_MAX => return Err("its request is too long".to_owned()),
            Ok(None) => {}
            Err(malformed) => {
                return Err(format!("its request is not a message: {malformed}: {}", quoted(&all, 120)));
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) => {
                let (came, order) = (quoted(&all, 120), order(&decoder));
                return Err(format!("it closed before its request was complete: {came}{order}"));
            }
            Ok(n) => {
                all.extend_from_slice(&buffer[..n]);
                decoder.feed(&buffer[..n]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let what = crate::error::explain(&error, Doing::Read);
                let (came, order) = (quoted(&all, 120), order(&decoder));
                return Err(format!("waiting for its request: {what}; so far: {came}{order}"));
            }
        }
    }
}
