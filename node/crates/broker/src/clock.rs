//! Time for the message path: a coarse clock that costs one load, and the wall clock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use weir_model::UnixMillis;

static START: OnceLock<Instant> = OnceLock::new();
static COARSE: AtomicU64 = AtomicU64::new(0);

/// Milliseconds since the process first asked; exact, one system call saved by the vDSO.
pub fn now_ms() -> u64 {
    let start = START.get_or_init(Instant::now);
    start.elapsed().as_millis() as u64
}

/// Like [`now_ms`], at most one tick (100 ms) old: one relaxed load.
pub fn coarse_ms() -> u64 {
    COARSE.load(Ordering::Relaxed)
}

/// Moves the coarse clock; called by the timers actor every tick.
pub(crate) fn tick() {
    COARSE.store(now_ms(), Ordering::Relaxed);
}

/// The wall clock.
pub fn unix() -> UnixMillis {
    UnixMillis::from(SystemTime::now())
}
