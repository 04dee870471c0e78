//! What every connection of a server shares.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use vang_hub::Scope;

use crate::fairness::places::{Counted, Place, Places};
use crate::fairness::turns::Turns;
use crate::http::hosts::Names;
use crate::limits::Limits;
use crate::net::tls::Tls;
use crate::pump::Pump;

/// Refused connections that get an error reply at the same time; further ones are closed without a reply.
const REFUSALS_MAX: usize = 128;

/// What every connection of a server shares.
pub(crate) struct House {
    pub(crate) pump: Rc<Pump>,
    pub(crate) turns: Rc<Turns>,
    pub(crate) places: Rc<Places>,
    pub(crate) limits: RefCell<Limits>,
    /// What TLS begins with; replaced when the certificate is.
    pub(crate) tls: RefCell<Tls>,
    /// From where `/metrics` may be read.
    pub(crate) metrics: Cell<Scope>,
    /// From where lines may be typed.
    pub(crate) lines: Cell<Scope>,
    /// The names that browsers may know this server by.
    pub(crate) names: Names,
}

impl House {
    /// A place for a connection that is refused, which is counted. `None`: there are as many as may be; it is closed
    /// without a reply.
    pub(crate) fn take_refused(&self) -> Option<Place> {
        self.pump.monitoring.refused.add(1);
        (self.places.refused() < REFUSALS_MAX).then(|| self.places.take(Counted::Refused))
    }
}
