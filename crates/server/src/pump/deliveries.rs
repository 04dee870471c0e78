//! Sessions that have events to read, woken a few at a time: between them the sockets are looked at, and requests are
//! read, ordered and answered. So a message to a thousand readers keeps nobody waiting for the last of them, and a reader
//! that is reached late gets with one write what was said meanwhile, too.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::slot::Slot;
use crate::fairness::turns::Clock;

/// Sessions woken at once. The runtime looks at the sockets after about as many tasks anyway.
const AT_ONCE: usize = 64;

/// When the others take longer between two rounds, so many are woken for each ms that they took, up to `AT_ONCE_MAX`: a
/// delivery costs 2 to 10 µs, so readers have a part of the time however many requests come.
const AT_ONCE_MAX: usize = 1_024;

#[derive(Default)]
pub(super) struct Deliveries {
    waiting: RefCell<VecDeque<Rc<Slot>>>,
    /// Of `serve`, while it has nothing to do.
    idle: RefCell<Option<Waker>>,
}

impl Deliveries {
    /// This session has something to read. It is in the queue once.
    pub(super) fn push(&self, slot: &Rc<Slot>) {
        if !slot.due.replace(true) {
            self.waiting.borrow_mut().push_back(slot.clone());
        }
    }

    /// Wakes the first ones at once, when no others wait to be woken before them.
    pub(super) fn begin(&self) {
        if self.waiting.borrow().is_empty() {
            return;
        }
        if let Some(serve) = self.idle.borrow_mut().take() {
            self.wake(AT_ONCE);
            serve.wake();
        }
    }

    fn wake(&self, count: usize) {
        for _ in 0..count {
            let Some(slot) = self.waiting.borrow_mut().pop_front() else { return };
            slot.due.set(false);
            slot.wake();
        }
    }

    /// Wakes those who wait, in rounds. Never ends.
    pub(super) async fn serve(&self, clock: Clock) {
        loop {
            poll_fn(|cx| {
                if !self.waiting.borrow().is_empty() {
                    return Poll::Ready(());
                }
                *self.idle.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            })
            .await;
            let mut count = AT_ONCE;
            while !self.waiting.borrow().is_empty() {
                self.wake(count);
                let began = clock();
                // Comes back when the sockets were looked at, behind all that are ready then.
                tokio::task::yield_now().await;
                let ms = clock().saturating_duration_since(began).as_millis() as usize;
                count = (ms * AT_ONCE).clamp(AT_ONCE, AT_ONCE_MAX);
            }
        }
    }
}
