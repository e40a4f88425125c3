//! The `[broker.calls]` section: every bound of remote procedure calls.

use serde::{Deserialize, Serialize};

/// Bounds of registrations and calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Most registrations of one session; a further one is refused. 0 = no limit.
    pub registrations_max: usize,
    /// Most wildcard registrations of one realm, each of which is compared with what is called; a further one is
    /// refused. 0 = no limit.
    pub wildcards_max: usize,
    /// Most calls of one session without an answer; a further one is refused. 0 = no limit.
    pub calls_max: usize,
    /// Most calls given to one session and not answered by it; a further one goes to the next callee, or is refused
    /// where there is none. 0 = no limit.
    pub invocations_max: usize,
    /// Most calls of one procedure that wait for a callee below its concurrency limit; a further one is refused.
    pub queued_max: usize,
    /// Most bytes that wait to be written to one session: beyond, progress for it is dropped, and it is given no new
    /// calls.
    pub mailbox_bytes_max: usize,
    /// Longest time (milliseconds) a call may take, and how long one without a timeout of its own takes at most;
    /// 0 = no limit.
    pub timeout_max_ms: u64,
    /// How long (milliseconds) a call of a procedure that is not known waits for other nodes to tell theirs, after one
    /// has come or gone.
    pub settle_ms: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            registrations_max: 10_000,
            wildcards_max: 1000,
            calls_max: 1000,
            invocations_max: 10_000,
            queued_max: 10_000,
            mailbox_bytes_max: 8 << 20,
            timeout_max_ms: 24 * 3600 * 1000,
            settle_ms: 2000,
        }
    }
}

/// Whether one more than `count` is too many; 0 = no limit.
pub(super) fn is_full(count: usize, max: usize) -> bool {
    max > 0 && count >= max
}
