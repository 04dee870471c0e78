//! Every model on this machine, under the same load, in one table. Servers and client share the machine and this
//! process: the numbers compare the models with each other, and promise nothing about another machine.

use std::fmt;
use std::io;
use std::thread;
use std::time::Duration;

use serde::Serialize;

use super::measure::Standing;
use super::send::{self, Plan};
use super::serve::{self, Model, Server};
use crate::failure::{Failure, Outcome};
use crate::{Record, Report, Stop, Stopped, Target, Verdict, duration, size};

/// The load.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// At once.
    pub connections: u32,
    /// Of each message.
    pub bytes: u64,
    /// Of each model.
    pub duration: Duration,
}

/// One model under that load: a row.
#[derive(Debug, Serialize)]
struct Row {
    model: Model,
    connections: u64,
    /// Of these, with any answer.
    served: u64,
    messages: u64,
    per_second: f64,
    bytes_per_second: u64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
    /// Of the server, for one message.
    cpu_us_per_message: f64,
    /// Of the server, in hundredths of one processor.
    cpu_percent: f64,
}

impl Record for Row {
    const EVENT: &'static str = "model";
}

const HEAD: &str =
    "model       served  messages/s   each way/s      p50       p99       max  cpu/message  cpu";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |us: f64| duration(Duration::from_nanos((us * 1e3) as u64));
        let served = format!("{}/{}", self.served, self.connections);
        write!(f, "{:10} {served:>7}  {:>10.0}  ", self.model.name(), self.per_second)?;
        write!(
            f,
            "{:>11} {:>8}  {:>8}  ",
            size(self.bytes_per_second),
            time(self.p50_us),
            time(self.p99_us)
        )?;
        write!(f, "{:>8}  {:>11}", time(self.max_us), time(self.cpu_us_per_message))?;
        write!(f, "  {:.0} %", self.cpu_percent)
    }
}

/// See the module's head.
pub fn run(asked: &Asked, report: &Report, stop: &Stop, watch: &mut dyn FnMut(&Standing)) -> Outcome {
    report.draw(HEAD)?;
    let mut rows = Vec::new();
    for model in Model::ALL {
        let (row, stopped) = measure(model, asked, stop, watch)?;
        if let Some(stopped) = stopped {
            return Ok(if stopped == Stopped::TimedOut { Verdict::TimedOut } else { Verdict::Good });
        }
        report.tell(&row)?;
        rows.push(row);
    }
    if rows.iter().any(|row| row.model == Model::Sequential && row.served < row.connections) {
        report.means(
            "the sequential server is quick, for one connection: the others waited in the kernel's queue the whole \
             time. Threads switch between connections at the kernel's cost, a stack each; selector and async serve \
             all of them on one thread",
        )?;
    }
    Ok(Verdict::Good)
}

fn measure(
    model: Model,
    asked: &Asked,
    stop: &Stop,
    watch: &mut dyn FnMut(&Standing),
) -> Result<(Row, Option<Stopped>), Failure> {
    let silent = Report::new(io::sink(), io::sink(), true, false);
    let cannot = |error: io::Error| Failure::Usage(format!("cannot start a server: {error}"));
    let halt = Stop::after(None).map_err(cannot)?;
    let backlog = asked.connections.max(128);
    let served = serve::Asked { model, quiet: true, backlog, ..serve::Asked::default() };
    let server = Server::open(&served, &silent, &halt)?
        .ok_or_else(|| Failure::Usage("the server was stopped before it began".to_owned()))?;
    let to: Target = server.address().parse().map_err(|error| Failure::Usage(format!("{error}")))?;
    let serving =
        thread::Builder::new().name(model.to_string()).spawn(move || server.serve()).map_err(cannot)?;
    let sent = send::Asked {
        to,
        udp: false,
        tls: None,
        messages: Vec::new(),
        bytes: Some(asked.bytes),
        count: None,
        connections: asked.connections,
        rate: None,
        duration: Some(asked.duration),
    };
    let came = send::streams(&sent, &Plan::of(&sent), None, &silent, stop, watch);
    halt.ask();
    let Ok(summary) = serving.join() else {
        return Err(Failure::Usage(format!("the server of model {model} broke down")));
    };
    let ((came, stopped, _), (server, _)) = (came?, summary?);
    let wait = came.wait.unwrap_or_default();
    let seconds = came.took_us as f64 / 1e6;
    let row = Row {
        model,
        connections: came.connections,
        served: came.connections.saturating_sub(came.unserved),
        messages: came.messages,
        per_second: came.per_second,
        bytes_per_second: (came.per_second * asked.bytes as f64) as u64,
        p50_us: wait.p50_us,
        p99_us: wait.p99_us,
        max_us: wait.max_us,
        cpu_us_per_message: server.cpu_us as f64 / came.messages.max(1) as f64,
        cpu_percent: if seconds > 0.0 { server.cpu_us as f64 / 1e4 / seconds } else { 0.0 },
    };
    Ok((row, stopped))
}
