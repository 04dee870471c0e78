//! What the view promises, tested through its public API.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use vang_chat::{Access, AccountId, Feed, NameKey, Principal, RoomId, Seq};
use vang_view::{
    Delta, EventClass, EventData, EventRow, Opened, RebuildReason, Row, Snapshot, TextOf, View, ViewError,
    ViewReader,
};

const JOURNAL: [u8; 16] = [1; 16];
const LOBBY: RoomId = RoomId(1);

type History = fn(Seq) -> Result<Option<[u8; 32]>, String>;

/// The chain of a journal that was never set back.
fn one_history(seq: Seq) -> Result<Option<[u8; 32]>, String> {
    Ok(Some([seq.0 as u8; 32]))
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("view.db")
    }

    fn view(&self) -> View {
        View::open(&self.path(), JOURNAL, one_history).unwrap().0
    }

    fn reader(&self) -> ViewReader {
        ViewReader::open(&self.path()).unwrap()
    }
}

fn event(seq: u64, n: u64, class: EventClass) -> EventRow {
    let data = EventData::new(&[seq as u8]).unwrap();
    let who = match seq % 3 {
        0 => Principal::Operator,
        1 => Principal::Account(AccountId(u64::MAX >> (1 + seq % 60))),
        _ => Principal::Guest(NameKey([seq as u8; 16])),
    };
    EventRow { seq: Seq(seq), n, class, who, data }
}

fn said(seq: u64, n: u64) -> EventRow {
    event(seq, n, EventClass::Message(Access::ALL[seq as usize / 3 % 2]))
}

fn message(room: RoomId, seq: u64, n: u64) -> Row {
    Row::Event { feed: Feed::Room(room), event: said(seq, n) }
}

fn other(room: RoomId, seq: u64, n: u64) -> Row {
    Row::Event { feed: Feed::Room(room), event: event(seq, n, EventClass::Other) }
}

fn delta(upto: u64, rows: impl IntoIterator<Item = Row>) -> Delta {
    Delta { upto: Seq(upto), rows: rows.into_iter().collect(), snapshot: None }
}

/// A small journal: a room with a name, an account, and messages.
fn story() -> Vec<Delta> {
    vec![
        delta(
            1,
            [
                Row::Text { seq: Seq(1), of: TextOf::RoomName(LOBBY), text: "lobby".into() },
                other(LOBBY, 1, 0),
            ],
        ),
        delta(
            3,
            [
                Row::Text { seq: Seq(2), of: TextOf::AccountName(AccountId(2)), text: "ada".into() },
                other(LOBBY, 3, 0),
            ],
        ),
        delta(5, [message(LOBBY, 4, 1), message(LOBBY, 5, 2)]),
        delta(
            6,
            [
                Row::Text { seq: Seq(6), of: TextOf::RoomName(LOBBY), text: "l\no \"b".into() },
                other(LOBBY, 6, 2),
            ],
        ),
        delta(9, [message(LOBBY, 8, 3)]),
    ]
}

fn content(path: &Path) -> (Seq, Vec<String>) {
    let mut lines = Vec::new();
    let place = ViewReader::open(path).unwrap().each_row(&mut |line| lines.push(line)).unwrap();
    (place.cursor, lines)
}

#[test]
fn applied_rows_are_there_after_reopening() {
    let folder = Folder::new();
    let (mut view, opened) = View::open(&folder.path(), JOURNAL, one_history).unwrap();
    assert_eq!((opened, view.cursor()), (Opened::Fresh(RebuildReason::Missing), Seq(0)));
    view.apply(&story()).unwrap();
    assert_eq!(view.cursor(), Seq(9));
    drop(view);
    let (view, opened) = View::open(&folder.path(), JOURNAL, one_history).unwrap();
    assert_eq!((opened, view.cursor()), (Opened::Kept, Seq(9)));
    let texts = view.texts().unwrap();
    let expected = [
        (TextOf::RoomName(LOBBY), Seq(6), "l\no \"b".to_owned()),
        (TextOf::AccountName(AccountId(2)), Seq(2), "ada".to_owned()),
    ];
    assert_eq!(texts, expected);
    let (cursor, lines) = content(&folder.path());
    assert_eq!(cursor, Seq(9));
    assert_eq!(
        lines,
        [
            r#"text RoomName(RoomId(1)) 6 "l\no \"b""#,
            r#"text AccountName(AccountId(2)) 2 "ada""#,
            "event 1 1 0 other Account(AccountId(4611686018427387903)) 01",
            "event 1 3 0 other Operator 03",
            "event 1 4 1 private-message Account(AccountId(576460752303423487)) 04",
            "event 1 5 2 private-message Guest(NameKey(0505..)) 05",
            "event 1 6 2 other Operator 06",
            "event 1 8 3 message Guest(NameKey(0808..)) 08",
        ]
    );
}

#[test]
fn events_come_in_order_after_a_position_up_to_a_limit() {
    let folder = Folder::new();
    folder.view().apply(&story()).unwrap();
    let mut reader = folder.reader();
    assert_eq!(reader.events(Feed::Room(LOBBY), Seq(3), 2).unwrap(), [said(4, 1), said(5, 2)]);
    assert_eq!(
        reader.events(Feed::Room(LOBBY), Seq(5), 99).unwrap(),
        [event(6, 2, EventClass::Other), said(8, 3)]
    );
    assert_eq!(reader.events(Feed::Room(LOBBY), Seq(0), usize::MAX).unwrap().len(), 6);
    assert_eq!(reader.events(Feed::Room(LOBBY), Seq(0), 0).unwrap(), []);
    assert_eq!(reader.events(Feed::Room(LOBBY), Seq(u64::MAX), 9).unwrap(), []);
    assert_eq!(reader.events(Feed::Room(RoomId(u64::MAX)), Seq(0), 9).unwrap(), []);
}

#[test]
fn feeding_it_again_changes_nothing() {
    let folder = Folder::new();
    let mut view = folder.view();
    view.apply(&story()).unwrap();
    let once = content(&folder.path());
    view.apply(&story()).unwrap();
    view.apply(&story()[1..3]).unwrap();
    // Older rows in a delta that reaches beyond the cursor, and nothing new.
    view.apply(&[delta(10, [message(LOBBY, 4, 1), message(LOBBY, 8, 3)])]).unwrap();
    view.apply(&[]).unwrap();
    assert_eq!(content(&folder.path()), (Seq(10), once.1));
}

#[test]
fn the_cursor_in_the_file_decides_what_is_skipped() {
    let folder = Folder::new();
    let mut view = folder.view();
    view.apply(&story()[..2]).unwrap();
    // A second writer, which must not exist, was ahead; the first one notices.
    folder.view().apply(&story()[..4]).unwrap();
    view.apply(&story()).unwrap();
    assert_eq!(view.cursor(), Seq(9));
    assert_eq!(content(&folder.path()).1.len(), 8);
}

#[test]
fn the_view_of_another_history_is_rebuilt() {
    let open = |path: &Path, chains: History| {
        let (view, opened) = View::open(path, JOURNAL, chains).unwrap();
        (view.cursor(), opened)
    };
    let histories: [History; 2] = [
        // A copy that continued from entry 8: the entry at the cursor is different.
        |seq| Ok(Some(if seq < Seq(8) { [seq.0 as u8; 32] } else { [99; 32] })),
        // An older copy that ends before the cursor.
        |seq| Ok((seq < Seq(8)).then_some([seq.0 as u8; 32])),
    ];
    for history in histories {
        let folder = Folder::new();
        folder.view().apply(&story()).unwrap();
        assert_eq!(open(&folder.path(), one_history), (Seq(9), Opened::Kept));
        let why = RebuildReason::OtherHistory { cursor: Seq(9) };
        assert_eq!(open(&folder.path(), history), (Seq(0), Opened::Fresh(why)));
        assert_eq!(content(&folder.path()), (Seq(0), vec![]));
        // An empty view fits every history.
        assert_eq!(open(&folder.path(), one_history), (Seq(0), Opened::Kept));
    }
}

#[test]
fn the_view_advances_only_where_the_journal_has_a_chain() {
    let folder = Folder::new();
    folder.view().apply(&story()[..2]).unwrap();
    let before = content(&folder.path());
    let failing = |seq| if seq == Seq(3) { one_history(seq) } else { Err("a broken disk".to_owned()) };
    let (mut view, opened) = View::open(&folder.path(), JOURNAL, failing).unwrap();
    assert_eq!(opened, Opened::Kept);
    let error = view.apply(&story()).unwrap_err();
    assert!(matches!(error, ViewError::Unavailable(ref why) if why.contains("a broken disk")), "{error}");
    assert_eq!((view.cursor(), content(&folder.path())), (Seq(3), before));
    drop(view);
    let error = View::open(&folder.path(), JOURNAL, |_| Err("a broken disk".to_owned())).unwrap_err();
    assert!(matches!(error, ViewError::Unavailable(_)), "{error}");
    folder.view().apply(&story()).unwrap();
    let place = folder.reader().each_row(&mut |_| {}).unwrap();
    assert_eq!((place.cursor, place.chain), (Seq(9), [9; 32]));
}

#[test]
fn the_view_of_another_journal_is_rebuilt() {
    let folder = Folder::new();
    folder.view().apply(&story()).unwrap();
    let (view, opened) = View::open(&folder.path(), [2; 16], one_history).unwrap();
    assert_eq!((opened, view.cursor()), (Opened::Fresh(RebuildReason::OtherJournal), Seq(0)));
    assert_eq!(content(&folder.path()), (Seq(0), vec![]));
}

#[test]
fn a_view_of_another_format_is_rebuilt_and_not_read() {
    let folder = Folder::new();
    folder.view().apply(&story()).unwrap();
    rusqlite::Connection::open(folder.path()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = ViewReader::open(&folder.path()).unwrap_err();
    assert_eq!(error.to_string(), "the view has format 99; this program reads format 9");
    let (view, opened) = View::open(&folder.path(), JOURNAL, one_history).unwrap();
    assert_eq!(
        (opened, view.cursor()),
        (Opened::Fresh(RebuildReason::OtherFormat { found: 99, expected: 9 }), Seq(0))
    );
    folder.reader();
}

#[test]
fn a_damaged_file_is_rebuilt() {
    let folder = Folder::new();
    folder.view().apply(&story()).unwrap();
    let whole = std::fs::read(folder.path()).unwrap();
    let half = [&whole[..4096], &vec![0xa5; whole.len() - 4096][..]].concat();
    let no_tables = {
        let scratch = Folder::new();
        let other = rusqlite::Connection::open(scratch.path()).unwrap();
        other.execute_batch("PRAGMA user_version = 9; CREATE TABLE event(feed) STRICT").unwrap_err();
        other.execute_batch("PRAGMA user_version = 9; CREATE TABLE event(feed INTEGER) STRICT").unwrap();
        drop(other);
        std::fs::read(scratch.path()).unwrap()
    };
    let damaged: [(&str, &[u8]); 4] = [
        ("no database", b"this is not a database, but it is long enough to be looked at as one"),
        ("another's pages", &half),
        ("cut", &whole[..whole.len() / 2 + 100]),
        ("other tables", &no_tables),
    ];
    for (what, bytes) in damaged {
        std::fs::write(folder.path(), bytes).unwrap();
        let (mut view, opened) = View::open(&folder.path(), JOURNAL, one_history).unwrap();
        assert!(matches!(opened, Opened::Fresh(RebuildReason::Corrupt(_))), "{what}: {opened:?}");
        view.apply(&story()).unwrap();
        assert_eq!(content(&folder.path()).1.len(), 8, "{what}");
    }
}

/// The quick check must accept a good view as well as find a bad one.
#[test]
fn incomplete_tables_are_rebuilt_and_complete_ones_are_kept() {
    let folder = Folder::new();
    let open = || View::open(&folder.path(), JOURNAL, one_history).unwrap().1;
    assert_eq!((open(), open()), (Opened::Fresh(RebuildReason::Missing), Opened::Kept));
    for damage in [
        "DROP TABLE event",
        "DROP TABLE text",
        "DROP TABLE snapshot",
        "DROP TABLE about",
        "DELETE FROM about",
        "UPDATE about SET cursor = -1",
        "ALTER TABLE event RENAME COLUMN n TO m",
    ] {
        rusqlite::Connection::open(folder.path()).unwrap().execute_batch(damage).unwrap();
        let opened = open();
        assert!(matches!(opened, Opened::Fresh(RebuildReason::Corrupt(_))), "{damage}: {opened:?}");
        assert_eq!(open(), Opened::Kept, "{damage}");
    }
}

#[test]
fn damage_found_later_is_named_and_a_reset_repairs_it() {
    let folder = Folder::new();
    let mut view = folder.view();
    let rows = (1..=20_000).map(|n| message(LOBBY, n, n));
    view.apply(&[delta(20_000, rows)]).unwrap();
    drop(view);
    let mut bytes = std::fs::read(folder.path()).unwrap();
    let end = bytes.len();
    bytes[end / 4 / 4096 * 4096..end / 2 / 4096 * 4096].fill(0xa5);
    std::fs::write(folder.path(), bytes).unwrap();
    let (mut view, opened) = View::open(&folder.path(), JOURNAL, one_history).unwrap();
    assert_eq!(opened, Opened::Kept);
    let mut reader = folder.reader();
    let error = reader.events(Feed::Room(LOBBY), Seq(0), 20_000).unwrap_err();
    assert!(matches!(error, ViewError::Corrupt(_)), "{error}");
    view.reset().unwrap();
    view.apply(&story()).unwrap();
    assert_eq!(folder.reader().events(Feed::Room(LOBBY), Seq(0), 99).unwrap().len(), 6);
    assert_eq!(reader.events(Feed::Room(LOBBY), Seq(0), 99).unwrap().len(), 6, "the open reader goes on");
}

#[test]
fn a_reset_view_fed_again_is_the_same() {
    let folder = Folder::new();
    let mut view = folder.view();
    view.apply(&story()).unwrap();
    let before = content(&folder.path());
    let mut reader = folder.reader();
    view.reset().unwrap();
    assert_eq!((view.cursor(), reader.cursor().unwrap()), (Seq(0), Seq(0)));
    assert_eq!(content(&folder.path()), (Seq(0), vec![]));
    for delta in story() {
        view.apply(&[delta]).unwrap();
    }
    assert_eq!(content(&folder.path()), before);
    drop(view);
    assert_eq!(folder.view().cursor(), Seq(9));
}

#[test]
fn the_newest_two_snapshots_are_kept() {
    let folder = Folder::new();
    let mut view = folder.view();
    assert_eq!(view.snapshot().unwrap(), None);
    let taken = |upto: u64| {
        // In two pieces.
        let pieces = vec![vec![upto as u8; 4_000], vec![upto as u8; 5_000]];
        Delta { snapshot: Some(Snapshot { seq: Seq(upto), pieces }), ..delta(upto, []) }
    };
    view.apply(&[taken(10), taken(20)]).unwrap();
    view.apply(&[taken(30)]).unwrap();
    // A snapshot at the current cursor counts as new; an older one does not.
    view.apply(&[delta(40, [])]).unwrap();
    view.apply(&[taken(40), taken(30), taken(10)]).unwrap();
    drop(view);
    let mut view = folder.view();
    assert_eq!(view.snapshot().unwrap(), Some((Seq(40), vec![40; 9_000])));
    assert_eq!(view.snapshot_before(Seq(40)).unwrap(), Some((Seq(30), vec![30; 9_000])));
    assert_eq!(view.snapshot_before(Seq(30)).unwrap(), None);
    assert_eq!(view.snapshot_before(Seq(0)).unwrap(), None);
    view.drop_snapshots();
    assert_eq!(view.snapshot().unwrap(), None);
    view.apply(&[taken(50)]).unwrap();
    assert_eq!(view.snapshot().unwrap().unwrap().0, Seq(50));
}

#[test]
fn a_reader_sees_whole_batches_while_the_writer_writes() {
    let folder = Folder::new();
    let mut view = folder.view();
    let done = AtomicBool::new(false);
    let path = folder.path();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut reader = ViewReader::open(&path).unwrap();
                let mut rounds = 0;
                while !done.load(Ordering::Relaxed) || rounds == 0 {
                    let mut events = 0;
                    let cursor = reader.each_row(&mut |_| events += 1).unwrap().cursor;
                    assert_eq!(events, cursor.0, "everything up to the cursor and nothing else");
                    assert_eq!(cursor.0 % 50, 0);
                    let at = reader.cursor().unwrap();
                    assert!(at >= cursor);
                    assert_eq!(reader.seq_of(LOBBY, at.0).unwrap(), Some(at));
                    rounds += 1;
                }
            });
        }
        for batch in 0..200 {
            let rows = (1..=50).map(|n| message(LOBBY, batch * 50 + n, batch * 50 + n));
            view.apply(&[delta((batch + 1) * 50, rows)]).unwrap();
            if batch % 40 == 0 {
                view.idle();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn idle_leaves_no_wal() {
    let folder = Folder::new();
    let mut view = folder.view();
    view.apply(&story()).unwrap();
    let wal = folder.0.path().join("view.db-wal");
    assert!(wal.metadata().unwrap().len() > 0);
    view.idle();
    assert_eq!(wal.metadata().unwrap().len(), 0);
}

#[test]
fn only_the_owner_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let mut view = folder.view();
    view.apply(&story()).unwrap();
    for file in std::fs::read_dir(folder.0.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}

#[test]
fn reading_a_missing_file_is_an_error() {
    let folder = Folder::new();
    let error = ViewReader::open(&folder.path()).unwrap_err();
    assert!(matches!(error, ViewError::Unavailable(_)), "{error}");
    std::fs::write(folder.path(), b"").unwrap();
    let error = ViewReader::open(&folder.path()).unwrap_err();
    assert!(error.to_string().contains("contains no view yet"), "{error}");
}

/// For each step: one of three rooms, the step of `seq`, and whether it is a message.
fn steps() -> impl Strategy<Value = Vec<(u64, u64, bool)>> {
    prop::collection::vec((1..=3_u64, 1..=5_u64, any::<bool>()), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn seq_of_finds_what_a_walk_finds(steps in steps(), batch in 1..40_usize) {
        let folder = Folder::new();
        let mut view = folder.view();
        let (mut seq, mut counts) = (0, [0; 4]);
        let mut rows = Vec::new();
        for (room, ahead, is_message) in steps {
            seq += ahead;
            counts[room as usize] += u64::from(is_message);
            let n = counts[room as usize];
            rows.push((room, if is_message { said(seq, n) } else { event(seq, n, EventClass::Other) }));
        }
        for some in rows.chunks(batch) {
            let upto = some.last().map_or(0, |(_, event)| event.seq.0);
            let some = some.iter().map(|&(room, event)| Row::Event { feed: Feed::Room(RoomId(room)), event });
            view.apply(&[delta(upto, some)]).unwrap();
        }
        let mut reader = folder.reader();
        for room in 1..=4 {
            prop_assert_eq!(reader.seq_of(RoomId(room), 0).unwrap(), Some(Seq(0)));
            for n in (1..=122).chain([u64::MAX]) {
                let walk = rows.iter().find(|(of, event)| *of == room && event.is_message() && event.n == n);
                let found = reader.seq_of(RoomId(room), n).unwrap();
                prop_assert_eq!(found, walk.map(|(_, event)| event.seq), "room {} n {}", room, n);
            }
            let all: Vec<EventRow> = rows.iter().filter(|(of, _)| *of == room).map(|(_, event)| *event).collect();
            prop_assert_eq!(reader.events(Feed::Room(RoomId(room)), Seq(0), 999).unwrap(), all);
        }
    }

    #[test]
    fn the_content_does_not_depend_on_the_batches(steps in steps(), cuts in prop::collection::vec(0..9_usize, 1..9)) {
        let mut seq = 0;
        let deltas: Vec<Delta> = steps.into_iter().map(|(room, ahead, is_message)| {
            seq += ahead;
            let (id, name) = (RoomId(room), format!("room {}", seq % 4));
            let row = if seq % 7 == 0 { Row::Text { seq: Seq(seq), of: TextOf::RoomName(id), text: name } } else if is_message { message(id, seq, seq) } else { other(id, seq, seq) };
            delta(seq, [row])
        }).collect();
        let (once, bit_by_bit) = (Folder::new(), Folder::new());
        once.view().apply(&deltas).unwrap();
        let mut view = bit_by_bit.view();
        let mut rest = &deltas[..];
        for cut in cuts.iter().cycle().map(|cut| cut + 1) {
            let (some, more) = rest.split_at(cut.min(rest.len()));
            view.apply(some).unwrap();
            if some.is_empty() { break; }
            // A restart that lost its position.
            if cut % 3 == 0 { view = bit_by_bit.view(); view.apply(&deltas[..deltas.len() - more.len()]).unwrap(); }
            rest = more;
        }
        prop_assert_eq!(content(&once.path()), content(&bit_by_bit.path()));
    }
}
