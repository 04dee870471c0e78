//! The limit of open files of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files to the hard limit: shells start programs with a much lower one.
pub(crate) fn raise_open_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // If this fails, the old limit stays, and reaching it is reported as `too many open files`.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
