//! Which source of names answered: the hosts file, DNS, multicast DNS and so on, in the order of `/etc/nsswitch.conf`.
//!
//! `getaddrinfo(3)` does not tell. So the sources are asked again, one after the other: the hosts file is read, and the others
//! are asked alone with `getent -s SOURCE ahosts NAME`. The first one with the same addresses is named, with how that is known;
//! otherwise none is named.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use serde::Serialize;
use vang_client::address::loose_ipv4;

use crate::{Record, Stop};

const HOSTS: &str = "/etc/hosts";
const NSSWITCH: &str = "/etc/nsswitch.conf";
const RESOLV: &str = "/etc/resolv.conf";

/// How long one source is waited for. It answered a moment ago.
const SOURCE_WAIT: Duration = Duration::from_secs(3);

/// Most bytes of an answer and of a file of settings that are read: 1 MiB.
const READ_BYTES_MAX: u64 = 1 << 20;

/// The source of an answer.
#[derive(Debug, Serialize)]
pub(super) struct Source {
    /// As `/etc/nsswitch.conf` names it; missing if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// How that is known, or why it is not.
    how: String,
    /// All sources of hosts, in their order.
    order: Vec<String>,
    /// Where that order is from.
    order_from: &'static str,
}

impl Record for Source {
    const EVENT: &'static str = "source";
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "source: {}: {}", called(source), self.how)?,
            None => write!(f, "source: not known: {}", self.how)?,
        }
        write!(f, "; the order is {} ({})", self.order.join(", "), self.order_from)
    }
}

/// The source of these addresses of a name. `None`: an address or an empty host, for which no source is asked.
pub(super) fn of(host: &str, addresses: &[SocketAddr], stop: &Stop) -> Option<Source> {
    if is_literal(host) || addresses.is_empty() {
        return None;
    }
    let (order, order_from) = match order(&text_of(NSSWITCH)) {
        Some(order) => (order, NSSWITCH),
        None => (vec!["dns".to_owned(), "files".to_owned()], "the default of the C library"),
    };
    let wanted: BTreeSet<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
    let mut others = Vec::new();
    for source in &order {
        if stop.now().is_some() {
            others.push("stopped".to_owned());
            break;
        }
        let found = match source.as_str() {
            "files" => Ok(from_hosts_file(host, &wanted)),
            other => from_getent(other, host, &wanted, stop),
        };
        match found {
            Ok(Some(how)) => {
                let how = match others.is_empty() {
                    true => how,
                    false => format!("{how}; before it {}", others.join(", ")),
                };
                return Some(Source { source: Some(source.clone()), how, order, order_from });
            }
            Ok(None) => others.push(format!("{source} did not give these addresses")),
            Err(error) => others.push(format!("{source} could not be asked alone ({error})")),
        }
    }
    let how = format!("{}. A cache (nscd), or an answer that changes, can be the reason", others.join(", "));
    Some(Source { source: None, how, order, order_from })
}

/// Is this an address, or an empty host? Then it is not looked up.
pub(super) fn is_literal(host: &str) -> bool {
    let ip = host.split('%').next().unwrap_or_default();
    host.is_empty() || ip.parse::<IpAddr>().is_ok() || loose_ipv4(host).is_some()
}

fn called(source: &str) -> &str {
    match source {
        "files" => "files (the hosts file)",
        "dns" => "dns",
        "resolve" => "resolve (systemd-resolved: DNS, LLMNR, multicast DNS)",
        "myhostname" => "myhostname (systemd: this machine's own names)",
        "mymachines" => "mymachines (systemd: containers of this machine)",
        "mdns" | "mdns4" | "mdns6" | "mdns_minimal" | "mdns4_minimal" | "mdns6_minimal" => "multicast DNS",
        "wins" => "wins (NetBIOS)",
        other => other,
    }
}

fn text_of(path: &str) -> String {
    let mut text = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(READ_BYTES_MAX).read_to_end(&mut text));
    if read.is_ok() { String::from_utf8_lossy(&text).into_owned() } else { String::new() }
}

/// The sources of hosts in the text of nsswitch.conf(5), without the actions between them.
fn order(text: &str) -> Option<Vec<String>> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("hosts:"))?;
    let line = line.split('#').next().unwrap_or_default();
    let mut sources = Vec::new();
    let mut in_action = false;
    for word in line.split_whitespace() {
        let begins = word.starts_with('[');
        in_action |= begins;
        if !in_action {
            sources.push(word.to_owned());
        }
        in_action &= !word.ends_with(']');
    }
    Some(sources).filter(|sources| !sources.is_empty())
}

/// The lines of hosts(5) with this name: numbers and addresses.
fn lines_of(text: &str, host: &str) -> Vec<(usize, IpAddr)> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let read = |(at, line): (usize, &str)| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next()?.split('%').next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some((at + 1, address))
    };
    text.lines().enumerate().filter_map(read).collect()
}

/// Are all addresses in the hosts file?
fn from_hosts_file(host: &str, wanted: &BTreeSet<IpAddr>) -> Option<String> {
    let lines = lines_of(&text_of(HOSTS), host);
    let is_there = |ip: &IpAddr| {
        // The C library reads `::1 NAME` as 127.0.0.1, too.
        lines.iter().any(|(_, there)| there == ip || there.is_loopback() && ip.is_loopback())
    };
    if lines.is_empty() || !wanted.iter().all(is_there) {
        return None;
    }
    let numbers: Vec<String> = lines.iter().map(|(number, _)| number.to_string()).collect();
    let word = if numbers.len() == 1 { "line" } else { "lines" };
    Some(format!("{HOSTS}, {word} {}", numbers.join(", ")))
}

/// Does this source alone give the same addresses?
fn from_getent(
    source: &str,
    host: &str,
    wanted: &BTreeSet<IpAddr>,
    stop: &Stop,
) -> io::Result<Option<String>> {
    let text = getent(source, host, stop)?;
    let found: BTreeSet<IpAddr> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.split('%').next()?.parse().ok())
        .collect();
    if found != *wanted {
        return Ok(None);
    }
    let mut how = format!("asked again alone (getent -s {source}), it gave the same addresses");
    if source == "dns" {
        let settings = text_of(RESOLV);
        let servers = settings.lines().filter_map(|line| line.trim_start().strip_prefix("nameserver"));
        let servers: Vec<&str> = servers.map(str::trim).filter(|server| !server.is_empty()).collect();
        if !servers.is_empty() {
            how.push_str(&format!("; name servers of {RESOLV}: {}", servers.join(", ")));
        }
        if servers.contains(&"127.0.0.53") {
            how.push_str(" (systemd-resolved, which has sources of its own: `resolvectl query` tells them)");
        }
    }
    Ok(Some(how))
}

/// What `getent` prints. It is ended after the time limit, and by the stop.
fn getent(source: &str, host: &str, stop: &Stop) -> io::Result<String> {
    let mut command = Command::new("getent");
    command.args(["-s", source, "ahosts", "--", host]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
    let read = read_until(stdout, Instant::now() + SOURCE_WAIT, stop);
    if read.is_err() {
        let _ = child.kill();
    }
    child.wait()?;
    read
}

fn read_until(mut stdout: impl Read + std::os::fd::AsFd, until: Instant, stop: &Stop) -> io::Result<String> {
    let (mut text, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::IN)];
        let stopped = stop.wait(&mut fds, Some(left))?;
        if stopped.is_some() || fds[0].revents().is_empty() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match stdout.read(&mut buffer)? {
            0 => return Ok(String::from_utf8_lossy(&text).into_owned()),
            n if text.len() as u64 > READ_BYTES_MAX => {
                return Err(io::Error::other(format!("more than {} bytes of answer", text.len() + n)));
            }
            n => text.extend_from_slice(&buffer[..n]),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_sources_is_read_without_its_actions() {
        for (text, sources) in [
            ("hosts: files dns\n", "files dns"),
            (
                "passwd: x\n hosts:\tfiles mdns4_minimal [NOTFOUND=return] dns # y\n",
                "files mdns4_minimal dns",
            ),
            ("hosts: resolve [!UNAVAIL=return TRYAGAIN=continue] files", "resolve files"),
        ] {
            assert_eq!(order(text).unwrap().join(" "), sources);
        }
        for text in ["", "hosts:", "# hosts: files", "hosts: [x]"] {
            assert_eq!(order(text), None, "{text}");
        }
    }

    #[test]
    fn names_of_the_hosts_file_are_found_with_their_lines() {
        let text = "# a\n127.0.0.1 localhost\n::1\tip6-localhost LocalHost # x\n10.0.0.7 db # localhost\nnonsense localhost\n";
        let lines: Vec<usize> = lines_of(text, "localhost").into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [2, 3]);
        assert_eq!(lines_of(text, "db."), [(4, "10.0.0.7".parse().unwrap())]);
        assert!(lines_of(text, "x").is_empty());
    }

    #[test]
    fn addresses_are_distinguished_from_names() {
        for host in ["", "127.0.0.1", "::1", "fe80::1%lo", "127.1", "0x7f.1", "2130706433"] {
            assert!(is_literal(host), "{host}");
        }
        for host in ["localhost", "a.b", "1.2.3.4.5", "db1"] {
            assert!(!is_literal(host), "{host}");
        }
    }
}
