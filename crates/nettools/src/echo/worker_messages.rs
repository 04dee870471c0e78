//! What the server of the model `processes` and its workers say to each other: lines of JSON over a pair of sockets, of which
//! one is the worker's stdin. When the server's end closes, also because the server was killed, the worker ends.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::server_records::EchoServeSummary;

/// Longest line: 1 MiB. The longest one has a certificate.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// The output of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerOutput {
    /// Lines on its stdout and stderr, which are the server's.
    Text,
    /// The same as objects.
    Json,
    Nothing,
}

/// What a worker needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WorkerSetup {
    pub(super) address: SocketAddr,
    pub(super) backlog: u32,
    pub(super) once: bool,
    pub(super) quiet: bool,
    pub(super) idle: Duration,
    pub(super) work: Duration,
    pub(super) output: WorkerOutput,
    pub(super) explains: bool,
    /// Certificate and key of TLS, which all workers share.
    pub(super) tls: Option<(Vec<u8>, Vec<u8>)>,
}

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromWorker {
    /// It listens.
    Ready,
    /// It has ended as it should.
    Ended(EchoServeSummary),
    Failed(String),
    /// Its output cannot be written: the reader has gone.
    NobodyReads,
}

pub(super) fn write(mut to: &UnixStream, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// The next message. `UnexpectedEof`: the other end has closed.
pub(super) fn read<M: DeserializeOwned>(from: &UnixStream) -> io::Result<M> {
    let mut line = Vec::new();
    // One byte at a time, because nothing after the line belongs to it; there are three lines in a worker's life.
    BufReader::with_capacity(1, from).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&line)?)
}
