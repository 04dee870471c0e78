//! The servers that run on this machine, by their data folders: for a command that looked for one in the wrong place.

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use vang_journal::DataFolder;
use vang_nettools::listening_paths;

use crate::shell::quoted_path;

/// The data folders of the servers that this user can reach.
pub(crate) fn folders() -> Vec<PathBuf> {
    let sockets = listening_paths(DataFolder::SOCKET);
    let folders = sockets.iter().filter_map(|socket| socket.parent().map(|folder| (socket, folder)));
    // Other programs have sockets of this name, too. Only a server of ours keeps files of ours beside it.
    let reached = folders.filter(|(socket, folder)| !DataFolder::is_unused(folder) && is_reached(socket));
    reached.map(|(_, folder)| folder.to_owned()).collect()
}

/// Does somebody listen there for this user? It never waits: a server that is stopped or busy does not accept.
pub(crate) fn is_reached(socket: &Path) -> bool {
    let knock = || -> rustix::io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let ours = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&ours, &SocketAddrUnix::new(socket)?)
    };
    // As many as the server allows wait to be accepted.
    matches!(knock(), Ok(()) | Err(Errno::AGAIN))
}

/// What to do about a folder that no server uses.
pub(crate) fn advice(folder: &Path) -> String {
    match &folders()[..] {
        [] => format!("start a server on it: vang serve --data {}", quoted_path(folder)),
        [there, ..] => format!("a server runs here with --data {}", quoted_path(there)),
    }
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, SockAddr, Socket, Type};

    use super::*;

    #[test]
    fn a_socket_without_a_data_folder_is_no_server_and_one_that_accepts_nothing_is() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap();
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(folder.join(DataFolder::SOCKET)).unwrap()).unwrap();
        // One connection can wait.
        listener.listen(0).unwrap();
        assert!(!folders().contains(&folder), "another program's");
        std::fs::write(folder.join("format"), "1\n").unwrap();
        assert!(folders().contains(&folder), "a server's");
        assert!(folders().contains(&folder), "the first connection still waits");
        drop(listener);
        assert!(!folders().contains(&folder), "it has ended");
    }
}
