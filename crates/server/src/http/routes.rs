//! Which path is answered by what: one row each. The page's files have a table of their own (`page.rs`).

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use vang_hub::Peer;

use super::reply::{Answer, text};
use super::session::HubSession;
use super::{Visitor, follow, health, questions, upgrade};

/// Longest name of a room or a person in a request, bytes: far above what is a name, far below what fits into a
/// message's header.
pub(super) const NAME_BYTES_MAX: usize = 1_024;

/// Who may ask.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Everybody: also without TLS, by any name, and where all places are taken.
    Everybody,
    /// Programs, and pages of this server; beyond this machine by TLS.
    Clients,
}

/// A path and what answers it.
pub(super) struct Route {
    /// Its parts; `*` is any one.
    path: &'static [&'static str],
    /// Methods that it has; empty: the handler says which.
    methods: &'static [Method],
    pub(super) who: Who,
    pub(super) handler: Handler,
}

/// Answers a request.
type Handler = for<'a> fn(Asked<'a>) -> Answering<'a>;
pub(super) type Answering<'a> = Pin<Box<dyn Future<Output = Response<Answer>> + 'a>>;

const READ: &[Method] = &[Method::GET, Method::HEAD];

#[rustfmt::skip]
const ROUTES: &[Route] = &[
    Route { path: &["healthz"],              methods: READ, who: Who::Everybody, handler: health::healthz },
    Route { path: &["readyz"],               methods: READ, who: Who::Everybody, handler: health::readyz },
    Route { path: &["metrics"],              methods: READ, who: Who::Clients,   handler: health::metrics },
    Route { path: &["ws"],                   methods: &[],  who: Who::Clients,   handler: upgrade::websocket },
    Route { path: &["rooms"],                methods: READ, who: Who::Clients,   handler: questions::rooms },
    Route { path: &["find"],                 methods: READ, who: Who::Clients,   handler: questions::find },
    Route { path: &["rooms", "*", "events"], methods: READ, who: Who::Clients,   handler: follow::follow },
];

/// The row of a path.
pub(super) fn route(path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| {
        let parts = path.split('/').skip(1);
        parts.clone().count() == route.path.len()
            && parts.zip(route.path).all(|(part, wanted)| *wanted == "*" || part == *wanted)
    })
}

impl Route {
    /// Has it this method?
    pub(super) fn takes(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }
}

/// A request that is answered.
pub(super) struct Asked<'a> {
    pub(super) visitor: &'a Visitor,
    /// Where it comes from, by its connection and its headers.
    pub(super) peer: Peer,
    pub(super) request: &'a Request<Incoming>,
    /// Set where the connection becomes a WebSocket.
    pub(super) upgraded: &'a Cell<Option<Peer>>,
}

impl<'a> Asked<'a> {
    /// A part of the path, counted from 0.
    pub(super) fn part(&self, index: usize) -> &'a str {
        self.request.uri().path().split('/').skip(1).nth(index).unwrap_or_default()
    }

    /// An argument behind the path's `?`.
    pub(super) fn argument(&self, key: &str) -> Option<String> {
        let query = self.request.uri().query().unwrap_or_default().as_bytes();
        form_urlencoded::parse(query).find(|(name, _)| name == key).map(|(_, value)| value.into_owned())
    }

    /// Who speaks: `as`, as everywhere.
    pub(super) fn name(&self) -> Result<Option<String>, NameTooLong> {
        match self.argument("as") {
            Some(name) if name.len() > NAME_BYTES_MAX => Err(NameTooLong),
            name => Ok(name),
        }
    }

    pub(super) fn is_local(&self) -> bool {
        matches!(self.peer, Peer::Operator | Peer::Local)
    }

    /// A session in the hub that asks for it.
    pub(super) fn session(&self) -> HubSession {
        self.visitor.session(self.peer)
    }
}

/// A name of more than `NAME_BYTES_MAX` bytes.
pub(super) struct NameTooLong;

pub(super) fn bad_name() -> Response<Answer> {
    text(StatusCode::BAD_REQUEST, format!("names have at most {NAME_BYTES_MAX} bytes here\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_row_and_others_have_none() {
        for path in ["/healthz", "/readyz", "/metrics", "/ws", "/rooms", "/find", "/rooms/a%2Fb/events"] {
            assert!(route(path).is_some(), "{path}");
        }
        for path in [
            "",
            "/",
            "/health",
            "/healthz/",
            "/rooms/",
            "/rooms/a",
            "/rooms/a/events/",
            "/rooms/a/b/events",
            "//find",
        ] {
            assert!(route(path).is_none(), "{path}");
        }
    }
}
