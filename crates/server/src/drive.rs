//! One task per connection: tells the kind of client, then turns a `proto` session. Between two
//! messages it holds no buffer and no timer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use vang_hub::Peer;
use vang_proto::kind::{self, Kind};
use vang_proto::limits::KIND_BYTES_MAX;
use vang_proto::vang::{Code, ErrorReply, ServerSession, Step};

use crate::http;
use crate::limits::Limits;
use crate::listen::From;
use crate::pump::{Pump, Slot, steady_now};
use crate::socket::Socket;

/// What one read takes at the most: 64 KiB, shared by all connections of the thread.
const READ_BYTES: usize = 1 << 16;

/// Reads in a row before others have their turn.
const READS_PER_TURN: usize = 4;

/// How often a peer that only listens is looked after, ms.
const GONE_CHECK_MS: u64 = 15_000;

/// Pieces in one write: as many as the kernel takes (`IOV_MAX` is 1,024; longer arrays only cost).
const SLICES_PER_WRITE: usize = 64;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// A connection from its accepting to its close.
pub(crate) struct Connection {
    pub(crate) pump: Rc<Pump>,
    pub(crate) limits: Rc<Limits>,
    pub(crate) socket: Socket,
    pub(crate) from: From,
    pub(crate) peer: Peer,
    /// It is one too many: it is told so, once it is known in what language.
    pub(crate) refused: Option<ErrorReply>,
}

impl Connection {
    pub(crate) async fn run(self) {
        self.socket.prepare(Duration::from_millis(self.limits.session().stall_ms));
        let mut first = [0; KIND_BYTES_MAX];
        let wait = Duration::from_millis(self.limits.first_byte_ms());
        // A silent connection ends without a byte: nobody knows what it would understand.
        let Ok(Ok((len, kind))) = tokio::time::timeout(wait, self.tell(&mut first)).await else { return };
        if kind == Kind::Http {
            let Connection { pump, socket, from, refused, .. } = self;
            let refused = refused.map(|error| error.detail);
            return Box::pin(http::serve(socket, &first[..len], pump, from, refused)).await;
        }
        self.native(&first[..len], kind).await;
    }

    /// Reads until the kind is known.
    async fn tell(&self, first: &mut [u8; KIND_BYTES_MAX]) -> io::Result<(usize, Kind)> {
        let mut len = 0;
        loop {
            poll_fn(|cx| self.socket.poll_read_ready(cx)).await?;
            match self.socket.try_read(&mut first[len..]) {
                Ok(0) if len == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                // The stream ended in the middle of a token: the session will say of what.
                Ok(0) => return Ok((len, Kind::Native)),
                Ok(n) => len += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            if let Some(kind) = kind::tell(&first[..len]) {
                return Ok((len, kind));
            }
        }
    }

    async fn native(self, first: &[u8], kind: Kind) {
        let mut session = ServerSession::new(steady_now(), self.limits.session());
        if let Some(error) = &self.refused {
            session.fail(steady_now(), error);
        }
        let other = |session: &mut ServerSession, name: &str| {
            let detail = format!("{name} is not spoken here; this port speaks vang messages and HTTP/1.1");
            session.fail(steady_now(), &ErrorReply::new(Code::Malformed, detail).with("part", "protocol"));
        };
        match kind {
            Kind::Native => session.handle_bytes(steady_now(), first),
            // Told from all others already; spoken as soon as a connection can be dressed.
            Kind::Lines => session.refuse_protocol(steady_now(), first[2]),
            Kind::Unknown { third } => session.refuse_protocol(steady_now(), third),
            Kind::Tls => other(&mut session, "TLS"),
            Kind::Irc => other(&mut session, "IRC"),
            Kind::Http => other(&mut session, "HTTP"),
        }
        let slot = self.pump.connect(self.peer, session);
        let ended = self.turn(&slot).await;
        self.pump.disconnect(slot.id);
        let session = slot.session.borrow();
        match (session.refusal(), ended) {
            (Some(cause), _) => tracing::warn!(peer = %self.from, cause, "session closed"),
            (None, Err(error)) => tracing::debug!(peer = %self.from, %error, "session lost"),
            (None, Ok(())) => tracing::debug!(peer = %self.from, "session closed"),
        }
    }

    async fn turn(&self, slot: &Slot) -> io::Result<()> {
        let mut pulled = Vec::new();
        loop {
            slot.session.borrow_mut().handle_time(steady_now());
            self.read(slot)?;
            let mut blocked = false;
            loop {
                let asked = self.ask(slot);
                if slot.session.borrow().takes_events() {
                    self.pump.pull(slot.id, &mut pulled);
                    let mut session = slot.session.borrow_mut();
                    for bytes in pulled.drain(..) {
                        session.push_event(steady_now(), bytes);
                    }
                }
                match slot.session.borrow_mut().step(steady_now()) {
                    Step::Wait => {}
                    Step::ShutDown => self.socket.shut_down_writing()?,
                    Step::Close => return Ok(()),
                }
                if slot.session.borrow().has_output() {
                    blocked = !self.write(slot)?;
                    if blocked {
                        break;
                    }
                } else if !asked {
                    break;
                }
            }
            if let Some(deadline) = slot.session.borrow().deadline() {
                self.pump.schedule_deadline(slot, deadline);
            }
            if slot.session.borrow().only_tells() {
                // Nobody reads this socket any more, so nobody would be told that its peer is gone.
                if self.socket.is_gone() {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                self.pump.only_tells(slot.id);
                self.pump.schedule_deadline(slot, steady_now() + GONE_CHECK_MS);
            }
            self.wait(slot, blocked).await?;
        }
    }

    /// Reads what is there, within a turn.
    fn read(&self, slot: &Slot) -> io::Result<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            for _ in 0..READS_PER_TURN {
                let mut session = slot.session.borrow_mut();
                if !session.wants_input() {
                    return Ok(());
                }
                match self.socket.try_read(scratch) {
                    Ok(0) => {
                        session.handle_end(steady_now());
                        return Ok(());
                    }
                    Ok(n) => {
                        session.handle_bytes(steady_now(), &scratch[..n]);
                        if n < scratch.len() {
                            return Ok(());
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            // There may be more: come back after the others.
            slot.wake();
            Ok(())
        })
    }

    /// Hands the session's requests to the hub. `true`: there was one.
    fn ask(&self, slot: &Slot) -> bool {
        let mut any = false;
        loop {
            let Some((ticket, request)) = slot.session.borrow_mut().poll_request(steady_now()) else {
                return any;
            };
            any = true;
            self.pump.request(slot.id, ticket, request);
        }
    }

    /// Writes what waits. `false`: the socket takes no more now.
    fn write(&self, slot: &Slot) -> io::Result<bool> {
        let mut session = slot.session.borrow_mut();
        while session.has_output() {
            let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(4);
            session.slices(&mut slices, SLICES_PER_WRITE);
            match self.socket.try_write(&slices) {
                Ok(n) => {
                    drop(slices);
                    session.wrote(steady_now(), n);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Waits for the socket, the hub, or the wheel.
    async fn wait(&self, slot: &Slot, blocked: bool) -> io::Result<()> {
        let wants_input = slot.session.borrow().wants_input();
        poll_fn(|cx| {
            if slot.poll_woken(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if wants_input && let Poll::Ready(ready) = self.socket.poll_read_ready(cx) {
                return Poll::Ready(ready);
            }
            if blocked && let Poll::Ready(ready) = self.socket.poll_write_ready(cx) {
                return Poll::Ready(ready);
            }
            Poll::Pending
        })
        .await
    }
}
