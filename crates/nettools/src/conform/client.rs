//! Judging a client: it connects once for each case, sends what it sends, and is answered well in an unusual way, badly, or
//! not at all. What can be seen from here: whether its request is one message, whether it reads an answer to its end, and
//! whether it ends its connection in good time. What it makes of an answer only its own output and exit code show: with
//! each case it is said what they should be.

use std::fmt;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use serde::Serialize;
use vang_client::trouble::Doing;
use vang_proto::Decoder;

use super::wire::write_in_pieces;
use super::{Choice, no_such_case, verdict};
use crate::connect::Patient;
use crate::failure::{Failure, Outcome};
use crate::quote::quoted;
use crate::{Record, Report, Stop, Target, counted};

/// How long a client may take for its request, and to go away after the answer.
const CLIENT_WAIT: Duration = Duration::from_secs(10);

/// How long a client may wait for what does not come. A server that hangs must not hang its clients.
const SILENCE_WAIT: Duration = Duration::from_secs(60);

/// Behind each byte of a slow answer.
const PAUSE: Duration = Duration::from_millis(10);

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
        let times = counted(self.cases as u64, "time", "times");
        write!(f, "listening on {}: run your client {times}, once for each case", self.address)
    }
}

#[derive(Serialize)]
struct Tried<'a> {
    case: &'static str,
    what: &'static str,
    passed: bool,
    why: Option<String>,
    /// What the client should have printed; `None`: it should have said what is wrong, and failed.
    prints: Option<&'a str>,
}

impl Record for Tried<'_> {
    const EVENT: &'static str = "case";
}

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed { "ok    " } else { "FAILED" };
        write!(f, "{verdict} {}: {}", self.case, self.what)?;
        match (&self.why, self.prints) {
            (Some(why), _) => write!(f, "\n{why}"),
            (None, Some(text)) if text.len() > 40 => f.write_str(" (it should have printed all of that)"),
            (None, Some(text)) => write!(f, " (it should have printed {})", quoted(text.as_bytes(), 80)),
            (None, None) => f.write_str(" (it should have said what is wrong, and failed)"),
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

/// An answer, and how it goes out.
struct Case {
    name: &'static str,
    what: &'static str,
    bytes: Vec<u8>,
    pace: Pace,
    then: Then,
    /// See `Tried`.
    prints: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Whole,
    /// Pieces of so many bytes.
    Pieces(usize),
    /// A byte, then a pause.
    Slow,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The sending half is shut, and the client's end awaited.
    Close,
    /// The client closes first, since it has what it needs to know.
    Wait,
    /// Nothing more comes, and the client may think that it will.
    Hang,
    Reset,
}

fn cases() -> Vec<Case> {
    use Pace::{Pieces, Slow, Whole};
    use Then::{Close, Hang, Reset, Wait};
    let result = |text: &str| format!("{{\"result\": \"{text}\"}}");
    let usual = |text: &str| message("little", "utf-8", result(text).as_bytes(), "");
    let lying = |length: &str| with_length(length, result("never told").as_bytes());
    let units = |text: &str| result(text).encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let latin: Vec<u8> = result("café").chars().filter_map(|c| u8::try_from(c).ok()).collect();
    let strange = r#", "x": {"y": [1, null]}, "connection": "close""#;
    let told = |name, what, bytes, pace, then, text: &str| {
        let prints = Some(text.to_owned());
        Case { name, what, bytes, pace, then, prints }
    };
    let bad = |name, what, bytes, pace, then| Case { name, what, bytes, pace, then, prints: None };
    let long = "🐶".repeat(30_000);
    vec![
        told("usual", "an answer in one piece, then the end", usual("usual 🐶"), Whole, Close, "usual 🐶"),
        told("bytes", "the same byte by byte", usual("bytes 🐶"), Pieces(1), Close, "bytes 🐶"),
        told("slow", "the same with a pause behind each byte", usual("slow 🐶"), Slow, Close, "slow 🐶"),
        told(
            "patient",
            "the server waits until the client closes",
            usual("patient 🐶"),
            Whole,
            Wait,
            "patient 🐶",
        ),
        told(
            "other-header",
            "keys in another order, spaces, keys that nobody knows, the other byte order",
            message("big", "UTF-8", result("other header 🐶").as_bytes(), strange),
            Pieces(7),
            Close,
            "other header 🐶",
        ),
        told("long", "content of 120 KB", usual(&long), Whole, Close, &long),
        told(
            "utf-16",
            "content in UTF-16 of the byte order named",
            message("big", "utf-16", &units("utf-16 🐶"), ""),
            Pieces(3),
            Close,
            "utf-16 🐶",
        ),
        told("latin-1", "content in Latin-1", message("little", "latin-1", &latin, ""), Whole, Close, "café"),
        bad(
            "unknown-encoding",
            "content in an encoding that nobody knows",
            message("little", "klingon-1", result("never told").as_bytes(), ""),
            Whole,
            Close,
        ),
        bad(
            "not-utf-8",
            "content that is not in the encoding named",
            message("little", "utf-8", &latin, ""),
            Whole,
            Close,
        ),
        bad("not-json", "a header that is no JSON", [&[0, 9][..], b"{\"a\": 1,}"].concat(), Whole, Wait),
        bad("no-length", "a header without content-length", no_length(), Whole, Wait),
        bad("negative-length", "a content-length of -1", lying("-1"), Whole, Wait),
        bad("text-length", "a content-length that is text", lying("\"many\""), Whole, Wait),
        bad("short-length", "a content-length that cuts the content", lying("9"), Whole, Close),
        bad("huge-length", "a content-length of 1 TiB", lying("1099511627776"), Whole, Hang),
        bad("cut-header", "the end in the middle of the header", usual("cut")[..20].to_vec(), Whole, Close),
        bad("cut-content", "the end in the middle of the content", cut_content(), Whole, Close),
        bad("nothing", "the end without an answer", Vec::new(), Whole, Close),
        bad("reset", "a reset in the middle of the answer", usual("reset")[..40].to_vec(), Whole, Reset),
        bad("silence", "no answer, and no end", Vec::new(), Whole, Hang),
        bad("silence-inside", "no end in the middle of the content", cut_content(), Whole, Hang),
    ]
}

fn message(byteorder: &str, encoding: &str, content: &[u8], more: &str) -> Vec<u8> {
    let more = format!("\"content-encoding\": \"{encoding}\"{more}");
    written(&content.len().to_string(), byteorder, &more, content)
}

/// A header that may lie about its content's length.
fn with_length(length: &str, content: &[u8]) -> Vec<u8> {
    written(length, "little", "\"content-encoding\": \"utf-8\"", content)
}

fn written(length: &str, byteorder: &str, more: &str, content: &[u8]) -> Vec<u8> {
    // Not in the guide's order, and with spaces where JSON allows them.
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
    let mut whole = message("little", "utf-8", b"{\"result\": \"never told whole\"}", "");
    whole.truncate(whole.len() - 8);
    whole
}

/// Listens here, plays one case to each connection, and ends after the last. `Bad`: a client failed a case.
pub fn run(listen: &Target, choice: &Choice, report: &Report, stop: &Stop) -> Outcome {
    let Target::Net { host, port } = listen else {
        return Err(Failure::Usage("clients are judged by TCP: --listen ADDR:PORT".to_owned()));
    };
    let cannot = |error: &io::Error| Failure::of(format!("cannot listen at {listen}"), error, Doing::Bind);
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    let cases: Vec<Case> = cases().into_iter().filter(|case| choice.takes(case.name)).collect();
    if cases.is_empty() {
        return Err(no_such_case());
    }
    let listener = TcpListener::bind((host, port.unwrap_or(0))).map_err(|error| cannot(&error))?;
    // Who was ready to be accepted may be gone by then.
    listener.set_nonblocking(true).map_err(|error| cannot(&error))?;
    let address = listener.local_addr().map_err(|error| cannot(&error))?.to_string();
    report.tell(&Listening { address, cases: cases.len() })?;
    let mut sum = Summary { passed: 0, failed: 0, not_run: cases.len() };
    for case in &cases {
        let Some(stream) = accept(&listener, stop).map_err(|error| cannot(&error))? else { break };
        report.explain(|| format!("accepted a client; it is played the case {}", case.name))?;
        let why = match Patient::over(stream.into(), stop) {
            Ok(stream) => play(case, stream, stop).err(),
            Err(error) => Some(error.to_string()),
        };
        let passed = why.is_none();
        // What the end of this tool cut off is no fault of the client's.
        if !passed && stop.now().is_some() {
            break;
        }
        let Case { name: case, what, prints, .. } = case;
        let prints = prints.as_deref();
        report.tell(&Tried { case, what, passed, why, prints })?;
        sum.not_run -= 1;
        sum.passed += usize::from(passed);
        sum.failed += usize::from(!passed);
    }
    report.tell(&sum)?;
    Ok(verdict(sum.not_run == 0, sum.failed as u64, stop))
}

/// The next client; `None`: the tool ends.
fn accept(listener: &TcpListener, stop: &Stop) -> io::Result<Option<TcpStream>> {
    loop {
        if stop.wait(&mut [PollFd::new(listener, PollFlags::IN)], None)?.is_some() {
            return Ok(None);
        }
        match listener.accept() {
            Ok((stream, _)) => {
                // Each piece of an answer goes out by itself.
                stream.set_nodelay(true)?;
                return Ok(Some(stream));
            }
            Err(error)
                if [io::ErrorKind::WouldBlock, io::ErrorKind::ConnectionAborted].contains(&error.kind()) => {}
            Err(error) => return Err(error),
        }
    }
}

fn play(case: &Case, mut stream: Patient<'_>, stop: &Stop) -> Result<(), String> {
    stream.ends_at(Instant::now() + CLIENT_WAIT);
    read_request(&mut stream)?;
    let said = |error: io::Error| crate::failure::explain(&error, Doing::Read).to_string();
    match case.pace {
        Pace::Whole => {
            stream.ends_at(Instant::now() + CLIENT_WAIT);
            write_in_pieces(&mut stream, &case.bytes, usize::MAX);
        }
        Pace::Pieces(size) => {
            stream.ends_at(Instant::now() + CLIENT_WAIT);
            write_in_pieces(&mut stream, &case.bytes, size);
        }
        Pace::Slow => {
            for byte in &case.bytes {
                stream.ends_at(Instant::now() + CLIENT_WAIT);
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
    stream.ends_at(Instant::now() + wait);
    match stream.read(&mut [0; 64]) {
        Ok(0) => Ok(()),
        Ok(_) => Err("it sends more after the answer, without \"connection\": \"keep-alive\"".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let why = format!("it has not closed its connection after {} s", wait.as_secs());
            match case.then {
                Then::Hang => {
                    Err(format!("{why}: it needs a time-out of its own, or a server that hangs hangs it too"))
                }
                Then::Close | Then::Wait | Then::Reset => Err(why),
            }
        }
        // It had read what it wanted, or did not want to read more of what was broken.
        Err(_) => Ok(()),
    }
}

/// One whole message and nothing behind it.
fn read_request(stream: &mut Patient<'_>) -> Result<(), String> {
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
        match stream.read(&mut buffer) {
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
