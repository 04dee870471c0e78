//! `vang admin check --file`: checks that a backup is complete and replays. It reads the backup once, from the
//! first byte to the last, and needs no disk space: the replay gets the entries as they are read.

use std::io::Read;
use std::path::Path;

use vang_chat::{Seq, State};
use vang_hub::{Book, replay};
use vang_journal::{
    Backup, BackupReadError, Chain, Checked, Entry, JournalError, Piece, Reader, Sealed, hex,
};
use vang_proto::text::{counted, size};

use super::progress::Progress;
use super::report::tls_key;
use super::restore::{open, unusable};
use crate::say::{CommandError, print_line};

pub(super) fn run(file: &Path) -> anyhow::Result<()> {
    let backup = open(file)?;
    let identity = backup.header().identity;
    let progress = Progress::new("reading the backup");
    let mut stream = Stream { backup, window: Vec::new(), states: Vec::new(), bad: None, progress };
    let start = (State::default(), Book::default());
    let recovered = replay(&mut stream, &identity, start, Seq(0), &mut |_| Ok(()));
    stream.progress.clear();
    if let Some(bad) = &stream.bad {
        return Err(unusable(file, bad).into());
    }
    let recovered = recovered
        .map_err(|error| CommandError::new(format!("the journal in the backup does not replay: {error}")))?;
    let header = stream.backup.header();
    print_line(&format!(
        "ok: backup of journal {}, {} ({} erased), chain {}, state {}, {}, made {} by {}, {}",
        identity.id_hex(),
        counted(header.end.0, "entry", "entries"),
        stream.backup.erased(),
        hex(&header.chain.0[..8]),
        hex(&recovered.state.hash()[..8]),
        tls_key(header.server_key.is_some()),
        header.made.when(),
        header.made.by,
        size(stream.backup.bytes()),
    ))?;
    Ok(())
}

/// A backup as the journal that a replay reads, forward only.
struct Stream {
    backup: Backup<Box<dyn Read>>,
    /// The entries that were read last (a replay asks for their payloads too), and those after them.
    window: Vec<(Entry, Chain)>,
    states: Vec<(Seq, [u8; 32])>,
    /// The error at which reading ended.
    bad: Option<BackupReadError>,
    progress: Progress,
}

impl Stream {
    /// Moves the window to the entries after this one.
    fn advance(&mut self, after: Seq) -> Result<(), JournalError> {
        self.window.retain(|(entry, _)| entry.seq > after);
        while self.window.is_empty() {
            match self.backup.next() {
                Ok(None) => break,
                Ok(Some(Piece::States(states))) => self.states.extend(states),
                Ok(Some(Piece::Entries(entries))) => self.window = entries,
                Err(bad) => {
                    let fault = JournalError::Unavailable(bad.to_string());
                    self.bad = Some(bad);
                    return Err(fault);
                }
            }
        }
        self.progress.show(after.0, self.backup.header().end.0);
        Ok(())
    }

    fn window(&self, limit: usize) -> impl Iterator<Item = &(Entry, Chain)> {
        self.window.iter().take(limit)
    }
}

impl Reader for Stream {
    fn end(&mut self) -> Result<Seq, JournalError> {
        Ok(self.backup.header().end)
    }

    fn read(&mut self, after: Seq, limit: usize, _bytes_max: usize) -> Result<Vec<Checked>, JournalError> {
        self.advance(after)?;
        Ok(self.window(limit).map(|(entry, _)| Ok(entry.clone())).collect())
    }

    fn get(&mut self, seqs: &[Seq], _: usize) -> Result<Vec<Checked>, JournalError> {
        let find = |seq: &Seq| self.window.iter().find(|(entry, _)| entry.seq == *seq);
        let missing = |seq: &Seq| JournalError::Damaged { seq: seq.0, why: "it was read before".into() };
        seqs.iter()
            .map(|seq| find(seq).map(|(entry, _)| Ok(entry.clone())).ok_or_else(|| missing(seq)))
            .collect()
    }

    fn sealed(&mut self, after: Seq, limit: usize) -> Result<Vec<Sealed>, JournalError> {
        self.advance(after)?;
        let sealed = |(entry, chain): &(Entry, Chain)| Sealed {
            seq: entry.seq,
            envelope: entry.envelope.clone(),
            chain: chain.0,
        };
        Ok(self.window(limit).map(sealed).collect())
    }

    fn checkpoints(&mut self, after: Seq, limit: usize) -> Result<Vec<(Seq, [u8; 32])>, JournalError> {
        let later = self.states.iter().skip_while(|(seq, _)| *seq <= after);
        Ok(later.take(limit).copied().collect())
    }
}
