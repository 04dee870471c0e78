//! What changes while a server runs: all of a change, or nothing of it.

use std::path::Path;
use std::rc::Rc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use vang_hub::Trust;

use crate::accept::{Accepting, Entrance, Shared, open_entrances, open_operators, raise_open_files};
use crate::config::Config;
use crate::error::ServeError;
use crate::http::hosts::page_address;
use crate::net::listen::Listen;
use crate::net::tls;

/// Tells a running server what has changed.
#[derive(Clone, Debug)]
pub struct Changer(pub(crate) UnboundedSender<Asked>);

/// A change, and who gets its result.
pub(crate) type Asked = (Config, oneshot::Sender<Result<(), ServeError>>);

impl Changer {
    /// Changes everything that SIGHUP changes (`SETTINGS`) or, when something cannot be, nothing; says why not. Connections
    /// that are open stay, with the limits they came in with.
    pub async fn change(&self, config: Config) -> Result<(), ServeError> {
        let (sender, outcome) = oneshot::channel();
        // A server that ends has nothing to change any more.
        let _ = self.0.send((config, sender));
        outcome.await.unwrap_or(Ok(()))
    }
}

impl Shared {
    /// Somebody has removed the operator's socket: without it nobody can look after the server.
    pub(crate) async fn listen_again(self: &Rc<Self>, socket: &Path, accepting: &mut Vec<Accepting>) {
        if let Some(at) = accepting.iter().position(|place| place.listen.is_none()) {
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
        config: Config,
        accepting: &mut Vec<Accepting>,
        tls_folder: &Path,
        names: &[String],
    ) -> Result<(), ServeError> {
        let tls = tls::load(config.tls().map_err(ServeError::Settings)?.as_ref(), tls_folder, names)?;
        config.check_listen().map_err(ServeError::Settings)?;
        let (mut opened, mut changed) = (Vec::new(), Vec::new());
        for listen in &config.listen {
            if accepting.iter().any(|place| place.listen.as_ref() == Some(listen)) {
                continue;
            }
            // The same address with other options keeps its socket: a second one could not have the address.
            let has_address = |old: &&Listen| old.addr == listen.addr && !config.listen.contains(old);
            let is_free = |old: &&Listen| !changed.iter().any(|(taken, _)| taken == *old);
            let mut old = accepting.iter().filter_map(|place| place.listen.as_ref());
            match old.find(|old| has_address(old) && is_free(old)).cloned() {
                Some(old) => changed.push((old, listen.clone())),
                None => opened.extend(open_entrances(listen, config.backlog)?),
            }
        }
        let is_kept = |place: &Accepting| {
            place.listen.as_ref().is_none_or(|listen| {
                config.listen.contains(listen) || changed.iter().any(|(old, _)| old == listen)
            })
        };
        let kept = accepting.iter().filter(|place| is_kept(place));
        let kept = kept.map(|place| (place.shown.clone(), place.is_beyond_this_machine));
        refuse_trust(config.trust, kept.chain(opened.iter().map(Entrance::reach)))?;
        for at in (0..accepting.len()).rev() {
            if !is_kept(&accepting[at]) {
                let gone = accepting.swap_remove(at);
                tracing::info!(addr = %gone.shown, "no longer listening");
                gone.close().await;
            }
        }
        for place in &mut *accepting {
            let new = changed.iter().find(|(old, _)| place.listen.as_ref() == Some(old));
            if let Some((_, new)) = new {
                place.change(new.clone());
            }
        }
        for place in opened {
            tracing::info!(addr = %place.listener, "listening");
            accepting.push(place.accept(self));
        }
        let house = &self.house;
        let connections_max = config.limits.connections(raise_open_files());
        self.connections_max.set(connections_max);
        house.pump.set_rules(&config);
        let is_for_clients =
            |place: &&Accepting| place.listen.as_ref().is_some_and(|listen| listen.proxies.is_none());
        let client_addresses = accepting.iter().filter(is_for_clients).map(|place| place.shown.as_str());
        house.pump.set_page(page_address(&house.names.configured, client_addresses));
        house.pump.monitoring.connections_max.set(connections_max);
        house.pump.monitoring.free_min.set(config.limits.ready_free_bytes());
        house.pump.monitoring.lag_max.set(config.limits.ready_lag());
        house.limits.replace(config.limits);
        house.tls.replace(tls);
        house.metrics.set(config.metrics);
        house.lines.set(config.lines);
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
