//! A worker of the model `processes`: a selector with a listening socket of its own on the server's port. It ends with its
//! server.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use socket2::Type;

use super::accept::ServerContext;
use super::certificate::ServerIdentity;
use super::selector;
use super::server_records::{EchoServeSummary, Reporter, thread_time};
use super::work::Work;
use super::worker_messages::{self as messages, FromWorker, WorkerOutput, WorkerSetup};
use crate::listener::{ListenOptions, Listener, Sharing};
use crate::open_files::raise_open_file_limit;
use crate::{Report, Stop, ToolError};

/// Runs a worker. Its stdin is the connection to its server, to which all errors go.
pub fn run() -> Result<(), ToolError> {
    let by_hand = |_: io::Error| {
        ToolError::Usage(
            "this command is for `vang net echo serve --model processes`, which starts it".to_owned(),
        )
    };
    let control = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from).map_err(by_hand)?;
    let setup: WorkerSetup = messages::read(&control).map_err(by_hand)?;
    let last = match serve(setup, &control) {
        Ok(summary) => FromWorker::Ended(summary),
        Err(ToolError::Output(_)) => FromWorker::NobodyReads,
        Err(error) => FromWorker::Failed(error.to_string()),
    };
    // It fails if the server has gone.
    let _ = messages::write(&control, &last);
    Ok(())
}

fn serve(setup: WorkerSetup, control: &UnixStream) -> Result<EchoServeSummary, ToolError> {
    raise_open_file_limit();
    let stop = Stop::after(None)?.on_signals()?;
    let report = match setup.output {
        WorkerOutput::Nothing => Report::new(io::sink(), io::sink(), true, false),
        output => Report::new(io::stdout(), io::stderr(), output == WorkerOutput::Json, setup.explains),
    };
    let reporter = Arc::new(Reporter::new(report.of_process(std::process::id()), setup.quiet, stop.clone()));
    let how = ListenOptions {
        kind: Type::STREAM,
        backlog: setup.backlog,
        receive_buffer: None,
        sharing: Sharing::WithWorkers,
    };
    let listener = Listener::at(setup.address, how)?;
    let tls = setup.tls.map(|(certificate, key)| ServerIdentity::of(certificate, key)).transpose()?;
    let context = ServerContext {
        reporter: reporter.clone(),
        stop: stop.clone(),
        tls: tls.map(|own| own.config),
        idle: setup.idle,
        greet: false,
        once: setup.once,
        work: Work(setup.work),
    };
    messages::write(control, &FromWorker::Ready)?;
    let watched = control.try_clone()?;
    thread::Builder::new().name("server".to_owned()).spawn(move || {
        // Nothing more is said: this returns when the server closes its end.
        let _ = messages::read::<()>(&watched);
        stop.request();
    })?;
    let before = thread_time();
    let served = selector::serve(&listener, &context);
    reporter.thread_ends(before);
    // An output error comes first: other errors follow from it.
    let summary = reporter.finish(false)?;
    served.map_err(|error| ToolError::Usage(format!("a worker cannot serve: {error}")))?;
    Ok(summary)
}
