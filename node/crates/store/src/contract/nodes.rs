//! What nodes that work on one store tell each other by way of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_model::Filter;

use super::{Fence, Owner, SubscriptionOptions};

/// The incarnation of a node: Unix milliseconds of its start, raised above every one that its store has
/// seen before, so that no two starts of any nodes share one. 0 = no node.
pub type Incarnation = u64;

/// One start of one node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeRef {
    pub node_id: Arc<str>,
    pub incarnation: Incarnation,
}

/// Why a node can work on a shared store no longer as who it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseEnded {
    /// This process has to end.
    #[error("another process has started with this node's id: its incarnation is {by}")]
    Superseded { by: Incarnation },
    /// It may start anew.
    #[error("the lease was over, and other nodes have seen to this one's sessions")]
    Buried,
}

/// What became of a session of kind [`super::SessionKind::Client`]; share groups are not mirrored.
/// Applying one again changes nothing; one of an older fence or generation is to be ignored.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionChange {
    /// A connection of the node `home` has it now. Comes again with the same fence when the owner was
    /// renewed. One of a new generation takes the place of an older one, whose end is not told: whoever had
    /// that one hears at once that it was taken over.
    Opened {
        fence: Fence,
        home: Incarnation,
        persistent: bool,
        owner: Option<Arc<Owner>>,
        /// Resumed: its subscriptions stay.
        present: bool,
    },
    Subscribed {
        generation: u64,
        filter: Filter,
        options: SubscriptionOptions,
    },
    Unsubscribed {
        generation: u64,
        filter: Filter,
    },
    /// Its connection has ended, it has not.
    Detached {
        fence: Fence,
    },
    Ended {
        generation: u64,
    },
}
