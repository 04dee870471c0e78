//! Files that somebody names in the settings. They are read at the start and again at each HUP, on the thread that
//! serves everybody: a pipe, on which a read would wait for its writer, is refused, and so is what has no end.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Longest file of settings or certificates: 1 MiB, far above what people write.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The content of a regular file.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Without `NONBLOCK` opening a pipe waits already.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !about.is_file() {
        return Err(io::Error::other(
            "it is a pipe, a socket or a device; give a file, which can be read again",
        ));
    }
    let mut content = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(content)
}
