//! The limits that are part of the rules: alike on every node, changed only by a new rules version.

/// Accepted sends with an id that are remembered for one principal.
/// The oldest is forgotten first; repeating it then posts again.
pub const SENT_PER_PRINCIPAL_MAX: usize = 4_096;

/// How long, in ms of journal time, an accepted send is remembered: 24 h.
/// Our clients give up after 1 h, so a forgotten id is never one that is still being retried.
pub const SENT_REMEMBERED_MS: u64 = 24 * 60 * 60 * 1_000;

/// Accepted sends remembered in all: about 160 MB of memory at worst.
pub const SENT_MAX: usize = 1_000_000;

/// Openings of the journal that are remembered. Each is one start of a server: at one an hour, two
/// and a half years. A client that resumes from an older one starts again from room numbers.
pub const OPENINGS_MAX: usize = 20_000;

/// Times that one account may join one room: each is kept, since it says what may be read.
pub const STAYS_MAX: usize = 1_000;

/// Rooms in all: each costs memory, and accounts may make them.
pub const ROOMS_MAX: usize = 100_000;

/// Tokens of one account that scripts and programs use, which its owner makes and ends one by one.
pub const TOKENS_PER_ACCOUNT_MAX: usize = 100;

/// Devices that one account is signed in on, each with a token. One more ends the oldest.
pub const DEVICES_PER_ACCOUNT_MAX: usize = 100;

/// Rooms to which a token can be limited.
pub const ROOMS_PER_TOKEN_MAX: usize = 8;

/// Rooms that a new account becomes a member of.
pub const DEFAULT_ROOMS_MAX: usize = 16;

/// Invitations that can be used, in all.
pub const INVITATIONS_MAX: usize = 1_000;

/// Accounts that can be made with one invitation.
pub const INVITATION_USES_MAX: u32 = 10_000;
