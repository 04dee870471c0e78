//! Model `async`: a tokio task for each connection on one thread. The code looks like a thread for each, and runs like the
//! selector. The tasks share one buffer, because none of them waits while it uses the buffer.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::io::{Interest, Ready};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::accept::{AcceptedPeer, ServerContext};
use super::peer::{BUFFER, Peer, Turn};
use super::selector::LOOKS;

use super::server_records::CloseReason;
use crate::Stopped;
use crate::listener::Listener;

/// Pause before the next accept when file descriptors or memory ran out.
const FULL_WAIT: Duration = Duration::from_millis(100);

type Scratch = Arc<Mutex<Vec<u8>>>;

/// tokio deprecates its safe constructor because `AsRawFd` alone does not guarantee that the descriptor stays open. Here
/// the descriptor is owned or borrowed for the whole time.
#[allow(deprecated)]
fn watched<T: AsRawFd + AsFd>(fd: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(fd, interest)
}

pub(super) fn serve(listener: &Listener, context: &ServerContext) -> io::Result<Option<Stopped>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    context.reporter.explain(|| "tokio: one thread, a task for each connection, epoll inside".to_owned());
    runtime.block_on(accept(listener, context))
}

async fn accept(listener: &Listener, context: &ServerContext) -> io::Result<Option<Stopped>> {
    let listening = watched(listener.socket.as_fd(), Interest::READABLE)?;
    let stop_requested = watched(context.stop.as_fd(), Interest::READABLE)?;
    let deadline = async {
        match context.stop.left() {
            Some(left) => sleep(left).await,
            None => std::future::pending().await,
        }
    };
    let mut deadline = pin!(deadline);
    let scratch: Scratch = Arc::new(Mutex::new(vec![0; BUFFER]));
    let mut peers = JoinSet::new();
    let mut closed = false;
    let outcome = loop {
        tokio::select! {
            biased;
            _ = stop_requested.readable() => break Some(Stopped::Requested),
            () = &mut deadline => break Some(Stopped::TimedOut),
            Some(_) = peers.join_next() => {
                if closed && peers.is_empty() {
                    break context.stop.now();
                }
            }
            ready = listening.readable(), if !closed => {
                let mut ready = ready?;
                match context.accept(listener, false)? {
                    AcceptedPeer::Peer(peer) => {
                        peers.spawn(attend(*peer, context.idle, scratch.clone()));
                        closed = context.once;
                    }
                    AcceptedPeer::Nobody => ready.clear_ready(),
                    AcceptedPeer::Full => sleep(FULL_WAIT).await,
                }
            }
        }
    };
    // Dropped peers record that they were stopped.
    peers.shutdown().await;
    Ok(outcome)
}

/// Serves one connection until it ends.
async fn attend(mut peer: Peer, idle: Duration, scratch: Scratch) {
    let how = match watch(&mut peer, idle, &scratch).await {
        Ok(how) => how,
        Err(error) => CloseReason::of(&error),
    };
    peer.end(how);
}

async fn watch(peer: &mut Peer, idle: Duration, scratch: &Scratch) -> io::Result<CloseReason> {
    let socket = watched(peer.transport.socket.clone(), Interest::READABLE | Interest::WRITABLE)?;
    let look_every = (idle / LOOKS).max(Duration::from_millis(1));
    let mut look = pin!(sleep(look_every));
    let (mut writes, mut moved, mut still) = (false, 0, 0);
    loop {
        let ready = async { if writes { socket.writable().await } else { socket.readable().await } };
        let mut ready: AsyncFdReadyGuard<'_, _> = tokio::select! {
            biased;
            ready = ready => ready?,
            () = &mut look => {
                still = if peer.moved() == moved { still + 1 } else { 0 };
                if still >= LOOKS {
                    return Ok(CloseReason::Idle(idle));
                }
                moved = peer.moved();
                look.as_mut().reset(Instant::now() + look_every);
                continue;
            }
        };
        let ended = ready.ready().is_read_closed();
        let turned = peer.turn(&mut scratch.lock().unwrap_or_else(PoisonError::into_inner), ended);
        // Clear only the readiness that the kernel has just denied.
        match turned {
            Turn::Read if !writes => ready.clear_ready_matching(Ready::READABLE),
            Turn::Write if writes => ready.clear_ready_matching(Ready::WRITABLE),
            Turn::Read | Turn::Write => {}
            Turn::Again => {
                drop(ready);
                tokio::task::yield_now().await;
                continue;
            }
            Turn::Gone(how) => return Ok(how),
        }
        writes = turned == Turn::Write;
    }
}
