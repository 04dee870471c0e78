//! The client over UDP for an address of several hosts: broadcast or multicast. Each host can answer, so after each text it
//! waits for more answers, and shows from which host they come.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use serde::Serialize;
use socket2::SockRef;
use vang_client::trouble::Doing;
use vang_proto::text::{counted, short_duration, size};

use super::group::{self, GroupOptions, Interface};
use super::peer::BUFFER;
use crate::error::{Outcome, ToolError};
use crate::peer_name::PeerName;
use crate::{Record, Report, Stop, Stopped, Verdict, quoted};

/// Answers are waited for so long after each datagram: nobody knows how many will come.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// Hosts that are counted one by one; further ones are counted together.
const HOSTS_MAX: usize = 65_536;

/// Bytes shown of an answer.
const SHOWN_MAX: usize = 64;

#[derive(Serialize)]
struct GroupAnswer {
    peer: String,
    bytes: usize,
    text: String,
    /// It is what was sent.
    same: bool,
    took_us: u64,
}

impl Record for GroupAnswer {
    const EVENT: &'static str = "answer";
}

impl fmt::Display for GroupAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = short_duration(Duration::from_micros(self.took_us));
        let size = size(self.bytes as u64);
        match self.same {
            true => write!(f, "{} came back from {}: {size} in {took}", self.text, self.peer),
            false => write!(
                f,
                "{} came from {}, which is not what was sent: {size} in {took}",
                self.text, self.peer
            ),
        }
    }
}

#[derive(Default, Serialize)]
struct GroupSummary {
    to: String,
    kind: &'static str,
    sent: u64,
    answers: u64,
    hosts: u64,
    wrong: u64,
    took_us: u64,
}

impl Record for GroupSummary {
    const EVENT: &'static str = "summary";
}

impl fmt::Display for GroupSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sent to {} ({}), {} from {} in {}",
            counted(self.sent, "datagram", "datagrams"),
            self.to,
            self.kind,
            counted(self.answers, "answer", "answers"),
            counted(self.hosts, "host", "hosts"),
            short_duration(Duration::from_micros(self.took_us))
        )?;
        if self.wrong > 0 { write!(f, ", {} not what was sent", self.wrong) } else { Ok(()) }
    }
}

/// Sends each text to the group and shows the answers.
pub(super) fn run(
    to: SocketAddr,
    texts: &[Vec<u8>],
    options: GroupOptions,
    interface: Option<&str>,
    report: &Report,
    stop: &Stop,
) -> Outcome {
    let interface = interface.map(Interface::find).transpose()?;
    let failed = |error: &io::Error| ToolError::System {
        doing: format!("cannot send to {to}"),
        trouble: group::explain(error, to, interface.as_ref(), Doing::Write),
    };
    let socket = open(to, options, interface.as_ref()).map_err(|error| failed(&error))?;
    report.explain(|| {
        let through = interface.as_ref().map_or(String::new(), |found| format!(", through {}", found.name));
        let asked = if options.broadcast { ", SO_BROADCAST" } else { "" };
        format!(
            "socket{asked}, not connected{through}: a connected socket hears only its destination, and answers come from the \
             hosts' own addresses"
        )
    })?;
    let kind = if to.ip().is_multicast() { "multicast" } else { "broadcast" };
    let mut summary = GroupSummary { to: to.to_string(), kind, ..GroupSummary::default() };
    let mut hosts = BTreeSet::new();
    let mut buffer = vec![0; BUFFER];
    let began = Instant::now();
    let mut stopped = None;
    'texts: for text in texts {
        socket.send_to(text, to).map_err(|error| failed(&error))?;
        summary.sent += 1;
        let sent_at = Instant::now();
        loop {
            let mut fds = [PollFd::new(&socket, PollFlags::IN)];
            stopped = stop.wait(&mut fds, Some(ANSWER_WAIT.saturating_sub(sent_at.elapsed())))?;
            if stopped.is_some() {
                break 'texts;
            }
            // Also while answers go on coming.
            if fds[0].revents().is_empty() || sent_at.elapsed() >= ANSWER_WAIT {
                break;
            }
            let (len, from) = match socket.recv_from(&mut buffer) {
                Ok(came) => came,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(failed(&error)),
            };
            let bytes = &buffer[..len];
            let same = bytes == text.as_slice();
            summary.answers += 1;
            summary.wrong += u64::from(!same);
            if hosts.len() < HOSTS_MAX {
                hosts.insert(from.ip());
            }
            report.record(&GroupAnswer {
                peer: PeerName::Net(from).to_string(),
                bytes: len,
                text: quoted(bytes, SHOWN_MAX),
                same,
                took_us: sent_at.elapsed().as_micros() as u64,
            })?;
        }
    }
    summary.hosts = hosts.len() as u64;
    summary.took_us = began.elapsed().as_micros() as u64;
    report.record(&summary)?;
    if summary.answers == 0 && stopped.is_none() {
        report.means(match kind {
            "multicast" => {
                "no member of the group answered. A server is given a group's datagrams only after it has joined the group, on \
                 the interface where they arrive: `vang net echo serve --udp --listen :PORT --join GROUP`. They pass no router \
                 unless --ttl is more than 1 and the router forwards multicast"
            }
            _ => {
                "no host answered. A broadcast reaches one network, no router passes it on, and only servers that listen on \
                 every interface get it: `vang net echo serve --udp --listen :PORT`"
            }
        })?;
    }
    Ok(match stopped {
        Some(Stopped::TimedOut) => Verdict::TimedOut,
        _ if summary.answers == 0 || summary.wrong > 0 => Verdict::Bad,
        _ => Verdict::Good,
    })
}

fn open(to: SocketAddr, options: GroupOptions, interface: Option<&Interface>) -> io::Result<UdpSocket> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    group::prepare(&SockRef::from(&socket), to, options, interface)?;
    Ok(socket)
}
