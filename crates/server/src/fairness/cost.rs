//! What a request may cost on the thread that decides.

use vang_proto::vang::{Action, Work};

/// What a request may cost on this thread beside its bytes, µs; 0: no more than a short turn.
pub(crate) fn work_us(action: &Action) -> u64 {
    match action.info().work {
        Work::Little => 0,
        Work::Some => 20,
        Work::PerRoom => 20 + action.rooms() as u64,
        // As many as are listed cost 1 ms.
        Work::List => 500,
    }
}
