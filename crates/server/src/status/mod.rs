//! How the server is: what is counted, what the machine says, and what both mean.

pub(crate) mod monitoring; // what is counted for the operator
pub(crate) mod reports; // the log of refused connections: the first of a kind, then counts
pub(crate) mod machine; // what the machine says of the process and its disk
pub(crate) mod snapshot; // one picture, and what it means
pub(crate) mod metrics; // the picture as numbers for Prometheus
