//! The page at `/`: the files of `web/`, inside the binary, with the headers that bind a browser's hands.
//!
//! `build.rs` makes the files: `/`, and a folder whose name is a hash of its contents. So a browser asks for `/` again each
//! time, and for a file of the folder once: a new binary has a new page at once. Each file is there as it is and compressed.
//! Nothing else is served from here, no folder is listed, no path is put together.

use std::sync::LazyLock;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};

struct File {
    path: &'static str,
    kind: &'static str,
    plain: &'static [u8],
    brotli: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// The document; the other files are used by it.
const DOCUMENT: &str = "/";

/// What the page may do: run and look like these files, and talk to the server that it came from. No inline script
/// or style, no frame around it or in it, no form that goes anywhere, no string that becomes HTML. Pictures in messages are
/// made by the page, as `blob:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// With every answer, whatever its status. Names in lower case.
const HEADERS: &[(&str, &str)] = &[
    ("x-content-type-options", "nosniff"),
    ("cross-origin-resource-policy", "same-origin"),
    ("vary", "accept-encoding"),
];

/// With the document: they bind the page.
const DOCUMENT_HEADERS: &[(&str, &str)] = &[
    ("content-security-policy", POLICY),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ("cache-control", "no-cache"),
];

/// With a file of the folder: what is at this path never changes.
const FILE_HEADERS: &[(&str, &str)] = &[("cache-control", "public, max-age=31536000, immutable")];

/// Strong validators of the document: plain and compressed.
static ETAGS: LazyLock<[HeaderValue; 2]> = LazyLock::new(|| {
    let document = FILES.iter().find(|file| file.path == DOCUMENT).expect("the table has the document");
    [document.plain, document.brotli].map(|content| {
        let etag = format!("\"{}\"", &blake3::hash(content).to_hex()[..32]);
        HeaderValue::from_str(&etag).expect("quotes and hex digits are visible ASCII")
    })
});

/// The answer to a request for a file of the page; `None` when there is none at this path.
pub(crate) fn answer(method: &Method, path: &str, asked: &HeaderMap) -> Option<Response<Full<Bytes>>> {
    let file = FILES.iter().find(|file| file.path == path)?;
    let is_document = file.path == DOCUMENT;
    let is_compressed = takes_brotli(asked);
    let etag = &ETAGS[usize::from(is_compressed)];
    let mut known = asked.get_all(header::IF_NONE_MATCH).iter();
    let is_known = is_document && known.any(|known| knows(known, etag));
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    let (status, body) = match (is_read, is_known) {
        (false, _) => (StatusCode::METHOD_NOT_ALLOWED, Bytes::from_static(b"only GET and HEAD\n")),
        (true, true) => (StatusCode::NOT_MODIFIED, Bytes::new()),
        (true, false) if is_compressed => (StatusCode::OK, Bytes::from_static(file.brotli)),
        (true, false) => (StatusCode::OK, Bytes::from_static(file.plain)),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let own = if is_document { DOCUMENT_HEADERS } else { FILE_HEADERS };
    for (name, value) in HEADERS.iter().chain(own) {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return Some(response);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
    if is_document {
        headers.insert(header::ETAG, etag.clone());
    }
    if is_compressed && status == StatusCode::OK {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
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

/// Does the client take Brotli, at least as gladly as nothing (RFC 9110, 12.5.3)? Browsers do, over TLS and on their own
/// machine.
fn takes_brotli(asked: &HeaderMap) -> bool {
    let (mut brotli, mut any, mut identity) = (None, None, None);
    for value in asked.get_all(header::ACCEPT_ENCODING) {
        for coding in value.to_str().unwrap_or_default().split(',') {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
            let weight = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0_f32));
            match name.as_str() {
                "br" => brotli = Some(weight),
                "*" => any = Some(weight),
                "identity" => identity = Some(weight),
                _ => {}
            }
        }
    }
    let weight = brotli.or(any).unwrap_or(0.0);
    weight > 0.0 && weight >= identity.unwrap_or(0.0)
}

// A part of the build script, whose tests run here.
#[cfg(test)]
#[path = "../../build/bundle.rs"]
mod bundle;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http_body_util::BodyExt;

    use super::*;

    fn ask(method: Method, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Vec<u8>) {
        let mut asked = HeaderMap::new();
        for (name, value) in headers {
            asked.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let (head, body) = answer(&method, path, &asked).unwrap().into_parts();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = runtime.block_on(body.collect()).unwrap().to_bytes().to_vec();
        (head.status, head.headers, body)
    }

    #[test]
    fn the_document_names_files_that_are_there() {
        let html = ask(Method::GET, "/", &[]).2;
        let html = String::from_utf8(html).unwrap();
        let named: Vec<&str> = html.split("=\"/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(named.len(), 3, "{html}");
        for name in named {
            assert!(FILES.iter().any(|file| file.path == format!("/{name}")), "{name}");
        }
    }

    #[test]
    fn a_browser_that_has_the_document_is_not_sent_it_again() {
        for encoding in ["identity", "br"] {
            let accept = ("accept-encoding", encoding);
            let (status, headers, _) = ask(Method::GET, "/", &[accept]);
            assert_eq!(status, StatusCode::OK);
            assert_eq!(headers["cache-control"], "no-cache");
            let etag = headers["etag"].to_str().unwrap();
            assert_eq!(etag.len(), 34, "{etag}");
            for known in [etag, &format!("W/{etag}"), &format!("\"x\", {etag}"), "*"] {
                let known = [accept, ("if-none-match", "\"y\""), ("if-none-match", known)];
                let (status, headers, body) = ask(Method::GET, "/", &known);
                assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0), "{known:?}");
                assert_eq!(headers["etag"], etag);
            }
            let (status, _, _) = ask(Method::GET, "/", &[accept, ("if-none-match", &etag[1..])]);
            assert_eq!(status, StatusCode::OK, "what is no validator of ours validates nothing");
        }
        assert_ne!(ETAGS[0], ETAGS[1]);
    }

    #[test]
    fn other_files_are_kept_by_browsers_and_never_change_at_their_path() {
        for file in FILES.iter().filter(|file| file.path != DOCUMENT) {
            let (_, headers, _) = ask(Method::GET, file.path, &[]);
            assert_eq!(headers["cache-control"], "public, max-age=31536000, immutable");
            let (folder, _) = file.path[1..].split_once('/').unwrap();
            assert!(folder.starts_with("page-") && folder.len() == 21, "{}", file.path);
        }
    }

    #[test]
    fn a_client_gets_brotli_if_it_takes_it_and_the_same_content_otherwise() {
        for file in FILES {
            let (_, headers, body) =
                ask(Method::GET, file.path, &[("accept-encoding", "gzip, deflate, br, zstd")]);
            assert_eq!(
                (headers["content-encoding"].as_bytes(), &headers["vary"]),
                (&b"br"[..], &HeaderValue::from_static("accept-encoding"))
            );
            assert_eq!(headers["content-type"], file.kind);
            let mut plain = Vec::new();
            brotli_decompressor::Decompressor::new(&body[..], 4096).read_to_end(&mut plain).unwrap();
            assert_eq!(plain, file.plain, "{}", file.path);
            assert!(body.len() < plain.len());
        }
        let is_compressed = |accept: &[&str]| {
            let accept: Vec<_> = accept.iter().map(|value| ("accept-encoding", *value)).collect();
            let (status, headers, body) = ask(Method::GET, "/", &accept);
            assert_eq!(status, StatusCode::OK);
            assert_eq!(headers.contains_key("content-encoding"), !body.starts_with(b"<!"));
            headers.contains_key("content-encoding")
        };
        let takes: [&[&str]; 6] =
            [&["br"], &["gzip", "br"], &["BR;q=0.5"], &["br ; q=1"], &["*"], &["identity;q=0.5, br"]];
        for accept in takes {
            assert!(is_compressed(accept), "{accept:?}");
        }
        let refuses: [&[&str]; 8] = [
            &[],
            &[""],
            &["gzip"],
            &["br;q=0"],
            &["*, br;q=0"],
            &["br;q=x"],
            &["brotli"],
            &["br;q=0.1, identity;q=0.9"],
        ];
        for accept in refuses {
            assert!(!is_compressed(accept), "{accept:?}");
        }
    }

    #[test]
    fn every_answer_binds_the_browsers_hands() {
        for file in FILES {
            let is_document = file.path == DOCUMENT;
            for (method, known) in
                [(Method::GET, ""), (Method::HEAD, ""), (Method::GET, "*"), (Method::POST, "")]
            {
                let (status, headers, _) = ask(method.clone(), file.path, &[("if-none-match", known)]);
                let is_refused = status == StatusCode::METHOD_NOT_ALLOWED;
                assert_eq!(is_refused, method == Method::POST);
                assert_eq!(headers.contains_key("allow"), is_refused);
                let own = if is_document { DOCUMENT_HEADERS } else { FILE_HEADERS };
                for (name, value) in HEADERS.iter().chain(own) {
                    assert!(headers[*name] == *value || is_refused, "{method} {} {name}", file.path);
                }
            }
        }
        for word in ["unsafe", "http:", "https:", "data:", "*"] {
            assert!(!POLICY.contains(word), "{word}");
        }
    }

    #[test]
    fn the_page_has_no_inline_script_or_style_and_names_no_other_host() {
        let web = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web");
        for folder in ["", "/words"] {
            for entry in std::fs::read_dir(format!("{web}{folder}")).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                if path.extension().is_some_and(|ending| ending == "html") {
                    assert!(!text.contains("style=") && !text.contains("<style") && !text.contains("onload"));
                    let scripts = text.matches("<script").count();
                    assert_eq!(scripts, text.matches("src=").count(), "every script has a file");
                }
                let own = text.replace("http://www.w3.org/2000/svg", "");
                assert!(!own.contains("://"), "{} names a host", path.display());
                assert!(!own.contains("nnerHTML"), "{} makes HTML of text", path.display());
            }
        }
    }

    #[test]
    fn a_path_outside_the_table_is_not_found() {
        let folder = FILES[0].path.split('/').nth(1).unwrap();
        let unknown = [
            "",
            "/index.html",
            "/app.js",
            "/vendor/",
            "/tests/proto.test.mjs",
            "/../Cargo.toml",
            "//",
            "/App.js",
        ];
        for path in unknown.map(str::to_owned).into_iter().chain([
            format!("/{folder}"),
            format!("/{folder}/"),
            format!("/{folder}/index.html"),
            format!("/{folder}/session.js"),
            "/page-0000000000000000/app.js".to_owned(),
        ]) {
            assert!(answer(&Method::GET, &path, &HeaderMap::new()).is_none(), "{path}");
        }
    }
}
