//! Unix sockets on which programs of this machine listen, by the name of their file.

use std::fs;
use std::path::{Path, PathBuf};

use crate::diag::{Address, Diag, Protocol, Socket, State};
use crate::owners::Owners;

/// The absolute paths of the listening sockets with this file name, in order. What cannot be found out is left out.
pub fn listening_paths(file_name: &str) -> Vec<PathBuf> {
    let sockets = Diag::open().all(Protocol::Unix).unwrap_or_default();
    let listening = sockets.iter().filter(|socket| socket.state == State::Listen);
    let mut owners = None;
    let mut paths: Vec<PathBuf> = listening
        .filter_map(|socket| {
            let Address::Unix(Some(name), _) = &socket.local else { return None };
            let path = Path::new(name);
            if path.file_name()? != file_name {
                return None;
            }
            match path.is_absolute() {
                true => Some(path.to_owned()),
                false => {
                    absolute(path, socket, owners.get_or_insert_with(|| Owners::read().unwrap_or_default()))
                }
            }
        })
        .collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// The kernel keeps a path as its program wrote it: from the folder in which the program runs.
fn absolute(path: &Path, socket: &Socket, owners: &Owners) -> Option<PathBuf> {
    let owner = owners.of(socket.inode).first()?;
    let folder = fs::read_link(format!("/proc/{}/cwd", owner.pid)).ok()?;
    folder.join(path).canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_sockets_of_this_name_on_which_somebody_listens_are_found() {
        let name = format!("vang-test-{}.sock", std::process::id());
        let (here, other) =
            (std::env::temp_dir().join(&name), std::env::temp_dir().join(format!("{name}.other")));
        let listeners = [&here, &other].map(|path| UnixListener::bind(path).unwrap());
        assert_eq!(listening_paths(&name), std::slice::from_ref(&here));
        drop(listeners);
        assert_eq!(listening_paths(&name), [] as [PathBuf; 0]);
        [here, other].iter().for_each(|path| fs::remove_file(path).unwrap());
    }
}
