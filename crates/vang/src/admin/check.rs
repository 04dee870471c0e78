//! `vang admin check`: reads everything again and says what is wrong. The journal by its chain and
//! digests, the rules by the hashes of the state that were stored while it was written, the tables
//! by what a replay gives. Works while the server runs; only `--rebuild` needs the folder alone.

use std::path::Path;

use vang_chat::{Seq, State};
use vang_hub::{Book, Delta, Recovered, Row, replay};
use vang_journal::{Chain, DataFolder, Identity, Journal, Reader, SqliteJournal, SqliteReader};
use vang_server::chains;
use vang_view::{View, ViewError, ViewReader};

use super::hex;
use super::progress::Progress;
use crate::say::{Failure, note, print_line};

pub(super) fn run(data: &Path, rebuild: bool) -> anyhow::Result<()> {
    if rebuild {
        rebuild_tables(data)?;
    }
    let folder = DataFolder::look(data)?;
    let mut reader = SqliteReader::open(folder.journal_db())?;
    let mut progress = Progress::new("reading the journal");
    let report = vang_journal::check(&mut reader, &mut |done, end| progress.show(done, end));
    progress.clear();
    for problem in &report.problems {
        print_line(&problem.to_string())?;
    }
    if !report.problems.is_empty() {
        return Err(Failure::new(format!("the journal in {} is damaged", data.display()))
            .advise(
                "stop the server, keep the folder as it is, and restore the newest backup that checks well",
            )
            .into());
    }
    let identity = reader.identity();
    let recovered = check_rules_and_tables(&folder, &mut reader, &identity)?;
    check_index(&folder, &mut reader, &identity);
    print_line(&format!(
        "ok: journal {}, {} entries ({} erased), chain {}, state {}",
        identity.id_hex(),
        report.entries,
        report.erased,
        hex(&report.end_chain.0[..8]),
        hex(&recovered.state.hash()[..8]),
    ))?;
    Ok(())
}

/// Replays from the first entry, and compares the tables with what the journal gives up to where they are. Writes
/// nothing: a full disk is when this is asked.
fn check_rules_and_tables(
    folder: &DataFolder,
    reader: &mut SqliteReader,
    identity: &Identity,
) -> anyhow::Result<Recovered> {
    let mut found = Lines::default();
    let read = ViewReader::open(&folder.view_db())
        .and_then(|mut tables| tables.each_row(&mut |line| found.add(&line)));
    let cursor = match read {
        Ok(place) => {
            let at = place.cursor;
            if at > Seq(0) && reader.chain_at(at)? != Some(Chain(place.chain)) {
                return Err(differ(&format!(
                    "they are of another history of this journal, up to entry {at}"
                ))?);
            }
            Some(at)
        }
        Err(ViewError::Corrupt(why)) => return Err(differ(&format!("they are damaged: {why}"))?),
        Err(_) if !folder.view_db().exists() => {
            note("there are no tables to check: they are made anew when the server starts");
            None
        }
        Err(error) => {
            note(&format!("the tables were not checked: {error}"));
            None
        }
    };
    let mut expected = Lines::default();
    let mut tell = |delta: Delta| {
        let rows = delta.rows.iter().filter(|row| cursor.is_some_and(|cursor| seq_of(row) <= cursor));
        rows.for_each(|row| expected.add(&row.to_string()));
        Ok(())
    };
    let recovered = replay(reader, identity, (State::default(), Book::default()), Seq(0), &mut tell)
        .map_err(|error| Failure::new(format!("the journal does not replay: {error}")))?;
    if let Some(cursor) = cursor
        && found != expected
    {
        return Err(differ(&format!("they are not what the journal gives up to entry {cursor}"))?);
    }
    Ok(recovered)
}

/// Lines in any order: how many, and the sum of their hashes.
#[derive(Default, PartialEq, Eq)]
struct Lines {
    count: u64,
    sum: u128,
}

impl Lines {
    fn add(&mut self, line: &str) {
        let hash = vang_journal::hash(None, &[line.as_bytes()]);
        let (half, _) = hash.split_first_chunk().expect("16 of 32 bytes");
        self.count += 1;
        self.sum = self.sum.wrapping_add(u128::from_le_bytes(*half));
    }
}

fn differ(how: &str) -> Result<anyhow::Error, Failure> {
    print_line(&format!("tables: {how}"))?;
    let failure = Failure::new("the tables differ from the journal");
    Ok(failure.advise("stop the server and run `vang admin check --rebuild`").into())
}

/// The entry that a row comes from: rooms and accounts go by the entry that made them.
fn seq_of(row: &Row) -> Seq {
    match row {
        Row::RoomEvent { seq, .. } => *seq,
        Row::RoomName { room, .. } => Seq(room.0),
        Row::AccountName { account, .. } => Seq(account.0),
    }
}

/// Whether the index of words belongs to the journal. It is made anew by itself, so this is no failure.
fn check_index(folder: &DataFolder, reader: &mut SqliteReader, identity: &Identity) {
    // A folder that no server of this version has had yet has none.
    if !folder.find_db().exists() {
        return;
    }
    match vang_view::check_index(&folder.find_db(), identity.id, reader) {
        Ok((_, true)) => {}
        Ok((cursor, false)) => note(&format!(
            "the index for find is not of this journal up to entry {cursor}; it is made anew when the server starts"
        )),
        Err(error) => note(&format!("the index for find was not checked: {error}")),
    }
}

fn rebuild_tables(data: &Path) -> anyhow::Result<()> {
    DataFolder::look(data)?;
    let folder = DataFolder::open(data)?;
    let journal = SqliteJournal::open(folder.journal_db(), Default::default())?;
    let (mut view, _) = View::open(&folder.view_db(), journal.identity().id, chains(folder.journal_db()))?;
    view.reset()?;
    let mut untold = Vec::new();
    let recovered =
        vang_server::recover(&mut journal.reader()?, &journal.identity(), &mut view, &mut untold)?;
    view.apply(&untold)?;
    let snapshot = Some(recovered.state.to_snapshot());
    view.apply(&[Delta { upto: recovered.state.seq(), rows: Vec::new(), snapshot }])?;
    // The index of words is fed again by the next server, while it serves.
    for end in ["", "-wal", "-shm"] {
        let mut path = folder.find_db().into_os_string();
        path.push(end);
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
