//! `weir node rebalance`: spreads the clients over the nodes, and tells how far that is.

use serde_json::{Value, json};
use weir_admin::proto::{
    ClusterRebalanceRequest, ClusterRebalanceResponse, RebalanceGroup, RebalanceNode, RebalancePhase,
};

use super::super::Failure;
use super::super::admin::{Server, refused, say, say_json, text};

/// What `weir node rebalance` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the plan, and move nobody.
    #[arg(long)]
    dry_run: bool,
    /// Also close connections of clients that cannot be told where to go (MQTT 3.1.1 and older).
    #[arg(long)]
    include_v3: bool,
    /// Clients moved in a second; left out, as the node is configured.
    #[arg(long, value_name = "CLIENTS", default_value_t = 0)]
    per_second: u32,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Print one JSON object, at the end.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Asks, and stays until it is done; interrupted, nobody further is moved.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let request = ClusterRebalanceRequest {
        dry_run: args.dry_run,
        include_v3: args.include_v3,
        per_second: args.per_second,
        reason: args.reason.clone(),
    };
    let client = args.server.connect_without_end().await?;
    let mut answers = client.cluster().rebalance(request).await.map_err(refused)?.into_inner();
    let (mut plan, mut last) = (None, None);
    while let Some(answer) = answers.message().await.map_err(refused)? {
        match answer.phase() {
            RebalancePhase::Planned => plan = Some(answer.clone()),
            RebalancePhase::Moving => {
                eprintln!("weir: {} clients moved, {} left", answer.moved, answer.left);
            }
            RebalancePhase::Done | RebalancePhase::Unspecified => {}
        }
        last = Some(answer);
    }
    let (plan, last) = (plan.unwrap_or_default(), last.unwrap_or_default());
    if args.json {
        return say_json(&in_json(&plan, &last));
    }
    let mut told = String::new();
    for node in &last.nodes {
        told.push_str(&line(node));
    }
    for group in &plan.groups {
        told.push_str(&served(group));
    }
    for node in &last.missing_nodes {
        told.push_str(&format!("{}: takes no part\n", text(node)));
    }
    say(&told)
}

fn line(node: &RebalanceNode) -> String {
    let RebalanceNode { node_id, connected_sessions, share, surplus, moved, kept } = node;
    let name = text(node_id);
    format!(
        "{name}: {connected_sessions} clients, share {share}, surplus {surplus}: {moved} moved, {kept} kept\n"
    )
}

fn served(group: &RebalanceGroup) -> String {
    let mut nodes: Vec<_> =
        group.partitions.iter().map(|(node, count)| format!("{} {count}", text(node))).collect();
    nodes.sort();
    format!("group {}/{}: partitions at {}\n", text(&group.stream), text(&group.group), nodes.join(", "))
}

fn in_json(plan: &ClusterRebalanceResponse, last: &ClusterRebalanceResponse) -> Value {
    let node = |node: &RebalanceNode| {
        json!({
            "node_id": node.node_id,
            "connected_sessions": node.connected_sessions,
            "share": node.share,
            "surplus": node.surplus,
            "moved": node.moved,
            "kept": node.kept,
        })
    };
    let group = |group: &RebalanceGroup| {
        json!({
            "realm": group.realm, "stream": group.stream, "group": group.group, "partitions": group.partitions,
        })
    };
    json!({
        "moved": last.moved,
        "left": last.left,
        "nodes": last.nodes.iter().map(node).collect::<Vec<_>>(),
        "missing_nodes": last.missing_nodes,
        "groups": plan.groups.iter().map(group).collect::<Vec<_>>(),
        "groups_more": plan.groups_more,
    })
}
