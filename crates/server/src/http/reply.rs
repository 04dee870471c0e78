//! What HTTP answers: a whole body, or events without end.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Response, StatusCode};
use vang_proto::vang::{Code, ErrorReply, Reply};

use super::events::Events;

/// Why there is no other answer.
pub(super) const NO_MEMORY: &str = "this server's memory for clients is used up; try again\n";

/// A response's body.
pub(super) enum ResponseBody {
    Whole(Full<Bytes>),
    Events(Box<Events>),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            ResponseBody::Whole(body) => Pin::new(body).poll_frame(cx),
            ResponseBody::Events(events) => Pin::new(&mut **events).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Whole(body) => body.is_end_stream(),
            ResponseBody::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Whole(body) => body.size_hint(),
            ResponseBody::Events(_) => SizeHint::default(),
        }
    }
}

/// To the same place with TLS: it is the same port. `host` was checked to be ours.
pub(super) fn redirect(host: &str, uri: &hyper::Uri) -> Response<ResponseBody> {
    let path = uri.path_and_query().map(PathAndQuery::as_str).filter(|path| path.starts_with('/'));
    let to = format!("https://{host}{}", path.unwrap_or("/"));
    let mut response =
        text(StatusCode::PERMANENT_REDIRECT, format!("beyond this machine TLS is needed: {to}\n"));
    if let Ok(to) = HeaderValue::from_str(&to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

/// An error of the hub, as HTTP says it; the code goes along for programs.
pub(super) fn refusal(reply: &Reply) -> Response<ResponseBody> {
    let word = reply.code.as_deref().unwrap_or_default();
    let status = Code::ALL
        .iter()
        .find(|code| code.as_str() == word)
        .map_or(StatusCode::BAD_REQUEST, |code| status(*code));
    let mut response = error(status, word, &reply.text);
    if let Some(after) = reply.error_keys().retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.div_ceil(1_000)));
    }
    response
}

/// The same of an error that was found here.
pub(super) fn fault(code: Code, detail: &str) -> Response<ResponseBody> {
    error(status(code), code.as_str(), detail)
}

/// The answer if no reply comes from the session, because the server stops.
pub(super) fn stopping() -> Response<ResponseBody> {
    fault(Code::Stopping, "the server is going down; connect again")
}

/// The answer if no reply comes from the session, because what it held was given up.
pub(super) fn no_memory() -> Response<ResponseBody> {
    fault(Code::Busy, NO_MEMORY.trim_end())
}

/// An error with a code for programs and a sentence for people.
pub(super) fn error(status: StatusCode, code: &str, detail: &str) -> Response<ResponseBody> {
    let body = serde_json::json!({"error": {"code": code, "detail": detail}});
    whole(status, "application/json", format!("{body}\n").into())
}

/// Why a connection, or a request through a proxy, gets no other answer.
pub(super) fn not_admitted(error: &ErrorReply) -> Response<ResponseBody> {
    let status = match status(error.code) {
        // The client has not asked too much: there are no places.
        StatusCode::TOO_MANY_REQUESTS => StatusCode::SERVICE_UNAVAILABLE,
        status => status,
    };
    text(status, format!("{}\n", error.detail))
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::Malformed
        | Code::UnknownEncoding
        | Code::BadRequest
        | Code::UnknownAction
        | Code::BadName
        | Code::NameNeeded => StatusCode::BAD_REQUEST,
        Code::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        Code::TimedOut => StatusCode::REQUEST_TIMEOUT,
        Code::AccountNeeded | Code::NotAllowed | Code::NotMember | Code::TlsRequired | Code::SignInNeeded => {
            StatusCode::FORBIDDEN
        }
        Code::AccountDisabled => StatusCode::FORBIDDEN,
        Code::WrongSecret => StatusCode::UNAUTHORIZED,
        Code::WeakPassword => StatusCode::UNPROCESSABLE_ENTITY,
        Code::NoRoom | Code::NoAccount | Code::NoToken | Code::NoInvitation => StatusCode::NOT_FOUND,
        Code::NameSet
        | Code::NameTaken
        | Code::NameConfusable
        | Code::AlreadyMember
        | Code::AlreadyFollowing => StatusCode::CONFLICT,
        // As the draft of the header `Idempotency-Key` has it.
        Code::IdReused => StatusCode::UNPROCESSABLE_ENTITY,
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

/// The path has only these methods, as the header `Allow` lists them; `refusal` says so.
pub(super) fn not_allowed(allow: &'static str, refusal: &'static str) -> Response<ResponseBody> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, refusal);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<ResponseBody> {
    whole(status, "text/plain; charset=utf-8", text.into())
}

pub(super) fn whole(status: StatusCode, kind: &'static str, body: Bytes) -> Response<ResponseBody> {
    with_head(status, kind, ResponseBody::Whole(Full::new(body)))
}

pub(super) fn with_head(
    status: StatusCode,
    kind: &'static str,
    body: ResponseBody,
) -> Response<ResponseBody> {
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
