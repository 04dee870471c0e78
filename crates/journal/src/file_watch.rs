//! Are the files that this process has open still those that lie in the folder? SQLite does not look: it
//! goes on writing into a file that somebody has removed or moved, and what was acknowledged is gone with
//! the process.
//!
//! A file is held by a descriptor that can neither read nor write (`O_PATH`): unlike any other descriptor,
//! closing it does not drop the locks that SQLite has on the file (open(2), fcntl(2)).

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstat, open};

/// A file that this process has open, and where it must lie.
#[derive(Debug)]
pub struct FileWatch {
    path: PathBuf,
    held: OwnedFd,
}

/// A file does not lie where it was.
#[derive(Debug)]
pub struct Displaced {
    /// The file's name, without its folder.
    pub name: String,
    /// What became of it.
    pub how: How,
    /// By this it can still be read, while this process lives: `/proc/PID/fd/N`.
    pub held_at: String,
}

/// What became of a file.
#[derive(Debug)]
pub enum How {
    /// It has no name any more: it is gone when the last process that has it open ends.
    Removed,
    /// It has a name elsewhere, or its folder has.
    Moved,
    /// Another file has its name.
    Replaced,
    /// The system does not say.
    Unknown(io::Error),
}

impl std::fmt::Display for Displaced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.name;
        match &self.how {
            How::Removed => write!(f, "{name} was removed while it is open here"),
            How::Moved => {
                write!(f, "{name} is not in the data folder any more: it, or the folder, was moved")
            }
            How::Replaced => write!(f, "{name} is another file than the one that is open here"),
            How::Unknown(error) => write!(f, "{name} cannot be looked at: {error}"),
        }
    }
}

impl FileWatch {
    /// Holds the file that lies there now.
    pub fn hold(path: &Path) -> io::Result<FileWatch> {
        let held = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Ok(FileWatch { path: path.to_owned(), held })
    }

    /// Is it still there?
    pub fn look(&self) -> Result<(), Displaced> {
        let how = match (fs::metadata(&self.path), fstat(&self.held)) {
            (Ok(there), Ok(held)) if (there.dev(), there.ino()) == (held.st_dev, held.st_ino) => {
                return Ok(());
            }
            (Ok(_), Ok(_)) => How::Replaced,
            (Err(error), Ok(held)) if error.kind() == io::ErrorKind::NotFound => match held.st_nlink {
                0 => How::Removed,
                _ => How::Moved,
            },
            (Err(error), _) => How::Unknown(error),
            (_, Err(errno)) => How::Unknown(errno.into()),
        };
        let name = self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let held_at = format!("/proc/{}/fd/{}", std::process::id(), self.held.as_raw_fd());
        Err(Displaced { name, how, held_at })
    }
}

/// The files of a SQLite database in WAL mode, as a connection has them open.
#[derive(Debug, Default)]
pub struct DatabaseWatch(Vec<FileWatch>);

impl DatabaseWatch {
    /// Holds those of them that are there. To be called when a connection has read something, and so has
    /// opened all three.
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

    /// Holds what lies there now instead: for whoever made them anew.
    pub fn renew(&mut self) {
        if let Some(database) = self.0.first()
            && let Ok(again) = DatabaseWatch::hold(&database.path)
        {
            *self = again;
        }
    }

    /// Are they still there? Names the first that is not; the database itself comes first.
    pub fn look(&self) -> Result<(), Displaced> {
        self.0.iter().try_for_each(FileWatch::look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_file_is_told_and_it_may_come_back() {
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
        assert_eq!(how(), "journal.db is another file than the one that is open here");
        fs::rename(&other, &path).expect("put back");
        assert_eq!(how(), "there");
        fs::remove_file(&path).expect("removed");
        let displaced = watch.look().expect_err("removed");
        assert!(matches!(displaced.how, How::Removed), "{displaced}");
        // What was in it can still be had.
        assert_eq!(fs::read(&displaced.held_at).expect("readable"), b"first");
    }
}
