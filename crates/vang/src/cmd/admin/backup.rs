//! `vang admin backup`: the whole journal as one stream, to a file or to stdout, also while a server runs.
//! `vang_journal`'s `backup.rs` explains the format.
//!
//! A file gets its name when it is complete and on the disk; before that its name is `FILE.part-…`. Such a
//! part is left over after kill -9, and `restore` refuses it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tokio::signal::unix::{SignalKind, signal};
use vang_client::trouble::plain;
use vang_journal::{BackupError, BackupOrigin, BackupReport, Identity, hex, read_journal, write_backup};
use vang_proto::text::{counted, size};

use super::progress::Progress;
use super::report::tls_key;
use crate::args::DataArgs;
use crate::say::{CommandError, look_into, note, print_line};
use crate::signals::{handle_file_size_signal_without_runtime, next, runtime, unless_ignored};

const EXAMPLES: &str = "\
Examples:
  vang admin backup chat.vang
  vang admin backup \"chat-$(date -I).vang\" --json
  vang admin backup - | ssh elsewhere 'cat > chat.vang'";

/// Write the whole journal to one file or stream; also while the server runs
///
/// The backup has every message that was acknowledged before it began; newer messages are not in it. It does not slow
/// down the server. It holds the keys of journal and server, and messages you erase later: protect it like the data
/// folder.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub(super) struct BackupArgs {
    /// The new file, or `-` for stdout
    file: PathBuf,

    #[command(flatten)]
    data: DataArgs,

    /// Replace the file if it exists
    #[arg(long)]
    force: bool,

    /// Describe the backup as one JSON object
    #[arg(long)]
    json: bool,
}

/// Size of the write buffer.
const BUFFER_BYTES: usize = 256 << 10;

pub(super) fn run(args: BackupArgs) -> anyhow::Result<()> {
    let BackupArgs { file, data, force, json } = args;
    let data = data.folder()?;
    let (data, file) = (data.as_path(), file.as_path());
    let began = Instant::now();
    let to_stdout = file == Path::new("-");
    let name = if to_stdout { "stdout".to_owned() } else { file.display().to_string() };
    let folder = look_into(data)?;
    let (identity, mut reader) = read_journal(&folder.journal_db())?;
    let server_key = folder.server_key()?;
    let mut progress = Progress::new("backing up");
    let mut write = |out: &mut dyn Write| {
        let made = BackupOrigin::now(concat!("vang/", env!("CARGO_PKG_VERSION")));
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
        let with = (&made, server_key.as_ref());
        write_backup(&mut *reader, &identity, with, &mut out, &mut |done, end| progress.show(done, end))
    };
    let written = if to_stdout {
        if io::stdout().is_terminal() {
            let failure = CommandError::usage("a backup is binary data; it is not written to a terminal");
            return Err(failure.advise("write it to a pipe or a file: vang admin backup - > FILE").into());
        }
        handle_file_size_signal_without_runtime()?;
        // Without the line buffer of `io::stdout`.
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
    // Only the backup itself may go to stdout.
    match to_stdout {
        true => eprintln!("{said}"),
        false => print_line(&said)?,
    }
    if !json {
        note(
            "the backup holds the keys of journal and server, and messages you erase later; protect it like the data folder",
        );
    }
    Ok(())
}

fn as_line(file: &str, identity: &Identity, report: &BackupReport, has_key: bool, took: f64) -> String {
    format!(
        "{file}: journal {}, {} ({} erased), last seq {}, chain {}, {}, {} in {took:.1} s",
        identity.id_hex(),
        counted(report.end.0, "entry", "entries"),
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
        BackupError::Write { bytes: written, source } => {
            let written = size(written);
            let failure =
                CommandError::new(format!("cannot write {file} after {written}: {}", plain(&source)));
            match source.kind() {
                io::ErrorKind::BrokenPipe => {
                    failure.advise("the program that read it has an incomplete backup")
                }
                _ => {
                    failure.advise("the part that was written is not a backup; choose a disk with more space")
                }
            }
            .into()
        }
        BackupError::Journal(error) => CommandError::new(format!(
            "the journal in {}: {error}",
            data.display()
        ))
        .advise(
            "`vang admin check` lists everything that is wrong; keep this folder and older backups unchanged",
        )
        .into(),
    }
}

/// The file, under another name until it is complete.
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
                return Err(CommandError::new(format!("{} is a folder", target.display()))
                    .advise("give the name of a file in it")
                    .into());
            }
            Ok(_) if !force => return Err(exists(target).into()),
            Ok(about) if !about.is_file() => {
                let what = format!("{} is not a regular file; it is not replaced", target.display());
                return Err(CommandError::new(what).advise("use - for stdout").into());
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

    /// Another process can have made a file of that name meanwhile.
    fn rename_to_new(&self) -> Result<(), CommandError> {
        match renameat_with(CWD, &self.path, CWD, &self.target, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(exists(&self.target)),
            // This file system has no atomic check: the one at the beginning must be enough.
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

fn exists(target: &Path) -> CommandError {
    CommandError::new(format!("{} already exists", target.display()))
        .advise("choose another name, or replace it with --force")
}

fn cannot(what: &str, file: &Path, error: &io::Error) -> CommandError {
    CommandError::new(format!("cannot {what} {}: {}", file.display(), plain(error)))
}

/// Removes the part at Ctrl-C, SIGTERM and SIGHUP. Signals that are ignored (as under `nohup`) stay ignored.
fn remove_on_signal(part: PathBuf) -> anyhow::Result<()> {
    handle_file_size_signal_without_runtime()?;
    let runtime = runtime()?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        let interrupt = unless_ignored(SignalKind::interrupt())?;
        (interrupt, signal(SignalKind::terminate())?, unless_ignored(SignalKind::hangup())?)
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
