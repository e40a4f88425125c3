//! What a store says when it has forgotten what it acknowledged (`guarantees.md` 7).

use serde::Serialize;

use super::SessionKey;

/// A part of the store went back to an earlier state, as far as this node has seen to it by now. A rollback may be told
/// in several of these.
pub struct Rollback {
    pub shards: Vec<ShardRollback>,
    pub(crate) is_in: Box<dyn Fn(&SessionKey) -> bool + Send + Sync>,
}

/// What became of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShardRollback {
    /// As the store names it.
    pub shard: String,
    /// The epoch that everything was acknowledged in until then; 0 = this node has not lost anything itself.
    pub from_epoch: u64,
    /// This node's last batch that the store still knows.
    pub from_batch: u64,
    /// The shard's epoch now.
    pub epoch: u64,
    /// Steps of this node that were applied again.
    pub replayed_steps: u64,
    /// Steps of this node that were not: their session is another one or gone, or there is no room.
    pub lost_steps: u64,
    /// Acknowledged batches of this node that were kept for too short to be applied again; nobody knows how many steps
    /// they had.
    pub lost_batches: u64,
}

impl Rollback {
    /// Whether the session lies in a shard of this rollback: its queue may hold what its connection has not heard of,
    /// and not hold what it has.
    pub fn is_in(&self, key: &SessionKey) -> bool {
        (self.is_in)(key)
    }
}
