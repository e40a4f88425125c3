//! The time of the broker.

use crate::host;

/// Milliseconds since 1970. Stands still during a call; in a reducer it is the time the message was published, so that
/// a replay computes the same.
pub fn now() -> u64 {
    host::clock_now()
}
