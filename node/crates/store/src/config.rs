//! The `[store]` section of the configuration.

use serde::{Deserialize, Serialize};

use crate::LevelChoice;
use crate::redis::RedisConfig;

/// What happens to a message for a queue that is full (`guarantees.md` 9).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueueFull {
    /// The oldest messages go until the new one fits.
    #[default]
    DropOldest,
    /// The new message goes.
    DropNewest,
    /// The publisher is refused; other receivers of the same publish are not affected.
    Refuse,
}

/// How and where a node keeps what must outlive it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which backend: `embedded` keeps everything in the data directory, `memory` forgets at exit; a Redis that
    /// nodes share is `redis://host:port[/db]`, `redis+sentinel://host:port,host:port/service` or
    /// `redis+cluster://host:port,host:port`, with TLS `rediss`.
    pub url: String,
    /// What an acknowledgement promises to survive: `stored`, `fsynced`, `replicated:<n>`, `replicated:all`, or
    /// `auto`, the strongest that the store proves; `memory` promises nothing whatever stands here.
    pub level: LevelChoice,
    /// Most messages in the queue of one session or share group.
    pub queue_messages_max: u64,
    /// Most bytes (topic, payload and properties) in the queue of one session or share group.
    pub queue_bytes_max: u64,
    /// What happens when a queue is full.
    pub queue_full: QueueFull,
    /// Most messages in all queues and waiting for their delay; a queue that would exceed it does what it
    /// does when it is full itself, and a delayed message is refused. 0 = no limit.
    pub queued_messages_total_max: u64,
    /// Most bytes of these messages; beyond, the same. 0 = no limit.
    pub queued_bytes_total_max: u64,
    /// Most retained messages; beyond, a message for another topic is refused. 0 = no limit.
    pub retained_messages_max: u64,
    /// Most bytes of retained messages; beyond, what makes them more is refused. 0 = no limit.
    pub retained_bytes_max: u64,
    /// Copies of one message in one publish above which it is stored once and referenced.
    pub inline_fanout_max: usize,
    /// Message ids remembered per session to recognise repeats; the oldest is forgotten first.
    pub dedup_ids_max: usize,
    /// Message ids of delayed publishes remembered to recognise repeats, for the whole store.
    pub delay_ids_max: usize,
    /// Idempotency keys remembered in all; beyond, the oldest are forgotten before their time.
    pub idempotency_keys_max: usize,
    /// Milliseconds for which a timer, an owed message or an orphaned session is left to the node that was
    /// given it, in a store that nodes share; then any node is given it again. 0 = nothing is left to anybody.
    pub claim_ms: u64,
    /// Most steps in one group commit.
    pub commit_records_max: usize,
    /// Most bytes of messages in one group commit; one larger submit still goes alone.
    pub commit_bytes_max: usize,
    /// Most steps with messages waiting for a group commit; beyond, such submits are answered `Unavailable`.
    pub intake_records_max: usize,
    /// Most bytes of messages waiting for a group commit; beyond, submits are answered `Unavailable`.
    pub intake_bytes_max: usize,
    /// Size in bytes at which the commit log begins a new file.
    pub log_segment_bytes: u64,
    /// Size in bytes of the commit log that starts a checkpoint (its rows move into the tables); at
    /// twice this size writers wait for the checkpoint.
    pub log_bytes_max: u64,
    /// Free bytes kept for acknowledgements, at most an eighth of the file system: nothing that grows is
    /// accepted when fewer are free beside the room it takes to merge all tables (as much as they take).
    /// 0 = nothing is kept, and what finds no room is refused when it is written.
    pub reserve_bytes: u64,
    /// Start although acknowledged records are damaged, and report what was lost.
    pub accept_loss: bool,
    /// How Redis is used, when `url` names one.
    pub redis: RedisConfig,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            url: "embedded".to_owned(),
            level: LevelChoice::Auto,
            queue_messages_max: 1000,
            queue_bytes_max: 1 << 20,
            queue_full: QueueFull::DropOldest,
            queued_messages_total_max: 0,
            queued_bytes_total_max: 1 << 30,
            retained_messages_max: 1_000_000,
            retained_bytes_max: 1 << 30,
            inline_fanout_max: 16,
            dedup_ids_max: 1024,
            delay_ids_max: 16_384,
            idempotency_keys_max: 1_000_000,
            claim_ms: 5000,
            commit_records_max: 4096,
            commit_bytes_max: 8 << 20,
            intake_records_max: 65_536,
            intake_bytes_max: 64 << 20,
            log_segment_bytes: 16 << 20,
            log_bytes_max: 64 << 20,
            reserve_bytes: 64 << 20,
            accept_loss: false,
            redis: RedisConfig::default(),
        }
    }
}
