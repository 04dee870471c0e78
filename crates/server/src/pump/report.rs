//! The server at this moment, for status, readiness and metrics.

use std::rc::Rc;

use vang_hub::SessionId;
use vang_proto::vang::{NoKeys, Ticket, write_json};

use super::Pump;
use crate::clock::{now, steady_now};
use crate::status::snapshot::{DAMAGED_NAMED, Follower, Snapshot, Waiting, Way};
use crate::status::watch::Refusals;
use crate::status::{machine, metrics};

impl Pump {
    /// Answers when the machine was looked at, which may take its time.
    pub(super) fn reply_status(self: &Rc<Self>, id: SessionId, ticket: Ticket, re: Option<String>) {
        let pump = self.clone();
        tokio::task::spawn_local(async move {
            let machine = machine::look(pump.watch.data.clone()).await;
            let report = pump.snapshot().report(&machine);
            if let Some(slot) = pump.slots.borrow().get(&id) {
                let reply = write_json(re.as_deref(), &NoKeys {}, &report);
                slot.session.borrow_mut().reply(steady_now(), ticket, reply);
                slot.wake();
            }
        });
    }

    /// The server at this moment, without what costs a look at every connection.
    pub(super) fn outline(&self) -> Snapshot {
        let (hub, watch) = (self.hub.borrow(), &self.watch);
        let progress = &self.threads.progress;
        Snapshot {
            server: watch.server.clone(),
            up_ms: watch.began.elapsed().as_millis() as u64,
            journal: hub.identity().id_hex(),
            open: hub.is_open(),
            trouble: self.trouble.borrow().clone().or_else(|| hub.not_ordering().map(str::to_owned)),
            damaged: watch.damages.count(),
            damaged_first: watch.damages.first(DAMAGED_NAMED).into_iter().map(|seq| seq.0).collect(),
            ahead_ms: hub.state().time().0.saturating_sub(now().wall.0),
            hub: hub.stats(),
            view: Follower { position: progress.cursor().0, stuck: progress.is_stuck() },
            find: Follower { position: self.threads.index.cursor().0, stuck: self.threads.index.is_stuck() },
            shed: watch.shed.get(),
            held_bytes: self.memory.used() + self.held_beside(),
            memory_max: self.memory.max(),
            connections_max: watch.connections_max.get() as u64,
            accepted: watch.accepted.get(),
            turned_away: watch.turned_away.get(),
            appends: watch.appends.read(),
            free_min: watch.free_min.get(),
            lag_max: watch.lag_max.get(),
            send_lag: self.send_lag.get(),
            ..Snapshot::default()
        }
    }

    /// The server at this moment.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.outline();
        let (hub, watch, now) = (self.hub.borrow(), &self.watch, steady_now());
        let refusals = Refusals::default();
        for (code, count) in watch.refusals.read().into_iter().chain(hub.refusals().iter().copied()) {
            refusals.add(code, count);
        }
        for slot in self.slots.borrow().values() {
            let Some(info) = hub.session_info(slot.id) else { continue };
            let way = Way::new(slot.connection.door.name(), slot.connection.tls, info.peer);
            *snapshot.ways.entry(way).or_default() += 1;
            // The session that asks for this is borrowed by its own task.
            let Ok(session) = slot.session.try_borrow() else { continue };
            for &(code, count) in session.refusals() {
                refusals.add(code, count);
            }
            let Some((bytes, since)) = session.waiting() else { continue };
            snapshot.unsent_bytes += bytes as u64;
            snapshot.waiting.push(Waiting {
                bytes,
                for_ms: now.0.saturating_sub(since.0),
                behind: info.behind,
                name: info.name,
                from: slot.connection.from.to_string(),
                way,
            });
        }
        snapshot.refusals = refusals.read();
        snapshot
    }

    /// What keeps the server from being ready, if anything.
    pub(crate) async fn not_ready(&self) -> Option<String> {
        let disk = machine::look_at_disk(self.watch.data.clone()).await;
        self.outline().not_ready(disk)
    }

    /// What is damaged in the journal, if anything.
    pub(crate) fn damage(&self) -> Option<String> {
        self.outline().damage()
    }

    /// The server's numbers, for Prometheus.
    pub(crate) async fn metrics(&self) -> String {
        let machine = machine::look(self.watch.data.clone()).await;
        metrics::text(self.snapshot(), machine)
    }
}
