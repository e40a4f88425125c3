//! The primaries of one Redis, however it is set up, and the connections to them.
//!
//! One table says which primary has which shard. A task looks after it: at intervals and whenever somebody reports
//! a connection that is lost or led to the wrong place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::counter;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use tokio::sync::{Notify, watch};

use super::config::RedisConfig;
use super::level::{Facts, Unproved, choose};
use super::shard::Shard;
use crate::{Level, LevelChoice};

mod connection;
mod dial;
mod discover;
mod line;
mod primary;
mod table;
mod target;
mod watcher;

pub use connection::Connection;
pub use dial::BadSetting;
pub use discover::Lost;
pub use target::{Address, BadUrl, Target};

use dial::{Dialer, Purpose};
use discover::Scout;
use line::{BackOff, NotNow};
use primary::Primary;
use table::Table;

/// Connections for commands to a primary whose replicas are waited for: `WAIT` holds up what is behind it.
const WAITING_LINES: usize = 4;

/// Where each shard is, and connections there: a few multiplexed ones per primary for commands (a shard always uses
/// the same one, so what is pipelined for it stays in order), and own ones for readers that block.
pub struct Servers {
    target: Target,
    config: RedisConfig,
    level: Level,
    dialer: Dialer,
    back_off: BackOff,
    table: watch::Sender<Arc<Table>>,
    /// Wakes the watcher before its time.
    look_again: Notify,
    /// Numbers for connections of their own.
    readers: AtomicU64,
    closed: watch::Sender<bool>,
}

/// There is no connection for now; the next try is worth it after `retry_in`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no connection to the Redis primary of shard {shard}: {cause}")]
pub struct Away {
    pub shard: Shard,
    pub cause: Arc<str>,
    pub retry_in: Duration,
}

/// Why a Redis cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("store.url: {0}")]
    Url(#[from] BadUrl),
    #[error(transparent)]
    Setting(#[from] BadSetting),
    #[error("store.redis.key_prefix `{prefix}` is empty or has a brace or white space in it")]
    Prefix { prefix: String },
    #[error("store.redis.shards is 0")]
    NoShards,
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error("cannot connect to Redis at {address}: {cause}")]
    Unreachable { address: Address, cause: String },
    #[error("Redis at {address} is no primary, but a replica")]
    Replica { address: Address },
    #[error("store.level = {asked}: Redis does not prove it: {unproved}")]
    Unproved { asked: LevelChoice, unproved: Unproved },
}

impl Servers {
    /// Finds the primaries, connects to each of them once and proves the level. Does not wait for servers that are
    /// away: whoever starts a node tries again.
    pub async fn connect(
        url: &str,
        choice: LevelChoice,
        config: &RedisConfig,
    ) -> Result<Arc<Servers>, ConnectError> {
        let target = Target::parse(url)?;
        check(config)?;
        let dialer = Dialer::new(&target, config)?;
        let mut scout = Scout::default();
        let found = scout.look(&dialer, &target, &[]).await?;
        let mut primaries = Vec::with_capacity(found.primaries.len());
        for found in &found.primaries {
            primaries.push(facts_of(&dialer, &found.address, found.replicas).await?);
        }
        let level = choose(choice, &primaries);
        let level = level.map_err(|unproved| ConnectError::Unproved { asked: choice, unproved })?;
        let back_off = BackOff {
            first: Duration::from_millis(config.back_off_ms.max(1)),
            max: Duration::from_millis(config.back_off_max_ms.max(config.back_off_ms).max(1)),
        };
        let lines = lines(config, level);
        let table = Table::new(&found, None, config, |address| Primary::new(address, lines, back_off));
        for (primary, facts) in table.primaries().zip(primaries) {
            // Has just been proved.
            let _ = primary.note(facts, Some(level), config.memory_high_percent);
        }
        let servers = Arc::new(Servers {
            target,
            config: config.clone(),
            level,
            dialer,
            back_off,
            table: watch::Sender::new(Arc::new(table)),
            look_again: Notify::new(),
            readers: AtomicU64::new(0),
            closed: watch::Sender::new(false),
        });
        tokio::spawn(watcher::watch(Arc::downgrade(&servers), scout, servers.closed.subscribe()));
        Ok(servers)
    }

    /// The connection for commands to a shard, made anew if it was lost. Waits for an attempt to connect (at most
    /// `connect_timeout_ms`), never for the back-off.
    pub async fn commands(&self, shard: Shard) -> Result<Connection, Away> {
        let primary = self.primary(shard)?;
        let line = shard.number() % primary.lines.len();
        let connect = async |number| self.open(&primary, Some(line), number).await;
        primary.line(line).get(connect).await.map_err(|NotNow { cause, retry_in }| {
            self.look_again.notify_one();
            Away { shard, cause, retry_in }
        })
    }

    /// A connection of its own to the primary of a shard, without response timeout: for blocking reads. The caller
    /// waits between attempts.
    pub async fn reader(&self, shard: Shard) -> Result<Connection, Away> {
        let primary = self.primary(shard)?;
        let number = self.readers.fetch_add(1, Ordering::Relaxed);
        self.open(&primary, None, number).await.map_err(|cause| {
            self.look_again.notify_one();
            Away { shard, cause: cause.into(), retry_in: self.back_off.first }
        })
    }

    /// Reports an error of a connection. One that broke, timed out or leads to a server that is no primary is not
    /// handed out again; one that led to the wrong primary makes the watcher look anew. Other errors, and reports
    /// about connections that have been replaced, change nothing.
    pub fn lost(&self, connection: &Connection, error: &RedisError) {
        use ServerErrorKind::{ClusterDown, MasterDown, Moved, ReadOnly};
        let (breaks, misleads) = match error.kind() {
            ErrorKind::Io | ErrorKind::Parse | ErrorKind::AuthenticationFailed => (true, true),
            ErrorKind::Server(ReadOnly) => (true, true),
            ErrorKind::Server(Moved | ClusterDown | MasterDown) => (false, true),
            _ => (false, false),
        };
        if let (true, Some(line)) = (breaks, connection.line)
            && connection.primary.line(line).drop_connection(connection.number)
        {
            counter!("weir_store_redis_connections_lost_total").increment(1);
        }
        if misleads {
            self.look_again.notify_one();
        }
    }

    /// What every primary proves.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Whether every primary proves another level now, as far as was seen when it was looked at last
    /// (`watch_interval_ms`).
    ///
    /// # Errors
    /// What stands in the way at the first that does not.
    pub fn proves(&self, level: Level) -> Result<(), Unproved> {
        self.table.borrow().primaries().try_for_each(|primary| primary.proves(level).map(|_| ()))
    }

    /// Whether the primary of a shard has used so much of its memory that nothing may grow any more.
    pub fn is_memory_high(&self, shard: Shard) -> bool {
        self.table.borrow().primary(shard).is_some_and(|primary| primary.is_memory_high())
    }

    /// The shards by primary, as of now.
    pub fn groups(&self) -> Vec<Vec<Shard>> {
        self.table.borrow().groups()
    }

    /// Whether the shards lie in slots of a cluster, where one command reaches keys of one shard only.
    pub fn is_cluster(&self) -> bool {
        self.target.kind == target::Kind::Cluster
    }

    /// The Redis, without secrets.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The configuration it was connected with.
    pub fn config(&self) -> &RedisConfig {
        &self.config
    }

    /// Ends the watcher. Connections end when nobody has them any more.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    fn primary(&self, shard: Shard) -> Result<Arc<Primary>, Away> {
        self.table.borrow().primary(shard).cloned().ok_or_else(|| {
            self.look_again.notify_one();
            Away { shard, cause: "no primary has its slot".into(), retry_in: self.back_off.max }
        })
    }

    /// Connects to a primary, unless it is none (any more) or does not prove the level.
    async fn open(
        &self,
        primary: &Arc<Primary>,
        line: Option<usize>,
        number: u64,
    ) -> Result<Connection, String> {
        let purpose = if line.is_some() { Purpose::Commands } else { Purpose::Blocking };
        let opening = async {
            let mut link = self.dialer.dial(&primary.address, purpose).await?;
            Facts::of(&mut link).await.map(|facts| (link, facts))
        };
        let opened = tokio::time::timeout(self.config.connect_timeout(), opening).await;
        let opened = opened.map_err(|_| format!("{}: no answer in time", primary.address))?;
        let (link, mut facts) = opened.map_err(|error| format!("{}: {error}", primary.address))?;
        if !facts.is_primary {
            return Err(format!("{} is a replica", primary.address));
        }
        facts.replicas_known = self.table.borrow().replicas_known(&primary.address);
        let run_id = facts.run_id.as_str().into();
        if let Err(unproved) = primary.note(facts, Some(self.level), self.config.memory_high_percent) {
            counter!("weir_store_redis_level_unproved_total").increment(1);
            return Err(format!("{} does not prove `{}`: {unproved}", primary.address, self.level));
        }
        counter!("weir_store_redis_connects_total").increment(1);
        let confirm_timeout = Duration::from_millis(self.config.confirm_ms.max(1));
        Ok(Connection { link, primary: primary.clone(), line, number, run_id, confirm_timeout })
    }
}

fn check(config: &RedisConfig) -> Result<(), ConnectError> {
    let prefix = &config.key_prefix;
    if prefix.is_empty() || prefix.contains(|c: char| c == '{' || c == '}' || c.is_whitespace()) {
        return Err(ConnectError::Prefix { prefix: prefix.clone() });
    }
    if config.shards == 0 {
        return Err(ConnectError::NoShards);
    }
    Ok(())
}

fn lines(config: &RedisConfig, level: Level) -> usize {
    match config.write_connections {
        0 if level.is_replicated() => WAITING_LINES,
        0 => 1,
        given => usize::from(given),
    }
}

async fn facts_of(dialer: &Dialer, address: &Address, replicas: u32) -> Result<Facts, ConnectError> {
    let unreachable =
        |error: RedisError| ConnectError::Unreachable { address: address.clone(), cause: error.to_string() };
    let mut link = dialer.dial(address, Purpose::Commands).await.map_err(unreachable)?;
    let mut facts = Facts::of(&mut link).await.map_err(unreachable)?;
    if !facts.is_primary {
        return Err(ConnectError::Replica { address: address.clone() });
    }
    facts.replicas_known = replicas;
    Ok(facts)
}
