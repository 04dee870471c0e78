//! A peer that vanishes without closing: how a client notices it, and the error that it gets.

use std::io;
use std::time::Duration;

use socket2::{Socket, TcpKeepalive};
use vang_client::trouble::{Doing, Trouble};

use super::options::{TalkOptions, VanishedPeer};
use crate::{Target, ToolError};

/// Unanswered keep-alive probes after which a connection ends.
const PROBES: u32 = 3;

/// The kernel counts TCP_USER_TIMEOUT in milliseconds, in an `int`: nearly 25 days.
const USER_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 24 * 3_600);
const _: () = assert!(USER_TIMEOUT_MAX.as_millis() <= i32::MAX as u128);

/// Checks the options.
pub(super) fn check(options: &TalkOptions) -> Result<(), ToolError> {
    let VanishedPeer { keepalive, user_timeout } = options.vanished;
    if keepalive.is_none() && user_timeout.is_none() {
        return Ok(());
    }
    if options.udp || matches!(options.to.target, Target::Unix(_)) {
        let text = "--keepalive and --user-timeout are for TCP: UDP has no connections, and a Unix socket's peer cannot vanish \
                    without closing";
        return Err(ToolError::Usage(text.to_owned()));
    }
    if user_timeout.is_some_and(|time| time > USER_TIMEOUT_MAX) {
        return Err(ToolError::Usage("--user-timeout is at most 24d: the kernel counts no more".to_owned()));
    }
    match keepalive {
        Some(time) if time.subsec_nanos() > 0 || time.as_secs() > 32_767 => Err(ToolError::Usage(
            "--keepalive is a number of whole seconds up to 32767: the kernel counts no others".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Sets the options on a socket.
pub(super) fn notice(options: &VanishedPeer, socket: &Socket) -> io::Result<()> {
    if let Some(time) = options.keepalive {
        let probes = TcpKeepalive::new().with_time(time).with_interval(time).with_retries(PROBES);
        socket.set_tcp_keepalive(&probes)?;
    }
    match options.user_timeout {
        Some(time) => socket.set_tcp_user_timeout(Some(time)),
        None => Ok(()),
    }
}

/// What the options do, for `--explain`.
pub(super) fn explained(options: &VanishedPeer) -> Vec<String> {
    let keepalive = options.keepalive.map(|time| {
        let seconds = time.as_secs();
        format!(
            "SO_KEEPALIVE, TCP_KEEPIDLE {seconds} s, TCP_KEEPINTVL {seconds} s, TCP_KEEPCNT {PROBES}: after {seconds} s without \
             a segment our kernel sends a probe; while sent bytes are unacknowledged it sends those instead"
        )
    });
    let user_timeout = options.user_timeout.map(|time| {
        format!("TCP_USER_TIMEOUT {} ms: the longest time without an acknowledgement", time.as_millis())
    });
    keepalive.into_iter().chain(user_timeout).collect()
}

/// Explains the error of a connection whose peer has vanished. `None`: another error.
pub(super) fn explain(error: &io::Error, options: &VanishedPeer, doing: Doing) -> Option<Trouble> {
    if error.kind() != io::ErrorKind::TimedOut {
        return None;
    }
    let likely = match (options.user_timeout, options.keepalive) {
        (Some(_), _) => {
            "the peer acknowledged nothing within --user-timeout: it, or the way to it, has vanished without closing"
        }
        (None, Some(_)) => {
            "the peer answered no keep-alive probe: it, or the way to it, has vanished without closing"
        }
        (None, None) => return None,
    };
    let advice =
        "look whether the machine is on and reached, as with `vang net ping HOST`; then connect again";
    Some(Trouble { likely, advice, ..vang_client::trouble::explain(error, doing) })
}
