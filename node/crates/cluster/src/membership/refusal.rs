//! Why a node that gossips is no member.

use std::fmt;

/// Why a node is refused. Each has its word in logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It belongs to another cluster.
    OtherCluster,
    /// It, or this node, keeps its messages in its own directory: two stores would be two truths.
    EmbeddedStore,
    /// It keeps its messages elsewhere than this node.
    OtherStore,
    /// It speaks only versions that are too new for this node.
    NewerProtocol,
    /// It speaks only versions that are too old for this node.
    OlderProtocol,
    /// A newer process of the same name is known.
    OldIncarnation,
    /// Its name is none.
    Name,
    /// Its facts are incomplete or too many.
    Facts,
}

impl Refusal {
    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OtherCluster => "other_cluster",
            Self::EmbeddedStore => "embedded_store",
            Self::OtherStore => "other_store",
            Self::NewerProtocol => "newer_protocol",
            Self::OlderProtocol => "older_protocol",
            Self::OldIncarnation => "old_incarnation",
            Self::Name => "name",
            Self::Facts => "facts",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherCluster => "it belongs to another cluster",
            Self::EmbeddedStore => "an embedded store cannot be shared: two stores, two truths",
            Self::OtherStore => "it works on another store",
            Self::NewerProtocol => "it speaks only newer versions of the cluster's protocol",
            Self::OlderProtocol => "it speaks only older versions of the cluster's protocol",
            Self::OldIncarnation => "a newer process of this name is known",
            Self::Name => "its name cannot name a node",
            Self::Facts => "its facts are incomplete or too many",
        })
    }
}
