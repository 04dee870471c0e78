//! The hub's limits, each with its unit, its reason and what happens beyond it.

use vang_proto::limits::{HEADER_BYTES_MAX, INLINE_BYTES_MAX};

/// Encoded events a room keeps in memory: 512 KiB, about two thousand lines of talk.
/// A session whose cursor has fallen out of it reads from the disk instead: slower, not lossy.
pub const ROOM_TAIL_BYTES_MAX: usize = 1 << 19;
const _: () = assert!(INLINE_BYTES_MAX as usize + HEADER_BYTES_MAX as usize <= ROOM_TAIL_BYTES_MAX);

/// Encoded events in memory over all rooms: 64 MiB. The oldest go first, whatever their room.
pub const TAILS_BYTES_MAX: usize = 64 << 20;

/// What a run of events costs beside its bytes: its index, its allocation.
pub const RUN_OVERHEAD_BYTES: usize = 160;

/// Commands that wait to be written: 8 MiB. More are answered `busy`.
pub const ORDER_QUEUE_BYTES_MAX: usize = 8 << 20;

/// Bytes in one batch: 1 MiB, so that one sync never waits for much writing.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// Entries in one batch: applying it keeps everybody else waiting for a few milliseconds at the most.
pub const BATCH_ENTRIES_MAX: usize = 1_024;

/// So many bytes that wait, each command with 256 beside its payload, are worth a batch of their own: 64 KiB, which is 184
/// short messages. To write them takes several times as long as the `fdatasync` that makes them durable, so batches of
/// this size cost little more than longer ones.
pub const BATCH_BYTES_WORTH: usize = 64 << 10;

/// Bytes given to a session at once: 64 KiB. A session that stops reading holds no more than this.
pub const PULL_BYTES_MAX: usize = 1 << 16;

/// Events read from the disk at once for one session.
pub const COLD_EVENTS_MAX: usize = 256;

/// Bytes of payload read from the disk at once for one session: 64 KiB, or one event.
pub const COLD_BYTES_MAX: usize = 1 << 16;

/// Bytes of payload in one page of history: 256 KiB, or one message.
pub const HISTORY_BYTES_MAX: usize = 1 << 18;

/// Rooms that one account can make, unless it is set: a hundredth of the rooms that a server can have.
pub const ROOMS_PER_ACCOUNT: u64 = 1_000;

/// Private rooms that one `find` looks into, and stays in them: the newest. Each costs a list to walk. How many are left
/// out is said.
pub const SEARCHED_ROOMS_MAX: usize = 1_000;

/// People that `who` lists of a room, and connections that it looks at for one answer. How many are left out is
/// said.
pub const LISTED_PEOPLE_MAX: usize = 1_000;

/// Entries between two stored hashes of the state.
pub const CHECKPOINT_EVERY: u64 = 1_024;

/// Entries between two snapshots, at least: a start replays no more than about this many. A large
/// state is written less often: four items of a snapshot for each entry at the most.
pub const SNAPSHOT_EVERY: u64 = 65_536;

/// Steps of a snapshot between two turns of everybody else, most of which write a row: about 0.2 ms.
pub const SNAPSHOT_STEPS: usize = 2_048;

/// How long a connection is not read that was answered `busy`, ms, at most: it may have to wait longer with what it asked, but
/// not with anything else, and while it is not read the server does not see that it has ended.
pub const PAUSE_MS_MAX: u64 = 1_000;

/// How long after a failure the journal is tried again, ms.
pub const JOURNAL_RETRY_MS: u64 = 500;

/// A clock that leaps further than this ahead of the monotonic one, ms, is not believed: 1 h.
pub const CLOCK_LEAP_MS: u64 = 60 * 60 * 1_000;

/// A clock that is further than this ahead of the last entry at a start, ms, is not believed: 400 days.
/// A class comes back after the summer; a clock without a battery comes back in another decade.
pub const CLOCK_ABSENCE_MS: u64 = 400 * 24 * 60 * 60 * 1_000;

/// Openings of the journal named in an epoch: a copy put back may be this many starts old and the
/// point up to which a client agrees with it is still told exactly.
pub const EPOCH_OPENINGS: usize = 4;

/// Openings that are read from an epoch: those that a server names, and its own when that is not written yet.
pub const EPOCH_PARTS_MAX: usize = EPOCH_OPENINGS + 1;

/// How long a browser stays signed in, ms: 400 days, the longest life that browsers give a cookie.
pub const COOKIE_MS: u64 = 400 * 24 * 60 * 60 * 1_000;

/// How long a browser on this machine stays signed in without TLS, ms: 24 h. Every program of the machine that can listen on the
/// server's port while the server is down gets this cookie.
pub const PLAIN_COOKIE_MS: u64 = 24 * 60 * 60 * 1_000;

/// How long an invitation can be used, unless it says otherwise, days.
pub const INVITATION_DAYS: u64 = 7;

/// How long the link of an account can be used, unless it says otherwise, days.
pub const LINK_DAYS: u64 = 1;

/// How long a new server's first administrator can use the link that its start shows, ms: 1 h.
pub const FIRST_ADMIN_MS: u64 = 60 * 60 * 1_000;
