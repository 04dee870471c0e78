//! Socket errors for people: name, likely cause, advice. One table for the client, `vang serve` and `vang net`;
//! a server's refusals are not in it (see `ClientError::Refused`).

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::io::Errno;
use socket2::SockAddr;
use vang_proto::SwappedLength;
use vang_proto::vang::{Code, Reply};

/// The operation that failed. The same error has different causes in different operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    Resolve,
    Connect,
    /// Binding an address to listen on.
    Bind,
    /// Receiving.
    Read,
    /// Sending.
    Write,
}

/// The kind of address in use. The same error has different causes at a network address and at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Net(SocketAddr),
    Unix,
}

impl At {
    /// The kind of a socket's address.
    pub fn of(address: &SockAddr) -> At {
        address.as_socket().map_or(At::Unix, At::Net)
    }
}

/// An explained error. Shown as `connection refused (is the server running there?)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub name: Cow<'static, str>,
    pub likely: &'static str,
    pub advice: &'static str,
    /// Can the same attempt succeed later without a change on this side?
    pub retryable: bool,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.likely {
            "" => f.write_str(&self.name),
            likely => write!(f, "{} ({likely})", self.name),
        }
    }
}

/// Explains an error at a known address or path; see `explain`.
pub fn explain_at(error: &io::Error, doing: Doing, at: At) -> Trouble {
    let known = match at {
        At::Net(address) => scope_missing(address).or_else(|| at_address(error, doing, address)),
        At::Unix => at_path(error, doing),
    };
    known.unwrap_or_else(|| explain(error, doing))
}

/// Explains a link-local IPv6 address without a scope; `None` for any other address.
pub fn scope_missing(address: SocketAddr) -> Option<Trouble> {
    let SocketAddr::V6(v6) = address else { return None };
    (v6.ip().is_unicast_link_local() && v6.scope_id() == 0).then(|| {
        fixed(
            "scope missing",
            "a link-local address needs the name of its interface",
            "write the interface after it, as in fe80::1%eth0; `ip link` lists them",
        )
    })
}

fn is_errno(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Errors with a special cause or advice at a network address.
fn at_address(error: &io::Error, doing: Doing, address: SocketAddr) -> Option<Trouble> {
    let ip = address.ip().to_canonical();
    let is = |errno: Errno| is_errno(error, errno);
    let is_sending = matches!(doing, Doing::Connect | Doing::Write);
    Some(match ip {
        IpAddr::V4(v4) if is(Errno::ACCESS) && is_sending && v4.is_broadcast() => fixed(
            "permission denied",
            "it is a broadcast address: a socket needs SO_BROADCAST for it, and TCP cannot use it",
            "use the address of one host",
        ),
        _ if is(Errno::ACCESS) && is_sending => fixed(
            "permission denied",
            "is it a broadcast address, which needs SO_BROADCAST, or does a route or a firewall of \
             this machine forbid it?",
            "`ip route get ADDRESS` says `broadcast`, or shows what forbids it",
        ),
        _ if is(Errno::PERM) && is_sending => fixed(
            "permission denied",
            "does a firewall of this machine forbid it?",
            "look at its rules, as in `nft list ruleset`",
        ),
        // The kernel's error for TCP to more than one host.
        ip if doing == Doing::Connect && is(Errno::NETUNREACH) && is_for_several(ip) => fixed(
            "network unreachable",
            "it is a multicast or broadcast address, and TCP connects to one host only",
            "use the address of one host",
        ),
        _ if error.kind() == io::ErrorKind::PermissionDenied
            && doing == Doing::Bind
            && (address.port() == 0 || address.port() >= 1_024) =>
        {
            fixed(
                "permission denied",
                "does a rule of this machine, such as SELinux or the service's own, forbid that port?",
                "look at the rules, or choose another port",
            )
        }
        _ if is(Errno::INVAL) && is_sending => fixed(
            "invalid address",
            "is its route a blackhole, or can this address not receive data?",
            "`ip route get ADDRESS` shows its route",
        ),
        _ if is(Errno::ADDRINUSE) && is_sending => retryable(
            "address in use",
            "a connection between these two addresses already exists, or is in TIME_WAIT",
            "try again from another port, or in a minute",
        ),
        _ => return None,
    })
}

fn is_for_several(ip: IpAddr) -> bool {
    ip.is_multicast() || matches!(ip, IpAddr::V4(v4) if v4.is_broadcast())
}

/// Errors with a special cause or advice at a Unix socket's path, where advice about ports does not help.
fn at_path(error: &io::Error, doing: Doing) -> Option<Trouble> {
    use io::ErrorKind as Kind;
    Some(match (error.kind(), doing) {
        (Kind::ConnectionRefused, _) => retryable(
            "connection refused",
            "is the server running? no program listens at that path",
            "start it with `vang serve`, or check the path",
        ),
        (Kind::AddrInUse, _) => fixed(
            "address in use",
            "is another program, or another vang, already listening at that path?",
            "stop it, or name another path; `ss -lxp` shows who has it",
        ),
        (Kind::AlreadyExists, Doing::Bind) => fixed(
            "file exists",
            "the file at that path is not a socket, and is not replaced",
            "name another path, or remove the file",
        ),
        (Kind::PermissionDenied, Doing::Bind) => fixed(
            "permission denied",
            "can this user create files in that folder?",
            "name a path in a folder of this user's, such as $XDG_RUNTIME_DIR",
        ),
        (Kind::PermissionDenied, _) => fixed(
            "permission denied",
            "does the socket belong to another user? a client needs write permission on its file",
            "run it as the user who runs the server, or let that user change the file's mode",
        ),
        (Kind::TimedOut, _) => retryable(
            "timed out",
            "its program accepts too slowly: is it stopped or busy?",
            "try again; `ss -lxp` shows how many wait for it",
        ),
        (Kind::NotADirectory, _) => fixed("not a folder", "a part of the path is a file", "check the path"),
        _ if is_errno(error, Errno::PROTOTYPE) => fixed(
            "wrong kind of socket",
            "it is a datagram socket, and this program needs a stream socket",
            "check the path; `ss -ax` shows the kind of each socket",
        ),
        _ => return None,
    })
}

/// Explains an error: name, likely cause, advice.
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
            "this program has reached its limit of open files and connections",
            "raise the limit with `ulimit -n`, or in the service's unit with LimitNOFILE=",
        );
    }
    if is(Errno::NFILE) {
        return fixed(
            "too many open files in the system",
            "this machine has reached its limit of open files",
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
        return retryable(
            "no buffer space",
            "the system has no memory left for sockets",
            "close connections or programs, then try again",
        );
    }
    match (error.kind(), doing) {
        (Kind::ConnectionRefused, _) => retryable(
            "connection refused",
            "is the server running there?",
            "start it with `vang serve`, or check the host and the port",
        ),
        (Kind::ConnectionReset, Doing::Connect) => retryable(
            "connection reset by peer",
            "the server, or a device on the way, reset it at once",
            "try again; the server's log may say why",
        ),
        (Kind::ConnectionReset, _) => retryable(
            "connection reset by peer",
            "the other side crashed, or closed without reading everything",
            "try again; the server's log may say why",
        ),
        (Kind::ConnectionAborted, _) => retryable(
            "connection aborted",
            "the operating system of this machine ended the connection",
            "try again; look whether the network changed",
        ),
        (Kind::TimedOut, Doing::Resolve) => retryable(
            "timed out",
            "no DNS server answered in time",
            "use the host's address instead of its name, or look at /etc/resolv.conf",
        ),
        (Kind::TimedOut, Doing::Connect) => retryable(
            "timed out",
            "is the host on, and does a firewall let this port through?",
            "check host and port; allow more time with --timeout",
        ),
        (Kind::TimedOut, _) => retryable(
            "timed out",
            "the other side, or the network, stopped answering",
            "try again; allow more time with --timeout",
        ),
        (Kind::WouldBlock, Doing::Connect) => retryable(
            "would block",
            "the server's queue of waiting connections is full",
            "try again; `vang serve --backlog N` makes the queue longer",
        ),
        (Kind::WouldBlock, Doing::Write) => retryable(
            "would block",
            "the other side does not read, and the send buffer is full",
            "try again when it reads; it may be busy, stopped or gone",
        ),
        (Kind::WouldBlock, _) => {
            retryable("would block", "nothing has come yet", "try again when there is something to read")
        }
        (Kind::HostUnreachable, _) => retryable(
            "host unreachable",
            "is the host on, and can this machine reach its network?",
            "check the address; `ping` shows whether anything answers there",
        ),
        (Kind::NetworkUnreachable, _) => retryable(
            "network unreachable",
            "does this machine have a network, and a route to that address?",
            "check the network; `ip route get ADDRESS` shows the route",
        ),
        (Kind::NetworkDown, _) => retryable(
            "network down",
            "this machine's network is switched off",
            "switch it on, then try again",
        ),
        (Kind::PermissionDenied, Doing::Bind) => fixed(
            "permission denied",
            "ports below 1024 need root or a capability",
            "choose a port from 1024 up, or allow it: `setcap cap_net_bind_service=+ep` on the program",
        ),
        (Kind::PermissionDenied, _) => fixed(
            "permission denied",
            "does the socket belong to another user, or does a firewall rule of this machine forbid it?",
            "run it as the user who runs the server, or look at the firewall's rules",
        ),
        (Kind::AddrInUse, _) => fixed(
            "address in use",
            "is another program, or another vang, already listening there?",
            "stop it, or choose another port with --listen; `ss -ltnp` shows who has it",
        ),
        (Kind::AddrNotAvailable, Doing::Bind) => fixed(
            "address not available",
            "does this machine have that address?",
            "`ip address` lists its addresses; an empty host, as in :65432, means all of them",
        ),
        (Kind::AddrNotAvailable, _) => retryable(
            "address not available",
            "every local port is in use, or this machine has no address of that kind",
            "close connections, or use another address of the server",
        ),
        (Kind::NotFound, Doing::Connect) => retryable(
            "no such socket",
            "is the server running there, with this data folder?",
            "start it with `vang serve`, or check the path",
        ),
        (Kind::NotFound, Doing::Bind) => fixed(
            "no such folder",
            "the folder for the socket does not exist",
            "make it with `mkdir -p`, or name another path",
        ),
        (Kind::BrokenPipe, _) => retryable(
            "broken pipe",
            "the other side has closed the connection already",
            "try again; the server's log may say why it closed",
        ),
        (Kind::UnexpectedEof, _) => retryable(
            "connection closed",
            "the other side closed it, or its program stopped",
            "try again; the server's log may say why",
        ),
        (Kind::NotConnected, _) => retryable(
            "not connected",
            "the other side had already closed the connection",
            "look at the other side: it closed or reset the connection at once",
        ),
        // An error without errno comes from building the socket address, not from the kernel.
        (Kind::InvalidInput, Doing::Connect | Doing::Bind) if raw.is_none() => fixed(
            "invalid address",
            "the path of a Unix socket has at most 107 bytes",
            "choose a shorter path",
        ),
        (Kind::InvalidInput, Doing::Connect | Doing::Bind) => {
            fixed("invalid address", "the system does not accept this address here", "check the address")
        }
        _ => Trouble { name: plain(error).into(), likely: "", advice: "", retryable: false },
    }
}

/// The resolver's errors have no kind and no errno, only a text.
fn explain_resolving(error: &io::Error) -> Trouble {
    if error.to_string().contains("Temporary failure") {
        return retryable(
            "cannot look up the name",
            "no DNS server answers: is the network up?",
            "use the host's address instead of its name, or look at /etc/resolv.conf",
        );
    }
    fixed(
        "name not found",
        "no host has this name: is it spelled right?",
        "check the name, or use the host's address; `getent hosts NAME` does the same lookup",
    )
}

fn retryable(name: &'static str, likely: &'static str, advice: &'static str) -> Trouble {
    Trouble { name: name.into(), likely, advice, retryable: true }
}

fn fixed(name: &'static str, likely: &'static str, advice: &'static str) -> Trouble {
    Trouble { name: name.into(), likely, advice, retryable: false }
}

/// The system's text for an error, without the number and in lower case.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

/// Advice for a server that writes the length of a header in the wrong byte order.
pub const WRITE_IN_NETWORK_ORDER: &str = "the server must write the header length in network order (big-endian): in Python \
                                          struct.pack('>H', length), not '<H' or '@H'; in C htons(length)";

/// Why a request failed. What happens next depends on the variant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No connection: nothing was sent.
    #[error("cannot reach {place}: {trouble}")]
    Unreachable { place: String, trouble: Trouble },
    #[error("lost the connection to {place}: {trouble}")]
    Broken { place: String, trouble: Trouble },
    /// Connected, but no answer in time.
    #[error("timed out: {place} did not answer in time (is it busy or stopped, or another kind of server?)")]
    Silent { place: String },
    /// The peer is not a vang server.
    #[error("{place} does not speak the vang protocol: {why}")]
    Foreign { place: String, why: String },
    /// The peer writes the length of a header with its low byte first.
    #[error("{place} does not speak the vang protocol: header length in the wrong byte order: {length}")]
    WrongByteOrder { place: String, length: SwappedLength },
    /// The server's key is not the known one.
    #[error("the key of {place} is {key}, but line {line} of {file} expects {known}")]
    OtherKey { place: String, key: String, known: String, file: String, line: usize },
    /// The server's key can be neither looked up nor stored.
    #[error("cannot store the key of {place}: {why}")]
    NotRemembered { place: String, why: String },
    /// The server says why in its own words.
    #[error("{}", refusal(code, detail))]
    Refused {
        /// One of the codes in `docs/PROTOCOL.md`, section 4.
        code: String,
        detail: String,
        /// When to try again.
        retry_after: Option<Duration>,
    },
    /// Refused on this side; nothing was sent.
    #[error("arguments of {found} bytes exceed the limit of {max}")]
    ArgumentsTooLong { found: usize, max: usize },
}

/// A server of somebody else's may say neither.
fn refusal<'a>(code: &'a str, detail: &'a str) -> &'a str {
    match (code, detail) {
        ("", "") => "the server refused this, and does not say why",
        (code, "") => code,
        (_, detail) => detail,
    }
}

impl ClientError {
    pub(crate) fn refused(reply: &Reply) -> ClientError {
        ClientError::Refused {
            code: reply.code.clone().unwrap_or_default(),
            detail: reply.text.clone(),
            retry_after: reply.error_keys().retry_after.map(Duration::from_millis),
        }
    }

    /// Can the same request succeed later?
    pub fn is_retryable(&self) -> bool {
        match self {
            ClientError::Unreachable { trouble, .. } => trouble.retryable,
            ClientError::Broken { .. } | ClientError::Silent { .. } => true,
            // Our request arrived too slowly: a network problem.
            ClientError::Refused { code, .. } => Code::is_retryable(code) || code == Code::TimedOut.as_str(),
            ClientError::Foreign { .. }
            | ClientError::WrongByteOrder { .. }
            | ClientError::OtherKey { .. }
            | ClientError::NotRemembered { .. }
            | ClientError::ArgumentsTooLong { .. } => false,
        }
    }

    /// Did only the time run out?
    pub fn timed_out(&self) -> bool {
        match self {
            ClientError::Unreachable { trouble, .. } | ClientError::Broken { trouble, .. } => {
                trouble.name == "timed out"
            }
            ClientError::Silent { .. } => true,
            ClientError::Refused { .. }
            | ClientError::Foreign { .. }
            | ClientError::WrongByteOrder { .. }
            | ClientError::OtherKey { .. }
            | ClientError::NotRemembered { .. }
            | ClientError::ArgumentsTooLong { .. } => false,
        }
    }

    /// Advice for a person.
    pub fn advice(&self) -> Option<&str> {
        match self {
            ClientError::Unreachable { trouble, .. } | ClientError::Broken { trouble, .. } => {
                Some(trouble.advice).filter(|advice| !advice.is_empty())
            }
            ClientError::Silent { .. } => Some("try again; allow more time with --timeout"),
            ClientError::Foreign { place, .. } if place.starts_with("unix:") => {
                Some("check the path: another kind of server listens there")
            }
            ClientError::Foreign { .. } => Some("check the port: another kind of server listens there"),
            ClientError::WrongByteOrder { .. } => Some(WRITE_IN_NETWORK_ORDER),
            ClientError::OtherKey { .. } => Some(
                "somebody may intercept this connection. If the operator changed the key on purpose, compare it with \
                 what the operator says, then delete that line",
            ),
            ClientError::NotRemembered { .. } => {
                Some("set HOME or XDG_CONFIG_HOME to a folder that can be written")
            }
            ClientError::Refused { code, .. } if code == Code::NoRoom.as_str() => {
                Some("`vang rooms` lists the rooms that you can see")
            }
            ClientError::Refused { code, .. } if code == Code::NoToken.as_str() => Some(
                "`vang sessions` shows the IDs; those of another account: `vang admin session list NAME`",
            ),
            ClientError::Refused { code, .. }
                if [Code::WrongSecret, Code::SignInNeeded].iter().any(|word| word.as_str() == code) =>
            {
                Some("sign in: vang login NAME")
            }
            ClientError::Refused { .. } | ClientError::ArgumentsTooLong { .. } => None,
        }
    }

    /// Did the server refuse who asks, and not what was asked?
    pub fn is_sign_in_refused(&self) -> bool {
        let codes = [Code::WrongSecret, Code::SignInNeeded, Code::AccountDisabled];
        matches!(self, ClientError::Refused { code, .. } if codes.iter().any(|word| word.as_str() == code))
    }

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
        assert!(refused.retryable);
        let error = TcpListener::bind("192.0.2.1:0").unwrap_err();
        assert_eq!(named(&error, Doing::Bind), "address not available");
    }

    #[test]
    fn an_unknown_name_is_not_found_or_cannot_be_looked_up() {
        let error = ("does-not-exist.invalid", 1).to_socket_addrs().unwrap_err();
        let name = named(&error, Doing::Resolve);
        // Without a DNS server the system cannot tell that the name is unknown.
        assert!(["name not found", "cannot look up the name"].contains(&&*name), "{name}: {error}");
    }

    #[test]
    fn every_known_error_has_a_name_a_cause_and_advice() {
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
        assert!(explain(&io::Error::from_raw_os_error(13), Doing::Bind).likely.contains("below 1024"));
    }

    #[test]
    fn causes_at_an_address_differ_from_causes_at_a_path() {
        let net = |address: &str| At::Net(address.parse().unwrap());
        let of_ports = ["port", "host", "--listen"];
        for (errno, doing, at, name, cause) in [
            (Errno::ACCESS, Doing::Connect, net("255.255.255.255:0"), "permission denied", "SO_BROADCAST"),
            (Errno::ACCESS, Doing::Write, net("192.0.2.255:7"), "permission denied", "SO_BROADCAST"),
            (Errno::PERM, Doing::Write, net("192.0.2.1:7"), "permission denied", "firewall"),
            (Errno::ACCESS, Doing::Bind, net("192.0.2.1:80"), "permission denied", "below 1024"),
            (Errno::ACCESS, Doing::Bind, net("192.0.2.1:8080"), "permission denied", "SELinux"),
            (Errno::INVAL, Doing::Connect, net("192.0.2.1:7"), "invalid address", "blackhole"),
            (Errno::INVAL, Doing::Connect, net("[fe80::1]:7"), "scope missing", "name of its interface"),
            (Errno::INVAL, Doing::Bind, net("[fe80::1]:7"), "scope missing", "name of its interface"),
            (Errno::INVAL, Doing::Bind, net("[2001:db8::1]:7"), "invalid address", "does not accept"),
            (Errno::NETUNREACH, Doing::Connect, net("224.0.0.1:7"), "network unreachable", "multicast"),
            (Errno::NETUNREACH, Doing::Connect, net("255.255.255.255:7"), "network unreachable", "broadcast"),
            (Errno::NETUNREACH, Doing::Connect, net("192.0.2.1:7"), "network unreachable", "a route to"),
            (Errno::ADDRINUSE, Doing::Connect, net("192.0.2.1:7"), "address in use", "TIME_WAIT"),
            (Errno::ADDRINUSE, Doing::Bind, net("192.0.2.1:7"), "address in use", "listening there"),
            (Errno::ADDRINUSE, Doing::Bind, At::Unix, "address in use", "at that path"),
            (Errno::EXIST, Doing::Bind, At::Unix, "file exists", "not a socket"),
            (Errno::CONNREFUSED, Doing::Connect, At::Unix, "connection refused", "at that path"),
            (Errno::ACCESS, Doing::Bind, At::Unix, "permission denied", "in that folder"),
            (Errno::ACCESS, Doing::Connect, At::Unix, "permission denied", "file"),
            (Errno::PROTOTYPE, Doing::Connect, At::Unix, "wrong kind of socket", "datagram socket"),
            (Errno::NOTDIR, Doing::Bind, At::Unix, "not a folder", "is a file"),
            (Errno::NOENT, Doing::Connect, At::Unix, "no such socket", "running there"),
            (Errno::NOTCONN, Doing::Write, net("192.0.2.1:7"), "not connected", "already closed"),
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
    fn an_unexpected_error_keeps_the_systems_text() {
        let error = io::Error::from_raw_os_error(Errno::ISDIR.raw_os_error());
        assert_eq!(explain(&error, Doing::Read).to_string(), "is a directory");
    }
}
