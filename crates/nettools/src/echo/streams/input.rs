//! What is typed or piped, read on a thread of its own, a line or a full buffer at a time: reading it blocks, and the
//! connections do not. Whoever types faster than the server answers is kept waiting, not kept in memory.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use mio::{Registry, Token, Waker};

use crate::echo::peer::BUFFER;
use crate::echo::send::Input;

/// See the module's head.
pub(super) struct Feed {
    /// An empty one is the end.
    pub(super) lines: Receiver<Vec<u8>>,
    /// Dropped by the thread that ends, its last call would be lost: closing takes it back from the kernel.
    _waker: Arc<Waker>,
}

impl Feed {
    /// Begins to read; `token` is told whenever something has come.
    pub(super) fn start(input: Input, registry: &Registry, token: Token) -> io::Result<Feed> {
        let waker = Arc::new(Waker::new(registry, token)?);
        let kept = waker.clone();
        let (sender, receiver) = sync_channel(1);
        let read = move || {
            let mut input = BufReader::with_capacity(BUFFER, input);
            loop {
                let mut line = Vec::new();
                let read = (&mut input).take(BUFFER as u64).read_until(b'\n', &mut line);
                let over = !matches!(read, Ok(1..));
                // Sent before the wake, or it would be found missing.
                let unheard = sender.send(if over { Vec::new() } else { line }).is_err();
                // Who does not listen any more has ended.
                let _ = waker.wake();
                if over || unheard {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("stdin".to_owned()).spawn(read)?;
        Ok(Feed { lines: receiver, _waker: kept })
    }
}
