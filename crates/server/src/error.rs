//! Why a server ended, or did not begin.

use std::io;

use crate::net::listen::ListenError;
use crate::net::tls::TlsError;
use crate::start::StartError;

/// Why a server ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Its certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Settings that do not go together.
    #[error("{0}")]
    Settings(String),
    #[error("cannot {what}: {source}")]
    Io { what: &'static str, source: io::Error },
    /// Everybody who can reach this listener would speak as any account.
    #[error(
        "--trust local lets every program on this machine speak as any account, and {addr} is reached from other machines"
    )]
    TrustBeyond {
        /// Where it would listen.
        addr: String,
    },
    /// A thread of the server ended, which none does by itself.
    #[error("the server's {0} thread ended; see the log above")]
    ThreadEnded(&'static str),
}
