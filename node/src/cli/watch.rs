//! `weir watch`: what happens at a node, as it happens.

use serde_json::{Value, json};
use weir_admin::proto::{EventKind, WatchEventsRequest, WatchEventsResponse};

use super::Failure;
use super::admin::{Server, block_on, refused, say, say_json, text, time};

/// What `weir watch` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this kind of event; as often as wanted.
    #[arg(long = "kind", value_name = "KIND", value_parser = kind)]
    kinds: Vec<EventKind>,
    /// Only of clients whose id begins with this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// Of all nodes, not only of the one that is asked.
    #[arg(long)]
    all_nodes: bool,
    /// End after so many events.
    #[arg(long, short = 'C', value_name = "COUNT")]
    count: Option<u64>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

const KINDS: [(&str, EventKind); 11] = [
    ("connected", EventKind::Connected),
    ("disconnected", EventKind::Disconnected),
    ("kicked", EventKind::Kicked),
    ("deleted", EventKind::Deleted),
    ("draining", EventKind::Draining),
    ("member-joined", EventKind::MemberJoined),
    ("member-left", EventKind::MemberLeft),
    ("rollback", EventKind::Rollback),
    ("dropped", EventKind::Dropped),
    ("missed", EventKind::Missed),
    ("unheard", EventKind::Unheard),
];

fn kind(text: &str) -> Result<EventKind, String> {
    let known = KINDS.iter().find(|(name, _)| *name == text);
    known.map(|(_, kind)| *kind).ok_or_else(|| {
        let names: Vec<_> = KINDS.iter().map(|(name, _)| *name).collect();
        format!("the kinds are {}", names.join(", "))
    })
}

/// Prints events until ctrl-C, the wanted count, or the node's end.
pub fn run(args: &Args) -> Result<(), Failure> {
    block_on(async {
        let request = WatchEventsRequest {
            kinds: args.kinds.iter().map(|kind| (*kind).into()).collect(),
            client_id_prefix: args.prefix.clone(),
            all_nodes: args.all_nodes,
        };
        let events = args.server.connect_without_end().await?.watch().events(request).await;
        let mut events = events.map_err(refused)?.into_inner();
        eprintln!("weir: watching");
        let mut left = args.count.unwrap_or(u64::MAX);
        while left > 0 {
            let Some(event) = events.message().await.map_err(refused)? else { break };
            match args.json {
                true => say_json(&in_json(&event))?,
                false => say(&line(&event))?,
            }
            left -= 1;
        }
        Ok(())
    })
}

fn name(event: &WatchEventsResponse) -> &'static str {
    KINDS.iter().find(|(_, kind)| *kind == event.kind()).map_or("unknown", |(name, _)| name)
}

fn in_json(event: &WatchEventsResponse) -> Value {
    json!({
        "kind": name(event),
        "unix_ms": event.unix_ms,
        "node_id": event.node_id,
        "realm": event.realm,
        "client_id": event.client_id,
        "member": event.member,
        "count": event.count,
        "reason": event.reason,
        "topic": event.topic,
    })
}

fn line(event: &WatchEventsResponse) -> String {
    let mut line = format!("{}  {:<13}", time(event.unix_ms), name(event));
    if !event.node_id.is_empty() {
        line.push_str(&format!(" at {}", text(&event.node_id)));
    }
    let told = [
        ("", &event.client_id),
        ("node ", &event.member),
        ("reason ", &event.reason),
        ("topic ", &event.topic),
    ];
    for (what, value) in told.iter().filter(|(_, value)| !value.is_empty()) {
        line.push_str(&format!(" {what}{}", text(value)));
    }
    if event.count > 0 {
        line.push_str(&format!(" count {}", event.count));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_name() {
        for (text, of) in KINDS {
            assert_eq!(kind(text), Ok(of));
        }
        assert!(kind("else").unwrap_err().contains("member-joined"));
    }

    #[test]
    fn an_event_is_one_line_whatever_its_names_are() {
        let event = WatchEventsResponse {
            kind: EventKind::Dropped.into(),
            client_id: "a\nb\u{1b}".to_owned(),
            count: 3,
            ..WatchEventsResponse::default()
        };
        let line = line(&event);
        assert!(
            line.ends_with('\n') && line.trim_end().lines().count() == 1 && line.contains("a\\nb"),
            "{line}"
        );
    }
}
