//! `vang admin check`: reads everything again and reports what is wrong. It checks the journal by its chain and
//! digests, the rules by the stored hashes of the state, and the view by a replay. It works while the server
//! runs; only `--rebuild` needs the folder for itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use vang_chat::{Seq, State};
use vang_hub::{Book, Delta, Recovered, Row, replay};
use vang_journal::{
    Chain, DataFolder, Durability, Identity, Reader, check_journal, hex, open_journal, read_journal,
};
use vang_proto::text::counted;
use vang_server::chains;
use vang_view::{Snapshot, View, ViewError, ViewReader};

use super::check_file;
use super::progress::Progress;
use crate::args::DataArgs;
use crate::say::{CommandError, look_into, note, print_line};

const EXAMPLES: &str = "\
Examples:
  vang admin check
  vang admin check --data ./chat --rebuild
  vang admin check --file chat.vang                check a backup";

/// Check the journal and everything made from it; also while the server runs
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    data: DataArgs,

    /// Rebuild the view from the journal
    #[arg(long)]
    rebuild: bool,

    /// Check this backup instead of a data folder; `-` reads it from stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "rebuild"])]
    file: Option<PathBuf>,
}

pub(super) fn run(args: CheckArgs) -> anyhow::Result<()> {
    match args.file {
        Some(file) => check_file::run(&file),
        None => check_folder(&args.data.folder()?, args.rebuild),
    }
}

fn check_folder(data: &Path, rebuild: bool) -> anyhow::Result<()> {
    if rebuild {
        rebuild_view(data)?;
    }
    let folder = look_into(data)?;
    let mut progress = Progress::new("reading the journal");
    let report = check_journal(&folder.journal_db(), &mut |done, end| progress.show(done, end))?;
    progress.clear();
    for problem in &report.problems {
        print_line(&problem.to_string())?;
    }
    if !report.problems.is_empty() {
        return Err(CommandError::new(format!("the journal in {} is damaged", data.display()))
            .advise(
                "stop the server, keep the folder unchanged, and restore the newest backup that passes the check",
            )
            .into());
    }
    let (identity, mut reader) = read_journal(&folder.journal_db())?;
    let recovered = check_rules_and_view(&folder, &mut *reader, &identity)?;
    check_index(&folder, &mut *reader, &identity);
    print_line(&format!(
        "ok: journal {}, {} ({} erased), chain {}, state {}",
        identity.id_hex(),
        counted(report.entries, "entry", "entries"),
        report.erased,
        hex(&report.end_chain.0[..8]),
        hex(&recovered.state.hash()[..8]),
    ))?;
    Ok(())
}

/// Replays from the first entry, and compares the view with the result, up to the view's last entry. It writes
/// nothing, because the disk can be full.
fn check_rules_and_view(
    folder: &DataFolder,
    reader: &mut dyn Reader,
    identity: &Identity,
) -> anyhow::Result<Recovered> {
    let mut found = Lines::default();
    let read =
        ViewReader::open(&folder.view_db()).and_then(|mut view| view.each_row(&mut |line| found.add(&line)));
    let cursor = match read {
        Ok(place) => {
            let at = place.cursor;
            if at > Seq(0) && reader.chain_at(at)? != Some(Chain(place.chain)) {
                return Err(differ(&format!(
                    "it belongs to another history of this journal, up to entry {at}"
                ))?);
            }
            Some(at)
        }
        Err(ViewError::Corrupt(why)) => return Err(differ(&format!("it is damaged: {why}"))?),
        Err(_) if !folder.view_db().exists() => {
            note("there is no view to check; the server makes it when it starts");
            None
        }
        Err(error) => {
            note(&format!("the view was not checked: {error}"));
            None
        }
    };
    let mut expected = Lines::default();
    // The view has the newest of each.
    let (mut texts, mut values) = (BTreeMap::new(), BTreeMap::new());
    let mut add_rows = |delta: Delta| {
        for row in delta.rows.iter().filter(|row| cursor.is_some_and(|cursor| seq_of(row) <= cursor)) {
            match row {
                Row::Text { of, .. } => drop(texts.insert(*of, row.to_string())),
                Row::Event { feed, event } if feed.is_keyed() => {
                    drop(values.insert((*feed, event.n), row.to_string()));
                }
                Row::Event { .. } => expected.add(&row.to_string()),
            }
        }
        Ok(())
    };
    let recovered = replay(reader, identity, (State::default(), Book::default()), Seq(0), &mut add_rows)
        .map_err(|error| CommandError::new(format!("the journal does not replay: {error}")))?;
    texts.values().chain(values.values()).for_each(|line| expected.add(line));
    if let Some(cursor) = cursor
        && found != expected
    {
        return Err(differ(&format!("it is not what the journal gives, up to entry {cursor}"))?);
    }
    Ok(recovered)
}

/// A multiset of lines: their count, and the sum of their hashes.
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

fn differ(how: &str) -> Result<anyhow::Error, CommandError> {
    print_line(&format!("view: {how}"))?;
    let failure = CommandError::new("the view differs from the journal");
    Ok(failure.advise("stop the server and run `vang admin check --rebuild`").into())
}

/// The entry that a row comes from.
fn seq_of(row: &Row) -> Seq {
    match row {
        Row::Event { event, .. } => event.seq,
        Row::Text { seq, .. } => *seq,
    }
}

/// Checks that the search index belongs to the journal. A wrong index is not a failure: the server rebuilds it.
fn check_index(folder: &DataFolder, reader: &mut dyn Reader, identity: &Identity) {
    // Before the first start of a server of this version there is no index.
    if !folder.find_db().exists() {
        return;
    }
    match vang_view::check_index(&folder.find_db(), identity.id, reader) {
        Ok((_, true)) => {}
        Ok((cursor, false)) => note(&format!(
            "the search index does not belong to this journal, up to entry {cursor}; the server rebuilds it when it starts"
        )),
        Err(error) => note(&format!("the search index was not checked: {error}")),
    }
}

fn rebuild_view(data: &Path) -> anyhow::Result<()> {
    look_into(data)?;
    let folder = DataFolder::open(data)?;
    let journal = open_journal(&folder.journal_db(), Durability::default())?;
    let (mut view, _) = View::open(&folder.view_db(), journal.identity().id, chains(folder.journal_db()))?;
    view.reset()?;
    let mut pending = Vec::new();
    let recovered =
        vang_server::recover(&mut *journal.reader()?, &journal.identity(), &mut view, &mut pending)?;
    view.apply(&pending)?;
    let snapshot = Some(Snapshot::of(&recovered.state));
    view.apply(&[Delta { upto: recovered.state.seq(), rows: Vec::new(), snapshot }])?;
    // The next server rebuilds the search index while it runs.
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
