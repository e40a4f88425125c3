//! The `[broker]` section: every bound of sessions, outboxes and timers.

use serde::{Deserialize, Serialize};

/// Bounds and defaults of the broker.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Most bytes that wait for one connection; beyond, the oldest QoS 0 is dropped and counted.
    pub outbox_bytes_max: usize,
    /// Above this many waiting bytes publishers wait for a receiver whose socket still takes bytes.
    pub outbox_bytes_high: usize,
    /// Most QoS 1 and 2 copies that wait for one connection: a clean session beyond it is
    /// disconnected (0x97), a persistent one reads from its queue in the store instead.
    pub outbox_messages_max: usize,
    /// A receiver whose socket took nothing for this long delays no publisher (milliseconds).
    pub outbox_stalled_ms: u64,
    /// Most QoS 1 and 2 messages sent to one client and not yet answered; the client's own receive
    /// maximum may be lower.
    pub inflight_max: u16,
    /// Most QoS 1 and 2 messages a client may have unanswered towards the broker (its receive maximum).
    pub receive_max: u16,
    /// Most kept publishes of one connection that wait for their commit; beyond, reading pauses.
    pub commits_waiting_max: usize,
    /// Most bytes of kept publishes of one connection that wait for their commit.
    pub commits_waiting_bytes_max: usize,
    /// Longest session expiry granted, in seconds; MQTT 3.1.1 sessions get it too. 4294967295 = for ever.
    pub session_expiry_seconds_max: u32,
    /// Most subscriptions of one session; beyond, SUBACK says 0x97.
    pub subscriptions_max: usize,
    /// How often a shared message is handed to another member before it is dropped and counted.
    pub shared_handovers_max: u32,
    /// Wills published per second when many sessions end at once.
    pub wills_per_second: usize,
    /// Longest `$delayed/<seconds>/..` delay, in seconds.
    pub delay_seconds_max: u32,
    /// How often `$SYS` topics are published, in seconds; 0 = never.
    pub sys_interval_seconds: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            outbox_bytes_max: 4 << 20,
            outbox_bytes_high: 256 << 10,
            outbox_messages_max: 1000,
            outbox_stalled_ms: 100,
            inflight_max: 1024,
            receive_max: 1024,
            commits_waiting_max: 1024,
            commits_waiting_bytes_max: 8 << 20,
            session_expiry_seconds_max: u32::MAX,
            subscriptions_max: 10_000,
            shared_handovers_max: 5,
            wills_per_second: 1000,
            delay_seconds_max: 366 * 24 * 3600,
            sys_interval_seconds: 10,
        }
    }
}
