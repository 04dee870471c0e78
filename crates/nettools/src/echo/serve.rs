//! The echo server: options, and the choice of the model.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::Type;
use vang_client::trouble::Doing;

use super::accept::ServerContext;
use super::certificate::ServerIdentity;
pub use super::model::Model;
pub use super::server_records::EchoServeSummary;
use super::server_records::{Listening, Reporter, thread_time};
use super::{blocking, selector, tasks, udp_server};
use crate::error::{Outcome, ToolError};
use crate::listener::{ListenOptions, Listener};
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
    /// Only the first record and the summary.
    pub quiet: bool,
    /// Idle connections are closed after this time; the models without threads check four times in it.
    pub idle: Duration,
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
            quiet: false,
            idle: Duration::from_secs(300),
        }
    }
}

/// A server that listens and does not yet accept.
pub struct Server {
    options: EchoServeOptions,
    listener: Listener,
    tls: Option<ServerIdentity>,
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
        let how = ListenOptions { kind, backlog: options.backlog, receive_buffer: None };
        let Some(listener) = Listener::open(&options.listen, how, report, stop)? else { return Ok(None) };
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
            stop: self.stop,
            tls: self.tls.map(|own| own.config),
            idle: self.options.idle,
            greet: self.options.greet,
            once: self.options.once,
        };
        let stopped = match (self.options.udp, self.options.model) {
            (true, _) => udp_server::serve(&self.listener, &context),
            (false, Model::Sequential) => blocking::sequential(&self.listener, &context),
            (false, Model::Threads) => blocking::threads(&self.listener, &context),
            (false, Model::Selector) => selector::serve(&self.listener, &context),
            (false, Model::Async) => tasks::serve(&self.listener, &context),
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
