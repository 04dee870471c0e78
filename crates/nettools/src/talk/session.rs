//! One conversation from its connection to its end: sends what is typed, shows what comes, and decides when it is over.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use vang_client::trouble::{At, Doing, Trouble};
use vang_proto::text::{counted, short_duration};

use super::channel::{Came, Channel, ChannelError, ReadOutcome};
use super::console::{Console, TypedEnd};
use super::options::{TalkOptions, Then};
use super::records::{Ended, Sent, Summary};
use super::shown::{Piece, Shown};
use super::typed::TypedReader;
use super::vanished_peer;
use crate::error::{Outcome, ToolError, explain_at};
use crate::trust::{TlsClient, refused};
use crate::{Record, Report, Stop, Stopped, Verdict, quoted};

/// Reads from the socket before the console and the queue have their turn.
const READS_AT_ONCE: usize = 16;

/// Bytes of a read that an explanation shows.
const EXPLAINED_BYTES: usize = 64;

/// Advice after a failed handshake.
const NO_TLS: &str =
    "`vang net doctor HOST:PORT` says whether this is a TLS port, and which certificate it has";

/// How the input stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Open,
    /// Ended; `Then` follows when everything is sent.
    Ended,
    /// `Then` has been done.
    Done,
}

struct Session<'a> {
    options: &'a TalkOptions,
    console: &'a mut dyn Console,
    report: &'a Report,
    channel: Channel,
    typed: TypedReader,
    shown: Shown,
    input: Input,
    began: Instant,
    /// When bytes last came, or the input ended.
    quiet_since: Instant,
    /// When the last byte was sent to which no answer has come.
    asked: Option<Instant>,
    /// TLS is reported after its handshake.
    tls: Option<TlsClient>,
    summary: Summary,
    /// The peer takes nothing more; what it sent before is still read.
    broken: Option<io::Error>,
}

/// Runs the client.
pub(super) fn run(options: &TalkOptions, console: &mut dyn Console, report: &Report, stop: &Stop) -> Outcome {
    let began = Instant::now();
    let summary = Summary {
        ended: Ended::Stopped,
        why: None,
        sent: 0,
        unsent: 0,
        received: 0,
        first_answer_us: None,
        took_us: 0,
    };
    let channel = match Channel::connect(options, report, stop) {
        Ok(Some(channel)) => channel,
        Ok(None) => {
            note(&summary, options, console, report)?;
            return Ok(Verdict::Bad);
        }
        Err(error) => {
            // A person reads the error only; the last object is always a summary.
            if report.is_json() {
                report.record(&Summary { ended: Ended::Failed, ..summary })?;
            }
            return Err(error);
        }
    };
    note(&channel.connected(options), options, console, report)?;
    let by_line = options.udp || options.to.web.is_some();
    let line_end: &'static [u8] = match (&options.to.web, options.crlf) {
        // A message has an end of its own.
        (Some(_), _) => b"",
        (None, true) => b"\r\n",
        (None, false) => b"\n",
    };
    let mut session = Session {
        options,
        console,
        report,
        channel,
        typed: TypedReader::new(options.form, by_line, line_end),
        shown: Shown::new(options.form),
        input: Input::Open,
        began,
        quiet_since: began,
        asked: None,
        tls: options.trust().map(|trust| TlsClient::of(&trust, &options.to.target)).transpose()?,
        summary,
        broken: None,
    };
    let outcome = session.run(stop);
    session.finish(outcome)
}

/// Reports a record about the connection: as an object, or aside.
fn note<R: Record>(
    record: &R,
    options: &TalkOptions,
    console: &mut dyn Console,
    report: &Report,
) -> io::Result<()> {
    match (report.is_json(), options.quiet) {
        (true, _) => report.record(record),
        (false, true) => Ok(()),
        (false, false) => console.note(&record.to_string()),
    }
}

/// The result of reading from the peer.
enum FromPeer {
    Ended(Ended),
    More,
    Empty,
}

impl Session<'_> {
    fn run(&mut self, stop: &Stop) -> Result<Ended, ToolError> {
        let mut has_more = true;
        let mut is_started = false;
        loop {
            self.send()?;
            self.report_tls()?;
            if self.input == Input::Ended && self.channel.is_all_sent() {
                self.input = Input::Done;
                if self.do_then()? {
                    return Ok(Ended::WeClosed);
                }
            }
            if !is_started && self.channel.is_open() {
                is_started = true;
                self.console.start()?;
            }
            let is_wanted = self.input == Input::Open && self.broken.is_none() && self.channel.takes_more();
            // A person can end the program at any time.
            let takes = is_started && (is_wanted || self.console.is_person());
            let idle = self.options.idle().filter(|_| self.input == Input::Done);
            let wait = match has_more {
                true => Some(Duration::ZERO),
                false => idle.map(|idle| idle.saturating_sub(self.quiet_since.elapsed())),
            };
            let mut fds = vec![PollFd::new(&self.channel, self.wanted())];
            if takes {
                fds.push(PollFd::from_borrowed_fd(self.console.input(), PollFlags::IN));
            }
            match stop.wait(&mut fds, wait)? {
                Some(Stopped::Requested) => return Ok(Ended::Stopped),
                Some(Stopped::TimedOut) => return Ok(Ended::TimedOut),
                None => {}
            }
            let is_ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
            let (from_peer, from_console) = (is_ready(0), is_ready(1));
            if from_peer || has_more {
                match self.receive()? {
                    FromPeer::Ended(Ended::PeerClosed) => return self.send_rest(stop),
                    FromPeer::Ended(ended) => return Ok(ended),
                    FromPeer::More => has_more = true,
                    FromPeer::Empty => has_more = false,
                }
            }
            if from_console && self.read_console()? {
                return Ok(Ended::WeClosed);
            }
            if !has_more && idle.is_some_and(|idle| self.quiet_since.elapsed() >= idle) {
                return Ok(Ended::Idle);
            }
        }
    }

    /// The peer has closed its sending half and can still read: sends the input that is there. A person sees that it has
    /// closed, and after the close frame of a WebSocket nothing follows.
    fn send_rest(&mut self, stop: &Stop) -> Result<Ended, ToolError> {
        while !self.console.is_person() && self.options.to.web.is_none() {
            self.send()?;
            if let Some(error) = self.broken.take() {
                return Err(self.failure(&error, Doing::Write));
            }
            let is_all_sent = self.channel.is_all_sent();
            let takes = self.input == Input::Open && self.channel.takes_more();
            let wanted = if is_all_sent { PollFlags::empty() } else { PollFlags::OUT };
            let mut fds = vec![PollFd::new(&self.channel, wanted)];
            if takes {
                fds.push(PollFd::from_borrowed_fd(self.console.input(), PollFlags::IN));
            }
            // Input that is not there yet is not waited for.
            match stop.wait(&mut fds, is_all_sent.then_some(Duration::ZERO))? {
                Some(Stopped::Requested) => return Ok(Ended::Stopped),
                Some(Stopped::TimedOut) => return Ok(Ended::TimedOut),
                None => {}
            }
            let is_typed = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
            if is_typed {
                self.read_console()?;
            } else if is_all_sent {
                break;
            }
        }
        Ok(Ended::PeerClosed)
    }

    fn wanted(&self) -> PollFlags {
        if self.broken.is_some() { PollFlags::IN } else { self.channel.wanted() }
    }

    fn send(&mut self) -> Result<(), ToolError> {
        if self.broken.is_some() {
            return Ok(());
        }
        let now = Instant::now();
        let sent = match self.channel.send() {
            Ok(sent) => sent,
            Err(error) if is_gone(&error) && !self.options.udp => {
                // What the peer sent before can still be read.
                self.explain(|| format!("write: {}", vang_client::trouble::plain(&error)))?;
                self.broken = Some(error);
                return Ok(());
            }
            Err(error) => return Err(self.failure(&error, Doing::Write)),
        };
        if sent == 0 {
            return Ok(());
        }
        self.summary.sent += sent;
        let left = self.channel.unsent();
        if left == 0 {
            self.asked = Some(now);
        }
        if self.report.is_json() {
            self.report.record(&Sent { bytes: sent })?;
        }
        self.explain(|| match left {
            0 => format!("write: {} taken by the kernel", counted(sent, "byte", "bytes")),
            left => format!("write: {sent} of {} bytes taken: the send queue is full", sent + left),
        })
    }

    fn report_tls(&mut self) -> Result<(), ToolError> {
        let Some((tls, shown)) = self.tls.as_ref().zip(self.channel.tls()) else { return Ok(()) };
        let established = tls.established(shown);
        self.tls = None;
        note(&established, self.options, self.console, self.report)?;
        match (established.warning(), self.report.is_json()) {
            (None, _) => Ok(()),
            (Some(warning), true) => Ok(self.report.means(&warning)?),
            (Some(warning), false) => Ok(self.console.note(&format!("what this means: {warning}"))?),
        }
    }

    /// After the end of the input. `true`: the conversation is over.
    fn do_then(&mut self) -> Result<bool, ToolError> {
        self.quiet_since = Instant::now();
        let then = self.options.then();
        if then != Then::Close && self.console.is_person() && !self.options.quiet {
            let how = if then == Then::HalfClose { "our sending half is closed" } else { "no more is sent" };
            self.console.note(&format!("end of the input: {how}; Ctrl-C ends"))?;
        }
        match then {
            Then::Close => return Ok(true),
            Then::Wait => {}
            Then::HalfClose => {
                self.explain(|| "shutdown: half-close: we can still receive".to_owned())?;
                // If the peer is gone, reading says how.
                let _ = self.channel.half_close();
            }
        }
        Ok(false)
    }

    fn receive(&mut self) -> Result<FromPeer, ToolError> {
        for _ in 0..READS_AT_ONCE {
            let mut closed = None;
            let mut shown = Ok(());
            let (explains, mut explained) = (self.report.explains(), Vec::new());
            let outcome = {
                let Session { channel, shown: form, console, report, asked, summary, options, .. } = self;
                let (began, now) = (self.began, Instant::now());
                channel.read(&mut |came| match came {
                    Came::Open => {
                        if explains {
                            explained.push("the server has opened the WebSocket (101)".to_owned());
                        }
                    }
                    Came::Closed(why) => closed = Some(why),
                    Came::Bytes { bytes, ends } => {
                        let after = asked.take().map(|asked| now.saturating_duration_since(asked));
                        summary.received += bytes.len() as u64;
                        if let Some(after) = after {
                            summary.first_answer_us.get_or_insert(after.as_micros() as u64);
                        }
                        if explains {
                            explained.push(format!("read: {}", quoted(bytes, EXPLAINED_BYTES)));
                        }
                        if shown.is_ok() {
                            let at = now.saturating_duration_since(began);
                            shown = form.piece(Piece { bytes, ends, after, at }, *console, report);
                        }
                        if let Some(after) = after.filter(|_| shown.is_ok() && options.times) {
                            shown = console.note(&format!("answer after {}", short_duration(after)));
                        }
                    }
                })
            };
            shown?;
            for text in explained {
                self.explain(|| text)?;
            }
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(ChannelError::NoWebSocket(why)) => return Err(self.no_web_socket(&why)),
                Err(ChannelError::Io(error)) if is_cut(&error) && !self.channel.is_handshaking() => {
                    return Ok(FromPeer::Ended(Ended::PeerCut));
                }
                Err(ChannelError::Io(error)) => return Err(self.failure(&error, Doing::Read)),
            };
            if let Some(why) = closed {
                // Our answer to its close frame.
                let _ = self.channel.send();
                self.summary.why = why;
                return Ok(FromPeer::Ended(Ended::PeerClosed));
            }
            match outcome {
                ReadOutcome::More => self.quiet_since = Instant::now(),
                ReadOutcome::Empty => return Ok(FromPeer::Empty),
                ReadOutcome::End => {
                    self.explain(|| "read 0 bytes: the peer has closed its sending half".to_owned())?;
                    return match self.broken.take() {
                        Some(error) => Err(self.failure(&error, Doing::Write)),
                        None => Ok(FromPeer::Ended(Ended::PeerClosed)),
                    };
                }
            }
        }
        Ok(FromPeer::More)
    }

    /// Queues what was typed. `true`: the person ends the program.
    fn read_console(&mut self) -> Result<bool, ToolError> {
        let typed = self
            .console
            .read()
            .map_err(|error| ToolError::of("cannot read the input", &error, Doing::Read))?;
        let mut outcome = Ok(());
        let channel = &mut self.channel;
        let mut mistakes = Vec::new();
        let mut sink = |message: Result<Vec<u8>, String>| match message {
            Ok(message) if outcome.is_ok() => outcome = channel.queue(message),
            Ok(_) => {}
            Err(mistake) => mistakes.push(mistake),
        };
        if self.input == Input::Open {
            self.typed.feed(&typed.bytes, &mut sink);
            if typed.then == Some(TypedEnd::Input) {
                self.typed.end(&mut sink);
                self.input = Input::Ended;
            }
        }
        outcome.map_err(|error| self.failure(&error, Doing::Write))?;
        for mistake in mistakes {
            // A person types the line again; a script must not go on without it.
            if !self.console.is_person() {
                return Err(ToolError::Usage(mistake));
            }
            self.console.note(&format!("not sent: {mistake}"))?;
        }
        Ok(typed.then == Some(TypedEnd::Program))
    }

    fn explain(&mut self, text: impl FnOnce() -> String) -> Result<(), ToolError> {
        match (self.report.explains(), self.report.is_json()) {
            (false, _) => Ok(()),
            (true, true) => Ok(self.report.explain(text)?),
            (true, false) => Ok(self.console.note(&format!("  · {}", text()))?),
        }
    }

    /// Explains an error of the connection.
    fn failure(&self, error: &io::Error, doing: Doing) -> ToolError {
        let what = format!("cannot go on with {}", self.channel.destination.name);
        let at = At::of(&self.channel.destination.address);
        let trouble = match refused(error) {
            Some(why) if self.channel.is_handshaking() => named(format!("TLS: {why}"), NO_TLS),
            Some(why) => named(format!("TLS: {why}"), ""),
            None if is_cut(error) => named("closed in the TLS handshake".to_owned(), NO_TLS),
            None => vanished_peer::explain(error, &self.options.vanished, doing)
                .unwrap_or_else(|| explain_at(error, doing, at)),
        };
        ToolError::System { doing: what, trouble }
    }

    fn no_web_socket(&self, why: &str) -> ToolError {
        let doing = format!("no WebSocket at {}", self.options.to);
        ToolError::System { doing, trouble: named(why.to_owned(), "") }
    }

    /// Shows what is held, and the summary.
    fn finish(mut self, outcome: Result<Ended, ToolError>) -> Outcome {
        let shown = self.shown.end(self.console, self.report);
        self.summary.unsent = self.channel.unsent();
        if matches!(outcome, Ok(Ended::WeClosed | Ended::Idle | Ended::Stopped | Ended::TimedOut)) {
            self.channel.close();
        }
        self.summary.ended = outcome.as_ref().copied().unwrap_or(Ended::Failed);
        self.summary.took_us = self.began.elapsed().as_micros() as u64;
        // An error of the output comes first: it ends a tool silently if the reader has gone.
        if let Err(ToolError::Output(error)) = outcome {
            return Err(error.into());
        }
        shown?;
        note(&self.summary, self.options, self.console, self.report)?;
        Ok(match outcome? {
            Ended::TimedOut => Verdict::TimedOut,
            // Input could have followed.
            Ended::Stopped if self.input != Input::Done && !self.console.is_person() => Verdict::Bad,
            _ if self.summary.unsent > 0 => Verdict::Bad,
            _ => Verdict::Good,
        })
    }
}

/// The peer takes nothing more.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// TLS was cut off by the end of the stream.
fn is_cut(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

fn named(name: String, advice: &'static str) -> Trouble {
    Trouble { name: name.into(), likely: "", advice, retryable: false }
}
