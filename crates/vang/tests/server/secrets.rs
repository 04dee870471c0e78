//! No secret is where others can read it: passwords, tokens, codes and cookies are in no file of the server, no log, backup, error,
//! argument or environment, in no form. One story uses each of them in each way.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};

use crate::common::{ask, comes_true, from_hex, serve_process, stderr, to_hex};
use crate::doors::{browse, quoted};
use crate::harness::{Tail, exchange, message, request, succeeded};
use crate::sign_in::{World, files};

const FIRST: &str = "correct horse / battery & staple";
const SECOND: &str = "a \"second\" one, of seven words?";
const THIRD: &str = "what an invited guest chooses=1";
const WRONG: &str = "corect horse / battery & staple";

/// The text of a message: it is no secret, so the search must find it.
const PLAIN: &str = "the weather & the news of today";

/// Not the whole of a text, but enough of it to be sure.
const SHORT: usize = 12;

/// The forms in which a text could be somewhere.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let hex = to_hex(text.as_bytes());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let escape =
        |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let url: String = text.bytes().map(escape).collect();
    let json = quoted(text).trim_matches('"').to_owned();
    let mut forms = vec![text.to_owned(), hex.to_uppercase(), hex, url.replace("%20", "+"), url, json];
    // Inside something longer, base64 begins at the first, second or third of three bytes.
    for before in 0..3 {
        let inside = [vec![0; before], text.into()].concat();
        let whole = (before * 8).div_ceil(6)..inside.len() * 8 / 6;
        for engine in [BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD] {
            forms.push(engine.encode(&inside)[whole.clone()].to_owned());
        }
    }
    let mut forms: Vec<Vec<u8>> = forms.into_iter().map(String::into_bytes).collect();
    // What is random of a token or code, as digits and as bytes.
    let digits = text.rsplit('_').next().unwrap();
    if text.starts_with("vang_") {
        forms.extend([digits.into(), from_hex(digits)]);
    }
    assert!(forms.iter().all(|form| form.len() >= SHORT), "{text} is too short to be looked for");
    forms
}

/// Texts, to be found in any form.
#[derive(Default)]
struct Search {
    /// By their first byte.
    forms: BTreeMap<u8, Vec<(String, Vec<u8>)>>,
}

impl Search {
    fn of<'a>(texts: impl IntoIterator<Item = &'a (&'static str, String)>) -> Search {
        let mut search = Search::default();
        for (name, text) in texts {
            for form in forms(text) {
                search.forms.entry(form[0]).or_default().push(((*name).to_owned(), form));
            }
        }
        search
    }

    /// Whose form is in these bytes.
    fn find(&self, bytes: &[u8]) -> Option<&str> {
        let mut by_first: [&[(String, Vec<u8>)]; 256] = [&[]; 256];
        for (first, forms) in &self.forms {
            by_first[usize::from(*first)] = forms;
        }
        let found = |from: usize| {
            let forms = by_first[usize::from(bytes[from])].iter();
            forms.clone().find(|(_, form)| bytes[from..].starts_with(form))
        };
        (0..bytes.len()).find_map(found).map(|(name, _)| name.as_str())
    }
}

/// Who does what, and all that others could read of it.
struct Story {
    world: World,
    secrets: Vec<(&'static str, String)>,
    read: Vec<(String, Vec<u8>)>,
}

impl Story {
    fn read(&mut self, place: &str, bytes: impl Into<Vec<u8>>) {
        self.read.push((place.to_owned(), bytes.into()));
    }

    /// What all users of the machine, and this one, see of a process of ours.
    fn read_process(&mut self, pid: u32, what: &str) {
        let is_ours = || {
            fs::read_link(format!("/proc/{pid}/exe"))
                .is_ok_and(|exe| exe == Path::new(env!("CARGO_BIN_EXE_vang")))
        };
        comes_true("the process is vang", is_ours);
        for file in ["cmdline", "environ"] {
            let read = || fs::read(format!("/proc/{pid}/{file}")).unwrap();
            // Both are empty until the system has started the new program.
            comes_true("arguments and environment are there", || !read().is_empty());
            self.read(&format!("{file} of {what}"), read());
        }
    }

    /// Runs a command that reads secrets from stdin; it is looked at while it waits for them.
    fn run(&mut self, device: &str, args: &[&str], input: &str) -> Output {
        let mut command = self.world.command(args);
        command.env("XDG_CONFIG_HOME", self.world.dir.path().join(device));
        self.give(command, args, input)
    }

    /// The same, of the operator.
    fn operate(&mut self, args: &[&str], input: &str) -> Output {
        let mut command = crate::harness::vang();
        command.arg("admin").args(args).arg("--data").arg(self.world.data());
        self.give(command, args, input)
    }

    fn give(&mut self, mut command: Command, args: &[&str], input: &str) -> Output {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if !input.is_empty() {
            self.read_process(child.id(), &args.join(" "));
        }
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        self.read(&format!("stderr of {}", args.join(" ")), stderr(&output));
        output
    }

    /// A secret that a command printed on stdout, where it belongs.
    fn printed(&mut self, name: &'static str, output: Output) -> String {
        let secret = succeeded(&[name], output).trim_end().to_owned();
        self.secrets.push((name, secret.clone()));
        secret
    }

    /// The token that `vang login` or `vang accept` stored for this device.
    fn stored(&mut self, name: &'static str, device: &str) {
        let path = self.world.dir.path().join(device).join("vang/tokens");
        let text = fs::read_to_string(path).unwrap();
        let token = text.split_whitespace().find(|word| word.starts_with("vang_")).unwrap().to_owned();
        self.secrets.push((name, token));
    }

    /// Everything in a folder but the files of this name.
    fn read_folder(&mut self, place: &str, folder: &Path, without: &[&str]) {
        for path in files(folder) {
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.metadata().is_ok_and(|metadata| metadata.is_file()) && !without.contains(&name) {
                self.read(&format!("{place}: {}", path.display()), fs::read(&path).unwrap());
            }
        }
    }

    /// Sends bytes by TCP, and reads the answer to the end.
    fn ask(&mut self, place: &str, bytes: &str) -> String {
        let answer = ask(&self.world.server.addr, bytes.as_bytes());
        self.read(place, answer.clone());
        String::from_utf8(answer).unwrap()
    }
}

#[test]
fn no_secret_is_in_a_file_log_backup_error_argument_or_environment() {
    let world = World::with(serve_process(&["--log", "trace"]));
    let passwords = [("the first password", FIRST), ("the second", SECOND), ("the invited one's", THIRD)];
    let secrets = passwords.into_iter().chain([("a wrong password", WRONG)]);
    let secrets = secrets.map(|(name, text)| (name, text.to_owned())).collect();
    let mut story = Story { world, secrets, read: Vec::new() };

    // Passwords by commands.
    let added = story.operate(&["account", "add", "eve", "--password-stdin"], &format!("{FIRST}\n"));
    assert_eq!(succeeded(&["add"], added), "eve\n");
    let login = ["login", "eve", "--password-stdin", "--device", "laptop"];
    assert_eq!(story.run("eve", &login, &format!("{WRONG}\n")).status.code(), Some(1));
    assert_eq!(story.run("eve", &login, &format!("{FIRST}\n")).status.code(), Some(0));
    story.stored("a device's token", "eve");
    let changed = story.run("eve", &["passwd", "--password-stdin"], &format!("{FIRST}\n{SECOND}\n"));
    assert_eq!(succeeded(&["passwd"], changed), "eve\n");

    // A script's token.
    let create = ["token", "create", "weather", "--title", "station 3", "--scope", "send"];
    let made = story.operate(&create, "");
    let token = story.printed("a script's token", made);
    let file = story.world.dir.path().join("token");
    fs::write(&file, format!("{token}\n")).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let by_file = ["--token-file", file.to_str().unwrap()];
    let mut tail =
        Tail::start(story.world.command(&[&["tail", "general", "--since", "0"], &by_file[..]].concat()));
    let sent = story.run("eve", &[&["send", "general", PLAIN], &by_file[..]].concat(), "");
    assert_eq!(succeeded(&["send"], sent), "general#1\n");
    assert!(tail.line().ends_with(PLAIN));
    story.read_process(tail.pid(), "tail");
    // By TLS, so that the client remembers the server.
    let tls = format!("vangs://{}", story.world.server.addr);
    let login = ["login", "--token-stdin", "--server", &tls];
    assert_eq!(story.run("weather", &login, &format!("{token}\n")).status.code(), Some(0));

    // Codes: one that is used, and a link that is not.
    let made = story.operate(&["invitation", "create", "--room", "general"], "");
    let code = story.printed("an invitation's code", made);
    let accepted = story.run("zoe", &["accept", "zoe", "--code-stdin"], &format!("{code}\n{THIRD}\n"));
    assert!(accepted.status.success(), "{accepted:?}");
    story.stored("the token of who was invited", "zoe");
    let made = story.operate(&["account", "link", "ada"], "");
    story.printed("a link's code", made);

    // The other doors.
    let body = format!(r#"{{"name": "eve", "password": {}, "device": "Firefox"}}"#, quoted(SECOND));
    let origin = "Origin: http://localhost\r\n";
    let (status, cookie, said) = browse(&story.world.server, "POST", "/session", origin, &body);
    assert_eq!((status, &said["name"]), (200, &"eve".into()));
    let cookie = cookie.unwrap().split_once(';').unwrap().0.to_owned();
    story.secrets.push(("a browser's cookie", cookie.split_once('=').unwrap().1.to_owned()));
    let with = format!("{origin}Cookie: {cookie}\r\n");
    let (status, _, said) = browse(&story.world.server, "POST", "/rooms/general", &with, "from a page");
    assert_eq!(status, 200, "{said}");
    story.read("an answer to a browser", said.to_string());
    let bearer = format!(
        "GET /rooms HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    assert!(story.ask("an answer by HTTP", &bearer).starts_with("HTTP/1.1 200"));
    for secret in [SECOND, &token] {
        let name = if secret == SECOND { "eve" } else { "weather" };
        let said = story.ask("typed lines", &format!("/sign-in {name}\n{secret}\n/quit\n"));
        assert!(said.contains(&format!("-- you are {name}")), "{said}");
    }
    // What is no request names no secret either.
    let password = quoted(SECOND);
    let keys = [("as", "\"eve\""), ("password", password.as_str())];
    for bytes in [
        request("sign-inn", &keys, ""),
        request("sign-in", &[&keys[..], &[("device", "7")]].concat(), ""),
        request("sign-in", &[("token", &quoted(&format!("{token} ")))], ""),
        message(&[&keys[..], &[("action", "\"sign-in\"")]].concat(), b""),
    ] {
        let mut stream = story.world.server.connect();
        let (header, content) = exchange(&mut stream, &bytes);
        assert_ne!(header["status"], "ok", "{header}");
        story.read("a refusal", header.to_string());
        story.read("a refusal", content);
    }

    // What the operator sees, and keeps.
    for args in [
        &["token", "list", "weather"][..],
        &["session", "list", "eve"],
        &["invitation", "list"],
        &["session", "end", "weather"],
    ] {
        let output = story.operate(args, "");
        story.read(&args.join(" "), succeeded(args, output));
    }
    let said = tail.said("the token is wrong");
    story.read("the end of tail", said);
    let backup = story.world.dir.path().join("backup.vang");
    let made = story.operate(&["backup", backup.to_str().unwrap()], "");
    story.read("stdout of backup", succeeded(&["backup"], made));
    story.read("the backup", fs::read(&backup).unwrap());
    story.read_process(story.world.server.pid(), "the server");

    // The data folder while it is used, and at the end.
    let data = story.world.data();
    story.read_folder("data", &data, &[]);
    let server = std::mem::replace(&mut story.world.server, serve_process(&[]).1);
    story.read("the log", server.log());
    let log = data.with_extension("log");
    assert!(server.stop().success());
    story.read("the log at the end", fs::read(log).unwrap());
    story.read_folder("data at the end", &data, &[]);
    for device in ["eve", "weather", "zoe"] {
        story.read_folder("config", &story.world.dir.path().join(device), &["tokens"]);
    }

    let secrets = Search::of(&story.secrets);
    let found: Vec<_> =
        story.read.iter().filter_map(|(place, bytes)| Some((secrets.find(bytes)?, place))).collect();
    assert_eq!(found, [], "where secrets are");

    // The search would have found them: it finds a message's text where messages are, and each form of each secret.
    let plain = Search::of(&[("the message", PLAIN.to_owned())]);
    for place in ["journal.db", "the backup"] {
        let mut here = story.read.iter().filter(|(name, _)| name.contains(place));
        assert!(here.any(|(_, bytes)| plain.find(bytes).is_some()), "the message is not found in {place}");
    }
    for (name, text) in &story.secrets {
        for form in forms(text) {
            let somewhere = [b"before", form.as_slice(), b"behind"].concat();
            assert!(secrets.find(&somewhere).is_some(), "{name}: {form:?}");
        }
        let encoded = BASE64_STANDARD_NO_PAD.encode(format!("eve:{text}"));
        assert_eq!(secrets.find(encoded.as_bytes()), Some(*name));
    }
    for place in ["the log", "environ of the server", "cmdline of login", "stderr of login", "config: "] {
        let mut here = story.read.iter().filter(|(name, _)| name.starts_with(place));
        assert!(here.any(|(_, bytes)| !bytes.is_empty()), "{place} was not read");
    }
}
