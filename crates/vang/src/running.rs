//! The servers that run on this machine, by their data folders: for a command that looked for one in the wrong place.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use vang_journal::DataFolder;
use vang_nettools::listening_paths;

use crate::shell::quoted_path;

/// The data folders of the servers that this user can reach.
pub(crate) fn folders() -> Vec<PathBuf> {
    let sockets = listening_paths(DataFolder::SOCKET);
    let reached = sockets.iter().filter(|socket| UnixStream::connect(socket).is_ok());
    reached.filter_map(|socket| socket.parent().map(Path::to_owned)).collect()
}

/// What to do about a folder that no server uses.
pub(crate) fn advice(folder: &Path) -> String {
    match &folders()[..] {
        [] => format!("start a server on it: vang serve --data {}", quoted_path(folder)),
        [there, ..] => format!("a server runs here with --data {}", quoted_path(there)),
    }
}
