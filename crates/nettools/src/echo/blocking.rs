//! Models `sequential` and `threads`: sockets that block. The first serves one connection after the other, while the
//! kernel queues the rest up to the backlog; the second gives each a thread. Whoever blocks cannot look whether the
//! server shall end: somebody else then closes its connection, and its read returns.

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

use super::peer::{BUFFER, Peer, Step};
use super::serve::{Accepted, Works};
use super::tell::How;
use crate::Stopped;
use crate::place::Door;

/// A client that does not close its sending half waits for our answer: after this silence, what came is everything.
const GREET_SILENCE: Duration = Duration::from_secs(1);

/// The stack of a thread: TLS needs a tenth of it. Those that the system gives are larger, and where it uses huge pages
/// each of them takes 2 MiB at once.
const STACK_BYTES: usize = 256 << 10;

/// Before the next try, when the system has nothing left for another connection.
const FULL_WAIT: Duration = Duration::from_millis(100);

/// The connections that may be blocked in.
#[derive(Default)]
struct Crew {
    open: Mutex<HashMap<u64, Arc<Socket>>>,
    ended: AtomicBool,
}

impl Crew {
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
            // Fails where the other side was quicker.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Serves one connection to its end.
fn attend(mut peer: Peer, number: u64, crew: &Crew, works: &Works, scratch: &mut [u8]) {
    let wait = if works.greet { GREET_SILENCE.min(works.idle) } else { works.idle };
    let socket = peer.wire.socket.clone();
    crew.enter(number, socket.clone());
    let mut silent = Duration::ZERO;
    let how =
        match socket.set_read_timeout(Some(wait)).and_then(|()| socket.set_write_timeout(Some(works.idle))) {
            Err(error) => How::of(&error),
            Ok(()) => loop {
                if crew.ended.load(Relaxed) {
                    break How::Stopped;
                }
                match peer.step(scratch) {
                    Step::Moved { .. } => silent = Duration::ZERO,
                    Step::NoRead if works.greet && peer.counts.bytes > 0 => match peer.answer(false) {
                        Step::Gone(how) => break how,
                        _ => break How::Answered,
                    },
                    Step::NoRead => {
                        silent += wait;
                        if silent >= works.idle {
                            break How::Idle(works.idle);
                        }
                    }
                    Step::NoWrite => break How::Idle(works.idle),
                    Step::Gone(how) => break how,
                }
            },
        };
    crew.leave(number);
    peer.end(if crew.ended.load(Relaxed) { How::Stopped } else { how });
}

/// The next one; `Err` inside: the end.
fn next(door: &Door, works: &Works) -> io::Result<Result<Peer, Stopped>> {
    loop {
        let mut fds = [PollFd::new(&door.socket, PollFlags::IN)];
        if let Some(stopped) = works.stop.wait(&mut fds, None)? {
            return Ok(Err(stopped));
        }
        match works.accept(door, true)? {
            Accepted::Peer(peer) => return Ok(Ok(*peer)),
            Accepted::Nobody => {}
            Accepted::Full => {
                if let Some(stopped) = works.stop.wait(&mut [], Some(FULL_WAIT))? {
                    return Ok(Err(stopped));
                }
            }
        }
    }
}

/// Blocks in `body` until it is over, or until the end came and every connection was closed.
fn watched(
    works: &Works,
    body: impl FnOnce(&Crew) -> io::Result<Option<Stopped>>,
) -> io::Result<Option<Stopped>> {
    let crew = Crew::default();
    let (over, is_over) = UnixStream::pair()?;
    let watch = || {
        // Ready when its other end is dropped.
        let mut fds = [PollFd::new(&is_over, PollFlags::IN)];
        if !matches!(works.stop.wait(&mut fds, None), Ok(None)) {
            crew.end();
        }
    };
    thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, watch)?;
        let outcome = body(&crew);
        drop(over);
        outcome
    })
}

pub(super) fn sequential(door: &Door, works: &Works) -> io::Result<Option<Stopped>> {
    let mut scratch = vec![0; BUFFER];
    watched(works, |crew| {
        for number in 0.. {
            match next(door, works)? {
                Ok(peer) => attend(peer, number, crew, works, &mut scratch),
                Err(stopped) => return Ok(Some(stopped)),
            }
            if works.once {
                break;
            }
        }
        Ok(works.stop.now())
    })
}

pub(super) fn threads(door: &Door, works: &Works) -> io::Result<Option<Stopped>> {
    watched(works, |crew| {
        thread::scope(|scope| {
            let outcome = accept_all(door, works, |number, mut peer| {
                peer.unless_turned(How::NoThread);
                // Made here: allocators give each thread that asks a share of its own, much larger than this.
                let mut scratch = vec![0; BUFFER];
                let work = move || {
                    attend(peer, number, crew, works, &mut scratch);
                    works.teller.thread_ends(Duration::ZERO);
                };
                let builder = thread::Builder::new().name("echo".to_owned()).stack_size(STACK_BYTES);
                // Without a thread the connection is dropped, which is told; the others go on.
                if let Err(error) = builder.spawn_scoped(scope, work) {
                    let why = vang_client::trouble::plain(&error);
                    works.teller.means(&format!(
                        "no thread for another connection: {why}. The models selector and async need none; \
                         `ulimit -u` and the container's pids limit say how many there may be"
                    ));
                }
            });
            if outcome.is_err() {
                crew.end();
            }
            outcome
            // The scope waits for those who are still served.
        })
        .map(|stopped| stopped.or_else(|| works.stop.now()))
    })
}

fn accept_all(door: &Door, works: &Works, mut begin: impl FnMut(u64, Peer)) -> io::Result<Option<Stopped>> {
    for number in 0.. {
        match next(door, works)? {
            Ok(peer) => begin(number, peer),
            Err(stopped) => return Ok(Some(stopped)),
        }
        if works.once {
            break;
        }
    }
    Ok(None)
}
