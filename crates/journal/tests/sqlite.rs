//! Properties of the journal on a disk: damage, a full disk, a killed process, erasure.
//!
//! Some tests need a process of their own: they run this test binary again, as one of its `child_`
//! tests, which do nothing otherwise.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{ADA, append, batch, draft, drafts, identity, origins, whole};
use rusqlite::Connection;
use tempfile::TempDir;
use vang_chat::Seq;
use vang_journal::in_sqlite::{SqliteJournal, SqliteReader, check};
use vang_journal::{
    Appended, Batch, CheckReport, DataFolder, Durability, Entry, FolderError, Journal, JournalError,
    Maintain, Reader, Sealed,
};

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(path: &Path) -> SqliteJournal {
    SqliteJournal::open(path, Durability::PowerCut).expect("opens")
}

fn checked(path: &Path) -> CheckReport {
    check(&mut SqliteReader::open(path).expect("opens"), &mut |_, _| {})
}

/// The problems' texts, which name the entries.
fn problems(report: &CheckReport) -> Vec<String> {
    report.problems.iter().map(ToString::to_string).collect()
}

fn beside(path: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", path.display()))
}

/// 60 entries, some with payloads of several pages, one erased; closed, so that one file has everything.
fn closed_journal(path: &Path) {
    let mut journal = SqliteJournal::create(path, Durability::PowerCut, identity()).expect("creates");
    append(&mut journal, &batch((1..=60).map(sample)));
    journal.erase(&[Seq(40)]).expect("erases");
    append(&mut journal, &Batch { drafts: vec![], checkpoints: vec![(Seq(32), [32; 32])] });
    drop(journal);
    assert!(!beside(path, "-wal").exists());
}

fn sample(counter: u64) -> vang_journal::Draft {
    let text = format!("known text {counter} ");
    draft(ADA, counter, &text.repeat(if counter % 20 == 5 { 500 } else { 3 }))
}

// The data folder.

#[test]
fn the_lock_names_its_holder_and_ends_with_it() {
    let dir = folder();
    let path = dir.path().join("new/folder");
    let held = DataFolder::open(&path).expect("opens");
    let refused = DataFolder::open(&path).expect_err("is held").to_string();
    let start = format!("the data folder {} is in use by ", path.display());
    assert!(refused.starts_with(&start), "{refused}");
    assert!(refused.contains(&format!("pid {}, since 20", std::process::id())), "{refused}");
    drop(held);
    DataFolder::open(&path).expect("opens again");
}

#[test]
fn a_start_waits_for_a_dying_holder() {
    let dir = folder();
    let path = dir.path().join("vang");
    let held = DataFolder::open(&path).expect("opens");
    let lock = path.join("lock");
    let opened = || {
        let all = fs::read_dir("/proc/self/fd").expect("Linux");
        all.filter(|fd| fd.as_ref().is_ok_and(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == lock)))
            .count()
    };
    let next = std::thread::spawn(move || DataFolder::open(&path).map(drop));
    while opened() < 2 && !next.is_finished() {
        std::thread::yield_now();
    }
    drop(held);
    next.join().expect("no panic").expect("it waited");
}

#[test]
fn only_the_owner_can_read_the_folder() {
    let dir = folder();
    let path = dir.path().join("vang");
    let folder = DataFolder::open(&path).expect("opens");
    let mut journal = open(&folder.journal_db());
    append(&mut journal, &drafts(ADA, 1, 1));
    let mode = |path: &Path| path.metadata().expect("is there").permissions().mode() & 0o7777;
    assert_eq!(mode(&path), 0o700);
    let mut files: Vec<_> =
        fs::read_dir(&path).expect("a folder").map(|file| file.expect("a file").path()).collect();
    files.sort();
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    let names: Vec<_> =
        files.iter().map(|file| file.file_name().expect("a name").to_string_lossy()).collect();
    assert_eq!(names, ["format", "journal.db", "journal.db-shm", "journal.db-wal", "lock", "view.db"]);
}

#[test]
fn a_folder_open_to_others_is_closed_and_one_that_is_not_ours_is_refused() {
    let dir = folder();
    let (empty, home) = (dir.path().join("empty"), dir.path().join("home"));
    for path in [&empty, &home] {
        fs::create_dir(path).expect("created");
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("changed");
    }
    fs::write(home.join("letter"), "dear").expect("written");
    let mode = |path: &Path| path.metadata().expect("is there").permissions().mode() & 0o777;
    DataFolder::open(&empty).expect("opens");
    assert_eq!(mode(&empty), 0o700);
    let refused = DataFolder::open(&home).expect_err("it has a letter");
    assert!(matches!(refused, FolderError::NotOurs { .. }), "{refused}");
    assert_eq!((mode(&home), fs::read_dir(&home).expect("a folder").count()), (0o755, 1));
}

#[test]
fn a_folder_of_another_format_is_not_touched() {
    let dir = folder();
    let path = dir.path();
    fs::write(path.join("format"), "2\n").expect("written");
    let newer = DataFolder::open(path).expect_err("is newer").to_string();
    let why = "was made by a newer vang: format 2; this program reads 1";
    assert_eq!(newer, format!("the data folder {} {why}", path.display()));
    assert!(!path.join("journal.db").exists());

    fs::write(path.join("format"), "one\n").expect("written");
    assert!(matches!(DataFolder::open(path), Err(FolderError::BadFormat { .. })));

    fs::remove_file(path.join("format")).expect("removed");
    fs::write(path.join("journal.db"), "perhaps a journal").expect("written");
    assert!(matches!(DataFolder::open(path), Err(FolderError::NoFormat { .. })));
    assert!(matches!(DataFolder::look(path), Err(FolderError::NoFormat { .. })));
    assert!(!path.join("format").exists());
}

#[test]
fn a_reader_can_look_while_a_server_runs_but_only_at_a_journal() {
    let dir = folder();
    assert!(matches!(DataFolder::look(dir.path()), Err(FolderError::NoJournal { .. })));
    let held = DataFolder::open(dir.path()).expect("opens");
    assert!(matches!(DataFolder::look(dir.path()), Err(FolderError::NoJournal { .. })));
    let mut journal = open(&held.journal_db());
    append(&mut journal, &drafts(ADA, 1, 3));
    let looked = DataFolder::look(dir.path()).expect("opens");
    let mut reader = SqliteReader::open(looked.journal_db()).expect("opens");
    assert_eq!(reader.end().expect("readable"), Seq(3));
    assert_eq!(reader.identity(), journal.identity());
    assert_eq!(checked(&looked.journal_db()).problems, []);
    append(&mut journal, &drafts(ADA, 4, 4));
}

// Refusals.

#[test]
fn a_file_that_is_not_a_journal_is_refused() {
    let dir = folder();
    let path = dir.path().join("journal.db");
    fs::write(&path, "x".repeat(10_000)).expect("written");
    assert!(SqliteJournal::open(&path, Durability::PowerCut).is_err());
    assert!(SqliteReader::open(&path).is_err());
    assert!(SqliteJournal::create(&path, Durability::PowerCut, identity()).is_err());

    fs::remove_file(&path).expect("removed");
    Connection::open(&path).expect("opens").execute_batch("CREATE TABLE other(x)").expect("created");
    assert!(SqliteJournal::open(&path, Durability::PowerCut).is_err());

    assert!(SqliteReader::open(dir.path().join("missing.db")).is_err());
    assert!(!dir.path().join("missing.db").exists());
}

#[test]
fn a_journal_of_a_newer_format_is_refused() {
    let dir = folder();
    let path = dir.path().join("journal.db");
    drop(open(&path));
    let raw = Connection::open(&path).expect("opens");
    raw.execute("UPDATE meta SET value = ?1 WHERE key = 'format'", [&[2, 0, 0, 0, 0, 0, 0, 0][..]])
        .expect("updated");
    let refused = SqliteJournal::open(&path, Durability::PowerCut).expect_err("is newer").to_string();
    assert!(refused.ends_with("made by a newer vang: format 2; this program reads 1"), "{refused}");
}

#[test]
fn nothing_is_appended_to_a_journal_that_lost_its_end() {
    let dir = folder();
    let path = dir.path().join("journal.db");
    let mut journal = open(&path);
    append(&mut journal, &drafts(ADA, 1, 5));
    let raw = Connection::open(&path).expect("opens");
    raw.execute("DELETE FROM entry WHERE seq > 3", []).expect("deleted");
    let refused = journal.append(&drafts(ADA, 6, 6));
    assert!(matches!(refused, Appended::NotAppended(JournalError::Damaged { seq: 5, .. })), "{refused:?}");
    assert!(matches!(journal.settle(), Err(JournalError::Damaged { seq: 5, .. })));
}

// Damage.

#[test]
fn a_whole_journal_has_no_problems() {
    let dir = folder();
    let path = dir.path().join("journal.db");
    closed_journal(&path);
    let mut heard = Vec::new();
    let mut reader = SqliteReader::open(&path).expect("opens");
    let report = check(&mut reader, &mut |done, end| heard.push((done, end)));
    assert_eq!(report.problems, []);
    assert_eq!((report.entries, report.erased), (60, 1));
    assert_eq!(report.end_chain.0, reader.sealed(Seq(59), 1).expect("readable")[0].chain);
    assert_eq!(heard, [(60, 60)]);
}

#[test]
fn the_damaged_entry_is_named() {
    for (sql, expected) in [
        (
            "UPDATE entry SET envelope = (SELECT envelope FROM entry WHERE seq = 56) WHERE seq = 57",
            vec![
                "entry 57: the envelope does not match the chain",
                "entry 57: the payload does not match its digest",
            ],
        ),
        (
            "UPDATE entry SET chain = zeroblob(32) WHERE seq = 57",
            vec!["entry 57: the envelope does not match the chain"],
        ),
        ("UPDATE entry SET chain = zeroblob(31) WHERE seq = 57", vec!["entry 57: the chain is not 32 bytes"]),
        (
            "UPDATE entry SET payload = zeroblob(9) WHERE seq = 57",
            vec!["entry 57: the payload does not match its digest"],
        ),
        (
            "UPDATE entry SET salt = zeroblob(16) WHERE seq = 57",
            vec!["entry 57: the payload does not match its digest"],
        ),
        ("UPDATE entry SET salt = NULL WHERE seq = 57", vec!["entry 57: the salt is not 16 bytes"]),
        ("UPDATE entry SET payload = NULL WHERE seq = 57", vec!["entry 57: the payload is not bytes"]),
        ("DELETE FROM entry WHERE seq = 58", vec!["entry 58 is missing"]),
        ("DELETE FROM entry WHERE seq IN (1, 2)", vec!["entry 1 is missing", "entry 2 is missing"]),
        ("UPDATE entry SET seq = 62 WHERE seq = 60", vec!["entry 60 is missing", "entry 61 is missing"]),
        ("UPDATE entry SET seq = -5 WHERE seq = 60", vec!["1 rows lie before entry 1"]),
        ("UPDATE checkpoint SET seq = 99", vec!["the stored hash of the state at 99 belongs to no entry"]),
        ("UPDATE checkpoint SET state = x''", vec!["the stored hash of the state at 32 is not 32 bytes"]),
        (
            "UPDATE meta SET value = zeroblob(16) WHERE key = 'id'",
            vec!["entry 1: the envelope does not match the chain"],
        ),
    ] {
        let dir = folder();
        let path = dir.path().join("journal.db");
        closed_journal(&path);
        let raw = Connection::open(&path).expect("opens");
        raw.execute_batch(sql).expect(sql);
        drop(raw);
        assert_eq!(problems(&checked(&path)), expected, "{sql}");
    }
}

#[test]
fn a_problem_list_stays_short() {
    let dir = folder();
    let path = dir.path().join("journal.db");
    closed_journal(&path);
    let raw = Connection::open(&path).expect("opens");
    raw.execute_batch(&format!("UPDATE entry SET seq = {} WHERE seq = 60", i64::MAX)).expect("updated");
    drop(raw);
    let report = checked(&path);
    assert_eq!(report.problems.len(), 101);
    assert!(report.problems[100].what.starts_with("and 9223372036854775"), "{}", report.problems[100]);
}

/// Everything except the hashes of the state, which only a replay can check.
type Content = ([u8; 16], [u8; 32], Vec<Entry>, Vec<Sealed>);

fn content(path: &Path) -> Result<Content, JournalError> {
    let mut reader = SqliteReader::open(path)?;
    let identity = reader.identity();
    let entries = Entry::all(reader.read(Seq(0), 1_000, usize::MAX)?)?;
    Ok((identity.id, identity.key, entries, reader.sealed(Seq(0), 1_000)?))
}

/// `VANG_FLIP_ALL=1` flips every byte of the file.
#[test]
fn a_flipped_byte_changes_nothing_or_is_detected() {
    let dir = folder();
    let path = dir.path().join("journal.db");
    closed_journal(&path);
    let bytes = fs::read(&path).expect("readable");
    let whole = content(&path).expect("readable");
    let all = std::env::var_os("VANG_FLIP_ALL").is_some_and(|value| value == "1");
    let stride = if all { 1 } else { 61 };
    let flipped = dir.path().join("flipped.db");
    let mut found = 0;
    for at in (0..100).chain((100..bytes.len()).step_by(stride)) {
        let mut changed = bytes.clone();
        changed[at] ^= [0xff, 0x01, 0x80][at % 3];
        for end in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(beside(&flipped, end));
        }
        fs::write(&flipped, &changed).expect("written");
        let reported = SqliteReader::open(&flipped)
            .map_or(1, |mut reader| check(&mut reader, &mut |_, _| {}).problems.len());
        if reported == 0 {
            assert_eq!(content(&flipped).expect("nothing was reported"), whole, "byte {at}");
        } else {
            found += 1;
        }
    }
    assert!(found > 500, "only {found} were found");
}

#[test]
fn a_flipped_byte_of_a_payload_names_its_entry() {
    let dir = folder();
    let path = dir.path().join("journal.db");
    closed_journal(&path);
    let bytes = fs::read(&path).expect("readable");
    let known = b"known text 57 ";
    let start = bytes.windows(known.len()).position(|window| window == known).expect("is in the file");
    for at in start..start + known.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).expect("written");
        let report = checked(&path);
        assert_eq!(problems(&report), ["entry 57: the payload does not match its digest"]);
        assert_eq!(report.problems[0].seq, Some(Seq(57)));
    }
}

#[test]
fn a_lost_page_does_not_hide_later_entries() {
    let dir = folder();
    let path = dir.path().join("journal.db");
    let mut journal = open(&path);
    append(&mut journal, &drafts(ADA, 1, 400));
    drop(journal);
    let bytes = fs::read(&path).expect("readable");
    let known = b"text 200";
    let at = bytes.windows(known.len()).position(|window| window == known).expect("is in the file");
    let page = at / 4_096 * 4_096;
    let mut changed = bytes.clone();
    changed[page..page + 4_096].fill(0xaa);
    fs::write(&path, &changed).expect("written");

    let report = checked(&path);
    let named: Vec<u64> = report.problems.iter().filter_map(|problem| Some(problem.seq?.0)).collect();
    assert!(named.contains(&200) && named.len() < 30, "{report:?}");
    assert!(named.windows(2).all(|pair| pair[1] == pair[0] + 1), "{named:?}");
    assert_eq!(report.entries + named.len() as u64, 400);
    let what = &report.problems[0].what;
    assert!(what.starts_with(&format!("entry {}: cannot be read", named[0])), "{what}");

    let mut reader = SqliteReader::open(&path).expect("opens");
    let read = reader.read(Seq(0), 1_000, usize::MAX).expect("readable");
    let lost: Vec<u64> = read.iter().filter_map(|checked| Some(checked.as_ref().err()?.seq.0)).collect();
    // The next entry follows a lost one: nothing proves it.
    assert_eq!((read.len(), &lost[..lost.len() - 1]), (400, &named[..]));
    assert_eq!(whole(reader.read(Seq(300), 1_000, usize::MAX)).len(), 100);
}

// Erasure.

#[test]
fn erased_bytes_are_nowhere_in_the_files() {
    let dir = folder();
    let path = dir.path().join("journal.db");
    let mut journal = open(&path);
    let mut reader = journal.reader().expect("opens");
    let text = |counter: u64| {
        // Of all sizes: within a page, in its overflow, in many pages.
        let len = [3, 40, 300, 1_500, 3_900, 5_000, 20_000][(counter * 7 / 3 % 7) as usize];
        format!("secret-{counter:04}-").repeat(len / 12 + 1)
    };
    for round in 0..20 {
        let counters = round * 15 + 1..=round * 15 + 15;
        append(&mut journal, &batch(counters.map(|counter| draft(ADA, counter, &text(counter)))));
    }
    whole(reader.read(Seq(0), 1_000, usize::MAX));
    let in_files = || -> Vec<u8> {
        ["", "-wal", "-shm"].iter().flat_map(|end| fs::read(beside(&path, end)).unwrap_or_default()).collect()
    };
    // In an order that erases neighbours at different times.
    let order: Vec<u64> = (0..300).map(|i| 1 + i * 77 % 300).collect();
    for (step, some) in order.chunks(25).enumerate() {
        let seqs: Vec<Seq> = some.iter().map(|counter| Seq(*counter)).collect();
        journal.erase(&seqs).expect("erases");
        append(&mut journal, &drafts(ADA, 1_000 + step as u64, 1_000 + step as u64));
        let files = in_files();
        for gone in &order[..(step + 1) * 25] {
            let known = format!("secret-{gone:04}");
            let there = files.windows(known.len()).any(|window| window == known.as_bytes());
            assert!(!there, "{known} is still there after step {step}");
        }
    }
    assert_eq!(checked(&path).problems, []);
}

#[test]
fn an_erasure_blocked_by_a_reader_succeeds_when_repeated() {
    let dir = folder();
    let path = dir.path().join("journal.db");
    let mut journal = open(&path);
    append(&mut journal, &drafts(ADA, 1, 3));
    let raw = Connection::open(&path).expect("opens");
    raw.execute_batch("BEGIN; SELECT count(*) FROM entry").expect("reads");
    let held = journal.erase(&[Seq(2)]).expect_err("is held up").to_string();
    assert!(held.contains("WAL"), "{held}");
    raw.execute_batch("COMMIT").expect("ends");
    journal.erase(&[Seq(2)]).expect("erases");
    assert_eq!(journal.deferred_bytes(), 0);
}

#[test]
fn an_idle_journal_has_no_wal() {
    let dir = folder();
    let mut journal = open(&dir.path().join("journal.db"));
    append(&mut journal, &drafts(ADA, 1, 100));
    assert!(journal.deferred_bytes() > 0);
    journal.idle().expect("truncates");
    assert_eq!(journal.deferred_bytes(), 0);
    assert_eq!(append(&mut journal, &drafts(ADA, 101, 101)), Seq(101));
}

// Commits that failed after they had reached the WAL.

/// A journal with entry 1, and a complete but unseen commit of entry 2 in its WAL.
fn with_unseen_frames(dir: &Path) -> (PathBuf, Connection) {
    let (made, path) = (dir.join("made.db"), dir.join("journal.db"));
    let mut journal = open(&made);
    let hold = Connection::open(&made).expect("opens");
    append(&mut journal, &drafts(ADA, 1, 1));
    let database = fs::read(&made).expect("readable");
    let before = fs::read(beside(&made, "-wal")).expect("readable");
    append(&mut journal, &drafts(ADA, 2, 2));
    let after = fs::read(beside(&made, "-wal")).expect("readable");
    assert!(after.starts_with(&before[..]) && after.len() > before.len());
    drop((journal, hold));

    fs::write(&path, database).expect("written");
    fs::write(beside(&path, "-wal"), before).expect("written");
    let raw = Connection::open(&path).expect("opens");
    let seen: i64 = raw.query_row("SELECT max(seq) FROM entry", [], |row| row.get(0)).expect("readable");
    assert_eq!(seen, 1);
    fs::write(beside(&path, "-wal"), after).expect("written");
    (path, raw)
}

/// Copies the files as a power cut would leave them, and opens the copy.
fn after_crash(path: &Path) -> Vec<u64> {
    let copy = path.with_file_name("copy.db");
    for end in ["", "-wal"] {
        if beside(path, end).exists() {
            fs::copy(beside(path, end), beside(&copy, end)).expect("copied");
        }
    }
    let mut reader = open(&copy).reader().expect("opens");
    origins(&mut *reader).into_iter().map(|(_, counter)| counter).collect()
}

#[test]
fn unseen_frames_come_back_until_settled() {
    let dir = folder();
    let (path, _raw) = with_unseen_frames(dir.path());
    assert_eq!(after_crash(&path), [1, 2]);
}

#[test]
fn settled_unseen_frames_do_not_come_back_after_a_crash() {
    let dir = folder();
    let (path, _raw) = with_unseen_frames(dir.path());
    let mut journal = open(&path);
    assert_eq!(journal.settle().expect("settles"), Seq(1));
    assert_eq!(after_crash(&path), [1]);
}

#[test]
fn settled_unseen_frames_do_not_come_back_while_a_reader_is_open() {
    let dir = folder();
    let (path, raw) = with_unseen_frames(dir.path());
    raw.execute_batch("BEGIN; SELECT count(*) FROM entry").expect("reads");
    let mut journal = open(&path);
    assert_eq!(journal.settle().expect("settles"), Seq(1));
    assert!(journal.deferred_bytes() > 0);
    assert_eq!(after_crash(&path), [1]);
    assert_eq!(append(&mut journal, &drafts(ADA, 3, 3)), Seq(2));
    assert_eq!(after_crash(&path), [1, 3]);
}

// Separate processes.

/// Runs this binary again as the test `child`, on `path`, through `sh`.
fn as_child(child: &str, path: &Path, through: &str) -> Command {
    let exe = std::env::current_exe().expect("a path");
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{through} exec \"$0\" \"$@\"")])
        .arg(exe)
        .args([child, "--exact", "--nocapture", "--test-threads=1"])
        .env("VANG_CHILD", path);
    command
}

/// The child's path; `None` in an ordinary run.
fn child_path() -> Option<PathBuf> {
    std::env::var_os("VANG_CHILD").map(PathBuf::from)
}

#[test]
fn child_appends_until_it_is_killed() {
    let Some(path) = child_path() else { return };
    let mut journal = open(&path);
    for round in 0.. {
        append(&mut journal, &drafts(ADA, round * 5 + 1, round * 5 + 5));
        println!("\nacknowledged {}", round * 5 + 5);
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    for round in 1..=5 {
        let dir = folder();
        let path = dir.path().join("journal.db");
        let mut child = as_child("child_appends_until_it_is_killed", &path, "")
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut acknowledged = 0;
        let mut killed = false;
        for line in lines {
            let line = line.expect("text");
            if let Some(counter) = line.strip_prefix("acknowledged ") {
                acknowledged = counter.parse().expect("a number");
            }
            if acknowledged >= round * 200 && !killed {
                child.kill().expect("killed");
                killed = true;
            }
        }
        child.wait().expect("ended");
        assert!(killed, "it ended by itself");
        let mut journal = open(&path);
        let found = origins(&mut *journal.reader().expect("opens"));
        let end = found.len() as u64;
        assert!(end >= acknowledged, "{end} of {acknowledged}");
        assert_eq!(end % 5, 0, "a part of a batch");
        assert_eq!(found, (1..=end).map(|counter| (ADA, counter)).collect::<Vec<_>>());
        assert_eq!(checked(&path).problems, []);
        assert_eq!(append(&mut journal, &drafts(ADA, end + 1, end + 1)), Seq(end + 1));
    }
}

/// Appends until the disk is full, makes space, and continues; every reported outcome is true.
fn fill_and_recover(path: &Path, make_room: impl FnOnce()) {
    let mut journal = open(path);
    let mut reader = journal.reader().expect("opens");
    let text = "x".repeat(3_000);
    let next = |counter: u64| batch([draft(ADA, counter, &text)]);
    let (mut there, mut doubtful) = (Vec::new(), None);
    let (mut refused, mut doubts, mut unsettled) = (0, 0, 0);
    let mut counter = 0;
    while refused < 20 {
        counter += 1;
        assert!(counter < 10_000, "it never gets full");
        match journal.append(&next(counter)) {
            Appended::Appended { first } => {
                there.push(counter);
                assert_eq!(first.0, there.len() as u64);
            }
            Appended::NotAppended(fault) => {
                assert!(matches!(fault, JournalError::Full(_)), "{fault:?}");
                refused += 1;
            }
            Appended::Unknown(fault) => {
                assert!(matches!(fault, JournalError::Full(_)), "{fault:?}");
                doubtful = Some(counter);
                refused += 1;
                doubts += 1;
            }
        }
        if let Some(counter) = doubtful {
            match journal.settle() {
                Ok(end) => {
                    settled(&mut there, counter, end);
                    doubtful = None;
                }
                Err(fault) => {
                    assert!(matches!(fault, JournalError::Full(_)), "{fault:?}");
                    unsettled += 1;
                }
            }
        }
        // Reading still works.
        assert!(reader.end().expect("readable").0 >= there.len() as u64);
        whole(reader.read(Seq(0), 10, usize::MAX));
    }
    make_room();
    if let Some(counter) = doubtful {
        settled(&mut there, counter, journal.settle().expect("heals"));
    }
    for counter in counter + 1..=counter + 20 {
        append(&mut journal, &next(counter));
        there.push(counter);
    }
    drop((journal, reader));
    let found = origins(&mut *open(path).reader().expect("opens"));
    assert_eq!(found.into_iter().map(|(_, counter)| counter).collect::<Vec<_>>(), there);
    assert_eq!(checked(path).problems, []);
    println!("\nhealed: {refused} refused, {doubts} in doubt, {unsettled} times not settled");
}

fn settled(there: &mut Vec<u64>, doubtful: u64, end: Seq) {
    if end.0 == there.len() as u64 + 1 {
        there.push(doubtful);
    }
    assert_eq!(end.0, there.len() as u64);
}

#[test]
fn child_reaches_the_limit_of_a_file() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let Some(path) = child_path() else { return };
    let limit = |current| setrlimit(Resource::Fsize, Rlimit { current, maximum: None }).expect("set");
    limit(Some(1_500_000));
    fill_and_recover(&path, || limit(None));
}

#[test]
fn a_file_size_limit_is_a_full_disk_and_recovers() {
    let dir = folder();
    let path = dir.path().join("journal.db");
    // As in the server: otherwise the kernel ends the process.
    let child = as_child("child_reaches_the_limit_of_a_file", &path, "trap '' XFSZ;").output().expect("runs");
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("healed"), "{output}{:?}", child.stderr);
}

#[test]
fn child_fills_the_disk() {
    let Some(path) = child_path() else { return };
    let ballast = path.with_file_name("ballast");
    fs::write(&ballast, vec![1; 1_000_000]).expect("written");
    fill_and_recover(&path, || fs::remove_file(&ballast).expect("removed"));
}

/// On a file system of 3 MB in a separate namespace; skipped where the kernel forbids it.
#[test]
fn a_full_disk_is_reported_and_recovers() {
    let dir = folder();
    let path = dir.path().join("journal.db");
    let possible = Command::new("unshare").args(["-rm", "true"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return;
    }
    let exe = std::env::current_exe().expect("a path");
    let child = Command::new("unshare")
        .args([
            "-rm",
            "sh",
            "-c",
            "mount -t tmpfs -o size=3m none \"$1\" && exec \"$0\" child_fills_the_disk --exact --nocapture",
        ])
        .args([&exe, dir.path()])
        .env("VANG_CHILD", &path)
        .output()
        .expect("runs");
    let output = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && output.contains("healed"), "{output}{errors}");
}
