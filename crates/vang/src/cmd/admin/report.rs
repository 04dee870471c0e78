//! Parts of the lines that several commands print.

/// Whether a backup has the server's TLS key: without it clients refuse the restored server.
pub(super) fn tls_key(is_there: bool) -> &'static str {
    if is_there { "with the TLS key" } else { "without a TLS key" }
}
