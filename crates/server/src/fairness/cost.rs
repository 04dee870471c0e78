//! What a request may cost on the thread that decides.

use vang_proto::vang::Action;

/// What a request may cost on this thread beside its bytes, µs; 0: no more than a short turn.
pub(crate) fn work_us(action: &Action) -> u64 {
    match action {
        Action::Ping | Action::Hello | Action::Send { .. } | Action::Status => 0,
        // As many as are listed cost 1 ms.
        Action::Rooms | Action::Who { .. } => 500,
        Action::Follow { rooms, .. } => 20 + rooms.len() as u64,
        Action::History { .. }
        | Action::Find { .. }
        | Action::Create { .. }
        | Action::Join { .. }
        | Action::Leave { .. }
        | Action::AddAccount { .. } => 20,
    }
}
