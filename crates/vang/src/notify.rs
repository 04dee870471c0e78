//! A word to the service manager, where there is one: systemd's `Type=notify-reload` as `sd_notify(3)` has it, a
//! datagram to the socket that `NOTIFY_SOCKET` names. Without one nothing is said.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

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

fn say(word: &str) {
    let Some(name) = std::env::var("NOTIFY_SOCKET").ok().filter(|name| !name.is_empty()) else { return };
    let addr = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    // Whoever started us waits for it, or does not: nothing here depends on it.
    let _ = addr.and_then(|addr| UnixDatagram::unbound()?.send_to_addr(word.as_bytes(), &addr));
}
