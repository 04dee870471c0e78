//! What the machine says of this process and of the data folder's disk. Read when somebody asks, on a
//! thread beside the one that decides: a disk may let one wait. What cannot be found out is left out.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

/// The data folder's files that grow, with what SQLite keeps beside them.
const FILES: [&str; 8] = [
    "journal.db",
    "journal.db-wal",
    "view.db",
    "view.db-wal",
    "find.db",
    "find.db-wal",
    "seen.db",
    "seen.db-wal",
];

#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) cpu_seconds: Option<f64>,
    /// When the process began, seconds since 1970.
    pub(crate) began: Option<f64>,
    pub(crate) open_files: Option<u64>,
    pub(crate) open_files_max: Option<u64>,
    pub(crate) disk: Option<Space>,
    /// Those of `FILES` that are there, in bytes.
    pub(crate) files: Vec<(&'static str, u64)>,
}

/// Room on a disk, for users other than root, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) free: u64,
    pub(crate) size: u64,
}

/// Looks at the machine, on a thread where it may take its time: one look at a time, so that requests for it take one
/// thread, however many they are.
pub(crate) struct Looks {
    data: PathBuf,
    one: tokio::sync::Mutex<()>,
}

impl Looks {
    /// At this data folder.
    pub(crate) fn at(data: PathBuf) -> Looks {
        Looks { data, one: tokio::sync::Mutex::new(()) }
    }

    /// Everything.
    pub(crate) async fn machine(&self) -> Machine {
        self.look(look_now).await
    }

    /// Only how much room there is.
    pub(crate) async fn disk(&self) -> Option<Space> {
        self.look(space).await
    }

    async fn look<T: Default + Send + 'static>(&self, look: fn(&Path) -> T) -> T {
        let one = self.one.lock().await;
        let data = self.data.clone();
        let seen = tokio::task::spawn_blocking(move || look(&data)).await;
        drop(one);
        seen.unwrap_or_default()
    }
}

fn look_now(data: &Path) -> Machine {
    let times = ProcessTimes::read();
    let size = |name: &&'static str| Some((*name, fs::metadata(data.join(name)).ok()?.len()));
    Machine {
        resident_bytes: resident(),
        cpu_seconds: times.map(|times| times.cpu_seconds),
        began: times.and_then(|times| Some(boot_time()? + times.began_after_boot)),
        open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
        open_files_max: getrlimit(Resource::Nofile).current,
        disk: space(data),
        files: FILES.iter().filter_map(size).collect(),
    }
}

fn space(data: &Path) -> Option<Space> {
    let found = rustix::fs::statvfs(data).ok()?;
    Some(Space { free: found.f_bavail * found.f_frsize, size: found.f_blocks * found.f_frsize })
}

fn resident() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// What `/proc/self/stat` says of this process.
#[derive(Clone, Copy)]
struct ProcessTimes {
    cpu_seconds: f64,
    began_after_boot: f64,
}

impl ProcessTimes {
    fn read() -> Option<ProcessTimes> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name before may have spaces and brackets of its own.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let second = rustix::param::clock_ticks_per_second() as f64;
        Some(ProcessTimes {
            cpu_seconds: (ticks(11)? + ticks(12)?) as f64 / second,
            began_after_boot: ticks(19)? as f64 / second,
        })
    }
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}
