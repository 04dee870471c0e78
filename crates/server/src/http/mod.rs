//! HTTP/1.1 on the stream whose first bytes were read already (hyper): who looks after the server asks `/healthz` and
//! `/readyz`; browsers and programs get rooms, events and the WebSocket.
//!
//! ```text
//! GET /healthz, /readyz       the process answers; it can also write, has room on the disk and for one connection more,
//!                             and its view is up to date
//! GET /metrics                numbers for Prometheus; for this machine, unless it is said otherwise
//! GET /                       the page, and its files
//! GET /admission              who can enter from where the client is
//! GET, POST /session          who a browser is signed in as; signs it in
//! POST /session/end           signs it out
//! GET /ws                     a WebSocket: native messages in binary frames
//! GET /rooms                  the rooms that the client can see, as JSON, in pages
//! GET /find?q=QUERY           messages with these words, as JSON; `limit` and `before` as natively
//! POST /rooms/ROOM            posts a message
//! GET /rooms/ROOM/N           a message's content, as it was sent
//! GET /rooms/ROOM/events      what happens there: Server-Sent Events, or JSON lines
//! ```
//!
//! It knows no rules of chat: it asks the hub in native messages (`session.rs`). Beyond this machine nothing but health
//! is answered without TLS: the rest is redirected. A request that a proxy has passed on, and says so, comes from
//! elsewhere, whatever machine the proxy is on. From whom is believed only from a listener's own proxies (`client.rs`).

pub(crate) mod hosts; // our own names, and pages of strangers
mod routes; // which path is answered by what
mod client; // who asks, by the connection and by what a proxy says
mod asked; // a request, as its handler gets it
mod reply; // what is answered
mod health; // is it alive, is it ready, its numbers
mod who_can_enter; // `GET /admission`, for the page
mod questions; // the rooms, and what was found in them
mod content; // which type a message has: from the request's headers, and for its readers
mod body; // a request's body, within the limits of a message
mod messages; // a message: posted, and read
mod follow; // events: from where on
mod events; // what happens in a room, as a body without end
mod page; // the files of the page, and what a browser may do with them
mod upgrade; // the WebSocket's handshake
mod credential; // with what a request signs in
mod sign_in; // a browser signs in and out
mod session; // a session in the hub for one request

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderName};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use vang_hub::Peer;
use vang_proto::vang::Code;

use self::asked::Asked;
pub(crate) use self::asked::Visitor;
pub(crate) use self::credential::Credential;
use self::hosts::Stranger;
use self::reply::{NO_MEMORY, ResponseBody, not_admitted, not_allowed, redirect, text};
use self::routes::{Methods, READ, Who, route};
use self::session::HubSession;
use crate::client_place::Client;
use crate::door::Door;
use crate::fairness::turns::yield_turn;
use crate::net::socket::{Rewound, Socket};

/// For a whole head, and between two requests on one connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest head of a request, bytes: 16 KiB, more than any browser sends.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Headers that a request has once. Of two, one program would read the first and another the second.
const ONCE: [&str; 10] = [
    "host",
    "origin",
    "sec-fetch-site",
    "sec-websocket-key",
    "sec-websocket-version",
    "last-event-id",
    "content-type",
    "idempotency-key",
    "authorization",
    "cookie",
];

/// How a connection ended.
pub(crate) enum Served {
    /// It became a WebSocket: the socket, the bytes read beyond the request, and who the client is by its headers.
    Upgraded(Socket, Bytes, Client, Credential),
    /// The last answer is written: it is closed by `close`, for which nothing else of it is kept.
    Answered(Closing),
    Lost,
}

/// A connection that gets no answer any more.
pub(crate) struct Closing {
    stream: Rewound,
    /// The client may still send.
    is_unread: bool,
}

/// Closes a connection so that its client reads the last answer.
pub(crate) async fn close(Closing { mut stream, is_unread }: Closing) {
    let goodbye = std::future::poll_fn(|cx| tokio::io::AsyncWrite::poll_shutdown(Pin::new(&mut stream), cx));
    let _ = tokio::time::timeout(HEADER_TIMEOUT, goodbye).await;
    if is_unread {
        body::drain(&mut stream).await;
    }
}

/// Serves one connection.
pub(crate) async fn serve(socket: Socket, first: &[u8], visitor: Visitor) -> Served {
    let keeps_alive = visitor.refused.is_none();
    let from = visitor.client.from;
    let stall = Duration::from_millis(visitor.house.limits.borrow().session().stall_ms);
    let io = TokioIo::new(Rewound::new(Bytes::copy_from_slice(first), socket, stall));
    let visitor = Rc::new(visitor);
    let upgraded = Rc::new(Cell::new(None));
    let is_unread = Rc::new(Cell::new(false));
    let service = service_fn(|request: Request<Incoming>| {
        let (visitor, upgraded, is_unread) = (visitor.clone(), upgraded.clone(), is_unread.clone());
        Box::pin(async move {
            // Each request is a turn of its own, however many come at once.
            yield_turn().await;
            let (head, body) = request.into_parts();
            let (request, body) = (Request::from_parts(head, ()), Cell::new(Some(body)));
            let answer = visitor.answer(&request, &body, &upgraded).await;
            is_unread.set(body.take().is_some_and(|body| !body.is_end_stream()));
            Ok::<_, Infallible>(answer)
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .half_close(true)
        .keep_alive(keeps_alive)
        .serve_connection(io, service);
    let served = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    if let Err(error) = served {
        tracing::debug!(peer = %from, %error, "HTTP connection lost");
        return Served::Lost;
    }
    let parts = connection.into_parts();
    let stream = parts.io.into_inner();
    match upgraded.take() {
        Some((client, credential)) => Served::Upgraded(stream.socket, parts.read_buf, client, credential),
        None => Served::Answered(Closing { stream, is_unread: is_unread.get() }),
    }
}

impl Visitor {
    async fn answer(
        &self,
        request: &Request<()>,
        body: &Cell<Option<Incoming>>,
        upgraded: &Cell<Option<(Client, Credential)>>,
    ) -> Response<ResponseBody> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let path = request.uri().path();
        let headers = request.headers();
        if !is_known(request.method()) {
            return text(
                StatusCode::NOT_IMPLEMENTED,
                "this method is not known here; GET, HEAD and POST are used\n",
            );
        }
        if let Some(name) = ONCE.iter().find(|name| headers.get_all(**name).iter().count() > 1) {
            return text(StatusCode::BAD_REQUEST, format!("there is more than one header {name}\n"));
        }
        if request.version() == Version::HTTP_11 && !headers.contains_key(header::HOST) {
            return text(StatusCode::BAD_REQUEST, "there is no header host, which HTTP/1.1 needs\n");
        }
        // Not for want of places, which health checks are answered without.
        if let Some(refused) =
            self.refused.as_ref().filter(|error| matches!(error.code, Code::Malformed | Code::NotAllowed))
        {
            if refused.code == Code::Malformed {
                self.log_no_client(&refused.detail);
            }
            return not_admitted(refused);
        }
        let mut client = match self.client_by(headers) {
            Ok(client) => client,
            Err(why) => return text(StatusCode::BAD_REQUEST, why),
        };
        let route = route(path);
        let asked = |client| Asked { visitor: self, client, request, body, upgraded };
        if let Some(route) = route.filter(|route| route.who == Who::Everybody) {
            return match route.takes(request.method()) {
                true => (route.handler)(asked(client)).await,
                false => refuse_method(route.methods),
            };
        }
        self.credit.note_asked();
        if self.refused.is_none() && self.house.pump.is_full() {
            return text(StatusCode::SERVICE_UNAVAILABLE, NO_MEMORY);
        }
        if let Some(refused) = &self.refused {
            return not_admitted(refused);
        }
        // What cannot be read is no name of ours.
        let said = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let host = match request.uri().authority() {
            Some(authority) => Some(authority.as_str()),
            None => said(header::HOST),
        };
        match hosts::check(host, said(header::ORIGIN), &self.house.names) {
            Err(Stranger::Host(host)) => {
                let why = format!(
                    "this server does not go by the name {host:?}; use its address, or start it with --name\n"
                );
                return text(StatusCode::MISDIRECTED_REQUEST, why);
            }
            Err(Stranger::Origin(origin)) => {
                let asked = host.unwrap_or_default();
                let why = format!(
                    "pages of {origin:?} may not talk to this server, which was asked for as {asked:?}; a proxy must keep the \
                     browser's Host, or start the server with --name\n"
                );
                return text(StatusCode::FORBIDDEN, why);
            }
            Ok(()) => {}
        }
        if client.peer == Peer::RemotePlain {
            return redirect(host.unwrap_or_default(), request.uri());
        }
        if let Some(page) = page::answer(request.method(), path, headers) {
            return page.map(ResponseBody::Whole);
        }
        // A page may be linked to; what it asks for may be asked by itself only, also where a browser sends no Origin.
        let site = said(HeaderName::from_static("sec-fetch-site")).unwrap_or("none");
        if !matches!(site, "same-origin" | "none") {
            return text(StatusCode::FORBIDDEN, "pages of other sites may not talk to this server\n");
        }
        match route {
            Some(route) if route.takes(request.method()) => {
                if self.proxies.is_some()
                    && let Err(error) = client.take_place(&self.house)
                {
                    return not_admitted(&error);
                }
                (route.handler)(asked(client)).await
            }
            None if is_read => text(StatusCode::NOT_FOUND, "not here\n"),
            _ => refuse_method(route.map_or(READ, |route| route.methods)),
        }
    }

    /// Has the client TLS, to us or to its proxy?
    pub(super) fn is_tls_for(&self, client: &Client) -> bool {
        client.info(Door::Http, self.tls).tls
    }

    pub(super) fn session(&self, client: &Client) -> HubSession {
        let connection = client.info(Door::Http, self.tls);
        let limits = self.house.limits.borrow().session();
        HubSession::new(&self.house, self.credit.clone(), limits, client.clone(), connection)
    }
}

/// The methods of RFC 9110, 9.3, and PATCH. They are not allowed; others are not known (9.1).
fn is_known(method: &Method) -> bool {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::PATCH,
        Method::CONNECT,
        Method::TRACE,
    ];
    known.contains(method)
}
fn refuse_method(methods: &Methods) -> Response<ResponseBody> {
    not_allowed(methods.allow, methods.refusal)
}
