//! The `[cluster.link]` section: every bound of the links to other nodes.

use serde::{Deserialize, Serialize};

/// Bounds of each link; all counts are per link and direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Most bytes of QoS 0 copies that wait for one of the four message streams of a link, and as many again
    /// for runs above 32 KiB; beyond, the oldest go and are counted.
    pub frames_bytes_max: usize,
    /// Above this many waiting bytes of QoS 0 copies of one message stream, or half of what may wait,
    /// publishers wait.
    pub frames_bytes_high: usize,
    /// Most bytes of QoS 1 and 2 copies of one message stream that the peer has not confirmed, and as many
    /// again for runs above 32 KiB; beyond, publishers wait.
    pub held_bytes_max: usize,
    /// How long (milliseconds) a publisher waits for a full link; after that its copies become a note to
    /// read the queue, and clean sessions that would miss one are ended.
    pub wait_max_ms: u64,
    /// Most bytes of notices (takeovers, notes to read a queue) that a peer has not confirmed; beyond,
    /// one notice stands for all.
    pub notices_bytes_max: usize,
    /// Most bytes of messages about calls that a peer has not confirmed, and as many again for those above 32 KiB:
    /// new calls find room in half of it, results in all of it, short messages in twice as much. Beyond, a call is
    /// refused.
    pub calls_bytes_max: usize,
    /// Largest run of records taken from a peer, in bytes; a link that sends more is closed.
    pub run_bytes_max: usize,
    /// Changes of interest remembered for peers that come back; one that missed more gets all anew.
    pub interest_changes_max: usize,
    /// How often (milliseconds) both ends compare what one wants and the other knows.
    pub digest_interval_ms: u64,
    /// How often (milliseconds) the round-trip time is measured and the counts are told.
    pub ping_interval_ms: u64,
    /// Longest wait (milliseconds) between two attempts to reach a peer; the first ones come sooner.
    pub dial_interval_max_ms: u64,
    /// How long (milliseconds) a new connection may take to say who it is.
    pub hello_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            frames_bytes_max: 16 << 20,
            frames_bytes_high: 512 << 10,
            held_bytes_max: 8 << 20,
            wait_max_ms: 5_000,
            notices_bytes_max: 1 << 20,
            calls_bytes_max: 8 << 20,
            run_bytes_max: 272 << 20,
            interest_changes_max: 65_536,
            digest_interval_ms: 10_000,
            ping_interval_ms: 1_000,
            dial_interval_max_ms: 1_000,
            hello_timeout_ms: 2_000,
        }
    }
}
