//! The clock of a store: wall-clock milliseconds that never go back.

use std::time::SystemTime;

use weir_model::UnixMillis;

#[derive(Debug)]
pub(crate) struct Clock {
    last: UnixMillis,
}

impl Clock {
    /// A clock that stays above `floor`, the latest time used before.
    pub fn above(floor: UnixMillis) -> Clock {
        Clock { last: UnixMillis(floor.0 + 1) }
    }

    pub fn now(&mut self) -> UnixMillis {
        self.last = self.last.max(UnixMillis::from(SystemTime::now()));
        self.last
    }

    /// A time above every one given so far.
    pub fn next(&mut self) -> UnixMillis {
        self.last = UnixMillis(self.last.0 + 1);
        self.now()
    }
}
