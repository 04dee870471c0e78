//! Options of `stall serve` and `stall send`.

use crate::Target;

/// The reader that does not read.
#[derive(Clone, Debug)]
pub struct StallServeOptions {
    /// An empty host means every interface, port 0 any free port.
    pub listen: Target,
    /// Read after a queue is full.
    pub fix: bool,
    /// `SO_RCVBUF` of each connection; `None`: the kernel adjusts it.
    pub receive_buffer: Option<usize>,
}

/// The writer.
#[derive(Clone, Debug)]
pub struct StallSendOptions {
    /// The reader; `None`, or port 0: a reader in this process that does not read.
    pub to: Option<Target>,
    /// UDP, to a reader in this process.
    pub udp: bool,
    /// After the kernel has refused, let the reader read and show the queues drain.
    pub fix: bool,
    /// After this many bytes the reader counts as reading.
    pub bytes_max: u64,
    /// `SO_SNDBUF` of the writer; `None`: the kernel adjusts it.
    pub send_buffer: Option<usize>,
    /// `SO_RCVBUF` of a reader in this process.
    pub receive_buffer: Option<usize>,
}
