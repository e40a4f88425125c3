//! Entering a store: is it this cluster's, does this version know its layout; and which incarnation this start is.

use redis::RedisError;

use super::script;
use crate::NodeRef;
use crate::redis::layout::Layout;
use crate::redis::servers::{Away, Servers};
use crate::redis::shard::Shard;

/// The layout of keys and values that this version writes; it reads no newer one.
pub(in crate::redis) const LAYOUT_VERSION: u32 = 1;

/// Why a node may not use a store.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error(
        "the store (prefix `{prefix}`) belongs to the cluster `{found}`, this node to `{own}`: give it another store.redis.key_prefix"
    )]
    OtherCluster { prefix: String, found: String, own: String },
    #[error("the store has layout {found}, this version knows up to {known}")]
    NewerLayout { found: String, known: u32 },
    #[error("the store was made with store.redis.shards = {found}, which cannot be changed to {configured}")]
    OtherShards { found: String, configured: u16 },
    #[error("a copy from {from} was not finished there: run `weir store copy` again")]
    Unfinished { from: String },
    #[error(transparent)]
    Away(#[from] Away),
    #[error("the store cannot be entered: {0}")]
    Redis(#[from] RedisError),
}

/// Enters the node with a new incarnation: the wanted one, or one above every incarnation that the store has seen. An
/// earlier process with the same node id loses its lease and is told so when it renews.
pub(in crate::redis) async fn enrol(
    servers: &Servers,
    layout: &Layout,
    cluster_id: &str,
    wanted: &NodeRef,
) -> Result<NodeRef, EnrolError> {
    let mut connection = servers.commands(Shard::Nodes).await?;
    let call = script::enrol(layout, LAYOUT_VERSION, cluster_id, wanted);
    let (what, value): (String, String) = match call.query_async(&mut connection).await {
        Ok(answer) => answer,
        Err(error) => {
            servers.lost(&connection, &error);
            return Err(error.into());
        }
    };
    match what.as_str() {
        "cluster" => Err(EnrolError::OtherCluster {
            prefix: layout.prefix.to_string(),
            found: value,
            own: cluster_id.to_owned(),
        }),
        "copying" => Err(EnrolError::Unfinished { from: value }),
        "layout" => Err(EnrolError::NewerLayout { found: value, known: LAYOUT_VERSION }),
        "shards" => Err(EnrolError::OtherShards { found: value, configured: layout.shards }),
        _ => {
            let bad = || RedisError::from((redis::ErrorKind::UnexpectedReturnType, "no incarnation"));
            let incarnation = value.parse().map_err(|_| bad())?;
            Ok(NodeRef { node_id: wanted.node_id.clone(), incarnation })
        }
    }
}
