//! The clock that leases are counted on here: it runs while the machine is suspended.

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time since the machine was started, suspension included; tests hand in their own.
pub type BootClock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// `CLOCK_BOOTTIME`.
pub fn boot_clock() -> BootClock {
    Arc::new(|| {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
        Duration::new(seconds, nanos)
    })
}
