//! Rollbacks: a primary that has forgotten what it acknowledged (`guarantees.md` 7).
//!
//! What was acknowledged is proved by the number of a node's last batch: a batch is applied as a whole, and only behind
//! the one before it. The lane that misses one raises the epoch of every shard of that primary before it writes anything
//! else, and applies again what it has kept. All nodes see the epoch, and then tell their mirror.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::counter;
use parking_lot::Mutex;
use redis::RedisError;
use rmpv::ValueRef;
use tokio::sync::Notify;
use tracing::warn;

use super::account::ShardRow;
use super::decode::{self, DecodeError};
use super::layout::session_id;
use super::lease::hold;
use super::library::Function;
use super::read::garbled;
use super::servers::Connection;
use super::shard::Shard;
use super::store::Context;
use crate::{Rollback, ShardRollback};

/// What this node has seen of rollbacks and not yet told.
#[derive(Default)]
pub(super) struct Rollbacks {
    tallies: Mutex<BTreeMap<Shard, Tally>>,
    /// Lanes that are applying again.
    healing: AtomicUsize,
    /// Some lane has found a rollback or is done with it.
    pub news: Notify,
    /// By the layout's index, what the mirror was told: epoch, and how many batches were applied again.
    told: Mutex<Vec<(u64, u64)>>,
}

/// What became of a shard since it was last told.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub from_epoch: u64,
    pub from_batch: u64,
    pub replayed_steps: u64,
    pub lost_steps: u64,
    pub lost_batches: u64,
}

impl Rollbacks {
    /// A lane is applying again.
    pub fn enter(&self) {
        self.healing.fetch_add(1, Ordering::AcqRel);
    }

    /// A lane is done with that.
    pub fn end(&self) {
        self.healing.fetch_sub(1, Ordering::AcqRel);
        self.news.notify_one();
    }

    pub fn begin(&self, shard: Shard, from_epoch: u64, from_batch: u64, lost_batches: u64) {
        counter!("weir_store_redis_rollback_lost_total", "kind" => "batches").increment(lost_batches);
        let mut tallies = self.tallies.lock();
        let tally = tallies.entry(shard).or_default();
        *tally = Tally { from_epoch, from_batch, lost_batches: tally.lost_batches + lost_batches, ..*tally };
    }

    pub fn replayed(&self, shard: Shard, done: u64, lost: u64) {
        counter!("weir_store_redis_rollback_replayed_total").increment(done);
        counter!("weir_store_redis_rollback_lost_total", "kind" => "steps").increment(lost);
        let mut tallies = self.tallies.lock();
        let tally = tallies.entry(shard).or_default();
        tally.replayed_steps += done;
        tally.lost_steps += lost;
    }

    /// What the mirror knows when the store is opened.
    pub fn start(&self, context: &Context) {
        *self.told.lock() = context.layout.all().map(|shard| stand(&context.accounts.row(shard))).collect();
    }

    /// Tells the mirror of the shards that went back or were healed since the last call, unless this node is still
    /// healing.
    pub fn tell(&self, context: &Context) {
        if self.healing.load(Ordering::Acquire) > 0 {
            return;
        }
        let shards = self.changed(context);
        if shards.is_empty() {
            return;
        }
        let tallies = std::mem::take(&mut *self.tallies.lock());
        let report = |(shard, epoch): &(Shard, u64)| {
            let tally = tallies.get(shard).copied().unwrap_or_default();
            ShardRollback {
                shard: shard.to_string(),
                from_epoch: tally.from_epoch,
                from_batch: tally.from_batch,
                epoch: *epoch,
                replayed_steps: tally.replayed_steps,
                lost_steps: tally.lost_steps,
                lost_batches: tally.lost_batches,
            }
        };
        let reports: Vec<ShardRollback> = shards.iter().map(report).collect();
        for shard in reports.iter().filter(|shard| shard.from_epoch > 0) {
            warn!(
                shard = shard.shard,
                from_epoch = shard.from_epoch,
                from_batch = shard.from_batch,
                epoch = shard.epoch,
                replayed_steps = shard.replayed_steps,
                lost_steps = shard.lost_steps,
                lost_batches = shard.lost_batches,
                "redis_rolled_back"
            );
        }
        let layout = context.layout.clone();
        let is_in = move |key: &crate::SessionKey| {
            let of_session = layout.of_session(&session_id(key));
            shards.iter().any(|(shard, _)| *shard == of_session)
        };
        context.feed.rows().rolled_back(&Rollback { shards: reports, is_in: Box::new(is_in) });
    }

    /// Shards that stand otherwise than was told, with their epochs.
    fn changed(&self, context: &Context) -> Vec<(Shard, u64)> {
        let mut told = self.told.lock();
        let mut changed = Vec::new();
        for shard in context.layout.all() {
            let row = context.accounts.row(shard);
            let Some(last) = told.get_mut(context.layout.index(shard)) else { continue };
            if *last == stand(&row) {
                continue;
            }
            *last = stand(&row);
            changed.push((shard, row.epoch));
        }
        changed
    }
}

fn stand(row: &ShardRow) -> (u64, u64) {
    (row.epoch, row.healed)
}

/// A batch of this shard is gone that was acknowledged in `known`: raises the epoch of the shard, unless another node
/// has done so since, and with it that of all shards of the primary. Answers the shard's row, and whether it was this
/// node that raised it.
pub(super) async fn raise(
    context: &Arc<Context>,
    connection: &mut Connection,
    shard: Shard,
    known: &ShardRow,
) -> Result<(ShardRow, bool), RedisError> {
    let (row, is_raised) = raise_one(context, connection, shard, known).await?;
    if is_raised {
        let groups = context.servers.groups();
        let beside = groups.into_iter().find(|group| group.contains(&shard)).unwrap_or_default();
        for other in beside.into_iter().filter(|other| *other != shard) {
            if other == Shard::Nodes {
                let hold = hold(&context.layout, context.servers.config().lease());
                hold.query_async::<()>(connection).await?;
                continue;
            }
            let known = context.accounts.row(other);
            raise_one(context, connection, other, &known).await?;
        }
    }
    Ok((row, is_raised))
}

async fn raise_one(
    context: &Arc<Context>,
    connection: &mut Connection,
    shard: Shard,
    known: &ShardRow,
) -> Result<(ShardRow, bool), RedisError> {
    let mut call = Function::Raise.call();
    call.arg(1).arg(context.layout.tag(shard)).arg(known.epoch).arg(known.counter);
    call.arg(context.servers.config().lease().as_millis() as u64);
    let (packed, raised): (Vec<u8>, u64) = call.query_async(connection).await?;
    let row = ShardRow::of(&packed).map_err(garbled)?;
    context.accounts.note(shard, row);
    if raised == 1 {
        counter!("weir_store_redis_rollbacks_total").increment(1);
    }
    Ok((row, raised == 1))
}

/// How many steps of a batch that was applied again were refused or went to nobody.
pub(super) fn lost_of(answers: &[u8]) -> Result<u64, DecodeError> {
    let list = decode::unpacked(answers)?;
    let is_lost = |answer: &&ValueRef<'_>| match answer {
        ValueRef::Integer(code) => code.as_i64().is_some_and(|code| code < 0),
        ValueRef::String(outcome) => matches!(outcome.as_str(), Some("gone" | "full")),
        _ => false,
    };
    Ok(decode::Values::of(&list)?.rest().filter(is_lost).count() as u64)
}
