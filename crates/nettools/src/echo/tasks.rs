//! Model `async`: a task for each connection on one thread of tokio's. It reads like a thread each and runs like the
//! selector; the tasks share one buffer, since none of them waits while it holds bytes in it.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::io::{Interest, Ready};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::peer::{BUFFER, Peer, Turn};
use super::selector::LOOKS;
use super::serve::{Accepted, Works};
use super::tell::How;
use crate::Stopped;
use crate::place::Door;

/// Before the next try, when the system has nothing left for another connection.
const FULL_WAIT: Duration = Duration::from_millis(100);

type Scratch = Arc<Mutex<Vec<u8>>>;

/// tokio deprecates its safe constructor because `AsRawFd` alone does not promise that the descriptor stays open. What
/// is watched here is a descriptor with its owner or its lifetime, and outlives the watching.
#[allow(deprecated)]
fn watched<T: AsRawFd + AsFd>(fd: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(fd, interest)
}

pub(super) fn serve(door: &Door, works: &Works) -> io::Result<Option<Stopped>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    works.teller.explain(|| "tokio: one thread, a task for each connection, epoll below".to_owned());
    runtime.block_on(accept(door, works))
}

async fn accept(door: &Door, works: &Works) -> io::Result<Option<Stopped>> {
    let listening = watched(door.socket.as_fd(), Interest::READABLE)?;
    let asked = watched(works.stop.as_fd(), Interest::READABLE)?;
    let deadline = async {
        match works.stop.left() {
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
            _ = asked.readable() => break Some(Stopped::Asked),
            () = &mut deadline => break Some(Stopped::TimedOut),
            Some(_) = peers.join_next() => {
                if closed && peers.is_empty() {
                    break works.stop.now();
                }
            }
            ready = listening.readable(), if !closed => {
                let mut ready = ready?;
                match works.accept(door, false)? {
                    Accepted::Peer(peer) => {
                        peers.spawn(attend(*peer, works.idle, scratch.clone()));
                        closed = works.once;
                    }
                    Accepted::Nobody => ready.clear_ready(),
                    Accepted::Full => sleep(FULL_WAIT).await,
                }
            }
        }
    };
    // What is dropped in the middle tells that it was stopped.
    peers.shutdown().await;
    Ok(outcome)
}

/// Serves one connection to its end.
async fn attend(mut peer: Peer, idle: Duration, scratch: Scratch) {
    let how = match watch(&mut peer, idle, &scratch).await {
        Ok(how) => how,
        Err(error) => How::of(&error),
    };
    peer.end(how);
}

async fn watch(peer: &mut Peer, idle: Duration, scratch: &Scratch) -> io::Result<How> {
    let socket = watched(peer.wire.socket.clone(), Interest::READABLE | Interest::WRITABLE)?;
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
                    return Ok(How::Idle(idle));
                }
                moved = peer.moved();
                look.as_mut().reset(Instant::now() + look_every);
                continue;
            }
        };
        let ended = ready.ready().is_read_closed();
        let turned = peer.turn(&mut scratch.lock().unwrap_or_else(PoisonError::into_inner), ended);
        // Ready until the kernel says otherwise: cleared for what it has just refused.
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
