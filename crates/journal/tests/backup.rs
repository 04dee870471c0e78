//! What a backup promises: it has everything up to its start, blocks nobody, and proves its completeness.

mod common;

use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use common::{ADA, BOB, append, batch, draft, drafts, identity, whole};
use proptest::prelude::*;
use tempfile::TempDir;
use vang_chat::Seq;
use vang_journal::in_sqlite::{SqliteJournal, SqliteReader, check};
use vang_journal::{
    Backup, BackupError, BackupOrigin, BackupReadError, BackupReport, DataFolder, Durability, FolderError,
    Identity, Journal, JournalError, Maintain, MemoryJournal, Reader, RestoreError, Restoring, restore,
    write_backup,
};

fn made() -> BackupOrigin {
    BackupOrigin { time: 1_700_000_000_000, by: "vang/test".to_owned() }
}

fn backup(reader: &mut dyn Reader, identity: &Identity) -> (Vec<u8>, BackupReport) {
    let mut bytes = Vec::new();
    let report =
        write_backup(reader, identity, (&made(), None), &mut bytes, &mut |_, _| {}).expect("backed up");
    assert_eq!(report.bytes, bytes.len() as u64);
    (bytes, report)
}

/// A restored journal in a temporary folder.
struct Restored {
    folder: TempDir,
    identity: Identity,
}

impl Restored {
    fn of(bytes: &[u8]) -> Result<Restored, RestoreError> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut backup = Backup::open(bytes)?;
        let identity = restore(&mut backup, &folder.path().join("journal.db"), &mut |_, _| {})?;
        Ok(Restored { folder, identity })
    }

    fn reader(&self) -> SqliteReader {
        SqliteReader::open(self.folder.path().join("journal.db")).expect("opens")
    }
}

/// The content of a whole journal.
fn content(reader: &mut dyn Reader) -> impl PartialEq + std::fmt::Debug {
    let entries = whole(reader.read(Seq(0), usize::MAX, usize::MAX));
    let sealed = reader.sealed(Seq(0), usize::MAX).expect("readable");
    (entries, sealed, reader.checkpoints(Seq(0), usize::MAX).expect("readable"))
}

/// A journal with every third entry erased.
fn some_journal(entries: u64) -> MemoryJournal {
    let mut journal = MemoryJournal::new(identity());
    let mut all = drafts(ADA, 1, entries);
    all.checkpoints = (1..=entries / 2).map(|half| (Seq(half * 2), [half as u8; 32])).collect();
    append(&mut journal, &all);
    let every_third: Vec<Seq> = (1..=entries / 3).map(|third| Seq(third * 3)).collect();
    journal.erase(&every_third).expect("never fails");
    journal
}

/// Reads an invalid backup to its end, as `restore` does.
fn refused(bytes: &[u8]) -> BackupReadError {
    let read_all = || -> Result<(), BackupReadError> {
        let mut backup = Backup::open(bytes)?;
        while backup.next()?.is_some() {}
        Ok(())
    };
    read_all().expect_err("taken for a whole backup")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_restored_journal_has_everything_under_a_new_id(
        lengths in prop::collection::vec(prop_oneof![0..200_usize, 0..200_usize, 100_000..300_000_usize], 0..700),
        erased in prop::collection::btree_set(1..700_u64, 0..50),
        checkpoints in prop::collection::btree_map(1..700_u64, any::<[u8; 32]>(), 0..50),
    ) {
        let mut journal = MemoryJournal::new(identity());
        let mut left = 4 << 20;
        let all = (1..).zip(lengths).map(|(counter, len)| {
            let len = len.min(left);
            left -= len;
            draft(ADA, counter, &"x".repeat(len))
        });
        let mut all = batch(all);
        let end = all.drafts.len() as u64;
        all.checkpoints = checkpoints.into_iter().map(|(seq, hash)| (Seq(seq), hash)).collect();
        all.checkpoints.retain(|(seq, _)| seq.0 <= end);
        append(&mut journal, &all);
        let erased: Vec<Seq> = erased.into_iter().filter(|seq| *seq <= end).map(Seq).collect();
        journal.erase(&erased).expect("never fails");

        let (bytes, report) = backup(&mut journal, &identity());
        prop_assert_eq!((report.end, report.erased), (Seq(end), erased.len() as u64));
        let restored = Restored::of(&bytes).expect("restored");
        prop_assert_ne!(restored.identity.id, identity().id);
        prop_assert_eq!((restored.identity.born, restored.identity.key), (identity().id, identity().key));
        let mut reader = restored.reader();
        prop_assert_eq!(reader.identity(), restored.identity);
        prop_assert_eq!(content(&mut reader), content(&mut journal));
        let checked = check(&mut reader, &mut |_, _| {});
        prop_assert_eq!(&checked.problems, &vec![]);
        prop_assert_eq!((checked.end_chain, checked.erased), (report.chain, report.erased));
    }
}

#[test]
fn a_restored_journal_can_be_written_backed_up_and_restored_again() {
    let (bytes, _) = backup(&mut some_journal(1_000), &identity());
    let first = Restored::of(&bytes).expect("restored");
    let open = |restored: &Restored| {
        SqliteJournal::open(restored.folder.path().join("journal.db"), Durability::default()).expect("opens")
    };
    let mut journal = open(&first);
    assert_eq!(append(&mut journal, &drafts(BOB, 1, 300)), Seq(1_001));
    let mut reader = journal.reader().expect("opens");
    let (bytes, report) = backup(&mut *reader, &first.identity);
    assert_eq!(report.end, Seq(1_300));
    let second = Restored::of(&bytes).expect("restored");
    let ids = [identity().id, first.identity.id, second.identity.id];
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    assert_eq!((second.identity.born, second.identity.key), (identity().id, identity().key));
    assert_eq!(content(&mut second.reader()), content(&mut *reader));
    drop(open(&second));
    assert_eq!(check(&mut second.reader(), &mut |_, _| {}).problems, []);
}

#[test]
fn an_empty_journal_can_be_backed_up() {
    let (bytes, report) = backup(&mut MemoryJournal::new(identity()), &identity());
    assert_eq!(report.end, Seq(0));
    assert_eq!(Restored::of(&bytes).expect("restored").reader().end().expect("readable"), Seq(0));
}

#[test]
fn a_backup_that_is_cut_anywhere_is_detected() {
    let (bytes, _) = backup(&mut some_journal(12), &identity());
    for len in 0..bytes.len() {
        let bad = refused(&bytes[..len]);
        match len {
            0..12 => assert!(matches!(bad, BackupReadError::Foreign(_)), "cut at {len}: {bad}"),
            _ => {
                let BackupReadError::Cut { bytes, .. } = bad else { panic!("cut at {len}: {bad}") };
                assert_eq!(bytes, len as u64);
            }
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_detected() {
    let (whole, _) = backup(&mut some_journal(12), &identity());
    for at in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        refused(&bytes);
    }
}

#[test]
fn lost_or_inserted_bytes_are_detected() {
    let (whole, _) = backup(&mut some_journal(12), &identity());
    for at in 0..whole.len() {
        let (before, after) = whole.split_at(at);
        refused(&[before, &after[1..]].concat());
        refused(&[before, &[0x5a], after].concat());
    }
    for after in [&[0][..], &whole] {
        let bad = refused(&[&whole, after].concat());
        assert!(bad.to_string().ends_with("there is data after its end"), "{bad}");
    }
}

/// The first line and the blocks, each with its length and its seal.
fn blocks(bytes: &[u8]) -> Vec<&[u8]> {
    let (line, mut rest) = bytes.split_at(b"vang backup 1\n".len());
    let mut blocks = vec![line];
    while let Some(length) = rest.first_chunk::<4>() {
        let (block, after) = rest.split_at(4 + u32::from_be_bytes(*length) as usize + 16);
        blocks.push(block);
        rest = after;
    }
    blocks
}

#[test]
fn missing_moved_or_foreign_blocks_are_detected() {
    let (one, _) = backup(&mut some_journal(2_000), &identity());
    let (other, _) = backup(&mut some_journal(1_999), &identity());
    let (one, other) = (blocks(&one), blocks(&other));
    assert!(one.len() > 9 && one.len() == other.len());
    assert!(Restored::of(&one.concat()).is_ok());
    for at in 1..one.len() {
        let mut without = one.clone();
        without.remove(at);
        refused(&without.concat());
        if at > 1 {
            refused(&[&one[..at], &other[at..]].concat().concat());
        }
        let mut replaced = one.clone();
        replaced[at] = other[at];
        refused(&replaced.concat());
        let mut moved = one.clone();
        moved.swap(at, 1 + at % (one.len() - 1));
        refused(&moved.concat());
    }
}

#[test]
fn other_kinds_of_files_are_named() {
    for (bytes, expected) in [
        (&b""[..], "it is not a vang backup: it is empty"),
        (b"SQLite format 3\0 and so on", "it is not a vang backup: it is a SQLite database; "),
        (b"\x1f\x8b\x08 and so on", "it is not a vang backup: it is compressed; try `gunzip -c FILE | "),
        (b"age-encryption.org/v1\n", "it is not a vang backup: it is encrypted; try `age -d FILE | "),
        (b"hello, this is a letter", "it is not a vang backup: its first bytes are unknown"),
        (b"vang backup 3\n", "it was made by a newer vang: backup format 3; this program reads 1 to 2"),
        (b"vang backup 02\n", "it is not a vang backup: its first line is damaged"),
        (b"vang backup 2\n", "it is incomplete: it ends after 14 bytes, with entry 0 of 0"),
        (b"vang backup one\n", "it is not a vang backup: its first line is damaged"),
        (b"vang backup 1\n", "it is incomplete: it ends after 14 bytes, with entry 0 of 0"),
        (
            b"vang backup 1\n\xff\xff\xff\xff",
            "it is damaged: between byte 14 and byte 18, a block of 4294967295 bytes exceeds the limit",
        ),
        (b"vang backup 1\n\x03\xff\xff\xff[]", "it is incomplete: it ends after 20 bytes, with entry 0 of 0"),
    ] {
        let said = refused(bytes).to_string();
        assert!(said.starts_with(expected), "{said}");
    }
}

fn sqlite(folder: &Path) -> SqliteJournal {
    SqliteJournal::create(folder.join("journal.db"), Durability::default(), identity()).expect("made")
}

#[test]
fn a_damaged_journal_is_not_backed_up_and_the_entry_is_named() {
    for (damage, expected) in [
        (
            "UPDATE entry SET payload = zeroblob(9) WHERE seq = 700",
            "entry 700 of the journal is damaged: the payload does not match its digest",
        ),
        (
            "UPDATE entry SET envelope = (SELECT envelope FROM entry WHERE seq = 9) WHERE seq = 600",
            "entry 600 of the journal is damaged: the envelope does not match the chain",
        ),
        ("DELETE FROM entry WHERE seq = 513", "entry 513 of the journal is damaged: it is missing"),
        ("DELETE FROM entry WHERE seq = 300", "entry 300 of the journal is damaged: it is missing"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut journal = sqlite(folder.path());
        append(&mut journal, &drafts(ADA, 1, 1_000));
        let other = rusqlite::Connection::open(folder.path().join("journal.db")).expect("opens");
        assert_eq!(other.execute(damage, []).expect("a fault to make"), 1);
        let mut reader = journal.reader().expect("opens");
        let mut bytes = Vec::new();
        let outcome = write_backup(&mut *reader, &identity(), (&made(), None), &mut bytes, &mut |_, _| {});
        let Err(BackupError::Journal(fault)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(fault.to_string(), expected);
        let restored = Restored::of(&bytes).map(drop);
        assert!(matches!(restored, Err(RestoreError::Backup(BackupReadError::Cut { .. }))), "{restored:?}");
    }
}

/// A writer that calls a function for each write.
struct Meanwhile<F>(Vec<u8>, F);

impl<F: FnMut()> Write for Meanwhile<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.1)();
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_backup_blocks_neither_writer_nor_wal_and_has_the_state_at_its_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut journal = sqlite(folder.path());
    append(&mut journal, &drafts(ADA, 1, 2_000));
    let mut reader = journal.reader().expect("opens");
    let mut written = 0;
    let mut out = Meanwhile(Vec::new(), || {
        written += 1;
        let mut more = batch([draft(BOB, written, &"y".repeat(50_000))]);
        more.checkpoints = (written < 9).then_some((Seq(2_000 + written), [9; 32])).into_iter().collect();
        append(&mut journal, &more);
        journal.idle().expect("nobody reads between two blocks");
        assert_eq!(journal.deferred_bytes(), 0, "the WAL can be truncated at any time");
    });
    let report = write_backup(&mut *reader, &identity(), (&made(), None), &mut out, &mut |_, _| {})
        .expect("backed up");
    let bytes = out.0;
    assert!(written > 20, "{written} writes in between");
    assert_eq!(report.end, Seq(2_000));
    let restored = Restored::of(&bytes).expect("restored");
    let now = whole(journal.reader().expect("opens").read(Seq(0), 2_000, usize::MAX));
    assert_eq!(whole(restored.reader().read(Seq(0), usize::MAX, usize::MAX)), now);
}

#[test]
fn an_erasure_during_a_backup_leaves_the_rest_whole() {
    let mut journal = MemoryJournal::new(identity());
    append(&mut journal, &drafts(ADA, 1, 1_000));
    let (mut writer, mut at) = (journal.clone(), 0);
    let mut out = Meanwhile(Vec::new(), || {
        at += 60;
        writer.erase(&[Seq(at % 1_000 + 1)]).expect("never fails");
    });
    let report = write_backup(&mut journal, &identity(), (&made(), None), &mut out, &mut |_, _| {})
        .expect("backed up");
    assert!(report.erased > 0);
    let checked = check(&mut Restored::of(&out.0).expect("restored").reader(), &mut |_, _| {});
    assert_eq!((checked.problems, checked.erased), (vec![], report.erased));
}

#[test]
fn a_write_error_says_how_many_bytes_were_written() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let some = bytes.len().min(self.0);
            self.0 -= some;
            if some == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(some) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut journal = some_journal(1_000);
    let outcome = write_backup(&mut journal, &identity(), (&made(), None), &mut Full(60_000), &mut |_, _| {});
    let Err(BackupError::Write { bytes, source }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    assert!((1..=60_000).contains(&bytes), "{bytes}");
}

#[test]
fn an_existing_file_is_not_overwritten() {
    let (bytes, _) = backup(&mut some_journal(10), &identity());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.db");
    std::fs::write(&path, "precious").expect("written");
    let outcome = restore(&mut Backup::open(&bytes[..]).expect("opens"), &path, &mut |_, _| {});
    assert!(matches!(outcome, Err(RestoreError::Journal(JournalError::Unavailable(_)))), "{outcome:?}");
    assert_eq!(std::fs::read(&path).expect("readable"), Bytes::from("precious"));
}

// The folder that a restore fills.

fn names_in(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").file_name());
    let mut names: Vec<_> = files.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn no_program_opens_a_folder_before_its_restore_is_finished() {
    let (bytes, _) = backup(&mut some_journal(100), &identity());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("new");
    let restoring = Restoring::begin(&path).expect("begins");
    restore(&mut Backup::open(&bytes[..]).expect("opens"), &restoring.journal_db(), &mut |_, _| {})
        .expect("restored");
    assert!(matches!(DataFolder::look(&path), Err(FolderError::Unfinished { .. })));
    assert!(matches!(DataFolder::open(&path), Err(FolderError::Held { .. })));
    assert!(matches!(Restoring::begin(&path), Err(FolderError::Held { .. })));
    restoring.finish().expect("finished");
    assert!(matches!(Restoring::begin(&path), Err(FolderError::HoldsJournal { .. })));
    let opened = DataFolder::open(&path).expect("opens");
    let journal = SqliteJournal::open(opened.journal_db(), Durability::default()).expect("opens");
    assert_eq!(journal.reader().expect("opens").end().expect("readable"), Seq(100));
}

#[test]
fn a_failed_restore_removes_only_what_it_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let new = folder.path().join("new");
    let restoring = Restoring::begin(&new).expect("begins");
    std::fs::write(restoring.journal_db(), "half a journal").expect("written");
    drop(restoring);
    assert!(!new.exists());
    std::fs::create_dir(&new).expect("made");
    let restoring = Restoring::begin(&new).expect("begins");
    std::fs::write(new.join("mine"), "precious").expect("written");
    std::fs::write(restoring.journal_db(), "half a journal").expect("written");
    drop(restoring);
    assert_eq!(names_in(&new), ["lock", "mine"]);
    std::fs::remove_file(new.join("lock")).expect("removed");
    assert!(matches!(Restoring::begin(&new), Err(FolderError::NotOurs { .. })));
    assert_eq!(names_in(&new), ["mine"]);
}

#[test]
fn a_killed_restore_is_overwritten_but_a_lone_wal_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    std::fs::write(path.join("format"), "restoring\n").expect("written");
    for name in ["journal.db", "journal.db-wal", "view.db", "view.db-shm"] {
        std::fs::write(path.join(name), "half of something").expect("written");
    }
    assert!(matches!(DataFolder::open(path), Err(FolderError::Unfinished { .. })));
    let restoring = Restoring::begin(path).expect("begins");
    assert_eq!(names_in(path), ["format", "lock", "view.db"]);
    drop(restoring);
    // The WAL can have the newest entries, so a person should look first.
    std::fs::write(path.join("journal.db-wal"), "the newest entries").expect("written");
    assert!(matches!(Restoring::begin(path), Err(FolderError::HoldsJournal { .. })));
    assert_eq!(names_in(path), ["journal.db-wal", "lock"]);
    // A newer program's files are not touched.
    std::fs::remove_file(path.join("journal.db-wal")).expect("removed");
    std::fs::write(path.join("format"), "2\n").expect("written");
    assert!(matches!(Restoring::begin(path), Err(FolderError::Newer { .. })));
}
