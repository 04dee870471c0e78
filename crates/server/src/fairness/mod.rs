//! Nobody takes the server from the others: time, memory, quotas and places.

pub(crate) mod turns; // time on the one thread that decides
pub(crate) mod cost; // what a request may cost
pub(crate) mod memory; // one budget for what clients make the server hold
pub(crate) mod quota; // how much one account, guest or address may ask
pub(crate) mod places; // connections, in all and of each address
pub(crate) mod opening; // connections that have not asked anything make room for others
