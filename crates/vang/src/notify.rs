//! A word to the service manager, where there is one: systemd's `Type=notify-reload` as `sd_notify(3)` has it, a
//! datagram to the socket that `NOTIFY_SOCKET` names. Without one nothing is said.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The server is ready.
pub(crate) fn ready() {
    say("READY=1");
}

/// It reads its configuration again; `ready` says that it has.
pub(crate) fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let us = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000;
    say(&format!("RELOADING=1\nMONOTONIC_USEC={us}"));
}

/// It finishes what is in flight.
pub(crate) fn stopping() {
    say("STOPPING=1");
}

/// It is alive: whoever says so is the thread that serves everybody.
pub(crate) fn alive() {
    say("WATCHDOG=1");
}

/// How often the manager wants to hear that, if at all: at half of the time after which it would kill us
/// (sd_watchdog_enabled(3)).
pub(crate) fn watchdog() -> Option<Duration> {
    let us = std::env::var("WATCHDOG_USEC").ok()?.parse::<u64>().ok().filter(|us| *us > 0)?;
    is_meant("WATCHDOG_PID", true).then(|| Duration::from_micros((us / 2).max(1)))
}

/// Sockets that the manager has opened for us (sd_listen_fds(3)), and that we do not take: how many.
pub(crate) fn sockets_left() -> Option<u32> {
    let count = std::env::var("LISTEN_FDS").ok()?.parse::<u32>().ok().filter(|count| *count > 0)?;
    is_meant("LISTEN_PID", false).then_some(count)
}

/// Is this process the one that the variable names?
fn is_meant(variable: &str, without_one: bool) -> bool {
    let pid = std::env::var(variable).ok().filter(|pid| !pid.is_empty());
    pid.map_or(without_one, |pid| pid == std::process::id().to_string())
}

fn say(word: &str) {
    let Some(name) = std::env::var("NOTIFY_SOCKET").ok().filter(|name| !name.is_empty()) else { return };
    let addr = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    // Whoever started us waits for it, or does not: nothing here depends on it.
    let _ = addr.and_then(|addr| UnixDatagram::unbound()?.send_to_addr(word.as_bytes(), &addr));
}
