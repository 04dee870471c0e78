//! Model `processes`: worker processes, each with a selector and a listening socket of its own on the same port
//! (`SO_REUSEPORT`). The kernel gives each new connection to one of them, by a hash of its addresses. Workers share no
//! memory: what they count is summed up at the end. They end with their server.

use std::ffi::OsString;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use vang_client::trouble::Doing;

use super::server_records::Reporter;
use super::worker_messages::{self as messages, FromWorker, WorkerOutput, WorkerSetup};
use crate::{Stop, Stopped, ToolError};

/// Time for a worker to end when it is asked to.
const END_WAIT: Duration = Duration::from_secs(5);

/// The program that runs `worker::run`.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    pub program: PathBuf,
    /// Its name in lists of processes.
    pub name: OsString,
    pub args: Vec<OsString>,
    pub output: WorkerOutput,
}

/// A worker process. Dropping it ends it.
struct Worker {
    child: Child,
    control: UnixStream,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has ended by itself, except after an error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All workers of a server.
pub(super) struct Workers(Vec<Worker>);

/// As many as there are cores, and at least two.
pub(super) fn usual_count() -> usize {
    thread::available_parallelism().map_or(2, |cores| cores.get().max(2))
}

impl Workers {
    /// Starts workers and waits until all of them listen. `None`: stopped.
    pub(super) fn start(
        command: &WorkerCommand,
        setup: &WorkerSetup,
        count: usize,
        stop: &Stop,
    ) -> Result<Option<Workers>, ToolError> {
        let cannot = |error: &io::Error| ToolError::of("cannot start a worker process", error, Doing::Read);
        let mut workers = Workers(Vec::new());
        for _ in 0..count {
            let worker = spawn(command, setup).map_err(|error| cannot(&error))?;
            workers.0.push(worker);
        }
        for worker in &workers.0 {
            let mut fds = [PollFd::new(&worker.control, PollFlags::IN)];
            if stop.wait(&mut fds, None)?.is_some() {
                return Ok(None);
            }
            match messages::read(&worker.control) {
                Ok(FromWorker::Ready) => {}
                Ok(FromWorker::Failed(why)) => {
                    return Err(ToolError::Usage(format!("a worker process failed: {why}")));
                }
                Ok(FromWorker::Ended(_) | FromWorker::NobodyReads) => {
                    return Err(cannot(&io::ErrorKind::BrokenPipe.into()));
                }
                Err(error) => return Err(cannot(&error)),
            }
        }
        Ok(Some(workers))
    }

    /// Their process numbers.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.0.iter().map(|worker| worker.child.id()).collect()
    }

    /// Waits until the tool must end, or all workers have ended, and sums up their counts.
    pub(super) fn serve(mut self, reporter: &Reporter, stop: &Stop) -> io::Result<Option<Stopped>> {
        while !self.0.is_empty() {
            let mut fds: Vec<PollFd<'_>> =
                self.0.iter().map(|worker| PollFd::new(&worker.control, PollFlags::IN)).collect();
            let stopped = stop.wait(&mut fds, None)?;
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if stopped.is_some() {
                self.end(reporter)?;
                return Ok(stopped);
            }
            let mut failed = None;
            for at in (0..ready.len()).rev().filter(|at| ready[*at]) {
                let mut worker = self.0.remove(at);
                let is_last = self.0.is_empty();
                if let Err(error) = take_last_message(&mut worker, reporter, is_last) {
                    failed = Some(error);
                }
            }
            if let Some(error) = failed {
                self.end(reporter)?;
                return Err(error);
            }
        }
        Ok(stop.now())
    }

    /// Asks all workers to end.
    fn end(&mut self, reporter: &Reporter) -> io::Result<()> {
        for worker in &self.0 {
            // It fails if the worker has gone.
            let _ = worker.control.shutdown(Shutdown::Write);
        }
        let patience = Stop::after(Some(END_WAIT))?;
        for mut worker in self.0.drain(..) {
            let mut fds = [PollFd::from_borrowed_fd(worker.control.as_fd(), PollFlags::IN)];
            if patience.wait(&mut fds, None)?.is_none() {
                take_last_message(&mut worker, reporter, false)?;
            }
        }
        Ok(())
    }
}

fn spawn(command: &WorkerCommand, setup: &WorkerSetup) -> io::Result<Worker> {
    let (control, stdin) = UnixStream::pair()?;
    let child = Command::new(&command.program)
        .arg0(&command.name)
        .args(&command.args)
        .stdin(Stdio::from(OwnedFd::from(stdin)))
        .spawn()?;
    let worker = Worker { child, control };
    messages::write(&worker.control, setup)?;
    Ok(worker)
}

/// Reads why a worker ends. `Err`: the server cannot go on.
fn take_last_message(worker: &mut Worker, reporter: &Reporter, is_last: bool) -> io::Result<()> {
    match messages::read(&worker.control) {
        Ok(FromWorker::Ended(summary)) => {
            reporter.add(&summary);
            Ok(())
        }
        Ok(FromWorker::NobodyReads) => {
            reporter.output_failed(io::ErrorKind::BrokenPipe.into());
            Ok(())
        }
        Ok(FromWorker::Failed(why)) => Err(io::Error::other(why)),
        Ok(FromWorker::Ready) => Err(io::ErrorKind::InvalidData.into()),
        // It was killed. Its connections are gone too, so it is not started again: that would hide it.
        Err(_) => {
            let pid = worker.child.id();
            let status = worker.child.wait()?;
            let text =
                format!("worker process {pid} ended: {status}. Its connections are closed and not counted");
            if is_last {
                return Err(io::Error::other(text));
            }
            reporter.means(&format!("{text}; the other workers go on"));
            Ok(())
        }
    }
}
