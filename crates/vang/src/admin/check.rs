//! `vang admin check`: reads everything again and says what is wrong. The journal by its chain and
//! digests, the rules by the hashes of the state that were stored while it was written, the tables
//! by making them again beside. Works while the server runs; only `--rebuild` needs the folder alone.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use vang_chat::{Seq, State};
use vang_hub::{Book, Delta, Recovered, Row, replay};
use vang_journal::{Chain, DataFolder, Identity, Journal, Reader, SqliteJournal, SqliteReader};
use vang_server::chains;
use vang_view::{View, ViewReader};

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

/// Replays from the first entry, and compares the tables with new ones up to where they are.
fn check_rules_and_tables(
    folder: &DataFolder,
    reader: &mut SqliteReader,
    identity: &Identity,
) -> anyhow::Result<Recovered> {
    let tables = ViewReader::open(&folder.view_db());
    let (found, cursor) = match tables {
        Ok(mut tables) => {
            let mut hasher = DefaultHasher::new();
            let place = tables.each_row(&mut |line| line.hash(&mut hasher))?;
            if place.cursor > Seq(0) && reader.chain_at(place.cursor)? != Some(Chain(place.chain)) {
                let at = place.cursor;
                return Err(differ(&format!(
                    "they are of another history of this journal, up to entry {at}"
                ))?);
            }
            (Some(hasher.finish()), place.cursor)
        }
        Err(error) => {
            note(&format!("{error}; they are made anew when the server starts"));
            (None, Seq(0))
        }
    };
    let beside = Beside::new(folder)?;
    let (mut view, _) = View::open(&beside.0, identity.id, chains(folder.journal_db()))?;
    let mut tell = |mut delta: Delta| {
        let is_past = delta.upto > cursor;
        delta.rows.retain(|row| seq_of(row) <= cursor);
        delta.upto = delta.upto.min(cursor);
        if is_past && delta.rows.is_empty() && view.cursor() == cursor {
            return Ok(());
        }
        view.apply(&[delta]).map_err(|error| vang_hub::ReplayError::Tables(error.to_string()))
    };
    let recovered = replay(reader, identity, (State::default(), Book::default()), Seq(0), &mut tell)
        .map_err(|error| Failure::new(format!("the journal does not replay: {error}")))?;
    drop(view);
    if let Some(found) = found {
        let mut hasher = DefaultHasher::new();
        ViewReader::open(&beside.0)?.each_row(&mut |line| line.hash(&mut hasher))?;
        if hasher.finish() != found {
            return Err(differ(&format!("they are not what the journal gives up to entry {cursor}"))?);
        }
    }
    Ok(recovered)
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
        Err(error) => note(&format!("the index for find: {error}; it is made anew when the server starts")),
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

/// Tables for comparing, in a file of their own that goes when this does.
struct Beside(std::path::PathBuf);

impl Beside {
    fn new(folder: &DataFolder) -> anyhow::Result<Beside> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
        Ok(Beside(folder.path().join(format!("check-{}.db", hex(&random)))))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm"] {
            let mut path = self.0.clone().into_os_string();
            path.push(end);
            let _ = std::fs::remove_file(path);
        }
    }
}
