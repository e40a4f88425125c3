//! A stream with what lies in it, and how far its groups are.

use std::sync::Arc;

use weir_broker::store::{GroupPlace, PartitionInfo, PartitionKey};

use super::{Shared, define, groups, records};
use crate::error::Refused;
use crate::proto::{StreamGeneration, StreamPartition, StreamPlace, StreamsGetResponse};

/// Looks at every partition.
pub async fn look(shared: &Shared, realm: &Arc<str>, name: &str) -> Result<StreamsGetResponse, Refused> {
    let info = shared.broker.stream_info(realm, name).await?;
    let stream = info.stream;
    let generation = |(generation, partitions): (u64, Vec<PartitionInfo>)| {
        let partition = |(partition, info)| {
            let partition = u32::try_from(partition).unwrap_or(u32::MAX);
            told(shared, &stream.partition_of(generation, partition), info)
        };
        StreamGeneration {
            generation,
            partitions: partitions.into_iter().enumerate().map(partition).collect(),
        }
    };
    let generations = info.generations.into_iter().map(generation).collect();
    let groups = groups::states(shared, realm, name).await?;
    Ok(StreamsGetResponse { stream: Some(define::told(&stream)), generations, groups })
}

fn told(shared: &Shared, key: &PartitionKey, info: PartitionInfo) -> StreamPartition {
    let ends = info.ends;
    StreamPartition {
        partition: key.partition,
        trimmed_position: records::place(ends.trimmed),
        trimmed_number: ends.trimmed.number,
        tail_position: records::place(ends.tail),
        tail_number: ends.tail.number,
        records: ends.records,
        bytes: ends.bytes,
        sealed: ends.is_sealed,
        places: info.groups.into_iter().map(|place| told_place(shared, ends.tail.number, place)).collect(),
        redis_key: shared.broker.store().stream_name(key).unwrap_or_default(),
    }
}

fn told_place(shared: &Shared, tail: u64, place: GroupPlace) -> StreamPlace {
    let progress = place.progress;
    let done = progress.done.iter().map(|(first, last)| last.number.saturating_sub(first.number) + 1);
    StreamPlace {
        group: place.group.to_string(),
        low_position: records::place(progress.low),
        low_number: progress.low.number,
        lag: tail.saturating_sub(progress.low.number).saturating_sub(done.sum()),
        failed: progress.attempts.len() as u64,
        owner_node: place.owner.map(|owner| node(shared, owner)).unwrap_or_default(),
        fence: place.fence,
    }
}

/// The node of an incarnation; in a store that is not shared there is only this one.
pub fn node(shared: &Shared, incarnation: u64) -> String {
    if incarnation == shared.broker.incarnation() {
        return shared.machine.name().to_owned();
    }
    shared.broker.node_name(incarnation).to_string()
}
