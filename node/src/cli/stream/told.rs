//! Streams, groups and records as they are printed.

use serde_json::{Value, json};
use weir_admin::proto::stream_start::From;
use weir_admin::proto::{Group, Stream, StreamEnd, StreamKey, StreamKeyKind, StreamRecord, StreamStart};

use super::super::admin::text;
use super::super::client;

pub fn stream(stream: &Stream) -> Value {
    let spec = stream.spec.clone().unwrap_or_default();
    let kept = spec.retention.unwrap_or_default();
    json!({
        "realm": stream.realm,
        "name": stream.name,
        "version": stream.version,
        "generation": stream.generation,
        "filters": spec.filters,
        "partitions": spec.partitions,
        "key": key(spec.key.as_ref()),
        "records_max": kept.records_max,
        "bytes_max": kept.bytes_max,
        "age_max_ms": kept.age_max_ms,
        "compacted": kept.compacted,
        "created_unix_ms": stream.created_unix_ms,
    })
}

/// A rule for keys, as it is typed.
pub fn key(key: Option<&StreamKey>) -> String {
    let Some(StreamKey { kind, name }) = key else { return "topic".to_owned() };
    match StreamKeyKind::try_from(*kind) {
        Ok(StreamKeyKind::None) => "none".to_owned(),
        Ok(StreamKeyKind::Client) => "client".to_owned(),
        Ok(StreamKeyKind::UserProperty) => format!("property:{name}"),
        Ok(StreamKeyKind::JsonPointer) => format!("json:{name}"),
        _ => "topic".to_owned(),
    }
}

pub fn group(group: &Group) -> Value {
    let spec = group.spec.clone().unwrap_or_default();
    json!({
        "realm": group.realm,
        "stream": group.stream,
        "group": group.name,
        "paused": group.paused,
        "version": group.version,
        "start": start(spec.start.as_ref()),
        "ack_wait_ms": spec.ack_wait_ms,
        "deliveries_max": spec.deliveries_max,
        "ack_pending_max": spec.ack_pending_max,
        "backoff_ms": spec.backoff_ms,
        "dead_letter": spec.dead_letter,
        "lag_stall_ms": spec.lag_stall_ms,
    })
}

/// As `--from` takes it.
fn start(start: Option<&StreamStart>) -> String {
    match start.and_then(|start| start.from.as_ref()) {
        Some(From::End(end)) if *end == i32::from(StreamEnd::Latest) => "latest".to_owned(),
        Some(From::After(position)) => position.clone(),
        Some(From::UnixMs(ms)) => format!("time:{ms}"),
        _ => "earliest".to_owned(),
    }
}

pub fn record(record: &StreamRecord) -> Value {
    let user = record.user_properties.iter().map(|one| json!([one.name, one.value]));
    let mut value = json!({
        "topic": record.topic,
        "position": record.position,
        "partition": record.partition,
        "number": record.number,
        "qos": record.qos,
        "retain": record.retain,
        "expires_unix_ms": record.expires_unix_ms,
        "content_type": record.content_type,
        "response_topic": record.response_topic,
        "user_properties": user.collect::<Vec<_>>(),
    });
    let (name, payload) = client::payload(&record.payload);
    value[name] = payload;
    if !record.key.is_empty() {
        value["key"] = String::from_utf8_lossy(&record.key).into();
    }
    if let Some(data) = &record.correlation_data {
        value["correlation_data"] = client::payload(data).1;
    }
    value
}

/// The payload alone on a line, or behind place and topic.
pub fn line(record: &StreamRecord, verbose: bool) -> Vec<u8> {
    let mut line = match verbose {
        true => format!("{}  {}  {}  ", record.partition, record.position, text(&record.topic)).into_bytes(),
        false => Vec::new(),
    };
    line.extend_from_slice(&record.payload);
    line.push(b'\n');
    line
}
