//! What a server says of itself and its settings.

use std::num::NonZeroU32;

use redis::aio::ConnectionLike;
use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::{Confirm, Unproved};
use crate::Level;

/// The first version with `WAITAOF`.
const WAITAOF_SINCE: (u32, u32) = (7, 2);

/// One server as `INFO` and `CONFIG GET` show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// A new one with every start of the server.
    pub run_id: String,
    /// Major and minor.
    pub version: (u32, u32),
    pub is_primary: bool,
    pub appendonly: bool,
    /// `unknown` where `CONFIG` is not allowed.
    pub appendfsync: String,
    pub maxmemory_policy: String,
    /// Bytes; 0 = no limit.
    pub maxmemory: u64,
    pub used_memory: u64,
    /// `min-replicas-to-write`, 0 also where it is switched off by `min-replicas-max-lag 0`.
    pub replicas_demanded: u32,
    /// Replicas that are connected and in sync.
    pub replicas_online: u32,
    /// Replicas that Sentinel or the cluster know, whether connected or not: each could be promoted.
    pub replicas_known: u32,
}

impl Facts {
    /// Asks the server.
    pub async fn of(link: &mut impl ConnectionLike) -> Result<Facts, RedisError> {
        let info: String = redis::cmd("INFO").query_async(link).await?;
        let mut config = redis::cmd("CONFIG");
        config.arg("GET").arg("appendfsync").arg("min-replicas-to-write").arg("min-replicas-max-lag");
        let settings = match config.query_async::<Vec<String>>(link).await {
            Ok(settings) => settings,
            // Some hosters do not allow it: what only it says is not proved then.
            Err(error) if is_forbidden(&error) => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Facts::read(&info, &settings))
    }

    pub(super) fn read(info: &str, settings: &[String]) -> Facts {
        let field = |name: &str| field(info, name).unwrap_or_default();
        let pairs = settings.chunks_exact(2);
        let setting = |name: &str| pairs.clone().find(|pair| pair[0] == name).map(|pair| pair[1].clone());
        let number = |name: &str| setting(name).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
        let version = version(field("redis_version"));
        Facts {
            run_id: field("run_id").to_owned(),
            version,
            is_primary: field("role") == "master",
            appendonly: field("aof_enabled") == "1",
            appendfsync: setting("appendfsync").unwrap_or_else(|| "unknown".to_owned()),
            maxmemory_policy: field("maxmemory_policy").to_owned(),
            maxmemory: field("maxmemory").parse().unwrap_or(0),
            used_memory: field("used_memory").parse().unwrap_or(0),
            replicas_demanded: match number("min-replicas-max-lag") {
                0 => 0,
                _ => number("min-replicas-to-write"),
            },
            replicas_online: replicas_online(info),
            replicas_known: 0,
        }
    }

    /// How this server confirms the level, if it proves it.
    pub fn proves(&self, level: Level) -> Result<Confirm, Unproved> {
        if self.maxmemory_policy != "noeviction" {
            return Err(Unproved::Evicts { policy: self.maxmemory_policy.clone() });
        }
        if level != Level::Stored && !self.appendonly {
            return Err(Unproved::NotLogged { level });
        }
        match level {
            Level::Stored => Ok(Confirm::Answer),
            Level::Fsynced if self.syncs_always() => Ok(Confirm::Answer),
            Level::Fsynced if self.version >= WAITAOF_SINCE => Ok(Confirm::Synced),
            Level::Fsynced => Err(Unproved::NotSynced { setting: self.appendfsync.clone() }),
            Level::Replicated(needed) => self.replicas(level, needed.get()),
            Level::ReplicatedAll => self.replicas(level, self.replicas_known.max(1)),
        }
    }

    /// All replicas have to confirm for `replicated:all`, so many at least otherwise.
    fn replicas(&self, level: Level, needed: u32) -> Result<Confirm, Unproved> {
        let connected = self.replicas_online;
        let confirming = if level == Level::ReplicatedAll { needed.max(connected) } else { needed };
        match NonZeroU32::new(confirming) {
            Some(confirming) if connected >= needed => Ok(Confirm::Replicas(confirming)),
            _ => Err(Unproved::TooFewReplicas { level, connected, needed }),
        }
    }

    /// Whether each answer waits for the disk.
    pub fn syncs_always(&self) -> bool {
        self.appendonly && self.appendfsync == "always"
    }

    /// Whether more than so many percent of its memory is used; never without a limit.
    pub fn is_above(&self, percent: u8) -> bool {
        percent > 0 && self.maxmemory > 0 && self.used_memory > self.maxmemory / 100 * u64::from(percent)
    }
}

fn is_forbidden(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
        || error.detail().is_some_and(|detail| detail.contains("unknown command"))
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// `slave0:ip=127.0.0.1,port=6380,state=online,offset=1,lag=0`
fn replicas_online(info: &str) -> u32 {
    let of_replica = |line: &&str| {
        line.strip_prefix("slave").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    let online = info.lines().filter(of_replica).filter(|line| line.contains("state=online")).count();
    u32::try_from(online).unwrap_or(u32::MAX)
}

fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
