//! The echo client: sends, and proves that what comes back is what was sent. With a rate it keeps to a timetable that
//! waits for nobody; without, each connection sends its next message when the last one is back.

use std::fmt;
use std::io::Read;
use std::time::{Duration, Instant};

use super::certificate::Trust;
use super::content::Content;
use super::measure::Tally;
pub use super::measure::{Percentiles, Standing, Summary};
use super::numbered;
use super::streams::Streams;
use crate::failure::{Failure, Outcome};
use crate::place;
use crate::{Record, Report, Stop, Stopped, Target, Verdict, duration, quoted, size};
use serde::Serialize;

/// A run with a rate and nothing that ends it.
const USUAL_DURATION: Duration = Duration::from_secs(10);

/// Bytes that are shown of one that came back.
const SHOWN_MAX: usize = 64;

/// Messages from which on a picture shows something.
const PICTURE_MIN: u64 = 100;

/// What to send, and where.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The server.
    pub to: Target,
    /// Datagrams.
    pub udp: bool,
    /// By TLS, believing this.
    pub tls: Option<Trust>,
    /// Each in turn, on each connection.
    pub messages: Vec<Vec<u8>>,
    /// One of so many bytes instead.
    pub bytes: Option<u64>,
    /// All of them so many times.
    pub count: Option<u64>,
    /// At once.
    pub connections: u32,
    /// Messages a second, on all connections together.
    pub rate: Option<f64>,
    /// Over and over, for so long.
    pub duration: Option<Duration>,
}

/// Where a client's messages come from, when they are typed or piped.
pub type Input = Box<dyn Read + Send>;

/// What is sent on each connection, and when.
pub(super) struct Plan {
    pub(super) contents: Vec<Content>,
    /// Messages on each connection; `None`: until the time is over.
    pub(super) total: Option<u64>,
    pub(super) connections: usize,
    pub(super) rate: Option<f64>,
    pub(super) duration: Option<Duration>,
    /// Is each message told when it is back?
    pub(super) tells: bool,
}

impl Plan {
    pub(super) fn of(asked: &Asked) -> Plan {
        let contents = match asked.bytes {
            Some(len) => vec![Content::pattern(len)],
            None => asked.messages.iter().map(|message| Content::text(message)).collect::<Vec<_>>(),
        };
        let duration = match (asked.duration, asked.rate, asked.count) {
            (None, Some(_), None) => Some(USUAL_DURATION),
            (duration, ..) => duration,
        };
        let total = match (asked.count, duration) {
            (None, Some(_)) => None,
            (count, _) => Some(count.unwrap_or(1).saturating_mul(contents.len() as u64)),
        };
        let tells = duration.is_none() && asked.rate.is_none() && asked.count.is_none();
        let connections = asked.connections as usize;
        Plan { contents, total, connections, rate: asked.rate, duration, tells }
    }
}

/// A message came back as it was sent.
#[derive(Debug, Serialize)]
pub(super) struct Back {
    pub(super) connection: usize,
    pub(super) message: u64,
    pub(super) bytes: u64,
    pub(super) text: String,
    pub(super) took_us: u64,
    /// Is there only one connection? Then it is not told apart.
    #[serde(skip)]
    pub(super) alone: bool,
}

impl Back {
    pub(super) fn text_of(content: &Content) -> String {
        let shown = content.from(0);
        let text = quoted(&shown[..shown.len().min(SHOWN_MAX)], SHOWN_MAX);
        if content.len > SHOWN_MAX as u64 { format!("{text}…") } else { text }
    }
}

impl Record for Back {
    const EVENT: &'static str = "back";
}

impl fmt::Display for Back {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.alone {
            write!(f, "connection {}: ", self.connection)?;
        }
        let took = duration(Duration::from_micros(self.took_us));
        write!(f, "{} came back: {} in {took}", self.text, size(self.bytes))
    }
}

/// What came back is not what was sent.
#[derive(Debug, Serialize)]
pub(super) struct Wrong {
    pub(super) connection: usize,
    pub(super) message: u64,
    /// Counted from the message's beginning.
    pub(super) byte: u64,
    pub(super) sent: String,
    pub(super) came: String,
}

impl Record for Wrong {
    const EVENT: &'static str = "wrong";
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}, message {}: at byte {} came", self.connection, self.message, self.byte)?;
        match self.sent.as_str() {
            "\"\"" => write!(f, " {} where nothing more was sent", self.came),
            sent => write!(f, " {} where {sent} was sent", self.came),
        }
    }
}

/// A connection that could not be made, or ended too early.
#[derive(Debug, Serialize)]
pub(super) struct Broken {
    pub(super) connection: usize,
    pub(super) why: String,
    pub(super) advice: String,
}

impl Record for Broken {
    const EVENT: &'static str = "broken";
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}: {}", self.connection, self.why)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "\n{}", self.advice) }
    }
}

/// Who answered inside TLS.
#[derive(Debug, Serialize)]
pub(super) struct Secured {
    pub(super) version: &'static str,
    pub(super) key: String,
    pub(super) verified: bool,
}

impl Record for Secured {
    const EVENT: &'static str = "tls";
}

impl fmt::Display for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; the server's key is {}", self.version, self.key)?;
        f.write_str(if self.verified { ", as it should be" } else { ", not verified" })
    }
}

/// What does not go together.
fn check(asked: &Asked, has_input: bool) -> Result<(), Failure> {
    let wrong = |text: &str| Err(Failure::Usage(text.to_owned()));
    match () {
        () if asked.connections == 0 => wrong("no connection, no echo: --connections is at least 1"),
        () if asked.udp && asked.connections > 1 => wrong("UDP has no connections; leave --connections out"),
        () if asked.udp && asked.tls.is_some() => {
            wrong("TLS needs a stream; over UDP there is DTLS, which is not spoken here")
        }
        () if asked.udp && matches!(asked.to, Target::Unix(_)) => {
            wrong("a Unix socket here carries a stream; --udp is for the network")
        }
        () if asked.udp && has_input => wrong("stdin is a stream, and UDP sends datagrams; use --message"),
        () if has_input && asked.connections > 1 => wrong("stdin is read once: it goes to one connection"),
        () if asked.rate.is_some_and(|rate| !(0.001..=10_000_000.0).contains(&rate)) => {
            wrong("a rate is a number of messages a second, from 0.001 to 10000000")
        }
        () if asked.bytes == Some(0) || asked.messages.iter().any(Vec::is_empty) && !asked.udp => {
            wrong("nothing comes back of nothing: a message on a stream has at least one byte")
        }
        () => Ok(()),
    }
}

/// Sends, and tells. `watch` is called now and then with how it stands.
pub fn run(
    asked: &Asked,
    input: Option<Input>,
    report: &Report,
    stop: &Stop,
    watch: &mut dyn FnMut(&Standing),
) -> Outcome {
    check(asked, input.is_some())?;
    let plan = Plan::of(asked);
    if asked.udp {
        return numbered::run(asked, &plan, report, stop, watch);
    }
    let (summary, stopped, tally) = streams(asked, &plan, input, report, stop, watch)?;
    report.tell(&summary)?;
    if tally.messages >= PICTURE_MIN {
        tally.draw(report)?;
    }
    if summary.wrong > 0 {
        report.means("that is no echo server, or something between changes, loses or adds bytes")?;
    } else if summary.unserved > 0 && summary.messages > 0 {
        report.means(&format!(
            "{} of {} connections stood, and nobody read from them: the kernel accepted them for a server that serves \
             fewer at once, one after the other or too slowly",
            summary.unserved, summary.connections
        ))?;
    } else if summary.unsent > 0 {
        report.means(
            "the server is slower than the timetable: what was due waited behind messages that were not back yet, to the \
             end. Those have no wait in the percentiles. A lower --rate or more --connections shows where it keeps up",
        )?;
    } else if summary.unanswered > 0 && stopped.is_none() {
        report.means(
            "the connection stands and nothing comes back: the server does not read, or does not answer",
        )?;
    }
    Ok(match stopped {
        Some(Stopped::TimedOut) => Verdict::TimedOut,
        _ if summary.wrong + summary.broken > 0 => Verdict::Bad,
        // Ctrl-C is how a long run ends; one that had brought nothing back yet has shown nothing.
        Some(Stopped::Asked) if summary.messages == 0 => Verdict::Bad,
        None if summary.unanswered + summary.unserved + summary.unsent > 0 => Verdict::Bad,
        _ => Verdict::Good,
    })
}

/// Connects to the first address that takes it, then runs the plan.
pub(super) fn streams(
    asked: &Asked,
    plan: &Plan,
    input: Option<Input>,
    report: &Report,
    stop: &Stop,
    watch: &mut dyn FnMut(&Standing),
) -> Result<(Summary, Option<Stopped>, Tally), Failure> {
    place::may_open_many();
    match place::connect(&asked.to, report, stop, |_| Ok(()))? {
        Some((address, socket)) => {
            Streams::new(asked, plan, address, report, stop)?.run(socket, input, watch)
        }
        None => Ok((Summary::default(), Some(Stopped::Asked), Tally::new(Instant::now()))),
    }
}
