//! The programs in `examples/`: each language with our server and client, and with each other. Missing tools
//! must be installed: a skipped test tests nothing.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::common::{answer, ask, python, python_message, serve, serve_process, stderr, tool};
use crate::harness::{Tail, folder, guide, succeeded, vang, wait};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").canonicalize().unwrap()
}

const LANGUAGES: [&str; 4] = ["python", "node", "c", "bash"];

/// The C programs, compiled once, strictly.
fn compiled(program: &str) -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let dir = FOLDER.get_or_init(|| {
        let dir = folder();
        let compiling: Vec<_> = ["app_client", "app_server", "chat"]
            .map(|program| {
                let mut gcc = tool("gcc", "gcc, and the C library's headers");
                gcc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-o"]);
                gcc.arg(dir.path().join(program)).arg(examples().join("c").join(program).with_extension("c"));
                gcc.spawn().unwrap()
            })
            .into();
        for mut child in compiling {
            assert!(wait(&mut child).success(), "the C examples do not compile without a warning");
        }
        dir
    });
    dir.path().join(program)
}

/// A `PATH` with bash, coreutils and nothing else.
fn only_coreutils() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let dir = FOLDER.get_or_init(|| {
        let dir = folder();
        for name in ["bash", "dirname", "head", "od", "timeout", "tr", "wc"] {
            tool(name, "bash and coreutils");
            let paths = std::env::var_os("PATH").unwrap();
            let found = std::env::split_paths(&paths).map(|path| path.join(name)).find(|path| path.is_file());
            std::os::unix::fs::symlink(found.unwrap(), dir.path().join(name)).unwrap();
        }
        dir
    });
    dir.path()
}

/// One of a language's programs, with only its standard library.
fn program(language: &str, name: &str) -> Command {
    let folder = examples().join(language);
    let mut command = match language {
        "python" => {
            let mut command = python();
            command.arg(folder.join(name).with_extension("py"));
            command
        }
        "node" => {
            let mut command = tool("node", "node (20 or later)");
            command.arg(folder.join(name).with_extension("mjs"));
            command
        }
        "c" => Command::new(compiled(name)),
        "bash" if name == "app_server" => {
            let mut command = python();
            command.arg(folder.join("listen.py"));
            command.env("PATH", only_coreutils());
            return command;
        }
        "bash" => {
            let mut command = Command::new(only_coreutils().join("bash"));
            command.arg(folder.join(name).with_extension("sh")).env("PATH", only_coreutils());
            command
        }
        other => panic!("there are no examples in {other}"),
    };
    for key in ["NODE_PATH", "NODE_OPTIONS"] {
        command.env_remove(key);
    }
    command
}

fn run(language: &str, name: &str, address: &str, args: &[&str]) -> Output {
    let (host, port) = address.rsplit_once(':').unwrap();
    program(language, name).args([host, port]).args(args).output().unwrap()
}

/// An `app_server` of this language; its address.
fn app_server(language: &str) -> (Tail, String) {
    let mut command = program(language, "app_server");
    command.args(["127.0.0.1", "0"]);
    if language == "bash" {
        command.args(["timeout", "10", "bash"]).arg(examples().join("bash/app_server.sh"));
    }
    let mut running = Tail::start(command);
    let address = running.line().strip_prefix("listening on ").unwrap().to_owned();
    (running, address)
}

#[test]
fn every_example_client_works_with_our_server() {
    let (_dir, server) = serve_process(&[]);
    for language in LANGUAGES {
        for (action, value, expected) in ROWS {
            let output = run(language, "app_client", &server.addr, &[action, value]);
            assert_eq!(
                succeeded(&[language, action, value], output),
                expected,
                "{language} {action} {value}"
            );
        }
    }
    assert!(!server.log().contains("WARN"), "{}", server.log());
}

#[path = "../../../proto/examples/async_server.rs"]
mod async_server;
#[path = "../../../proto/examples/selector_server.rs"]
mod selector_server;

/// The example servers of the library, each on a thread of the test.
fn library_servers() -> [(&'static str, String); 2] {
    let with = |serve: fn(TcpListener) -> std::io::Result<()>| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || serve(listener).unwrap());
        address
    };
    let in_a_runtime = |listener: TcpListener| {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { async_server::serve(tokio::net::TcpListener::from_std(listener)?).await })
    };
    let on_a_selector = |listener: TcpListener| {
        listener.set_nonblocking(true)?;
        selector_server::serve(mio::net::TcpListener::from_std(listener))
    };
    [("selector", with(on_a_selector)), ("async", with(in_a_runtime))]
}

#[test]
fn the_librarys_example_servers_answer_the_guides_client_and_ours() {
    for (name, address) in library_servers() {
        // Neither a silent client nor a bad one disturbs the others.
        let silent = crate::common::dial(&address);
        assert!(ask(&address, b"\x00\x02{}").is_empty(), "{name} answers what is no request");
        for (action, value, expected) in ROWS {
            let output = run("python", "app_client", &address, &[action, value]);
            assert_eq!(succeeded(&[name, action, value], output), expected, "{name} {action} {value}");
            let output = vang().args(["request", &address, action, value]).output().unwrap();
            let printed = succeeded(&[name, action, value], output);
            assert_eq!(printed.trim_end(), expected.trim_end(), "{name} {action} {value}");
        }
        drop(silent);
        let (good, said) = judged(&address, &["--as", "guide"]);
        assert!(good && said.contains(" as a tutorial server: "), "{name}: {said}");
    }
}

#[test]
fn the_librarys_example_servers_send_an_answer_that_no_queue_takes_at_once() {
    // The client reads nothing until its request of a megabyte is sent; the answer repeats it.
    for (name, address) in library_servers() {
        let query = "x".repeat(1_000_000);
        let came = ask(&address, &guide(&format!("{{\"action\": \"search\", \"value\": \"{query}\"}}")));
        assert!(came == answer(&format!("No match for '{query}'.")), "{name}: {} bytes came", came.len());
    }
}

#[test]
fn the_librarys_example_servers_have_under_80_lines() {
    for name in ["selector_server.rs", "async_server.rs", "own_protocol.rs"] {
        let file = examples().join("../crates/proto/examples").join(name);
        let lines = std::fs::read_to_string(file).unwrap().lines().count();
        assert!(lines < 80, "{name} has {lines} lines");
    }
}

#[test]
fn our_client_works_with_every_example_server() {
    let (_dir, server) = serve(&[]);
    for language in LANGUAGES {
        let (_running, address) = app_server(language);
        for (action, value, expected) in ROWS {
            let printed = server.ok(&["request", &address, action, value]);
            assert_eq!(printed, expected, "{language} {action} {value}");
        }
        // Byte for byte where its header is in the guide's order; the result everywhere.
        let invalid = guide("{\"action\": \"dance\", \"value\": \"x\"}");
        let came = ask(&address, &invalid);
        assert!(came.ends_with("{\"result\": \"Error: invalid action 'dance'.\"}".as_bytes()), "{language}");
        if ["python", "node"].contains(&language) {
            let came = String::from_utf8_lossy(&came)
                .replace("\":\"", "\": \"")
                .replace(",\"", ", \"")
                .replace("\":", "\": ")
                .replace("\":  ", "\": ");
            let expected = answer("Error: invalid action 'dance'.");
            assert_eq!(
                came[came.find('{').unwrap()..],
                String::from_utf8_lossy(&expected)[2..],
                "{language}"
            );
        }
        let bytes =
            python_message("binary/custom-client-binary-type", "binary", b"\x00\x01\xff{}\"\\\n\r \x02more");
        let came = ask(&address, &bytes);
        assert!(
            came.ends_with(b"First 10 bytes of request: \x00\x01\xff{}\"\\\n\r "),
            "{language}: {came:?}"
        );
        // Whatever one peer sends, the next is served.
        drop(crate::common::dial(&address));
        assert!(ask(&address, b"\x00\x02{}").is_empty(), "{language} answers what is no request");
        let printed = server.ok(&["request", &address, "search", "ring"]);
        assert_eq!(printed, "In the caves beneath the Misty Mountains. 💍\n", "{language}");
    }
}

const ROWS: [(&str, &str, &str); 8] = [
    ("search", "morpheus", "Follow the white rabbit. 🐰\n"),
    ("search", "ring", "In the caves beneath the Misty Mountains. 💍\n"),
    ("search", "🐶", "🐾 Playing ball! 🏐\n"),
    ("search", "xin chào", "No match for 'xin chào'.\n"),
    ("search", "a \"quoted\" \\ word", "No match for 'a \"quoted\" \\ word'.\n"),
    ("search", "", "No match for ''.\n"),
    ("binary", "hello", "First 10 bytes of request: binaryhell"),
    ("🐶", "x", "First 10 bytes of request: 🐶x"),
];

#[test]
fn all_examples_see_the_same_messages_in_the_same_order() {
    let (_dir, server) = serve(&[]);
    let (host, port) = server.addr.rsplit_once(':').unwrap();
    let follow = |language: &str| {
        let mut command = program(language, "chat");
        command.args([host, port, "follow", "general", "", "0"]);
        Tail::start(command)
    };
    let mut followers: Vec<_> = LANGUAGES.map(|language| (language, follow(language))).into();
    let mut ours = Tail::start(server.client(&["tail", "general", "--since", "0"]));
    let mut expected = Vec::new();
    for round in 0..2 {
        for language in LANGUAGES {
            let text = format!("xin chào từ {language} 🐶 \"{round}\" \\ 'x'");
            let output = run(language, "chat", &server.addr, &["send", "general", &text, language]);
            let n = expected.len() + 1;
            assert_eq!(succeeded(&[language, "send"], output), format!("general#{n}\n"));
            expected.push(format!("{n} guest:{language}: {text}"));
        }
    }
    server.ok(&["send", "general", "from the binary", "--as", "vang"]);
    expected.push("9 guest:vang: from the binary".to_owned());
    for line in &expected {
        for (language, follower) in &mut followers {
            assert_eq!(follower.line(), *line, "{language}");
        }
        let (n, said) = line.split_once(' ').unwrap();
        let shown = ours.line();
        assert!(shown.starts_with(&format!("general#{n} ")) && shown.ends_with(said), "{shown}");
    }
    // A reader that comes late gets what it did not have, and all of them end with the server.
    let mut late = program("python", "chat");
    late.args([host, port, "follow", "general", "late", "7"]);
    let mut late = Tail::start(late);
    assert_eq!([late.line(), late.line()], expected[7..9]);
    drop(ours);
    assert!(server.stop().success());
    for (language, follower) in &mut followers {
        assert!(follower.wait().success(), "{language} does not end well");
        assert!(follower.rest().is_empty(), "{language} says more than was said");
    }
}

#[test]
fn examples_show_holes_and_non_text_without_control_characters() {
    let (dir, server) = serve(&["--trust", "local"]);
    let data = dir.path().join("data");
    for name in ["ada", "bob"] {
        let mut add = vang();
        add.args(["admin", "account", "add", name, "--data"]).arg(&data);
        assert!(add.output().unwrap().status.success());
    }
    server.ok(&["create", "cellar", "--private", "--as", "ada"]);
    server.ok(&["send", "cellar", "not for bob", "--as", "ada"]);
    server.ok(&["join", "cellar", "--who", "bob", "--as", "ada"]);
    server.ok(&["send", "cellar", "two\nlines \x1b[31mred", "--as", "ada"]);
    let photo = dir.path().join("photo");
    std::fs::write(&photo, b"\x89PNG\xff\xfe").unwrap();
    server.ok(&["send", "cellar", "--file", photo.to_str().unwrap(), "--as", "ada"]);
    server.ok(&["send", "cellar", "last", "--as", "bob"]);
    let (host, port) = server.addr.rsplit_once(':').unwrap();
    for language in LANGUAGES {
        let mut command = program(language, "chat");
        command.args([host, port, "follow", "cellar", "bob", "0"]);
        let mut follower = Tail::start(command);
        assert_eq!(follower.line(), "hole 1-1 not-member", "{language}");
        assert_eq!(follower.line(), "2 ada: two lines  [31mred", "{language}");
        let bytes = follower.line();
        assert!(bytes.starts_with("3 ada: (") && bytes.ends_with(')'), "{language}: {bytes}");
        assert_eq!(follower.line(), "4 bob: last", "{language}");
    }
}

#[test]
fn every_example_reports_refusals_and_exits_with_1_or_2() {
    let (_dir, server) = serve(&[]);
    for language in LANGUAGES {
        let output = run(language, "chat", &server.addr, &["send", "nowhere", "hi"]);
        assert_eq!(output.status.code(), Some(1), "{language}: {output:?}");
        assert_eq!(stderr(&output).trim(), "there is no room 'nowhere'", "{language}");
        assert!(output.stdout.is_empty());
        let output = run(language, "chat", &server.addr, &["dance"]);
        assert_eq!(output.status.code(), Some(2), "{language}: {output:?}");
        let output = run(language, "app_client", &server.addr, &["search"]);
        assert_eq!(output.status.code(), Some(2), "{language}: {output:?}");
    }
    let address = server.addr.clone();
    assert!(server.stop().success());
    for language in LANGUAGES {
        let output = run(language, "app_client", &address, &["search", "ring"]);
        assert_eq!(output.status.code(), Some(1), "{language}: {output:?}");
        assert!(!output.stderr.is_empty(), "{language} says nothing");
    }
}

#[test]
fn examples_have_at_most_40_lines_and_no_dependencies() {
    let mut seen = 0;
    let c = [
        "stdio",
        "string",
        "stdlib",
        "strings",
        "stdbool",
        "signal",
        "netdb",
        "unistd",
        "sys/socket",
        "sys/time",
    ];
    for language in LANGUAGES {
        let folder = examples().join(language);
        let own: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        for name in &own {
            let text = std::fs::read_to_string(folder.join(name)).unwrap();
            seen += 1;
            let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
            assert!(lines <= 40, "{language}/{name} has {lines} lines");
            for line in text.lines().map(str::trim) {
                // Python needs no look here: it runs without site-packages; bash with coreutils alone.
                let named = match language {
                    "node" => line
                        .strip_prefix("import ")
                        .and_then(|line| line.split_once(" from "))
                        .map(|(_, named)| named),
                    "c" => line.strip_prefix("#include "),
                    _ => None,
                };
                let Some(named) = named.map(|named| named.split_inclusive(['"', '>', ';'])) else { continue };
                let named: String = named.take(2).collect();
                let named = named.split([';', ' ']).next().unwrap();
                let bare = named.trim_matches(['"', '<', '>']).trim_start_matches("./");
                let is_own = named.starts_with('"') && own.iter().any(|file| bare == file);
                let is_standard = bare.starts_with("node:")
                    || named.starts_with('<') && c.iter().any(|header| bare == format!("{header}.h"));
                assert!(is_own || is_standard, "{language}/{name} needs {named}");
            }
        }
    }
    assert!(seen >= 18, "{seen} programs");
}

#[test]
fn a_text_in_another_encoding_reaches_readers_that_support_it() {
    let (_dir, server) = serve(&[]);
    let content = [0x63, 0x61, 0x66, 0xe9];
    let keys = [
        ("byteorder", "\"big\""),
        ("content-type", "\"text/plain\""),
        ("content-encoding", "\"Latin-1\""),
        ("content-length", "4"),
        ("action", "\"send\""),
        ("room", "\"general\""),
    ];
    let mut stream = server.connect();
    crate::harness::exchange(&mut stream, &crate::harness::message(&keys, &content));
    let utf16: Vec<u8> = "xin chào 🐶".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let length = utf16.len().to_string();
    let keys = [
        ("byteorder", "\"big\""),
        ("content-type", "\"text/plain\""),
        ("content-encoding", "\"utf-16\""),
        ("content-length", length.as_str()),
        ("action", "\"send\""),
        ("room", "\"general\""),
    ];
    crate::harness::exchange(&mut stream, &crate::harness::message(&keys, &utf16));
    let (host, port) = server.addr.rsplit_once(':').unwrap();
    let readers = [
        ("python", "café", "xin chào 🐶"),
        // Its TextDecoder does not know Python's name for UTF-16 in an order.
        ("node", "café", "(22 bytes of text/plain)"),
        ("c", "(not in UTF-8)", "(not in UTF-8)"),
        ("bash", "(not in UTF-8)", "(not in UTF-8)"),
    ];
    for (language, first, second) in readers {
        let mut command = program(language, "chat");
        command.args([host, port, "follow", "general", "", "0"]);
        let mut follower = Tail::start(command);
        assert_eq!(follower.line(), format!("1 guest:anon: {first}"), "{language}");
        let line = follower.line();
        let node_reads_it = language == "node" && line == "2 guest:anon: xin chào 🐶";
        assert!(node_reads_it || line == format!("2 guest:anon: {second}"), "{language}: {line}");
    }
    let shown = server.ok(&["tail", "general", "--since", "0", "--no-follow"]);
    assert!(shown.contains(": café\n") && shown.contains(": xin chào 🐶\n"), "{shown}");
}

/// Features that `examples/README.md` does not promise.
const NOT_CLAIMED: [(&str, &[&str]); 4] = [
    ("python", &[]),
    // Node's `TextDecoder` knows no UTF-32, and Latin-1 as its cp1252; other spellings of a name are Python's own.
    (
        "node",
        &["values/", "utf-32", "utf-8-sig", "mark-wins", "encoding-U8", "encoding-Utf_8", "cp1252-euro"],
    ),
    ("c", &["values/", "encodings/", "escape", "twice", "nul"]),
    ("bash", &["values/", "encodings/", "escape", "nul", "no-match-long"]),
];

/// Runs `conform` on a server; returns the last line of its output, and all of it.
fn judged(address: &str, more: &[&str]) -> (bool, String) {
    let output = vang().args(["net", "conform", address]).args(more).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        output.status.code(),
        Some(i32::from(!output.status.success())),
        "{}",
        stderr_of(&output.stderr)
    );
    (output.status.success(), said)
}

fn stderr_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn our_server_and_the_example_servers_conform() {
    let (dir, server) = serve(&[]);
    let (good, said) = judged(&server.addr, &[]);
    assert!(good && said.contains(" as a vang server: ") && said.ends_with(", 0 failed\n"), "{said}");
    let passed = said.lines().last().unwrap().split(": ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(passed.parse::<u64>().unwrap() > 400, "{said}");
    let history = server.ok(&["tail", "general", "--since", "0", "--no-follow"]);
    assert_eq!(history, "", "nothing is posted by judging");
    // Over a Unix socket as well, and as a server of the guide.
    let admin = format!("unix:{}", dir.path().join("data/admin.sock").display());
    let (good, said) = judged(&admin, &["--as", "guide"]);
    assert!(good && said.contains(" as a tutorial server: "), "{said}");
    for (language, skip) in NOT_CLAIMED {
        let (_running, address) = app_server(language);
        let skip: Vec<&str> = skip.iter().flat_map(|case| ["--skip", case]).collect();
        let (good, said) = judged(&address, &skip);
        assert!(good && said.contains(" as a tutorial server: "), "{language}: {said}");
    }
}

#[test]
fn conform_names_each_deviation() {
    // It escapes non-ASCII text, does not drop data after a request, and crashes on a bad one.
    let program = r#"
import json, socket, struct, sys
listener = socket.create_server(("127.0.0.1", 0)); print("listening on 127.0.0.1:%d" % listener.getsockname()[1], flush=True)
answers = {"morpheus": "Follow the white rabbit. \U0001f430", "ring": "In the caves beneath the Misty Mountains. \U0001f48d"}
def read(stream, count):
    data = stream.read(count)
    if len(data) < count: raise EOFError
    return data
while True:
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as stream:
        try:
            header = json.loads(read(stream, struct.unpack(">H", read(stream, 2))[0]))
            content = read(stream, int(header["content-length"]))
            value = json.loads(content)["value"]
            result = json.dumps({"result": answers.get(value, "No match for '%s'." % value)}).encode()
        except Exception as error:
            result = b"oops"
        head = json.dumps({"byteorder": sys.byteorder, "content-type": "text/json", "content-encoding": "utf-8", "content-length": len(result)}).encode()
        connection.sendall(struct.pack(">H", len(head)) + head + result)
"#;
    let mut command = python();
    command.args(["-c", program]);
    let mut running = Tail::start(command);
    let address = running.line().strip_prefix("listening on ").unwrap().to_owned();
    let (good, said) = judged(&address, &["--only", "search-"]);
    assert!(!good, "{said}");
    assert!(
        said.contains("FAILED guide/search-morpheus (whole)\n  JSON must not be escaped to ASCII: "),
        "{said}"
    );
    assert!(said.contains("FAILED guide/search-dog (byte by byte)\n  content should be "), "{said}");
    // No server at all, and no case of that name.
    let output = vang().args(["net", "conform", "127.0.0.1:1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr_of(&output.stderr).starts_with("vang: cannot reach 127.0.0.1:1: connection refused ("));
    let output = vang().args(["net", "conform", &address, "--only", "nonesuch"]).output().unwrap();
    assert_eq!(
        (output.status.code(), stderr_of(&output.stderr).as_str()),
        (Some(2), "vang: no case has this text in its name\n")
    );
}

#[test]
fn conform_tests_posting_and_following_in_the_given_room() {
    let (dir, server) = serve(&[]);
    // In a room with history of others, and twice: messages of the first run do not disturb the second.
    server.ok(&["send", "general", "before it"]);
    for _ in 0..2 {
        let (good, said) = judged(&server.addr, &["--post", "general"]);
        assert!(good && said.contains("\npost      28 passed, 0 failed\n"), "{said}");
    }
    let history = server.ok(&["tail", "general", "--since", "0", "--no-follow"]);
    assert!(history.lines().count() > 2 * 28 && history.contains(": said once\n"), "{history}");
    let (good, said) = judged(&server.addr, &["--post", "general", "--only", "post/same-id"]);
    assert!(good && said.starts_with("post      2 passed, 0 failed\n"), "{said}");
    let data = dir.path().join("data").join("admin.sock");
    let (good, said) = judged(&format!("unix:{}", data.display()), &["--post", "general", "--only", "post/"]);
    assert!(good, "{said}");
    // Nothing is posted where it cannot be.
    let (_running, guides) = app_server("python");
    for (address, room, why) in [
        (&server.addr, "nowhere", "cannot test posting in 'nowhere': 'who' was refused: no-room: "),
        (&guides, "general", "cannot test posting in 'general': a tutorial server has no rooms"),
    ] {
        let output = vang().args(["net", "conform", address, "--post", room]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(stderr(&output).starts_with(&format!("vang: {why}")), "{}", stderr(&output));
    }
}

/// A minimal vang server with one fault in posting; its first argument names the fault.
const FAULTY: &str = r#"
import json, socket, struct, sys, threading
fault, lock, posted, ids, followers = sys.argv[1], threading.Lock(), [], {}, []
listener = socket.create_server(("127.0.0.1", 0)); print("listening on 127.0.0.1:%d" % listener.getsockname()[1], flush=True)
def message(content=b"", **keys):
    head = {"byteorder": "little", "content-type": "text/json", "content-encoding": "utf-8", "content-length": len(content)} | keys
    head = json.dumps(head).encode()
    return struct.pack(">H", len(head)) + head + content
def reply(header, result, **keys):
    re = header.get("re", header.get("id"))
    return message(json.dumps({"result": result}).encode(), status="ok", **keys, **({} if re is None else {"re": re}))
def refusal(header, code):
    keys = {"status": "error", "code": code, "detail": "no", "content-type": "text/json"}
    re = header.get("re", header.get("id"))
    return message(b'{"result": "Error: no"}', **keys, **({} if re is None else {"re": re}))
def event(n, header, content):
    return message(content, **{"content-type": header["content-type"], "content-encoding": header["content-encoding"], "byteorder": header["byteorder"]},
                   event="message", seq=n, room="r", n=n, time="2026-05-01T14:03:59.123Z" if fault != "time" else "now", **{"from": "guest:anon"})
def send(header, content, out):
    known = ids.get(header["id"])
    if known and fault != "forgets-ids":
        n, before = known
        return out(reply(header, "r#%d" % n, room="r", n=n, seq=n, address="r#%d" % n) if before == content or fault == "takes-anything" else refusal(header, "id-reused"))
    n = len(posted) + 1
    ids[header["id"]] = n, content
    posted.append(event(n, header, content))
    answer = reply(header, "r#%d" % n, room="r", n=n, seq=n, address="r#%d" % n)
    if fault != "event-first": out(answer)
    for follower in followers: follower(posted[-1] * (2 if fault == "twice" else 1))
    if fault == "event-first": out(answer)
def serve(connection):
    out, stream, follows = connection.sendall, connection.makefile("rb"), False
    def quietly(data):
        try: out(data)
        except OSError: pass
    while head := stream.read(2):
        header = json.loads(stream.read(struct.unpack(">H", head)[0]))
        content = stream.read(header["content-length"])
        with lock:
            if header["action"] == "hello": out(reply(header, "x", protocol=1))
            elif header["action"] in ("ping", "who"): out(reply(header, "pong"))
            elif header["action"] == "send": send(header, content, out)
            elif follows and ("since" in header or "seq" in header): out(refusal(header, "already-following"))
            elif header.get("journal", "j") != "j": out(refusal(header, "journal-changed"))
            elif header.get("seq", 0) > len(posted): out(refusal(header, "seq-ahead"))
            else:
                out(reply(header, ["r"], journal="j", epoch="e", seq=len(posted)))
                start = header.get("since", header.get("seq", len(posted)))
                for old in posted[start + (fault == "loses"):]: out(old)
                if not follows: followers.append(quietly)
                follows = True
while True:
    connection, _ = listener.accept()
    threading.Thread(target=lambda c=connection: serve(c), daemon=True).start()
"#;

#[test]
fn conform_names_wrong_posting_and_following() {
    for (fault, case, why) in [
        ("none", "", ""),
        ("forgets-ids", "same-id-same-address", "the same id again should be r#1 (seq 1), is "),
        ("takes-anything", "id-reused", "expected an error reply"),
        ("event-first", "reply-before-own-event", "an own message was shown before its reply"),
        ("twice", "reply-before-own-event", "a message was shown twice"),
        ("loses", "resume-what-was-missed-once", "number 1 is followed by 3, without a hole between them"),
        ("loses", "follow-from-a-number", "number 1 is followed by 3, without a hole between them"),
        ("time", "follow-from-a-number", "'time' should be RFC 3339 in UTC with milliseconds, is \"now\""),
    ] {
        let mut command = python();
        command.args(["-c", FAULTY, fault]);
        let mut running = Tail::start(command);
        let address = running.line().strip_prefix("listening on ").unwrap().to_owned();
        let only = if case.is_empty() { "post/".to_owned() } else { format!("post/{case}") };
        // Pages of history are beyond it.
        let (good, said) = judged(&address, &["--post", "r", "--only", &only, "--skip", "history"]);
        assert_eq!(good, fault == "none", "{fault}: {said}");
        assert!(good || said.contains(&format!("FAILED post/{case} (whole)\n  {why}")), "{fault}: {said}");
    }
}

#[test]
fn conform_tests_what_clients_send_and_how_they_take_answers() {
    // Those whose answer not every client claims to read, and those of which bash sees no fault.
    const NOT_CLAIMED: [&str; 5] = ["utf-16", "latin-1", "unknown-encoding", "not-utf-8", "short-length"];
    let judge = |more: &[&str]| {
        let mut command = vang();
        command.args(["net", "conform", "--listen", "127.0.0.1:0"]).args(more);
        let mut running = Tail::start(command);
        let first = running.line();
        let (address, cases) =
            first.strip_prefix("listening on ").unwrap().split_once(": run your client ").unwrap();
        let cases: usize = cases.split(' ').next().unwrap().parse().unwrap();
        (running, address.to_owned(), cases)
    };
    // In parallel, because the silence cases take long.
    std::thread::scope(|scope| {
        for language in LANGUAGES.into_iter().chain(["vang"]) {
            scope.spawn(move || {
                let (mut running, address, cases) = judge(&[]);
                assert!(cases >= 22);
                for _ in 0..cases {
                    let output = match language {
                        "vang" => {
                            let args = ["request", &address, "search", "ring", "--timeout", "5s"];
                            vang().args(args).output().unwrap()
                        }
                        _ => run(language, "app_client", &address, &["search", "ring"]),
                    };
                    let verdict = running.line();
                    assert!(verdict.starts_with("ok     "), "{language} {verdict}");
                    let case = verdict[7..].split(':').next().unwrap().to_owned();
                    let fails = verdict.ends_with("(expected: an error message and a failing exit code)");
                    if ["python", "vang"].contains(&language) || !NOT_CLAIMED.contains(&case.as_str()) {
                        assert_eq!(output.status.success(), !fails, "{language} {case}: {output:?}");
                        assert_eq!(output.stderr.is_empty(), !fails, "{language} {case}: {output:?}");
                        let shown = String::from_utf8_lossy(&output.stdout);
                        let text = verdict.split("(expected output: \"").nth(1);
                        let text = text.map(|text| text.trim_end_matches("\")"));
                        assert!(
                            text.is_none_or(|text| shown == format!("{text}\n")),
                            "{language} {case}: {shown}"
                        );
                    }
                }
                assert_eq!(running.line(), format!("{cases} passed, 0 failed"), "{language}");
            });
        }
    });
    let (mut running, address, _) = judge(&[]);
    drop(TcpStream::connect(&address).unwrap());
    assert_eq!(running.line(), "FAILED usual: an answer in one piece, then close");
    assert_eq!(running.line(), "  it closed before its request was complete: \"\"");
    // The end of the judge is no fault of the client's, in the middle of whatever.
    let _silent = TcpStream::connect(&address).unwrap();
    Command::new("kill").args(["-INT", &running.pid().to_string()]).status().unwrap();
    assert_eq!(running.line(), "0 passed, 1 failed; 21 not run");
    assert_eq!(running.wait().code(), Some(1));
    // One case alone.
    let (mut running, address, cases) = judge(&["--only", "reset"]);
    assert_eq!(cases, 1);
    run("python", "app_client", &address, &["search", "ring"]);
    assert!(running.line().starts_with("ok     reset: "));
    let output =
        vang().args(["net", "conform", "--listen", "127.0.0.1:0", "--only", "nonesuch"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
