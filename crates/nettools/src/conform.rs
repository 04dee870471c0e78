//! Tests whether a server or client follows the protocol. It runs the vectors of `docs/PROTOCOL.md`, each on its own
//! connection, whole and byte by byte, and reports like a test suite.
//!
//! ```text
//!   suite      from               what it tests
//!   guide      guide.txt          one request, one response, close: any tutorial server
//!   values     guide.txt          values that are not strings are printed as in Python
//!   encodings  guide.txt          content in other encodings than UTF-8, by their Python names
//!   frames     frames.txt         an invalid message ends its own connection, and nothing else
//!   session    session.txt        answers of a vang server (not of a tutorial server)
//!   post       `post`             sending, ids, following, resuming, in the room of `--post`
//! ```
//!
//! Only the last suite posts messages, and only if a room is given. Details that an implementation can choose (the order of
//! keys, the text of a JSON error) are not compared. With a listener it tests a client: see `client`.

pub mod client; // tests a client: its request, and its reaction to answers
mod post; // tests posting and following in a room
mod options; // what to test, and with which cases
mod verdict; // the verdict of a run
mod case; // a case of the vectors
mod compare; // compares an answer with the expected one
mod vectors; // the vector files as cases
mod exchange; // one request and its answer on one connection

use std::fmt;
use std::io;
use std::time::Duration;

use serde::Serialize;
use vang_client::trouble::Doing;

use self::case::{Strictness, VectorCase};
use self::compare::Match;
use self::exchange::{ConnectionEnd, ServerAddress, WaitLimits};
use self::options::no_such_case;
pub use self::options::{Choice, ConformOptions, Profile};
use self::verdict::verdict;
use crate::error::{Outcome, ToolError};
use crate::{Record, Report, Stop, Target};
use vang_proto::text::{counted, short_duration};

/// Time limit of an answer, and of the end of a connection.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// The result of a case; shown as text only if it failed.
#[derive(Clone, Debug, Serialize)]
struct CaseResult<'a> {
    suite: &'static str,
    case: &'a str,
    how: &'static str,
    passed: bool,
    why: Option<String>,
}

impl Record for CaseResult<'_> {
    const EVENT: &'static str = "case";
}

impl fmt::Display for CaseResult<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed { "ok    " } else { "FAILED" };
        write!(f, "{verdict} {}/{} ({})", self.suite, self.case, self.how)?;
        self.why.as_ref().map_or(Ok(()), |why| write!(f, "\n{why}"))
    }
}

/// The summary of a suite.
#[derive(Clone, Debug, Default, Serialize)]
struct Suite {
    suite: &'static str,
    passed: u64,
    failed: u64,
    /// Passed cases whose answer has other bytes with the same meaning.
    in_other_words: u64,
}

impl Record for Suite {
    const EVENT: &'static str = "suite";
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Suite { suite, passed, failed, in_other_words } = self;
        write!(f, "{suite:9} {passed} passed, {failed} failed")?;
        if *in_other_words > 0 {
            write!(f, "; {in_other_words} with other bytes of the same meaning")?;
        }
        Ok(())
    }
}

/// Nobody accepts connections any more: the rest cannot be tested.
#[derive(Clone, Debug, Serialize)]
struct ServerGone {
    why: String,
    /// The names of the cases that were not run, whole and byte by byte, in their order.
    not_run: Vec<String>,
}

impl Record for ServerGone {
    const EVENT: &'static str = "server-gone";
}

impl fmt::Display for ServerGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server is gone: {}", self.why)?;
        let suite_of = |name: &String| name.split('/').next().unwrap_or_default().to_owned();
        for cases in self.not_run.chunk_by(|one, next| suite_of(one) == suite_of(next)) {
            let count = counted(cases.len() as u64, "case", "cases");
            let (first, last) = (&cases[0], &cases[cases.len() - 1]);
            write!(f, "\nnot run: {count}, {first}")?;
            if cases.len() > 1 {
                write!(f, " to {last}")?;
            }
        }
        Ok(())
    }
}

/// The last record.
#[derive(Clone, Debug, Serialize)]
struct Summary<'a> {
    target: &'a Target,
    /// `None`: stopped before it was known.
    profile: Option<Profile>,
    passed: u64,
    failed: u64,
    /// Runs without a server to run against.
    not_run: u64,
    complete: bool,
}

impl Record for Summary<'_> {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.profile {
            Some(Profile::Guide) => "a tutorial server",
            Some(Profile::Vang) => "a vang server",
            None => "a server",
        };
        write!(f, "{} as {what}: {} passed, {} failed", self.target, self.passed, self.failed)?;
        match (self.not_run, self.complete) {
            (0, true) => Ok(()),
            (0, false) => f.write_str("; stopped before the end"),
            (not_run, _) => write!(f, ", {not_run} not run: the server is gone"),
        }
    }
}

/// Tests a server. `Bad`: a case failed.
pub fn run(options: &ConformOptions, report: &Report, stop: &Stop) -> Outcome {
    let limits = WaitLimits { answer: ANSWER_WAIT, stop };
    let stopped_by = |when: &str| {
        let (target, profile) = (&options.target, options.profile);
        report.record(&Summary { target, profile, passed: 0, failed: 0, not_run: 0, complete: false })?;
        report.means(when)?;
        Ok(verdict(false, 0, stop))
    };
    let Some(server) = ServerAddress::of(&options.target, stop)? else {
        return stopped_by("stopped before the resolver answered");
    };
    let cannot = |error| ToolError::of(format!("cannot reach {}", options.target), &error, Doing::Connect);
    let profile = match options.profile {
        Some(profile) => profile,
        None => match exchange::profile(&server, &limits) {
            Ok(profile) => profile,
            Err(_) if stop.now().is_some() => {
                return stopped_by("stopped before the kind of server was known");
            }
            Err(error) => return Err(cannot(error)),
        },
    };
    if let Some(room) = &options.post {
        let no = |why: &str| ToolError::Usage(format!("cannot test posting in '{room}': {why}"));
        match profile {
            Profile::Guide => return Err(no("a tutorial server has no rooms")),
            Profile::Vang => post::is_open(room, &server, &limits).map_err(|why| no(&why))?,
        }
    }
    report.explain(|| format!("{} is tested as {profile:?}", options.target).to_lowercase())?;
    let mut runner =
        SuiteRunner { options, report, stop, all: Suite::default(), complete: true, gone: None, not_run: 0 };
    for (suite, cases) in [
        ("guide", vectors::of_guide("guide")),
        ("values", vectors::of_guide("values")),
        ("encodings", vectors::of_guide("encodings")),
        ("frames", vectors::frames(profile)),
        ("session", if profile == Profile::Vang { vectors::session() } else { Vec::new() }),
    ] {
        let cases = cases.iter().map(|case| (case.name.as_str(), case));
        runner.suite(suite, cases, |case, piece| judge(case, piece, &server, &limits))?;
    }
    if let Some(room) = &options.post {
        let cases = post::CASES.iter().map(|case| (case.name, case));
        runner.suite("post", cases, |case, piece| {
            // Its connections report their own errors.
            server.connect(&limits).map_err(Failed::Unreachable)?;
            Ok(case.run(room, piece, &server, &limits).map(|()| Match::Exact)?)
        })?;
    }
    let SuiteRunner { all: Suite { passed, failed, .. }, complete, gone, not_run, .. } = runner;
    if passed + failed + not_run == 0 && complete {
        return Err(no_such_case());
    }
    if let Some(gone) = gone {
        report.record(&gone)?;
    }
    let (target, profile) = (&options.target, Some(profile));
    report.record(&Summary { target, profile, passed, failed, not_run, complete })?;
    Ok(verdict(complete, failed + not_run, stop))
}

/// Runs the suites.
struct SuiteRunner<'a> {
    options: &'a ConformOptions,
    report: &'a Report,
    stop: &'a Stop,
    all: Suite,
    complete: bool,
    /// Set by the first connection that nobody accepts.
    gone: Option<ServerGone>,
    not_run: u64,
}

/// Why a case has no result that agrees with it.
enum Failed {
    /// The server does something else.
    Differs(String),
    /// It accepts no connection, so nothing is known about the case.
    Unreachable(io::Error),
}

impl From<String> for Failed {
    fn from(why: String) -> Failed {
        Failed::Differs(why)
    }
}

impl SuiteRunner<'_> {
    /// Runs each case whole and byte by byte, until the tool is stopped or the server is gone.
    fn suite<'c, C: Copy>(
        &mut self,
        suite: &'static str,
        cases: impl Iterator<Item = (&'c str, C)>,
        judge: impl Fn(C, usize) -> Result<Match, Failed>,
    ) -> Result<(), ToolError> {
        let mut sum = Suite { suite, ..Suite::default() };
        for (case, judged) in cases.filter(|(name, _)| self.options.choice.takes(&format!("{suite}/{name}")))
        {
            for (how, piece) in [("whole", usize::MAX), ("byte by byte", 1)] {
                if self.gone.is_some() {
                    self.count_not_run(suite, case);
                    continue;
                }
                let came = if self.complete { judge(judged, piece) } else { break };
                // A case that was interrupted by the stop is not a failure.
                if came.is_err() && self.stop.now().is_some() {
                    self.complete = false;
                    break;
                }
                let (matched, why) = match came {
                    Ok(matched) => (Some(matched), None),
                    Err(Failed::Differs(why)) => (None, Some(why)),
                    Err(Failed::Unreachable(error)) => {
                        let why = crate::error::explain(&error, Doing::Connect).to_string();
                        self.gone = Some(ServerGone { why, not_run: Vec::new() });
                        self.count_not_run(suite, case);
                        continue;
                    }
                };
                let result = CaseResult { suite, case, how, passed: why.is_none(), why };
                if !result.passed || self.report.is_json() {
                    self.report.record(&result)?;
                }
                sum.passed += u64::from(result.passed);
                sum.failed += u64::from(!result.passed);
                sum.in_other_words += u64::from(matched == Some(Match::Equivalent));
                self.complete = self.stop.now().is_none();
            }
        }
        if sum.passed + sum.failed > 0 {
            self.report.record(&sum)?;
        }
        self.all.passed += sum.passed;
        self.all.failed += sum.failed;
        Ok(())
    }

    fn count_not_run(&mut self, suite: &str, case: &str) {
        self.not_run += 1;
        let name = format!("{suite}/{case}");
        if let Some(gone) = &mut self.gone
            && gone.not_run.last() != Some(&name)
        {
            gone.not_run.push(name);
        }
    }
}

/// Runs one case on its own connection; after abuse also tests whether the server still serves others.
fn judge(
    case: &VectorCase,
    piece: usize,
    server: &ServerAddress,
    limits: &WaitLimits<'_>,
) -> Result<Match, Failed> {
    let came = exchange::exchange(server, &case.sent, piece, case, limits).map_err(Failed::Unreachable)?;
    let judged = compare::answers(&came.bytes, case)?;
    match (case.ends, came.end) {
        (true, ConnectionEnd::Closed) | (false, ConnectionEnd::Open) => {}
        // A reset also ends the connection, but can discard the answer.
        (true, ConnectionEnd::Reset) if case.strictness == Strictness::EndsOnly => {}
        (true, ConnectionEnd::Reset) => {
            return Err("the connection was reset instead of closed".to_owned().into());
        }
        (true, ConnectionEnd::Open) => {
            return Err(format!("the connection is still open after {}", short_duration(ANSWER_WAIT)).into());
        }
        (_, ConnectionEnd::Silent) => {
            return Err("a further request on the connection got no answer".to_owned().into());
        }
        (false, _) => {
            return Err("the connection was closed; it should accept more requests".to_owned().into());
        }
    }
    if case.is_abuse {
        let fine = vectors::plain_exchange();
        let others = exchange::exchange(server, &fine.sent, usize::MAX, &fine, limits);
        let others = others.map_err(|error| format!("afterwards the server accepts nobody: {error}"))?;
        compare::answers(&others.bytes, &fine)
            .map_err(|why| format!("afterwards other clients get a wrong answer: {why}"))?;
    }
    Ok(judged)
}
