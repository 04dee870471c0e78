//! Reads stdin on its own thread, because it blocks: a line or a full buffer at a time. Input that is faster than the
//! server is not buffered; the thread waits.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use mio::{Registry, Token, Waker};

use crate::echo::peer::BUFFER;
use crate::echo::plan::Input;

/// Messages from stdin.
pub(super) struct Feed {
    /// An empty message is the end.
    pub(super) lines: Receiver<Vec<u8>>,
    /// Kept alive: if the ending thread dropped the last reference, closing it would lose the last wake-up.
    _waker: Arc<Waker>,
}

impl Feed {
    /// Starts reading; `token` becomes ready when a message has come.
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
                // Sent before the wake-up, so that it is there.
                let unheard = sender.send(if over { Vec::new() } else { line }).is_err();
                // It fails when the client has ended.
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
