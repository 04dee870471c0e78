//! The server that a command uses: the first of these that exists.
//!
//! ```text
//! --server URL   --data DIR   VANG_SERVER   VANG_DATA   the default data folder's socket   127.0.0.1:65432
//! ```
//!
//! A data folder stands for its own socket, where an account's name is enough. If the default folder's server and a
//! server of another journal at the default port both run, the user must choose.

use std::path::{Path, PathBuf};
use std::time::Duration;

use vang_client::{Connection, Deadline, ServerAddr};
use vang_journal::DataFolder;
use vang_proto::vang::{Action, Hello};

use crate::running;
use crate::say::CommandError;
use crate::shell::variable;

/// How long to wait for the answer of a server at the default port. Another program there may never answer.
const HELLO_WAIT: Duration = Duration::from_secs(1);

/// The server to use. `server` and `data` are the values of the flags.
pub(crate) fn server(server: Option<&ServerAddr>, data: Option<&Path>) -> Result<ServerAddr, CommandError> {
    if let Some(place) = server {
        return Ok(place.clone());
    }
    if let Some(data) = data {
        return Ok(socket_of(data));
    }
    if let Some(url) = variable("VANG_SERVER") {
        return ServerAddr::parse(&url).map_err(|bad| CommandError::usage(format!("VANG_SERVER: {bad}")));
    }
    if let Some(data) = variable("VANG_DATA") {
        return Ok(socket_of(Path::new(&data)));
    }
    let by_port = ServerAddr::default();
    match DataFolder::default_path() {
        // A socket file without a listener is left over from a killed server.
        Ok(folder) if running::is_reached(&folder.join(DataFolder::SOCKET)) => {
            one_of_two(socket_of(&folder), by_port)
        }
        Ok(_) | Err(_) => Ok(by_port),
    }
}

/// The data folder: from a flag, from `VANG_DATA`, or the default.
pub(crate) fn data_folder(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    match named.or_else(|| variable("VANG_DATA").map(PathBuf::from)) {
        Some(path) => Ok(path),
        None => Ok(DataFolder::default_path()?),
    }
}

/// Does `VANG_DATA` name a folder?
pub(crate) fn is_folder_set() -> bool {
    variable("VANG_DATA").is_some()
}

fn socket_of(data: &Path) -> ServerAddr {
    ServerAddr::Unix(data.join(DataFolder::SOCKET))
}

fn one_of_two(by_folder: ServerAddr, by_port: ServerAddr) -> Result<ServerAddr, CommandError> {
    match (journal_of(&by_folder), journal_of(&by_port)) {
        (Some(ours), Some(other)) if ours != other => {
            let what = format!(
                "there are two servers: {by_folder} (journal {ours}) and {by_port} (journal {other})"
            );
            Err(CommandError::new(what)
                .advise("choose one: --server URL or --data DIR, or set VANG_SERVER or VANG_DATA"))
        }
        _ => Ok(by_folder),
    }
}

/// The id of the journal of the server at this address; `None` if no vang server answers.
fn journal_of(place: &ServerAddr) -> Option<String> {
    let deadline = Deadline::after(HELLO_WAIT);
    let hello = Connection::open(place, deadline).ok()?.ask(None, &Action::Hello, deadline).ok()?;
    hello.keys::<Hello>().map(|hello| hello.journal)
}
