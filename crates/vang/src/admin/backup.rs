//! `vang admin backup`: everything that is in the journal as one stream, to a file or to stdout. Reads
//! beside a server as any reader does; the format and why it is one stand in `vang_journal`'s `backup.rs`.
//!
//! A file has its name only when it is whole and on the disk: until then it is `FILE.part-…` beside it.
//! What kill -9 leaves is such a part, and `restore` refuses it as what it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tokio::signal::unix::{SignalKind, signal};
use vang_client::trouble::plain;
use vang_journal::{BackupError, BackupReport, DataFolder, Identity, Made, SqliteReader, write_backup};
use vang_nettools::is_ignored;

use super::progress::Progress;
use super::{hex, size, tls_key};
use crate::say::{Failure, note, print_line};
use crate::serve::{interrupts, next, runtime};

/// Bytes that are written at once.
const BUFFER_BYTES: usize = 256 << 10;

pub(super) fn run(data: &Path, file: &Path, force: bool, json: bool) -> anyhow::Result<()> {
    let began = Instant::now();
    let to_stdout = file == Path::new("-");
    let name = if to_stdout { "stdout".to_owned() } else { file.display().to_string() };
    let folder = DataFolder::look(data)?;
    let mut reader = SqliteReader::open(folder.journal_db())?;
    let identity = reader.identity();
    let server_key = folder.server_key()?;
    let mut progress = Progress::new("backing up");
    let mut write = |out: &mut dyn Write| {
        let made = Made::now(concat!("vang/", env!("CARGO_PKG_VERSION")));
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
        let with = (&made, server_key.as_ref());
        write_backup(&mut reader, &identity, with, &mut out, &mut |done, end| progress.show(done, end))
    };
    let written = if to_stdout {
        if io::stdout().is_terminal() {
            let failure = Failure::usage("a backup is bytes and not for a terminal");
            return Err(failure.advise("write it to a pipe or a file: vang admin backup - > FILE").into());
        }
        take_file_size_signal()?;
        // Past stdout's own buffer, which looks for line ends.
        let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        write(&mut stdout).map_err(|error| failed(error, &name, data))
    } else {
        let part = Part::create(file, force)?;
        let outcome = write(&mut &part.file).map_err(|error| failed(error, &name, data));
        outcome.and_then(|report| part.finish(force).map(|()| report))
    };
    progress.clear();
    let report = written?;
    let took = began.elapsed().as_secs_f64();
    let said = if json {
        as_json(&name, &identity, &report, server_key.is_some(), took)
    } else {
        as_line(&name, &identity, &report, server_key.is_some(), took)
    };
    // What goes to stdout is the backup, and nothing else.
    match to_stdout {
        true => eprintln!("{said}"),
        false => print_line(&said)?,
    }
    if !json {
        note(
            "a backup keeps what is erased later, and the keys of journal and server: keep it as safe as the data folder",
        );
    }
    Ok(())
}

fn as_line(file: &str, identity: &Identity, report: &BackupReport, has_key: bool, took: f64) -> String {
    format!(
        "{file}: journal {}, {} entries ({} erased), last seq {}, chain {}, {}, {} in {took:.1} s",
        identity.id_hex(),
        report.end.0,
        report.erased,
        report.end.0,
        hex(&report.chain.0[..8]),
        tls_key(has_key),
        size(report.bytes),
    )
}

fn as_json(file: &str, identity: &Identity, report: &BackupReport, has_key: bool, took: f64) -> String {
    serde_json::json!({
        "file": file,
        "journal": identity.id_hex(),
        "entries": report.end.0,
        "erased": report.erased,
        "seq": report.end.0,
        "chain": hex(&report.chain.0),
        "tls_key": has_key,
        "bytes": report.bytes,
        "seconds": took,
    })
    .to_string()
}

fn failed(error: BackupError, file: &str, data: &Path) -> anyhow::Error {
    match error {
        BackupError::Write { bytes, source } => {
            let failure = Failure::new(format!("cannot write {file} after {}: {}", size(bytes), plain(&source)));
            match source.kind() {
                io::ErrorKind::BrokenPipe => failure.advise("whoever read it has no whole backup"),
                _ => failure.advise("what was written is no backup; choose a place with more room"),
            }
            .into()
        }
        BackupError::Journal(fault) => Failure::new(format!("the journal in {}: {fault}", data.display()))
            .advise("`vang admin check` tells everything that is wrong; keep the folder as it is, and older backups")
            .into(),
    }
}

/// The file, under another name until it is whole.
struct Part {
    file: File,
    path: PathBuf,
    target: PathBuf,
    is_finished: bool,
}

impl Part {
    fn create(target: &Path, force: bool) -> anyhow::Result<Part> {
        match fs::symlink_metadata(target) {
            Err(_) => {}
            Ok(about) if about.is_dir() => {
                return Err(Failure::new(format!("{} is a folder", target.display()))
                    .advise("name a file in it")
                    .into());
            }
            Ok(_) if !force => return Err(exists(target).into()),
            Ok(about) if !about.is_file() => {
                let what = format!("{} is not a plain file, and is not replaced", target.display());
                return Err(Failure::new(what).advise("use - for stdout").into());
            }
            Ok(_) => {}
        }
        let mut random = [0; 4];
        getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
        let mut path = target.as_os_str().to_owned();
        path.push(format!(".part-{}", hex(&random)));
        let path = PathBuf::from(path);
        remove_on_signal(path.clone())?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| cannot("create", target, &error))?;
        Ok(Part { file, path, target: target.to_owned(), is_finished: false })
    }

    fn finish(mut self, force: bool) -> anyhow::Result<()> {
        self.file.sync_all().map_err(|error| cannot("write", &self.target, &error))?;
        match force {
            true => {
                fs::rename(&self.path, &self.target).map_err(|error| cannot("write", &self.target, &error))
            }
            false => self.rename_to_new(),
        }?;
        self.is_finished = true;
        let folder = match self.target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| cannot("sync the folder of", &self.target, &error).into())
    }

    /// Somebody may have made a file of that name meanwhile.
    fn rename_to_new(&self) -> Result<(), Failure> {
        match renameat_with(CWD, &self.path, CWD, &self.target, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(exists(&self.target)),
            // A file system that cannot tell: the look at the beginning has to do.
            Err(Errno::INVAL | Errno::NOSYS) if !self.target.exists() => {
                fs::rename(&self.path, &self.target).map_err(|error| cannot("write", &self.target, &error))
            }
            Err(errno) => Err(cannot("write", &self.target, &errno.into())),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn exists(target: &Path) -> Failure {
    Failure::new(format!("{} exists already", target.display()))
        .advise("choose another name, or replace it with --force")
}

fn cannot(what: &str, file: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot {what} {}: {}", file.display(), plain(error)))
}

/// Ctrl-C leaves nothing behind, nor does a terminal that is closed; under `nohup` it goes on.
fn remove_on_signal(part: PathBuf) -> anyhow::Result<()> {
    take_file_size_signal()?;
    let runtime = runtime()?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        let hangup = SignalKind::hangup();
        let hangup = if is_ignored(hangup.as_raw_value()) { None } else { Some(signal(hangup)?) };
        (interrupts()?, signal(SignalKind::terminate())?, hangup)
    };
    std::thread::spawn(move || {
        let number = runtime.block_on(async {
            tokio::select! {
                () = next(&mut interrupt) => SignalKind::interrupt(),
                _ = terminate.recv() => SignalKind::terminate(),
                () = next(&mut hangup) => SignalKind::hangup(),
            }
        });
        let _ = fs::remove_file(&part);
        std::process::exit(128 + number.as_raw_value());
    });
    Ok(())
}

/// A file size limit is an error in words, not the end of the process.
pub(super) fn take_file_size_signal() -> anyhow::Result<()> {
    let runtime = runtime()?;
    let _inside = runtime.enter();
    let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
    Ok(())
}
