//! The WebSocket's handshake (RFC 6455, 4.2). Frames are `vang_proto::websocket`; extensions are not agreed on.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Response, StatusCode, Version};

use super::asked::{Answering, Asked, refused_credential};
use super::reply::{ResponseBody, text};

/// `GET /ws`: native messages in binary frames. The connection is handed on when the answer is written.
pub(super) fn websocket(asked: Asked<'_>) -> Answering<'_> {
    Box::pin(async move {
        let request = asked.request;
        match accept(request.version(), request.headers()) {
            Ok(lines) => {
                // A token that is not valid is said here: a page could not read it later.
                let credential = match asked.session().and_then(|_| asked.credential()) {
                    Ok(credential) => credential,
                    Err(error) => return refused_credential(&error),
                };
                asked.upgraded.set(Some((asked.client, credential)));
                let mut response = Response::new(ResponseBody::Whole(Full::default()));
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                response.headers_mut().extend(lines);
                response
            }
            Err(NoHandshake(status, why)) => {
                let mut response = text(status, format!("{why}\n"));
                let headers = response.headers_mut();
                if status == StatusCode::UPGRADE_REQUIRED {
                    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
                }
                response
            }
        }
    })
}

/// What the standard puts behind the client's key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The one protocol inside that a client may name.
const SUBPROTOCOL: &str = "vang";

/// No handshake: which status, and what to say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoHandshake(pub(crate) StatusCode, pub(crate) &'static str);

/// The header lines of the answer `101 Switching Protocols`.
pub(crate) fn accept(
    version: Version,
    headers: &HeaderMap,
) -> Result<Vec<(HeaderName, HeaderValue)>, NoHandshake> {
    let has = |name: HeaderName, wanted: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    // An older version's Upgrade is ignored (RFC 9110, 7.8).
    if version != Version::HTTP_11 || !has(UPGRADE, "websocket") || !has(CONNECTION, "upgrade") {
        return Err(NoHandshake(
            StatusCode::UPGRADE_REQUIRED,
            "this is a WebSocket: ask with 'Upgrade: websocket'",
        ));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(NoHandshake(StatusCode::UPGRADE_REQUIRED, "Sec-WebSocket-Version must be 13"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if STANDARD.decode(key).map_or(true, |key| key.len() != 16) {
        return Err(NoHandshake(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key must be 16 bytes in base64"));
    }
    let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()));
    let accept = HeaderValue::from_str(&accept).expect("base64 is ASCII");
    let mut answer = vec![
        (CONNECTION, HeaderValue::from_static("upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ];
    if has(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        answer.push((SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL)));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(change: impl FnOnce(&mut HeaderMap)) -> Result<Vec<(HeaderName, HeaderValue)>, NoHandshake> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (UPGRADE, "WebSocket"),
            (CONNECTION, "keep-alive, Upgrade"),
            (SEC_WEBSOCKET_VERSION, "13"),
            (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        change(&mut headers);
        accept(Version::HTTP_11, &headers)
    }

    #[test]
    fn the_standards_example_is_accepted() {
        let answer = asked(|_| {}).unwrap();
        assert!(
            answer
                .contains(&(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")))
        );
        assert!(!answer.iter().any(|(name, _)| name == SEC_WEBSOCKET_PROTOCOL));
        let named = asked(|headers| {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("chat, vang"));
        });
        assert!(named.unwrap().contains(&(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("vang"))));
    }

    #[test]
    fn a_request_that_is_no_handshake_gets_the_reason() {
        let status = |change: fn(&mut HeaderMap)| asked(change).unwrap_err().0.as_u16();
        assert_eq!(status(|headers| drop(headers.remove(UPGRADE))), 426);
        assert_eq!(status(|headers| drop(headers.remove(CONNECTION))), 426);
        assert_eq!(
            status(|headers| drop(headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("8")))),
            426
        );
        assert_eq!(status(|headers| drop(headers.remove(SEC_WEBSOCKET_KEY))), 400);
        assert_eq!(
            status(|headers| drop(headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("c2hvcnQ=")))),
            400
        );
    }
}
