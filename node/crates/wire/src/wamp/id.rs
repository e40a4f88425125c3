//! An id of a session, a request, a publication, a subscription or a registration.

use std::fmt;
use std::num::NonZeroU64;

/// The largest id: every whole number up to it is exact in a double.
pub const ID_MAX: u64 = 1 << 53;

/// A number from 1 to 2^53 (WAMP, "IDs").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(NonZeroU64);

impl Id {
    /// `None` for 0 and for what is above [`ID_MAX`].
    pub fn new(number: u64) -> Option<Id> {
        NonZeroU64::new(number).filter(|number| number.get() <= ID_MAX).map(Id)
    }

    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
