//! Streams as they are asked for and told, and the broker's words for them.

use weir_broker::store::{Retention, Start};
use weir_broker::stream::definition::{OWN_PREFIX, check_name};
use weir_broker::stream::key::KeyRule;
use weir_broker::stream::{Spec, Stream};
use weir_model::{Filter, Position, UnixMillis};

use crate::error::Refused;
use crate::proto::{
    self, StreamEnd, StreamKey, StreamKeyKind, StreamRetention, StreamSpec, StreamStart, stream_start::From,
};

/// What a stream is to be.
pub fn spec(asked: StreamSpec) -> Result<Spec, Refused> {
    Ok(Spec {
        filters: filters(&asked.filters)?,
        partitions: partitions(asked.partitions),
        key: key(asked.key.unwrap_or_default())?,
        retention: retention(asked.retention.unwrap_or_default()),
    })
}

/// What a stream is to be, of which only what the mask names is new; an empty mask names everything.
pub fn altered(before: Spec, asked: StreamSpec, mask: &[String]) -> Result<Spec, Refused> {
    if mask.is_empty() {
        return spec(asked);
    }
    let mut spec = before;
    let kept = retention(asked.retention.unwrap_or_default());
    for path in mask {
        match path.as_str() {
            "filters" => spec.filters = filters(&asked.filters)?,
            "partitions" => spec.partitions = partitions(asked.partitions),
            "key" => spec.key = key(asked.key.clone().unwrap_or_default())?,
            "retention" => spec.retention = kept,
            "retention.records_max" => spec.retention.records_max = kept.records_max,
            "retention.bytes_max" => spec.retention.bytes_max = kept.bytes_max,
            "retention.age_max_ms" => spec.retention.age_max_ms = kept.age_max_ms,
            "retention.compacted" => spec.retention.is_compacted = kept.is_compacted,
            _ => {
                let hint = "filters, partitions, key, retention, or one of retention.records_max, bytes_max, \
                            age_max_ms, compacted";
                return Err(Refused::field("update_mask", "a stream has no such field to alter", hint));
            }
        }
    }
    Ok(spec)
}

/// A stream as it is told.
pub fn told(stream: &Stream) -> proto::Stream {
    let definition = &stream.definition;
    let (kind, name) = match &definition.key {
        KeyRule::None => (StreamKeyKind::None, String::new()),
        KeyRule::Topic => (StreamKeyKind::Topic, String::new()),
        KeyRule::Client => (StreamKeyKind::Client, String::new()),
        KeyRule::UserProperty(name) => (StreamKeyKind::UserProperty, name.to_string()),
        KeyRule::JsonPointer(pointer) => (StreamKeyKind::JsonPointer, pointer.to_string()),
    };
    let kept = definition.retention;
    let retention = StreamRetention {
        records_max: kept.records_max,
        bytes_max: kept.bytes_max,
        age_max_ms: kept.age_max_ms,
        compacted: kept.is_compacted,
    };
    proto::Stream {
        realm: stream.realm.to_string(),
        name: stream.name.to_string(),
        version: stream.version,
        generation: stream.generation(),
        spec: Some(StreamSpec {
            filters: definition.filters.iter().map(ToString::to_string).collect(),
            partitions: definition.partitions,
            key: Some(StreamKey { kind: kind.into(), name }),
            retention: Some(retention),
        }),
        created_unix_ms: definition.created_at.0,
    }
}

/// Whether a stream or a group may be called so, or a binding's own stream is: what may not need not be looked for.
pub fn name(field: &'static str, name: &str) -> Result<(), Refused> {
    check_name(name.strip_prefix(OWN_PREFIX).unwrap_or(name)).map_err(|problem| {
        let hint = "1 to 255 bytes, no `/`, `+`, `#` or control characters, no `$` at the beginning";
        Refused::field(field, problem.to_string(), hint)
    })
}

/// A place, the oldest record where none is named.
pub fn start(field: &'static str, asked: Option<&StreamStart>) -> Result<Start, Refused> {
    match asked.and_then(|start| start.from.as_ref()) {
        None => Ok(Start::Earliest),
        Some(From::End(end)) => match StreamEnd::try_from(*end) {
            Ok(StreamEnd::Unspecified | StreamEnd::Earliest) => Ok(Start::Earliest),
            Ok(StreamEnd::Latest) => Ok(Start::Latest),
            Err(_) => Err(Refused::field(field, "a stream has no such end", "EARLIEST or LATEST")),
        },
        Some(From::After(text)) => position(field, text).map(Start::After),
        Some(From::UnixMs(ms)) => Ok(Start::At(UnixMillis(*ms))),
    }
}

/// A place as it is told.
pub fn told_start(start: Start) -> StreamStart {
    let from = match start {
        Start::Earliest => From::End(StreamEnd::Earliest.into()),
        Start::Latest => From::End(StreamEnd::Latest.into()),
        Start::After(position) => From::After(position.to_string()),
        Start::At(at) => From::UnixMs(at.0),
    };
    StreamStart { from: Some(from) }
}

pub fn position(field: &'static str, text: &str) -> Result<Position, Refused> {
    text.parse().map_err(|_| {
        let hint = "`epoch:milliseconds-sequence`, as records have it";
        Refused::field(field, "it is no position", hint)
    })
}

pub fn filter(field: &'static str, text: &str) -> Result<Filter, Refused> {
    Filter::new(text).map_err(|problem| Refused::field(field, format!("it {problem}"), "a topic filter"))
}

fn filters(texts: &[String]) -> Result<Vec<Filter>, Refused> {
    texts.iter().map(|text| filter("spec.filters", text)).collect()
}

fn partitions(asked: u32) -> u32 {
    asked.max(1)
}

fn key(asked: StreamKey) -> Result<KeyRule, Refused> {
    let kind = StreamKeyKind::try_from(asked.kind)
        .map_err(|_| Refused::field("spec.key.kind", "there is no such kind", "a value of StreamKeyKind"))?;
    Ok(match kind {
        StreamKeyKind::Unspecified | StreamKeyKind::Topic => KeyRule::Topic,
        StreamKeyKind::None => KeyRule::None,
        StreamKeyKind::Client => KeyRule::Client,
        StreamKeyKind::UserProperty => KeyRule::UserProperty(asked.name.into()),
        StreamKeyKind::JsonPointer => KeyRule::JsonPointer(asked.name.into()),
    })
}

fn retention(asked: StreamRetention) -> Retention {
    Retention {
        records_max: asked.records_max,
        bytes_max: asked.bytes_max,
        age_max_ms: asked.age_max_ms,
        is_compacted: asked.compacted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_mask_names_is_altered() {
        let before = Spec { partitions: 4, key: KeyRule::Client, ..Spec::default() };
        let retention = StreamRetention { records_max: 7, bytes_max: 9, ..StreamRetention::default() };
        let asked = StreamSpec { partitions: 8, retention: Some(retention), ..StreamSpec::default() };
        let mask = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        let now = altered(before.clone(), asked.clone(), &mask(&["retention.records_max"])).unwrap();
        assert_eq!((now.partitions, now.retention.records_max, now.retention.bytes_max), (4, 7, 0));
        let all = altered(before.clone(), asked.clone(), &[]).unwrap();
        assert_eq!((all.partitions, &all.key), (8, &KeyRule::Topic));
        for path in ["", "name", "spec.filters", "retention.", "*"] {
            assert_eq!(
                altered(before.clone(), asked.clone(), &mask(&[path])).unwrap_err().field,
                "update_mask"
            );
        }
    }

    #[test]
    fn a_start_is_told_as_it_is_asked() {
        for known in [Start::Earliest, Start::Latest, Start::At(UnixMillis(5))] {
            assert_eq!(start("start", Some(&told_start(known))), Ok(known));
        }
        let after = Start::After(Position { epoch: 1, ms: 2, seq: 3 });
        assert_eq!(start("start", Some(&told_start(after))), Ok(after));
        let bad = StreamStart { from: Some(From::After("x".to_owned())) };
        assert_eq!(start("start", Some(&bad)).unwrap_err().field, "start");
        assert!(start("start", Some(&StreamStart { from: Some(From::End(9)) })).is_err());
    }

    #[test]
    fn names_that_cannot_be_are_refused_by_their_field() {
        for bad in ["", "a/b", "#", "$x", "a\n", &"x".repeat(65_536)] {
            assert_eq!(name("stream", bad).unwrap_err().field, "stream");
        }
        assert_eq!(name("name", "{a} b"), Ok(()));
    }
}
