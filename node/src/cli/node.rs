//! `weir node`: the nodes as one of them sees them, draining one, and spreading the clients over all.

mod rebalance;

use std::time::{Duration, Instant};

use clap::Subcommand;
use serde_json::{Value, json};
use weir_admin::client::Client;
use weir_admin::proto::{ClusterDrainRequest, ClusterListNodesRequest, Node, NodeState};

use super::Failure;
use super::admin::{List, Server, block_on, refused, say, say_json, text};

/// How often a draining node is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What `weir node` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all nodes.
    List {
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Have a node send its clients to other nodes, and end.
    Drain {
        /// The node; left out, the one that is asked.
        #[arg(default_value = "")]
        node: String,
        /// Why, for the audit log.
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        /// Wait until it is gone, and say how many clients it still has.
        #[arg(long)]
        wait: bool,
        /// Seconds to wait for that.
        #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "wait")]
        wait_seconds: u64,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Send clients of nodes that have more than their share to nodes that have less.
    Rebalance(rebalance::Args),
}

/// Asks the node, and prints what it says.
pub fn run(args: &Args) -> Result<(), Failure> {
    block_on(async {
        match &args.action {
            Action::List { json, server } => list(*json, server).await,
            Action::Rebalance(args) => rebalance::run(args).await,
            Action::Drain { node, reason, wait, wait_seconds, json, server } => {
                let client = server.connect().await?;
                let request = ClusterDrainRequest { node_id: node.clone(), reason: reason.clone() };
                let begun = client.cluster().drain(request).await.map_err(refused)?.into_inner();
                if *wait {
                    until_gone(&client, &begun.node_id, Duration::from_secs(*wait_seconds)).await?;
                }
                match json {
                    true => say_json(&json!({
                        "node_id": begun.node_id, "connected_sessions": begun.connected_sessions, "gone": wait,
                    })),
                    false => {
                        let state = if *wait { "gone" } else { "draining" };
                        let (node, clients) = (text(&begun.node_id), begun.connected_sessions);
                        say(&format!("{state}: {node}, which had {clients} clients\n"))
                    }
                }
            }
        }
    })
}

async fn list(json: bool, server: &Server) -> Result<(), Failure> {
    let answer = server.connect().await?.cluster().list_nodes(ClusterListNodesRequest {}).await;
    let nodes = answer.map_err(refused)?.into_inner().nodes;
    let mut list = List::begin(json, &["node", "state", "serves", "linked", "clients", "peer", "release"])?;
    list.page(nodes.iter().map(|node| (in_json(node), cells(node))).collect())?;
    list.end().map(drop)
}

/// Looks until the node is gone; of the one that is asked, until it does not answer any more.
async fn until_gone(client: &Client, node: &str, patience: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + patience;
    let mut told = None;
    loop {
        let Ok(answer) = client.cluster().list_nodes(ClusterListNodesRequest {}).await else { return Ok(()) };
        let found = answer.into_inner().nodes.into_iter().find(|known| known.node_id == node);
        let Some(found) = found.filter(|known| known.state() != NodeState::Lost) else { return Ok(()) };
        if told.replace(found.connected_sessions) != Some(found.connected_sessions) {
            eprintln!("weir: {} has {} clients", text(node), found.connected_sessions);
        }
        if Instant::now() >= deadline {
            let waited = patience.as_secs();
            return Err(Failure::TimedOut(format!("node {} still drains after {waited} s", text(node))));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn state(node: &Node) -> &'static str {
    match node.state() {
        NodeState::Live => "live",
        NodeState::Suspected => "suspected",
        NodeState::Lost => "lost",
        NodeState::Unspecified => "unknown",
    }
}

fn in_json(node: &Node) -> Value {
    json!({
        "node_id": node.node_id,
        "incarnation": node.incarnation,
        "is_this": node.is_this,
        "state": state(node),
        "peer_address": node.peer_address,
        "release": node.release,
        "serves": node.serves,
        "linked": node.linked,
        "listeners": node.listeners,
        "connected_sessions": node.connected_sessions,
    })
}

fn cells(node: &Node) -> Vec<String> {
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let name = if node.is_this { format!("{} (this)", node.node_id) } else { node.node_id.clone() };
    vec![
        name,
        state(node).to_owned(),
        yes(node.serves),
        yes(node.linked),
        node.connected_sessions.to_string(),
        node.peer_address.clone(),
        node.release.clone(),
    ]
}
