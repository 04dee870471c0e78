//! The two clocks of the server.

use std::time::{SystemTime, UNIX_EPOCH};

use vang_chat::Time;
use vang_hub::Now;
use vang_proto::Millis;

/// Both clocks. The steady one goes on while the machine sleeps.
pub(crate) fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    Now { wall: Time(wall), steady: steady_now() }
}

/// The steady clock.
pub(crate) fn steady_now() -> Millis {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Millis(time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000)
}
