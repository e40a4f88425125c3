//! A connection to a primary, as the lanes and readers use it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisError, RedisFuture, Value};

use super::primary::Primary;
use crate::Level;
use crate::redis::level::{Confirm, Unconfirmed, Unproved, Wait};
use crate::redis::shard::Shard;

/// Writes something into a shard, also when Redis is out of memory: replication is in order, so a replica that has
/// this has everything before it.
const MARK: &str = "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], '1')";

/// A connection to the primary of a shard. Commands and pipelines run on it directly (`query_async(&mut connection)`),
/// from several clones at once: what one task sends stays in order. A connection to a primary that has been replaced
/// answers everything with an IO error.
#[derive(Clone)]
pub struct Connection {
    pub(super) link: MultiplexedConnection,
    pub(super) primary: Arc<Primary>,
    /// Which line of the primary it is; `None` for one of its own.
    pub(super) line: Option<usize>,
    /// The number of the attempt that made it.
    pub(super) number: u64,
    pub(super) run_id: Arc<str>,
    pub(super) confirm_timeout: Duration,
}

impl Connection {
    /// What to put in the same pipeline right behind a write of which the level wants a confirmation. `None` = its
    /// answer is one.
    ///
    /// # Errors
    /// The primary does not prove the level now: no answer of it is a confirmation.
    pub fn wait(&self) -> Result<Option<Wait>, Unconfirmed> {
        let confirm = self.primary.confirm();
        let confirm = confirm.map_err(|unproved| Unconfirmed { cause: unproved.to_string() })?;
        Ok(confirm.wait(self.confirm_timeout))
    }

    /// Waits until everything that this primary was given before this call is as safe as the level wants, whichever
    /// connection it came by: for a [`Wait`] that was not enough, and for repeats of batches, which write nothing.
    /// `prefix` is the configured `key_prefix`.
    pub async fn confirm(&mut self, prefix: &str, shard: Shard, within: Duration) -> Result<(), Unconfirmed> {
        let until = Instant::now() + within;
        loop {
            let Some(wait) = self.wait()? else { return Ok(()) };
            let mut marked = redis::pipe();
            marked.add_command(Connection::mark(prefix, shard)).ignore();
            marked.add_command(wait.command());
            let answers: Vec<Value> =
                marked.query_async(self).await.map_err(|error| Unconfirmed { cause: error.to_string() })?;
            if answers.first().is_some_and(|answer| wait.enough(answer)) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(Unconfirmed { cause: format!("too few replicas in {within:?}") });
            }
        }
    }

    /// Sets the mark of a shard: who has it has everything that the primary was given before.
    pub(in crate::redis) fn mark(prefix: &str, shard: Shard) -> Cmd {
        redis::cmd("EVAL").arg(MARK).arg(1).arg(shard.key(prefix, "mark")).clone()
    }

    /// How its primary confirms another level than that of all, if it proves it now.
    pub(in crate::redis) fn proves(&self, level: Level) -> Result<Confirm, Unproved> {
        self.primary.proves(level)
    }

    /// The same connection with another response timeout.
    pub(in crate::redis) fn answering_within(&self, timeout: Duration) -> Connection {
        let mut other = self.clone();
        other.link.set_response_timeout(timeout);
        other
    }

    /// Which start of which server it leads to.
    pub fn run_id(&self) -> &Arc<str> {
        &self.run_id
    }

    /// Whether its primary still is one, as far as is known here, and proves the level.
    pub fn is_good(&self) -> bool {
        !self.primary.is_retired() && self.primary.confirm().is_ok()
    }

    /// Whether both are connections to the same primary.
    pub fn is_beside(&self, other: &Connection) -> bool {
        Arc::ptr_eq(&self.primary, &other.primary)
    }

    fn refused(&self) -> Option<RedisError> {
        if self.primary.is_retired() {
            let cause = format!("{} is not the primary any more", self.primary.address);
            return Some(RedisError::from(io::Error::new(io::ErrorKind::ConnectionReset, cause)));
        }
        self.primary.confirm().err().map(|unproved| {
            RedisError::from(io::Error::new(io::ErrorKind::ConnectionReset, unproved.to_string()))
        })
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self.refused() {
            Some(refused) => async { Err(refused) }.boxed(),
            None => self.link.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self.refused() {
            Some(refused) => async { Err(refused) }.boxed(),
            None => self.link.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        self.link.get_db()
    }
}
