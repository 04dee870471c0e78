//! `/session`: who a browser is signed in as; `POST` signs it in with a password, `POST /session/new` with the code of an invitation
//! and a new password, and `POST /session/end` out. The token is the browser's cookie, which no script of a page can read.

use hyper::header::{CACHE_CONTROL, HeaderName, HeaderValue, ORIGIN, SET_COOKIE};
use hyper::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vang_hub::limits::{COOKIE_MS, PLAIN_COOKIE_MS};
use vang_proto::Secret;
use vang_proto::limits::{SECRET_BYTES_MAX, TITLE_BYTES_MAX};
use vang_proto::vang::{Action, Code, ErrorReply, Hello, Reply, RequestWriter, SignedIn};

use super::asked::{Answering, Asked, refused_credential};
use super::body;
use super::credential::set_cookie;
use super::messages::reply;
use super::reply::{ResponseBody, fault, no_memory, whole};
use super::session::HubSession;

/// What a browser is called that says nothing.
const BROWSER: &str = "browser";

/// Longest body of a `POST /session` or `POST /session/new`, bytes.
const BODY_BYTES_MAX: usize = 4 * SECRET_BYTES_MAX;

/// The body of a `POST /session`. Other keys are ignored.
#[derive(Deserialize)]
struct SignIn {
    name: String,
    password: String,
    /// What the owner of the account calls it.
    device: Option<String>,
}

/// The body of the answer.
#[derive(Default, Serialize)]
struct Who {
    /// `None`: nobody.
    name: Option<String>,
    /// Sign-ins with a wrong password since the last one with the right one.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<Failed>,
}

#[derive(Serialize)]
struct Failed {
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
}

/// The body of a `POST /session/new`. Other keys are ignored.
#[derive(Deserialize)]
struct Acceptance {
    code: String,
    password: String,
    /// Of the new account; a link is for one that there is.
    name: Option<String>,
    device: Option<String>,
}

type Answer = Result<Response<ResponseBody>, Response<ResponseBody>>;

/// `GET /session`: who the request is signed in as. `POST /session`: signs the browser in.
pub(super) fn session(asked: Asked<'_>) -> Answering<'_> {
    Box::pin(async move {
        let answer = match *asked.request.method() {
            Method::POST => sign_in(&asked).await,
            _ => who(&asked).await,
        };
        answer.unwrap_or_else(|refused| refused)
    })
}

/// `POST /session/new`: accepts an invitation.
pub(super) fn new(asked: Asked<'_>) -> Answering<'_> {
    Box::pin(async move { accept(&asked).await.unwrap_or_else(|refused| refused) })
}

/// `POST /session/end`.
pub(super) fn end(asked: Asked<'_>) -> Answering<'_> {
    Box::pin(async move { sign_out(&asked).await.unwrap_or_else(|refused| refused) })
}

async fn who(asked: &Asked<'_>) -> Answer {
    asked.credential().map_err(|error| refused_credential(&error))?;
    // A cookie that is not valid any more is taken away, and its browser is nobody.
    let Ok(mut session) = asked.session() else {
        let mut response = json(&Who::default());
        response.headers_mut().insert(SET_COOKIE, cookie(asked, None));
        return Ok(response);
    };
    if !session.is_signed_in() {
        return Ok(json(&Who::default()));
    }
    session.ask(&RequestWriter { name: None }.write(1, &Action::Hello));
    let reply = reply(&mut session, no_memory).await?;
    let Hello { name, .. } = reply.keys().unwrap_or_default();
    Ok(json(&Who { name: Some(name), failed: None }))
}

async fn sign_in(asked: &Asked<'_>) -> Answer {
    check_page(asked).map_err(|error| refused_credential(&error))?;
    // With what it is signed in now, it is not asked.
    let mut session = asked.new_session();
    let wanted = "the body must be JSON: {\"name\": …, \"password\": …, \"device\"?: …}";
    let SignIn { name, password, device } = read_body(asked, &mut session, wanted).await?;
    let password = Secret::new(password);
    if password.is_empty() || password.len() > SECRET_BYTES_MAX || name.len() > SECRET_BYTES_MAX {
        let why = format!("name and password have 1 to {SECRET_BYTES_MAX} bytes");
        return Err(fault(Code::BadRequest, &why));
    }
    session.set_browser(asked.browser());
    // The cookie that it has, which may have ended, shows that the account signed in here before.
    let token = asked.credential().ok().and_then(|credential| credential.token);
    let action = Action::SignIn { password: Some(password), token, device: title(device) };
    session.ask(&RequestWriter { name: Some(name) }.write(1, &action));
    let reply = reply(&mut session, no_memory).await?;
    Ok(signed_in(asked, &reply))
}

async fn accept(asked: &Asked<'_>) -> Answer {
    check_page(asked).map_err(|error| refused_credential(&error))?;
    let mut session = asked.new_session();
    let wanted = "the body must be JSON: {\"code\": …, \"password\": …, \"name\"?: …, \"device\"?: …}";
    let Acceptance { code, password, name, device } = read_body(asked, &mut session, wanted).await?;
    let (code, new) = (Secret::new(code), Secret::new(password));
    let is_out_of_bounds = |text: &str| text.is_empty() || text.len() > SECRET_BYTES_MAX;
    let name = name.filter(|name| !name.trim().is_empty());
    if is_out_of_bounds(code.expose())
        || is_out_of_bounds(new.expose())
        || name.as_deref().is_some_and(is_out_of_bounds)
    {
        let why = format!("code, password and name have 1 to {SECRET_BYTES_MAX} bytes");
        return Err(fault(Code::BadRequest, &why));
    }
    session.set_browser(asked.browser());
    let action = Action::Accept { code, new, device: title(device) };
    session.ask(&RequestWriter { name }.write(1, &action));
    let reply = reply(&mut session, no_memory).await?;
    // The new cookie takes the place of another one, whose token nobody would end. If that fails, it ends by its time.
    if let Ok(mut former) = asked.session()
        && former.is_signed_in()
    {
        let _ = end_token(&mut former).await;
    }
    Ok(signed_in(asked, &reply))
}

/// The JSON of a body; `wanted` says what it must be.
async fn read_body<T: DeserializeOwned>(
    asked: &Asked<'_>,
    session: &mut HubSession,
    wanted: &str,
) -> Result<T, Response<ResponseBody>> {
    let body = body::read(asked, session).await?;
    if body.len() > BODY_BYTES_MAX {
        return Err(fault(Code::TooLong, &format!("a body of more than {BODY_BYTES_MAX} bytes")));
    }
    serde_json::from_slice(&body).map_err(|_| fault(Code::BadRequest, wanted))
}

/// What the owner of the account calls this browser.
fn title(device: Option<String>) -> Option<String> {
    let device = device.filter(|device| !device.trim().is_empty() && device.len() <= TITLE_BYTES_MAX);
    Some(device.unwrap_or_else(|| BROWSER.to_owned()))
}

/// The account's name, and the cookie.
fn signed_in(asked: &Asked<'_>, reply: &Reply) -> Response<ResponseBody> {
    let SignedIn { name, token, failed, failed_last, failed_from } = reply.keys().unwrap_or_default();
    let failed = failed.map(|count| Failed { count, last: failed_last, from: failed_from });
    let who = Who { name: Some(name), failed };
    let mut response = json(&who);
    let token = token.map(Secret::new);
    response.headers_mut().insert(SET_COOKIE, cookie(asked, token.as_ref()));
    response
}

async fn sign_out(asked: &Asked<'_>) -> Answer {
    check_page(asked).map_err(|error| refused_credential(&error))?;
    let mut response = json(&Who::default());
    response.headers_mut().insert(SET_COOKIE, cookie(asked, None));
    if let Ok(mut session) = asked.session()
        && session.is_signed_in()
    {
        end_token(&mut session).await?;
    }
    Ok(response)
}

async fn end_token(session: &mut HubSession) -> Result<Reply, Response<ResponseBody>> {
    session.ask(&RequestWriter { name: None }.write(1, &Action::SignOut));
    reply(session, no_memory).await
}

/// Only a page of this server signs a browser in or out. What the headers say was compared with our names before.
fn check_page(asked: &Asked<'_>) -> Result<(), ErrorReply> {
    let headers = asked.request.headers();
    let says_site =
        headers.get(HeaderName::from_static("sec-fetch-site")).is_some_and(|site| site == "same-origin");
    if says_site || headers.contains_key(ORIGIN) {
        return Ok(());
    }
    let why =
        "this is for pages: it needs the header Origin; programs sign in with Authorization: Bearer TOKEN";
    Err(ErrorReply::new(Code::NotAllowed, why))
}

fn cookie(asked: &Asked<'_>, token: Option<&Secret>) -> HeaderValue {
    let (journal, is_tls) = (asked.visitor.house.pump.journal(), asked.visitor.is_tls_for(&asked.client));
    let ms = if is_tls { COOKIE_MS } else { PLAIN_COOKIE_MS };
    set_cookie(&journal, is_tls, token, ms / 1_000)
}

fn json(who: &Who) -> Response<ResponseBody> {
    let body = serde_json::to_string(who).expect("texts and numbers are JSON") + "\n";
    let mut response = whole(StatusCode::OK, "application/json", body.into());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
