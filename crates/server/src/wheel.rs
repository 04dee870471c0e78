//! Deadlines, coarsely: one wheel for all connections, so that an idle one has no timer of its own.
//! It may ring early or late by a tick; the connection then looks at the real deadline again.

use std::collections::BTreeMap;

use vang_hub::SessionId;
use vang_proto::Millis;

/// How coarse: a tenth of the shortest usual deadline.
pub(crate) const TICK_MS: u64 = 100;

/// Who is to be rung when.
#[derive(Default)]
pub(crate) struct Wheel {
    ticks: BTreeMap<u64, Vec<SessionId>>,
}

/// The tick at which a session is rung; `None`: not at all.
pub(crate) type Rings = Option<u64>;

impl Wheel {
    /// Rings the session at its deadline, unless it is rung before anyway.
    pub(crate) fn schedule(&mut self, session: SessionId, deadline: Millis, rings: &mut Rings) {
        let tick = deadline.0 / TICK_MS + 1;
        if rings.is_none_or(|already| tick < already) {
            *rings = Some(tick);
            self.ticks.entry(tick).or_default().push(session);
        }
    }

    /// The tick that is over now: who is to be rung. Each looks for itself whether it really is.
    pub(crate) fn due(&mut self, now: Millis) -> Vec<(u64, SessionId)> {
        let tick = now.0 / TICK_MS;
        let later = self.ticks.split_off(&(tick + 1));
        let due = std::mem::replace(&mut self.ticks, later);
        due.into_iter()
            .flat_map(|(tick, sessions)| sessions.into_iter().map(move |one| (tick, one)))
            .collect()
    }
}
