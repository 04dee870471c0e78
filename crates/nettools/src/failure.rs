//! Why a tool could not do its work: what it was doing, the error's name, its likely cause, what to do about it. The
//! names and causes are the client's table (`vang_client::trouble`): one for all of vang; the advice is for whoever
//! looks at a server of any kind, where the client's is for whoever runs vang's.

use std::io;

use vang_client::trouble::{self, At, Doing, Trouble};

use crate::Verdict;

/// Ends a tool.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The system said no.
    #[error("{doing}: {trouble}")]
    System {
        /// `cannot listen at 127.0.0.1:80`.
        doing: String,
        /// What it said, and why.
        trouble: Trouble,
    },
    /// What was asked for does not go together, or nothing here can do it.
    #[error("{0}")]
    Usage(String),
    /// Nobody reads what is told any more, or it cannot be written.
    #[error("cannot tell what was found: {0}")]
    Untold(#[from] io::Error),
}

impl Failure {
    /// An error of the system's in the middle of something: `what` begins small, as in `cannot connect to [::1]:80`.
    pub fn of(what: impl Into<String>, error: &io::Error, doing: Doing) -> Failure {
        Failure::System { doing: what.into(), trouble: explain(error, doing) }
    }

    /// The same, met at this address or path.
    pub(crate) fn at(what: impl Into<String>, error: &io::Error, doing: Doing, at: At) -> Failure {
        Failure::System { doing: what.into(), trouble: explain_at(error, doing, at) }
    }

    /// What to do about it, where anybody knows.
    pub fn advice(&self) -> Option<&str> {
        match self {
            Failure::System { trouble, .. } => Some(trouble.advice).filter(|advice| !advice.is_empty()),
            Failure::Usage(_) | Failure::Untold(_) => None,
        }
    }
}

/// Names an error that was met at this address or path.
pub(crate) fn explain_at(error: &io::Error, doing: Doing, at: At) -> Trouble {
    let named = trouble::explain_at(error, doing, at);
    if at == At::Unix && error.kind() == io::ErrorKind::ConnectionRefused {
        return Trouble {
            likely: "nobody listens at that path: has the program that made it ended, or is it no socket?",
            advice: "start the program that makes it, or check the path; `ss -lx` lists those that are listened at",
            ..named
        };
    }
    // What is special about the place stays; the rest is said for servers of any kind.
    if named == trouble::explain(error, doing) { explain(error, doing) } else { named }
}

/// Names an error, with its likely cause and what to do.
pub(crate) fn explain(error: &io::Error, doing: Doing) -> Trouble {
    let named = trouble::explain(error, doing);
    let advice = match (error.kind(), doing) {
        (io::ErrorKind::ConnectionRefused, _) => {
            "check host and port; `vang net sockets --state listen` on that machine shows who listens there"
        }
        (io::ErrorKind::WouldBlock, Doing::Connect) => {
            "its program accepts too slowly; a longer queue (--backlog) helps against bursts"
        }
        (io::ErrorKind::NotFound, Doing::Connect) => "start the program that makes it, or check the path",
        _ => named.advice,
    };
    let likely = match (error.kind(), doing) {
        (io::ErrorKind::NotFound, Doing::Connect) => "does the program run that makes it?",
        _ => named.likely,
    };
    Trouble { advice, likely, ..named }
}

/// What came of a tool.
pub type Outcome = Result<Verdict, Failure>;
