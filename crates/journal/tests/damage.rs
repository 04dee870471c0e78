//! One flipped bit: a reader gets the written content, or a damage. No changed content is returned, no entry is
//! called erased that is not, and neighbours are intact.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use common::{ADA, append, batch, draft, identity, whole};
use tempfile::TempDir;
use vang_chat::Seq;
use vang_journal::in_sqlite::{JournalFile, SqliteJournal, SqliteReader};
use vang_journal::{Checked, Damages, Draft, Durability, Entry, Journal, Reader, Store};

const ENTRIES: u64 = 60;
const ERASED: Seq = Seq(40);

/// One payload has several pages, the others a line.
fn sample(counter: u64) -> Draft {
    draft(ADA, counter, &format!("text {counter} ").repeat(if counter == 25 { 900 } else { 3 }))
}

/// A closed journal, its content, and its file's bytes.
struct Scene {
    _folder: TempDir,
    path: PathBuf,
    file: File,
    good: Vec<u8>,
    entries: Vec<Entry>,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.db");
        let mut journal = SqliteJournal::create(&path, Durability::Crash, identity()).expect("creates");
        append(&mut journal, &batch((1..=ENTRIES).map(sample)));
        journal.erase(&[ERASED]).expect("erases");
        drop(journal);
        let entries = whole(SqliteReader::open(&path).expect("opens").read(Seq(0), 100, usize::MAX));
        let file = File::options().write(true).open(&path).expect("opens");
        let good = fs::read(&path).expect("readable");
        Scene { _folder: folder, path, file, good, entries }
    }

    /// The result of every kind of read with this bit flipped; all are equal.
    fn with_flipped(&self, byte: usize, bit: u8) -> Option<Vec<Checked>> {
        self.write(byte, self.good[byte] ^ (1 << bit));
        let read = self.read(&self.path);
        self.write(byte, self.good[byte]);
        read
    }

    fn write(&self, byte: usize, value: u8) {
        self.file.write_all_at(&[value], byte as u64).expect("written");
    }

    /// `None`: the file cannot be opened at all.
    fn read(&self, path: &Path) -> Option<Vec<Checked>> {
        let mut reader = SqliteReader::open(path).ok()?;
        let seqs: Vec<Seq> = (1..=ENTRIES).map(Seq).collect();
        let got = reader.get(&seqs, usize::MAX).ok()?;
        assert_eq!(got.len(), seqs.len());
        // One by one, so that no read helps the next.
        for (seq, checked) in seqs.iter().zip(&got).step_by(20) {
            assert_eq!(&reader.get(&[*seq], usize::MAX).expect("readable")[0], checked);
            let envelope = reader.envelope(*seq).expect("readable").ok();
            let known = checked
                .as_ref()
                .map_or_else(|damage| damage.envelope.clone(), |one| Some(one.envelope.clone()));
            assert_eq!(envelope, known);
        }
        if let Ok(read) = reader.read(Seq(0), seqs.len(), usize::MAX) {
            // A number that is too low can hide the last entry.
            assert_eq!(read[..], got[..read.len()], "reading on differs from reading one by one");
        }
        self.skim(&mut reader, &got);
        Some(got)
    }

    /// A skim passes everything, and gives what is whole as it is.
    fn skim(&self, reader: &mut SqliteReader, got: &[Checked]) {
        let (Ok(end), mut last) = (reader.end(), Seq(0)) else { return };
        while last < end.min(Seq(ENTRIES)) {
            let mut take = |seq: Seq, envelope: &[u8], payload: Option<&[u8]>| {
                if let Some(Ok(whole)) = got.get(seq.0 as usize - 1) {
                    assert_eq!(envelope, whole.envelope);
                    assert_eq!(payload, whole.payload.as_ref().map(|payload| &payload.bytes[..]));
                }
            };
            let Ok(passed) = reader.skim(last, 7, usize::MAX, &mut take) else { return };
            assert!(passed > last, "a skim stays at {last}");
            last = passed;
        }
    }

    /// The damaged entries; all others are as written.
    fn damaged(&self, got: &[Checked], what: &str) -> Vec<u64> {
        let mut damaged = Vec::new();
        for (checked, entry) in got.iter().zip(&self.entries) {
            match checked {
                Ok(found) => assert_eq!(found, entry, "{what}"),
                Err(damage) => {
                    assert_eq!(damage.seq, entry.seq, "{what}");
                    assert!(damage.envelope.as_ref().is_none_or(|bytes| *bytes == entry.envelope), "{what}");
                    damaged.push(damage.seq.0);
                }
            }
        }
        damaged
    }
}

#[test]
fn a_flipped_bit_in_a_column_damages_at_most_that_entry() {
    let scene = Scene::new();
    let (mut flips, mut shown) = (0, 0);
    for seq in [1, 7, 25, ERASED.0, ENTRIES] {
        let entry = &scene.entries[seq as usize - 1];
        let window = scene.good.windows(entry.envelope.len());
        let envelope = window.into_iter().position(|bytes| bytes == entry.envelope).expect("is in the file");
        // Before the envelope: the row's length, number and column types; after it: chain, salt, payload.
        let content = entry.payload.as_ref().map_or(0, |payload| 16 + payload.bytes.len().min(200));
        let end = envelope + entry.envelope.len() + 32 + content;
        for byte in envelope - 8..end {
            for bit in [byte % 8, (byte + 3) % 8].map(|bit| bit as u8) {
                let what =
                    format!("entry {seq}, byte {} of its row, bit {bit}", byte as isize - envelope as isize);
                let got = scene.with_flipped(byte, bit).unwrap_or_else(|| panic!("cannot be read: {what}"));
                let damaged = scene.damaged(&got, &what);
                // After an unreadable row nothing proves the next one.
                let most = if byte < envelope { vec![seq, seq + 1] } else { vec![seq] };
                assert!(most.starts_with(&damaged), "{what}: {damaged:?}");
                flips += 1;
                shown += usize::from(damaged.is_empty());
            }
        }
    }
    // A wrong chain or number next to an entry does not hide it.
    assert!(shown > 4 * 32 * 2 && shown < flips / 2, "{shown} of {flips} are shown");
}

#[test]
fn a_flipped_bit_never_shows_wrong_content() {
    let scene = Scene::new();
    let mut found = 0;
    for byte in (0..100).chain((100..scene.good.len()).step_by(37)) {
        let bit = (byte * 7 % 8) as u8;
        if let Some(got) = scene.with_flipped(byte, bit) {
            found += scene.damaged(&got, &format!("byte {byte}, bit {bit}")).len();
        }
    }
    assert!(found > 100, "only {found} were found");
}

#[test]
fn a_damaged_entry_is_reported_once_and_counted() {
    let scene = Scene::new();
    let reports = Arc::new(Mutex::new(Vec::new()));
    let damages = Damages::new({
        let reports = reports.clone();
        move |damage| reports.lock().expect("not poisoned").push(damage.to_string())
    });
    let text = b"text 7 ";
    let at = scene.good.windows(text.len()).position(|bytes| bytes == text).expect("is in the file");
    scene.write(at, b'T');
    let file = JournalFile::new(&scene.path, Arc::new(damages)).expect("is there");
    for _ in 0..2 {
        let mut reader = file.reader().expect("opens");
        reader.read(Seq(0), 100, usize::MAX).expect("readable");
        // Beyond the end nothing can be damaged.
        assert!(reader.get(&[Seq(7), Seq(99)], usize::MAX).expect("readable").iter().all(Result::is_err));
    }
    let reports = reports.lock().expect("not poisoned").clone();
    assert_eq!(reports, ["entry 7 of the journal is damaged: the payload does not match its digest"]);
    assert_eq!((file.damages().count(), file.damages().first(9)), (1, vec![Seq(7)]));
}
