//! Ping up the layers: every probe begins at the bottom (ICMP, TCP, TLS, vang) with a connection of its own and goes up
//! as far as was asked, each step with its time, so that the one that fails is named and those below it have been tried.

mod channel; // a connection of whatever layer
mod probe; // what a probe tells

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vang_client::trouble::{Doing, Trouble};

use super::echo::{Once, once, verdict};
use super::handshake::{Speaks, config, shake};
use super::tally::Tally;
use super::told::{Layer, us};
use super::{Asked, family};
use crate::connect::{NotConnected, Patient, trouble};
use crate::failure::{Outcome, explain};
use crate::{Failure, Report, Stop, Stopped};

use channel::{Channel, Ended, ask, ended, no_tls};
use probe::{Begins, Probed, Step, Took};

/// What is known of the way below TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Below {
    Unknown,
    Answers,
    Silent,
    /// An error of a router's, or this machine's own.
    Refuses(String),
}

struct Ladder<'a> {
    asked: &'a Asked,
    to: SocketAddr,
    steps: Vec<Step>,
    report: &'a Report,
    stop: &'a Stop,
    tallies: Vec<(Step, Tally)>,
    below: Below,
    /// The last failure above ICMP: where, and why.
    failed: Option<(Step, Trouble)>,
}

/// Probes this address up to the layer that was asked for.
pub(super) fn run(asked: &Asked, mut to: SocketAddr, report: &Report, stop: &Stop) -> Outcome {
    let (port, above): (u16, &[Step]) = match asked.layer {
        Layer::Icmp => return super::echo::run(asked, to, report, stop),
        Layer::Tcp(port) => (port, &[]),
        Layer::Tls(port) => (port, &[Step::Tls]),
        // As the client has it: this machine's own are spoken to plainly.
        Layer::Vang(port) if to.ip().to_canonical().is_loopback() => (port, &[Step::Vang]),
        Layer::Vang(port) => (port, &[Step::Tls, Step::Vang]),
    };
    to.set_port(port);
    let steps = [&[Step::Icmp, Step::Tcp], above].concat();
    report.tell(&Begins {
        host: asked.host.clone(),
        to,
        family: family(to.ip()).name(),
        layers: steps.clone(),
    })?;
    let tallies = steps.iter().map(|step| (*step, Tally::new(step.name()))).collect();
    let below = Below::Unknown;
    let mut ladder = Ladder { asked, to, steps, report, stop, tallies, below, failed: None };
    let stopped = ladder.turn()?;
    let mut top = None;
    for (step, tally) in &ladder.tallies {
        let summary = tally.summary();
        let is_top = Some(step) == ladder.steps.last();
        if summary.sent > 0 || is_top {
            report.tell(&summary)?;
        }
        if is_top {
            top = Some(summary);
        }
    }
    let Some(top) = top else { return Ok(crate::Verdict::Bad) };
    if let Some(text) = ladder.meaning() {
        report.means(&text)?;
    }
    Ok(verdict(asked, ladder.probes(), &top, stopped))
}

impl Ladder<'_> {
    fn turn(&mut self) -> Result<Option<Stopped>, Failure> {
        let mut next = Instant::now();
        let mut seq = 0;
        while self.asked.count.is_none_or(|count| seq < count) {
            let wait = next.saturating_duration_since(Instant::now());
            if let Some(stopped) = self.stop.wait(&mut [], Some(wait)).map_err(|error| self.cannot(&error))? {
                return Ok(Some(stopped));
            }
            next = (next + self.asked.interval).max(Instant::now());
            seq += 1;
            let mut probed = Probed { seq, to: self.to, steps: Vec::new(), failed: None };
            match self.climb(&mut probed.steps)? {
                Ok(()) => {}
                Err((_, Ended::Stopped(stopped))) => return Ok(Some(stopped)),
                Err((step, Ended::Failed(trouble))) => {
                    probed.failed = Some(step);
                    self.failed = Some((step, trouble));
                }
            }
            self.report.tell(&probed)?;
        }
        Ok(None)
    }

    /// One probe, from the bottom up.
    fn climb(&mut self, steps: &mut Vec<Took>) -> Result<Result<(), (Step, Ended)>, Failure> {
        if let Err(stopped) = self.echo(steps)? {
            return Ok(Err((Step::Icmp, Ended::Stopped(stopped))));
        }
        let (to, wait, stop) = (self.to, self.asked.wait, self.stop);
        self.report.explain(|| {
            format!("connect to {to}: a SYN goes out; SYN and ACK come back if somebody listens")
        })?;
        let connected = self.measure(Step::Tcp, steps, || {
            Patient::connect(to, wait, stop).map_err(|error| match error {
                NotConnected::Failed(error) => Ended::Failed(trouble(to, &error)),
                NotConnected::Stopped(stopped) => Ended::Stopped(stopped),
            })
        });
        let stream = match connected {
            Ok(stream) => stream,
            Err(ended) => return Ok(Err((Step::Tcp, ended))),
        };
        let mut channel: Box<dyn Channel> = Box::new(stream);
        let speaks = if self.steps.contains(&Step::Vang) { Speaks::Vang } else { Speaks::Anything };
        if self.steps.contains(&Step::Tls) {
            self.report.explain(|| {
                "TLS: a client hello goes out; the server's hello, certificate and end come".to_owned()
            })?;
            channel.until(Instant::now() + wait);
            let host = self.asked.host.clone();
            let shaken = self.measure(Step::Tls, steps, || {
                let config = config(speaks).map_err(|error| no_tls(&error.to_string()))?;
                match shake(config, &host, to.ip(), channel) {
                    Ok(tls) => Ok(Box::new(tls) as Box<dyn Channel>),
                    Err((error, channel)) => {
                        Err(ended(channel.stopped(), &error, |error| match error.kind() {
                            io::ErrorKind::InvalidData | io::ErrorKind::Other => no_tls(&error.to_string()),
                            _ => explain(error, Doing::Read),
                        }))
                    }
                }
            });
            channel = match shaken {
                Ok(channel) => channel,
                Err(ended) => return Ok(Err((Step::Tls, ended))),
            };
        }
        if self.steps.contains(&Step::Vang) {
            self.report.explain(|| {
                "a request goes out, action ping; its reply comes back in the same connection".to_owned()
            })?;
            channel.until(Instant::now() + wait);
            let asked = self.measure(Step::Vang, steps, || ask(&mut *channel));
            if let Err(ended) = asked {
                return Ok(Err((Step::Vang, ended)));
            }
        }
        self.report.explain(|| {
            "closed by us: a FIN goes out, and our side keeps TIME_WAIT for a minute, so that nothing late is taken for \
             a new connection's"
                .to_owned()
        })?;
        Ok(Ok(()))
    }

    /// The lowest step. Who does not answer it may answer the others, so it ends no probe; after it went unanswered once
    /// it is not waited for again.
    fn echo(&mut self, steps: &mut Vec<Took>) -> Result<Result<(), Stopped>, Failure> {
        if !matches!(self.below, Below::Unknown | Below::Answers) || !self.steps.contains(&Step::Icmp) {
            return Ok(Ok(()));
        }
        let began = Instant::now();
        let came = match once(self.asked, self.to, self.stop) {
            Ok(came) => came,
            // Not allowed, most likely: the layers above need no leave.
            Err(error) => {
                self.report.explain(|| format!("ICMP is left out: {error}"))?;
                self.steps.retain(|step| *step != Step::Icmp);
                return Ok(Ok(()));
            }
        };
        let (time, error) = match came {
            Once::Stopped(stopped) => return Ok(Err(stopped)),
            Once::Answered(time) => (time, None),
            Once::Silent => (self.asked.wait, Some("no answer".to_owned())),
            Once::Refused(said) => (began.elapsed(), Some(said)),
        };
        self.below = match &error {
            None => Below::Answers,
            Some(said) if said == "no answer" => Below::Silent,
            Some(said) => Below::Refuses(said.clone()),
        };
        self.took(Step::Icmp, steps, time, error);
        Ok(Ok(()))
    }

    /// Does a step, and writes down how long it took and what came of it.
    fn measure<T>(
        &mut self,
        step: Step,
        steps: &mut Vec<Took>,
        does: impl FnOnce() -> Result<T, Ended>,
    ) -> Result<T, Ended> {
        let began = Instant::now();
        let done = does();
        let time = began.elapsed();
        match &done {
            Ok(_) => self.took(step, steps, time, None),
            Err(Ended::Failed(trouble)) => self.took(step, steps, time, Some(trouble.to_string())),
            // Under way when the tool ended: neither answered nor lost.
            Err(Ended::Stopped(_)) => self.tally(step, |tally| tally.sent += 1),
        }
        done
    }

    fn took(&mut self, layer: Step, steps: &mut Vec<Took>, time: Duration, error: Option<String>) {
        self.tally(layer, |tally| {
            tally.sent += 1;
            match &error {
                None => tally.answered(time),
                Some(said) if said.starts_with("no answer") || said.starts_with("timed out") => {
                    tally.lost += 1;
                }
                Some(_) => tally.errors += 1,
            }
        });
        steps.push(Took { layer, time_us: us(time), error, time });
    }

    fn tally(&mut self, step: Step, counts: impl FnOnce(&mut Tally)) {
        if let Some((_, tally)) = self.tallies.iter_mut().find(|(of, _)| *of == step) {
            counts(tally);
        }
    }

    /// How many probes went out: every one connects.
    fn probes(&self) -> u64 {
        self.tallies.iter().find(|(step, _)| *step == Step::Tcp).map_or(0, |(_, tally)| tally.sent)
    }

    fn cannot(&self, error: &io::Error) -> Failure {
        Failure::of(format!("cannot wait for {}", self.to), error, Doing::Read)
    }

    /// Which layer fails, and what that says.
    fn meaning(&self) -> Option<String> {
        let port = self.to.port();
        let Some((step, trouble)) = &self.failed else {
            return match &self.below {
                Below::Unknown | Below::Answers => None,
                Below::Silent => Some(
                    "ICMP goes unanswered while the layers above it work: a firewall swallows echo requests, and \
                     nothing is wrong with the host"
                        .to_owned(),
                ),
                Below::Refuses(said) => Some(format!(
                    "ICMP is refused ({said}) while the layers above it work: a firewall wants no echo requests"
                )),
            };
        };
        let advice = match trouble.advice {
            "" => String::new(),
            advice => format!(". What to do: {advice}"),
        };
        let layer = match step {
            Step::Icmp | Step::Tcp => match (&self.below, trouble.name.as_ref()) {
                (Below::Answers, _) => format!(
                    "the failing layer is TCP, at port {port}: {trouble}. The host is on and the way to it works: it \
                     answers ICMP"
                ),
                (Below::Silent, "connection refused" | "connection reset by peer") => format!(
                    "the failing layer is TCP, at port {port}: {trouble}. Somebody answers there, although not to ICMP"
                ),
                (Below::Silent, _) => format!(
                    "the failing layer is IP, the way to the host: neither ICMP nor TCP got an answer ({trouble}). \
                     Either the host is off, or a firewall swallows all of it"
                ),
                (Below::Refuses(said), "connection refused" | "connection reset by peer") => format!(
                    "the failing layer is TCP, at port {port}: {trouble}. Somebody answers there; ICMP is refused: {said}"
                ),
                (Below::Refuses(said), _) => {
                    format!(
                        "the failing layer is IP, the way to the host: {said}; TCP fails for it too ({trouble})"
                    )
                }
                (Below::Unknown, _) => {
                    format!("the failing layer is TCP, at port {port}, or one below it: {trouble}")
                }
            },
            Step::Tls => format!(
                "the failing layer is TLS: {trouble}. TCP below it works: somebody listens at port {port}"
            ),
            Step::Vang if self.steps.contains(&Step::Tls) => {
                format!("the failing layer is vang: {trouble}. TCP and TLS below it work")
            }
            Step::Vang => format!(
                "the failing layer is vang: {trouble}. TCP below it works: somebody listens at port {port}"
            ),
        };
        Some(format!("{layer}{advice}"))
    }
}
