//! Who the nodes are: gossip and membership over QUIC, and the links between them.

mod cluster;
mod gossip;
mod incarnation;
mod join;
mod membership;

pub mod config;
pub mod facts;
pub mod interest;
pub mod link;
pub mod links;
pub mod metrics;
pub mod record;

pub use cluster::{Cluster, Local, StartError};
pub use config::Config;
pub use facts::{Facts, StoreKind};
pub use incarnation::{IncarnationError, next_incarnation};
pub use interest::{Digest, Interest};
pub use join::{Resolve, SystemResolver};
pub use link::{Control, Full, Inbox, InterestChange, InterestChanges, LINKS_MAX, Link, Urgency};
pub use links::{Barrier, BarrierResult, LinkLocal, LinkPeer, Links};
pub use membership::{Member, Members, Refusal};
pub use record::{Incoming, Malformed, Numbered, Outgoing, Records, Run};
