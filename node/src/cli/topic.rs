//! `weir topic`: what is retained, who subscribes, and why somebody gets a message or does not.

use clap::Subcommand;
use serde_json::{Value, json};
use weir_admin::proto::topics_explain_request::Question;
use weir_admin::proto::topics_list_subscriptions_request::Of;
use weir_admin::proto::{
    ExplainPublish, ExplainSubscribe, RetainedMessage, TopicsDeleteRetainedRequest, TopicsExplainRequest,
    TopicsGetRetainedRequest, TopicsListRetainedRequest, TopicsListSubscriptionsRequest,
};
use weir_model::Qos;

use super::Failure;
use super::admin::{Ask, List, block_on, refused, say, say_json, text, time};
use super::client;
use super::session::subscription_in_json;

/// What `weir topic` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List retained messages, or print the payload of one with --get.
    Retained {
        /// A topic filter; with --get, a topic.
        #[arg(default_value = "#")]
        filter: String,
        /// Print the payload of this topic's retained message, as it is.
        #[arg(long, conflicts_with_all = ["limit", "payloads"])]
        get: bool,
        /// List payloads too.
        #[arg(long)]
        payloads: bool,
        /// Most messages; left out, all.
        #[arg(long, value_name = "COUNT", default_value_t = usize::MAX, hide_default_value = true)]
        limit: usize,
        #[command(flatten)]
        ask: Ask,
    },
    /// Remove retained messages.
    Delete {
        /// A topic, or a filter with wildcards.
        filter: String,
        /// Say how many, and remove none.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        ask: Ask,
    },
    /// List the subscriptions that a topic meets, or with --filter those to exactly that filter.
    Subscriptions {
        /// The topic.
        #[arg(required_unless_present = "filter", conflicts_with = "filter")]
        topic: Option<String>,
        /// The filter as subscribed, `$share/..` included.
        #[arg(long, value_name = "FILTER")]
        filter: Option<String>,
        #[command(flatten)]
        ask: Ask,
    },
    /// Say what would become of a message or a subscription of a client, and by which rule.
    Explain {
        /// `pub` or `sub`.
        #[arg(value_parser = ["pub", "sub"])]
        what: String,
        /// The topic, or the filter.
        #[arg(long, short = 't')]
        topic: String,
        /// The client, as it was let in.
        #[arg(long = "as", value_name = "CLIENT_ID")]
        client: String,
        /// The QoS.
        #[arg(long, short = 'q', value_name = "0|1|2", default_value = "0", value_parser = client::qos)]
        qos: Qos,
        /// The message has RETAIN set.
        #[arg(long, short = 'r')]
        retain: bool,
        #[command(flatten)]
        ask: Ask,
    },
}

/// Asks the node, and prints what it says.
pub fn run(args: &Args) -> Result<(), Failure> {
    block_on(async {
        match &args.action {
            Action::Retained { filter, get: true, ask, .. } => get(filter, ask).await,
            Action::Retained { filter, payloads, limit, ask, .. } => {
                retained(filter, *payloads, *limit, ask).await
            }
            Action::Delete { filter, dry_run, ask } => delete(filter, *dry_run, ask).await,
            Action::Subscriptions { topic, filter, ask } => {
                subscriptions(topic.as_deref(), filter.as_deref(), ask).await
            }
            Action::Explain { what, topic, client, qos, retain, ask } => {
                let (topic, qos, retain) = (topic.clone(), *qos as u32, *retain);
                let question = match what.as_str() {
                    "pub" => Question::Publish(ExplainPublish { topic, qos, retain }),
                    _ => Question::Subscribe(ExplainSubscribe { filter: topic, qos }),
                };
                explain(question, client, ask).await
            }
        }
    })
}

async fn get(topic: &str, ask: &Ask) -> Result<(), Failure> {
    let request = TopicsGetRetainedRequest { realm: ask.realm.clone(), topic: topic.to_owned() };
    let answer = ask.server.connect().await?.topics().get_retained(request).await.map_err(refused)?;
    let message = answer.into_inner().message.unwrap_or_default();
    if ask.json {
        return say_json(&in_json(&message, true));
    }
    use std::io::Write as _;
    let written = std::io::stdout().write_all(&message.payload);
    written.map_err(|error| Failure::Failed(anyhow::anyhow!("cannot write to stdout: {error}")))
}

async fn retained(filter: &str, payloads: bool, limit: usize, ask: &Ask) -> Result<(), Failure> {
    let mut topics = ask.server.connect().await?.topics();
    let mut list = List::begin(ask.json, &["topic", "bytes", "qos", "position", "expires"])?;
    let (mut page_token, mut left) = (String::new(), limit);
    while left > 0 {
        let request = TopicsListRetainedRequest {
            page_size: 0,
            page_token,
            realm: ask.realm.clone(),
            filter: filter.to_owned(),
            with_payloads: payloads,
        };
        let page = topics.list_retained(request).await.map_err(refused)?.into_inner();
        let entries: Vec<_> = page
            .messages
            .iter()
            .take(left)
            .map(|message| (in_json(message, payloads), cells(message)))
            .collect();
        left -= entries.len();
        list.page(entries)?;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    list.end().map(drop)
}

async fn delete(filter: &str, dry_run: bool, ask: &Ask) -> Result<(), Failure> {
    let mut topics = ask.server.connect().await?.topics();
    let mut deleted = 0;
    loop {
        let (realm, filter) = (ask.realm.clone(), filter.to_owned());
        let request = TopicsDeleteRetainedRequest { realm, filter, dry_run };
        let done = topics.delete_retained(request).await.map_err(refused)?.into_inner();
        deleted += done.deleted;
        // A dry run would count the same again.
        if !done.more || dry_run || done.deleted == 0 {
            break;
        }
        eprintln!("weir: {deleted} removed so far");
    }
    match ask.json {
        true => say_json(&json!({ "deleted": deleted, "dry_run": dry_run })),
        false if dry_run => say(&format!("would be removed: {deleted}\n")),
        false => say(&format!("removed: {deleted}\n")),
    }
}

async fn subscriptions(topic: Option<&str>, filter: Option<&str>, ask: &Ask) -> Result<(), Failure> {
    let mut topics = ask.server.connect().await?.topics();
    let of = match (topic, filter) {
        (_, Some(filter)) => Of::Filter(filter.to_owned()),
        (topic, None) => Of::Topic(topic.unwrap_or_default().to_owned()),
    };
    let mut list = List::begin(ask.json, &["client id", "qos", "filter"])?;
    let mut page_token = String::new();
    let peers = loop {
        let (realm, of) = (ask.realm.clone(), Some(of.clone()));
        let request = TopicsListSubscriptionsRequest { page_size: 0, page_token, realm, of };
        let page = topics.list_subscriptions(request).await.map_err(refused)?.into_inner();
        let entries = page.subscriptions.iter().map(|one| {
            (subscription_in_json(one), vec![one.client_id.clone(), one.qos.to_string(), one.filter.clone()])
        });
        list.page(entries.collect())?;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break page.peer_nodes;
        }
    };
    list.end()?;
    for node in peers {
        eprintln!("weir: clean sessions at node {} want it too", text(&node));
    }
    Ok(())
}

async fn explain(question: Question, client: &str, ask: &Ask) -> Result<(), Failure> {
    let (realm, client_id) = (ask.realm.clone(), client.to_owned());
    let request = TopicsExplainRequest { realm, client_id, question: Some(question) };
    let answer = ask.server.connect().await?.topics().explain(request).await.map_err(refused)?.into_inner();
    match ask.json {
        true => say(&format!("{}\n", answer.json))?,
        false => say(&super::explain::tell_json(&answer.json)?)?,
    }
    if answer.allowed { Ok(()) } else { Err(Failure::Said) }
}

fn in_json(message: &RetainedMessage, with_payload: bool) -> Value {
    let user = message.user_properties.iter().map(|one| json!([one.name, one.value]));
    let mut value = json!({
        "topic": message.topic,
        "position": message.position,
        "qos": message.qos,
        "payload_bytes": message.payload_bytes,
        "content_type": message.content_type,
        "expires_unix_ms": message.expires_unix_ms,
        "user_properties": user.collect::<Vec<_>>(),
    });
    if with_payload {
        let (name, payload) = client::payload(&message.payload);
        value[name] = payload;
    }
    value
}

fn cells(message: &RetainedMessage) -> Vec<String> {
    vec![
        message.topic.clone(),
        message.payload_bytes.to_string(),
        message.qos.to_string(),
        message.position.clone(),
        time(message.expires_unix_ms),
    ]
}
