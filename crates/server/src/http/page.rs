//! The page at `/`: the files of `web/`, inside the binary, with the headers that bind a browser's hands.
//!
//! A table of its own instead of a crate that embeds folders: a dozen rows, and a test that knows the folder.
//! Nothing else is served from here, no folder is listed, no path is put together.

use std::sync::LazyLock;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};

macro_rules! files {
    ($($path:literal $kind:ident $file:literal,)+) => {
        /// Path, content type, content.
        const FILES: &[(&str, &str, &[u8])] =
            &[$(($path, $kind, include_bytes!(concat!("../../../../web/", $file))),)+];
        /// The same files as the folder names them.
        #[cfg(test)]
        const NAMES: &[&str] = &[$($file,)+];
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

files! {
    "/" HTML "index.html",
    "/app.css" CSS "app.css",
    "/icon.svg" SVG "icon.svg",
    "/app.js" SCRIPT "app.js",
    "/proto.js" SCRIPT "proto.js",
    "/session.js" SCRIPT "session.js",
    "/socket.js" SCRIPT "socket.js",
    "/store.js" SCRIPT "store.js",
    "/text.js" SCRIPT "text.js",
    "/view.js" SCRIPT "view.js",
    "/words.js" SCRIPT "words.js",
    "/write.js" SCRIPT "write.js",
    "/vendor/htm.mjs" SCRIPT "vendor/htm.mjs",
    "/vendor/preact.mjs" SCRIPT "vendor/preact.mjs",
}

/// What the page may do: run and look like these files, and talk to the server that it came from. No inline script
/// or style, no frame around it or in it, no form that goes anywhere, no string that becomes HTML.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// With every answer, whatever its status. Names in lower case.
const HEADERS: &[(&str, &str)] = &[
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    // Always asked again, hardly ever sent again: a new binary has a new page at once.
    ("cache-control", "no-cache"),
];

/// A strong validator for each file: the content's hash, in the order of the table.
static ETAGS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    let etag = |content: &[u8]| format!("\"{}\"", &blake3::hash(content).to_hex()[..32]);
    let values = FILES.iter().map(|(_, _, content)| HeaderValue::from_str(&etag(content)));
    values.map(|value| value.expect("quotes and hex digits are visible ASCII")).collect()
});

/// The answer to a request for a file of the page; `None` when there is none at this path.
pub(crate) fn answer(method: &Method, path: &str, asked: &HeaderMap) -> Option<Response<Full<Bytes>>> {
    let at = FILES.iter().position(|(file, _, _)| *file == path)?;
    let (_, kind, content) = FILES[at];
    let etag = &ETAGS[at];
    let is_known = asked.get_all(header::IF_NONE_MATCH).iter().any(|known| knows(known, etag));
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    let (status, body) = match (is_read, is_known) {
        (false, _) => (StatusCode::METHOD_NOT_ALLOWED, Bytes::from_static(b"only GET and HEAD\n")),
        (true, true) => (StatusCode::NOT_MODIFIED, Bytes::new()),
        (true, false) => (StatusCode::OK, Bytes::from_static(content)),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::ETAG, etag.clone());
    }
    Some(response)
}

/// Is it in the list of what the browser has? Weakly compared, as RFC 9110 has it for this header.
fn knows(list: &HeaderValue, etag: &HeaderValue) -> bool {
    let etag = etag.as_bytes();
    list.as_bytes().split(|byte| *byte == b',').any(|known| {
        let known = known.trim_ascii();
        known == b"*" || known.strip_prefix(b"W/").unwrap_or(known) == etag
    })
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn ask(method: Method, path: &str, known: &[&str]) -> (StatusCode, HeaderMap, Vec<u8>) {
        let mut asked = HeaderMap::new();
        for value in known {
            asked.append(header::IF_NONE_MATCH, HeaderValue::from_str(value).unwrap());
        }
        let (head, body) = answer(&method, path, &asked).unwrap().into_parts();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = runtime.block_on(body.collect()).unwrap().to_bytes().to_vec();
        (head.status, head.headers, body)
    }

    #[test]
    fn the_table_has_every_file_of_the_folder_that_a_browser_needs() {
        fn walk(folder: &std::path::Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                } else {
                    found.push(path.to_str().unwrap().to_owned());
                }
            }
        }
        let web = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web");
        let mut found = Vec::new();
        walk(&web, &mut found);
        let web = format!("{}/", web.to_str().unwrap());
        let mut found: Vec<&str> = found.iter().map(|path| path.strip_prefix(&web).unwrap()).collect();
        // Licences and notes are for readers of the source; the licences name the files that they are for.
        found.retain(|name| {
            !name.starts_with("tests/") && !name.contains("LICENSE") && !name.ends_with(".md")
        });
        found.sort_unstable();
        let mut named = NAMES.to_vec();
        named.sort_unstable();
        assert_eq!(named, found);
        for (path, _, _) in FILES {
            assert!(NAMES.contains(&path.trim_start_matches('/')) || *path == "/", "{path}");
        }
    }

    #[test]
    fn a_browser_that_has_the_file_is_not_sent_it_again() {
        for (path, kind, content) in FILES {
            let (status, headers, body) = ask(Method::GET, path, &[]);
            assert_eq!((status, &body[..]), (StatusCode::OK, *content), "{path}");
            assert_eq!(headers["content-type"], *kind);
            let etag = headers["etag"].to_str().unwrap();
            assert_eq!(etag.len(), 34, "{etag}");
            for known in [etag, &format!("W/{etag}"), &format!("\"x\", {etag}"), "*"] {
                let (status, headers, body) = ask(Method::GET, path, &["\"y\"", known]);
                assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0), "{path} {known}");
                assert_eq!(headers["etag"], etag);
            }
            let (status, _, _) = ask(Method::GET, path, &["\"x\"", &etag[1..]]);
            assert_eq!(status, StatusCode::OK, "what is no validator of ours validates nothing");
        }
        let etags: std::collections::BTreeSet<_> = ETAGS.iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(etags.len(), FILES.len());
    }

    #[test]
    fn every_answer_binds_the_browsers_hands() {
        for (path, _, _) in FILES {
            for (method, known) in
                [(Method::GET, ""), (Method::HEAD, ""), (Method::GET, "*"), (Method::POST, "")]
            {
                let (status, headers, _) = ask(method.clone(), path, &[known]);
                for (name, value) in HEADERS {
                    assert_eq!(headers[*name], *value, "{method} {path}");
                }
                assert_eq!(status == StatusCode::METHOD_NOT_ALLOWED, method == Method::POST);
                assert_eq!(headers.contains_key("allow"), method == Method::POST);
            }
        }
        for word in ["unsafe", "http:", "https:", "data:", "*"] {
            assert!(!POLICY.contains(word), "{word}");
        }
    }

    #[test]
    fn the_page_has_no_inline_script_or_style_and_names_no_other_host() {
        for (path, kind, content) in FILES {
            let text = std::str::from_utf8(content).unwrap();
            if *kind == HTML {
                assert!(!text.contains("style=") && !text.contains("<style") && !text.contains("onload"));
                let scripts = text.matches("<script").count();
                assert_eq!(scripts, text.matches("src=").count(), "every script has a file");
            }
            let own = text.replace("http://www.w3.org/2000/svg", "");
            assert!(path.starts_with("/vendor/") || !own.contains("://"), "{path} names a host");
            assert!(path.starts_with("/vendor/") || !own.contains("nnerHTML"), "{path} makes HTML of text");
        }
    }

    #[test]
    fn a_path_outside_the_table_is_not_found() {
        for path in [
            "",
            "/index.html",
            "/vendor",
            "/vendor/",
            "/tests/proto.test.mjs",
            "/../Cargo.toml",
            "//",
            "/App.js",
        ] {
            assert!(answer(&Method::GET, path, &HeaderMap::new()).is_none(), "{path}");
        }
    }
}
