//! The `[broker]` section: every bound of sessions, outboxes and timers.

use serde::{Deserialize, Serialize};
use weir_model::topic::TOPIC_LEVELS_MAX;

use crate::realm::RealmRules;
use crate::share::Picking;

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
    /// Which member of a share group gets a message: `round_robin`, `local` (those of the node the message
    /// enters, as long as there are any), `sticky` (the same one while it can) or `hash` (one for a topic).
    pub shared_picking: Picking,
    /// How often (milliseconds) a connected persistent session looks unasked whether its queue in the store holds more
    /// than it was told of, and whether it saw of each topic what is retained.
    pub queue_look_ms: u64,
    /// How long (milliseconds) after the last message of a topic a persistent session may have seen another value than
    /// the retained one before it gets that once more; longer than a write to the store may take
    /// (`store.redis.unknown_wait_ms`).
    pub retained_settle_ms: u64,
    /// How often a shared message is handed to another member before it is dropped and counted.
    pub shared_handovers_max: u32,
    /// Wills published per second when many sessions end at once; the others wait. 0 = no limit.
    pub wills_per_second: usize,
    /// Longest `$delayed/<seconds>/..` delay, in seconds.
    pub delay_seconds_max: u32,
    /// Most levels of a topic or filter, from 1 to 128; beyond, PUBLISH and wills are refused with 0x90 and
    /// SUBSCRIBE with 0x8F.
    pub topic_levels_max: usize,
    /// Bytes of memory the node may use, counted as its resident size. 0 = what its control group allows,
    /// counted as that one counts without file cache, or all the machine has.
    pub memory_max_bytes: u64,
    /// Percent of that memory from which nobody new is let in: the kernel holds connections, and a
    /// CONNECT is answered 0x89. Receivers that take nothing lose the QoS 0 that waits for them. 0 = never.
    pub memory_stop_accepting_percent: u8,
    /// Percent of that memory from which no PUBLISH is taken; acknowledgements and pings are. 0 = never.
    pub memory_stop_reading_percent: u8,
    /// Percent of that memory from which waiting QoS 0 is dropped, largest outbox first. 0 = never.
    pub memory_shed_percent: u8,
    /// Seconds a publisher may be held for lack of memory, or may leave a packet half sent while it is
    /// short, before it is disconnected (0x89), which frees what it has sent. 0 = for ever.
    pub memory_hold_seconds_max: u64,
    /// How many of the slowest subscribers stand on `$SYS/broker/slow_subscribers`; 0 = the topic is not
    /// published.
    pub slow_subscribers_max: usize,
    /// How long an idempotency key is known (milliseconds): who sends a message again within it is answered as the first
    /// time, and nothing else happens.
    pub idempotency_window_ms: u64,
    /// Rules of single realms, each as `[[broker.realm]]` with `name`, `compat`, `retained` and `history`; a realm that is not
    /// named has the defaults.
    #[schemars(extend("x-allowed" = "a list of { name, compat = \"none\" or \"fox\", retained = \"replace\" or \"merge\", history = records }"))]
    pub realm: Vec<RealmRules>,
    /// Most publishes that wait for their condition at one topic; beyond, one more is refused with 0x97.
    pub waiters_per_topic_max: usize,
    /// Most publishes of one connection that wait for their condition; beyond, one more is refused with 0x97.
    pub waiters_per_session_max: usize,
    /// Most subscriptions of one session that have a condition on the body (WAMP `filter`, `weir-filter`); beyond, one more
    /// is refused with 0x97; 0 = no limit.
    pub filtered_subscriptions_max: usize,
    /// How long (seconds) a publish waits for its condition before it is refused with 0x83; 0 = for ever.
    pub watch_seconds_max: u64,
    /// Most streams in all realms together; 0 = no limit.
    pub streams_max: usize,
    /// How often (milliseconds) records that are older than their stream keeps them are let go; every twelfth time, places
    /// of sessions that have ended and generations that nobody needs any more. 0 = never.
    pub stream_trim_ms: u64,
    /// Most consumer groups in all streams together; 0 = no limit.
    pub groups_max: usize,
    /// Most members of consumer groups at this node; 0 = no limit.
    pub group_members_max: usize,
    /// How long (milliseconds) what members of consumer groups acknowledge is gathered before it is stored; 500 records
    /// of a partition are stored at once. If the node dies meanwhile, they are delivered again.
    pub group_commit_ms: u64,
    /// How long (milliseconds) a node that is to give a partition of a group to another one waits for what members still
    /// hold; then it is delivered there again.
    pub group_release_wait_ms: u64,
    /// How long (milliseconds) members of groups are kept on a node that is cut off from its store, without being given
    /// anything; then they are told to join elsewhere.
    pub group_lease_wait_ms: u64,
    /// Remote procedure calls.
    pub calls: crate::calls::Config,
    /// How often `$SYS` topics are published, in seconds; 0 = never.
    pub sys_interval_seconds: u64,
    /// Most events per second on `$SYS/drops`, which tells of lost copies while somebody subscribes to
    /// it; losses beyond are gathered into later events; 0 = no events.
    pub drops_per_second_max: u32,
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
            shared_picking: Picking::RoundRobin,
            queue_look_ms: 30_000,
            retained_settle_ms: 15_000,
            shared_handovers_max: 5,
            wills_per_second: 1000,
            delay_seconds_max: 366 * 24 * 3600,
            topic_levels_max: TOPIC_LEVELS_MAX,
            memory_max_bytes: 0,
            memory_stop_accepting_percent: 80,
            memory_stop_reading_percent: 88,
            memory_shed_percent: 95,
            memory_hold_seconds_max: 10,
            slow_subscribers_max: 10,
            idempotency_window_ms: 600_000,
            realm: Vec::new(),
            waiters_per_topic_max: 128,
            waiters_per_session_max: 64,
            filtered_subscriptions_max: 100,
            watch_seconds_max: 3600,
            streams_max: 1000,
            groups_max: 1000,
            group_members_max: 10_000,
            group_commit_ms: 50,
            group_release_wait_ms: 1000,
            group_lease_wait_ms: 10_000,
            stream_trim_ms: 5000,
            calls: crate::calls::Config::default(),
            sys_interval_seconds: 10,
            drops_per_second_max: 20,
        }
    }
}

impl Config {
    /// The rules of a realm.
    pub fn rules_of(&self, realm: &str) -> RealmRules {
        self.realm.iter().find(|rules| rules.name == realm).cloned().unwrap_or_default()
    }

    /// Whether a topic or filter is not deeper than configured.
    pub fn allows_depth(&self, name: &str) -> bool {
        self.topic_levels_max >= TOPIC_LEVELS_MAX
            || name.bytes().filter(|byte| *byte == b'/').count() < self.topic_levels_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_be_as_deep_as_configured() {
        let config = Config { topic_levels_max: 3, ..Config::default() };
        assert!(config.allows_depth("a/b/c") && config.allows_depth("//"));
        assert!(!config.allows_depth("a/b/c/d") && !config.allows_depth("///"));
    }
}
