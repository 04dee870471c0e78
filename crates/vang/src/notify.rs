//! Messages to the service manager: systemd's `Type=notify-reload`, as in sd_notify(3). They are datagrams to the
//! socket in `NOTIFY_SOCKET`; without that variable nothing is sent.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// True if a service manager has started this process; then no person reads its first lines.
pub(crate) fn is_managed() -> bool {
    manager().is_some()
}

/// The server is ready.
pub(crate) fn ready() {
    say("READY=1");
}

/// The server reads its settings again; `ready` follows when it has.
pub(crate) fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let us = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000;
    say(&format!("RELOADING=1\nMONOTONIC_USEC={us}"));
}

/// The server is stopping.
pub(crate) fn stopping() {
    say("STOPPING=1");
}

/// The watchdog's ping. It comes from the thread that serves all clients, so it stops if that thread hangs.
pub(crate) fn alive() {
    say("WATCHDOG=1");
}

/// The period of the watchdog's pings, if it is enabled: half of the time after which the manager kills the
/// server (sd_watchdog_enabled(3)).
pub(crate) fn watchdog() -> Option<Duration> {
    let us = std::env::var("WATCHDOG_USEC").ok()?.parse::<u64>().ok().filter(|us| *us > 0)?;
    is_meant("WATCHDOG_PID", true).then(|| Duration::from_micros((us / 2).max(1)))
}

/// The number of sockets that the manager has opened for us (sd_listen_fds(3)); we do not use them.
pub(crate) fn sockets_left() -> Option<u32> {
    let count = std::env::var("LISTEN_FDS").ok()?.parse::<u32>().ok().filter(|count| *count > 0)?;
    is_meant("LISTEN_PID", false).then_some(count)
}

/// True if the variable has the id of this process; `without_one` if it is not set.
fn is_meant(variable: &str, without_one: bool) -> bool {
    let pid = std::env::var(variable).ok().filter(|pid| !pid.is_empty());
    pid.map_or(without_one, |pid| pid == std::process::id().to_string())
}

/// The manager's socket.
fn manager() -> Option<String> {
    std::env::var("NOTIFY_SOCKET").ok().filter(|name| !name.is_empty())
}

fn say(word: &str) {
    let Some(name) = manager() else { return };
    let addr = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    // The server works also without a manager that listens.
    let _ = addr.and_then(|addr| UnixDatagram::unbound()?.send_to_addr(word.as_bytes(), &addr));
}
