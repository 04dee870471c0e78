//! HTTP/1.1 for those who look after the server: `/healthz` (the process answers) and `/readyz` (it
//! can also write, and has room for one connection more). No names, no rooms, no numbers about people.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::listen::From;
use crate::pump::Pump;
use crate::socket::{Rewound, Socket};

/// For a whole request, and between two on one connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest head of a request, bytes: 16 KiB, more than any browser sends.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Serves one connection. `refused`: it is one too many, and why; then it is answered once.
pub(crate) async fn serve(socket: Socket, first: &[u8], pump: Rc<Pump>, from: From, refused: Option<String>) {
    let keeps_alive = refused.is_none();
    let io = TokioIo::new(Rewound { first: Bytes::copy_from_slice(first), socket });
    let service = service_fn(move |request| {
        let response = answer(&request, || refused.clone().or_else(|| pump.trouble()));
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .half_close(true)
        .keep_alive(keeps_alive)
        .serve_connection(io, service)
        .await;
    if let Err(error) = served {
        tracing::debug!(peer = %from, %error, "HTTP connection lost");
    }
}

fn answer<B>(request: &Request<B>, trouble: impl FnOnce() -> Option<String>) -> Response<Full<Bytes>> {
    let known = matches!(request.uri().path(), "/healthz" | "/readyz");
    let (status, text) = match (known, request.method(), request.uri().path()) {
        (false, _, _) => (StatusCode::NOT_FOUND, "not here; there are /healthz and /readyz\n".to_owned()),
        (true, &Method::GET | &Method::HEAD, "/healthz") => (StatusCode::OK, "ok\n".to_owned()),
        (true, &Method::GET | &Method::HEAD, _) => match trouble() {
            None => (StatusCode::OK, "ready\n".to_owned()),
            Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {trouble}\n")),
        },
        (true, _, _) => (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
    }
    response
}
