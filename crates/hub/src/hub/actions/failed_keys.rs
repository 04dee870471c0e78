//! Failed sign-ins, as the keys of a reply.

use crate::encode::rfc3339;
use crate::seen::Failed;

#[derive(Default)]
pub(super) struct FailedKeys {
    pub(super) failed: Option<u64>,
    pub(super) failed_last: Option<String>,
    pub(super) failed_from: Option<String>,
}

impl FailedKeys {
    pub(super) fn of(failed: Option<Failed>) -> FailedKeys {
        failed.map_or_else(FailedKeys::default, |Failed { count, last }| FailedKeys {
            failed: Some(count),
            failed_last: Some(rfc3339(last.at)),
            failed_from: last.ip.map(|ip| ip.to_string()),
        })
    }
}
