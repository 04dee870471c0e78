//! Archives whose bytes depend on their files only: sorted, owned by root, with one time for all.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use anyhow::{Result, bail};
use flate2::{Compression, GzBuilder};

/// The longest name that every reader of tar files understands.
const NAME_BYTES_MAX: usize = 100;

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_executable: bool,
}

/// Files by their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files(pub(crate) BTreeMap<String, Entry>);

impl Files {
    pub(crate) fn add(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.insert(path.into(), Entry { bytes: bytes.into(), is_executable: false });
    }

    pub(crate) fn add_program(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.insert(path.into(), Entry { bytes: bytes.into(), is_executable: true });
    }

    /// A tar file. `prefix` stands before every path; `time` is in seconds since 1970.
    pub(crate) fn tar(&self, prefix: &str, time: u64) -> Result<Vec<u8>> {
        let mut builder = tar::Builder::new(Vec::new());
        let paths: Vec<String> = self.0.keys().map(|path| format!("{prefix}{path}")).collect();
        for folder in folders(&paths) {
            append(&mut builder, &folder, tar::EntryType::Directory, 0o755, &[], time)?;
        }
        for (path, entry) in paths.iter().zip(self.0.values()) {
            let mode = if entry.is_executable { 0o755 } else { 0o644 };
            append(&mut builder, path, tar::EntryType::Regular, mode, &entry.bytes, time)?;
        }
        Ok(builder.into_inner()?)
    }

    pub(crate) fn tar_gz(&self, prefix: &str, time: u64) -> Result<Vec<u8>> {
        gzip(&self.tar(prefix, time)?)
    }
}

/// Every folder above these files, outer ones first.
fn folders(paths: &[String]) -> BTreeSet<String> {
    let slashes = paths.iter().flat_map(|path| path.match_indices('/').map(|(at, _)| path[..=at].to_owned()));
    slashes.collect()
}

fn append(
    builder: &mut tar::Builder<Vec<u8>>,
    path: &str,
    kind: tar::EntryType,
    mode: u32,
    bytes: &[u8],
    time: u64,
) -> Result<()> {
    if path.len() > NAME_BYTES_MAX {
        bail!("{path} has {} bytes; a name in an archive has at most {NAME_BYTES_MAX}", path.len());
    }
    let mut header = tar::Header::new_gnu();
    // Not `set_path`, which removes the `./` that Debian's packages have.
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    header.set_mtime(time);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root")?;
    header.set_groupname("root")?;
    header.set_cksum();
    builder.append(&header, bytes)?;
    Ok(())
}

/// As `gzip -9 --no-name`.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut writer = GzBuilder::new().mtime(0).operating_system(3).write(Vec::new(), Compression::best());
    writer.write_all(bytes)?;
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn files() -> Files {
        let mut files = Files::default();
        files.add_program("bin/vang", b"#!/bin/sh\necho it runs\n".as_slice());
        files.add("share/doc/README.md", "read me");
        files.add("share/empty", "");
        files
    }

    #[test]
    fn the_same_files_give_the_same_bytes_in_any_order() {
        let once = files().tar_gz("vang/", 1_700_000_000).unwrap();
        let mut again = Files::default();
        for (path, entry) in files().0.into_iter().rev() {
            again.0.insert(path, entry);
        }
        assert_eq!(again.tar_gz("vang/", 1_700_000_000).unwrap(), once);
        assert_ne!(files().tar_gz("vang/", 1_700_000_001).unwrap(), once);
    }

    #[test]
    fn tar_unpacks_it_with_modes_owner_and_time() {
        let mut tar = Command::new("tar");
        tar.args(["--list", "--verbose", "--gzip", "--utc", "--full-time"]).env("LC_ALL", "C");
        let mut tar = tar.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let archive = files().tar_gz("./", 1_700_000_000).unwrap();
        tar.stdin.take().unwrap().write_all(&archive).unwrap();
        let listed = String::from_utf8(tar.wait_with_output().unwrap().stdout).unwrap();
        let words: Vec<String> =
            listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let time = "2023-11-14 22:13:20";
        assert_eq!(
            words,
            [
                format!("drwxr-xr-x root/root 0 {time} ./"),
                format!("drwxr-xr-x root/root 0 {time} ./bin/"),
                format!("drwxr-xr-x root/root 0 {time} ./share/"),
                format!("drwxr-xr-x root/root 0 {time} ./share/doc/"),
                format!("-rwxr-xr-x root/root 23 {time} ./bin/vang"),
                format!("-rw-r--r-- root/root 7 {time} ./share/doc/README.md"),
                format!("-rw-r--r-- root/root 0 {time} ./share/empty"),
            ],
            "{listed}"
        );
    }

    #[test]
    fn a_name_that_old_readers_would_cut_is_refused() {
        let mut files = Files::default();
        files.add("x".repeat(101), "");
        assert!(files.tar("", 0).unwrap_err().to_string().contains("101 bytes"));
    }
}
