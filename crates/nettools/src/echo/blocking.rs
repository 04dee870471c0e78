//! Models `sequential` and `threads`, with blocking sockets. The first serves one connection after the other, while the
//! kernel queues others up to the backlog; the second uses one thread for each. A blocked thread cannot check for the end
//! of the server: another thread then closes its connection, so that its read returns.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use socket2::Socket;

use super::accept::{AcceptedPeer, ServerContext};
use super::peer::{BUFFER, Peer, Step};

use super::server_records::CloseReason;
use crate::Stopped;
use crate::listener::Listener;

/// After this silence of a client that has not closed its sending half, its message counts as complete.
const GREET_SILENCE: Duration = Duration::from_secs(1);

/// The stack of a thread: ten times what TLS needs. Default stacks are larger, and with huge pages each takes 2 MiB.
const STACK_BYTES: usize = 256 << 10;

/// Pause before the next accept when file descriptors or memory ran out.
const FULL_WAIT: Duration = Duration::from_millis(100);

/// The open connections, to close them at the end.
#[derive(Default)]
struct OpenSockets {
    open: Mutex<HashMap<u64, Arc<Socket>>>,
    ended: AtomicBool,
}

impl OpenSockets {
    fn enter(&self, number: u64, socket: Arc<Socket>) {
        if !self.ended.load(Relaxed) {
            self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(number, socket);
        }
    }

    fn leave(&self, number: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    fn end(&self) {
        self.ended.store(true, Relaxed);
        for socket in self.open.lock().unwrap_or_else(PoisonError::into_inner).values() {
            // It fails if the peer has already closed.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Serves one connection until it ends.
fn attend(
    mut peer: Peer,
    number: u64,
    open_sockets: &OpenSockets,
    context: &ServerContext,
    scratch: &mut [u8],
) {
    let wait = if context.greet { GREET_SILENCE.min(context.idle) } else { context.idle };
    let socket = peer.transport.socket.clone();
    open_sockets.enter(number, socket.clone());
    let mut silent = Duration::ZERO;
    let how =
        match socket.set_read_timeout(Some(wait)).and_then(|()| socket.set_write_timeout(Some(context.idle)))
        {
            Err(error) => CloseReason::of(&error),
            Ok(()) => loop {
                if open_sockets.ended.load(Relaxed) {
                    break CloseReason::Stopped;
                }
                match peer.step(scratch) {
                    Step::Moved { .. } => silent = Duration::ZERO,
                    Step::NoRead if context.greet && peer.counts.bytes > 0 => match peer.answer(false) {
                        Step::Gone(how) => break how,
                        _ => break CloseReason::Answered,
                    },
                    Step::NoRead => {
                        silent += wait;
                        if silent >= context.idle {
                            break CloseReason::Idle(context.idle);
                        }
                    }
                    Step::NoWrite => break CloseReason::Idle(context.idle),
                    Step::Gone(how) => break how,
                }
            },
        };
    open_sockets.leave(number);
    peer.end(if open_sockets.ended.load(Relaxed) { CloseReason::Stopped } else { how });
}

/// The next connection; inner `Err`: stopped.
fn next(listener: &Listener, context: &ServerContext) -> io::Result<Result<Peer, Stopped>> {
    loop {
        let mut fds = [PollFd::new(&listener.socket, PollFlags::IN)];
        if let Some(stopped) = context.stop.wait(&mut fds, None)? {
            return Ok(Err(stopped));
        }
        match context.accept(listener, true)? {
            AcceptedPeer::Peer(peer) => return Ok(Ok(*peer)),
            AcceptedPeer::Nobody => {}
            AcceptedPeer::Full => {
                if let Some(stopped) = context.stop.wait(&mut [], Some(FULL_WAIT))? {
                    return Ok(Err(stopped));
                }
            }
        }
    }
}

/// Runs `body`, which blocks; a stop closes all connections, so that it returns.
fn watched(
    context: &ServerContext,
    body: impl FnOnce(&OpenSockets) -> io::Result<Option<Stopped>>,
) -> io::Result<Option<Stopped>> {
    let open_sockets = OpenSockets::default();
    let (over, is_over) = UnixStream::pair()?;
    let watch = || {
        // Readable when its other end is dropped.
        let mut fds = [PollFd::new(&is_over, PollFlags::IN)];
        if !matches!(context.stop.wait(&mut fds, None), Ok(None)) {
            open_sockets.end();
        }
    };
    thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, watch)?;
        let outcome = body(&open_sockets);
        drop(over);
        outcome
    })
}

pub(super) fn sequential(listener: &Listener, context: &ServerContext) -> io::Result<Option<Stopped>> {
    let mut scratch = vec![0; BUFFER];
    watched(context, |open_sockets| {
        for number in 0.. {
            match next(listener, context)? {
                Ok(peer) => attend(peer, number, open_sockets, context, &mut scratch),
                Err(stopped) => return Ok(Some(stopped)),
            }
            if context.once {
                break;
            }
        }
        Ok(context.stop.now())
    })
}

pub(super) fn threads(listener: &Listener, context: &ServerContext) -> io::Result<Option<Stopped>> {
    watched(context, |open_sockets| {
        thread::scope(|scope| {
            let outcome = accept_all(listener, context, |number, mut peer| {
                peer.set_default_close_reason(CloseReason::NoThread);
                // Allocated here: a first allocation in the thread would create a large arena for it.
                let mut scratch = vec![0; BUFFER];
                let work = move || {
                    attend(peer, number, open_sockets, context, &mut scratch);
                    context.reporter.thread_ends(Duration::ZERO);
                };
                let builder = thread::Builder::new().name("echo".to_owned()).stack_size(STACK_BYTES);
                // Without a thread the connection is closed and reported; the others go on.
                if let Err(error) = builder.spawn_scoped(scope, work) {
                    let why = vang_client::trouble::plain(&error);
                    context.reporter.means(&format!(
                        "no thread for another connection: {why}. The models selector and async need no threads; \
                         `ulimit -u` and the pids limit of the container show the maximum"
                    ));
                }
            });
            if outcome.is_err() {
                open_sockets.end();
            }
            outcome
            // The scope waits for the remaining threads.
        })
        .map(|stopped| stopped.or_else(|| context.stop.now()))
    })
}

fn accept_all(
    listener: &Listener,
    context: &ServerContext,
    mut begin: impl FnMut(u64, Peer),
) -> io::Result<Option<Stopped>> {
    for number in 0.. {
        match next(listener, context)? {
            Ok(peer) => begin(number, peer),
            Err(stopped) => return Ok(Some(stopped)),
        }
        if context.once {
            break;
        }
    }
    Ok(None)
}
