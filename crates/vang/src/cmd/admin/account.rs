//! `vang admin account add`: asks the server that runs on the data folder. If none runs, this process is the
//! server for one request.

use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand};
use vang_client::{ClientError, Connection, Deadline, ServerAddr};
use vang_journal::{DataFolder, FolderError};
use vang_proto::vang::{Action, Reply};
use vang_server::{Config, ServeError, Server, StartError};

use crate::args::{DataArgs, about};
use crate::running;
use crate::say::{CommandError, print_line, server_error, unused};
use crate::shell::{quoted, quoted_path};
use crate::signals::runtime;

const EXAMPLES: &str = "\
Examples:
  vang admin account add ada
  vang admin account add ada --data ./chat";

/// Manage accounts
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub(super) struct AccountArgs {
    #[command(subcommand)]
    command: AccountCommand,
}

#[derive(Subcommand, Debug)]
enum AccountCommand {
    #[command(about = about("account-add"), before_help = EXAMPLES)]
    Add {
        /// Name of the new account
        name: String,

        #[command(flatten)]
        data: DataArgs,
    },
}

pub(super) fn run(args: AccountArgs) -> anyhow::Result<()> {
    let AccountCommand::Add { name, data } = args.command;
    let is_named = data.is_named();
    let folder = data.folder()?;
    refuse_second_folder(&folder, &name, is_named)?;
    let reply = ask_operator(&folder, &Action::AddAccount { name })?;
    Ok(print_line(&reply.text)?)
}

/// A folder that no server has used would become a second one beside that of the server that is meant. So would an old
/// default folder, if another server runs and the user has not named a folder.
fn refuse_second_folder(folder: &Path, name: &str, is_named: bool) -> Result<(), CommandError> {
    let is_unused = DataFolder::is_unused(folder);
    if !is_unused && (is_named || running::is_reached(&folder.join(DataFolder::SOCKET))) {
        return Ok(());
    }
    let to =
        |folder: &Path| format!("vang admin account add {} --data {}", quoted(name), quoted_path(folder));
    match (&running::folders()[..], is_unused) {
        ([], false) => Ok(()),
        ([there, ..], false) => {
            let what = format!("no server runs on the data folder {}, but on another", folder.display());
            Err(CommandError::new(what).advise(format!("name the folder: {}, or {}", to(there), to(folder))))
        }
        (others, true) => Err(unused(folder).advise(match others {
            [] => format!("start a server on it first: vang serve --data {}", quoted_path(folder)),
            [there, ..] => format!("a server runs on another folder: {}", to(there)),
        })),
    }
}

/// How long to wait for the server's answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Time between two attempts to take the folder, or to reach its server.
const RETRY: Duration = Duration::from_millis(20);

/// The name of a server that runs for one request. Other processes must not rely on it: it ends at once.
const ONE_SHOT_NAME: &str = "vang-admin/";

fn ask_operator(data: &Path, action: &Action) -> anyhow::Result<Reply> {
    let deadline = Deadline::after(TIMEOUT);
    let ask = |mut connection: Connection| -> anyhow::Result<Reply> {
        Ok(connection.ask(None, action, deadline).map_err(CommandError::from)?)
    };
    loop {
        // Only taking the folder's lock tells whether another process has it.
        let error =
            match with_own_server(data, |folder| ask(open(folder, deadline).map_err(CommandError::from)?)) {
                Err(error) if is_held(&error) => error,
                outcome => return outcome.map_err(explained),
            };
        match resident(data, deadline) {
            Some(connection) => return ask(connection),
            // The holder starts, or stops, or is another `vang admin`: soon it answers, or the folder is free.
            None if deadline.left().is_ok() => std::thread::sleep(RETRY),
            None => return Err(explained(error)),
        }
    }
}

fn open(folder: &DataFolder, deadline: Deadline) -> Result<Connection, ClientError> {
    Connection::open(&ServerAddr::Unix(folder.socket()), deadline)
}

/// A connection to the server of this folder, unless it is a one-shot server.
fn resident(data: &Path, deadline: Deadline) -> Option<Connection> {
    let mut connection = open(&DataFolder::look(data).ok()?, deadline).ok()?;
    let hello = connection.ask(None, &Action::Hello, deadline).ok()?;
    (!hello.text.starts_with(ONE_SHOT_NAME)).then_some(connection)
}

fn explained(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<ServeError>() {
        Some(serve) => server_error(serve).into(),
        None => error,
    }
}

fn is_held(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<ServeError>(),
        Some(ServeError::Start(StartError::Folder(FolderError::Held { .. })))
    )
}

/// Runs a server that listens only on the folder's own socket, for as long as `ask` takes.
fn with_own_server<T: Send>(
    data: &Path,
    ask: impl FnOnce(&DataFolder) -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let program = format!("{ONE_SHOT_NAME}{}", env!("CARGO_PKG_VERSION"));
    let config = Config { data: data.to_owned(), listen: Vec::new(), ..Config::new(program) };
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
        asking.join().map_err(|_| anyhow::anyhow!("the request to the server failed"))?
    })
}
