//! Every error that a person meets on a socket: its name, its likely cause, what to do. One table for the
//! client and for `vang serve`; nothing here is an answer of the server's (see `ClientError::Refused`).

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::io::Errno;
use socket2::SockAddr;
use vang_proto::vang::{Code, Reply};

/// What was being done when it went wrong: the same error has other causes then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Looking up a host's addresses.
    Resolve,
    /// Connecting to a server.
    Connect,
    /// Taking an address to listen at.
    Bind,
    /// Waiting for bytes.
    Read,
    /// Getting rid of bytes.
    Write,
}

/// What was connected to, or listened at: one error has other causes at an address than at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// An address and a port.
    Net(SocketAddr),
    /// A socket in the file system.
    Unix,
}

impl At {
    /// Of a socket's address.
    pub fn of(address: &SockAddr) -> At {
        address.as_socket().map_or(At::Unix, At::Net)
    }
}

/// An error in a person's words. Shown as `connection refused (is the server running there?)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What it is called.
    pub name: Cow<'static, str>,
    /// Why, most likely.
    pub likely: &'static str,
    /// What to do about it.
    pub advice: &'static str,
    /// May the same work a little later, without anybody doing anything here?
    pub passing: bool,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.likely {
            "" => f.write_str(&self.name),
            likely => write!(f, "{} ({likely})", self.name),
        }
    }
}

/// Names an error of which is known where it was met; see `explain`.
pub fn explain_at(error: &io::Error, doing: Doing, at: At) -> Trouble {
    let known = match at {
        At::Net(address) => scope_missing(address).or_else(|| at_address(error, doing, address)),
        At::Unix => at_path(error, doing),
    };
    known.unwrap_or_else(|| explain(error, doing))
}

/// What is wrong with an address that does not say on which cable it is.
pub fn scope_missing(address: SocketAddr) -> Option<Trouble> {
    let SocketAddr::V6(v6) = address else { return None };
    (v6.ip().is_unicast_link_local() && v6.scope_id() == 0).then(|| {
        fixed(
            "scope missing",
            "a link-local address is valid on one cable, and nobody said which",
            "name the interface behind it, as in fe80::1%eth0; `ip link` lists them",
        )
    })
}

fn is_errno(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Errors that have other causes, or other advice, at an address than elsewhere.
fn at_address(error: &io::Error, doing: Doing, address: SocketAddr) -> Option<Trouble> {
    let ip = address.ip().to_canonical();
    let is = |errno: Errno| is_errno(error, errno);
    let is_sending = matches!(doing, Doing::Connect | Doing::Write);
    Some(match ip {
        IpAddr::V4(v4) if is(Errno::ACCESS) && is_sending && v4.is_broadcast() => fixed(
            "permission denied",
            "it is a broadcast address: a socket must ask for it first (SO_BROADCAST), and TCP cannot have it",
            "use the address of one host",
        ),
        _ if is(Errno::ACCESS) && is_sending => fixed(
            "permission denied",
            "is it a broadcast address, which a socket must ask for (SO_BROADCAST), or does a route or a firewall of \
             this machine forbid it?",
            "`ip route get ADDRESS` says `broadcast`, or shows what forbids it",
        ),
        _ if is(Errno::PERM) && is_sending => fixed(
            "permission denied",
            "does a firewall of this machine forbid it?",
            "look at its rules, as in `nft list ruleset`",
        ),
        // So the kernel refuses TCP to more than one host.
        ip if doing == Doing::Connect && is(Errno::NETUNREACH) && is_for_several(ip) => fixed(
            "network unreachable",
            "it is a multicast or broadcast address: to several hosts at once nobody can connect",
            "use the address of one host",
        ),
        _ if error.kind() == io::ErrorKind::PermissionDenied
            && doing == Doing::Bind
            && (address.port() == 0 || address.port() >= 1_024) =>
        {
            fixed(
                "permission denied",
                "does a rule of this machine, such as SELinux's or the service's own, keep it from that port?",
                "look at the rules, or choose another port",
            )
        }
        _ if is(Errno::INVAL) && is_sending => fixed(
            "address not possible",
            "is its route a blackhole, or is it no address that can be sent to?",
            "`ip route get ADDRESS` shows its route",
        ),
        _ if is(Errno::ADDRINUSE) && is_sending => passing(
            "address in use",
            "a connection between this pair of addresses is there already, or waits in TIME_WAIT",
            "try again from another port, or in a minute",
        ),
        _ => return None,
    })
}

fn is_for_several(ip: IpAddr) -> bool {
    ip.is_multicast() || matches!(ip, IpAddr::V4(v4) if v4.is_broadcast())
}

/// The same at a path, where no port and no host has anything to do with it.
fn at_path(error: &io::Error, doing: Doing) -> Option<Trouble> {
    use io::ErrorKind as Kind;
    Some(match (error.kind(), doing) {
        (Kind::ConnectionRefused, _) => passing(
            "connection refused",
            "is the server running? nobody listens at that path",
            "start it with `vang serve`, or check the path",
        ),
        (Kind::AddrInUse, _) => fixed(
            "address in use",
            "does another program, or another vang, listen at that path already?",
            "stop it, or name another path; `ss -lxp` shows who has it",
        ),
        (Kind::AlreadyExists, Doing::Bind) => fixed(
            "file exists",
            "what is at that path is no socket, and is not replaced",
            "name another path, or remove the file",
        ),
        (Kind::PermissionDenied, Doing::Bind) => fixed(
            "permission denied",
            "may this user make files in that folder?",
            "name a path in a folder of this user's, such as $XDG_RUNTIME_DIR",
        ),
        (Kind::PermissionDenied, _) => fixed(
            "permission denied",
            "is the socket another user's? who may not write to its file may not connect",
            "run it as the user who runs the server, or let that user change the file's mode",
        ),
        (Kind::TimedOut, _) => passing(
            "timed out",
            "its program accepts too slowly: is it stopped or busy?",
            "try again; `ss -lxp` shows how many wait for it",
        ),
        (Kind::NotADirectory, _) => fixed("not a folder", "a part of the path is a file", "check the path"),
        _ if is_errno(error, Errno::PROTOTYPE) => fixed(
            "socket of another kind",
            "it takes datagrams, and this is a connection",
            "check the path; `ss -ax` shows the kind of each socket",
        ),
        _ => return None,
    })
}

/// Names an error, with its likely cause and what to do.
pub fn explain(error: &io::Error, doing: Doing) -> Trouble {
    use io::ErrorKind as Kind;
    if doing == Doing::Resolve && error.kind() != Kind::TimedOut {
        return explain_resolving(error);
    }
    let raw = error.raw_os_error();
    let is = |errno: Errno| raw == Some(errno.raw_os_error());
    if is(Errno::MFILE) {
        return fixed(
            "too many open files",
            "this program has as many files and connections open as it may",
            "raise the limit with `ulimit -n`, or in the service's unit with LimitNOFILE=",
        );
    }
    if is(Errno::NFILE) {
        return fixed(
            "too many open files in the system",
            "all programs together have as many files open as this machine allows",
            "close some, or raise it: `sysctl fs.file-max`",
        );
    }
    if is(Errno::AFNOSUPPORT) {
        return fixed(
            "address family not supported",
            "is IPv6 switched off on this machine?",
            "use an IPv4 address, such as 127.0.0.1",
        );
    }
    if is(Errno::NOBUFS) {
        return passing(
            "no buffer space",
            "the system has no memory left for sockets",
            "close connections or programs, then try again",
        );
    }
    match (error.kind(), doing) {
        (Kind::ConnectionRefused, _) => passing(
            "connection refused",
            "is the server running there?",
            "start it with `vang serve`, or check the host and the port",
        ),
        (Kind::ConnectionReset, Doing::Connect) => passing(
            "connection reset by peer",
            "the server, or something between, cut it off at once",
            "try again; the server's log may say why",
        ),
        (Kind::ConnectionReset, _) => passing(
            "connection reset by peer",
            "the other side crashed, or closed without reading everything",
            "try again; the server's log may say why",
        ),
        (Kind::ConnectionAborted, _) => passing(
            "connection aborted",
            "this machine's system gave the connection up",
            "try again; look whether the network changed",
        ),
        (Kind::TimedOut, Doing::Resolve) => passing(
            "timed out",
            "no name server answered in time",
            "use the host's address instead of its name, or look at /etc/resolv.conf",
        ),
        (Kind::TimedOut, Doing::Connect) => passing(
            "timed out",
            "is the host on, and does a firewall let this port through?",
            "check host and port; give it longer with --timeout",
        ),
        (Kind::TimedOut, _) => passing(
            "timed out",
            "the other side, or the network between, went silent",
            "try again; give it longer with --timeout",
        ),
        (Kind::WouldBlock, Doing::Connect) => passing(
            "would block",
            "the server's queue of waiting connections is full",
            "try again; `vang serve --backlog N` makes the queue longer",
        ),
        (Kind::WouldBlock, Doing::Write) => passing(
            "would block",
            "the other side does not read, and what may wait for it is full",
            "try again when it reads; it may be busy, stopped or gone",
        ),
        (Kind::WouldBlock, _) => {
            passing("would block", "nothing has come yet", "try again when there is something to read")
        }
        (Kind::HostUnreachable, _) => passing(
            "host unreachable",
            "is the host on, and in a network that this machine reaches?",
            "check the address; `ping` shows whether anything answers there",
        ),
        (Kind::NetworkUnreachable, _) => passing(
            "network unreachable",
            "has this machine a network, and a way to that address?",
            "check the network; `ip route get ADDRESS` shows the way it would take",
        ),
        (Kind::NetworkDown, _) => {
            passing("network down", "this machine's network is switched off", "switch it on, then try again")
        }
        (Kind::PermissionDenied, Doing::Bind) => fixed(
            "permission denied",
            "ports under 1024 are the administrator's, and so are other people's folders",
            "choose a port from 1024 up, or allow it: `setcap cap_net_bind_service=+ep` on the program",
        ),
        (Kind::PermissionDenied, _) => fixed(
            "permission denied",
            "is the socket another user's, or does a firewall of this machine forbid it?",
            "run it as the user who runs the server, or look at the firewall's rules",
        ),
        (Kind::AddrInUse, _) => fixed(
            "address in use",
            "does another program, or another vang, listen there already?",
            "stop it, or choose another port with --listen; `ss -ltnp` shows who has it",
        ),
        (Kind::AddrNotAvailable, Doing::Bind) => fixed(
            "address not available",
            "does this machine have that address?",
            "`ip address` shows which it has; an empty host, as in :65432, means every one",
        ),
        (Kind::AddrNotAvailable, _) => passing(
            "address not available",
            "every local port is in use, or this machine has no address of that kind",
            "close connections, or use another address of the server",
        ),
        (Kind::NotFound, Doing::Connect) => passing(
            "no such socket",
            "is the server running there, with this data folder?",
            "start it with `vang serve`, or check the path",
        ),
        (Kind::NotFound, Doing::Bind) => fixed(
            "no such folder",
            "the folder in which the socket shall be is not there",
            "make it with `mkdir -p`, or name another path",
        ),
        (Kind::BrokenPipe, _) => passing(
            "broken pipe",
            "the other side has closed the connection already",
            "try again; the server's log may say why it closed",
        ),
        (Kind::UnexpectedEof, _) => passing(
            "connection closed",
            "the other side ended it, or its program stopped",
            "try again; the server's log may say why",
        ),
        (Kind::NotConnected, _) => passing(
            "not connected",
            "the other side was gone before",
            "look at what it does: it closed or reset the connection at once",
        ),
        // An error without an OS number comes from building the socket address, not from the kernel.
        (Kind::InvalidInput, Doing::Connect | Doing::Bind) if raw.is_none() => fixed(
            "address not possible",
            "the path of a Unix socket has at most 107 bytes",
            "choose a shorter path",
        ),
        (Kind::InvalidInput, Doing::Connect | Doing::Bind) => {
            fixed("address not possible", "the system takes no such address here", "check the address")
        }
        _ => Trouble { name: plain(error).into(), likely: "", advice: "", passing: false },
    }
}

/// The resolver's errors have no kind and no number, only their text.
fn explain_resolving(error: &io::Error) -> Trouble {
    if error.to_string().contains("Temporary failure") {
        return passing(
            "name cannot be looked up now",
            "no name server answers: is this machine's network on?",
            "use the host's address instead of its name, or look at /etc/resolv.conf",
        );
    }
    fixed(
        "name not found",
        "no host has this name: is it spelled right?",
        "check the name, or use the host's address; `getent hosts NAME` asks as we do",
    )
}

fn passing(name: &'static str, likely: &'static str, advice: &'static str) -> Trouble {
    Trouble { name: name.into(), likely, advice, passing: true }
}

fn fixed(name: &'static str, likely: &'static str, advice: &'static str) -> Trouble {
    Trouble { name: name.into(), likely, advice, passing: false }
}

/// The system's words, without its number, beginning small: for errors that are no socket's.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

/// Why a request has no answer, or not the one that was wanted. What follows depends on the kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No connection came about: nothing was asked.
    #[error("cannot reach {place}: {trouble}")]
    Unreachable {
        /// The server.
        place: String,
        /// Why.
        trouble: Trouble,
    },
    /// The connection broke.
    #[error("lost the connection to {place}: {trouble}")]
    Broken {
        /// The server.
        place: String,
        /// Why.
        trouble: Trouble,
    },
    /// The connection stands, and nothing came in time.
    #[error("timed out: {place} did not answer in time (is it busy or stopped, or another kind of server?)")]
    Silent {
        /// The server.
        place: String,
    },
    /// Something answered that is no vang server.
    #[error("{place} does not speak the vang protocol: {why}")]
    Foreign {
        /// The server.
        place: String,
        /// What it said instead.
        why: String,
    },
    /// Its key is not the one that is known.
    #[error("the key of {place} is {key}, but it was {known} when we met (line {line} of {file})")]
    OtherKey {
        /// The server.
        place: String,
        /// Now.
        key: String,
        /// Then.
        known: String,
        /// Where that is written.
        file: String,
        /// In which line.
        line: usize,
    },
    /// Its key can be neither looked up nor remembered.
    #[error("cannot remember the key of {place}: {why}")]
    NotRemembered {
        /// The server.
        place: String,
        /// Why not.
        why: String,
    },
    /// The server said no.
    #[error("refused: {code}: {detail}")]
    Refused {
        /// A word of `docs/PROTOCOL.md` section 4.
        code: String,
        /// What is wrong.
        detail: String,
        /// When to ask again.
        retry_after: Option<Duration>,
    },
    /// Ours: it was not even sent.
    #[error("arguments of {found} bytes exceed the limit of {max}")]
    ArgumentsTooLong {
        /// As given.
        found: usize,
        /// As allowed.
        max: usize,
    },
}

impl ClientError {
    /// From an error reply.
    pub(crate) fn refused(reply: &Reply) -> ClientError {
        ClientError::Refused {
            code: reply.code.clone().unwrap_or_default(),
            detail: reply.text.clone(),
            retry_after: reply.header.number("retry-after").map(Duration::from_millis),
        }
    }

    /// May the same work a little later?
    pub fn is_retryable(&self) -> bool {
        match self {
            ClientError::Unreachable { trouble, .. } => trouble.passing,
            ClientError::Broken { .. } | ClientError::Silent { .. } => true,
            // Ours came too slowly: the network's fault.
            ClientError::Refused { code, .. } => Code::is_retryable(code) || code == Code::TimedOut.as_str(),
            ClientError::Foreign { .. }
            | ClientError::OtherKey { .. }
            | ClientError::NotRemembered { .. }
            | ClientError::ArgumentsTooLong { .. } => false,
        }
    }

    /// Was it only the time that ran out?
    pub fn timed_out(&self) -> bool {
        match self {
            ClientError::Unreachable { trouble, .. } | ClientError::Broken { trouble, .. } => {
                trouble.name == "timed out"
            }
            ClientError::Silent { .. } => true,
            ClientError::Refused { .. }
            | ClientError::Foreign { .. }
            | ClientError::OtherKey { .. }
            | ClientError::NotRemembered { .. }
            | ClientError::ArgumentsTooLong { .. } => false,
        }
    }

    /// What a person can do about it.
    pub fn advice(&self) -> Option<&str> {
        match self {
            ClientError::Unreachable { trouble, .. } | ClientError::Broken { trouble, .. } => {
                Some(trouble.advice).filter(|advice| !advice.is_empty())
            }
            ClientError::Silent { .. } => Some("try again; give it longer with --timeout"),
            ClientError::Foreign { place, .. } if place.starts_with("unix:") => {
                Some("check the path: another kind of server listens there")
            }
            ClientError::Foreign { .. } => Some("check the port: another kind of server listens there"),
            ClientError::OtherKey { .. } => Some(
                "somebody may stand between you and the server. If its key was changed on purpose, compare it with \
                 what its operator says, then delete that line",
            ),
            ClientError::NotRemembered { .. } => {
                Some("set HOME or XDG_CONFIG_HOME to a folder that can be written")
            }
            ClientError::Refused { .. } | ClientError::ArgumentsTooLong { .. } => None,
        }
    }

    /// When the server wants to be asked again.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            ClientError::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, ToSocketAddrs};

    use super::*;

    fn named(error: &io::Error, doing: Doing) -> String {
        let trouble = explain(error, doing);
        assert!(!trouble.likely.is_empty() && !trouble.advice.is_empty(), "{trouble:?}");
        trouble.name.into_owned()
    }

    #[test]
    fn real_errors_are_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap();
        assert_eq!(named(&TcpListener::bind(taken).unwrap_err(), Doing::Bind), "address in use");
        let closed = crate::scripted::Server::closed_port().to_string();
        let refused = explain(&TcpStream::connect(closed).unwrap_err(), Doing::Connect);
        assert_eq!(refused.to_string(), "connection refused (is the server running there?)");
        assert!(refused.passing);
        let error = TcpListener::bind("192.0.2.1:0").unwrap_err();
        assert_eq!(named(&error, Doing::Bind), "address not available");
    }

    #[test]
    fn a_name_that_nobody_has_is_not_found_or_cannot_be_looked_up() {
        let error = ("does-not-exist.invalid", 1).to_socket_addrs().unwrap_err();
        let name = named(&error, Doing::Resolve);
        // Without a name server the system cannot tell that nobody has it.
        assert!(["name not found", "name cannot be looked up now"].contains(&&*name), "{name}: {error}");
    }

    #[test]
    fn every_error_of_the_checklist_has_a_name_a_cause_and_advice() {
        for (errno, doing, name) in [
            (Errno::ADDRINUSE, Doing::Bind, "address in use"),
            (Errno::CONNREFUSED, Doing::Connect, "connection refused"),
            (Errno::CONNRESET, Doing::Read, "connection reset by peer"),
            (Errno::CONNRESET, Doing::Connect, "connection reset by peer"),
            (Errno::CONNABORTED, Doing::Read, "connection aborted"),
            (Errno::TIMEDOUT, Doing::Connect, "timed out"),
            (Errno::TIMEDOUT, Doing::Read, "timed out"),
            (Errno::WOULDBLOCK, Doing::Write, "would block"),
            (Errno::WOULDBLOCK, Doing::Connect, "would block"),
            (Errno::WOULDBLOCK, Doing::Read, "would block"),
            (Errno::HOSTUNREACH, Doing::Connect, "host unreachable"),
            (Errno::NETUNREACH, Doing::Connect, "network unreachable"),
            (Errno::NETDOWN, Doing::Connect, "network down"),
            (Errno::ACCESS, Doing::Bind, "permission denied"),
            (Errno::PERM, Doing::Connect, "permission denied"),
            (Errno::ADDRNOTAVAIL, Doing::Connect, "address not available"),
            (Errno::NOENT, Doing::Connect, "no such socket"),
            (Errno::NOENT, Doing::Bind, "no such folder"),
            (Errno::PIPE, Doing::Write, "broken pipe"),
            (Errno::MFILE, Doing::Connect, "too many open files"),
            (Errno::NFILE, Doing::Bind, "too many open files in the system"),
            (Errno::AFNOSUPPORT, Doing::Bind, "address family not supported"),
            (Errno::NOBUFS, Doing::Write, "no buffer space"),
        ] {
            let error = io::Error::from_raw_os_error(errno.raw_os_error());
            assert_eq!(named(&error, doing), name, "{errno:?} {doing:?}");
        }
        assert!(explain(&io::Error::from_raw_os_error(13), Doing::Bind).likely.contains("under 1024"));
    }

    #[test]
    fn one_error_has_other_causes_at_an_address_than_at_a_path() {
        let net = |address: &str| At::Net(address.parse().unwrap());
        let of_ports = ["port", "host", "--listen"];
        for (errno, doing, at, name, cause) in [
            (Errno::ACCESS, Doing::Connect, net("255.255.255.255:0"), "permission denied", "SO_BROADCAST"),
            (Errno::ACCESS, Doing::Write, net("192.0.2.255:7"), "permission denied", "SO_BROADCAST"),
            (Errno::PERM, Doing::Write, net("192.0.2.1:7"), "permission denied", "firewall"),
            (Errno::ACCESS, Doing::Bind, net("192.0.2.1:80"), "permission denied", "under 1024"),
            (Errno::ACCESS, Doing::Bind, net("192.0.2.1:8080"), "permission denied", "SELinux"),
            (Errno::INVAL, Doing::Connect, net("192.0.2.1:7"), "address not possible", "blackhole"),
            (Errno::INVAL, Doing::Connect, net("[fe80::1]:7"), "scope missing", "on one cable"),
            (Errno::INVAL, Doing::Bind, net("[fe80::1]:7"), "scope missing", "on one cable"),
            (Errno::INVAL, Doing::Bind, net("[2001:db8::1]:7"), "address not possible", "no such address"),
            (Errno::NETUNREACH, Doing::Connect, net("224.0.0.1:7"), "network unreachable", "multicast"),
            (Errno::NETUNREACH, Doing::Connect, net("255.255.255.255:7"), "network unreachable", "broadcast"),
            (Errno::NETUNREACH, Doing::Connect, net("192.0.2.1:7"), "network unreachable", "a way to"),
            (Errno::ADDRINUSE, Doing::Connect, net("192.0.2.1:7"), "address in use", "TIME_WAIT"),
            (Errno::ADDRINUSE, Doing::Bind, net("192.0.2.1:7"), "address in use", "listen there"),
            (Errno::ADDRINUSE, Doing::Bind, At::Unix, "address in use", "at that path"),
            (Errno::EXIST, Doing::Bind, At::Unix, "file exists", "no socket"),
            (Errno::CONNREFUSED, Doing::Connect, At::Unix, "connection refused", "at that path"),
            (Errno::ACCESS, Doing::Bind, At::Unix, "permission denied", "in that folder"),
            (Errno::ACCESS, Doing::Connect, At::Unix, "permission denied", "file"),
            (Errno::PROTOTYPE, Doing::Connect, At::Unix, "socket of another kind", "datagrams"),
            (Errno::NOTDIR, Doing::Bind, At::Unix, "not a folder", "is a file"),
            (Errno::NOENT, Doing::Connect, At::Unix, "no such socket", "running there"),
            (Errno::NOTCONN, Doing::Write, net("192.0.2.1:7"), "not connected", "gone"),
        ] {
            let trouble = explain_at(&io::Error::from_raw_os_error(errno.raw_os_error()), doing, at);
            assert_eq!(trouble.name, name, "{errno:?} {doing:?} {at:?}");
            assert!(trouble.likely.contains(cause) && !trouble.advice.is_empty(), "{trouble:?}");
            let about_ports = |text: &str| of_ports.iter().any(|word| text.contains(word));
            assert!(
                at != At::Unix || !about_ports(trouble.likely) && !about_ports(trouble.advice),
                "{trouble:?}"
            );
        }
        let too_long = SockAddr::unix("x".repeat(200)).unwrap_err();
        assert!(explain(&too_long, Doing::Bind).likely.contains("107 bytes"), "{too_long:?}");
    }

    #[test]
    fn an_error_that_nobody_expected_keeps_the_systems_words() {
        let error = io::Error::from_raw_os_error(Errno::ISDIR.raw_os_error());
        assert_eq!(explain(&error, Doing::Read).to_string(), "is a directory");
    }
}
