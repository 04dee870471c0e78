//! Does a server, or a client, speak the protocol? Runs the vectors that stand beside `docs/PROTOCOL.md`, each on a
//! connection of its own, whole and byte by byte, and reports like a test suite.
//!
//! ```text
//!   suite      from               what it needs
//!   guide      guide.txt          one request, one response, close: any server of the guide
//!   values     guide.txt          values that are no texts are printed as Python prints them
//!   encodings  guide.txt          content in other encodings than UTF-8, by Python's names
//!   frames     frames.txt         what is no message ends its own connection, and nothing else
//!   session    session.txt        what a vang server answers by itself (not of a server of the guide)
//!   post       `post`             sending, ids, following, resuming, in a room that was named for it
//! ```
//!
//! Nothing is posted but by the last, which runs only where a room is named: no vector sends what a room would keep. What an implementation may choose (the order of keys, its own
//! words for what a JSON parser found) is not compared. With a listener it is a client that is judged: see `client`.

pub mod client; // judging a client: what it sends, and whether it survives the answers
mod post; // judging what posts and follows, where messages may be left
mod compare; // is this the message that was expected?
mod vectors; // the files, as cases
mod wire; // one exchange on one connection

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use vang_client::trouble::Doing;

use self::compare::{Judged, Strictness};
use self::vectors::Case;
use self::wire::{End, Patience, Place};
use crate::failure::{Failure, Outcome};
use crate::{Record, Report, Stop, Stopped, Target, Verdict, duration};

/// How long an answer, or the end of a connection, may take.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// As what a server is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// A server of the guide: one request, one response, close.
    Guide,
    /// A vang server.
    Vang,
}

/// What to judge.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The server.
    pub target: Target,
    /// `None`: found out by saying hello.
    pub profile: Option<Profile>,
    /// Which cases.
    pub choice: Choice,
    /// A room in which messages may be left: then posting and following are judged as well.
    pub post: Option<String>,
}

/// Some of the cases, by their names, as in `guide/search-dog`.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Only those whose name has one of these in it; none: all.
    pub only: Vec<String>,
    /// Not those whose name has one of these in it: what is not claimed.
    pub skip: Vec<String>,
}

impl Choice {
    fn takes(&self, name: &str) -> bool {
        let has = |parts: &[String]| parts.iter().any(|part| name.contains(part.as_str()));
        (self.only.is_empty() || has(&self.only)) && !has(&self.skip)
    }
}

fn no_such_case() -> Failure {
    Failure::Usage("no case has that in its name".to_owned())
}

/// What came of a case. Told to people when it failed; to programs always.
#[derive(Clone, Debug, Serialize)]
struct Tried<'a> {
    suite: &'static str,
    case: &'a str,
    how: &'static str,
    passed: bool,
    why: Option<String>,
}

impl Record for Tried<'_> {
    const EVENT: &'static str = "case";
}

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed { "ok    " } else { "FAILED" };
        write!(f, "{verdict} {}/{} ({})", self.suite, self.case, self.how)?;
        self.why.as_ref().map_or(Ok(()), |why| write!(f, "\n{why}"))
    }
}

/// The end of a suite.
#[derive(Clone, Debug, Default, Serialize)]
struct Suite {
    suite: &'static str,
    passed: u64,
    failed: u64,
    /// Of those that passed, those that are not byte for byte what the vectors have.
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
            write!(f, "; {in_other_words} in other bytes that mean the same")?;
        }
        Ok(())
    }
}

/// The last line.
#[derive(Clone, Debug, Serialize)]
struct Summary<'a> {
    target: &'a Target,
    /// `None`: stopped before that was found out.
    profile: Option<Profile>,
    passed: u64,
    failed: u64,
    complete: bool,
}

impl Record for Summary<'_> {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.profile {
            Some(Profile::Guide) => "a server of the guide",
            Some(Profile::Vang) => "a vang server",
            None => "a server",
        };
        let cut = if self.complete { "" } else { "; stopped before the end" };
        write!(f, "{} as {what}: {} passed, {} failed{cut}", self.target, self.passed, self.failed)
    }
}

/// Judges a server. `Bad`: a case failed.
pub fn run(asked: &Asked, report: &Report, stop: &Stop) -> Outcome {
    let patience = Patience { answer: ANSWER_WAIT, stop };
    let stopped_by = |when: &str| {
        let (target, profile) = (&asked.target, asked.profile);
        report.tell(&Summary { target, profile, passed: 0, failed: 0, complete: false })?;
        report.means(when)?;
        Ok(verdict(false, 0, stop))
    };
    let Some(place) = Place::of(&asked.target, stop)? else {
        return stopped_by("stopped while the resolver had not answered yet");
    };
    let cannot = |error| Failure::of(format!("cannot reach {}", asked.target), &error, Doing::Connect);
    let profile = match asked.profile {
        Some(profile) => profile,
        None => match wire::profile(&place, &patience) {
            Ok(profile) => profile,
            Err(_) if stop.now().is_some() => {
                return stopped_by("stopped before it was known what the server is");
            }
            Err(error) => return Err(cannot(error)),
        },
    };
    if let Some(room) = &asked.post {
        let no = |why: &str| Failure::Usage(format!("cannot judge posting in '{room}': {why}"));
        match profile {
            Profile::Guide => return Err(no("a server of the guide has no rooms")),
            Profile::Vang => post::is_open(room, &place, &patience).map_err(|why| no(&why))?,
        }
    }
    report.explain(|| format!("{} is judged as {profile:?}", asked.target).to_lowercase())?;
    let mut judging = Judging { asked, report, stop, all: Suite::default(), complete: true };
    for (suite, cases) in [
        ("guide", vectors::of_guide("guide")),
        ("values", vectors::of_guide("values")),
        ("encodings", vectors::of_guide("encodings")),
        ("frames", vectors::frames(profile)),
        ("session", if profile == Profile::Vang { vectors::session() } else { Vec::new() }),
    ] {
        let cases = cases.iter().map(|case| (case.name.as_str(), case));
        judging.suite(suite, cases, |case, piece| judge(case, piece, &place, &patience))?;
    }
    if let Some(room) = &asked.post {
        let cases = post::CASES.iter().map(|case| (case.name, case));
        judging.suite("post", cases, |case, piece| {
            case.run(room, piece, &place, &patience).map(|()| Judged::Exact)
        })?;
    }
    let Judging { all: Suite { passed, failed, .. }, complete, .. } = judging;
    if passed + failed == 0 && complete {
        return Err(no_such_case());
    }
    let (target, profile) = (&asked.target, Some(profile));
    report.tell(&Summary { target, profile, passed, failed, complete })?;
    Ok(verdict(complete, failed, stop))
}

/// What has not been looked at is not good.
fn verdict(complete: bool, failed: u64, stop: &Stop) -> Verdict {
    match (complete, failed) {
        (true, 0) => Verdict::Good,
        (false, 0) if stop.now() == Some(Stopped::TimedOut) => Verdict::TimedOut,
        _ => Verdict::Bad,
    }
}

/// One suite after the other.
struct Judging<'a> {
    asked: &'a Asked,
    report: &'a Report,
    stop: &'a Stop,
    all: Suite,
    complete: bool,
}

impl Judging<'_> {
    /// Each case whole and byte by byte, unless the tool ends.
    fn suite<'c, C: Copy>(
        &mut self,
        suite: &'static str,
        cases: impl Iterator<Item = (&'c str, C)>,
        judge: impl Fn(C, usize) -> Result<Judged, String>,
    ) -> Result<(), Failure> {
        let mut sum = Suite { suite, ..Suite::default() };
        for (case, judged) in cases.filter(|(name, _)| self.asked.choice.takes(&format!("{suite}/{name}"))) {
            for (how, piece) in [("whole", usize::MAX), ("byte by byte", 1)] {
                let came = if self.complete { judge(judged, piece) } else { break };
                // What the end of this tool cut off is no fault of the server's.
                if came.is_err() && self.stop.now().is_some() {
                    self.complete = false;
                    break;
                }
                let why = came.as_ref().err().cloned();
                let tried = Tried { suite, case, how, passed: why.is_none(), why };
                if !tried.passed || self.report.is_json() {
                    self.report.tell(&tried)?;
                }
                sum.passed += u64::from(tried.passed);
                sum.failed += u64::from(!tried.passed);
                sum.in_other_words += u64::from(came == Ok(Judged::InOtherWords));
                self.complete = self.stop.now().is_none();
            }
        }
        if sum.passed + sum.failed > 0 {
            self.report.tell(&sum)?;
        }
        self.all.passed += sum.passed;
        self.all.failed += sum.failed;
        Ok(())
    }
}

/// One case on a connection of its own; then, where it was abuse, whether the server still serves others.
fn judge(case: &Case, piece: usize, place: &Place, patience: &Patience<'_>) -> Result<Judged, String> {
    let came = wire::exchange(place, &case.sent, piece, case, patience)
        .map_err(|error| format!("no connection: {}", crate::failure::explain(&error, Doing::Connect)))?;
    let judged = compare::answers(&came.bytes, case)?;
    match (case.ends, came.end) {
        (true, End::Closed) | (false, End::Open) => {}
        // A reset is an end, but may have taken the answer with it.
        (true, End::Reset) if case.strictness == Strictness::EndsOnly => {}
        (true, End::Reset) => return Err("the connection was reset instead of closed in order".to_owned()),
        (true, End::Open) => {
            return Err(format!("the connection is still open after {}", duration(ANSWER_WAIT)));
        }
        (_, End::Silent) => return Err("one more request on the connection got no answer".to_owned()),
        (false, _) => return Err("the connection was closed; it should take more requests".to_owned()),
    }
    if case.is_abuse {
        let fine = vectors::plain_exchange();
        let others = wire::exchange(place, &fine.sent, usize::MAX, &fine, patience);
        let others = others.map_err(|error| format!("afterwards nobody is served: {error}"))?;
        compare::answers(&others.bytes, &fine)
            .map_err(|why| format!("afterwards others are answered wrong: {why}"))?;
    }
    Ok(judged)
}
