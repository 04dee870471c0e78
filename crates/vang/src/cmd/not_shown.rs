//! Why a message is not shown, in words.

/// The reason of a hole (`docs/PROTOCOL.md` section 5) in words.
pub(super) fn why_not_shown(why: &str) -> &str {
    match why {
        "not-member" => "you were not a member",
        "erased" => "erased",
        "retention" => "older than the server keeps messages",
        "damaged" => "damaged on the server's disk",
        other => other,
    }
}
