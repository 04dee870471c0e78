//! HTTP/1.1 on the stream whose first bytes were read already (hyper): who looks after the server asks `/healthz` and
//! `/readyz`; browsers and programs get rooms, events and the WebSocket.
//!
//! ```text
//! GET /healthz, /readyz       the process answers; it can also write, has room on the disk and for one connection more,
//!                             and its tables are up to date
//! GET /metrics                numbers for Prometheus; for this machine, unless it is said otherwise
//! GET /                       the page, and its files
//! GET /ws                     a WebSocket: native messages in binary frames
//! GET /rooms                  the rooms that the asker may see, as JSON
//! GET /find?q=QUERY           what was said there that has these words, as JSON; `limit` and `before` as natively
//! GET /rooms/ROOM/events      what happens there: Server-Sent Events, or JSON lines
//! ```
//!
//! It knows no rules of chat: it asks the hub in native messages (`ask.rs`). Beyond this machine nothing but health
//! is answered without TLS: the rest is redirected. A request that a proxy has passed on, and says so, comes from
//! elsewhere, whatever machine the proxy is on.

mod hosts; // our own names, and pages of strangers
mod page; // the files of the page, and what a browser may do with them
mod upgrade; // the WebSocket's handshake
mod ask; // a session in the hub for one request
mod events; // what happens in a room, as a body without end

use std::borrow::Cow;
use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use vang_hub::Peer;
use vang_proto::limits::QUERY_BYTES_MAX;
use vang_proto::vang::{Code, FollowFrom, Reply, RequestWriter, Value};

use self::ask::Asking;
use self::events::{Events, Form};
use self::hosts::Stranger;
pub(crate) use self::hosts::{Authority, Names};
use self::upgrade::NoHandshake;
use crate::door::Door;
use crate::drive::House;
use crate::listen::From;
use crate::metrics;
use crate::pump::About;
use crate::quota::Buckets;
use crate::serve::Reach;
use crate::socket::{Rewound, Socket};
use crate::turns::{Credit, yield_turn};

/// For a whole head, and between two requests on one connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest head of a request, bytes: 16 KiB, more than any browser sends.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Longest name of a room or a person in a request, bytes: far above what is a name, far below what fits into a
/// message's header.
const NAME_BYTES_MAX: usize = 1_024;

/// Headers that a request has once. Of two, one program would read the first and another the second.
const ONCE: [&str; 6] =
    ["host", "origin", "sec-fetch-site", "sec-websocket-key", "sec-websocket-version", "last-event-id"];

/// Who asks.
pub(crate) struct Asker {
    pub(crate) house: Rc<House>,
    pub(crate) from: From,
    pub(crate) peer: Peer,
    /// The connection's quotas.
    pub(crate) own: Rc<Buckets>,
    /// The time that it may still use.
    pub(crate) credit: Rc<Credit>,
    pub(crate) tls: bool,
    /// It is one connection too many, and why: then it is answered once.
    pub(crate) refused: Option<String>,
}

/// A response's body.
enum Answer {
    Whole(Full<Bytes>),
    Events(Box<Events>),
}

/// Serves one connection. When it became a WebSocket, gives back the socket, the bytes read beyond the request, and who
/// the peer is by its headers.
pub(crate) async fn serve(socket: Socket, first: &[u8], asker: Asker) -> Option<(Socket, Bytes, Peer)> {
    let keeps_alive = asker.refused.is_none();
    let from = asker.from;
    let stall = Duration::from_millis(asker.house.limits.borrow().session().stall_ms);
    let io = TokioIo::new(Rewound::new(Bytes::copy_from_slice(first), socket, stall));
    let asker = Rc::new(asker);
    let upgraded = Rc::new(Cell::new(None));
    let service = service_fn(|request| {
        let (asker, upgraded) = (asker.clone(), upgraded.clone());
        Box::pin(async move {
            // Each request is a turn of its own, however many come at once.
            yield_turn().await;
            Ok::<_, Infallible>(asker.answer(&request, &upgraded).await)
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
        return None;
    }
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    let Some(peer) = upgraded.get() else {
        let goodbye =
            std::future::poll_fn(|cx| tokio::io::AsyncWrite::poll_shutdown(Pin::new(&mut stream), cx));
        let _ = tokio::time::timeout(HEADER_TIMEOUT, goodbye).await;
        return None;
    };
    Some((stream.socket, parts.read_buf, peer))
}

impl Asker {
    async fn answer(&self, request: &Request<Incoming>, upgraded: &Cell<Option<Peer>>) -> Response<Answer> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let path = request.uri().path();
        let headers = request.headers();
        if !is_known(request.method()) {
            return text(
                StatusCode::NOT_IMPLEMENTED,
                "this method is not known here; only GET and HEAD are used\n",
            );
        }
        if let Some(name) = ONCE.iter().find(|name| headers.get_all(**name).iter().count() > 1) {
            return text(StatusCode::BAD_REQUEST, format!("there is more than one header {name}\n"));
        }
        if request.version() == Version::HTTP_11 && !headers.contains_key(header::HOST) {
            return text(StatusCode::BAD_REQUEST, "there is no header host, which HTTP/1.1 needs\n");
        }
        if matches!(path, "/healthz" | "/readyz") {
            return match (is_read, path) {
                (false, _) => not_allowed(),
                (true, "/healthz") => text(StatusCode::OK, "ok\n"),
                (true, _) => match self.refused.clone().or(self.house.pump.not_ready().await) {
                    None => match self.house.pump.damage() {
                        None => text(StatusCode::OK, "ready\n"),
                        Some(damage) => text(StatusCode::OK, format!("ready; {damage}\n")),
                    },
                    Some(trouble) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {trouble}\n")),
                },
            };
        }
        self.credit.note_asked();
        if self.refused.is_none() && self.house.pump.is_full() {
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                "this server's memory for clients is used up; try again\n",
            );
        }
        if let Some(refused) = &self.refused {
            return text(StatusCode::SERVICE_UNAVAILABLE, format!("{refused}\n"));
        }
        // What cannot be read is no name of ours.
        let said = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let peer = self.peer_by(headers);
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
        if peer == Peer::RemotePlain {
            return redirect(host.unwrap_or_default(), request.uri());
        }
        if let Some(page) = page::answer(request.method(), path, headers) {
            return page.map(Answer::Whole);
        }
        // A page may be linked to; what it asks for may be asked by itself only, also where a browser sends no Origin.
        let site = said(HeaderName::from_static("sec-fetch-site")).unwrap_or("none");
        if !matches!(site, "same-origin" | "none") {
            return text(StatusCode::FORBIDDEN, "pages of other sites may not talk to this server\n");
        }
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match parts[..] {
            ["ws"] => upgrade(request, peer, upgraded),
            _ if !is_read => not_allowed(),
            ["rooms"] => {
                let Ok(name) = name_of(request) else { return bad_name() };
                let asked = RequestWriter { name }.write(1, "rooms", &[]);
                self.json(peer, &asked, &["left-out"]).await
            }
            ["find"] => self.find(peer, request).await,
            ["rooms", room, "events"] => self.events(peer, request, room).await,
            ["metrics"] if is_local(peer) || self.house.metrics.get() == Reach::Everywhere => {
                whole(StatusCode::OK, metrics::CONTENT_TYPE, self.house.pump.metrics().await.into())
            }
            ["metrics"] => text(
                StatusCode::FORBIDDEN,
                "metrics are for this machine, unless --metrics says everywhere\n",
            ),
            _ => text(StatusCode::NOT_FOUND, "not here\n"),
        }
    }

    /// Where a request comes from: as its connection, unless a proxy on this machine says that it asks for another. Such
    /// a header never makes anybody local: everybody can write one.
    fn peer_by(&self, headers: &HeaderMap) -> Peer {
        match self.peer {
            Peer::Operator | Peer::Local if is_passed_on(headers) => Peer::RemoteTls,
            peer => peer,
        }
    }

    fn asking(&self, peer: Peer) -> Asking {
        let about = About { door: Door::Http, tls: self.tls, from: self.from };
        let limits = self.house.limits.borrow().session();
        Asking::new(&self.house, self.credit.clone(), limits, peer, about, self.own.clone())
    }

    /// The result of a native request, which is a JSON object, with these numbers of the reply's header, where it has
    /// them.
    async fn json(&self, peer: Peer, asked: &[u8], keys: &[&str]) -> Response<Answer> {
        let mut asking = self.asking(peer);
        asking.ask(asked);
        match asking.reply().await {
            None => text(StatusCode::SERVICE_UNAVAILABLE, "the server is going down\n"),
            Some(reply) if reply.code.is_some() => refusal(&reply),
            Some(reply) => {
                let mut body = reply.content.to_vec();
                for key in keys {
                    let Some(number) = reply.header.number(key) else { continue };
                    if body.pop_if(|last| *last == b'}').is_some() {
                        body.extend_from_slice(format!(", \"{key}\": {number}}}").as_bytes());
                    }
                }
                body.push(b'\n');
                // Counted until it is written.
                whole(StatusCode::OK, "application/json", self.house.pump.memory.hold(body))
            }
        }
    }

    async fn find(&self, peer: Peer, request: &Request<Incoming>) -> Response<Answer> {
        let Ok(name) = name_of(request) else { return bad_name() };
        // How long it may be is said natively; here only that it fits into a header.
        let Some(query) = argument(request, "q").filter(|query| query.len() <= 2 * QUERY_BYTES_MAX) else {
            let why = format!("'q' must be what to look for, at most {QUERY_BYTES_MAX} bytes\n");
            return text(StatusCode::BAD_REQUEST, why);
        };
        let mut arguments = vec![("query", Value::from(query))];
        for (key, least) in [("limit", 1), ("before", 0)] {
            match argument(request, key).map(|value| value.parse::<u64>()) {
                None => {}
                Some(Ok(number)) if number >= least => arguments.push((key, number.into())),
                Some(_) => {
                    return text(
                        StatusCode::BAD_REQUEST,
                        format!("'{key}' must be an integer from {least}\n"),
                    );
                }
            }
        }
        let asked = RequestWriter { name }.write(1, "find", &arguments);
        self.json(peer, &asked, &["next", "damaged", "left-out"]).await
    }

    async fn events(&self, peer: Peer, request: &Request<Incoming>, room: &str) -> Response<Answer> {
        let Ok(name) = name_of(request) else { return bad_name() };
        let room = percent_encoding::percent_decode_str(room).decode_utf8_lossy().into_owned();
        if room.len() > NAME_BYTES_MAX {
            return bad_name();
        }
        let since = match argument(request, "since").map(|since| since.parse::<u64>()) {
            None => FollowFrom::Now,
            Some(Ok(n)) => FollowFrom::Numbers(vec![n]),
            Some(Err(_)) => {
                return text(StatusCode::BAD_REQUEST, "'since' must be a message's number, from 0\n");
            }
        };
        let headers = request.headers();
        let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let wants_stream = said("accept").contains("text/event-stream");
        let (form, kind) = match wants_stream {
            true => (Form::EventStream, "text/event-stream"),
            false => (Form::Lines, "application/jsonl"),
        };
        let writer = RequestWriter { name };
        let id = said("last-event-id");
        let place = events::last_event(id);
        // An id that we never wrote is a place of another journal.
        let mut reset = (place.is_none() && !id.is_empty()).then(|| Code::JournalChanged.to_string());
        let mut from = place.unwrap_or_else(|| since.clone());
        // Asked again at most twice: a place of another journal, or beyond this one's end, is another beginning.
        loop {
            let mut asking = self.asking(peer);
            asking.ask(&writer.follow(1, std::slice::from_ref(&room), &from));
            let Some(reply) = asking.reply().await else {
                return text(StatusCode::SERVICE_UNAVAILABLE, "the server is going down\n");
            };
            match (reply.code.as_deref(), from) {
                (Some(code @ ("journal-changed" | "seq-ahead")), FollowFrom::Position { journal, .. }) => {
                    // The last position that we have in common, if there is one (docs/PROTOCOL.md, section 4): of a
                    // journal that was restored from a backup of the browser's, its own.
                    let text = |key| reply.header.text(key).map(Cow::into_owned);
                    let journal = if code == "seq-ahead" { Some(journal) } else { text("journal") };
                    from = match (journal, reply.header.number("seq")) {
                        (Some(journal), Some(seq)) if reset.is_none() => {
                            FollowFrom::Position { journal, epoch: text("epoch"), seq }
                        }
                        _ => since.clone(),
                    };
                    reset = Some(code.to_owned());
                }
                (Some(_), _) => return refusal(&reply),
                (None, _) => {
                    let events = Events::new(asking, form, &reply, reset.as_deref());
                    let body = match *request.method() {
                        Method::HEAD => Answer::Whole(Full::default()),
                        _ => Answer::Events(Box::new(events)),
                    };
                    let mut response = with_head(StatusCode::OK, kind, body);
                    // A proxy that collects a body before it passes it on would keep this one for ever (nginx).
                    let unbuffered = HeaderName::from_static("x-accel-buffering");
                    response.headers_mut().insert(unbuffered, HeaderValue::from_static("no"));
                    return response;
                }
            }
        }
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

fn is_local(peer: Peer) -> bool {
    matches!(peer, Peer::Operator | Peer::Local)
}

/// Does a proxy say that it asks for another (RFC 7239, RFC 9110 7.6.3, and what nginx and others write)?
fn is_passed_on(headers: &HeaderMap) -> bool {
    let mut names = headers.keys().map(HeaderName::as_str);
    names.any(|name| matches!(name, "forwarded" | "via" | "x-real-ip") || name.starts_with("x-forwarded-"))
}

fn upgrade(request: &Request<Incoming>, peer: Peer, upgraded: &Cell<Option<Peer>>) -> Response<Answer> {
    match upgrade::accept(request.method(), request.version(), request.headers()) {
        Ok(lines) => {
            upgraded.set(Some(peer));
            let mut response = Response::new(Answer::Whole(Full::default()));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().extend(lines);
            response
        }
        Err(NoHandshake(status, why)) => {
            let mut response = text(status, format!("{why}\n"));
            let headers = response.headers_mut();
            if status == StatusCode::UPGRADE_REQUIRED {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            } else if status == StatusCode::METHOD_NOT_ALLOWED {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
            }
            response
        }
    }
}

/// To the same place by TLS: it is the same port. `host` was checked to be ours.
fn redirect(host: &str, uri: &hyper::Uri) -> Response<Answer> {
    let path = uri.path_and_query().map(PathAndQuery::as_str).filter(|path| path.starts_with('/'));
    let to = format!("https://{host}{}", path.unwrap_or("/"));
    let mut response =
        text(StatusCode::PERMANENT_REDIRECT, format!("beyond this machine TLS is needed: {to}\n"));
    if let Ok(to) = HeaderValue::from_str(&to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

/// An argument behind the path's `?`.
fn argument(request: &Request<Incoming>, key: &str) -> Option<String> {
    let query = request.uri().query().unwrap_or_default().as_bytes();
    form_urlencoded::parse(query).find(|(name, _)| name == key).map(|(_, value)| value.into_owned())
}

/// Who speaks: `as`, as everywhere.
fn name_of(request: &Request<Incoming>) -> Result<Option<String>, ()> {
    match argument(request, "as") {
        Some(name) if name.len() > NAME_BYTES_MAX => Err(()),
        name => Ok(name),
    }
}

fn bad_name() -> Response<Answer> {
    text(StatusCode::BAD_REQUEST, format!("names have at most {NAME_BYTES_MAX} bytes here\n"))
}

/// An error of the hub, as HTTP says it; the code goes along for programs.
fn refusal(reply: &Reply) -> Response<Answer> {
    let word = reply.code.as_deref().unwrap_or_default();
    let status = Code::ALL
        .iter()
        .find(|code| code.as_str() == word)
        .map_or(StatusCode::BAD_REQUEST, |code| status(*code));
    let body = serde_json::json!({"error": {"code": word, "detail": reply.text}});
    let mut response = whole(status, "application/json", format!("{body}\n").into());
    if let Some(after) = reply.header.number("retry-after") {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.div_ceil(1_000)));
    }
    response
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::Malformed | Code::UnknownEncoding | Code::BadRequest | Code::UnknownAction | Code::BadName => {
            StatusCode::BAD_REQUEST
        }
        Code::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        Code::TimedOut => StatusCode::REQUEST_TIMEOUT,
        Code::AccountNeeded | Code::NotAllowed | Code::NotMember | Code::TlsRequired | Code::SignInNeeded => {
            StatusCode::FORBIDDEN
        }
        Code::NoRoom | Code::NoAccount => StatusCode::NOT_FOUND,
        Code::NameSet | Code::NameTaken | Code::AlreadyMember | Code::IdReused | Code::AlreadyFollowing => {
            StatusCode::CONFLICT
        }
        Code::JournalChanged | Code::SeqAhead => StatusCode::CONFLICT,
        Code::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Code::Busy
        | Code::Unavailable
        | Code::Unknown
        | Code::ClockAhead
        | Code::ViewBehind
        | Code::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        Code::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
    }
}

fn not_allowed() -> Response<Answer> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Answer> {
    whole(status, "text/plain; charset=utf-8", text.into())
}

fn whole(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Answer> {
    with_head(status, kind, Answer::Whole(Full::new(body)))
}

fn with_head(status: StatusCode, kind: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // No page of another site has it as an image or a script.
    let own = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(own, HeaderValue::from_static("same-origin"));
    response
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Answer::Whole(body) => Pin::new(body).poll_frame(cx),
            Answer::Events(events) => Pin::new(&mut **events).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Whole(body) => body.is_end_stream(),
            Answer::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Whole(body) => body.size_hint(),
            Answer::Events(_) => SizeHint::default(),
        }
    }
}
