//! `weir session`: who is connected, who is away, and how to end that.

use clap::Subcommand;
use serde_json::{Value, json};
use weir_admin::proto::{
    Session, SessionsDeleteRequest, SessionsGetRequest, SessionsGetResponse, SessionsKickRequest,
    SessionsListRequest, Subscription,
};

use super::Failure;
use super::admin::{List, Server, block_on, refused, say, say_json, text};

/// What `weir session` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List sessions of all nodes, in the order of their client ids.
    List(Box<ListArgs>),
    /// Show one session with its subscriptions.
    Show {
        #[command(flatten)]
        which: Which,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// End the connection of a session, at whatever node it is; the session stays.
    Kick {
        #[command(flatten)]
        which: Which,
        /// Why, for the audit log and the client.
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// End a session: its connection, its subscriptions, its queue.
    Delete {
        #[command(flatten)]
        which: Which,
        /// Why, for the audit log and the client.
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The client id.
    client_id: String,
    /// Its realm; left out, the default one.
    #[arg(long, value_name = "NAME", default_value = "")]
    realm: String,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only client ids that begin with this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// Only of this user; empty = of those without one.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only those with a connection.
    #[arg(long, conflicts_with = "offline")]
    connected: bool,
    /// Only those without a connection.
    #[arg(long)]
    offline: bool,
    /// Only those whose connection is at this node.
    #[arg(long, value_name = "NAME", default_value = "")]
    node: String,
    /// Only of this realm.
    #[arg(long, value_name = "NAME", default_value = "")]
    realm: String,
    /// Most sessions; left out, all.
    #[arg(long, value_name = "COUNT", default_value_t = usize::MAX, hide_default_value = true)]
    limit: usize,
    /// Sessions asked for at a time; 0 = what the node prefers.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    page_size: u32,
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Asks the node, and prints what it says.
pub fn run(args: &Args) -> Result<(), Failure> {
    block_on(async {
        match &args.action {
            Action::List(args) => list(args).await,
            Action::Show { which, json, server } => show(which, *json, server).await,
            Action::Kick { which, reason, json, server } => {
                let (realm, client_id, reason) =
                    (which.realm.clone(), which.client_id.clone(), reason.clone());
                let request = SessionsKickRequest { realm, client_id, reason };
                let done = server.connect().await?.sessions().kick(request).await.map_err(refused)?;
                let node = done.into_inner().node_id;
                match json {
                    true => say_json(&json!({ "client_id": which.client_id, "node_id": node })),
                    false => say(&format!("kicked: {} at node {}\n", text(&which.client_id), text(&node))),
                }
            }
            Action::Delete { which, reason, json, server } => {
                let (realm, client_id, reason) =
                    (which.realm.clone(), which.client_id.clone(), reason.clone());
                let request = SessionsDeleteRequest { realm, client_id, reason };
                server.connect().await?.sessions().delete(request).await.map_err(refused)?;
                match json {
                    true => say_json(&json!({ "client_id": which.client_id, "deleted": true })),
                    false => say(&format!("deleted: {}\n", text(&which.client_id))),
                }
            }
        }
    })
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let mut sessions = args.server.connect().await?.sessions();
    let mut list = List::begin(
        args.json,
        &["client id", "user", "node", "listener", "address", "persistent", "subscriptions", "waiting"],
    )?;
    let (mut page_token, mut left, mut missing) = (String::new(), args.limit, Vec::new());
    while left > 0 {
        let request = SessionsListRequest {
            page_size: args.page_size,
            page_token,
            realm: args.realm.clone(),
            client_id_prefix: args.prefix.clone(),
            user_id: args.user.clone(),
            connected: (args.connected || args.offline).then_some(args.connected),
            node_id: args.node.clone(),
        };
        let page = sessions.list(request).await.map_err(refused)?.into_inner();
        let entries: Vec<_> = page.sessions.iter().take(left).map(|one| (in_json(one), cells(one))).collect();
        left -= entries.len();
        list.page(entries)?;
        missing.extend(page.missing_nodes);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    list.end()?;
    missing.sort();
    missing.dedup();
    for node in missing {
        eprintln!(
            "weir: node {} did not answer: sessions that end with their connection there are missing",
            text(&node)
        );
    }
    Ok(())
}

async fn show(which: &Which, json: bool, server: &Server) -> Result<(), Failure> {
    let request = SessionsGetRequest { realm: which.realm.clone(), client_id: which.client_id.clone() };
    let answer = server.connect().await?.sessions().get(request).await.map_err(refused)?.into_inner();
    let SessionsGetResponse { session, subscriptions, queued_messages, queued_more } = answer;
    let session = session.unwrap_or_default();
    if json {
        let mut value = in_json(&session);
        value["subscriptions"] = subscriptions.iter().map(subscription_in_json).collect();
        value["queued_messages"] = queued_messages.into();
        value["queued_more"] = queued_more.into();
        return say_json(&value);
    }
    let user = if session.user_id.is_empty() { "anonymous" } else { &session.user_id };
    let state = match (session.connected, session.persistent) {
        (true, _) => {
            format!("connected at node {} from {} ({})", session.node_id, session.address, session.listener)
        }
        (false, true) => "away".to_owned(),
        (false, false) => "going".to_owned(),
    };
    let kind = if session.persistent { "outlives its connection" } else { "ends with its connection" };
    let more = if queued_more { " or more" } else { "" };
    let mut out = format!(
        "{} of {}\n  {}\n  {kind}\n  {} copies wait in memory, {queued_messages}{more} messages in the store\n  {} subscriptions\n",
        text(&session.client_id),
        text(user),
        text(&state),
        session.waiting_messages,
        session.subscription_count,
    );
    for one in &subscriptions {
        out.push_str(&format!("    QoS {}  {}\n", one.qos, text(&one.filter)));
    }
    let left = (session.subscription_count as usize).saturating_sub(subscriptions.len());
    if left > 0 {
        out.push_str(&format!("    and {left} more\n"));
    }
    say(&out)
}

fn in_json(session: &Session) -> Value {
    json!({
        "realm": session.realm,
        "client_id": session.client_id,
        "user_id": session.user_id,
        "connected": session.connected,
        "node_id": session.node_id,
        "persistent": session.persistent,
        "subscription_count": session.subscription_count,
        "waiting_messages": session.waiting_messages,
        "address": session.address,
        "listener": session.listener,
        "keep_alive_ms": session.keep_alive_ms,
    })
}

pub fn subscription_in_json(one: &Subscription) -> Value {
    json!({
        "realm": one.realm,
        "client_id": one.client_id,
        "filter": one.filter,
        "qos": one.qos,
        "no_local": one.no_local,
        "retain_as_published": one.retain_as_published,
        "subscription_id": one.subscription_id,
    })
}

fn cells(session: &Session) -> Vec<String> {
    let node = if session.connected { session.node_id.clone() } else { "-".to_owned() };
    vec![
        session.client_id.clone(),
        session.user_id.clone(),
        node,
        session.listener.clone(),
        session.address.clone(),
        if session.persistent { "yes" } else { "no" }.to_owned(),
        session.subscription_count.to_string(),
        session.waiting_messages.to_string(),
    ]
}
