//! Probes that test layer by layer: ICMP, TCP, TLS, vang. Every probe uses a new connection and times each layer up to the
//! requested one, so that the failing layer is known and those below it were tested.

mod channel; // a connection of any layer
mod probe_records; // the records of a probe

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vang_client::trouble::{Doing, Trouble};

use super::handshake::{AlpnOffer, config, handshake};
use super::icmp::Family;
use super::icmp_ping::{EchoResult, echo_once, verdict};
use super::options::PingOptions;
use super::records::{Layer, us};
use super::tally::Tally;
use crate::deadline_stream::{DeadlineStream, NotConnected, trouble};
use crate::error::{Outcome, explain};
use crate::{Report, Stop, Stopped, ToolError};

use channel::{Channel, Ended, ask, ended, no_tls};
use probe_records::{ProbeRecord, ProbesStarted, Step, StepTime};

/// The result of ICMP so far.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Below {
    Unknown,
    Answers,
    Silent,
    /// An error from a router, or of this machine.
    Refuses(String),
}

struct Ladder<'a> {
    options: &'a PingOptions,
    to: SocketAddr,
    steps: Vec<Step>,
    report: &'a Report,
    stop: &'a Stop,
    tallies: Vec<(Step, Tally)>,
    below: Below,
    /// The last failure above ICMP.
    failed: Option<(Step, Trouble)>,
}

/// Probes this address up to the requested layer.
pub(super) fn run(options: &PingOptions, mut to: SocketAddr, report: &Report, stop: &Stop) -> Outcome {
    let (port, above): (u16, &[Step]) = match options.layer {
        Layer::Icmp => return super::icmp_ping::run(options, to, report, stop),
        Layer::Tcp(port) => (port, &[]),
        Layer::Tls(port) => (port, &[Step::Tls]),
        // Like the client: no TLS to this machine.
        Layer::Vang(port) if to.ip().to_canonical().is_loopback() => (port, &[Step::Vang]),
        Layer::Vang(port) => (port, &[Step::Tls, Step::Vang]),
    };
    to.set_port(port);
    let steps = [&[Step::Icmp, Step::Tcp], above].concat();
    report.record(&ProbesStarted {
        host: options.host.clone(),
        to,
        family: Family::of(to.ip()).name(),
        layers: steps.clone(),
    })?;
    let tallies = steps.iter().map(|step| (*step, Tally::new(step.name()))).collect();
    let below = Below::Unknown;
    let mut ladder = Ladder { options, to, steps, report, stop, tallies, below, failed: None };
    let stopped = ladder.turn()?;
    let mut top = None;
    for (step, tally) in &ladder.tallies {
        let summary = tally.summary();
        let is_top = Some(step) == ladder.steps.last();
        if summary.sent > 0 || is_top {
            report.record(&summary)?;
        }
        if is_top {
            top = Some(summary);
        }
    }
    let Some(top) = top else { return Ok(crate::Verdict::Bad) };
    if let Some(text) = ladder.meaning() {
        report.means(&text)?;
    }
    Ok(verdict(options, ladder.probes(), &top, stopped))
}

impl Ladder<'_> {
    fn turn(&mut self) -> Result<Option<Stopped>, ToolError> {
        let mut next = Instant::now();
        let mut seq = 0;
        while self.options.count.is_none_or(|count| seq < count) {
            let wait = next.saturating_duration_since(Instant::now());
            if let Some(stopped) = self.stop.wait(&mut [], Some(wait)).map_err(|error| self.cannot(&error))? {
                return Ok(Some(stopped));
            }
            next = (next + self.options.interval).max(Instant::now());
            seq += 1;
            let mut probed = ProbeRecord { seq, to: self.to, steps: Vec::new(), failed: None };
            match self.climb(&mut probed.steps)? {
                Ok(()) => {}
                Err((_, Ended::Stopped(stopped))) => return Ok(Some(stopped)),
                Err((step, Ended::Failed(trouble))) => {
                    probed.failed = Some(step);
                    self.failed = Some((step, trouble));
                }
            }
            self.report.record(&probed)?;
        }
        Ok(None)
    }

    /// Runs one probe, from the bottom up.
    fn climb(&mut self, steps: &mut Vec<StepTime>) -> Result<Result<(), (Step, Ended)>, ToolError> {
        if let Err(stopped) = self.echo(steps)? {
            return Ok(Err((Step::Icmp, Ended::Stopped(stopped))));
        }
        let (to, wait, stop) = (self.to, self.options.wait, self.stop);
        self.report
            .explain(|| format!("connect to {to}: send SYN; SYN+ACK comes back if a program listens"))?;
        let connected = self.measure(Step::Tcp, steps, || {
            DeadlineStream::connect(to, wait, stop).map_err(|error| match error {
                NotConnected::Failed(error) => Ended::Failed(trouble(to, &error)),
                NotConnected::Stopped(stopped) => Ended::Stopped(stopped),
            })
        });
        let stream = match connected {
            Ok(stream) => stream,
            Err(ended) => return Ok(Err((Step::Tcp, ended))),
        };
        let mut channel: Box<dyn Channel> = Box::new(stream);
        let alpn = if self.steps.contains(&Step::Vang) { AlpnOffer::Vang } else { AlpnOffer::Anything };
        if self.steps.contains(&Step::Tls) {
            self.report.explain(|| {
                "TLS: send ClientHello; ServerHello, certificate and Finished come back".to_owned()
            })?;
            channel.until(Instant::now() + wait);
            let host = self.options.host.clone();
            let handshake_result = self.measure(Step::Tls, steps, || {
                let config = config(alpn).map_err(|error| no_tls(&error.to_string()))?;
                match handshake(config, &host, to.ip(), channel) {
                    Ok(tls) => Ok(Box::new(tls) as Box<dyn Channel>),
                    Err((error, channel)) => {
                        Err(ended(channel.stopped(), &error, |error| match error.kind() {
                            io::ErrorKind::InvalidData | io::ErrorKind::Other => no_tls(&error.to_string()),
                            _ => explain(error, Doing::Read),
                        }))
                    }
                }
            });
            channel = match handshake_result {
                Ok(channel) => channel,
                Err(ended) => return Ok(Err((Step::Tls, ended))),
            };
        }
        if self.steps.contains(&Step::Vang) {
            self.report.explain(|| {
                "send a request with action ping; its reply comes back on the same connection".to_owned()
            })?;
            channel.until(Instant::now() + wait);
            let answered = self.measure(Step::Vang, steps, || ask(&mut *channel));
            if let Err(ended) = answered {
                return Ok(Err((Step::Vang, ended)));
            }
        }
        self.report.explain(|| {
            "close: FIN out; our side keeps TIME_WAIT for a minute, so that late packets are not taken for a new connection"
                .to_owned()
        })?;
        Ok(Ok(()))
    }

    /// The lowest layer. A host without an ICMP answer can still answer the others, so the probe goes on; after one missing
    /// answer ICMP is not tried again.
    fn echo(&mut self, steps: &mut Vec<StepTime>) -> Result<Result<(), Stopped>, ToolError> {
        if !matches!(self.below, Below::Unknown | Below::Answers) || !self.steps.contains(&Step::Icmp) {
            return Ok(Ok(()));
        }
        let began = Instant::now();
        let came = match echo_once(self.options, self.to, self.stop) {
            Ok(came) => came,
            // Most likely no permission; the layers above need none.
            Err(error) => {
                self.report.explain(|| format!("ICMP skipped: {error}"))?;
                self.steps.retain(|step| *step != Step::Icmp);
                return Ok(Ok(()));
            }
        };
        let (time, error) = match came {
            EchoResult::Stopped(stopped) => return Ok(Err(stopped)),
            EchoResult::Reply(time) => (time, None),
            EchoResult::Silent => (self.options.wait, Some("no answer".to_owned())),
            EchoResult::IcmpError(said) => (began.elapsed(), Some(said)),
        };
        self.below = match &error {
            None => Below::Answers,
            Some(said) if said == "no answer" => Below::Silent,
            Some(said) => Below::Refuses(said.clone()),
        };
        self.took(Step::Icmp, steps, time, error);
        Ok(Ok(()))
    }

    /// Runs one layer and records its time and result.
    fn measure<T>(
        &mut self,
        step: Step,
        steps: &mut Vec<StepTime>,
        does: impl FnOnce() -> Result<T, Ended>,
    ) -> Result<T, Ended> {
        let began = Instant::now();
        let done = does();
        let time = began.elapsed();
        match &done {
            Ok(_) => self.took(step, steps, time, None),
            Err(Ended::Failed(trouble)) => self.took(step, steps, time, Some(trouble.to_string())),
            // Stopped in progress: neither answered nor lost.
            Err(Ended::Stopped(_)) => self.tally(step, |tally| tally.sent += 1),
        }
        done
    }

    fn took(&mut self, layer: Step, steps: &mut Vec<StepTime>, time: Duration, error: Option<String>) {
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
        steps.push(StepTime { layer, time_us: us(time), error, time });
    }

    fn tally(&mut self, step: Step, counts: impl FnOnce(&mut Tally)) {
        if let Some((_, tally)) = self.tallies.iter_mut().find(|(of, _)| *of == step) {
            counts(tally);
        }
    }

    /// Number of probes: every one connects.
    fn probes(&self) -> u64 {
        self.tallies.iter().find(|(step, _)| *step == Step::Tcp).map_or(0, |(_, tally)| tally.sent)
    }

    fn cannot(&self, error: &io::Error) -> ToolError {
        ToolError::of(format!("cannot wait for {}", self.to), error, Doing::Read)
    }

    /// The failing layer, and what that means.
    fn meaning(&self) -> Option<String> {
        let port = self.to.port();
        let Some((step, trouble)) = &self.failed else {
            return match &self.below {
                Below::Unknown | Below::Answers => None,
                Below::Silent => Some(
                    "no answer to ICMP while the layers above it work: a firewall drops echo requests; the host is fine"
                        .to_owned(),
                ),
                Below::Refuses(said) => Some(format!(
                    "ICMP is refused ({said}) while the layers above it work: a firewall rejects echo requests"
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
                    "the failing layer is TCP, at port {port}: {trouble}. The host is on and reachable: it answers \
                     ICMP"
                ),
                (Below::Silent, "connection refused" | "connection reset by peer") => format!(
                    "the failing layer is TCP, at port {port}: {trouble}. The host answers TCP, but not ICMP"
                ),
                (Below::Silent, _) => format!(
                    "the failing layer is IP, the route to the host: no answer to ICMP or TCP ({trouble}). The host is off, or \
                     a firewall drops everything"
                ),
                (Below::Refuses(said), "connection refused" | "connection reset by peer") => format!(
                    "the failing layer is TCP, at port {port}: {trouble}. The host answers TCP; ICMP is refused: {said}"
                ),
                (Below::Refuses(said), _) => {
                    format!(
                        "the failing layer is IP, the route to the host: {said}; TCP also fails ({trouble})"
                    )
                }
                (Below::Unknown, _) => {
                    format!("the failing layer is TCP, at port {port}, or one below it: {trouble}")
                }
            },
            Step::Tls => format!(
                "the failing layer is TLS: {trouble}. TCP below it works: a program listens on port {port}"
            ),
            Step::Vang if self.steps.contains(&Step::Tls) => {
                format!("the failing layer is vang: {trouble}. TCP and TLS below it work")
            }
            Step::Vang => format!(
                "the failing layer is vang: {trouble}. TCP below it works: a program listens on port {port}"
            ),
        };
        Some(format!("{layer}{advice}"))
    }
}
