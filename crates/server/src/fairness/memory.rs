//! One budget for what clients make the server hold: unfinished messages, requests and replies that wait, and the ends
//! of rooms. Beyond it nothing new is read, and the largest connections are refused `busy`.
//!
//! Who comes from elsewhere and has not signed in gets 64 KiB of it at once; more only while half of it is free.
//!
//! The system may give less than the budget (RLIMIT_DATA, RLIMIT_AS, no overcommit). So the allocator is asked too: when
//! it has nothing left beyond what small things need, the budget counts as used up, whatever was counted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use rustix::process::{Resource, getrlimit};
use vang_hub::SessionId;
use vang_proto::Millis;
use vang_proto::memory::can_allocate;

/// What a stranger from elsewhere may hold whatever the others do: 64 KiB.
pub(crate) const STRANGER_BYTES: usize = 64 << 10;

/// Who holds less than this is read also when the memory is used up: 4 KiB, a request and its reply.
pub(crate) const LITTLE_BYTES: usize = 4 << 10;

/// Less than this is not looked at when somebody must give up what it holds: 4 KiB.
const LARGE_BYTES: usize = 4 << 10;

/// What the allocator must have left: 16 MiB. Small things of which one that fails ends the process take far less, and the
/// events of a batch that is durable, which cannot be refused any more, 2 MiB. It takes pages of 4 MiB for blocks of 64 KiB
/// or more, one for each size. Asked for as one block, which comes from the system and goes back to it untouched: four
/// blocks of 4 MiB stayed with the allocator, 8 MiB of them in memory.
const HEADROOM_BYTES: usize = 16 << 20;

/// Who holds less than this is read also while the allocator has too little left, and no more than this at once: 1 KiB, a
/// ping or a short message. Thousands who do that take less than `HEADROOM_BYTES`.
const SCANT_BYTES: usize = 1 << 10;

/// After so much growth the allocator is asked again: 256 KiB.
const GROWTH_BYTES: u64 = 256 << 10;

/// The budget is one part in so many of the machine's memory, or of what this process may use of it.
const SHARE: u64 = 8;

/// A block that stands alone in the allocator's pages: 8 MiB.
const TIDY_BYTES: usize = 8 << 20;

/// How often the allocator is given an occasion to return what was freed, ms.
const TIDY_MS: u64 = 1_000;

/// The smallest budget: 16 MiB. With less nothing could be served.
pub(crate) const BUDGET_BYTES_MIN: u64 = 16 << 20;

/// Where nothing says how much memory there is: 128 MiB.
const BUDGET_BYTES_UNKNOWN: u64 = 128 << 20;

/// The budget, and how much of it each session uses.
#[derive(Debug)]
pub(crate) struct Memory {
    max: Cell<u64>,
    used: Cell<u64>,
    /// Bytes that no session holds: replies on their way out by HTTP, which may be dropped anywhere.
    elsewhere: Arc<AtomicU64>,
    /// Who holds much, the largest last.
    large: RefCell<BTreeSet<(usize, SessionId)>>,
    /// When the allocator last had an occasion to return what was freed.
    tidied: Cell<Millis>,
    /// What was taken since the allocator was asked, bytes.
    grown: Cell<u64>,
    /// The allocator has too little left.
    is_out: Cell<bool>,
}

impl Memory {
    pub(crate) fn new(max: u64) -> Memory {
        Memory {
            max: Cell::new(max),
            used: Cell::new(0),
            elsewhere: Arc::default(),
            large: RefCell::default(),
            tidied: Cell::new(Millis(0)),
            grown: Cell::new(0),
            is_out: Cell::new(false),
        }
    }

    pub(crate) fn set_max(&self, max: u64) {
        self.max.set(max);
    }

    pub(crate) fn max(&self) -> u64 {
        self.max.get()
    }

    /// What connections hold.
    pub(crate) fn used(&self) -> u64 {
        self.used.get() + self.elsewhere.load(Relaxed)
    }

    /// Is it used up, with so many bytes held beside connections?
    pub(crate) fn is_full(&self, beside: u64) -> bool {
        self.is_out.get() || self.used() + beside > self.max.get()
    }

    /// May a connection be read that holds so much?
    pub(crate) fn admits_holder(&self, held: usize, beside: u64) -> bool {
        match self.is_out.get() {
            true => held < SCANT_BYTES,
            false => held < LITTLE_BYTES || !self.is_full(beside),
        }
    }

    /// The most that is read of a connection at once, bytes; `None`: as much as its turn allows.
    pub(crate) fn read_max(&self) -> Option<usize> {
        self.is_out.get().then_some(SCANT_BYTES)
    }

    /// Had the allocator too little left when it was asked last?
    pub(crate) fn is_out(&self) -> bool {
        self.is_out.get()
    }

    /// So many bytes were taken, or will be at once.
    pub(crate) fn note_growth(&self, bytes: u64) {
        self.grown.set(self.grown.get() + bytes);
        if self.grown.get() >= GROWTH_BYTES {
            self.ask_allocator();
        }
    }

    /// Asks the allocator whether it has enough left.
    pub(crate) fn ask_allocator(&self) {
        self.grown.set(0);
        self.is_out.set(!has_headroom());
    }

    /// Is less than half of it free?
    pub(crate) fn is_scarce(&self, beside: u64) -> bool {
        self.used() + beside > self.max.get() / 2
    }

    /// A session that held `before` now holds `after`.
    pub(crate) fn change(&self, session: SessionId, before: usize, after: usize) {
        if before == after {
            return;
        }
        self.used.set(self.used.get() + after as u64 - before as u64);
        self.note_growth(after.saturating_sub(before) as u64);
        if before.max(after) >= LARGE_BYTES {
            let mut large = self.large.borrow_mut();
            large.remove(&(before, session));
            if after >= LARGE_BYTES {
                large.insert((after, session));
            }
        }
    }

    /// Sees to it that the system has back what was freed. The allocator keeps that for a second, and then gives it back
    /// when the next large block is freed: otherwise it would never give it back. Called often.
    pub(crate) fn tidy(&self, now: Millis) {
        if now.0 >= self.tidied.get().0 + TIDY_MS {
            self.tidied.set(now);
            // Nobody writes to it, so it costs a call and no memory.
            let _ = can_allocate(TIDY_BYTES);
        }
    }

    /// The session that holds most, with how much, bytes; below another one, if given. `None`: no other holds much.
    pub(crate) fn largest(&self, below: Option<(usize, SessionId)>) -> Option<(usize, SessionId)> {
        let large = self.large.borrow();
        match below {
            None => large.last().copied(),
            Some(below) => large.range(..below).next_back().copied(),
        }
    }

    /// Bytes that are counted until the last reference to them is dropped.
    pub(crate) fn hold(&self, bytes: Vec<u8>) -> Bytes {
        self.elsewhere.fetch_add(bytes.len() as u64, Relaxed);
        Bytes::from_owner(Held { bytes, counter: self.elsewhere.clone() })
    }
}

/// Has the allocator enough left? Asked of any thread.
pub(crate) fn has_headroom() -> bool {
    can_allocate(HEADROOM_BYTES)
}

struct Held {
    bytes: Vec<u8>,
    counter: Arc<AtomicU64>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.bytes.len() as u64, Relaxed);
    }
}

/// The budget on this machine, bytes: an eighth of its memory, of what its control group allows, or of what the
/// process's limits allow, whichever is least.
pub(crate) fn default_budget() -> u64 {
    let limits = [getrlimit(Resource::As).current, getrlimit(Resource::Data).current];
    let known = [machine_bytes(), group_bytes()].into_iter().chain(limits).flatten().min();
    known.map_or(BUDGET_BYTES_UNKNOWN, |bytes| (bytes / SHARE).max(BUDGET_BYTES_MIN))
}

/// The machine's memory: `MemTotal` in proc_meminfo(5).
fn machine_bytes() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

/// What the control group allows, and those above it: cgroups(7), version 2 `memory.max`, version 1
/// `memory.limit_in_bytes`.
fn group_bytes() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().filter_map(group_files).flatten().filter_map(|file| read_limit(&file)).min()
}

/// The files that may limit the memory of a group, from a line of `/proc/self/cgroup`.
fn group_files(line: &str) -> Option<Vec<PathBuf>> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let (root, name) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|one| one == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    // In a container the path may be the host's, and the group's own files stand at the root.
    let inside = Path::new(root).join(path.trim_start_matches('/'));
    let mut folders: Vec<PathBuf> = inside.ancestors().map(Path::to_owned).collect();
    folders.retain(|folder| folder.starts_with(root));
    Some(folders.into_iter().map(|folder| folder.join(name)).collect())
}

/// `max`, and version 1's largest number, are no limit.
fn read_limit(file: &Path) -> Option<u64> {
    let limit: u64 = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (limit < 1 << 60).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_limited_by_those_above_it_too() {
        let files =
            |line| group_files(line).map(|files| files.iter().map(|f| f.display().to_string()).collect());
        let expected: Vec<String> = ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max"]
            .into_iter()
            .chain(["/sys/fs/cgroup/memory.max"])
            .map(str::to_owned)
            .collect();
        assert_eq!(files("0::/a/b"), Some(expected));
        let expected = ["/sys/fs/cgroup/memory/x/memory.limit_in_bytes".to_owned()]
            .into_iter()
            .chain(["/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned()])
            .collect::<Vec<_>>();
        assert_eq!(files("7:cpu,memory:/x"), Some(expected));
        assert_eq!(files("3:cpuset:/x"), None);
        assert_eq!(files("nonsense"), None);
    }

    #[test]
    fn limits_are_read_and_no_limit_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("memory.max");
        for (text, limit) in
            [("536870912\n", Some(512 << 20)), ("max\n", None), ("9223372036854771712\n", None), ("", None)]
        {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read_limit(&file), limit, "{text:?}");
        }
        assert_eq!(read_limit(&folder.path().join("missing")), None);
    }

    #[test]
    fn this_machine_has_a_budget() {
        assert!(machine_bytes().unwrap() > 64 << 20);
        assert!(default_budget() >= BUDGET_BYTES_MIN);
    }

    #[test]
    fn memory_that_the_allocator_does_not_have_is_used_up_whatever_the_budget() {
        let memory = Memory::new(1 << 40);
        memory.is_out.set(true);
        assert!(memory.is_full(0) && !memory.is_scarce(0));
        assert!(memory.admits_holder(SCANT_BYTES - 1, 0) && !memory.admits_holder(SCANT_BYTES, 0));
        assert_eq!(memory.read_max(), Some(SCANT_BYTES));
        memory.note_growth(GROWTH_BYTES - 1);
        assert!(memory.is_out(), "not asked again yet");
        memory.note_growth(1);
        assert!(!memory.is_out() && !memory.is_full(0));
        assert!(memory.admits_holder(1 << 20, 0) && memory.read_max().is_none());
    }

    #[test]
    fn held_bytes_are_given_back() {
        let memory = Memory::new(1_000);
        let held = memory.hold(vec![0; 900]);
        let part = held.slice(..10);
        assert!(!memory.is_full(100) && memory.is_full(101) && memory.is_scarce(0));
        drop(held);
        assert_eq!(memory.used(), 900, "a part of it keeps it all");
        drop(part);
        assert_eq!(memory.used(), 0);
    }
}
