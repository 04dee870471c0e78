//! How long each kind of search takes among this many messages, how fast the index is fed, and the cost of a
//! page of history: `cargo bench -p vang-view --bench find -- [MESSAGES]`.
//!
//! The reading threads' part only. Words are generated with the frequencies of a language (Zipf); a tenth of
//! the messages is in Han.

#![allow(clippy::unwrap_used)] // a failure here ends a measurement

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use vang_chat::{
    Access, Command, Feed, MessageCommand, Name, NameKey, Node, Principal, RoomCommand, RoomId, RoomsBy, Seq,
    Time,
};
use vang_journal::{
    Batch, Draft, Durability, Envelope, Maintain, MessagePayload, Origin, Payload, Reader, Through, Unknown,
    open_journal, read_journal,
};
use vang_view::{
    Delta, EventClass, EventData, EventRow, Find, Index, IndexReader, IsOver, Query, Row, Stretch, View,
    ViewReader, Visible,
};

const ROOMS: u64 = 100;
/// Every fifth room is private.
const PRIVATE_EVERY: u64 = 5;
const PEOPLE: u64 = 200;
const WORDS: u64 = 50_000;
const CHARACTERS: u64 = 3_000;
const BATCH: u64 = 4_096;
/// Searches of each kind.
const QUESTIONS: u64 = 200;

struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() * end as f64) as u64
    }

    /// From 0; the first is the most frequent, as in a language.
    fn zipf(&mut self, end: u64) -> u64 {
        (((end as f64 + 1.0).ln() * self.next()).exp() - 1.0) as u64
    }
}

/// The word of this rank.
fn word(rank: u64) -> String {
    let mut rest = rank + 20;
    let mut out = String::new();
    while rest > 0 {
        let (consonant, vowel) = ((rest % 20) as usize, (rest / 20 % 5) as usize);
        out.push(char::from(b"bcdfghjklmnpqrstvwxz"[consonant]));
        out.push(char::from(b"aeiou"[vowel]));
        rest /= 100;
    }
    out
}

fn han(rank: u64) -> char {
    char::from_u32(0x4e00 + rank as u32).unwrap()
}

fn text(random: &mut Random) -> String {
    if random.below(10) == 0 {
        return (0..8 + random.below(20)).map(|_| han(random.zipf(CHARACTERS))).collect();
    }
    let words: Vec<String> = (0..6 + random.below(14)).map(|_| word(random.zipf(WORDS))).collect();
    words.join(" ")
}

fn person(which: u64) -> Principal {
    let mut key = [7; 16];
    key[..8].copy_from_slice(&which.to_le_bytes());
    Principal::Guest(NameKey(key))
}

fn main() {
    let messages = std::env::args().skip(1).find_map(|arg| arg.parse::<u64>().ok()).unwrap_or(1_000_000);
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/../../target").unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut store = Store::new(folder.path());
    let mut said = Random(1);
    store.write(messages, |_| {
        let room = 1 + said.below(ROOMS);
        (room, text(&mut said))
    });
    let began = Instant::now();
    let (mut reader, mut view, mut index) = store.fed();
    let took = began.elapsed();
    index.idle();
    let size = |name: &str| path(name).metadata().unwrap().len() >> 20;
    println!(
        "{messages} messages in {ROOMS} rooms; fed in {:.1} s, {:.0}/s; find.db {} MiB, journal.db {} MiB\n",
        took.as_secs_f64(),
        messages as f64 / took.as_secs_f64(),
        size("find.db"),
        size("journal.db"),
    );
    let mut questions = IndexReader::open(&path("find.db")).unwrap();
    let end = Seq(ROOMS + messages);
    let everything = Visible { public: true, ..Visible::default() };
    let in_part = in_part(end);
    let mut random = Random(99);
    let mut all: Vec<Spent> = Vec::new();
    println!("{:<42} {:>17} {:>19}", "", "by the clock, ms", "on a processor, ms");
    println!("{:<42} {:>8} {:>8} {:>9} {:>9} {:>6}", "20 hits of", "p50", "p95", "p50", "p95", "hits");
    for (what, visible, ask) in kinds() {
        let visible = if visible == Sees::Public { &everything } else { &in_part };
        let (mut times, mut hits) = (Vec::new(), 0);
        for _ in 0..QUESTIONS {
            let typed = ask(&mut random);
            let query = Query::parse(&typed).unwrap();
            let from = query.from.iter().map(|name| person(name.parse().unwrap())).collect();
            let mut visible = visible.clone();
            if let Some(room) = query.rooms.first() {
                let room: u64 = room.parse().unwrap();
                visible = match room % PRIVATE_EVERY {
                    0 => Visible { stretches: vec![stretch(room, Seq(1), end)], ..Visible::default() },
                    _ => Visible { public_rooms: vec![RoomId(room)], ..Visible::default() },
                };
            }
            let find = Find { query, from, visible, end, upto: end, limit: 20, ..Find::default() };
            let began = Spent::now();
            hits += questions.find(&mut view, &mut *reader, &find, &never()).unwrap().hits.len();
            times.push(began.until_now());
        }
        row(what, &times, hits as f64 / QUESTIONS as f64);
        all.extend(times);
    }
    let count = all.len();
    row("all of these", &all, count as f64);

    // Any page of any room: find its position in the view, read 256 entries of the journal.
    let mut pages: Vec<Spent> = Vec::new();
    for _ in 0..2_000 {
        let room = RoomId(1 + random.below(ROOMS));
        let since = random.below((messages / ROOMS).saturating_sub(1_000).max(1));
        let began = Spent::now();
        let after = view.seq_of(room, since).unwrap().unwrap();
        let events = view.events(Feed::Room(room), after, 256).unwrap();
        let seqs: Vec<Seq> = events.iter().map(|event| event.seq).collect();
        let read: usize = reader.get(&seqs, 256 << 10).unwrap().len();
        pages.push(began.until_now());
        assert_eq!(read, 256);
    }
    println!();
    row("a page of history: 256 messages", &pages, 256.0);
    secrets();
}

fn never() -> IsOver {
    Arc::new(|| false)
}

fn stretch(room: u64, from: Seq, to: Seq) -> Stretch {
    Stretch { room: RoomId(room), from, to }
}

/// The cost of words in private rooms that the asker is not in: it must not reveal them.
fn secrets() {
    const PUBLIC: u64 = 20_000;
    const SECRETS: u64 = 100_000;
    println!(
        "\n{PUBLIC} public messages, 20 of them with the word, and among them {SECRETS} in private rooms that the asker is not in"
    );
    for (what, said) in
        [("without the word there", "nothing of it"), ("with the word in each of them", "needle")]
    {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/../../target").unwrap();
        let mut store = Store::new(folder.path());
        let mut random = Random(5);
        let mut public = 0;
        store.write(PUBLIC + SECRETS, |at| {
            if at % (PUBLIC + SECRETS).div_ceil(PUBLIC) != 0 {
                return (
                    PRIVATE_EVERY * (1 + at % (ROOMS / PRIVATE_EVERY)),
                    format!("{said} {}", text(&mut random)),
                );
            }
            public += 1;
            let needle = if public % (PUBLIC / 20) == 0 { "needle" } else { "hay" };
            (1, format!("{needle} {}", text(&mut random)))
        });
        let (mut reader, mut view, mut index) = store.fed();
        let end = Seq(ROOMS + PUBLIC + SECRETS);
        let mut questions = IndexReader::open(&folder.path().join("find.db")).unwrap();
        index.idle();
        for (who, query, stretches) in [
            ("a guest", "needle", vec![]),
            ("a guest, nothing", "needle nowhere", vec![]),
            ("a guest, a beginning", "needl*", vec![]),
            ("who left such a room early", "needle", vec![stretch(PRIVATE_EVERY, Seq(1), Seq(ROOMS + 100))]),
        ] {
            let visible = Visible { public: true, stretches, ..Visible::default() };
            let query = Query::parse(query).unwrap();
            let find = Find { query, visible, end, upto: end, limit: 20, ..Find::default() };
            let mut hits = 0;
            let times: Vec<Spent> = (0..QUESTIONS)
                .map(|_| {
                    let began = Spent::now();
                    hits = questions.find(&mut view, &mut *reader, &find, &never()).unwrap().hits.len();
                    began.until_now()
                })
                .collect();
            row(&format!("{who}, {what}"), &times, hits as f64);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sees {
    Public,
    /// Public rooms, and stays in the private ones.
    InPart,
}

type Ask = fn(&mut Random) -> String;

fn kinds() -> [(&'static str, Sees, Ask); 14] {
    [
        ("the most frequent words, one", Sees::Public, |random| word(random.below(10))),
        ("a word, as frequent as it is said", Sees::Public, |random| word(random.zipf(WORDS))),
        ("a rare word", Sees::Public, |random| word(WORDS - 1 - random.below(10_000))),
        ("two words, as said", Sees::Public, |random| {
            format!("{} {}", word(random.zipf(WORDS)), word(random.zipf(WORDS)))
        }),
        ("three frequent words", Sees::Public, |random| {
            format!("{} {} {}", word(random.below(30)), word(random.below(30)), word(random.below(30)))
        }),
        ("a phrase of two frequent words", Sees::Public, |random| {
            format!("\"{} {}\"", word(random.below(30)), word(random.below(30)))
        }),
        ("a word, from: one of 200", Sees::Public, |random| {
            format!("{} from:{}", word(random.zipf(WORDS)), random.below(PEOPLE))
        }),
        ("a word, in: one of 100 rooms", Sees::Public, |random| {
            format!("{} in:{}", word(random.zipf(WORDS)), 1 + random.below(ROOMS))
        }),
        ("a word, before: and after:", Sees::Public, |random| {
            format!("{} after:1970-01-05 before:1970-01-08", word(random.zipf(WORDS)))
        }),
        ("a word without another", Sees::Public, |random| {
            format!("{} -{}", word(random.zipf(WORDS)), word(random.below(10)))
        }),
        ("a beginning of three letters", Sees::Public, |random| {
            format!("{}*", &word(random.zipf(WORDS) + 80)[..3])
        }),
        ("two Han characters", Sees::Public, |random| {
            [han(random.zipf(CHARACTERS)), han(random.zipf(CHARACTERS))].iter().collect()
        }),
        ("one Han character", Sees::Public, |random| han(random.zipf(CHARACTERS)).to_string()),
        ("a word, where 20 rooms were seen in part", Sees::InPart, |random| word(random.zipf(WORDS))),
    ]
}

/// Somebody who joined each private room late, left, and returned.
fn in_part(end: Seq) -> Visible {
    let rooms = (1..=ROOMS).filter(|room| room % PRIVATE_EVERY == 0);
    let stay = |room, from, to| stretch(room, Seq(end.0 * from / 100), Seq(end.0 * to / 100));
    let stretches = rooms.flat_map(|room| [stay(room, 20 + room / 5, 30), stay(room, 70 + room / 5, 100)]);
    Visible { public: true, stretches: stretches.collect(), ..Visible::default() }
}

/// Wall time, and this thread's CPU time: equal on an idle machine; on a busy one the CPU time is what counts.
#[derive(Clone, Copy)]
struct Spent {
    clock: Duration,
    processor: Duration,
}

impl Spent {
    fn now() -> Spent {
        let at = |clock| {
            let time = rustix::time::clock_gettime(clock);
            Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
        };
        let (clock, processor) = (rustix::time::ClockId::Monotonic, rustix::time::ClockId::ThreadCPUTime);
        Spent { clock: at(clock), processor: at(processor) }
    }

    fn until_now(self) -> Spent {
        let now = Spent::now();
        Spent { clock: now.clock - self.clock, processor: now.processor - self.processor }
    }
}

fn row(what: &str, times: &[Spent], hits: f64) {
    let at = |part: f64, of: fn(&Spent) -> Duration| {
        let mut sorted: Vec<Duration> = times.iter().map(of).collect();
        sorted.sort_unstable();
        sorted[((sorted.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3
    };
    let (clock, processor) = (|spent: &Spent| spent.clock, |spent: &Spent| spent.processor);
    let shown = [at(0.5, clock), at(0.95, clock), at(0.5, processor), at(0.95, processor)];
    println!(
        "{what:<42} {:>8.3} {:>8.3} {:>9.3} {:>9.3} {hits:>6.1}",
        shown[0], shown[1], shown[2], shown[3]
    );
}

/// A journal and its view in a folder.
struct Store {
    folder: PathBuf,
    journal: Box<dyn Maintain>,
    view: View,
}

impl Store {
    fn new(folder: &Path) -> Store {
        let journal = open_journal(&folder.join("journal.db"), Durability::Crash).unwrap();
        let (_, mut chains) = read_journal(&folder.join("journal.db")).unwrap();
        let chains = move |seq| Ok(chains.chain_at(seq).unwrap().map(|chain| chain.0));
        let (view, _) = View::open(&folder.join("view.db"), journal.identity().id, chains).unwrap();
        Store { folder: folder.to_owned(), journal, view }
    }

    /// The index with its sources, after feeding.
    fn fed(&self) -> (Box<dyn Reader + Send>, ViewReader, Index) {
        let (_, mut reader) = read_journal(&self.folder.join("journal.db")).unwrap();
        let mut view = ViewReader::open(&self.folder.join("view.db")).unwrap();
        let id = self.journal.identity().id;
        let (mut index, _) = Index::open(&self.folder.join("find.db"), id, &mut *reader).unwrap();
        while index.feed(&mut *reader, &mut view).unwrap() > 0 {}
        (reader, view, index)
    }

    /// Rooms, then messages, a second apart; `say` gives each one's room and text.
    fn write(&mut self, messages: u64, mut say: impl FnMut(u64) -> (u64, String)) {
        let mut random = Random(2);
        let mut counts = vec![0; ROOMS as usize + 1];
        let mut seq = 0;
        while seq < ROOMS + messages {
            let (mut drafts, mut deltas) = (Vec::new(), Vec::new());
            while seq < ROOMS + messages && (drafts.len() as u64) < BATCH {
                seq += 1;
                let mut salt = [0; 16];
                salt[..8].copy_from_slice(&seq.to_le_bytes());
                let (command, payload, rows) = if seq <= ROOMS {
                    let access = if seq % PRIVATE_EVERY == 0 { Access::Private } else { Access::Public };
                    let name = Name::only(NameKey(salt));
                    (
                        Command::Room(RoomCommand::Create {
                            name,
                            access,
                            by: Principal::Operator,
                            rooms_by: RoomsBy::default(),
                            most: None,
                        }),
                        Bytes::new(),
                        vec![],
                    )
                } else {
                    let (room, text) = say(seq - ROOMS - 1);
                    counts[room as usize] += 1;
                    let n = counts[room as usize];
                    let said = MessagePayload {
                        guest: Some("somebody".to_owned()),
                        content_type: "text/plain".to_owned(),
                        content_encoding: "utf-8".to_owned(),
                        content: text.into(),
                        unknown: Unknown::default(),
                    };
                    let from = person(random.below(PEOPLE));
                    let access = if room % PRIVATE_EVERY == 0 { Access::Private } else { Access::Public };
                    let (class, data) = (EventClass::Message(access), EventData::default());
                    let event = EventRow { seq: Seq(seq), n, class, who: from, data };
                    let row = Row::Event { feed: Feed::Room(RoomId(room)), event };
                    (
                        Command::Message(MessageCommand::Send { room: RoomId(room), from, id: None }),
                        said.encode(),
                        vec![row],
                    )
                };
                let payload = Payload { salt, bytes: payload };
                let envelope = Envelope {
                    rules: vang_chat::NEWEST_RULES,
                    origin: Origin { node: Node(1), counter: seq },
                    time: Time(seq * 1_000),
                    through: Through::default(),
                    digest: payload.digest(),
                    command,
                };
                drafts.push(Draft { envelope: envelope.encode(), payload });
                deltas.push(Delta { upto: Seq(seq), rows, snapshot: None });
            }
            self.journal.append(&Batch { drafts, checkpoints: Vec::new() });
            self.view.apply(&deltas).unwrap();
        }
        self.journal.idle().unwrap();
        self.view.idle();
    }
}
