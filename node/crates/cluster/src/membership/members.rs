//! The members as a node sees them at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use weir_net::peer::NodeId;

use crate::facts::Facts;

/// One live node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, the one in its certificate.
    pub node_id: NodeId,
    /// Which start of the node this is; a later one is greater.
    pub incarnation: u64,
    /// Where its peer listener is, for gossip and links.
    pub address: SocketAddr,
    /// What it tells of itself.
    pub facts: Facts,
}

/// The members at one moment; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members(Arc<Picture>);

#[derive(Debug, PartialEq, Eq)]
struct Picture {
    me: NodeId,
    live: BTreeMap<NodeId, Arc<Member>>,
    suspected: BTreeSet<NodeId>,
    lost: BTreeSet<NodeId>,
    superseded: bool,
}

impl Members {
    pub(crate) fn new(
        me: NodeId,
        live: BTreeMap<NodeId, Arc<Member>>,
        suspected: BTreeSet<NodeId>,
        lost: BTreeSet<NodeId>,
        superseded: bool,
    ) -> Self {
        Self(Arc::new(Picture { me, live, suspected, lost, superseded }))
    }

    /// All live members in the order of their names, this node among them, suspected ones too.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.0.live.values()
    }

    /// All live members but this node.
    pub fn peers(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.all().filter(|member| member.node_id != self.0.me)
    }

    /// A live member by its name.
    #[must_use]
    pub fn get(&self, node: &NodeId) -> Option<&Arc<Member>> {
        self.0.live.get(node)
    }

    /// Number of live members, this node counted.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.live.len()
    }

    /// Members that are silent and not yet counted as dead.
    #[must_use]
    pub fn suspected(&self) -> &BTreeSet<NodeId> {
        &self.0.suspected
    }

    /// Nodes that died and neither came back nor are forgotten yet; who left cleanly is not among them.
    #[must_use]
    pub fn lost(&self) -> &BTreeSet<NodeId> {
        &self.0.lost
    }

    /// Whether this node sees at least half of the last known members, itself counted (guarantees.md 12).
    #[must_use]
    pub fn sees_half(&self) -> bool {
        2 * self.0.live.len() >= self.0.live.len() + self.0.lost.len()
    }

    /// Whether a newer process has this node's name: this one must end.
    #[must_use]
    pub fn superseded(&self) -> bool {
        self.0.superseded
    }
}
