//! `vang admin restore`: makes a data folder from a backup. No server can start on it before everything is
//! checked as `vang admin check` does: chain, digests, pages, the rules against the stored hashes. It makes
//! the view as well, so that the first start is fast.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use vang_chat::{Seq, State};
use vang_client::trouble::plain;
use vang_hub::{Book, Delta, ReplayError, replay};
use vang_journal::{
    Backup, BackupReadError, DataFolder, FolderError, Identity, RestoreError, Restoring, check_journal, hex,
    read_journal, restore,
};
use vang_proto::text::counted;
use vang_server::chains;
use vang_view::{Snapshot, View};

use super::progress::Progress;
use super::report::tls_key;
use crate::args::DataArgs;
use crate::say::{CommandError, folder_error, note, print_line};
use crate::signals::handle_file_size_signal_without_runtime;

const EXAMPLES: &str = "\
Examples:
  vang admin restore chat.vang --data ./again
  ssh elsewhere 'cat chat.vang' | vang admin restore - --data ./again";

/// Make a data folder from a backup, and check it
///
/// The restored journal has a new ID; clients notice and continue from the last common message.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub(super) struct RestoreArgs {
    /// The backup, or `-` for stdin
    file: PathBuf,

    #[command(flatten)]
    data: DataArgs,

    /// Describe the result as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: RestoreArgs) -> anyhow::Result<()> {
    let RestoreArgs { file, data, json } = args;
    let data = data.folder()?;
    let (data, file) = (data.as_path(), file.as_path());
    let began = Instant::now();
    handle_file_size_signal_without_runtime()?;
    // Before anything is created: the file may not be a backup.
    let mut backup = open(file)?;
    let restoring = Restoring::begin(data).map_err(|error| refused(error, data))?;
    let mut progress = Progress::new("restoring");
    let restored = restore(&mut backup, &restoring.journal_db(), &mut |done, end| progress.show(done, end));
    progress.clear();
    let identity = restored.map_err(|error| match error {
        RestoreError::Backup(bad) => unusable(file, &bad),
        RestoreError::Journal(error) => {
            CommandError::new(format!("cannot restore into {}: {error}", data.display()))
        }
    })?;
    check(&restoring, &identity)?;
    let server_key = backup.header().server_key.as_ref();
    let key = match server_key.map(|server_key| restoring.put_server_key(server_key)).transpose()? {
        Some(true) => Key::Restored,
        Some(false) => Key::Stayed,
        None => Key::Missing,
    };
    restoring.finish()?;

    let (header, took) = (backup.header(), began.elapsed().as_secs_f64());
    if json {
        let said = serde_json::json!({
            "data": data.to_string_lossy(),
            "journal": identity.id_hex(),
            "was": header.identity.id_hex(),
            "entries": header.end.0,
            "erased": backup.erased(),
            "seq": header.end.0,
            "chain": hex(&header.chain.0),
            "tls_key": key == Key::Restored,
            "made": header.made.when(),
            "seconds": took,
        });
        print_line(&said.to_string())?;
        return Ok(());
    }
    print_line(&format!(
        "{}: journal {} (was {}), {} ({} erased), last seq {}, chain {}, {}, made {} by {}, in {took:.1} s",
        data.display(),
        identity.id_hex(),
        header.identity.id_hex(),
        counted(header.end.0, "entry", "entries"),
        backup.erased(),
        header.end.0,
        hex(&header.chain.0[..8]),
        tls_key(header.server_key.is_some()),
        header.made.when(),
        header.made.by,
    ))?;
    note("the restored data has a new ID; clients notice and continue from the last common message");
    match key {
        Key::Restored => note("the server's TLS key is restored; clients accept the server as before"),
        Key::Stayed => {
            note("the folder already has a TLS key; it stays, and the one in the backup is not used");
        }
        Key::Missing => note(
            "the backup has no TLS key; the server makes a new one (or use --tls-cert and --tls-key). Clients that \
             know the old key refuse the server",
        ),
    }
    Ok(())
}

/// The server's TLS key after the restore.
#[derive(PartialEq, Eq)]
enum Key {
    Restored,
    Stayed,
    Missing,
}

/// Opens a backup in a file or on stdin, and reads its head.
pub(super) fn open(file: &Path) -> anyhow::Result<Backup<Box<dyn Read>>> {
    let input: Box<dyn Read> = if file == Path::new("-") {
        if io::stdin().is_terminal() {
            let failure = CommandError::usage("a backup is binary data; it is not read from a terminal");
            return Err(failure.advise("read it from a pipe or a file: vang admin restore - < FILE").into());
        }
        Box::new(io::stdin().lock())
    } else {
        let cannot = |error| CommandError::new(format!("cannot open {}: {}", file.display(), plain(&error)));
        Box::new(BufReader::with_capacity(256 << 10, File::open(file).map_err(cannot)?))
    };
    Ok(Backup::open(input).map_err(|bad| unusable(file, &bad))?)
}

pub(super) fn unusable(file: &Path, bad: &BackupReadError) -> CommandError {
    let name = if file == Path::new("-") { "stdin".to_owned() } else { file.display().to_string() };
    let failure = CommandError::new(format!("{name} cannot be used: {bad}"));
    match bad {
        BackupReadError::Cut { .. } | BackupReadError::Damaged { .. } => {
            failure.advise("use another copy of it, or an older backup")
        }
        BackupReadError::Foreign(_) | BackupReadError::Newer { .. } | BackupReadError::Unreadable(_) => {
            failure
        }
    }
}

fn refused(error: FolderError, data: &Path) -> anyhow::Error {
    match error {
        FolderError::HoldsJournal { .. } => CommandError::new(format!("{error}{}", which_journal(data)))
            .advise("restore into another folder with --data, or move that one away first")
            .into(),
        FolderError::Held { .. } => {
            CommandError::new(error.to_string()).advise("restore into another folder with --data").into()
        }
        FolderError::NotOurs { .. } => folder_error(&error).into(),
        other => other.into(),
    }
}

/// The journal in the folder, as far as it can be read.
fn which_journal(data: &Path) -> String {
    let look = || -> anyhow::Result<String> {
        let (identity, mut reader) = read_journal(&DataFolder::look(data)?.journal_db())?;
        let entries = counted(reader.end()?.0, "entry", "entries");
        Ok(format!(": {}, with {entries}", identity.id_hex()))
    };
    look().unwrap_or_default()
}

fn check(restoring: &Restoring, identity: &Identity) -> anyhow::Result<()> {
    let mut progress = Progress::new("checking");
    let report = check_journal(&restoring.journal_db(), &mut |done, end| progress.show(done, end))?;
    progress.clear();
    for problem in &report.problems {
        print_line(&problem.to_string())?;
    }
    if !report.problems.is_empty() {
        return Err(CommandError::new("the restored data differs from the backup")
            .advise("the disk may be failing; the new folder was removed")
            .into());
    }
    let (mut view, _) = View::open(&restoring.view_db(), identity.id, chains(restoring.journal_db()))?;
    let mut update_view =
        |delta: Delta| view.apply(&[delta]).map_err(|error| ReplayError::View(error.to_string()));
    let start = (State::default(), Book::default());
    let (_, mut reader) = read_journal(&restoring.journal_db())?;
    let recovered = replay(&mut *reader, identity, start, Seq(0), &mut update_view)
        .map_err(|error| CommandError::new(format!("the journal in the backup does not replay: {error}")))?;
    let snapshot = Some(Snapshot::of(&recovered.state));
    view.apply(&[Delta { upto: recovered.state.seq(), rows: Vec::new(), snapshot }])?;
    view.idle();
    Ok(())
}
