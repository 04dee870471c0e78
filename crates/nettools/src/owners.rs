//! The owners of sockets: `/proc/PID/fd` has the inode of each. Only root can see other users' processes; their number is
//! counted, so that a hidden owner is not mistaken for no owner. User names come from `/etc/passwd`; other users stay
//! numbers.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A process that has a socket open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Owner {
    pub pid: u32,
    /// The kernel's name of it, at most 15 bytes.
    pub process: String,
    pub fd: u32,
    /// Name of its executable, which can be longer; `None`: no permission.
    #[serde(skip)]
    pub(crate) executable: Option<String>,
    #[serde(skip)]
    pub(crate) uid: u32,
}

/// Longest process name in the kernel.
const COMM_BYTES: usize = 15;

impl Owner {
    /// How this is its PID or name; `None`: it is not.
    pub(crate) fn name_match(&self, wanted: &str) -> Option<NameMatch> {
        if self.pid.to_string() == wanted {
            return Some(NameMatch::Exact);
        }
        name_match(wanted, &self.process, self.executable.as_deref())
    }
}

/// How a process was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NameMatch {
    /// By its PID or name.
    Exact,
    /// By its name without the version: this is the whole name.
    Version(String),
}

fn name_match(wanted: &str, process: &str, executable: Option<&str>) -> Option<NameMatch> {
    if is_name(wanted, process, executable) {
        return Some(NameMatch::Exact);
    }
    let versioned = [Some(process), executable].into_iter().flatten().find(|name| has_version(wanted, name));
    versioned.map(|name| NameMatch::Version(name.to_owned()))
}

/// Is this the name with a version, as `python3.13` for `python`, `gcc-12` for `gcc`?
fn has_version(wanted: &str, name: &str) -> bool {
    let Some(version) = name.strip_prefix(wanted) else { return false };
    let version = version.strip_prefix(['-', '.']).unwrap_or(version);
    wanted.contains(char::is_alphabetic)
        && version.starts_with(|c: char| c.is_ascii_digit())
        && version.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// A name longer than the kernel's limit is compared with the executable, or, for scripts and renamed processes, with the
/// beginning of the name.
fn is_name(wanted: &str, process: &str, executable: Option<&str>) -> bool {
    if process == wanted || executable == Some(wanted) {
        return true;
    }
    let cut =
        |name: &str| name.as_bytes().get(..COMM_BYTES).map(|cut| String::from_utf8_lossy(cut).into_owned());
    // If the kernel's name is the cut name of the executable, the full name is known.
    let is_known = executable.is_some_and(|executable| cut(executable).as_deref() == Some(process));
    wanted.len() > COMM_BYTES && !is_known && cut(wanted).as_deref() == Some(process)
}

/// Is a process running?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Running {
    Nowhere,
    /// Running, but its files are not visible to us.
    Hidden(u32),
    /// Running, and its files are visible.
    Seen(u32),
}

/// Looks for a process by PID or name; of several a visible one.
pub(crate) fn running(wanted: &str) -> io::Result<Running> {
    let mut found = Running::Nowhere;
    for (pid, at) in processes()? {
        let named = of_process(&at).is_some_and(|(process, executable, _)| {
            pid.to_string() == wanted || name_match(wanted, &process, executable.as_deref()).is_some()
        });
        match fs::read_dir(at.join("fd")) {
            _ if !named => {}
            Ok(_) => return Ok(Running::Seen(pid)),
            Err(_) => found = Running::Hidden(pid),
        }
    }
    Ok(found)
}

fn processes() -> io::Result<impl Iterator<Item = (u32, PathBuf)>> {
    let process = |entry: fs::DirEntry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()));
    Ok(fs::read_dir("/proc")?.flatten().filter_map(process))
}

/// Processes by the sockets they own.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    by_inode: HashMap<u32, Vec<Owner>>,
    /// Processes whose files are not visible.
    pub(crate) hidden: usize,
    users: HashMap<u32, String>,
}

impl Owners {
    /// Reads /proc. A process that ends meanwhile is skipped.
    pub(crate) fn read() -> io::Result<Owners> {
        let mut owners = Owners { users: users(), ..Owners::default() };
        for (pid, at) in processes()? {
            owners.look_into(pid, &at);
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
            // It has ended meanwhile.
            let Some((process, executable, uid)) = &process else { return };
            let fd = file.file_name().to_str().and_then(|fd| fd.parse().ok()).unwrap_or_default();
            let owner =
                Owner { pid, process: process.clone(), fd, executable: executable.clone(), uid: *uid };
            self.by_inode.entry(inode).or_default().push(owner);
        }
    }

    /// The owners of a socket; an inherited socket has several.
    pub(crate) fn of(&self, inode: u32) -> &[Owner] {
        self.by_inode.get(&inode).map_or(&[], Vec::as_slice)
    }

    /// The name of a user, or else its number.
    pub(crate) fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }
}

/// Name, executable and user of a process.
fn of_process(at: &Path) -> Option<(String, Option<String>, u32)> {
    let name = fs::read(at.join("comm")).ok()?;
    let uid = fs::metadata(at).ok()?.uid();
    let executable = fs::read_link(at.join("exe")).ok();
    let executable = executable.as_ref().and_then(|path| path.file_name()).map(|name| {
        let name = name.to_string_lossy();
        // The kernel's mark of a replaced executable.
        name.strip_suffix(" (deleted)").unwrap_or(&name).to_owned()
    });
    Some((String::from_utf8_lossy(name.strip_suffix(b"\n").unwrap_or(&name)).into_owned(), executable, uid))
}

fn users() -> HashMap<u32, String> {
    let table = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
    };
    // Of two names for one number the first counts, as in `getpwuid(3)`.
    table.lines().rev().filter_map(line).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_matches_as_far_as_it_is_known() {
        let telegram = Some("telegram-desktop-server");
        for (wanted, process, executable, is_it) in [
            ("nc", "nc", Some("nc.openbsd"), true),
            ("nc.openbsd", "nc", Some("nc.openbsd"), true),
            ("nc.open", "nc", Some("nc.openbsd"), false),
            ("telegram-desktop-server", "telegram-deskto", telegram, true),
            ("telegram-deskto", "telegram-deskto", telegram, true),
            ("telegram-desktop", "telegram-deskto", telegram, false),
            ("telegram-desktop", "telegram-deskto", None, true),
            ("telegram-des", "telegram-deskto", None, false),
            // A script: its own name, and the executable of its interpreter.
            ("a-script-with-a-long-name.py", "a-script-with-a", Some("python3.13"), true),
            ("python3.13", "a-script-with-a", Some("python3.13"), true),
            ("tên-rất-dài-của-ta", "tên-rất-dài", None, true),
            ("", "x", None, false),
        ] {
            assert_eq!(is_name(wanted, process, executable), is_it, "{wanted} {process} {executable:?}");
        }
        // Cut in the middle of a character, as the kernel cuts.
        let long = "ứng-dụng-nhắn-tin";
        let cut = String::from_utf8_lossy(&long.as_bytes()[..COMM_BYTES]).into_owned();
        assert!(is_name(long, &cut, None), "{cut}");
        assert_eq!(running(&std::process::id().to_string()).unwrap(), Running::Seen(std::process::id()));
        assert_eq!(running("nobody-has-this-name").unwrap(), Running::Nowhere);
    }

    #[test]
    fn a_name_stands_for_its_versions() {
        let version = |name: &str| Some(NameMatch::Version(name.to_owned()));
        for (wanted, process, executable, expected) in [
            ("python", "python3", Some("python3.13"), version("python3")),
            ("python3", "python3", Some("python3.13"), Some(NameMatch::Exact)),
            ("python3", "serve.py", Some("python3.13"), version("python3.13")),
            ("python", "python3.13", None, version("python3.13")),
            ("gcc", "gcc-12", None, version("gcc-12")),
            ("python", "pythonw", None, None),
            ("python", "python-config", None, None),
            ("pyth", "python3", Some("python3.13"), None),
            ("n", "nc", None, None),
            // A number is a PID.
            ("1", "12", None, None),
            ("", "3", None, None),
        ] {
            assert_eq!(name_match(wanted, process, executable), expected, "{wanted} {process}");
        }
    }

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
