//! `weir stream info`: what lies in a stream.

use serde_json::{Value, json};
use weir_admin::proto::{GroupState, StreamPartition, StreamsGetRequest, StreamsGetResponse};

use super::super::Failure;
use super::super::admin::{refused, say, say_json, text};
use super::{Ask, start, told};

#[derive(Debug, clap::Args)]
pub struct Info {
    /// The name of the stream.
    name: String,
    #[command(flatten)]
    ask: Ask,
}

pub async fn info(args: &Info) -> Result<(), Failure> {
    let (realm, name) = (args.ask.realm.clone(), args.name.clone());
    let request = StreamsGetRequest { realm, name };
    let found = args.ask.server.connect().await?.streams().get(request).await.map_err(refused)?.into_inner();
    if args.ask.json { say_json(&in_json(&found)) } else { say(&in_words(&found)) }
}

fn in_json(found: &StreamsGetResponse) -> Value {
    let mut value = told::stream(&found.stream.clone().unwrap_or_default());
    let generation = |one: &weir_admin::proto::StreamGeneration| {
        json!({
            "generation": one.generation,
            "partitions": one.partitions.iter().map(partition).collect::<Vec<_>>(),
        })
    };
    value["generations"] = found.generations.iter().map(generation).collect();
    value["groups"] = found.groups.iter().map(group).collect();
    value
}

fn partition(one: &StreamPartition) -> Value {
    let place = |place: &weir_admin::proto::StreamPlace| {
        json!({
            "group": place.group,
            "low_position": place.low_position,
            "low_number": place.low_number,
            "lag": place.lag,
            "failed": place.failed,
            "owner_node": place.owner_node,
            "fence": place.fence,
        })
    };
    json!({
        "partition": one.partition,
        "trimmed_position": one.trimmed_position,
        "trimmed_number": one.trimmed_number,
        "tail_position": one.tail_position,
        "tail_number": one.tail_number,
        "records": one.records,
        "bytes": one.bytes,
        "sealed": one.sealed,
        "redis_key": one.redis_key,
        "places": one.places.iter().map(place).collect::<Vec<_>>(),
    })
}

fn group(state: &GroupState) -> Value {
    let mut value = told::group(&state.group.clone().unwrap_or_default());
    value["lag"] = state.lag.into();
    value["failed"] = state.failed.into();
    value["moving"] = state.moving.into();
    value["member_nodes"] = state.member_nodes.clone().into();
    value["lost"] = state.lost.into();
    value["dropped"] = state.dropped.into();
    value["dead_lettered"] = state.dead_lettered.into();
    value["went_back"] = state.went_back.into();
    value["stalled"] = state.stalled.into();
    value
}

fn in_words(found: &StreamsGetResponse) -> String {
    let stream = found.stream.clone().unwrap_or_default();
    let spec = stream.spec.clone().unwrap_or_default();
    let kept = spec.retention.unwrap_or_default();
    let mut out = format!("{} (version {})\n", text(&stream.name), stream.version);
    for filter in &spec.filters {
        out.push_str(&format!("  captures {}\n", text(filter)));
    }
    out.push_str(&format!("  key {}\n", text(&told::key(spec.key.as_ref()))));
    let bound =
        |most: u64, of: &str| if most == 0 { String::new() } else { format!("  keeps {most} {of}\n") };
    out.push_str(&bound(kept.records_max, "records of each partition"));
    out.push_str(&bound(kept.bytes_max, "bytes of each partition"));
    out.push_str(&bound(kept.age_max_ms, "milliseconds"));
    if kept.compacted {
        out.push_str("  keeps the last record of each key\n");
    }
    for generation in &found.generations {
        out.push_str(&format!("  generation {}\n", generation.generation));
        for one in &generation.partitions {
            let sealed = if one.sealed { ", sealed" } else { "" };
            let (number, records, bytes) = (one.partition, one.records, one.bytes);
            let tail = if one.tail_position.is_empty() { "nothing yet" } else { &one.tail_position };
            out.push_str(&format!(
                "    partition {number}: {records} records, {bytes} bytes, up to {tail}{sealed}\n"
            ));
            if !one.redis_key.is_empty() {
                out.push_str(&format!("      redis-cli XRANGE '{}' - +\n", text(&one.redis_key)));
            }
            for place in &one.places {
                let owner = if place.owner_node.is_empty() { "nobody" } else { &place.owner_node };
                out.push_str(&format!(
                    "      group {}: {} to go, {} failed before, served by {}\n",
                    text(&place.group),
                    place.lag,
                    place.failed,
                    text(owner)
                ));
            }
        }
    }
    for state in &found.groups {
        out.push_str(&in_words_group(state));
    }
    out
}

fn in_words_group(state: &GroupState) -> String {
    let group = state.group.clone().unwrap_or_default();
    let paused = if group.paused { ", paused" } else { "" };
    let moving = if state.moving { ", being moved" } else { "" };
    let begins = start::told(group.spec.unwrap_or_default().start.as_ref());
    let mut out = format!(
        "  group {}: {} to go, {} failed before, began {begins}{paused}{moving}\n",
        text(&group.name),
        state.lag,
        state.failed
    );
    let counts = [
        (state.lost, "were let go before it had them"),
        (state.dropped, "were delivered too often and let go"),
        (state.dead_lettered, "went to its dead letters"),
    ];
    for (count, what) in counts.iter().filter(|(count, _)| *count > 0) {
        out.push_str(&format!("    {count} records {what}\n"));
    }
    for node in &state.member_nodes {
        out.push_str(&format!("    has members at node {}\n", text(node)));
    }
    out
}
