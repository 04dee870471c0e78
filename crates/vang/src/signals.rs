//! Signals, and the runtime of one thread that waits for them.

use tokio::signal::unix::{Signal, SignalKind, signal};
use vang_nettools::is_ignored;

/// A runtime of one thread: the server's decisions all run on it.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// A signal of which the default action is to end the process; `None` if this process was started with the
/// signal ignored (as a shell starts background jobs), because then it is meant for others.
pub(crate) fn unless_ignored(kind: SignalKind) -> std::io::Result<Option<Signal>> {
    if is_ignored(kind.as_raw_value()) { Ok(None) } else { signal(kind).map(Some) }
}

/// The next of these signals; never, if it is ignored.
pub(crate) async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Makes a write beyond the file size limit an error that can be reported; by default it ends the process.
/// Must run inside a tokio runtime.
pub(crate) fn handle_file_size_signal() -> std::io::Result<Signal> {
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))
}

/// The same for a program without a runtime.
pub(crate) fn handle_file_size_signal_without_runtime() -> anyhow::Result<()> {
    let runtime = runtime()?;
    let _inside = runtime.enter();
    // The handler stays installed when the stream is dropped.
    let _ = handle_file_size_signal()?;
    Ok(())
}
