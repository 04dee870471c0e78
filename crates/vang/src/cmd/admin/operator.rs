//! Asks the server that runs on a data folder, as its operator. If none runs, this process is the server for one request.

use std::path::Path;
use std::time::Duration;

use vang_client::{ClientError, Connection, Deadline, ServerAddr};
use vang_journal::{DataFolder, FolderError};
use vang_proto::vang::{Action, Reply};
use vang_server::{Config, ServeError, Server, StartError};

use crate::args::DataArgs;
use crate::running;
use crate::say::{CommandError, server_error, unused};
use crate::shell::quoted_path;
use crate::signals::runtime;

/// A folder that no server has used would become a second one beside that of the server that is meant. So would an old
/// default folder, if another server runs and the user has not named a folder.
fn refuse_second_folder(folder: &Path, command: &str, is_named: bool) -> Result<(), CommandError> {
    let is_unused = DataFolder::is_unused(folder);
    if !is_unused && (is_named || running::is_reached(&folder.join(DataFolder::SOCKET))) {
        return Ok(());
    }
    let to = |folder: &Path| format!("vang admin {command} --data {}", quoted_path(folder));
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

/// Asks the server of a data folder one thing as its operator. `command` is the command behind `vang admin`, without its
/// folder, for advice.
pub(super) fn ask_operator(data: DataArgs, command: &str, action: &Action) -> anyhow::Result<Reply> {
    as_operator(data, command, |connection, deadline| {
        Ok(connection.ask(None, action, deadline).map_err(CommandError::from)?)
    })
}

/// Connects to the server of a data folder as its operator. If none runs, this process is the server meanwhile.
pub(super) fn as_operator<T: Send>(
    data: DataArgs,
    command: &str,
    ask: impl Fn(&mut Connection, Deadline) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<T> {
    let is_named = data.is_named();
    let data = &data.folder()?;
    refuse_second_folder(data, command, is_named)?;
    let deadline = Deadline::after(TIMEOUT);
    let ask_own =
        |folder: &DataFolder| ask(&mut open(folder, deadline).map_err(CommandError::from)?, deadline);
    loop {
        // First, because to take the lock of a folder that is used means to wait for its end.
        if let Some(mut connection) = resident(data, deadline) {
            return ask(&mut connection, deadline);
        }
        // Only taking the folder's lock tells whether another process has it.
        match with_own_server(data, ask_own) {
            // The holder starts, or stops, or is another `vang admin`: soon it answers, or the folder is free.
            Err(error) if is_held(&error) && deadline.left().is_ok() => std::thread::sleep(RETRY),
            outcome => return outcome.map_err(explained),
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
