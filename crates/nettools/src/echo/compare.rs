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
use crate::quote::counted;
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

/// The last record.
#[derive(Debug, Serialize)]
struct Summary {
    models: usize,
    of: usize,
    connections: u32,
    bytes: u64,
    duration_us: u64,
    /// The most messages a second, of those that served every connection.
    quickest: Option<Model>,
}

impl Record for Summary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = duration(Duration::from_micros(self.duration_us));
        let connections = counted(self.connections.into(), "connection", "connections");
        write!(f, "{} of {} models, each {each} with {connections} and ", self.models, self.of)?;
        write!(f, "messages of {}", size(self.bytes))?;
        self.quickest.map_or(Ok(()), |model| write!(f, "; {model} served all of them quickest"))
    }
}

/// See the module's head.
pub fn run(asked: &Asked, report: &Report, stop: &Stop, watch: &mut dyn FnMut(&Standing)) -> Outcome {
    report.draw(HEAD)?;
    let mut rows = Vec::new();
    let mut stopped = None;
    for model in Model::ALL {
        let (row, ended) = measure(model, asked, stop, watch)?;
        if ended.is_some() {
            stopped = ended;
            break;
        }
        report.tell(&row)?;
        rows.push(row);
    }
    if stopped.is_none() {
        report.means(&meaning(&rows))?;
    }
    let served_all = rows.iter().filter(|row| row.served > 0 && row.served == row.connections);
    report.tell(&Summary {
        models: rows.len(),
        of: Model::ALL.len(),
        connections: asked.connections,
        bytes: asked.bytes,
        duration_us: asked.duration.as_micros() as u64,
        quickest: served_all
            .max_by(|one, other| one.per_second.total_cmp(&other.per_second))
            .map(|row| row.model),
    })?;
    Ok(match stopped {
        Some(Stopped::TimedOut) => Verdict::TimedOut,
        Some(Stopped::Asked) => Verdict::Bad,
        None => Verdict::Good,
    })
}

/// How the table is read.
fn meaning(rows: &[Row]) -> String {
    let cost = |model: Model| {
        let row = rows.iter().find(|row| row.model == model);
        duration(Duration::from_nanos(row.map_or(0.0, |row| row.cpu_us_per_message * 1e3) as u64))
    };
    let starved = rows.iter().find(|row| row.model == Model::Sequential && row.served < row.connections);
    let sequential = match starved {
        Some(row) => format!(
            "`served` comes first: sequential answered {} of {} connections, and the others stood in the kernel's queue \
             the whole time; its short waits are of that one alone. ",
            row.served, row.connections
        ),
        None => {
            "with one connection at a time all models do the same; --connections shows what they are for. "
                .to_owned()
        }
    };
    format!(
        "{sequential}threads serves all at once, with a stack and the kernel's switching for each ({} of the server's \
         processor time for a message); selector ({}) and async ({}) serve them on one thread, which asks the kernel who \
         is ready. Client and server share this machine: compare the rows with each other, and run it twice",
        cost(Model::Threads),
        cost(Model::Selector),
        cost(Model::Async)
    )
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
