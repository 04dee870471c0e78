//! Sends wrong input to one's own server, and asks after each case as an honest client whether it still answers.
//!
//! ```text
//!   seed, number ─▶ `Case` (message │ lines │ http │ websocket) ─▶ server ─▶ honest request ─▶ next, or what was sent last
//! ```
//!
//! The cases know the protocol, so that they get past its first check: most are right except in one place. The same seed sends
//! the same bytes. The rate is bounded, and a server outside of private networks is refused unless the user says whose it
//! is.

mod random; // numbers of a seed
mod hostile; // values that programs take wrongly
mod message; // wrong messages of docs/PROTOCOL.md
mod lines; // wrong lines
mod http; // wrong requests
mod websocket; // wrong handshakes and frames
mod case; // one case, and how it is sent
mod server; // sends a case, and asks honestly
mod records; // what is shown

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::deadline_stream::NotConnected;
use crate::error::{Outcome, ToolError};
use crate::{Report, Stop, Stopped, Target, Verdict, quoted};
use case::Case;
pub use case::FuzzProtocol;
use records::{Begun, Died, Summary};
use server::{Reaction, Server, Silent};

/// Bytes of the last case that are shown.
const SHOWN_BYTES: usize = 160;

/// Cases before the last one that are named.
const BEFORE_MAX: usize = 3;

/// An honest client that gets no answer asks once more after this time: a full accept queue or a busy machine is no defect.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What to send, and to which server.
#[derive(Clone, Debug)]
pub struct FuzzOptions {
    pub target: Target,
    /// At least one.
    pub protocols: Vec<FuzzProtocol>,
    /// `None`: a random one.
    pub seed: Option<u64>,
    /// Number of the first case, from 1.
    pub first: u64,
    pub cases: u64,
    /// Cases a second.
    pub rate: u32,
    /// How long an honest client waits for an answer.
    pub wait: Duration,
    /// The user says that the server is their own, wherever it is.
    pub is_mine: bool,
    /// The folder for the bytes of the last case.
    pub save: PathBuf,
}

/// Runs the cases. `Bad`: the server stopped answering.
pub fn run(options: &FuzzOptions, report: &Report, stop: &Stop) -> Outcome {
    let seed = match options.seed {
        Some(seed) => seed,
        None => random_seed()?,
    };
    let stopped_early = |report: &Report, sum: Summary, stopped: Stopped| {
        report.record(&Summary { stopped: true, ..sum })?;
        Ok(if stopped == Stopped::TimedOut { Verdict::TimedOut } else { Verdict::Bad })
    };
    let Some(server) = Server::find(&options.target, options.is_mine, options.wait, stop)? else {
        return stopped_early(report, Summary::default(), Stopped::Requested);
    };
    let mut answers = Vec::new();
    for protocol in &options.protocols {
        report.explain(|| format!("an honest {} request before the first case", protocol.name()))?;
        match server.ask(Some(*protocol)) {
            Ok(()) => answers.push(*protocol),
            Err(Silent::Stopped(stopped)) => return stopped_early(report, Summary::default(), stopped),
            Err(Silent::Unanswered(_) | Silent::Unreachable(_)) => {}
        }
    }
    report.record(&Begun {
        server: server.name().to_owned(),
        protocols: options.protocols.iter().map(|protocol| protocol.name()).collect(),
        seed: seed.to_string(),
        first: options.first,
        cases: options.cases,
        rate: options.rate,
        answered: answers.iter().map(|protocol| protocol.name()).collect(),
    })?;
    let (mut sum, mut before, mut last) = (Summary::default(), VecDeque::new(), None);
    let pause = Duration::from_secs(1) / options.rate.max(1);
    let mut next = Instant::now();
    for number in (options.first..=u64::MAX).take(usize::try_from(options.cases).unwrap_or(usize::MAX)) {
        let wait = next.saturating_duration_since(Instant::now());
        let waited = stop.wait(&mut [], Some(wait)).map_err(ToolError::Output)?;
        if let Some(stopped) = waited {
            return stopped_early(report, sum, stopped);
        }
        next = Instant::now().max(next) + pause;
        let case = Case::generate(seed, number, &options.protocols);
        report.explain(|| {
            format!("case {number} ({}): {}, {}", case.protocol.name(), case.what, quoted(&case.bytes, 60))
        })?;
        let sent = server.send(&case);
        if let Ok(reaction) = &sent {
            sum.cases += 1;
            sum.bytes += case.bytes.len() as u64;
            match reaction {
                Reaction::Answered => sum.answered += 1,
                Reaction::Closed => sum.closed += 1,
                Reaction::Reset => sum.reset += 1,
                Reaction::Open => sum.open += 1,
                Reaction::Unread => {}
            }
        }
        if let Some(stopped) = stop.now() {
            return stopped_early(report, sum, stopped);
        }
        let honest = Some(case.protocol).filter(|protocol| answers.contains(protocol));
        let now = match &sent {
            Err(NotConnected::Stopped(stopped)) => Err(Silent::Stopped(*stopped)),
            Err(NotConnected::Failed(_)) | Ok(_) => ask_twice(&server, honest, stop),
        };
        // Without a connection the case was not sent: the last one is that before it.
        let last_sent = if sent.is_ok() { &case } else { last.as_ref().unwrap_or(&case) };
        match now {
            Ok(()) => {}
            Err(Silent::Stopped(stopped)) => return stopped_early(report, sum, stopped),
            Err(silent) => {
                let then = server.in_words(&silent);
                // The newest of those before is the case itself, if this one was not sent.
                let earlier = before.into_iter().skip(usize::from(sent.is_err())).collect();
                report.record(&died(last_sent, then, options, seed, &server, earlier))?;
                report.record(&Summary { survived: Some(false), ..sum })?;
                report.means(
                    "a server must survive every input: refuse it, close the connection, and serve the others. The case is the \
                     last one that was sent; if the server died late, it was one of those before it",
                )?;
                return Ok(Verdict::Bad);
            }
        }
        if sent.is_ok() {
            before.push_front(format!("case {number} ({}): {}", case.protocol.name(), case.what));
            before.truncate(BEFORE_MAX);
            last = Some(case);
        }
    }
    report.record(&Summary { survived: Some(true), ..sum })?;
    Ok(Verdict::Good)
}

fn random_seed() -> Result<u64, ToolError> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)
        .map_err(|error| ToolError::Usage(format!("no random seed ({error}); give one with --seed")))?;
    // Short enough to be typed.
    Ok(u32::from_be_bytes(bytes).into())
}

/// Does the server still answer an honest client?
fn ask_twice(server: &Server<'_>, honest: Option<FuzzProtocol>, stop: &Stop) -> Result<(), Silent> {
    match server.ask(honest) {
        Err(Silent::Unreachable(_) | Silent::Unanswered(_)) => {
            match stop.wait(&mut [], Some(AGAIN_AFTER)).map_err(Silent::Unreachable)? {
                Some(stopped) => Err(Silent::Stopped(stopped)),
                None => server.ask(honest),
            }
        }
        answered => answered,
    }
}

/// `[::1]:7` as `nc` takes it: `::1 7`.
fn two_words(address: &str) -> String {
    match address.rsplit_once(':') {
        Some((host, port)) => format!("{} {port}", host.trim_matches(['[', ']'])),
        None => address.to_owned(),
    }
}

fn died(
    case: &Case,
    then: String,
    options: &FuzzOptions,
    seed: u64,
    server: &Server<'_>,
    before: Vec<String>,
) -> Died {
    let name = format!("vang-fuzz-{seed}-{}.bin", case.number);
    let path = if options.save.as_os_str() == "." { name.into() } else { options.save.join(name) };
    let saved = std::fs::write(&path, &case.bytes);
    let file = path.display().to_string();
    let protocols = match options.protocols.as_slice() {
        [one] => format!(" --protocol {}", one.name()),
        _ => String::new(),
    };
    let mine = if options.is_mine { " --my-server" } else { "" };
    Died {
        case: case.number,
        protocol: case.protocol.name(),
        what: case.what.clone(),
        then,
        bytes: case.bytes.len(),
        sent: quoted(&case.bytes, SHOWN_BYTES),
        replay: saved.is_ok().then(|| match server.is_unix() {
            true => format!("vang net talk {} < {file}", server.name()),
            false => format!("nc -N {} < {file}", two_words(server.name())),
        }),
        file_error: saved.as_ref().err().map(|error| format!("{file}: {error}")),
        file: saved.is_ok().then_some(file),
        again: format!(
            "vang net fuzz {}{protocols} --seed {seed} --first {} --cases 1{mine}",
            options.target, case.number
        ),
        before,
    }
}
