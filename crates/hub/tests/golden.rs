//! The golden journal of each format, replayed: the same entries always come to the same state.
//! Never change the hash of a released format; format 1 is not released yet: `VANG_BLESS=1` writes the file.

#![allow(clippy::unwrap_used)] // a golden file that cannot be read ends the test

use std::{env, fs};

use vang_chat::{Seq, State};
use vang_hub::{Book, replay};
use vang_journal::{Batch, Draft, Identity, Journal, MemoryJournal, Payload};

/// Each format's journal, and the file with the hash of the state at its end.
const GOLDEN: [(&str, &str); 1] = [(
    include_str!("../../journal/tests/golden/format-1.txt"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/state-1.hex"),
)];

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn golden_journals_come_to_the_state_that_they_always_came_to() {
    for (golden, file) in GOLDEN {
        let values = |key: &str| -> Vec<Vec<u8>> {
            let lines = golden.lines().filter_map(|line| line.split_once(' '));
            lines.filter(|(name, _)| *name == key).map(|(_, hex)| bytes(hex.trim())).collect()
        };
        let (id, key) = (&values("id")[0], &values("key")[0]);
        let identity = Identity::new(id[..].try_into().unwrap(), key[..].try_into().unwrap());
        let payloads = values("salt").into_iter().zip(values("payload"));
        let drafts = values("envelope").into_iter().zip(payloads).map(|(envelope, (salt, payload))| Draft {
            envelope: envelope.into(),
            payload: Payload { salt: salt.as_slice().try_into().unwrap(), bytes: payload.into() },
        });
        let mut journal = MemoryJournal::new(identity);
        journal.append(&Batch { drafts: drafts.collect(), checkpoints: Vec::new() });
        let mut rows = 0;
        let mut apply_delta = |delta: vang_hub::Delta| {
            rows += delta.rows.len();
            Ok(())
        };
        let start = (State::default(), Book::default());
        let recovered = replay(&mut journal, &identity, start, Seq(0), &mut apply_delta).unwrap();
        assert_eq!(recovered.replayed, values("envelope").len() as u64);
        assert!(rows > 0);
        let hash: String = recovered.state.hash().iter().map(|byte| format!("{byte:02x}")).collect();
        if env::var_os("VANG_BLESS").is_some_and(|value| value == "1") {
            fs::write(file, format!("{hash}\n")).unwrap();
        }
        assert_eq!(hash, fs::read_to_string(file).unwrap().trim_end());
    }
}
