//! For tests only: a real node as a child process, raw connections, checkers, small disks.
//!
//! What stands in the way of a test is a failed test, so everything here panics and says what it waited for.
//! Waits are for conditions and end after [`PATIENCE`].

use std::time::{Duration, Instant};

pub mod checker;
pub mod cluster;
pub mod dice;
pub mod history;
pub mod http;
pub mod network;
pub mod node;
pub mod raw;
pub mod redis;

pub use checker::{Checker, Fault, Line};
pub use cluster::Cluster;
pub use dice::Dice;
pub use history::{History, Traffic};
pub use http::Metrics;
pub use node::Node;
pub use raw::{Closed, RawMqtt};
pub use redis::{Redis, RedisCluster, RedisSentinels};

/// The longest any test waits for anything: generous, because two cores run many tests at once.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition nobody announces is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Looks until `look` finds something.
///
/// # Panics
/// Nothing was found within [`PATIENCE`].
pub fn eventually<T>(waiting_for: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {waiting_for}");
        std::thread::sleep(LOOK_AGAIN);
    }
}
