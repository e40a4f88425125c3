//! The clock of a store: wall-clock milliseconds, and the same without ever going back.

use std::sync::Arc;
use std::time::SystemTime;

use weir_model::UnixMillis;

/// What the wall clock says, which somebody may set back or forth at any moment; tests hand in their own.
pub type WallClock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// The machine's wall clock.
pub(crate) fn wall_clock() -> WallClock {
    Arc::new(|| UnixMillis::from(SystemTime::now()))
}

/// One moment on both clocks. Positions and the times of group commits are told by `now`. Expiries are
/// times on their callers' wall clock and compared to `wall`: compared to a clock that stands still
/// after the wall clock was set back, a session that has just been left would have expired.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub now: UnixMillis,
    pub wall: UnixMillis,
}

pub(crate) struct Clock {
    wall: WallClock,
    last: UnixMillis,
}

impl Clock {
    /// A clock that stays above `floor`, the latest time used before.
    pub fn above(floor: UnixMillis, wall: WallClock) -> Clock {
        Clock { wall, last: UnixMillis(floor.0 + 1) }
    }

    pub fn times(&mut self) -> Times {
        let wall = (self.wall)();
        self.last = self.last.max(wall);
        Times { now: self.last, wall }
    }

    pub fn now(&mut self) -> UnixMillis {
        self.times().now
    }

    /// A time above every one given so far.
    pub fn next(&mut self) -> UnixMillis {
        self.last = UnixMillis(self.last.0 + 1);
        self.now()
    }
}
