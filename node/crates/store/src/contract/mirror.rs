//! What the store tells unasked, and at its start: mirrored tables, sessions found, what is due; and why a read failed.

use std::sync::Arc;

use weir_model::{Filter, Message, Position, Topic, UnixMillis};

use super::answer::Refusal;
use super::nodes::{Incarnation, SessionChange};
use super::queue::QueueEnds;
use super::rollback::Rollback;
use super::session::{Fence, OutboxEntry, Owner, SessionKey, SubscriptionOptions};
use super::stream::{Mark, PartitionKey};
use super::table::TableRow;

/// Something whose time has come.
#[derive(Debug, Clone, PartialEq)]
pub enum Due {
    /// The will delay of a detached session is over: `FireWill` wants submitting.
    Will { key: SessionKey, fence: Fence },
    /// A detached session has expired: `FireWill` (if it has a will), then `End`.
    Expiry { key: SessionKey, fence: Fence },
    /// A delayed message wants publishing, then [`TopicOp::Delayed`](super::TopicOp::Delayed).
    Delayed { realm: Arc<str>, entry: OutboxEntry },
    /// Its connection's node has lost its lease: it wants what a restart would do (`Detach`, or will and
    /// `End` when not persistent). What it owes comes as [`Due::Owed`], its `outbox` is empty here. Only
    /// of a shared store.
    Orphan(Box<Restored>),
    /// An outbox entry that nobody has seen to for `claim_ms`: the node that fired it may be dead. Wants
    /// publishing, then `OutboxDone`. Only of a shared store.
    Owed { key: SessionKey, entry: OutboxEntry },
}

/// Hears of every change of the mirrored tables, in commit order: of this node's before the submit is
/// answered, of other nodes' soon after ([`Store::caught_up`](super::Store::caught_up) waits for them).
/// Implemented by the broker; must be quick and must not block.
pub trait Mirror: Send + Sync {
    /// The retained message of a topic is now this, or gone.
    fn retained(&self, realm: &Arc<str>, topic: &Topic, position: Position, message: Option<&Arc<Message>>);

    /// A session of any node changed. Called by stores that nodes share, for changes of all nodes, this
    /// one included; own changes may come a second time. It may submit, and must not wait for the answer.
    fn session(&self, key: &SessionKey, change: SessionChange);

    /// A row of a table is now this, or gone. At restore every row is told.
    fn table(&self, _row: TableRow) {}

    /// A partition has records up to here, or is gone: `None`. Of many appends only the last may be told; of a shared
    /// store those of all nodes.
    fn appended(&self, _key: &PartitionKey, _tail: Option<Mark>) {}

    /// A shared store has forgotten what it acknowledged, to this node or another; what this node could still put back
    /// is there again. Connections of sessions in it know more or less than the store.
    fn rolled_back(&self, _rollback: &Rollback) {}
}

/// A session found at start, or left behind by a lost node.
#[derive(Debug, Clone, PartialEq)]
pub struct Restored {
    pub key: SessionKey,
    pub fence: Fence,
    /// As its last connection gave it.
    pub owner: Option<Arc<Owner>>,
    pub persistent: bool,
    pub subscriptions: Vec<(Filter, SubscriptionOptions)>,
    pub queue: QueueEnds,
    /// `None` = its connection died with the node: it wants `Detach` (or will and `End` when not
    /// persistent).
    pub detached_at: Option<UnixMillis>,
    /// The node whose connection has it, as far as the row says; `None` = detached, or the store is not
    /// shared.
    pub home: Option<Incarnation>,
    /// As given when it was opened.
    pub expiry_seconds: u32,
    pub has_will: bool,
    /// The will's delay; 0 without a will.
    pub will_delay_seconds: u32,
    /// What it still owes.
    pub outbox: Vec<OutboxEntry>,
}

/// What went wrong in reading.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the store is closed or away")]
    Unavailable,
    #[error("a row of {table} cannot be read: {cause}")]
    Damaged { table: &'static str, cause: String },
}

impl ReadError {
    /// For who is told no more than that. What cannot be read is logged.
    pub(crate) fn into_refusal(self) -> Refusal {
        match self {
            ReadError::Unavailable => Refusal::Unavailable,
            ReadError::Damaged { table, cause } => {
                tracing::error!(table, cause, "what a group keeps or owes cannot be read");
                Refusal::Unknown
            }
        }
    }
}
