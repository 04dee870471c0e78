//! Where a connection's task and the pump meet.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use vang_hub::SessionId;
use vang_proto::vang::ServerSession;

use crate::door::Door;
use crate::fairness::quota::Share;
use crate::net::listen::PeerAddr;
use crate::wheel::Rings;

/// What is known of a connection beside what it says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionInfo {
    pub(crate) door: Door,
    pub(crate) tls: bool,
    pub(crate) from: PeerAddr,
}

/// Where a connection's task and the pump meet.
pub(crate) struct Slot {
    pub(crate) id: SessionId,
    pub(crate) connection: ConnectionInfo,
    pub(crate) session: RefCell<ServerSession>,
    /// Its quotas.
    pub(super) share: Rc<Share>,
    /// What was counted of the memory that it holds, bytes.
    pub(super) held: Cell<usize>,
    /// What HTTP has still to write of an event.
    pub(crate) text: RefCell<Bytes>,
    /// What has come of the body of an HTTP request.
    pub(crate) body: RefCell<Vec<u8>>,
    /// Bytes that stand between the socket and the session.
    pub(crate) beside: Cell<usize>,
    pub(super) waker: RefCell<Option<Waker>>,
    pub(super) woken: Cell<bool>,
    /// It waits to be woken for events.
    pub(super) due: Cell<bool>,
    pub(super) rings: Cell<Rings>,
}

impl Slot {
    pub(crate) fn wake(&self) {
        self.woken.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Was it woken since it was last asked? Otherwise it will be.
    pub(crate) fn poll_woken(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.woken.replace(false) {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            other => *other = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}
