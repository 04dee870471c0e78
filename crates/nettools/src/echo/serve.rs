//! The echo server: options, and the choice of the model.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::Type;
use vang_client::trouble::Doing;

use super::accept::ServerContext;
use super::certificate::ServerIdentity;
use super::group::{self, Interface};
pub use super::model::Model;
pub use super::processes::WorkerCommand;
use super::processes::Workers;
pub use super::server_records::EchoServeSummary;
use super::server_records::{Listening, Reporter, thread_time};
use super::work::{WORK_MAX, Work};
pub use super::worker_messages::WorkerOutput;
use super::worker_messages::WorkerSetup;
use super::{blocking, processes, selector, tasks, udp_server};
use crate::error::{Outcome, ToolError};
use crate::listener::{ListenOptions, Listener, ReuseAddress, Sharing};
use crate::open_files::raise_open_file_limit;
use crate::{Report, Stop, Stopped, Target, Verdict};

/// Options of the echo server.
#[derive(Clone, Debug)]
pub struct EchoServeOptions {
    pub listen: Target,
    /// UDP: no model, no connections.
    pub udp: bool,
    /// TLS, with a certificate for this run.
    pub tls: bool,
    /// File for that certificate (PEM), for clients that verify it.
    pub certificate: Option<PathBuf>,
    pub model: Model,
    /// End after one client.
    pub once: bool,
    /// Read everything a client sends, then answer with two texts and close (blocking models).
    pub greet: bool,
    /// Length of the accept queue.
    pub backlog: u32,
    /// Without `SO_REUSEADDR`: a restart fails while connections are in TIME_WAIT.
    pub without_reuse: bool,
    /// Only the first record and the summary.
    pub quiet: bool,
    /// Idle connections are closed after this time; the models without threads check four times in it.
    pub idle: Duration,
    /// CPU time for each message: each read, or each datagram.
    pub work: Duration,
    /// Multicast groups to join, over UDP.
    pub join: Vec<IpAddr>,
    /// The interface on which they are joined: a name or an address of it.
    pub interface: Option<String>,
    /// Starts the workers of the model `processes`.
    pub worker: Option<WorkerCommand>,
}

impl Default for EchoServeOptions {
    /// TCP on any loopback port, with the model `selector`.
    fn default() -> EchoServeOptions {
        EchoServeOptions {
            listen: Target::Net { host: "127.0.0.1".to_owned(), port: Some(0) },
            udp: false,
            tls: false,
            certificate: None,
            model: Model::Selector,
            once: false,
            greet: false,
            backlog: 128,
            without_reuse: false,
            quiet: false,
            idle: Duration::from_secs(300),
            work: Duration::ZERO,
            join: Vec::new(),
            interface: None,
            worker: None,
        }
    }
}

/// A server that listens and does not yet accept.
pub struct Server {
    options: EchoServeOptions,
    listener: Listener,
    tls: Option<ServerIdentity>,
    workers: Option<Workers>,
    report: Report,
    stop: Stop,
}

impl Server {
    /// Listens and records that. `None`: stopped before the name was resolved.
    pub fn open(
        options: &EchoServeOptions,
        report: &Report,
        stop: &Stop,
    ) -> Result<Option<Server>, ToolError> {
        check(options)?;
        raise_open_file_limit();
        let kind = if options.udp { Type::DGRAM } else { Type::STREAM };
        let own = |options: &EchoServeOptions| {
            ServerIdentity::make(names(&options.listen), options.certificate.as_deref())
        };
        let tls = if options.tls { Some(own(options)?) } else { None };
        let is_shared = options.model == Model::Processes && !options.udp;
        let sharing = if is_shared { Sharing::OnlyKeepsPort } else { Sharing::Nobody };
        let how = ListenOptions { kind, backlog: options.backlog, receive_buffer: None, sharing };
        let reuse = if options.without_reuse { ReuseAddress::Unset } else { ReuseAddress::Set };
        let opened = Listener::open_with(&options.listen, how, reuse, report, stop)?;
        let Some(listener) = opened else { return Ok(None) };
        join_groups(options, &listener, report)?;
        let workers = match is_shared {
            true => match start_workers(options, &listener, tls.as_ref(), report, stop)? {
                None => return Ok(None),
                workers => workers,
            },
            false => None,
        };
        report.record(&Listening {
            address: &listener.address,
            kind: match (&options.listen, options.udp, options.tls) {
                (_, true, _) => "UDP",
                (Target::Unix(_), _, false) => "Unix socket",
                (Target::Unix(_), _, true) => "TLS over a Unix socket",
                (Target::Net { .. }, _, false) => "TCP",
                (Target::Net { .. }, _, true) => "TLS over TCP",
            },
            model: Some(options.model).filter(|_| !options.udp),
            backlog: Some(options.backlog).filter(|_| !options.udp),
            may_wait: Some(listener.backlog).filter(|_| !options.udp),
            key: tls.as_ref().map(|own| own.fingerprint.as_str()),
            workers: workers.as_ref().map(Workers::pids),
        })?;
        if listener.is_beyond_this_machine() {
            report.means(if options.udp {
                "other machines can reach it, and the source of a datagram can be forged: anybody can make it send to \
                 any address. In a foreign network listen on 127.0.0.1"
            } else {
                "other machines can reach it; 127.0.0.1 is for this machine only"
            })?;
        }
        Ok(Some(Server {
            options: options.clone(),
            listener,
            tls,
            workers,
            report: report.clone(),
            stop: stop.clone(),
        }))
    }

    /// The address for clients.
    pub fn address(&self) -> &str {
        &self.listener.address
    }

    /// Serves until `--once` or `Stop` ends it.
    pub fn serve(self) -> Result<(EchoServeSummary, Option<Stopped>), ToolError> {
        let reporter = Arc::new(Reporter::new(self.report.clone(), self.options.quiet, self.stop.clone()));
        let before = thread_time();
        let context = ServerContext {
            reporter: reporter.clone(),
            stop: self.stop.clone(),
            tls: self.tls.map(|own| own.config),
            idle: self.options.idle,
            greet: self.options.greet,
            once: self.options.once,
            work: Work(self.options.work),
        };
        let stopped = match (self.workers, self.options.model) {
            (Some(workers), _) => workers.serve(&reporter, &self.stop),
            _ if self.options.udp => udp_server::serve(&self.listener, &context),
            (None, Model::Sequential) => blocking::sequential(&self.listener, &context),
            (None, Model::Threads) => blocking::threads(&self.listener, &context),
            (None, Model::Selector | Model::Processes) => selector::serve(&self.listener, &context),
            (None, Model::Async) => tasks::serve(&self.listener, &context),
        };
        reporter.thread_ends(before);
        let stopped = stopped.map_err(|error| {
            ToolError::of(format!("cannot serve at {}", self.listener.address), &error, Doing::Read)
        });
        // An output error comes first: other errors follow from it.
        let summary = reporter.finish(self.options.udp)?;
        Ok((summary, stopped?))
    }
}

fn join_groups(options: &EchoServeOptions, listener: &Listener, report: &Report) -> Result<(), ToolError> {
    let Some(own) = listener.net_address().filter(|_| !options.join.is_empty()) else { return Ok(()) };
    let interface = options.interface.as_deref().map(Interface::find).transpose()?;
    for group in &options.join {
        if !group.is_multicast() {
            return Err(ToolError::Usage(format!(
                "{group} is no multicast group: those are 224.0.0.0 to 239.255.255.255, and ff00::/8"
            )));
        }
        if !own.ip().is_unspecified() && own.ip() != *group {
            return Err(ToolError::Usage(format!(
                "a socket bound to one address of this machine is given no datagrams of a group: add --listen :{}",
                own.port()
            )));
        }
        if group.is_ipv6() && own.is_ipv4() {
            return Err(ToolError::Usage(format!("{group} is a group of IPv6, and {own} is IPv4")));
        }
        group::join(&listener.socket, *group, interface.as_ref())?;
        report.explain(|| {
            let on = interface.as_ref().map_or("the interface of its route", |interface| &interface.name);
            format!(
                "IP_ADD_MEMBERSHIP: joins {group} on {on}; the kernel tells the routers there (IGMP, MLD), and gives this socket \
                 what is sent to the group"
            )
        })?;
    }
    Ok(())
}

/// Starts the workers of the model `processes`. `None`: stopped.
fn start_workers(
    options: &EchoServeOptions,
    listener: &Listener,
    tls: Option<&ServerIdentity>,
    report: &Report,
    stop: &Stop,
) -> Result<Option<Workers>, ToolError> {
    let wrong = |text: &str| ToolError::Usage(text.to_owned());
    let command = options.worker.as_ref();
    let command = command.ok_or_else(|| wrong("the model processes needs a program for its workers"))?;
    let address = listener.net_address().ok_or_else(|| wrong(NO_UNIX_WORKERS))?;
    let setup = WorkerSetup {
        address,
        backlog: options.backlog,
        once: options.once,
        quiet: options.quiet,
        idle: options.idle,
        work: options.work,
        output: command.output,
        explains: report.explains(),
        tls: tls.map(|own| (own.certificate.clone(), own.key.clone())),
    };
    let count = if options.once { 1 } else { processes::usual_count() };
    Workers::start(command, &setup, count, stop)
}

const NO_UNIX_WORKERS: &str = "the model processes needs TCP: SO_REUSEPORT divides the connections of a port";

/// Checks that the options fit together.
fn check(options: &EchoServeOptions) -> Result<(), ToolError> {
    let wrong = |text: &str| Err(ToolError::Usage(text.to_owned()));
    let is_unix = matches!(options.listen, Target::Unix(_));
    match () {
        () if options.udp && options.tls => {
            wrong("TLS needs TCP or a Unix socket; DTLS over UDP is not supported")
        }
        () if options.udp && is_unix => {
            wrong("--udp works only with network addresses, not with Unix sockets")
        }
        () if options.udp && options.greet => {
            wrong("--greet answers after a client has closed; UDP has no connections")
        }
        () if !options.join.is_empty() && !options.udp => {
            wrong("--join needs --udp: a TCP connection has two ends")
        }
        () if options.work > WORK_MAX => wrong("--work is at most 1s: it is done for each message"),
        () if is_unix && options.model == Model::Processes => wrong(NO_UNIX_WORKERS),
        () if options.greet && !matches!(options.model, Model::Sequential | Model::Threads) => {
            wrong("--greet needs a blocking model: add --model sequential or --model threads")
        }
        () => Ok(()),
    }
}

fn names(listen: &Target) -> Vec<String> {
    let mut names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    match listen {
        Target::Net { host, .. } if host.is_ascii() && !host.is_empty() && !names.contains(host) => {
            names.extend(host.split('%').next().map(str::to_owned));
        }
        _ => {}
    }
    names
}

/// Runs the server and records the summary.
pub fn run(options: &EchoServeOptions, report: &Report, stop: &Stop) -> Outcome {
    let (summary, stopped) = match Server::open(options, report, stop)? {
        Some(server) => server.serve()?,
        None => (
            EchoServeSummary { is_udp: options.udp, ..EchoServeSummary::default() },
            Some(Stopped::Requested),
        ),
    };
    report.record(&summary)?;
    Ok(match stopped {
        // --timeout normally limits the server's run; only with --once is it a failure.
        Some(Stopped::TimedOut) if options.once => Verdict::TimedOut,
        _ => Verdict::Good,
    })
}
