//! `vang admin restore`: a data folder from a backup. Nobody can start on it before everything in it was
//! checked as `vang admin check` does: chain, digests, pages, the rules against the stored hashes. The
//! tables are made on the way, so that the first start is as quick as any.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Read};
use std::path::Path;
use std::time::Instant;

use vang_chat::{Seq, State};
use vang_client::trouble::plain;
use vang_hub::{Book, Delta, ReplayError, replay};
use vang_journal::{
    Backup, BadBackup, DataFolder, FolderError, Identity, Reader, RestoreError, Restoring, SqliteReader,
    restore,
};
use vang_server::chains;
use vang_view::View;

use super::backup::take_file_size_signal;
use super::progress::Progress;
use super::{hex, tls_key};
use crate::say::{Failure, note, print_line};

pub(super) fn run(file: &Path, data: &Path, json: bool) -> anyhow::Result<()> {
    let began = Instant::now();
    take_file_size_signal()?;
    // Whatever is no backup is told before anything is made.
    let mut backup = open(file)?;
    let restoring = Restoring::begin(data).map_err(|error| refused(error, data))?;
    let mut progress = Progress::new("restoring");
    let restored = restore(&mut backup, &restoring.journal_db(), &mut |done, end| progress.show(done, end));
    progress.clear();
    let identity = restored.map_err(|error| match error {
        RestoreError::Backup(bad) => unusable(file, &bad),
        RestoreError::Journal(fault) => {
            Failure::new(format!("cannot restore into {}: {fault}", data.display()))
        }
    })?;
    check(&restoring, &identity)?;
    let server_key = backup.about().server_key.as_ref();
    let key = match server_key.map(|server_key| restoring.put_server_key(server_key)).transpose()? {
        Some(true) => Key::Restored,
        Some(false) => Key::Stayed,
        None => Key::Missing,
    };
    restoring.finish()?;

    let (about, took) = (backup.about(), began.elapsed().as_secs_f64());
    if json {
        let said = serde_json::json!({
            "data": data.to_string_lossy(),
            "journal": identity.id_hex(),
            "was": about.identity.id_hex(),
            "entries": about.end.0,
            "erased": backup.erased(),
            "seq": about.end.0,
            "chain": hex(&about.chain.0),
            "tls_key": key == Key::Restored,
            "made": about.made.when(),
            "seconds": took,
        });
        print_line(&said.to_string())?;
        return Ok(());
    }
    print_line(&format!(
        "{}: journal {} (was {}), {} entries ({} erased), last seq {}, chain {}, {}, made {} by {}, in {took:.1} s",
        data.display(),
        identity.id_hex(),
        about.identity.id_hex(),
        about.end.0,
        backup.erased(),
        about.end.0,
        hex(&about.chain.0[..8]),
        tls_key(about.server_key.is_some()),
        about.made.when(),
        about.made.by,
    ))?;
    note(
        "it is a journal of its own now: clients of the old one are told so, and go on from what both have in common",
    );
    match key {
        Key::Restored => note("the server's TLS key is restored: clients know it again"),
        Key::Stayed => {
            note("the folder has a TLS key already, which stays; the one in the backup is not used");
        }
        Key::Missing => note(
            "the backup has no TLS key: the server makes a new one, or is given one with --tls-cert and --tls-key; \
             clients that know the old one refuse another",
        ),
    }
    Ok(())
}

/// What became of the server's TLS key.
#[derive(PartialEq, Eq)]
enum Key {
    Restored,
    Stayed,
    Missing,
}

/// The beginning of a backup in a file or on stdin.
pub(super) fn open(file: &Path) -> anyhow::Result<Backup<Box<dyn Read>>> {
    let input: Box<dyn Read> = if file == Path::new("-") {
        if io::stdin().is_terminal() {
            let failure = Failure::usage("a backup is bytes and does not come from a terminal");
            return Err(failure.advise("read it from a pipe or a file: vang admin restore - < FILE").into());
        }
        Box::new(io::stdin().lock())
    } else {
        let cannot = |error| Failure::new(format!("cannot open {}: {}", file.display(), plain(&error)));
        Box::new(BufReader::with_capacity(256 << 10, File::open(file).map_err(cannot)?))
    };
    Ok(Backup::open(input).map_err(|bad| unusable(file, &bad))?)
}

pub(super) fn unusable(file: &Path, bad: &BadBackup) -> Failure {
    let name = if file == Path::new("-") { "stdin".to_owned() } else { file.display().to_string() };
    let failure = Failure::new(format!("{name} cannot be used: {bad}"));
    match bad {
        BadBackup::Cut { .. } | BadBackup::Damaged { .. } => {
            failure.advise("take another copy of it, or an older backup")
        }
        BadBackup::Foreign(_) | BadBackup::Newer { .. } | BadBackup::Unreadable(_) => failure,
    }
}

fn refused(error: FolderError, data: &Path) -> anyhow::Error {
    match error {
        FolderError::HoldsJournal { .. } => Failure::new(format!("{error}{}", which_journal(data)))
            .advise("restore into another folder with --data, or move that one away first")
            .into(),
        FolderError::Held { .. } => {
            Failure::new(error.to_string()).advise("restore into another folder with --data").into()
        }
        other => other.into(),
    }
}

/// As far as that can be told.
fn which_journal(data: &Path) -> String {
    let look = || -> anyhow::Result<String> {
        let mut reader = SqliteReader::open(DataFolder::look(data)?.journal_db())?;
        Ok(format!(": {}, with {} entries", reader.identity().id_hex(), reader.end()?))
    };
    look().unwrap_or_default()
}

fn check(restoring: &Restoring, identity: &Identity) -> anyhow::Result<()> {
    let mut reader = SqliteReader::open(restoring.journal_db())?;
    let mut progress = Progress::new("checking");
    let report = vang_journal::check(&mut reader, &mut |done, end| progress.show(done, end));
    progress.clear();
    for problem in &report.problems {
        print_line(&problem.to_string())?;
    }
    if !report.problems.is_empty() {
        return Err(Failure::new("what was restored is not what was in the backup")
            .advise("the disk may be failing; nothing was kept")
            .into());
    }
    let (mut view, _) = View::open(&restoring.view_db(), identity.id, chains(restoring.journal_db()))?;
    let mut tell =
        |delta: Delta| view.apply(&[delta]).map_err(|error| ReplayError::Tables(error.to_string()));
    let start = (State::default(), Book::default());
    let recovered = replay(&mut reader, identity, start, Seq(0), &mut tell)
        .map_err(|error| Failure::new(format!("the journal in the backup does not replay: {error}")))?;
    let snapshot = Some(recovered.state.to_snapshot());
    view.apply(&[Delta { upto: recovered.state.seq(), rows: Vec::new(), snapshot }])?;
    view.idle();
    Ok(())
}
