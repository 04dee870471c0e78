//! Signing in at every door: with a valid token, and with those that are forged, ended, over, of another server or of another
//! place. And invitations, from the code to the first message.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::let_time_pass;
use crate::common::ask;
use crate::harness::socket::{WebSocket, handshake, head};
use crate::harness::{PATIENCE, Server, exchange, folder, read_message, request, result_of};

fn operator(data: &Path) -> UnixStream {
    let stream = UnixStream::connect(data.join("admin.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The operator's request, which must be accepted: its result.
pub(crate) fn operate(data: &Path, action: &str, more: &[(&str, &str)]) -> String {
    let (header, content) = exchange(&mut operator(data), &request(action, more, ""));
    assert_eq!(header["status"], "ok", "{action}: {header}");
    result_of(&content).as_str().unwrap().to_owned()
}

pub(crate) fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// What each door says to a token: native and WebSocket by `sign-in`; HTTP with it and with a browser's cookie; the handshake of a
/// WebSocket with it and with a cookie; typed lines. The name, or the code.
fn by_every_door(server: &Server, token: &str) -> Vec<String> {
    let word = |header: &Value| {
        let value = if header["code"].is_null() { &header["name"] } else { &header["code"] };
        value.as_str().unwrap().to_owned()
    };
    let sign_in = request("sign-in", &[("token", &quoted(token))], "");
    let native = word(&exchange(&mut server.connect(), &sign_in).0);
    let web = word(&WebSocket::open(server.connect()).exchange(&sign_in).0);

    let get = |more: &str| {
        let get = format!("GET /session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n");
        let answer = String::from_utf8(ask(&server.addr, get.as_bytes())).unwrap();
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        match &body["name"] {
            Value::Null => "nobody".to_owned(),
            name => name.as_str().unwrap().to_owned(),
        }
    };
    let bearer = get(&format!("Authorization: Bearer {token}\r\n"));
    let cookie = format!("Cookie: {}={token}\r\nOrigin: http://localhost\r\n", cookie_name(server));
    let browser = get(&cookie);

    let shake = |more: &str| {
        let mut stream = server.connect();
        std::io::Write::write_all(&mut stream, handshake("localhost", more).as_bytes()).unwrap();
        match head(&mut stream).0.as_str() {
            "HTTP/1.1 101 Switching Protocols" => {
                word(&WebSocket::begun(stream).exchange(&request("hello", &[], "")).0)
            }
            status => status.to_owned(),
        }
    };
    let shaken = shake(&format!("Authorization: Bearer {token}\r\n"));
    let page = shake(&cookie);

    let typed = format!("/sign-in ada\n{token}\n/quit\n");
    let typed = String::from_utf8(ask(&server.addr, typed.as_bytes())).unwrap();
    let typed = typed.lines().nth(1).unwrap_or_default().to_owned();
    vec![native, web, bearer, browser, shaken, page, typed]
}

/// Of a browser without TLS.
fn cookie_name(server: &Server) -> String {
    let (hello, _) = exchange(&mut server.connect(), &request("hello", &[], ""));
    format!("vang-{}", &hello["journal"].as_str().unwrap()[..8])
}

const WRONG: &str = "-- the token is wrong, was ended, or is over; sign in with the password; type /sign-in NAME again, or \
                     another name";

/// What all doors say to a token that is not valid.
fn refused() -> Vec<String> {
    let no = "HTTP/1.1 401 Unauthorized";
    ["wrong-secret", "wrong-secret", "nobody", "nobody", no, no, WRONG].map(str::to_owned).to_vec()
}

fn accepted() -> Vec<String> {
    let ada = "-- you are ada; /help shows what can be typed";
    ["ada", "ada", "ada", "ada", "ada", "ada", ada].map(str::to_owned).to_vec()
}

/// What they say to a browser's cookie: it is no token for programs.
fn accepted_in_a_browser() -> Vec<String> {
    let mut said = refused();
    for door in [3, 5] {
        said[door] = "ada".to_owned();
    }
    said
}

fn token(data: &Path) -> String {
    let more = [("name", "\"ada\""), ("title", "\"t\""), ("scope", "\"send\"")];
    operate(data, "token-create", &more)
}

#[test]
fn every_door_takes_a_valid_token_and_no_other() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::here(&data, &[]);
    operate(&data, "account-add", &[("name", "\"ada\"")]);
    let valid = token(&data);
    assert_eq!(by_every_door(&server, &valid), accepted());

    // Forged: cut, longer, in another case, of another kind.
    let forged = [
        &valid[..valid.len() - 1],
        &format!("{valid}0"),
        &valid.to_uppercase(),
        &valid.replace("vang_", "vang_plain_"),
        "vang_",
        "x",
    ];
    for forged in forged {
        let mut found = by_every_door(&server, forged);
        // Who types something that is no token types a password.
        let typed = found.pop().unwrap();
        assert!(typed.starts_with("-- the ") && typed.contains(" wrong"), "{forged}: {typed}");
        assert_eq!(found, refused()[..6], "{forged}");
    }

    // Of another server, of which it knows the account.
    let other_data = dir.path().join("other");
    let other = Server::here(&other_data, &[]);
    operate(&other_data, "account-add", &[("name", "\"ada\"")]);
    assert_eq!(by_every_door(&other, &valid), refused());

    // Ended, and then again: what was signed in with it ends, too.
    let mut open = server.connect();
    exchange(&mut open, &request("sign-in", &[("token", &quoted(&valid))], ""));
    exchange(&mut open, &request("follow", &[("room", "\"general\"")], ""));
    operate(&data, "session-end", &[("name", "\"ada\"")]);
    let closing = read_message(&mut open).unwrap().0;
    assert_eq!((closing["event"].as_str(), closing["why"].as_str()), (Some("closing"), Some("signed-out")));
    assert!(read_message(&mut open).is_err(), "the connection has ended");
    assert_eq!(by_every_door(&server, &valid), refused());

    // A restart forgets nothing of it.
    let last = token(&data);
    drop(server);
    let server = Server::here(&data, &[]);
    assert_eq!(by_every_door(&server, &last), accepted());
    assert_eq!(by_every_door(&server, &valid), refused());
    operate(&data, "account-disable", &[("name", "\"ada\"")]);
    assert_eq!(by_every_door(&server, &last), refused());
}

/// Signs a browser in as ada: the value of its cookie.
fn cookie(server: &Server, password: &str) -> String {
    let body = format!(r#"{{"name": "ada", "password": {password:?}}}"#);
    let (status, cookie, _) = browse(server, "POST", "/session", "Origin: http://localhost\r\n", &body);
    assert_eq!(status, 200);
    cookie.unwrap().split_once(';').unwrap().0.split_once('=').unwrap().1.to_owned()
}

#[test]
fn what_was_signed_out_replaced_or_is_over_opens_no_door() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::here(&data, &[]);
    let password = |text: &str| operate(&data, "password", &[("name", "\"ada\""), ("new", &quoted(text))]);
    operate(&data, "account-add", &[("name", "\"ada\"")]);
    password("several plain words");

    // Signed out, and shown again.
    let replayed = token(&data);
    let mut own = server.connect();
    assert_eq!(
        exchange(&mut own, &request("sign-in", &[("token", &quoted(&replayed))], "")).0["name"],
        "ada"
    );
    assert_eq!(exchange(&mut own, &request("sign-out", &[], "")).0["status"], "ok");
    assert_eq!(by_every_door(&server, &replayed), refused());
    let replayed = cookie(&server, "several plain words");
    assert_eq!(by_every_door(&server, &replayed), accepted_in_a_browser());
    let with = format!("Cookie: {}={replayed}\r\nOrigin: http://localhost\r\n", cookie_name(&server));
    assert_eq!(browse(&server, "POST", "/session/end", &with, "").0, 200);
    assert_eq!(by_every_door(&server, &replayed), refused());

    // A new password ends what the old one gave.
    let (tokens, cookies) = (token(&data), cookie(&server, "several plain words"));
    password("other plain words");
    for replaced in [tokens, cookies] {
        assert_eq!(by_every_door(&server, &replaced), refused());
    }

    // A token for one day and a browser's cookie are over after two; a token without an end is not.
    let for_ever = token(&data);
    let more = [("name", "\"ada\""), ("title", "\"t\""), ("scope", "\"send\""), ("days", "1")];
    let (day, browser) = (operate(&data, "token-create", &more), cookie(&server, "other plain words"));
    assert_eq!(by_every_door(&server, &day), accepted());
    assert_eq!(by_every_door(&server, &browser), accepted_in_a_browser());
    assert!(server.stop().success());
    let_time_pass(&data, Duration::from_secs(2 * 24 * 60 * 60));
    let server = Server::here(&data, &[]);
    assert_eq!(by_every_door(&server, &for_ever), accepted());
    for over in [day, browser] {
        assert_eq!(by_every_door(&server, &over), refused());
    }
}

/// A browser's request: status, cookie, body.
pub(crate) fn browse(
    server: &Server,
    method: &str,
    path: &str,
    more: &str,
    body: &str,
) -> (u16, Option<String>, Value) {
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}"
    );
    let answer = String::from_utf8(ask(&server.addr, text.as_bytes())).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).map(str::to_owned);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, cookie, serde_json::from_str(body).unwrap_or_default())
}

#[test]
fn a_browser_signs_in_with_a_cookie_that_is_good_for_it_alone() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::here(&data, &["--trust", "local"]);
    operate(&data, "account-add", &[("name", "\"ada\"")]);
    operate(&data, "password", &[("name", "\"ada\""), ("new", "\"several plain words\"")]);
    let origin = "Origin: http://localhost\r\n";
    let sign_in = |more: &str, password: &str| {
        let body = format!(r#"{{"name": "ada", "password": {password:?}, "device": "Firefox"}}"#);
        browse(&server, "POST", "/session", more, &body)
    };
    // Only a page of this server signs in.
    assert_eq!(sign_in("", "several plain words").0, 403);
    assert_eq!(sign_in("Origin: http://evil.example\r\n", "several plain words").0, 403);
    let wrong = sign_in(origin, "another one");
    assert_eq!((wrong.0, wrong.1, &wrong.2["error"]["code"]), (401, None, &Value::from("wrong-secret")));
    let (status, cookie, body) = sign_in(origin, "several plain words");
    assert_eq!((status, body["name"].as_str()), (200, Some("ada")));
    let failed = &body["failed"];
    assert_eq!((failed["count"].as_u64(), failed["from"].as_str()), (Some(1), Some("127.0.0.1")), "{body}");
    assert!(failed["last"].as_str().unwrap().ends_with('Z'), "{body}");
    assert_eq!(sign_in(origin, "several plain words").2.get("failed"), None, "it was told");
    let cookie = cookie.unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Max-Age=86400; HttpOnly; SameSite=Strict");
    let with = |more: &str| format!("Cookie: a=b; {pair}\r\n{more}");

    let who = |more: &str| browse(&server, "GET", "/session", more, "");
    assert_eq!(who(&with(origin)).2["name"], "ada");
    assert_eq!(who(&with("Sec-Fetch-Site: same-origin\r\n")).2["name"], "ada");
    // Not without a word of the page, from another page, or beside TLS.
    assert_eq!(who(&with("")).0, 403);
    assert_eq!(who(&with("Sec-Fetch-Site: cross-site\r\n")).0, 403);
    let posted = browse(&server, "POST", "/rooms/general", &with(origin), "from a page");
    assert_eq!((posted.0, posted.2["result"].as_str()), (200, Some("general#1")));
    // What the cookie holds is no token for programs.
    let value = pair.split_once('=').unwrap().1;
    let doors = by_every_door(&server, value);
    assert_eq!(doors, accepted_in_a_browser());
    // A name alone is nothing from a browser, also where it is enough for programs.
    let rooms = |more: &str| browse(&server, "GET", "/rooms?as=ada", more, "").0;
    assert_eq!((rooms(""), rooms(origin), rooms("Cookie: a=b\r\n")), (200, 403, 403));

    let out = browse(&server, "POST", "/session/end", &with(origin), "");
    assert!(out.1.unwrap().contains("=; Path=/; Max-Age=0;"));
    let gone = who(&with(origin));
    assert_eq!((gone.0, gone.2["name"].is_null()), (200, true));
    assert!(gone.1.unwrap().contains("Max-Age=0"), "the cookie is taken away");
}

#[test]
fn a_browser_accepts_an_invitation_and_has_its_cookie() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::here(&data, &[]);
    for name in ["ada", "pay"] {
        operate(&data, "account-add", &[("name", &quoted(name))]);
    }
    let code = operate(&data, "invite", &[("room", "\"general\"")]);
    let (header, content) = exchange(&mut operator(&data), &request("invite", &[("name", "\"ada\"")], ""));
    let link = result_of(&content).as_str().unwrap().to_owned();
    assert_eq!(header["link"], format!("http://{}/#invite={link}&name=ada", server.addr));
    let page = "Sec-Fetch-Site: same-origin\r\n";
    let accept = |more: &str, body: &Value| browse(&server, "POST", "/session/new", more, &body.to_string());
    let invited = |code: &str, name: &str, password: &str| json!({"code": code, "name": name, "password": password, "device": "Firefox"});
    let refused = |more: &str, body: &Value| {
        let (status, cookie, answer) = accept(more, body);
        assert_eq!(cookie, None);
        (status, answer["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    let eve = invited(&code, "eve", "several plain words");
    // Only a page of this server accepts.
    assert_eq!(refused("", &eve), (403, "not-allowed".to_owned()));
    assert_eq!(refused("Origin: http://evil.example\r\n", &eve).0, 403);
    assert_eq!(refused("Sec-Fetch-Site: cross-site\r\n", &eve).0, 403);
    assert_eq!(browse(&server, "GET", "/session/new", page, "").0, 405);
    // A refusal has its code, and uses nothing up.
    let wrong = code.replace("vang_invite_", "vang_invite_0");
    for (status, why, body) in [
        (404, "no-invitation", invited(&wrong, "eve", "several plain words")),
        (409, "name-taken", invited(&code, "Ada", "several plain words")),
        (409, "name-confusable", invited(&code, "рау", "several plain words")),
        (400, "bad-name", invited(&code, "two words", "several plain words")),
        (400, "name-needed", invited(&code, " ", "several plain words")),
        (422, "weak-password", invited(&code, "eve", "password")),
        (400, "bad-request", invited(&code, "eve", "")),
        (400, "bad-request", invited(&code, &"e".repeat(1_025), "several plain words")),
        (400, "bad-request", json!({"code": code})),
        (413, "too-long", json!({"code": code, "password": "x".repeat(4_096)})),
    ] {
        assert_eq!(refused(page, &body), (status, why.to_owned()), "{body}");
    }
    let (status, cookie, body) = accept(page, &eve);
    assert_eq!((status, body["name"].as_str()), (200, Some("eve")));
    let cookie = cookie.unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Max-Age=86400; HttpOnly; SameSite=Strict");
    let as_eve = format!("Cookie: {pair}\r\n{page}");
    let posted = browse(&server, "POST", "/rooms/general", &as_eve, "I am in");
    assert_eq!((posted.0, posted.2["result"].as_str()), (200, Some("general#1")));
    assert_eq!(refused(page, &eve), (404, "no-invitation".to_owned()), "the code is used up");

    // The link of an account needs no name. Who was signed in here as somebody else is signed out of it.
    let who = |more: &str| browse(&server, "GET", "/session", more, "").2["name"].clone();
    let (status, cookie, body) = accept(&as_eve, &json!({"code": link, "password": "other plain words"}));
    assert_eq!((status, body["name"].as_str()), (200, Some("ada")));
    let pair = cookie.unwrap().split_once("; ").unwrap().0.to_owned();
    assert_eq!(who(&format!("Cookie: {pair}\r\n{page}")), "ada");
    assert_eq!(who(&as_eve), Value::Null);
    let sign_in = json!({"name": "ada", "password": "other plain words"}).to_string();
    assert_eq!(browse(&server, "POST", "/session", page, &sign_in).0, 200);
}

#[test]
fn an_invitation_makes_an_account_that_is_signed_in() {
    let dir = folder();
    let data = dir.path().join("data");
    let server = Server::here(&data, &[]);
    operate(&data, "account-add", &[("name", "\"ada\"")]);
    let link = operate(&data, "invite", &[("name", "\"ada\"")]);
    let accept = |stream: &mut std::net::TcpStream, name: Option<&str>, code: &str, new: &str| {
        let (code, new) = (quoted(code), quoted(new));
        let name = name.map(quoted);
        let mut more = vec![("code", code.as_str()), ("new", new.as_str())];
        more.extend(name.as_deref().map(|name| ("as", name)));
        exchange(stream, &request("accept", &more, "")).0
    };
    let mut ada = server.connect();
    // A password that everybody guesses changes nothing; the code stays good.
    assert_eq!(accept(&mut ada, None, &link, "password")["code"], "weak-password");
    assert_eq!(accept(&mut ada, None, &link, "several plain words")["name"], "ada");
    let create = request("create", &[("room", "\"ops\""), ("access", "\"private\"")], "");
    assert_eq!(exchange(&mut ada, &create).0["status"], "ok");
    assert_eq!(accept(&mut server.connect(), None, &link, "other plain words")["code"], "no-invitation");

    operate(&data, "account-role", &[("name", "\"ada\""), ("role", "\"admin\"")]);
    let invite = request("invite", &[("room", "\"ops\""), ("uses", "2")], "");
    let (_, content) = exchange(&mut ada, &invite);
    let code = result_of(&content).as_str().unwrap().to_owned();
    let mut eve = server.connect();
    assert_eq!(accept(&mut eve, Some("ada"), &code, "several plain words")["code"], "name-taken");
    assert_eq!(accept(&mut eve, Some("eve"), &code, "several plain words")["name"], "eve");
    let send = exchange(&mut eve, &request("send", &[("room", "\"ops\"")], "I am in")).0;
    assert_eq!(send["address"], "ops#1");
    // The password is known from now on, after a restart as well.
    drop((ada, eve, server));
    let server = Server::here(&data, &[]);
    let sign_in = request("sign-in", &[("as", "\"eve\""), ("password", "\"several plain words\"")], "");
    assert_eq!(exchange(&mut server.connect(), &sign_in).0["name"], "eve");
}
