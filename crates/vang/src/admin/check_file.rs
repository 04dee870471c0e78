//! `vang admin check --file`: is this backup whole, and does it replay? Reads it once from its first byte to
//! its last and needs no room for it: the replay is given the entries as they come.

use std::io::Read;
use std::path::Path;

use vang_chat::{Seq, State};
use vang_hub::{Book, replay};
use vang_journal::{Backup, BadBackup, Chain, Checked, Entry, JournalError, Piece, Reader, Sealed};

use super::progress::Progress;
use super::restore::{open, unusable};
use super::{hex, size, tls_key};
use crate::say::{Failure, print_line};

pub(super) fn run(file: &Path) -> anyhow::Result<()> {
    let backup = open(file)?;
    let identity = backup.about().identity;
    let progress = Progress::new("reading the backup");
    let mut stream = Stream { backup, window: Vec::new(), states: Vec::new(), bad: None, progress };
    let start = (State::default(), Book::default());
    let recovered = replay(&mut stream, &identity, start, Seq(0), &mut |_| Ok(()));
    stream.progress.clear();
    if let Some(bad) = &stream.bad {
        return Err(unusable(file, bad).into());
    }
    let recovered = recovered
        .map_err(|error| Failure::new(format!("the journal in the backup does not replay: {error}")))?;
    let about = stream.backup.about();
    print_line(&format!(
        "ok: backup of journal {}, {} entries ({} erased), chain {}, state {}, {}, made {} by {}, {}",
        identity.id_hex(),
        about.end.0,
        stream.backup.erased(),
        hex(&about.chain.0[..8]),
        hex(&recovered.state.hash()[..8]),
        tls_key(about.server_key.is_some()),
        about.made.when(),
        about.made.by,
        size(stream.backup.bytes()),
    ))?;
    Ok(())
}

/// A backup as a replay reads a journal: forward only.
struct Stream {
    backup: Backup<Box<dyn Read>>,
    /// The entries that were given out last, for whoever wants their payloads, and those behind them.
    window: Vec<(Entry, Chain)>,
    states: Vec<(Seq, [u8; 32])>,
    /// Why it ended early.
    bad: Option<BadBackup>,
    progress: Progress,
}

impl Stream {
    /// Brings what comes after this entry into the window; forgets what comes before.
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
        self.progress.show(after.0, self.backup.about().end.0);
        Ok(())
    }

    fn window(&self, limit: usize) -> impl Iterator<Item = &(Entry, Chain)> {
        self.window.iter().take(limit)
    }
}

impl Reader for Stream {
    fn end(&mut self) -> Result<Seq, JournalError> {
        Ok(self.backup.about().end)
    }

    fn read(&mut self, after: Seq, limit: usize, _bytes_max: usize) -> Result<Vec<Checked>, JournalError> {
        self.advance(after)?;
        Ok(self.window(limit).map(|(entry, _)| Ok(entry.clone())).collect())
    }

    fn get(&mut self, seqs: &[Seq], _: usize) -> Result<Vec<Checked>, JournalError> {
        let find = |seq: &Seq| self.window.iter().find(|(entry, _)| entry.seq == *seq);
        let missing = |seq: &Seq| JournalError::Damaged { seq: seq.0, why: "it was read already".into() };
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
