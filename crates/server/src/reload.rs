//! What changes while a server runs: all of a change, or nothing of it.

use std::path::Path;
use std::rc::Rc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use vang_hub::{Scope, Trust};

use crate::accept::{Accepting, Entrance, Shared, open_entrances, open_operators, raise_open_files};
use crate::error::ServeError;
use crate::limits::Limits;
use crate::net::listen::ListenAddr;
use crate::net::tls::{self, TlsFiles};

/// What can change while a server runs. Connections that are open stay, with the limits they came in with.
#[derive(Clone, Debug)]
pub struct Change {
    /// Where to listen.
    pub listen: Vec<ListenAddr>,
    /// Connections that the kernel keeps waiting, for listeners that are new.
    pub backlog: u32,
    /// Limits, for connections that are new.
    pub limits: Limits,
    /// Certificate and key; the files are read again.
    pub tls: Option<TlsFiles>,
    /// From where guests are admitted.
    pub guests: Scope,
    /// Where an account's name alone is enough.
    pub trust: Trust,
    /// From where `/metrics` may be read.
    pub metrics: Scope,
    /// From where lines may be typed.
    pub lines: Scope,
}

/// Tells a running server what has changed.
#[derive(Clone, Debug)]
pub struct Changer(pub(crate) UnboundedSender<Asked>);

/// A change, and who is told what came of it.
pub(crate) type Asked = (Change, oneshot::Sender<Result<(), ServeError>>);

impl Changer {
    /// Changes everything or, when something cannot be, nothing; says why not.
    pub async fn change(&self, change: Change) -> Result<(), ServeError> {
        let (told, outcome) = oneshot::channel();
        // A server that ends has nothing to change any more.
        let _ = self.0.send((change, told));
        outcome.await.unwrap_or(Ok(()))
    }
}

impl Shared {
    /// Somebody has removed the operator's socket: without it nobody can look after the server.
    pub(crate) async fn listen_again(self: &Rc<Self>, socket: &Path, accepting: &mut Vec<Accepting>) {
        if let Some(at) = accepting.iter().position(|place| place.addr.is_none()) {
            accepting.swap_remove(at).close().await;
        }
        match open_operators(socket) {
            Ok(operators) => {
                tracing::warn!("the operator's socket was removed; it is created again");
                accepting.push(operators.accept(self));
            }
            Err(error) => tracing::warn!(%error, "the operator's socket was removed and cannot be created"),
        }
    }

    /// Everything that can fail comes first; then nothing can.
    pub(crate) async fn change(
        self: &Rc<Self>,
        change: Change,
        accepting: &mut Vec<Accepting>,
        tls_folder: &Path,
        names: &[String],
    ) -> Result<(), ServeError> {
        let tls = tls::load(change.tls.as_ref(), tls_folder, names)?;
        let mut opened = Vec::new();
        for addr in &change.listen {
            if !accepting.iter().any(|place| place.addr.as_ref() == Some(addr)) {
                opened.extend(open_entrances(addr, change.backlog)?);
            }
        }
        let is_kept = |place: &Accepting| place.addr.as_ref().is_none_or(|addr| change.listen.contains(addr));
        let kept = accepting.iter().filter(|place| is_kept(place));
        let kept = kept.map(|place| (place.shown.clone(), place.is_beyond_this_machine));
        refuse_trust(change.trust, kept.chain(opened.iter().map(Entrance::reach)))?;
        for at in (0..accepting.len()).rev() {
            if !is_kept(&accepting[at]) {
                let gone = accepting.swap_remove(at);
                tracing::info!(addr = ?gone.addr, "no longer listening");
                gone.close().await;
            }
        }
        for place in opened {
            tracing::info!(addr = %place.listener, "listening");
            accepting.push(place.accept(self));
        }
        let house = &self.house;
        let connections_max = change.limits.connections(raise_open_files());
        self.connections_max.set(connections_max);
        house.pump.set_rules(&change.limits, change.guests, change.trust);
        house.pump.watch.connections_max.set(connections_max);
        house.pump.watch.free_min.set(change.limits.ready_free_bytes());
        house.pump.watch.lag_max.set(change.limits.ready_lag());
        house.limits.replace(change.limits);
        house.tls.replace(tls.config);
        house.metrics.set(change.metrics);
        house.lines.set(change.lines);
        Ok(())
    }
}

/// What this machine's programs may say of themselves, others may not.
pub(crate) fn refuse_trust(
    trust: Trust,
    mut places: impl Iterator<Item = (String, bool)>,
) -> Result<(), ServeError> {
    match places.find(|(_, is_beyond)| *is_beyond) {
        Some((addr, _)) if trust == Trust::Local => Err(ServeError::TrustBeyond { addr }),
        _ => Ok(()),
    }
}
