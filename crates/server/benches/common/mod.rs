//! What the benches of this crate share.

pub(crate) mod figures; // medians
pub(crate) mod process; // servers as processes: starting them, what they cost
pub(crate) mod requests; // the requests that every client of vang sends
