//! A Redis as one end of a copy: read out shard by shard, or filled shard by shard under a mark that keeps nodes away.

use std::time::{Duration, Instant};

use redis::RedisError;
use tokio::runtime::Handle;
use weir_model::UnixMillis;

use super::errors::{Kind, Policy};
use super::layout::Layout;
use super::library;
use super::servers::{Connection, Servers};
use super::shard::Shard;
use crate::config::Config;
use crate::copy::{CopyError, Marks};

mod meta;
mod read;
mod source;
mod target;
mod write;

pub use source::RedisSource;
pub use target::RedisTarget;

/// How long a server that is away is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is asked meanwhile.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// A Redis that no node works on, or is not to.
struct Place {
    /// For messages.
    name: String,
    servers: std::sync::Arc<Servers>,
    layout: Layout,
    runtime: Handle,
    /// Nodes may work on it all the same.
    live: bool,
}

/// What the row of a shard says of its counting.
#[derive(Debug, Clone, Copy, Default)]
struct ShardMarks {
    epoch: u64,
    counter: u64,
    group_base: u64,
}

impl Place {
    /// Connects; `shards` as the store was made with.
    fn connect(config: &Config, url: &str, shards: u16, runtime: &Handle) -> Result<Place, CopyError> {
        let settings = super::RedisConfig { shards, ..config.redis.clone() };
        let servers = runtime.block_on(Servers::connect(url, config.level, &settings))?;
        let layout = Layout { prefix: settings.key_prefix.as_str().into(), shards };
        let name = format!("{url} (prefix `{}`)", layout.prefix);
        Ok(Place { name, servers, layout, runtime: runtime.clone(), live: false })
    }

    /// Runs something on the connection to a shard, again while the server is away. What it does must be the same when
    /// it is done twice.
    fn with<T>(
        &self,
        shard: Shard,
        work: impl AsyncFn(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, CopyError> {
        self.runtime.block_on(self.try_with(shard, work))
    }

    async fn try_with<T>(
        &self,
        shard: Shard,
        work: impl AsyncFn(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, CopyError> {
        let until = Instant::now() + PATIENCE;
        loop {
            let cause = match self.servers.commands(shard).await {
                Err(away) => away.to_string(),
                Ok(mut connection) => match work(&mut connection).await {
                    Ok(done) => return Ok(done),
                    Err(error) => self.look_at(&mut connection, error).await?,
                },
            };
            if Instant::now() >= until {
                return Err(CopyError::Away { store: self.name.clone(), cause });
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    /// Whether it is worth another try, and why it was not done; else the error.
    async fn look_at(&self, connection: &mut Connection, error: RedisError) -> Result<String, CopyError> {
        let (store, cause) = (self.name.clone(), error.to_string());
        if error.kind() == redis::ErrorKind::UnexpectedReturnType {
            return Err(CopyError::Damaged { store, row: "an answer".to_owned(), cause });
        }
        if error.code() == Some("SUPERSEDED") {
            return Err(CopyError::Superseded { store });
        }
        self.servers.lost(connection, &error);
        match Kind::of(&error).policy() {
            Policy::Free => Err(CopyError::StoreFull { store, cause }),
            Policy::GiveUp => Err(CopyError::Refused { store, cause }),
            Policy::Load => {
                // What is wrong with that the next try finds out.
                let _ = library::load(connection).await;
                Ok(cause)
            }
            Policy::Again | Policy::AskAgain | Policy::Chain | Policy::Adopt => Ok(cause),
        }
    }

    /// How far each shard has counted.
    fn shard_marks(&self, shard: Shard) -> Result<ShardMarks, CopyError> {
        let mut question = redis::cmd("HMGET");
        question.arg(self.layout.key(shard, "shard")).arg(&["epoch", "counter", "group_base"]);
        let (epoch, counter, group_base): (Option<u64>, Option<u64>, Option<u64>) =
            self.with(shard, async |connection| question.query_async(connection).await)?;
        let (epoch, counter) = (epoch.unwrap_or(0), counter.unwrap_or(0));
        Ok(ShardMarks { epoch, counter, group_base: group_base.unwrap_or(0) })
    }

    fn marks(&self) -> Result<Marks, CopyError> {
        let mut marks = Marks::default();
        for shard in self.layout.all() {
            let found = self.shard_marks(shard)?;
            marks.epoch = marks.epoch.max(found.epoch);
            marks.number = marks.number.max(super::layout::newest_number(found.counter));
            marks.group_base = marks.group_base.max(found.group_base);
        }
        Ok(marks)
    }

    fn damaged(&self, row: String, cause: impl std::fmt::Display) -> CopyError {
        CopyError::Damaged { store: self.name.clone(), row, cause: cause.to_string() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.servers.close();
    }
}

fn now() -> u64 {
    UnixMillis::from(std::time::SystemTime::now()).0
}
