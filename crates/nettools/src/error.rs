//! Why a tool failed: the operation, the error's name, its likely cause, and advice. Names and causes come from one table
//! for all of vang (`vang_client::trouble`). The advice there is for a vang server; here it is for a server of any kind.

use std::io;
use std::net::IpAddr;

use rustix::io::Errno;
use vang_client::trouble::{self, At, Doing, Trouble};

use crate::Verdict;

/// The error that ends a tool.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// An error of the operating system.
    #[error("{doing}: {trouble}")]
    System {
        /// The failed operation, as in `cannot listen on 127.0.0.1:80`.
        doing: String,
        trouble: Trouble,
    },
    /// Another socket keeps us from listening.
    #[error("{doing}: address in use ({holder})")]
    AddressInUse {
        /// As in `cannot listen on 127.0.0.1:80`.
        doing: String,
        /// The program or the sockets that keep the address.
        holder: String,
        advice: String,
    },
    /// The options do not fit together, or the request is not supported.
    #[error("{0}")]
    Usage(String),
    /// The output cannot be written, for example because its reader has gone.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl ToolError {
    /// An error of the operating system; `what` is the operation, as in `cannot connect to [::1]:80`.
    pub fn of(what: impl Into<String>, error: &io::Error, doing: Doing) -> ToolError {
        ToolError::System { doing: what.into(), trouble: explain(error, doing) }
    }

    /// The same, at this address or path.
    pub(crate) fn at(what: impl Into<String>, error: &io::Error, doing: Doing, at: At) -> ToolError {
        ToolError::System { doing: what.into(), trouble: explain_at(error, doing, at) }
    }

    /// Advice, where there is any.
    pub fn advice(&self) -> Option<&str> {
        match self {
            ToolError::System { trouble, .. } => Some(trouble.advice).filter(|advice| !advice.is_empty()),
            ToolError::AddressInUse { advice, .. } => Some(advice),
            ToolError::Usage(_) | ToolError::Output(_) => None,
        }
    }
}

/// Explains an error at this address or path.
pub(crate) fn explain_at(error: &io::Error, doing: Doing, at: At) -> Trouble {
    let named = trouble::explain_at(error, doing, at);
    if at == At::Unix && error.kind() == io::ErrorKind::ConnectionRefused {
        return Trouble {
            likely: "no program listens at that path: has the program ended, or is the file not a socket?",
            advice: "start the program that creates it, or check the path; `ss -lx` lists listening sockets",
            ..named
        };
    }
    // The tool that reaches several hosts at once.
    if let (At::Net(address), Doing::Connect, Some(Errno::ACCESS | Errno::NETUNREACH)) =
        (at, doing, Errno::from_io_error(error))
    {
        match address.ip().to_canonical() {
            IpAddr::V4(v4) if v4.is_broadcast() => {
                return Trouble {
                    advice: "use the address of one host, or ask all hosts of this network with `vang net echo send \
                             ADDRESS:PORT --udp --broadcast`",
                    ..named
                };
            }
            ip if ip.is_multicast() => {
                return Trouble {
                    advice: "use the address of one host, or ask all members of the group with `vang net echo send \
                             GROUP:PORT --udp`",
                    ..named
                };
            }
            _ => {}
        }
    }
    // Special causes of this address stay; general ones get the advice for servers of any kind.
    if named == trouble::explain(error, doing) { explain(error, doing) } else { named }
}

/// Explains an error: name, likely cause, advice.
pub(crate) fn explain(error: &io::Error, doing: Doing) -> Trouble {
    let named = trouble::explain(error, doing);
    let advice = match (error.kind(), doing) {
        (io::ErrorKind::ConnectionRefused, _) => {
            "check host and port; `vang net sockets --state listen` on that machine lists its listeners"
        }
        (io::ErrorKind::WouldBlock, Doing::Connect) => {
            "its program accepts too slowly; a longer queue (--backlog) helps against bursts"
        }
        (io::ErrorKind::NotFound, Doing::Connect) => "start the program that creates it, or check the path",
        _ => named.advice,
    };
    let likely = match (error.kind(), doing) {
        (io::ErrorKind::NotFound, Doing::Connect) => "is the program running that creates it?",
        _ => named.likely,
    };
    Trouble { advice, likely, ..named }
}

/// The result of a tool.
pub type Outcome = Result<Verdict, ToolError>;
