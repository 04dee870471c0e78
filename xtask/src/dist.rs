//! `cargo xtask dist`: what users get: an archive, a Debian package and a container file, built and tried out.
//!
//! ```text
//! target/distribution/
//!   vang-0.1.0-x86_64-linux.tar.gz     program, manual pages, completions, service, documents, licences
//!   vang_0.1.0-1_amd64.deb             the same, in Debian's places
//!   Containerfile                      an image from the package
//!   SHA256SUMS
//! ```
//!
//! The same commit and compiler give the same bytes in any folder: paths of this machine are not in the program, and every
//! file has the time of the commit (or `SOURCE_DATE_EPOCH`).

mod archive; // tar and gzip
mod debian; // a Debian package
mod licence_texts; // the licences of all that is in the program
mod glibc; // which glibc the program needs
mod own_root; // this machine's system, under an overlay, for a trial
mod service; // the package's service under a real systemd
mod containerfile; // the steps of the container file, without an engine
mod trial; // runs the program as its user would

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use self::archive::{Files, gzip};
use self::containerfile::Containerfile;
use crate::metadata::Metadata;
use crate::{run, tools};

/// The most that the program may have: 20 MB, a download that nobody minds.
const PROGRAM_BYTES_MAX: usize = 20_000_000;
/// The glibc of the image in the container file (Debian 12).
const GLIBC_OF_IMAGE: [u32; 2] = [2, 36];

/// Builds, writes and tries out everything; prints what came of it.
pub(crate) fn build() -> Result<()> {
    tools::check_for_dist()?;
    let dist = Dist::gather()?;
    let folder = target().join("distribution");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let (archive, package) = (dist.archive_name(), dist.package()?.file_name());
    let written = [
        (archive.as_str(), dist.archive()?.tar_gz(&format!("{}/", dist.name()), dist.time)?),
        (package.as_str(), dist.package()?.build(&dist.installed()?)?),
        ("Containerfile", fs::read("contrib/container/Containerfile")?),
    ];
    let mut sums = String::new();
    for (name, bytes) in &written {
        fs::write(folder.join(name), bytes).with_context(|| format!("cannot write {name}"))?;
        for byte in Sha256::digest(bytes) {
            let _ = write!(sums, "{byte:02x}");
        }
        let _ = writeln!(sums, "  {name}");
        eprintln!("   {name}: {:.1} MB", bytes.len() as f64 / 1e6);
    }
    fs::write(folder.join("SHA256SUMS"), sums)?;
    dist.try_out(&folder)?;
    eprintln!("   all in {}", folder.display());
    Ok(())
}

/// The target that is built for, as `x86_64-unknown-linux-gnu`.
pub(crate) fn host() -> Result<String> {
    let output = run::answer(run::command("rustc").arg("-vV"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or(PathBuf::from("target"), PathBuf::from)
}

/// All parts, in memory.
struct Dist {
    version: String,
    homepage: String,
    program: Vec<u8>,
    glibc: String,
    /// File name and text of each page.
    manual: Vec<(String, Vec<u8>)>,
    completions: [(&'static str, Vec<u8>); 3],
    licences: String,
    /// Seconds since 1970, and the same as RFC 5322 writes it.
    time: u64,
    date: String,
    scripts: Vec<(&'static str, String)>,
}

impl Dist {
    fn gather() -> Result<Dist> {
        let path = compile()?;
        let path = path.to_str().context("the path of the target folder is not UTF-8")?;
        let program = fs::read(path)?;
        if program.len() > PROGRAM_BYTES_MAX {
            bail!("{path} has {} bytes; it may have {PROGRAM_BYTES_MAX}", program.len());
        }
        refuse_paths(&program)?;
        let readelf = run::answer(run::command("readelf").args(["--version-info", "--wide", path]))?;
        let glibc = glibc::needed(&String::from_utf8_lossy(&readelf.stdout))?;
        eprintln!("   vang: {:.1} MB, needs glibc {glibc}", program.len() as f64 / 1e6);

        let metadata = Metadata::load_for(Some(&host()?))?;
        let vang = metadata.ours().find(|package| package.name == "vang").context("no package vang")?;
        let pages = tempfile::tempdir()?;
        let to = pages.path().to_str().context("the temporary folder is not UTF-8")?;
        run::through(run::command(path).args(["man", "--to", to]))?;
        let mut manual = Vec::new();
        for page in fs::read_dir(pages.path())? {
            let page = page?;
            manual.push((page.file_name().to_string_lossy().into_owned(), fs::read(page.path())?));
        }
        let completions = |shell| -> Result<(&'static str, Vec<u8>)> {
            Ok((shell, run::answer(run::command(path).args(["completions", shell]))?.stdout))
        };
        let time = time_of_commit()?;
        let date = run::answer(run::command("date").env("LC_ALL", "C").args([
            "--utc",
            "-R",
            "-d",
            &format!("@{time}"),
        ]))?;
        let script = |name: &'static str| -> Result<(&'static str, String)> {
            Ok((name, fs::read_to_string(format!("contrib/debian/{name}"))?))
        };
        Ok(Dist {
            version: vang.version.clone(),
            homepage: vang.repository.clone().context("the package vang names no repository")?,
            glibc,
            manual,
            completions: [completions("bash")?, completions("zsh")?, completions("fish")?],
            licences: licences(&metadata)?,
            time,
            date: String::from_utf8_lossy(&date.stdout).trim().to_owned(),
            scripts: vec![script("postinst")?, script("prerm")?, script("postrm")?],
            program,
        })
    }

    fn name(&self) -> String {
        format!("vang-{}-{}-linux", self.version, env::consts::ARCH)
    }

    fn archive_name(&self) -> String {
        format!("{}.tar.gz", self.name())
    }

    fn package(&self) -> Result<debian::Package<'_>> {
        Ok(debian::Package {
            version: &self.version,
            architecture: debian::architecture(env::consts::ARCH)?,
            glibc: &self.glibc,
            homepage: &self.homepage,
            time: self.time,
            date: &self.date,
            scripts: &self.scripts,
        })
    }

    /// The files of the archive.
    fn archive(&self) -> Result<Files> {
        let mut files = Files::default();
        files.add_program("vang", self.program.clone());
        for (name, page) in &self.manual {
            files.add(format!("man/man1/{name}"), page.clone());
        }
        for (shell, script) in &self.completions {
            files.add(format!("completions/vang.{shell}"), script.clone());
        }
        files.add("LICENCES-OF-DEPENDENCIES.txt", self.licences.clone());
        for path in COPIED {
            files.add(*path, fs::read(path).with_context(|| format!("cannot read {path}"))?);
        }
        Ok(files)
    }

    /// The files of the Debian package, below `/`.
    fn installed(&self) -> Result<Files> {
        let mut files = Files::default();
        files.add_program("usr/bin/vang", self.program.clone());
        for (name, page) in &self.manual {
            files.add(format!("usr/share/man/man1/{name}.gz"), gzip(page)?);
        }
        let places = [
            "usr/share/bash-completion/completions/vang",
            "usr/share/zsh/vendor-completions/_vang",
            "usr/share/fish/vendor_completions.d/vang.fish",
        ];
        for (place, (_, script)) in places.iter().zip(&self.completions) {
            files.add(*place, script.clone());
        }
        files.add("usr/lib/systemd/system/vang.service", fs::read("contrib/systemd/vang.service")?);
        files.add("etc/vang/vang.toml", fs::read("contrib/systemd/vang.toml")?);
        files.add("usr/share/lintian/overrides/vang", fs::read("contrib/debian/lintian-overrides")?);
        let doc = "usr/share/doc/vang";
        files.add(format!("{doc}/copyright"), self.copyright()?);
        // Debian's rules want no text of the Apache licence in `copyright`.
        files.add(format!("{doc}/dependencies.txt.gz"), gzip(self.licences.as_bytes())?);
        files.add(format!("{doc}/changelog.gz"), gzip(&fs::read("CHANGELOG.md")?)?);
        files.add(format!("{doc}/changelog.Debian.gz"), self.package()?.changelog()?);
        for guide in ["OPERATING", "PROTOCOL", "WORKBENCH"] {
            files.add(format!("{doc}/{guide}.md.gz"), gzip(&fs::read(format!("docs/{guide}.md"))?)?);
        }
        files.add(format!("{doc}/examples/vang.lua"), fs::read("contrib/wireshark/vang.lua")?);
        Ok(files)
    }

    fn copyright(&self) -> Result<String> {
        let mit = fs::read_to_string("LICENSE-MIT")?;
        let year = self.date.split_whitespace().nth(3).context("a date without a year")?;
        Ok(format!(
            "vang is at {}\n\nCopyright (C) {year} the vang developers\n\nvang is under the MIT licence or the Apache licence 2.0, \
             at your choice. On Debian systems\nthe text of the Apache licence is in /usr/share/common-licenses/Apache-2.0.\n\
             dependencies.txt.gz has the licences of the libraries in the program. The MIT\nlicence:\n\n{}\n",
            self.homepage,
            mit.trim(),
        ))
    }

    /// Unpacks everything as a user would, and runs it.
    fn try_out(&self, folder: &Path) -> Result<()> {
        let unpacked = tempfile::tempdir()?;
        let root = unpacked.path();
        run::through(
            run::command("tar").arg("-xzf").arg(folder.join(self.archive_name())).arg("-C").arg(root),
        )?;
        trial::run(&root.join(self.name()).join("vang"), &self.version).context("the archive")?;
        eprintln!("   the archive is unpacked, and its program runs");

        let package = folder.join(self.package()?.file_name());
        let installed = root.join("installed");
        run::through(run::command("dpkg-deb").arg("--extract").arg(&package).arg(&installed))?;
        trial::run(&installed.join("usr/bin/vang"), &self.version).context("the Debian package")?;
        eprintln!("   the Debian package is unpacked, and its program runs");
        let mut lintian = run::command("lintian");
        lintian.args([
            "--fail-on",
            "error,warning",
            "--tag-display-limit",
            "0",
            "--allow-root",
            "--color",
            "never",
        ]);
        run::through(lintian.arg(&package)).context("lintian is not content with the package")?;
        eprintln!("   lintian finds nothing in it");

        let containerfile = Containerfile::parse(&fs::read_to_string(folder.join("Containerfile"))?)?;
        let needed: Vec<u32> = self.glibc.split('.').filter_map(|number| number.parse().ok()).collect();
        if needed.as_slice() > GLIBC_OF_IMAGE.as_slice() {
            bail!(
                "the program needs glibc {}, and {} has an older one: build it on an older system, or change FROM",
                self.glibc,
                containerfile.base
            );
        }
        containerfile.try_out(folder)?;
        eprintln!("   the steps of the container file work, in a root of their own");
        if own_root::is_administrator() {
            service::try_out(folder, &self.package()?.file_name())?;
            eprintln!("   the service works under systemd, which starts it again when it hangs");
        } else {
            eprintln!("   NOT tried: the service under systemd, which needs root");
        }
        Ok(())
    }
}

/// Files of the repository that are in the archive at the same place.
const COPIED: &[&str] = &[
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "contrib/systemd/vang.service",
    "contrib/systemd/vang.toml",
    "contrib/wireshark/vang.lua",
    "docs/OPERATING.md",
    "docs/PROTOCOL.md",
    "docs/WORKBENCH.md",
    "docs/page.png",
];

/// Compiles the program; returns its path.
fn compile() -> Result<PathBuf> {
    let mut cargo = run::command("cargo");
    cargo.args(["build", "--profile", "dist", "--locked", "-p", "vang"]);
    // Paths of this machine in messages of panics and in C's assertions would name its user, and differ from others'.
    let from: Vec<String> =
        private_paths()?.into_iter().map(|(path, name)| format!("{path}={name}")).collect();
    let rust: Vec<String> = from.iter().map(|map| format!("--remap-path-prefix={map}")).collect();
    let c: Vec<String> = from.iter().map(|map| format!("-ffile-prefix-map={map}")).collect();
    let c_before = env::var("CFLAGS").unwrap_or_default();
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rust.join("\x1f"));
    cargo.env("CFLAGS", format!("{c_before} {}", c.join(" ")).trim());
    run::through(&mut cargo)?;
    Ok(target().join("dist/vang"))
}

/// Folders that must not be named in the program, with what stands for them.
fn private_paths() -> Result<Vec<(String, &'static str)>> {
    let here = env::current_dir()?.canonicalize()?;
    let here = here.to_str().context("the path of the repository is not UTF-8")?.to_owned();
    let home = || env::var("HOME").map(|home| format!("{home}/.cargo"));
    let cargo = env::var("CARGO_HOME").or_else(|_| home()).context("neither CARGO_HOME nor HOME is set")?;
    let target = std::path::absolute(target())?;
    let target = target.to_str().context("the path of the target folder is not UTF-8")?.to_owned();
    Ok(vec![(here, "/vang"), (cargo, "/cargo"), (target, "/target")])
}

fn refuse_paths(program: &[u8]) -> Result<()> {
    for (path, _) in private_paths()? {
        if let Some(at) = program.windows(path.len()).position(|bytes| bytes == path.as_bytes()) {
            let shown = &program[at..program.len().min(at + 120)];
            bail!("the program names a folder of this machine: {}", String::from_utf8_lossy(shown));
        }
    }
    Ok(())
}

fn time_of_commit() -> Result<u64> {
    let time = match env::var("SOURCE_DATE_EPOCH") {
        Ok(time) => time,
        Err(_) => run::first_line("git", &["log", "-1", "--format=%ct"])
            .context("neither git nor SOURCE_DATE_EPOCH gives the time of this version")?,
    };
    time.trim().parse().with_context(|| format!("`{time}` is not a number of seconds since 1970"))
}

/// The licence texts of everything in the program that is not ours.
fn licences(metadata: &Metadata) -> Result<String> {
    let apache = fs::read_to_string("LICENSE-APACHE")?;
    let mut parts = licence_texts::parts(metadata, "vang", &apache)?;
    for (name, file) in [
        ("preact, in the page (MIT)", "web/vendor/LICENSE-preact"),
        ("htm, in the page (Apache-2.0)", "web/vendor/LICENSE-htm"),
    ] {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
        parts.push(licence_texts::Part {
            name: name.to_owned(),
            texts: vec![text.trim_matches('\n').to_owned()],
        });
    }
    parts.push(licence_texts::Part {
        name: "the standard library of Rust, by the Rust Project Contributors (MIT OR Apache-2.0)".to_owned(),
        texts: vec![apache.trim_matches('\n').to_owned()],
    });
    Ok(licence_texts::document(LICENCES_BEGIN, &parts))
}

const LICENCES_BEGIN: &str = "\
vang contains these works of others, under the licences behind this list. The SQLite inside libsqlite3-sys
is in the public domain.";
