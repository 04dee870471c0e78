//! Native messages: the session's bytes are the socket's.

use std::io::IoSlice;

use vang_proto::Millis;
use vang_proto::vang::ServerSession;

use super::{End, Framing, SLICES_PER_WRITE, fill};

/// Nothing stands between. It has no size, so its box allocates nothing.
pub(crate) struct NativeFraming;

const _: () = assert!(size_of::<NativeFraming>() == 0);

impl Framing for NativeFraming {
    fn handle_bytes(&mut self, bytes: &mut [u8], session: &mut ServerSession, now: Millis) {
        session.handle_bytes(now, bytes);
    }

    // A message that was cut off is found out by its length.
    fn handle_end(&mut self, _end: End, session: &mut ServerSession, now: Millis) {
        session.handle_end(now);
    }

    fn output<'a>(
        &'a mut self,
        session: &'a mut ServerSession,
        _now: Millis,
        slices: &mut [IoSlice<'a>; SLICES_PER_WRITE],
    ) -> usize {
        fill(slices, session.output())
    }

    fn wrote(&mut self, n: usize, session: &mut ServerSession, now: Millis) {
        session.wrote(now, n);
    }
}
