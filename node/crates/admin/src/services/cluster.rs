//! `Cluster`: the nodes, draining one, and spreading the clients over all.

mod plan;
mod rebalance;

use std::collections::HashMap;

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use weir_broker::admin::EndError;

use super::{Shared, blocking, reason};
use crate::audit;
use crate::caller::Caller;
use crate::error::Refused;
use crate::machine::NodeView;
use crate::proto::{
    ClusterDrainRequest, ClusterDrainResponse, ClusterListNodesRequest, ClusterListNodesResponse,
    ClusterRebalanceRequest, ClusterRebalanceResponse, Node, cluster_server,
};

pub struct Cluster(pub Shared);

#[tonic::async_trait]
impl cluster_server::Cluster for Cluster {
    type RebalanceStream = ReceiverStream<Result<ClusterRebalanceResponse, Status>>;

    async fn list_nodes(
        &self,
        _: Request<ClusterListNodesRequest>,
    ) -> Result<Response<ClusterListNodesResponse>, Status> {
        let broker = self.0.broker.clone();
        let connected = blocking(move || Ok(broker.connected_by_node())).await?;
        let mut nodes: Vec<Node> =
            self.0.machine.nodes().into_iter().map(|node| told(node, &connected)).collect();
        nodes.sort_by(|a, b| a.node_id.cmp(&b.node_id));
        Ok(Response::new(ClusterListNodesResponse {
            nodes,
            cluster_id: self.0.machine.cluster_id().unwrap_or_default(),
            store: self.0.machine.store().to_owned(),
        }))
    }

    async fn drain(
        &self,
        request: Request<ClusterDrainRequest>,
    ) -> Result<Response<ClusterDrainResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let done = self.begin(&request).await;
        let node = if request.node_id.is_empty() { self.0.machine.name() } else { &request.node_id };
        audit::changed(&caller, "cluster.drain", node, &request.reason, done)
    }

    async fn rebalance(
        &self,
        request: Request<ClusterRebalanceRequest>,
    ) -> Result<Response<Self::RebalanceStream>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let what = if request.dry_run { "cluster.rebalance_plan" } else { "cluster.rebalance" };
        let why = request.reason.clone();
        let answers = rebalance::rebalance(self.0.clone(), caller.clone(), request).await;
        audit::changed(&caller, what, "", &why, answers)
    }
}

impl Cluster {
    async fn begin(&self, request: &ClusterDrainRequest) -> Result<ClusterDrainResponse, Refused> {
        reason(&request.reason)?;
        let here = self.0.machine.name();
        if request.node_id.is_empty() || request.node_id == here {
            let connected_sessions = self.0.broker.sessions().census().connected as u64;
            self.0.machine.drain();
            return Ok(ClusterDrainResponse { node_id: here.to_owned(), connected_sessions });
        }
        let drained = self.0.broker.drain_node(&request.node_id).await;
        let connected_sessions = drained.map_err(|error| match error {
            EndError::Unknown => Refused::not_found("node_id", "there is no link to such a node"),
            error => error.into(),
        })?;
        Ok(ClusterDrainResponse { node_id: request.node_id.clone(), connected_sessions })
    }
}

/// `connected`: by incarnation, 0 = here.
fn told(node: NodeView, connected: &HashMap<u64, u64>) -> Node {
    let counted = if node.is_this { connected.get(&0) } else { connected.get(&node.incarnation) };
    Node {
        node_id: node.node_id,
        incarnation: node.incarnation,
        is_this: node.is_this,
        state: node.state.into(),
        peer_address: node.peer_address.map(|address| address.to_string()).unwrap_or_default(),
        release: node.release,
        serves: node.serves,
        linked: node.linked,
        listeners: node.listeners.into_iter().collect(),
        connected_sessions: counted.copied().unwrap_or(0),
    }
}
