//! With what a request signs in: `Authorization: Bearer TOKEN`, or the cookie of a browser. A path never has a token: paths stand in
//! logs and histories.

use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use vang_hub::Browser;
use vang_proto::Secret;
use vang_proto::limits::SECRET_BYTES_MAX;

/// Digits of the journal's id in the name of the cookie: several servers of one machine have one each.
const ID_DIGITS: usize = 8;

/// With what a request signs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credential {
    pub(crate) token: Option<Secret>,
    /// A browser asks, by its headers: then a name alone is never enough.
    pub(crate) browser: Option<Browser>,
}

/// Why a request cannot sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CredentialError(pub(super) &'static str);

/// The name of the cookie. Under TLS the prefix binds it to this host and to TLS (RFC 6265bis, 4.1.3).
pub(super) fn cookie_name(journal: &str, is_tls: bool) -> String {
    let id = &journal[..journal.len().min(ID_DIGITS)];
    let prefix = if is_tls { "__Host-" } else { "" };
    format!("{prefix}vang-{id}")
}

/// The header that gives a browser its cookie; without a token the one that takes it away.
pub(super) fn set_cookie(journal: &str, is_tls: bool, token: Option<&Secret>, seconds: u64) -> HeaderValue {
    let (name, secure) = (cookie_name(journal, is_tls), if is_tls { "; Secure" } else { "" });
    let (value, age) = token.map_or(("", 0), |token| (token.expose(), seconds));
    let line = format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}");
    let mut line = HeaderValue::from_str(&line).unwrap_or(HeaderValue::from_static(""));
    line.set_sensitive(true);
    line
}

/// What a request's headers say.
pub(super) fn read(headers: &HeaderMap, journal: &str, is_tls: bool) -> Result<Credential, CredentialError> {
    let fetch = headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"));
    let is_browser = fetch || headers.contains_key(ORIGIN) || headers.contains_key(COOKIE);
    let browser = is_browser.then_some(if is_tls { Browser::Tls } else { Browser::Plain });
    if let Some(value) = headers.get(AUTHORIZATION) {
        let token = value.to_str().ok().and_then(bearer).ok_or(CredentialError(
            "the header Authorization must be 'Bearer TOKEN', with a token of vang token create",
        ))?;
        return Ok(Credential { token: Some(token), browser });
    }
    let name = cookie_name(journal, is_tls);
    let mut tokens = headers.get_all(COOKIE).iter().filter_map(|value| cookie(value.to_str().ok()?, &name));
    let token = tokens.next();
    if tokens.next().is_some() {
        return Err(CredentialError("there is more than one cookie of this server"));
    }
    // A browser says from which page it asks; what does not may be a page's trick to send the cookie along.
    let says_site =
        headers.contains_key(ORIGIN) || headers.contains_key(HeaderName::from_static("sec-fetch-site"));
    if token.is_some() && !says_site {
        return Err(CredentialError(
            "a request with a cookie needs the header Origin or Sec-Fetch-Site; programs use Authorization: Bearer TOKEN",
        ));
    }
    Ok(Credential { token, browser })
}

fn bearer(value: &str) -> Option<Secret> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    let is_token = scheme.eq_ignore_ascii_case("bearer") && (1..=SECRET_BYTES_MAX).contains(&token.len());
    is_token.then(|| Secret::new(token.to_owned()))
}

/// The value of a cookie in a header `Cookie` (RFC 6265, 4.2.1).
fn cookie(header: &str, name: &str) -> Option<Secret> {
    let value =
        header.split(';').find_map(|pair| pair.trim().split_once('=').filter(|(key, _)| *key == name))?.1;
    (1..=SECRET_BYTES_MAX).contains(&value.len()).then(|| Secret::new(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOURNAL: &str = "00112233445566778899aabbccddeeff";

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn token(
        lines: &[(&'static str, &'static str)],
        is_tls: bool,
    ) -> Result<Option<String>, CredentialError> {
        let read = read(&headers(lines), JOURNAL, is_tls)?;
        Ok(read.token.map(|token| token.expose().to_owned()))
    }

    #[test]
    fn a_bearer_token_is_read_and_nothing_else_of_that_header() {
        let of = |value| token(&[("authorization", value)], false);
        assert_eq!(of("Bearer vang_1"), Ok(Some("vang_1".to_owned())));
        assert_eq!(of("bearer  vang_1 "), Ok(Some("vang_1".to_owned())));
        for bad in ["vang_1", "Basic YTpi", "Bearer", "Bearer  ", ""] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert_eq!(token(&[], false), Ok(None));
    }

    #[test]
    fn a_cookie_is_this_servers_and_for_tls_or_not() {
        let site = ("sec-fetch-site", "same-origin");
        let of = |value, is_tls| token(&[("cookie", value), site], is_tls);
        assert_eq!(of("a=b; vang-00112233=t; c=d", false), Ok(Some("t".to_owned())));
        assert_eq!(of("__Host-vang-00112233=t", true), Ok(Some("t".to_owned())));
        assert_eq!(of("vang-00112233=t", true), Ok(None));
        assert_eq!(of("__Host-vang-00112233=t", false), Ok(None));
        assert_eq!(of("vang-99112233=t; vang-00112233x=t", false), Ok(None));
        assert_eq!(of("vang-00112233=", false), Ok(None));
        assert!(token(&[("cookie", "vang-00112233=t"), ("cookie", "vang-00112233=u"), site], false).is_err());
        assert!(token(&[("cookie", "vang-00112233=t")], false).is_err());
        assert!(token(&[("cookie", "vang-00112233=t"), ("origin", "http://localhost")], false).is_ok());
        // Cookies of others need nothing.
        assert_eq!(token(&[("cookie", "other=t")], false), Ok(None));
    }

    #[test]
    fn a_browser_is_known_by_its_headers() {
        let browser = |lines: &[_], is_tls| read(&headers(lines), JOURNAL, is_tls).unwrap().browser;
        assert_eq!(browser(&[], false), None);
        assert_eq!(browser(&[("authorization", "Bearer t")], false), None);
        for header in
            [("origin", "x"), ("sec-fetch-mode", "cors"), ("sec-fetch-site", "none"), ("cookie", "a=b")]
        {
            assert_eq!(browser(&[header], false), Some(Browser::Plain));
            assert_eq!(browser(&[header], true), Some(Browser::Tls));
        }
    }

    #[test]
    fn a_cookie_is_set_and_taken_away() {
        let secret = Secret::new("t".to_owned());
        let set = set_cookie(JOURNAL, true, Some(&secret), 60);
        let expected = "__Host-vang-00112233=t; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure";
        assert_eq!((set.to_str().unwrap(), format!("{set:?}").contains("=t")), (expected, false));
        let away = set_cookie(JOURNAL, false, None, 60);
        assert_eq!(away, "vang-00112233=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");
    }
}
