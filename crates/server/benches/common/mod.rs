//! What the benches of this crate share.

pub(crate) mod figures; // medians
pub(crate) mod process; // servers as processes: starting them, what they cost
pub(crate) mod wire; // the bytes that every client of vang says
