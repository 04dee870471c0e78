//! Whose sockets they are: `/proc/PID/fd` holds the inode's number of each. Other users' processes may be looked into
//! by root alone; how many that were is told, so that nobody takes "not seen" for "nobody's". Names of users are
//! `/etc/passwd`'s: whoever is in no such file stays a number.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// Its number.
    pub pid: u32,
    /// Its name, as the kernel cuts it: 15 bytes.
    pub process: String,
    /// Its descriptor of the socket.
    pub fd: u32,
    /// Its user's number.
    #[serde(skip)]
    pub(crate) uid: u32,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    by_inode: HashMap<u32, Vec<Owner>>,
    /// Processes whose files we may not see.
    pub(crate) hidden: usize,
    users: HashMap<u32, String>,
}

impl Owners {
    /// As it is now. A process that ends meanwhile is left out.
    pub(crate) fn read() -> io::Result<Owners> {
        let mut owners = Owners { users: users(), ..Owners::default() };
        for entry in fs::read_dir("/proc")?.flatten() {
            if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                owners.look_into(pid, &entry.path());
            }
        }
        Ok(owners)
    }

    fn look_into(&mut self, pid: u32, at: &Path) {
        let files = match fs::read_dir(at.join("fd")) {
            Ok(files) => files,
            Err(error) => {
                self.hidden += usize::from(error.kind() == io::ErrorKind::PermissionDenied);
                return;
            }
        };
        let mut process = None;
        for file in files.flatten() {
            let Ok(link) = fs::read_link(file.path()) else { continue };
            let inode = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'));
            let Some(inode) = inode.and_then(|inode| inode.parse().ok()) else { continue };
            if process.is_none() {
                process = of_process(at);
            }
            // It has ended meanwhile, and its sockets are nobody's.
            let Some((process, uid)) = &process else { return };
            let fd = file.file_name().to_str().and_then(|fd| fd.parse().ok()).unwrap_or_default();
            let owner = Owner { pid, process: process.clone(), fd, uid: *uid };
            self.by_inode.entry(inode).or_default().push(owner);
        }
    }

    /// Who holds this socket; a socket that was inherited has several.
    pub(crate) fn of(&self, inode: u32) -> &[Owner] {
        self.by_inode.get(&inode).map_or(&[], Vec::as_slice)
    }

    /// A user's name.
    pub(crate) fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }
}

/// A process's name and user.
fn of_process(at: &Path) -> Option<(String, u32)> {
    let name = fs::read(at.join("comm")).ok()?;
    let uid = fs::metadata(at).ok()?.uid();
    Some((String::from_utf8_lossy(name.strip_suffix(b"\n").unwrap_or(&name)).into_owned(), uid))
}

fn users() -> HashMap<u32, String> {
    let table = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
    };
    // Of two names for one number the first counts, as `getpwuid(3)` has it.
    table.lines().rev().filter_map(line).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_ours_is_ours() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let about = rustix::fs::fstat(&socket).unwrap();
        let owners = Owners::read().unwrap();
        let owner = &owners.of(about.st_ino as u32)[0];
        assert_eq!(owner.pid, std::process::id());
        assert_eq!(owner.uid, rustix::process::getuid().as_raw());
        assert!(!owner.process.is_empty());
        assert_eq!(owners.user(0), "root");
        assert_eq!(owners.user(4_000_000_000), "4000000000");
        assert!(owners.of(0).is_empty());
    }
}
