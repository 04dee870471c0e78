//! The server under test: sends it one case, and asks as an honest client whether it still answers.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use vang_client::trouble::Doing;

use super::case::{Case, Ending, FuzzProtocol};
use crate::deadline_stream::{DeadlineStream, NotConnected};
use crate::destination::Destination;
use crate::{Stop, Stopped, Target, ToolError};

/// How long an answer to a case is read. What is still open then is closed.
const ANSWER_WAIT: Duration = Duration::from_millis(500);

/// Most bytes of an answer that are read: 1 MiB.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How the server ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    Answered,
    Closed,
    Reset,
    /// Still open, without an answer.
    Open,
    /// It was not read.
    Unread,
}

/// Why an honest client got no answer.
#[derive(Debug)]
pub(super) enum Silent {
    /// It could not connect.
    Unreachable(io::Error),
    /// It could connect, and was not answered.
    Unanswered(String),
    Stopped(Stopped),
}

#[derive(Debug)]
pub(super) struct Server<'a> {
    destination: Destination,
    /// How long an honest client waits.
    wait: Duration,
    stop: &'a Stop,
}

impl<'a> Server<'a> {
    /// Connects to the first address that accepts. `None`: stopped.
    pub(super) fn find(
        target: &Target,
        is_mine: bool,
        wait: Duration,
        stop: &'a Stop,
    ) -> Result<Option<Server<'a>>, ToolError> {
        let Some(found) = Destination::resolve(target, stop)? else { return Ok(None) };
        for destination in &found {
            let ip = destination.address.as_socket().map(|address| address.ip());
            if let Some(ip) = ip.filter(|ip| !is_mine && !is_of_this_site(*ip)) {
                return Err(ToolError::Usage(format!(
                    "{ip} is neither this machine nor in a private network: wrong input goes only to a server of your own; \
                     --my-server says that it is"
                )));
            }
        }
        let mut refused = None;
        for destination in found {
            let server = Server { destination, wait, stop };
            match server.connect() {
                Ok(_) => return Ok(Some(server)),
                Err(NotConnected::Stopped(Stopped::Requested)) => return Ok(None),
                Err(NotConnected::Stopped(Stopped::TimedOut)) => {
                    return Err(server.destination.failure(&io::ErrorKind::TimedOut.into()));
                }
                Err(NotConnected::Failed(error)) => {
                    refused.get_or_insert(server.destination.failure(&error));
                }
            }
        }
        Err(refused.unwrap_or_else(|| ToolError::Usage(format!("{target} has no address"))))
    }

    pub(super) fn name(&self) -> &str {
        &self.destination.name
    }

    pub(super) fn is_unix(&self) -> bool {
        self.destination.is_unix()
    }

    fn connect(&self) -> Result<DeadlineStream<'a>, NotConnected> {
        let socket = self.destination.socket()?;
        let socket = self.destination.connect(socket, self.stop)?;
        Ok(DeadlineStream::from_socket(socket, self.stop)?)
    }

    /// Sends a case. An error only if there was no connection.
    pub(super) fn send(&self, case: &Case) -> Result<Reaction, NotConnected> {
        let mut stream = self.connect()?;
        stream.set_deadline(Instant::now() + self.wait);
        for piece in case.bytes.chunks(case.piece.max(1)) {
            // A server that refuses the beginning need not read the rest.
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        match case.ending {
            Ending::Close => Ok(Reaction::Unread),
            Ending::Reset => {
                // A failure means that the server was first.
                let _ = stream.reset();
                Ok(Reaction::Unread)
            }
            Ending::HalfClose => {
                let _ = stream.end_writing();
                stream.set_deadline(Instant::now() + ANSWER_WAIT);
                Ok(read_all(&mut stream))
            }
        }
    }

    /// Asks as an honest client, and waits for the first bytes of the answer; with `None` only connects.
    pub(super) fn ask(&self, protocol: Option<FuzzProtocol>) -> Result<(), Silent> {
        let mut stream = self.connect().map_err(|error| match error {
            NotConnected::Failed(error) => Silent::Unreachable(error),
            NotConnected::Stopped(stopped) => Silent::Stopped(stopped),
        })?;
        let Some(protocol) = protocol else { return Ok(()) };
        stream.set_deadline(Instant::now() + self.wait);
        let asked = stream.write_all(&protocol.honest()).and_then(|()| {
            loop {
                match stream.read(&mut [0; 64]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    done => return done,
                }
            }
        });
        match (asked, stream.stopped()) {
            (_, Some(stopped)) => Err(Silent::Stopped(stopped)),
            (Ok(0), _) => Err(Silent::Unanswered("it closed the connection without an answer".to_owned())),
            (Ok(_), _) => Ok(()),
            (Err(error), _) if error.kind() == io::ErrorKind::TimedOut => {
                Err(Silent::Unanswered(format!("no answer within {} ms", self.wait.as_millis())))
            }
            (Err(error), _) => {
                Err(Silent::Unanswered(crate::error::explain(&error, Doing::Read).to_string()))
            }
        }
    }

    /// What an honest client met, in words.
    pub(super) fn in_words(&self, silent: &Silent) -> String {
        match silent {
            Silent::Unreachable(error) => self.destination.failure(error).to_string(),
            Silent::Unanswered(why) => format!("an honest client can connect, but {why}"),
            Silent::Stopped(_) => "stopped".to_owned(),
        }
    }
}

fn read_all(stream: &mut DeadlineStream<'_>) -> Reaction {
    let (mut read, mut buffer) = (0, [0; 16 << 10]);
    let answered = |read| if read > 0 { Reaction::Answered } else { Reaction::Open };
    loop {
        match stream.read(&mut buffer) {
            Ok(0) if read == 0 => return Reaction::Closed,
            Ok(0) => return Reaction::Answered,
            Ok(n) => read += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return answered(read),
            Err(_) if read > 0 => return Reaction::Answered,
            Err(_) => return Reaction::Reset,
        }
        if read > ANSWER_BYTES_MAX {
            return Reaction::Answered;
        }
    }
}

/// This machine, or a network that is no part of the Internet.
fn is_of_this_site(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified(),
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_and_private_networks_are_taken_unasked() {
        for ip in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "192.168.1.1",
            "172.31.0.1",
            "169.254.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "0.0.0.0",
        ] {
            assert!(is_of_this_site(ip.parse().unwrap()), "{ip}");
        }
        for ip in
            ["9.9.9.9", "172.32.0.1", "192.0.2.1", "100.64.0.1", "2001:db8::1", "::ffff:9.9.9.9", "224.0.0.1"]
        {
            assert!(!is_of_this_site(ip.parse().unwrap()), "{ip}");
        }
    }
}
