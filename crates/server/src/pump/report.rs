//! The server at this moment, for status, readiness and metrics.

use std::rc::Rc;

use vang_hub::SessionId;
use vang_proto::vang::{NoKeys, Ticket, write_json};

use super::Pump;
use crate::clock::{now, steady_now};
use crate::fairness::turns::yield_turn;
use crate::status::metrics;
use crate::status::monitoring::Refusals;
use crate::status::snapshot::{ConnectionClass, CursorProgress, DAMAGED_NAMED, Snapshot, UnreadConnection};

/// Connections that are looked at before others have their turn: each costs a fraction of a microsecond.
const SLOTS_AT_ONCE: usize = 256;

impl Pump {
    /// Answers when the machine was looked at, which may take its time.
    pub(super) fn reply_status(self: &Rc<Self>, id: SessionId, ticket: Ticket, re: Option<String>) {
        let pump = self.clone();
        tokio::task::spawn_local(async move {
            let machine = pump.monitoring.looks.machine().await;
            let report = pump.snapshot().await.report(&machine);
            if let Some(slot) = pump.slots.borrow().get(&id) {
                let reply = write_json(re.as_deref(), &NoKeys {}, &report);
                slot.session.borrow_mut().reply(steady_now(), ticket, reply);
                slot.wake();
            }
        });
    }

    /// The server at this moment, without what costs a look at every connection.
    pub(super) fn outline(&self) -> Snapshot {
        let (hub, monitoring, desk) = (self.hub.borrow(), &self.monitoring, self.desk.borrow());
        let progress = &self.threads.progress;
        Snapshot {
            server: monitoring.server.clone(),
            up_ms: monitoring.began.elapsed().as_millis() as u64,
            journal: hub.identity().id_hex(),
            open: hub.is_open(),
            trouble: self.trouble.borrow().clone().or_else(|| hub.not_ordering().map(str::to_owned)),
            damaged: monitoring.damages.count(),
            damaged_first: monitoring.damages.first(DAMAGED_NAMED).into_iter().map(|seq| seq.0).collect(),
            ahead_ms: hub.state().time().0.saturating_sub(now().wall.0),
            hub: hub.stats(),
            view: CursorProgress { position: progress.cursor().0, stuck: progress.is_stuck() },
            find: CursorProgress {
                position: self.threads.index.cursor().0,
                stuck: self.threads.index.is_stuck(),
            },
            shed: monitoring.shed.get(),
            held_bytes: self.memory.used() + self.held_beside(),
            memory_max: self.memory.max(),
            connections_max: monitoring.connections_max.get() as u64,
            accepted: monitoring.accepted.get(),
            refused: monitoring.refused.get(),
            appends: monitoring.appends.read(),
            free_min: monitoring.free_min.get(),
            lag_max: monitoring.lag_max.get(),
            send_lag: self.send_lag.get(),
            password_hashes: desk.hashes(),
            passwords_refused: desk.refused(),
            passwords_waiting: desk.waiting() as u64,
            ..Snapshot::default()
        }
    }

    /// The server at this moment. Costs a look at every connection: others have their turn between parts of them.
    pub(crate) async fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.outline();
        let refusals = Refusals::default();
        let slots: Vec<SessionId> = self.slots.borrow().keys().copied().collect();
        for part in slots.chunks(SLOTS_AT_ONCE) {
            self.look_at(part, &mut snapshot, &refusals);
            yield_turn().await;
        }
        let hub = self.hub.borrow();
        let own = self.monitoring.refusals.read().into_iter();
        for (code, count) in own.chain(hub.refusals().iter().copied()) {
            refusals.add(code, count);
        }
        snapshot.refusals = refusals.read();
        snapshot
    }

    fn look_at(&self, part: &[SessionId], snapshot: &mut Snapshot, refusals: &Refusals) {
        let (hub, slots, now) = (self.hub.borrow(), self.slots.borrow(), steady_now());
        for slot in part.iter().filter_map(|id| slots.get(id)) {
            let Some(info) = hub.session_info(slot.id) else { continue };
            let class = ConnectionClass::new(slot.connection.door.name(), slot.connection.tls, info.peer);
            *snapshot.classes.entry(class).or_default() += 1;
            // The session that asks for this is borrowed by its own task.
            let Ok(session) = slot.session.try_borrow() else { continue };
            for &(code, count) in session.refusals() {
                refusals.add(code, count);
            }
            let Some((bytes, since)) = session.unread() else { continue };
            snapshot.add_unread(UnreadConnection {
                bytes,
                for_ms: now.0.saturating_sub(since.0),
                behind: info.behind,
                name: info.name,
                from: slot.connection.from,
                class,
            });
        }
    }

    /// What keeps the server from being ready, if anything.
    pub(crate) async fn not_ready(&self) -> Option<String> {
        let disk = self.monitoring.looks.disk().await;
        self.outline().not_ready(disk)
    }

    /// What is damaged in the journal, if anything.
    pub(crate) fn damage(&self) -> Option<String> {
        self.outline().damage()
    }

    /// The server's numbers, for Prometheus.
    pub(crate) async fn metrics(&self) -> String {
        let machine = self.monitoring.looks.machine().await;
        metrics::text(self.snapshot().await, machine)
    }
}
