//! The journal's contract, tested on every implementation.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use common::{ADA, BOB, append, batch, draft, drafts, holding, identity, origins, said, whole};
use vang_chat::{Seq, Time};
use vang_journal::in_sqlite::{SqliteJournal, SqliteReader};
use vang_journal::{
    Appended, Batch, Chain, Durability, Envelope, Identity, Journal, JournalError, MemoryJournal, Payload,
    Reader, genesis,
};

macro_rules! journal_contract {
    ($name:ident) => {
        journal_contract! { $name:
            an_empty_journal_ends_at_0,
            entries_have_dense_places_from_1,
            an_acknowledged_entry_survives_reopen,
            a_batch_is_appended_whole,
            a_reader_sees_no_gap,
            a_second_writer_interleaves,
            an_append_that_lands_but_reports_failure_is_settled,
            an_append_that_does_not_land_is_settled_too,
            erased_payloads_leave_the_chain_whole,
            an_empty_payload_is_not_an_erased_one,
            what_is_not_there_cannot_be_erased,
            a_read_keeps_to_its_bounds,
            a_skim_gives_what_a_read_gives,
            entries_are_got_in_the_order_asked,
            checkpoints_are_kept_beside_the_entries,
            a_reader_sees_what_is_appended_after_it_was_opened,
        }
    };
    ($name:ident: $($promise:ident,)*) => {
        mod $name {
            $(
                #[test]
                fn $promise() {
                    crate::promises::$promise::<crate::backends::$name::Backend>();
                }
            )*
        }
    };
}

journal_contract!(memory);
journal_contract!(sqlite);

/// A kind of journal, with any number of handles on one.
trait Backend: Sync {
    type Journal: Journal;
    type Reader: Reader + Send;
    fn new() -> Self;
    fn open(&self) -> Self::Journal;
    fn reader(&self) -> Self::Reader;
}

mod backends {
    pub(crate) mod memory {
        pub(crate) struct Backend(crate::MemoryJournal);

        impl crate::Backend for Backend {
            type Journal = crate::MemoryJournal;
            type Reader = crate::MemoryJournal;

            fn new() -> Self {
                Backend(crate::MemoryJournal::new(crate::identity()))
            }

            fn open(&self) -> Self::Journal {
                self.0.clone()
            }

            fn reader(&self) -> Self::Reader {
                self.0.clone()
            }
        }
    }

    pub(crate) mod sqlite {
        pub(crate) struct Backend(tempfile::TempDir);

        impl crate::Backend for Backend {
            type Journal = crate::SqliteJournal;
            type Reader = crate::SqliteReader;

            fn new() -> Self {
                Backend(tempfile::tempdir().expect("a folder"))
            }

            fn open(&self) -> Self::Journal {
                let path = self.0.path().join("journal.db");
                crate::SqliteJournal::open(path, crate::Durability::PowerCut).expect("opens")
            }

            fn reader(&self) -> Self::Reader {
                drop(self.open());
                crate::SqliteReader::open(self.0.path().join("journal.db")).expect("opens")
            }
        }
    }
}

/// A journal whose next append lands or not and reports `Unknown`.
struct Faulty<J> {
    inner: J,
    next: Option<Lands>,
}

enum Lands {
    Yes,
    No,
}

impl<J: Journal> Journal for Faulty<J> {
    fn identity(&self) -> Identity {
        self.inner.identity()
    }

    fn append(&mut self, batch: &Batch) -> Appended {
        match self.next.take() {
            None => return self.inner.append(batch),
            Some(Lands::Yes) => {
                append(&mut self.inner, batch);
            }
            Some(Lands::No) => {}
        }
        Appended::Unknown(JournalError::Unavailable("the cable was cut".into()))
    }

    fn settle(&mut self) -> Result<Seq, JournalError> {
        self.inner.settle()
    }

    fn erase(&mut self, seqs: &[Seq]) -> Result<(), JournalError> {
        self.inner.erase(seqs)
    }
}

/// Computes the chain again; returns its end.
fn walk_chain(identity: &Identity, reader: &mut dyn Reader) -> Chain {
    let mut chain = genesis(identity);
    let mut after = Seq(0);
    loop {
        let sealed = reader.sealed(after, 10).expect("readable");
        if sealed.is_empty() {
            return chain;
        }
        for entry in sealed {
            assert_eq!(entry.seq, after.next());
            chain = chain.after(&entry.envelope);
            assert_eq!(entry.chain, chain.0, "at {}", entry.seq);
            after = entry.seq;
        }
    }
}

mod promises {
    use super::*;

    pub(crate) fn an_empty_journal_ends_at_0<B: Backend>() {
        let backend = B::new();
        let mut journal = backend.open();
        let mut reader = backend.reader();
        assert_eq!(reader.end().expect("readable"), Seq(0));
        assert_eq!(whole(reader.read(Seq(0), 10, 1_000)), []);
        assert_eq!(reader.sealed(Seq(0), 10).expect("readable"), []);
        assert_eq!(journal.settle().expect("settles"), Seq(0));
    }

    pub(crate) fn entries_have_dense_places_from_1<B: Backend>() {
        let backend = B::new();
        let mut journal = backend.open();
        assert_eq!(append(&mut journal, &drafts(ADA, 1, 3)), Seq(1));
        assert_eq!(append(&mut journal, &drafts(ADA, 4, 4)), Seq(4));
        assert_eq!(append(&mut journal, &Batch::default()), Seq(5));
        assert_eq!(append(&mut journal, &drafts(ADA, 5, 9)), Seq(5));
        let ours: Vec<_> = (1..=9).map(|counter| (ADA, counter)).collect();
        assert_eq!(origins(&mut backend.reader()), ours);
    }

    pub(crate) fn an_acknowledged_entry_survives_reopen<B: Backend>() {
        let backend = B::new();
        let mut journal = backend.open();
        let identity = journal.identity();
        append(&mut journal, &drafts(ADA, 1, 5));
        drop(journal);
        let mut journal = backend.open();
        assert_eq!(journal.identity(), identity);
        assert_eq!(append(&mut journal, &drafts(ADA, 6, 6)), Seq(6));
        let entries = whole(backend.reader().read(Seq(4), 10, 1_000));
        assert_eq!(entries[0].envelope, draft(ADA, 5, "text 5").envelope);
        assert_eq!(entries[0].payload, Some(draft(ADA, 5, "text 5").payload));
        assert_eq!(
            walk_chain(&identity, &mut backend.reader()),
            walk_chain(&identity, &mut backend.reader())
        );
    }

    pub(crate) fn a_batch_is_appended_whole<B: Backend>() {
        let backend = B::new();
        let mut journal = backend.open();
        let mut reader = backend.reader();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(reader.end().expect("readable").0 % 7, 0, "a part of a batch was seen");
                }
            });
            for round in 0..100 {
                append(&mut journal, &drafts(ADA, round * 7 + 1, round * 7 + 7));
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    pub(crate) fn a_reader_sees_no_gap<B: Backend>() {
        let backend = B::new();
        let mut journal = backend.open();
        let mut reader = backend.reader();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut last = Seq(0);
                while last < Seq(500) {
                    for entry in whole(reader.read(last, 16, 1_000)) {
                        assert_eq!(entry.seq, last.next());
                        let origin = Envelope::decode(&entry.envelope).expect("decodes").origin;
                        assert_eq!(origin.counter, entry.seq.0);
                        last = entry.seq;
                    }
                }
            });
            for round in 0..100 {
                append(&mut journal, &drafts(ADA, round * 5 + 1, round * 5 + 5));
            }
        });
    }

    pub(crate) fn a_second_writer_interleaves<B: Backend>() {
        let backend = B::new();
        let (mut ada, mut bob) = (backend.open(), backend.open());
        assert_eq!(append(&mut ada, &drafts(ADA, 1, 2)), Seq(1));
        assert_eq!(append(&mut bob, &drafts(BOB, 1, 3)), Seq(3));
        assert_eq!(append(&mut ada, &drafts(ADA, 3, 3)), Seq(6));
        assert_eq!(append(&mut bob, &drafts(BOB, 4, 4)), Seq(7));
        let found = origins(&mut backend.reader());
        assert_eq!(found, [(ADA, 1), (ADA, 2), (BOB, 1), (BOB, 2), (BOB, 3), (ADA, 3), (BOB, 4)]);
        walk_chain(&ada.identity(), &mut backend.reader());
        assert_eq!(ada.settle().expect("settles"), Seq(7));
    }

    pub(crate) fn an_append_that_lands_but_reports_failure_is_settled<B: Backend>() {
        let backend = B::new();
        let mut bob = backend.open();
        let mut journal = Faulty { inner: backend.open(), next: None };
        append(&mut journal, &drafts(ADA, 1, 2));
        journal.next = Some(Lands::Yes);
        assert!(matches!(journal.append(&drafts(ADA, 3, 4)), Appended::Unknown(_)));
        append(&mut bob, &drafts(BOB, 1, 1));
        assert_eq!(journal.settle().expect("settles"), Seq(5));
        assert_eq!(append(&mut journal, &drafts(ADA, 5, 5)), Seq(6));
        let found = origins(&mut backend.reader());
        assert_eq!(found, [(ADA, 1), (ADA, 2), (ADA, 3), (ADA, 4), (BOB, 1), (ADA, 5)]);
    }

    pub(crate) fn an_append_that_does_not_land_is_settled_too<B: Backend>() {
        let backend = B::new();
        let mut journal = Faulty { inner: backend.open(), next: None };
        append(&mut journal, &drafts(ADA, 1, 2));
        journal.next = Some(Lands::No);
        assert!(matches!(journal.append(&drafts(ADA, 3, 4)), Appended::Unknown(_)));
        assert_eq!(journal.settle().expect("settles"), Seq(2));
        assert_eq!(append(&mut journal, &drafts(ADA, 5, 5)), Seq(3));
        assert_eq!(origins(&mut backend.reader()), [(ADA, 1), (ADA, 2), (ADA, 5)]);
    }

    pub(crate) fn erased_payloads_leave_the_chain_whole<B: Backend>() {
        let backend = B::new();
        let mut journal = backend.open();
        append(&mut journal, &drafts(ADA, 1, 30));
        let before = backend.reader().sealed(Seq(0), 100).expect("readable");
        journal.erase(&[Seq(3), Seq(1), Seq(30)]).expect("erases");
        journal.erase(&[Seq(3)]).expect("erases what is erased");
        append(&mut journal, &drafts(ADA, 31, 31));
        let mut reader = backend.reader();
        walk_chain(&journal.identity(), &mut reader);
        assert_eq!(reader.sealed(Seq(0), 30).expect("readable"), before);
        let entries = whole(reader.read(Seq(0), 100, 1_000_000));
        let erased = entries.iter().filter(|entry| entry.payload.is_none()).map(|entry| entry.seq.0);
        assert_eq!(erased.collect::<Vec<_>>(), [1, 3, 30]);
        assert_eq!(entries[1].payload, Some(draft(ADA, 2, "text 2").payload));
    }

    pub(crate) fn an_empty_payload_is_not_an_erased_one<B: Backend>() {
        let backend = B::new();
        let mut journal = backend.open();
        let payload = Payload { salt: [5; 16], bytes: Bytes::new() };
        append(&mut journal, &batch([holding(ADA, 1, payload.clone())]));
        let entries = whole(backend.reader().read(Seq(0), 1, 0));
        assert_eq!(entries[0].payload, Some(payload));
    }

    pub(crate) fn what_is_not_there_cannot_be_erased<B: Backend>() {
        let backend = B::new();
        let mut journal = backend.open();
        append(&mut journal, &drafts(ADA, 1, 3));
        for missing in [0, 4, u64::MAX] {
            let erased = journal.erase(&[Seq(1), Seq(missing)]);
            assert!(matches!(erased, Err(JournalError::Damaged { seq, .. }) if seq == missing), "{erased:?}");
        }
        let entries = whole(backend.reader().get(&[Seq(1)], usize::MAX));
        assert!(entries[0].payload.is_some(), "all are erased or none");
    }

    pub(crate) fn a_read_keeps_to_its_bounds<B: Backend>() {
        let backend = B::new();
        let mut journal = backend.open();
        let texts = ["x"; 3].map(|text| text.repeat(1_000));
        append(&mut journal, &batch((1..).zip(&texts).map(|(counter, text)| draft(ADA, counter, text))));
        let mut reader = backend.reader();
        let mut read = |after, limit, bytes_max| {
            let entries = whole(reader.read(Seq(after), limit, bytes_max));
            entries.iter().map(|entry| entry.seq.0).collect::<Vec<_>>()
        };
        assert_eq!(read(0, 10, usize::MAX), [1, 2, 3]);
        assert_eq!(read(0, 2, usize::MAX), [1, 2]);
        assert_eq!(read(1, 10, usize::MAX), [2, 3]);
        assert_eq!(read(0, 10, said(&texts[0]).len()), [1, 2], "stops once it is exceeded");
        assert_eq!(read(0, 10, 0), [1], "at least one");
        assert_eq!(read(3, 10, 0), []);
        assert_eq!(read(u64::MAX, 10, 0), []);
        assert_eq!(read(0, 0, 0), []);
    }

    pub(crate) fn a_skim_gives_what_a_read_gives<B: Backend>() {
        let backend = B::new();
        let mut journal = backend.open();
        let texts = ["x", "", "yy", "zzz", "z"].map(|text| text.repeat(100));
        append(&mut journal, &batch((1..).zip(&texts).map(|(counter, text)| draft(ADA, counter, text))));
        journal.erase(&[Seq(3)]).expect("erases");
        let mut reader = backend.reader();
        for after in [0, 1, 2, 4, 5, 6, u64::MAX] {
            for limit in [0, 1, 2, 9] {
                for bytes_max in [0, 100, 300, usize::MAX] {
                    let read = whole(reader.read(Seq(after), limit, bytes_max));
                    let mut skimmed = Vec::new();
                    let mut take = |seq, envelope: &[u8], payload: Option<&[u8]>| {
                        skimmed.push((seq, envelope.to_vec(), payload.map(<[u8]>::to_vec)));
                    };
                    let last = reader.skim(Seq(after), limit, bytes_max, &mut take).expect("readable");
                    let read: Vec<_> = read
                        .into_iter()
                        .map(|entry| {
                            let payload = entry.payload.map(|payload| payload.bytes.to_vec());
                            (entry.seq, entry.envelope.to_vec(), payload)
                        })
                        .collect();
                    assert_eq!(last, read.last().map_or(Seq(after), |(seq, ..)| *seq));
                    assert_eq!(skimmed, read, "after {after}, at most {limit} and {bytes_max} bytes");
                }
            }
        }
    }

    pub(crate) fn entries_are_got_in_the_order_asked<B: Backend>() {
        let backend = B::new();
        let mut journal = backend.open();
        append(&mut journal, &drafts(ADA, 1, 300));
        let mut reader = backend.reader();
        let asked: Vec<Seq> = (0..256).map(|i| Seq(1 + i * 77 % 300)).collect();
        let got = whole(reader.get(&asked, usize::MAX));
        assert_eq!(got.iter().map(|entry| entry.seq).collect::<Vec<_>>(), asked);
        assert_eq!(whole(reader.get(&[], usize::MAX)), []);
        let three = [Seq(7), Seq(300), Seq(2)];
        let bytes: Vec<usize> = got_bytes(&whole(reader.get(&three, usize::MAX)));
        for (bytes_max, entries) in
            [(0, 1), (bytes[0], 2), (bytes[0] + bytes[1] - 1, 2), (bytes[0] + bytes[1], 3)]
        {
            assert_eq!(got_bytes(&whole(reader.get(&three, bytes_max))), bytes[..entries]);
        }
        for missing in [0, 301, u64::MAX] {
            let got = reader.get(&[Seq(1), Seq(missing), Seq(2)], usize::MAX).expect("readable");
            let found: Vec<_> = got
                .iter()
                .map(|checked| checked.as_ref().map_or_else(|damage| damage.seq, |one| one.seq))
                .collect();
            assert_eq!(found, [Seq(1), Seq(missing), Seq(2)]);
            assert!(got[0].is_ok() && got[1].is_err() && got[2].is_ok(), "{got:?}");
            assert!(reader.envelope(Seq(missing)).expect("readable").is_err());
        }
    }

    fn got_bytes(entries: &[vang_journal::Entry]) -> Vec<usize> {
        entries.iter().map(|entry| entry.payload.as_ref().map_or(0, |payload| payload.bytes.len())).collect()
    }

    pub(crate) fn checkpoints_are_kept_beside_the_entries<B: Backend>() {
        let backend = B::new();
        let mut journal = backend.open();
        append(&mut journal, &drafts(ADA, 1, 9));
        let checkpoints = vec![(Seq(4), [4; 32]), (Seq(8), [8; 32])];
        let alone = Batch { drafts: Vec::new(), checkpoints };
        assert_eq!(append(&mut journal, &alone), Seq(10));
        drop(journal);
        let mut reader = backend.reader();
        let mut found = |after, limit| reader.checkpoints(Seq(after), limit).expect("readable");
        assert_eq!(found(0, 10), [(Seq(4), [4; 32]), (Seq(8), [8; 32])]);
        assert_eq!(found(4, 10), [(Seq(8), [8; 32])]);
        assert_eq!(found(0, 1), [(Seq(4), [4; 32])]);
        assert_eq!(found(u64::MAX, 1), []);
    }

    pub(crate) fn a_reader_sees_what_is_appended_after_it_was_opened<B: Backend>() {
        let backend = B::new();
        let mut journal = backend.open();
        let mut reader = backend.reader();
        for counter in 1..=3 {
            append(&mut journal, &drafts(ADA, counter, counter));
            assert_eq!(reader.end().expect("readable"), Seq(counter));
            let time = Envelope::decode(&whole(reader.get(&[Seq(counter)], usize::MAX))[0].envelope);
            assert_eq!(time.expect("decodes").time, Time(1_700_000_000_000 + counter));
        }
    }
}
