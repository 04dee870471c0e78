//! A data folder that every server of the bench begins with: rooms to resume in, messages to find and to
//! page through.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use vang_proto::vang::{Access, Action, Hello, Incoming, Reply, incoming};
use vang_proto::{Decoder, Limits};

use crate::common::process::Running;
use crate::common::requests::request;

/// Rooms beside `general`: more than one follow may name.
pub(crate) const ROOMS: usize = 1_100;
/// What is said before a flood, and how long the server is left alone then.
const WARM_MESSAGES: usize = 60_000;
const WARM: Duration = Duration::from_secs(2);

/// Messages in `general`.
const MESSAGES: usize = 2_000;
/// Each makes half of the rooms.
const ACCOUNTS: [&str; 2] = ["ada", "bob"];
/// Requests in flight.
const IN_FLIGHT: usize = 64;

/// Words that stand in every message: what is asked for them finds everything.
pub(crate) const WORDS: [&str; 8] = ["river", "stone", "light", "paper", "house", "water", "green", "night"];

/// What attackers know of the server.
pub(crate) struct Facts {
    pub(crate) journal: String,
    pub(crate) epoch: String,
    /// Where its certificate lies.
    pub(crate) certificate: String,
}

impl Facts {
    pub(crate) fn to_json(&self) -> String {
        serde_json::json!([self.journal, self.epoch, self.certificate]).to_string()
    }

    pub(crate) fn from_json(line: &str) -> Facts {
        let [journal, epoch, certificate] = serde_json::from_str(line).expect("facts from the bench");
        Facts { journal, epoch, certificate }
    }
}

/// A folder that is filled, and the server that filled it, which has ended.
pub(crate) struct Seed {
    filled: Running,
    pub(crate) facts: Facts,
}

/// The name of a room.
pub(crate) fn room(index: usize) -> String {
    format!("room-{index}")
}

impl Seed {
    pub(crate) fn make() -> Seed {
        let mut server = Running::vang(None, &[]);
        let connect = || UnixStream::connect(server.data.join("admin.sock")).expect("the operator's socket");
        let accounts = ACCOUNTS.map(|name| request(&Action::AddAccount { name: name.to_owned() }, None));
        ask_all(connect(), &accounts);
        for (at, name) in ACCOUNTS.into_iter().enumerate() {
            let create = |index| {
                let create = Action::Create { access: Access::Public, room: room(index) };
                request(&create, Some(name.to_owned()))
            };
            let rooms: Vec<_> = (at..ROOMS).step_by(ACCOUNTS.len()).map(create).collect();
            ask_all(connect(), &rooms);
        }
        let send = |room: String, text: String| request(&Action::text(&room, &text), Some("bob".to_owned()));
        let general = (0..MESSAGES).map(|at| send("general".to_owned(), format!("{at} {}", WORDS.join(" "))));
        let elsewhere = (0..ROOMS).map(|index| send(room(index), "the first one here".to_owned()));
        ask_all(connect(), &general.chain(elsewhere).collect::<Vec<_>>());
        let tcp = TcpStream::connect(&server.addr).expect("a server that listens");
        let hello = ask_all(tcp, &[request(&Action::Hello, None)]).pop().expect("one reply");
        let Hello { journal, epoch, .. } = hello.keys().expect("the keys of every hello");
        let certificate = server.data.join("tls/certificate.pem").display().to_string();
        let facts = Facts { journal, epoch, certificate };
        assert!(server.terminate(Duration::from_secs(30)).is_some(), "a server that nobody attacks ends");
        Seed { filled: server, facts }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.filled.data
    }
}

/// A server that has worked: its caches are full, and the index has read what was said. What an attack adds to its memory
/// is then the attack's.
pub(crate) fn warm(server: &Running) {
    let socket = UnixStream::connect(server.data.join("admin.sock")).expect("the operator's socket");
    let send = |at: usize| {
        let text = format!("{at} {}", WORDS.join(" "));
        request(&Action::text(&room(at % ROOMS), &text), Some("bob".to_owned()))
    };
    ask_all(socket, &(0..WARM_MESSAGES).map(send).collect::<Vec<_>>());
    std::thread::sleep(WARM);
}

/// Copies a data folder; its sockets are left out.
pub(crate) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Asks all of these on one connection; each must be answered with yes.
fn ask_all(mut stream: impl Read + Write, requests: &[Vec<u8>]) -> Vec<Reply> {
    let mut decoder = Decoder::new(Limits::default());
    let mut replies = Vec::new();
    let mut scratch = [0; 16 << 10];
    for chunk in requests.chunks(IN_FLIGHT) {
        stream.write_all(&chunk.concat()).expect("a server that reads");
        let end = replies.len() + chunk.len();
        while replies.len() < end {
            let n = stream.read(&mut scratch).expect("a server that answers");
            assert!(n > 0, "the server closed the connection");
            decoder.feed(&scratch[..n]);
            while let Some(frame) = decoder.poll_frame().expect("frames") {
                let Ok(Incoming::Reply(reply)) = incoming(frame) else { continue };
                assert_eq!(reply.code, None, "refused: {}", reply.text);
                replies.push(reply);
            }
        }
    }
    replies
}
