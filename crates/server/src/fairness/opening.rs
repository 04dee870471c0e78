//! Connections that have not asked anything yet, oldest first. Where every place is taken, the oldest of them makes
//! room: nobody keeps others out by opening connections and saying nothing, or never the whole of it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::task::AbortHandle;

use crate::fairness::turns::Credit;

/// Those that have asked, or are gone, are forgotten when there are so many of them beside one for each open connection.
const FORGOTTEN_AT: usize = 1_024;

/// The connections that have not asked anything yet, in the order in which they were accepted.
#[derive(Default)]
pub(crate) struct Opening(RefCell<VecDeque<(Rc<Credit>, AbortHandle)>>);

impl Opening {
    /// One more, while so many connections are open.
    pub(crate) fn push(&self, credit: Rc<Credit>, task: AbortHandle, open: usize) {
        let mut waiting = self.0.borrow_mut();
        if waiting.len() > FORGOTTEN_AT + 2 * open {
            waiting.retain(|(credit, task)| is_opening(credit, task));
        }
        waiting.push_back((credit, task));
    }

    /// Ends the oldest. `false`: there is none.
    pub(crate) fn end_oldest(&self) -> bool {
        let mut waiting = self.0.borrow_mut();
        while let Some((credit, task)) = waiting.pop_front() {
            if is_opening(&credit, &task) {
                task.abort();
                return true;
            }
        }
        false
    }
}

fn is_opening(credit: &Credit, task: &AbortHandle) -> bool {
    !credit.has_asked() && !credit.is_refused() && !task.is_finished()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn the_oldest_that_has_not_asked_makes_room() {
        let local = LocalSet::new();
        let opening = Opening::default();
        let credits: Vec<_> = (0..4).map(|_| Rc::new(Credit::new(Instant::now()))).collect();
        let mut tasks: Vec<_> = Vec::new();
        for credit in &credits {
            let task = local.spawn_local(std::future::pending::<()>());
            opening.push(credit.clone(), task.abort_handle(), 4);
            tasks.push(task);
        }
        credits[0].note_asked();
        tasks[1].abort();
        local.run_until(async { assert!((&mut tasks[1]).await.is_err()) }).await;
        assert!(opening.end_oldest());
        local.run_until(async { assert!((&mut tasks[2]).await.unwrap_err().is_cancelled()) }).await;
        assert!(!tasks[0].is_finished() && !tasks[3].is_finished());
        assert!(opening.end_oldest() && !opening.end_oldest());
    }

    #[tokio::test]
    async fn those_that_have_asked_are_forgotten() {
        let local = LocalSet::new();
        let opening = Opening::default();
        for _ in 0..10 * FORGOTTEN_AT {
            let credit = Rc::new(Credit::new(Instant::now()));
            credit.note_asked();
            opening.push(credit, local.spawn_local(async {}).abort_handle(), 10);
        }
        assert!(opening.0.borrow().len() <= FORGOTTEN_AT + 21);
    }
}
