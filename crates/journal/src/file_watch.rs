//! Are the open files still the ones in the folder? SQLite does not check: it continues to write into a file
//! that was removed or moved, and acknowledged entries are lost with the process.
//!
//! A file is held with a descriptor that can neither read nor write (`O_PATH`). Closing it, unlike any other
//! descriptor, does not drop SQLite's locks on the file (open(2), fcntl(2)).

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstat, open};

/// An open file, and the path where it must be.
#[derive(Debug)]
pub struct FileWatch {
    path: PathBuf,
    held: OwnedFd,
}

/// A file that is not at its path any more.
#[derive(Debug)]
pub struct FileWatchError {
    /// The file's name, without its folder.
    pub name: String,
    pub how: Displacement,
    /// It can still be read here while this process lives: `/proc/PID/fd/N`.
    pub held_at: String,
}

/// What happened to a file.
#[derive(Debug)]
pub enum Displacement {
    /// It has no name any more and is gone when the last process that has it open ends.
    Removed,
    /// It, or its folder, has another name.
    Moved,
    /// Another file has its name.
    Replaced,
    /// The system call failed.
    Unknown(io::Error),
}

impl std::fmt::Display for FileWatchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.name;
        match &self.how {
            Displacement::Removed => write!(f, "{name} was removed while the server has it open"),
            Displacement::Moved => {
                write!(f, "{name} is not in the data folder any more: it, or the folder, was moved")
            }
            Displacement::Replaced => write!(f, "{name} is not the file that the server has open"),
            Displacement::Unknown(error) => write!(f, "{name} cannot be checked: {error}"),
        }
    }
}

impl FileWatch {
    /// Holds the file that is at `path` now.
    pub fn hold(path: &Path) -> io::Result<FileWatch> {
        let held = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Ok(FileWatch { path: path.to_owned(), held })
    }

    /// Is the file still at its path?
    pub fn look(&self) -> Result<(), FileWatchError> {
        let how = match (fs::metadata(&self.path), fstat(&self.held)) {
            (Ok(there), Ok(held)) if (there.dev(), there.ino()) == (held.st_dev, held.st_ino) => {
                return Ok(());
            }
            (Ok(_), Ok(_)) => Displacement::Replaced,
            (Err(error), Ok(held)) if error.kind() == io::ErrorKind::NotFound => match held.st_nlink {
                0 => Displacement::Removed,
                _ => Displacement::Moved,
            },
            (Err(error), _) => Displacement::Unknown(error),
            (_, Err(errno)) => Displacement::Unknown(errno.into()),
        };
        let name = self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let held_at = format!("/proc/{}/fd/{}", std::process::id(), self.held.as_raw_fd());
        Err(FileWatchError { name, how, held_at })
    }
}

/// The files of a SQLite database in WAL mode that a connection has open.
#[derive(Debug, Default)]
pub struct DatabaseWatch(Vec<FileWatch>);

impl DatabaseWatch {
    /// Holds the database, its `-wal` and `-shm`, if they exist. Call it after the connection's first read,
    /// which opens all three.
    pub fn hold(path: &Path) -> io::Result<DatabaseWatch> {
        let mut held = vec![FileWatch::hold(path)?];
        for end in ["-wal", "-shm"] {
            let mut name = path.to_owned().into_os_string();
            name.push(end);
            match FileWatch::hold(Path::new(&name)) {
                Ok(file) => held.push(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(DatabaseWatch(held))
    }

    /// Holds the files that are there now: for a caller that has rebuilt them.
    pub fn renew(&mut self) {
        if let Some(database) = self.0.first()
            && let Ok(again) = DatabaseWatch::hold(&database.path)
        {
            *self = again;
        }
    }

    /// Are all files still at their paths? The error is the first missing one; the database comes first.
    pub fn look(&self) -> Result<(), FileWatchError> {
        self.0.iter().try_for_each(FileWatch::look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_or_moved_file_is_noticed_and_can_come_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let (folder, elsewhere) = (dir.path().join("data"), dir.path().join("elsewhere"));
        let (path, other) = (folder.join("journal.db"), folder.join("other.db"));
        fs::create_dir(&folder).expect("made");
        fs::write(&path, "first").expect("written");
        let watch = FileWatch::hold(&path).expect("held");
        let how = || match watch.look() {
            Ok(()) => "there".to_owned(),
            Err(displaced) => format!("{displaced}"),
        };
        assert_eq!(how(), "there");
        fs::rename(&folder, &elsewhere).expect("moved");
        assert_eq!(how(), "journal.db is not in the data folder any more: it, or the folder, was moved");
        fs::rename(&elsewhere, &folder).expect("moved back");
        assert_eq!(how(), "there");
        fs::hard_link(&path, &other).expect("linked");
        fs::remove_file(&path).expect("removed");
        assert!(how().contains("was moved"), "it has another name: {}", how());
        fs::write(&path, "second").expect("written");
        assert_eq!(how(), "journal.db is not the file that the server has open");
        fs::rename(&other, &path).expect("put back");
        assert_eq!(how(), "there");
        fs::remove_file(&path).expect("removed");
        let displaced = watch.look().expect_err("removed");
        assert!(matches!(displaced.how, Displacement::Removed), "{displaced}");
        // Its content is still readable.
        assert_eq!(fs::read(&displaced.held_at).expect("readable"), b"first");
    }
}
