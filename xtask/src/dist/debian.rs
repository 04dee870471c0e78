//! A Debian package: an `ar` file of a version, a tar file about the package, and a tar file of its files.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use md5::{Digest, Md5};

use super::archive::{Files, gzip};

/// What a package says about itself.
pub(crate) struct Package<'a> {
    /// Of the program, as `0.1.0`.
    pub(crate) version: &'a str,
    /// As Debian names it.
    pub(crate) architecture: &'a str,
    /// The oldest glibc with which the program runs.
    pub(crate) glibc: &'a str,
    pub(crate) homepage: &'a str,
    /// Seconds since 1970, and the same as RFC 5322 writes it.
    pub(crate) time: u64,
    pub(crate) date: &'a str,
    /// Scripts that dpkg runs, by their names.
    pub(crate) scripts: &'a [(&'static str, String)],
}

const MAINTAINER: &str = "The vang developers <vang@example.org>";

/// Debian's name of an architecture of Rust.
pub(crate) fn architecture(rust: &str) -> Result<&'static str> {
    Ok(match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        _ => bail!(
            "Debian's name of the architecture {rust} is not known here: add it to xtask/src/dist/debian.rs"
        ),
    })
}

impl Package<'_> {
    /// The version of the package: that of the program, then that of its packaging.
    pub(crate) fn version(&self) -> String {
        format!("{}-1", self.version)
    }

    pub(crate) fn file_name(&self) -> String {
        format!("vang_{}_{}.deb", self.version(), self.architecture)
    }

    /// The package with these files, whose paths begin below `/`.
    pub(crate) fn build(&self, files: &Files) -> Result<Vec<u8>> {
        let mut about = Files::default();
        about.add("control", self.control(files));
        about.add("md5sums", md5sums(files));
        let conffiles: String =
            files.0.keys().filter(|path| path.starts_with("etc/")).map(|path| format!("/{path}\n")).collect();
        if !conffiles.is_empty() {
            about.add("conffiles", conffiles);
        }
        for (name, script) in self.scripts {
            about.add_program(*name, script.as_str());
        }
        Ok(ar(
            &[
                ("debian-binary", b"2.0\n"),
                ("control.tar.gz", &about.tar_gz("./", self.time)?),
                ("data.tar.gz", &files.tar_gz("./", self.time)?),
            ],
            self.time,
        ))
    }

    fn control(&self, files: &Files) -> String {
        let kib: usize = files.0.values().map(|file| file.bytes.len().div_ceil(1_024)).sum();
        format!(
            "Package: vang\n\
             Version: {}\n\
             Architecture: {}\n\
             Maintainer: {MAINTAINER}\n\
             Installed-Size: {kib}\n\
             Depends: libc6 (>= {}), libgcc-s1 (>= 4.2), adduser\n\
             Section: net\n\
             Priority: optional\n\
             Homepage: {}\n\
             Description: chat and messaging over plain sockets\n \
             People in a terminal or a browser, scripts, sensors and small clients in any\n \
             language share the same rooms: one program, one port, one durable journal.\n \
             .\n \
             The package has the server, its systemd service (which is not started by\n \
             itself), all clients, and `vang net`, a set of tools for sockets.\n",
            self.version(),
            self.architecture,
            self.glibc,
            self.homepage,
        )
    }

    /// The changes of the packaging, in Debian's form.
    pub(crate) fn changelog(&self) -> Result<Vec<u8>> {
        let text = format!(
            "vang ({}) unstable; urgency=medium\n\n  * Version {}; changelog.gz lists the changes.\n\n -- {MAINTAINER}  {}\n",
            self.version(),
            self.version,
            self.date
        );
        gzip(text.as_bytes())
    }
}

/// In the form of `md5sum`, with which `dpkg --verify` finds changed files. Settings are meant to be changed.
fn md5sums(files: &Files) -> String {
    let mut sums = String::new();
    for (path, file) in files.0.iter().filter(|(path, _)| !path.starts_with("etc/")) {
        for byte in Md5::digest(&file.bytes) {
            let _ = write!(sums, "{byte:02x}");
        }
        let _ = writeln!(sums, "  {path}");
    }
    sums
}

/// The format is older than Unix: 60 bytes of text before each member, which begins at an even byte.
fn ar(members: &[(&str, &[u8])], time: u64) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, member) in members {
        bytes.extend(
            format!("{name:<16}{time:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, "100644", member.len()).bytes(),
        );
        bytes.extend_from_slice(member);
        if !member.len().is_multiple_of(2) {
            bytes.push(b'\n');
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    const PACKAGE: Package<'_> = Package {
        version: "1.2.3",
        architecture: "amd64",
        glibc: "2.36",
        homepage: "https://example.org/vang",
        time: 1_700_000_000,
        date: "Tue, 14 Nov 2023 22:13:20 +0000",
        scripts: &[],
    };

    fn files() -> Files {
        let mut files = Files::default();
        files.add_program("usr/bin/vang", "#!/bin/sh\necho it runs\n");
        files.add("etc/vang/vang.toml", "listen = []\n");
        files
    }

    /// dpkg-deb's answer to a question about a package.
    fn dpkg_deb(folder: &std::path::Path, words: &[&str]) -> String {
        let package = folder.join("vang.deb");
        fs::write(&package, PACKAGE.build(&files()).unwrap()).unwrap();
        let output = Command::new("dpkg-deb").arg(words[0]).arg(&package).args(&words[1..]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn dpkg_reads_every_field() {
        let folder = tempfile::tempdir().unwrap();
        for (field, value) in [
            ("Package", "vang"),
            ("Version", "1.2.3-1"),
            ("Architecture", "amd64"),
            ("Depends", "libc6 (>= 2.36), libgcc-s1 (>= 4.2), adduser"),
            ("Installed-Size", "2"),
        ] {
            assert_eq!(dpkg_deb(folder.path(), &["--field", field]).trim(), value);
        }
        let control = dpkg_deb(folder.path(), &["--ctrl-tarfile"]);
        assert!(control.contains("/etc/vang/vang.toml\n"), "the settings are known as such");
    }

    #[test]
    fn dpkg_unpacks_a_program_that_runs_and_sums_that_fit() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        dpkg_deb(folder.path(), &["--raw-extract", root.to_str().unwrap()]);
        let ran = Command::new(root.join("usr/bin/vang")).output().unwrap();
        assert_eq!(ran.stdout, b"it runs\n");
        let sums = Command::new("md5sum")
            .args(["--check", "--strict", "DEBIAN/md5sums"])
            .current_dir(&root)
            .output();
        assert_eq!(String::from_utf8(sums.unwrap().stdout).unwrap(), "usr/bin/vang: OK\n");
    }

    #[test]
    fn the_package_is_the_same_every_time() {
        assert_eq!(PACKAGE.build(&files()).unwrap(), PACKAGE.build(&files()).unwrap());
        assert_eq!(PACKAGE.file_name(), "vang_1.2.3-1_amd64.deb");
        assert!(architecture("sparc").is_err());
    }

    #[test]
    fn a_member_of_odd_length_is_padded() {
        let file = ar(&[("odd", b"1"), ("even", b"22")], 5);
        assert_eq!(file.len(), 8 + 60 + 2 + 60 + 2);
        assert!(file.ends_with(b"`\n22"));
    }
}
