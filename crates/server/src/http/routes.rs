//! Which path is answered by what: one row each. The page's files have a table of their own (`page.rs`).

use hyper::Method;

use super::asked::{Answering, Asked};
use super::{follow, health, messages, questions, sign_in, upgrade, who_can_enter};

/// Who may ask.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Everybody: also without TLS, by any name, and where all places are taken.
    Everybody,
    /// Programs, and pages of this server; from other machines with TLS.
    Clients,
}

/// A path and what answers it.
pub(super) struct Route {
    /// Its parts; `*` is any one.
    path: &'static [&'static str],
    pub(super) methods: &'static Methods,
    pub(super) who: Who,
    pub(super) handler: Handler,
}

/// The methods of a path, as the header `Allow` lists them, and what is said to a request with another one.
pub(super) struct Methods {
    pub(super) allow: &'static str,
    pub(super) refusal: &'static str,
}

/// Answers a request.
type Handler = for<'a> fn(Asked<'a>) -> Answering<'a>;

pub(super) const READ: &Methods = &Methods { allow: "GET, HEAD", refusal: "only GET and HEAD\n" };
const SEND: &Methods = &Methods {
    allow: "POST",
    refusal: "only POST; to read: GET /rooms/ROOM/events?since=0, or one message: GET /rooms/ROOM/1\n",
};
const BOTH: &Methods =
    &Methods { allow: "GET, HEAD, POST", refusal: "GET says who is signed in, POST signs in\n" };
const NEW: &Methods = &Methods { allow: "POST", refusal: "POST accepts an invitation\n" };
const END: &Methods = &Methods { allow: "POST", refusal: "POST signs out\n" };
const OPEN: &Methods = &Methods { allow: "GET", refusal: "a WebSocket begins with GET\n" };

#[rustfmt::skip]
const ROUTES: &[Route] = &[
    Route { path: &["healthz"],              methods: READ, who: Who::Everybody, handler: health::healthz },
    Route { path: &["readyz"],               methods: READ, who: Who::Everybody, handler: health::readyz },
    Route { path: &["metrics"],              methods: READ, who: Who::Clients,   handler: health::metrics },
    Route { path: &["admission"],            methods: READ, who: Who::Clients,   handler: who_can_enter::admission },
    Route { path: &["session"],              methods: BOTH, who: Who::Clients,   handler: sign_in::session },
    Route { path: &["session", "new"],       methods: NEW,  who: Who::Clients,   handler: sign_in::new },
    Route { path: &["session", "end"],       methods: END,  who: Who::Clients,   handler: sign_in::end },
    Route { path: &["ws"],                   methods: OPEN, who: Who::Clients,   handler: upgrade::websocket },
    Route { path: &["rooms"],                methods: READ, who: Who::Clients,   handler: questions::rooms },
    Route { path: &["find"],                 methods: READ, who: Who::Clients,   handler: questions::find },
    Route { path: &["rooms", "*"],           methods: SEND, who: Who::Clients,   handler: messages::post },
    Route { path: &["rooms", "*", "events"], methods: READ, who: Who::Clients,   handler: follow::follow },
    Route { path: &["rooms", "*", "*"],      methods: READ, who: Who::Clients,   handler: messages::get },
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
        self.methods.allow.split(", ").any(|allowed| allowed == method.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_row_and_others_have_none() {
        for path in [
            "/healthz",
            "/readyz",
            "/metrics",
            "/admission",
            "/session",
            "/session/new",
            "/session/end",
            "/ws",
            "/rooms",
            "/find",
            "/rooms/a%2Fb",
            "/rooms/a%2Fb/events",
            "/rooms/a%2Fb/12",
        ] {
            assert!(route(path).is_some(), "{path}");
        }
        for path in ["", "/", "/health", "/healthz/", "/rooms/a/events/", "/rooms/a/b/events", "//find"] {
            assert!(route(path).is_none(), "{path}");
        }
    }
}
