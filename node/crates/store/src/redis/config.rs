//! The `[store.redis]` section of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A password; never printed, neither with the configuration nor in a log line.
#[derive(Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(extend("x-secret" = true))]
pub struct Password(pub String);

impl Serialize for Password {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// How a node uses the Redis that `store.url` names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// What every key begins with (inside its hash tag): brokers with different ones share a Redis unseen.
    pub key_prefix: String,
    /// Shards of sessions, and as many of topics; fixed when the store is made.
    pub shards: u16,
    /// The user of the Redis servers (ACL); left out, the default user.
    pub user: Option<String>,
    /// The password for the Redis servers; never printed.
    pub password: Option<Password>,
    /// The file with that password; a line end at its end does not belong to it.
    pub password_file: Option<PathBuf>,
    /// The user of the Sentinels; left out, the default user.
    pub sentinel_user: Option<String>,
    /// The password for the Sentinels; never printed.
    pub sentinel_password: Option<Password>,
    /// PEM file with the authorities that the servers' certificates are checked against (`rediss://`); left out,
    /// those of this machine.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate shown to the servers; goes together with `key_file`.
    pub certificate_file: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    pub key_file: Option<PathBuf>,
    /// Connections for commands to each primary; 0 = one, or four when a replicated level has them wait for replicas.
    pub write_connections: u16,
    /// Milliseconds that connecting to a server may take, TLS and log-in included.
    pub connect_timeout_ms: u64,
    /// Milliseconds without an answer after which a connection counts as lost.
    pub response_timeout_ms: u64,
    /// Milliseconds between the first and the second try to connect; doubled with every further one.
    pub back_off_ms: u64,
    /// Most milliseconds between two tries to connect.
    pub back_off_max_ms: u64,
    /// Milliseconds between two looks at the servers: their settings, memory and who is primary.
    pub watch_interval_ms: u64,
    /// Milliseconds that one wait for replicas may take before their number is looked at again.
    pub confirm_ms: u64,
    /// Milliseconds after which a write whose answer was lost is given up as unknown, while its server is away.
    pub unknown_wait_ms: u64,
    /// Milliseconds for which acknowledged writes are kept here, to be written again when Redis has forgotten them;
    /// 0 = none are.
    pub replay_window_ms: u64,
    /// Most bytes of such writes, over all shards; the oldest of a shard go first.
    pub replay_window_bytes: usize,
    /// Milliseconds a node's lease lasts; it is renewed three times as often.
    pub lease_ms: u64,
    /// Milliseconds within which the node must have heard of all changes to renew its lease.
    pub mirror_lag_max_ms: u64,
    /// Percent of a server's `maxmemory` above which nothing that grows is written any more; 0 = no limit but
    /// the server's own.
    pub memory_high_percent: u8,
}

impl Default for RedisConfig {
    fn default() -> RedisConfig {
        RedisConfig {
            key_prefix: "weir".to_owned(),
            shards: 16,
            user: None,
            password: None,
            password_file: None,
            sentinel_user: None,
            sentinel_password: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            write_connections: 0,
            connect_timeout_ms: 2000,
            response_timeout_ms: 2000,
            back_off_ms: 50,
            back_off_max_ms: 1000,
            watch_interval_ms: 1000,
            confirm_ms: 500,
            unknown_wait_ms: 10_000,
            replay_window_ms: 10_000,
            replay_window_bytes: 64 << 20,
            lease_ms: 3000,
            mirror_lag_max_ms: 1000,
            memory_high_percent: 85,
        }
    }
}

impl RedisConfig {
    pub(super) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms.max(1))
    }

    pub(super) fn response_timeout(&self) -> Duration {
        Duration::from_millis(self.response_timeout_ms.max(1))
    }

    pub(super) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms.max(1))
    }
}
