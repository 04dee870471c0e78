//! Measures every model under the same load on this machine. Servers and client share the machine and this process, so the
//! numbers compare the models with each other and say nothing about another machine.

use std::fmt;
use std::io;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use vang_proto::text::{counted, short_duration, size};

use super::group::GroupOptions;
use super::measure::Progress;
use super::plan::{EchoSendOptions, Plan};
use super::serve::{EchoServeOptions, Model, Server, WorkerCommand, WorkerOutput};
use super::streams;
use crate::error::{Outcome, ToolError};
use crate::{Record, Report, Stop, Stopped, Target, Verdict};

/// The load of each model.
#[derive(Clone, Debug)]
pub struct EchoCompareOptions {
    pub connections: u32,
    /// Bytes of each message.
    pub bytes: u64,
    /// Duration of each model's run.
    pub duration: Duration,
    /// CPU time of the server for each message.
    pub work: Duration,
    /// Starts the workers of the model `processes`, which is left out without it.
    pub worker: Option<WorkerCommand>,
}

/// The result of one model.
#[derive(Debug, Serialize)]
struct Row {
    model: Model,
    connections: u64,
    /// Connections with an answer.
    served: u64,
    messages: u64,
    per_second: f64,
    bytes_per_second: u64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
    /// CPU time of the server for one message.
    cpu_us_per_message: f64,
    /// CPU use of the server, in percent of one core.
    cpu_percent: f64,
}

impl Record for Row {
    const EVENT: &'static str = "model";
}

const HEAD: &str =
    "model       served  messages/s   each way/s      p50       p99       max  cpu/message  cpu";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |us: f64| short_duration(Duration::from_nanos((us * 1e3) as u64));
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

#[derive(Debug, Serialize)]
struct Summary {
    models: usize,
    of: usize,
    connections: u32,
    bytes: u64,
    duration_us: u64,
    work_us: u64,
    /// The model with the most messages per second among those that served every connection.
    quickest: Option<Model>,
}

impl Record for Summary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = short_duration(Duration::from_micros(self.duration_us));
        let connections = counted(self.connections.into(), "connection", "connections");
        write!(f, "{} of {} models, each {each} with {connections} and ", self.models, self.of)?;
        write!(f, "messages of {}", size(self.bytes))?;
        if self.work_us > 0 {
            write!(f, ", each with {} of work", short_duration(Duration::from_micros(self.work_us)))?;
        }
        self.quickest.map_or(Ok(()), |model| write!(f, "; {model} was the fastest that served all"))
    }
}

/// Runs every model and records a table.
pub fn run(
    options: &EchoCompareOptions,
    report: &Report,
    stop: &Stop,
    watch: &mut dyn FnMut(&Progress),
) -> Outcome {
    report.draw(HEAD)?;
    let mut rows = Vec::new();
    let mut stopped = None;
    let models: Vec<Model> = Model::ALL
        .into_iter()
        .filter(|model| *model != Model::Processes || options.worker.is_some())
        .collect();
    for model in models.iter().copied() {
        let (row, ended) = measure(model, options, stop, watch)?;
        if ended.is_some() {
            stopped = ended;
            break;
        }
        report.record(&row)?;
        rows.push(row);
    }
    if stopped.is_none() {
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        report.means(&meaning(&rows, options.work, cores))?;
    }
    let served_all = rows.iter().filter(|row| row.served > 0 && row.served == row.connections);
    report.record(&Summary {
        models: rows.len(),
        of: models.len(),
        connections: options.connections,
        bytes: options.bytes,
        duration_us: options.duration.as_micros() as u64,
        work_us: options.work.as_micros() as u64,
        quickest: served_all
            .max_by(|one, other| one.per_second.total_cmp(&other.per_second))
            .map(|row| row.model),
    })?;
    Ok(match stopped {
        Some(Stopped::TimedOut) => Verdict::TimedOut,
        Some(Stopped::Requested) => Verdict::Bad,
        None => Verdict::Good,
    })
}

/// Explains the table: which model helps for which work on a machine with so many cores.
fn meaning(rows: &[Row], work: Duration, cores: u64) -> String {
    let row = |model: Model| rows.iter().find(|row| row.model == model);
    let starved = row(Model::Sequential).filter(|row| row.served < row.connections);
    let sequential = match starved {
        Some(row) => format!(
            "look at `served` first: sequential answered {} of {} connections, and the others waited in the accept queue the \
             whole time; its short waits are only of the answered ones. ",
            row.served, row.connections
        ),
        None => "with one connection all models do the same; --connections shows the difference. ".to_owned(),
    };
    let models = match work.is_zero() {
        true => {
            let cost = |model: Model| {
                let cost = row(model).map_or(0.0, |row| row.cpu_us_per_message * 1e3);
                short_duration(Duration::from_nanos(cost as u64))
            };
            format!(
                "threads serves all at once, with a stack and a kernel thread for each ({} of CPU time on the server for a \
                 message); selector ({}) and async ({}) serve them on one thread, which asks the kernel for ready sockets; \
                 processes ({}) are selectors side by side, which share no memory. While a message costs as little as here, \
                 one thread is enough: --work 5ms shows messages that cost more. ",
                cost(Model::Threads),
                cost(Model::Selector),
                cost(Model::Async),
                cost(Model::Processes)
            )
        }
        false => {
            let speed = |model: Model| row(model).map_or(0.0, |row| row.per_second);
            format!(
                "{} of work for each message are at most {:.0} messages/s on one core. selector ({:.0}/s) and async ({:.0}/s) \
                 use one core, as sequential does: while they work on one message, all other connections wait. threads \
                 ({:.0}/s) and processes ({:.0}/s) can use all {}. {}Threads share memory; processes share none, survive each \
                 other's crash, and help also in a language whose threads run one at a time, as Python's do. ",
                short_duration(work),
                1.0 / work.as_secs_f64(),
                speed(Model::Selector),
                speed(Model::Async),
                speed(Model::Threads),
                speed(Model::Processes),
                counted(cores, "core, so that no model helps here", "cores"),
                why_not_all(rows, cores)
            )
        }
    };
    format!(
        "{sequential}{models}Client and server share this machine: compare the rows with each other, and run it twice"
    )
}

/// Why the models that can use all cores did not, as far as the figures show it; else empty.
fn why_not_all(rows: &[Row], cores: u64) -> String {
    let row = |model: Model| rows.iter().find(|row| row.model == model);
    let (Some(one), Some(threads)) = (row(Model::Selector), row(Model::Threads)) else {
        return String::new();
    };
    if cores < 2 {
        return String::new();
    }
    let connections = counted(threads.connections, "connection", "connections");
    let processes = row(Model::Processes).map_or(threads.per_second, |row| row.per_second);
    if threads.per_second.max(processes) < one.per_second * MORE {
        return format!(
            "Here they answered no more than one core does: a connection keeps at most one core busy (there were \
             {connections}), and the client and other programs need cores, too. "
        );
    }
    if processes * MORE < threads.per_second {
        return format!(
            "Here processes answered less than threads: a connection stays with the process that the kernel chose by its \
             addresses, and {connections} rarely divide evenly: some processes have several then, and others none. More \
             connections divide more evenly. "
        );
    }
    String::new()
}

/// From this ratio on, one model is called faster than another: less also comes from run to run.
const MORE: f64 = 1.2;

fn measure(
    model: Model,
    options: &EchoCompareOptions,
    stop: &Stop,
    watch: &mut dyn FnMut(&Progress),
) -> Result<(Row, Option<Stopped>), ToolError> {
    let silent = Report::new(io::sink(), io::sink(), true, false);
    let cannot = |error: io::Error| ToolError::Usage(format!("cannot start a server: {error}"));
    let halt = Stop::after(None).map_err(cannot)?;
    let backlog = options.connections.max(128);
    let worker = options.worker.clone();
    let served = EchoServeOptions {
        model,
        quiet: true,
        backlog,
        work: options.work,
        worker: worker.map(|worker| WorkerCommand { output: WorkerOutput::Nothing, ..worker }),
        ..EchoServeOptions::default()
    };
    let server = Server::open(&served, &silent, &halt)?
        .ok_or_else(|| ToolError::Usage("the server was stopped before it started".to_owned()))?;
    let to: Target = server.address().parse().map_err(|error| ToolError::Usage(format!("{error}")))?;
    let serving =
        thread::Builder::new().name(model.to_string()).spawn(move || server.serve()).map_err(cannot)?;
    let sent = EchoSendOptions {
        to,
        udp: false,
        group: GroupOptions::default(),
        interface: None,
        tls: None,
        messages: Vec::new(),
        bytes: Some(options.bytes),
        count: None,
        connections: options.connections,
        rate: None,
        duration: Some(options.duration),
    };
    let came = streams::run(&sent, &Plan::of(&sent), None, &silent, stop, watch);
    halt.request();
    let Ok(summary) = serving.join() else {
        return Err(ToolError::Usage(format!("the server of model {model} failed")));
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
        bytes_per_second: (came.per_second * options.bytes as f64) as u64,
        p50_us: wait.p50_us,
        p99_us: wait.p99_us,
        max_us: wait.max_us,
        cpu_us_per_message: server.cpu_us as f64 / came.messages.max(1) as f64,
        cpu_percent: if seconds > 0.0 { server.cpu_us as f64 / 1e4 / seconds } else { 0.0 },
    };
    Ok((row, stopped))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(per_second: [f64; 5]) -> Vec<Row> {
        let models = [Model::Sequential, Model::Threads, Model::Selector, Model::Async, Model::Processes];
        let row = |(model, per_second): (Model, f64)| Row {
            model,
            connections: 4,
            served: 4,
            messages: per_second as u64,
            per_second,
            bytes_per_second: 0,
            p50_us: 0.0,
            p99_us: 0.0,
            max_us: 0.0,
            cpu_us_per_message: 5_000.0,
            cpu_percent: 100.0,
        };
        models.into_iter().zip(per_second).map(row).collect()
    }

    #[test]
    fn the_explanation_follows_the_figures() {
        const UNEVEN: &str = "4 connections rarely divide evenly";
        const ONE_CORE: &str =
            "no more than one core does: a connection keeps at most one core busy (there were 4 connections)";
        for (per_second, cores, said) in [
            ([199.0, 700.0, 199.0, 199.0, 690.0], 4, None),
            ([199.0, 388.0, 199.0, 199.0, 278.0], 4, Some(UNEVEN)),
            ([199.0, 205.0, 199.0, 199.0, 203.0], 4, Some(ONE_CORE)),
            ([199.0, 400.0, 199.0, 199.0, 700.0], 4, None),
            ([199.0, 199.0, 199.0, 199.0, 150.0], 1, None),
        ] {
            let text = meaning(&rows(per_second), Duration::from_millis(5), cores);
            for one in [UNEVEN, ONE_CORE] {
                assert_eq!(text.contains(one), said == Some(one), "{per_second:?}: {text}");
            }
            assert!(text.contains("at most 200 messages/s on one core"), "{text}");
        }
    }
}
