//! A request, and the connection that it came on: what every handler gets.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{HeaderValue, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use vang_hub::{Browser, Peer};
use vang_proto::vang::{Code, ErrorReply};

use super::credential::{self, Credential, CredentialError};
use super::reply::{ResponseBody, fault, text};
use super::session::HubSession;
use crate::client_place::Client;
use crate::fairness::turns::Credit;
use crate::net::proxies::Proxies;
use crate::shared::House;

/// Longest name of a room or a person in a request, bytes: far above what is a name, far below what fits into a
/// message's header.
const QUERY_NAME_BYTES_MAX: usize = 1_024;

/// A connection that speaks HTTP.
pub(crate) struct Visitor {
    pub(crate) house: Rc<House>,
    /// By its connection.
    pub(crate) client: Client,
    /// The connection is of one of these proxies: each request names its client.
    pub(crate) proxies: Option<Arc<Proxies>>,
    /// The time that it may still use.
    pub(crate) credit: Rc<Credit>,
    pub(crate) tls: bool,
    /// It is one connection too many, or not what the listener is for: then it is answered once.
    pub(crate) refused: Option<ErrorReply>,
}

/// The answer of a handler.
pub(super) type Answering<'a> = Pin<Box<dyn Future<Output = Response<ResponseBody>> + 'a>>;

/// A request that is answered.
pub(super) struct Asked<'a> {
    pub(super) visitor: &'a Visitor,
    /// Who asks, by its connection and its headers.
    pub(super) client: Client,
    pub(super) request: &'a Request<()>,
    /// Taken by a handler that reads it.
    pub(super) body: &'a Cell<Option<Incoming>>,
    /// Set where the connection becomes a WebSocket.
    pub(super) upgraded: &'a Cell<Option<(Client, Credential)>>,
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

    /// The account or guest: `as`, as in native requests.
    pub(super) fn name(&self) -> Result<Option<String>, NameTooLong> {
        match self.argument("as") {
            Some(name) if name.len() > QUERY_NAME_BYTES_MAX => Err(NameTooLong),
            name => Ok(name),
        }
    }

    /// The room in the path.
    pub(super) fn room(&self) -> Result<String, NameTooLong> {
        let room = percent_encoding::percent_decode_str(self.part(1)).decode_utf8_lossy().into_owned();
        if room.len() > QUERY_NAME_BYTES_MAX { Err(NameTooLong) } else { Ok(room) }
    }

    pub(super) fn is_local(&self) -> bool {
        matches!(self.client.peer, Peer::Operator | Peer::Local)
    }

    /// A session in the hub that asks for it, signed in with what the request has.
    pub(super) fn session(&self) -> Result<HubSession, ErrorReply> {
        let credential = self.credential()?;
        let mut session = self.new_session();
        session.sign_in(&credential)?;
        Ok(session)
    }

    /// One that is not signed in.
    pub(super) fn new_session(&self) -> HubSession {
        self.visitor.session(&self.client)
    }

    /// With what the request signs in.
    pub(super) fn credential(&self) -> Result<Credential, ErrorReply> {
        let (journal, is_tls) = (self.visitor.house.pump.journal(), self.visitor.is_tls_for(&self.client));
        credential::read(self.request.headers(), &journal, is_tls)
            .map_err(|CredentialError(why)| ErrorReply::new(Code::NotAllowed, why))
    }

    /// As a browser that asks.
    pub(super) fn browser(&self) -> Browser {
        if self.visitor.is_tls_for(&self.client) { Browser::Tls } else { Browser::Plain }
    }
}

/// The answer to a request whose token or cookie is not valid.
pub(super) fn refused_credential(error: &ErrorReply) -> Response<ResponseBody> {
    let mut response = fault(error.code, &error.detail);
    if *response.status_mut() == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer realm=\"vang\", error=\"invalid_token\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
    }
    response
}

/// A name of more than `QUERY_NAME_BYTES_MAX` bytes.
pub(super) struct NameTooLong;

pub(super) fn bad_name() -> Response<ResponseBody> {
    text(StatusCode::BAD_REQUEST, format!("names have at most {QUERY_NAME_BYTES_MAX} bytes here\n"))
}
