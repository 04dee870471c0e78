//! `vang admin`: what the operator does. Whoever may open the data folder is the operator; nothing here
//! asks for a password, and nothing here goes over a network.

mod check; // vang admin check
mod check_file; // vang admin check --file: is a backup whole?
mod backup; // vang admin backup: everything in the journal as one file or stream
mod restore; // vang admin restore: a data folder from such a file or stream
mod progress; // a line on a terminal for what takes long

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use vang_client::{ClientError, Connection, Deadline, ServerAddr};
use vang_journal::{DataFolder, FolderError};
use vang_proto::vang::{Reply, Value};
use vang_server::{Config, ServeError, Server, StartError};

use crate::say::{Failure, print_line};
use crate::serve::{explained, runtime};
use crate::which::data_folder;

const EXAMPLES: &str = "\
Examples:
  vang admin account add ada       an account on the server that runs with the default data folder
  vang admin check                 is everything in the data folder as it must be?
  vang admin backup chat.vang      everything that is in the journal, in one file, while the server runs
  vang admin restore chat.vang --data ./again      a new data folder from that file";

const CHECK_EXAMPLES: &str = "\
Examples:
  vang admin check
  vang admin check --data ./chat --rebuild
  vang admin check --file chat.vang                is this backup whole?";

const BACKUP_EXAMPLES: &str = "\
Examples:
  vang admin backup chat.vang
  vang admin backup \"chat-$(date -I).vang\" --json
  vang admin backup - | ssh elsewhere 'cat > chat.vang'";

const RESTORE_EXAMPLES: &str = "\
Examples:
  vang admin restore chat.vang --data ./again
  ssh elsewhere 'cat chat.vang' | vang admin restore - --data ./again";

const ACCOUNT_EXAMPLES: &str = "\
Examples:
  vang admin account add ada
  vang admin account add ada --data ./chat";

/// Look after a server's data folder
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub(crate) struct AdminArgs {
    #[command(subcommand)]
    pub(crate) command: AdminCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum AdminCommand {
    /// Check the journal and what was made from it; also while the server runs
    #[command(before_help = CHECK_EXAMPLES)]
    Check {
        #[command(flatten)]
        folder: Folder,

        /// Make the tables again from the journal
        #[arg(long)]
        rebuild: bool,

        /// Check this backup instead of a data folder; `-` reads it from stdin
        #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "rebuild"])]
        file: Option<PathBuf>,
    },
    /// Write everything that is in the journal to one file or stream; also while the server runs
    ///
    /// Nobody waits for it: what is said meanwhile is not in it, what was acknowledged before it began is.
    /// It keeps what is erased later, the journal's key, and the server's own TLS key: keep it as safe as the data folder.
    #[command(before_help = BACKUP_EXAMPLES)]
    Backup {
        /// The new file, or `-` for stdout
        file: PathBuf,

        #[command(flatten)]
        folder: Folder,

        /// Replace the file if it exists
        #[arg(long)]
        force: bool,

        /// Say what it has as one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make a data folder from a backup, checked before it can be used
    ///
    /// The new journal has an id of its own: clients are told that it is another, and go on from what both have
    /// in common.
    #[command(before_help = RESTORE_EXAMPLES)]
    Restore {
        /// The backup, or `-` for stdin
        file: PathBuf,

        #[command(flatten)]
        folder: Folder,

        /// Say what it has as one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Accounts
    #[command(before_help = ACCOUNT_EXAMPLES, subcommand)]
    Account(AccountCommand),
}

#[derive(Subcommand, Debug)]
pub(crate) enum AccountCommand {
    /// Add an account
    #[command(before_help = ACCOUNT_EXAMPLES)]
    Add {
        /// Its name
        name: String,

        #[command(flatten)]
        folder: Folder,
    },
}

/// Which data folder.
#[derive(Args, Debug)]
pub(crate) struct Folder {
    /// The data folder [default: $VANG_DATA, else $XDG_DATA_HOME/vang]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

pub(crate) fn run(args: AdminArgs) -> anyhow::Result<()> {
    match args.command {
        AdminCommand::Check { file: Some(file), .. } => check_file::run(&file),
        AdminCommand::Check { folder, rebuild, file: None } => {
            check::run(&data_folder(folder.data)?, rebuild)
        }
        AdminCommand::Backup { file, folder, force, json } => {
            backup::run(&data_folder(folder.data)?, &file, force, json)
        }
        AdminCommand::Restore { file, folder, json } => restore::run(&file, &data_folder(folder.data)?, json),
        AdminCommand::Account(AccountCommand::Add { name, folder }) => {
            add_account(&data_folder(folder.data)?, &name)
        }
    }
}

/// How long the operator waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks whether the folder is free, or its server answers.
const RETRY: Duration = Duration::from_millis(20);

/// What a server calls itself that runs for one question of the operator's: no other may rely on it.
const ONE_SHOT_NAME: &str = "vang-admin/";

fn add_account(data: &Path, name: &str) -> anyhow::Result<()> {
    let reply = ask_operator(data, "account-add", &[("name", Value::from(name))])?;
    print_line(&reply.text)?;
    Ok(())
}

/// Asks the server that has this data folder; where none runs, one that nobody else needs.
fn ask_operator(data: &Path, action: &str, arguments: &[(&str, Value)]) -> anyhow::Result<Reply> {
    let deadline = Deadline::after(PATIENCE);
    let ask = |mut connection: Connection| -> anyhow::Result<Reply> {
        Ok(connection.ask(None, action, arguments, deadline).map_err(Failure::from)?)
    };
    loop {
        // Whether somebody holds the folder shows when this process takes it: not before.
        let error = match with_own_server(data, |folder| ask(open(folder, deadline).map_err(Failure::from)?))
        {
            Err(error) if is_held(&error) => error,
            outcome => return outcome.map_err(explained_error),
        };
        match resident(data, deadline) {
            Some(connection) => return ask(connection),
            // It begins, or ends, or is another `vang admin`: soon somebody answers, or nobody is there.
            None if deadline.left().is_ok() => std::thread::sleep(RETRY),
            None => return Err(explained_error(error)),
        }
    }
}

fn open(folder: &DataFolder, deadline: Deadline) -> Result<Connection, ClientError> {
    Connection::open(&ServerAddr::Unix(folder.socket()), deadline)
}

/// A connection to the server that has this folder, unless it is one that leaves in a moment.
fn resident(data: &Path, deadline: Deadline) -> Option<Connection> {
    let mut connection = open(&DataFolder::look(data).ok()?, deadline).ok()?;
    let hello = connection.ask(None, "hello", &[], deadline).ok()?;
    (!hello.text.starts_with(ONE_SHOT_NAME)).then_some(connection)
}

fn explained_error(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<ServeError>() {
        Some(serve) => explained(serve).into(),
        None => error,
    }
}

fn is_held(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<ServeError>(),
        Some(ServeError::Start(StartError::Folder(FolderError::Held { .. })))
    )
}

/// Runs a server without any listener but the operator's, as long as `ask` takes.
fn with_own_server<T: Send>(
    data: &Path,
    ask: impl FnOnce(&DataFolder) -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let config = Config::new(data.to_owned(), format!("{ONE_SHOT_NAME}{}", env!("CARGO_PKG_VERSION")));
    let runtime = runtime()?;
    let server = runtime.block_on(async { Server::open(config) })?;
    let stopper = server.stopper();
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let asking = scope.spawn(move || {
            let outcome = match is_ready.recv() {
                Ok(()) => DataFolder::look(data).map_err(anyhow::Error::from).and_then(|folder| ask(&folder)),
                Err(_) => Err(anyhow::anyhow!("the server ended before it was ready")),
            };
            stopper.stop();
            outcome
        });
        runtime.block_on(server.run(move || ready.send(()).unwrap_or_default()))?;
        asking.join().map_err(|_| anyhow::anyhow!("the question to the server failed"))?
    })
}

/// Whether the server's TLS key is in a backup: without it clients refuse the restored server.
fn tls_key(is_there: bool) -> &'static str {
    if is_there { "with the TLS key" } else { "without a TLS key" }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As `812 bytes` or `4.2 MiB`.
fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let power = (bytes.max(1).ilog2() / 10) as usize;
    match power.min(units.len()) {
        0 => format!("{bytes} bytes"),
        power => format!("{:.1} {}", bytes as f64 / f64::from(1 << 10).powi(power as i32), units[power - 1]),
    }
}
