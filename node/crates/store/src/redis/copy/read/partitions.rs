//! Partitions of a Redis as rows of a copy: what each is, its groups, the ids it knows, and its records a page at a time.

use std::collections::HashSet;

use weir_model::MessageId;

use super::super::Place;
use super::{groups, message_id, named};
use crate::copy::{CopyError, CopyRow, Pages, PartitionCopy, described};
use crate::redis::decode::{self, DecodeError, Partition};
use crate::redis::layout::{partition_id, partition_of};
use crate::redis::marks::mark_of;
use crate::redis::mirror::EntryId;
use crate::redis::read::{Entries, piece_from};
use crate::redis::shard::Shard;
use crate::{Mark, PartitionKey};

/// Entries of the first question; how large records are is known from its answer.
const FIRST_ROWS: usize = 64;

/// Most entries of one question.
const ROWS_MAX: usize = 512;

/// Bytes of records asked for at once, about.
const BYTES: u64 = 1 << 20;

/// The id of an entry, and its fields by name.
type NamedEntry = (String, Vec<(String, Vec<u8>)>);

/// Message ids asked for at once.
const IDS: usize = 1024;

/// Every partition that is not known yet.
pub(super) fn partitions(
    place: &Place,
    known: &mut HashSet<String>,
    pages: &mut Pages<'_>,
) -> Result<(), CopyError> {
    for shard in place.layout.partitions() {
        let mut names = redis::cmd("SMEMBERS");
        names.arg(place.layout.key(shard, "partitions"));
        let mut names: Vec<String> =
            place.with(shard, async |connection| names.query_async(connection).await)?;
        names.sort_unstable();
        for name in names {
            if !known.insert(name.clone()) {
                continue;
            }
            let bad = || place.damaged(format!("the partition `{name}`"), DecodeError::Name(name.clone()));
            let key = partition_of(&name).ok_or_else(bad)?;
            partition(place, shard, &key, pages)?;
        }
    }
    Ok(())
}

fn partition(
    place: &Place,
    shard: Shard,
    key: &PartitionKey,
    pages: &mut Pages<'_>,
) -> Result<(), CopyError> {
    let first = ask(place, shard, key, EntryId::default(), FIRST_ROWS)?;
    let Some(Entries { partition, .. }) = first else { return gone(place, key) };
    let trimmed = trimmed(place, shard, key, &partition)?;
    let Partition { retention, ends, .. } = partition;
    let (tail, is_sealed) = (ends.tail, ends.is_sealed);
    let copy = PartitionCopy { key: key.clone(), retention, trimmed, tail, is_sealed };
    pages.add(CopyRow::Partition(Box::new(copy)))?;
    groups::groups(place, shard, key, pages)?;
    let ids = seen(place, shard, key)?;
    if !ids.is_empty() {
        pages.add(CopyRow::RecordSeen { key: key.clone(), ids })?;
    }
    records(place, shard, key, &partition, pages)
}

/// A partition that is listed and not there: dropped since, where that can be.
fn gone(place: &Place, key: &PartitionKey) -> Result<(), CopyError> {
    if place.live { Ok(()) } else { Err(place.damaged(described(key), DecodeError::Missing("tail"))) }
}

fn ask(
    place: &Place,
    shard: Shard,
    key: &PartitionKey,
    first: EntryId,
    count: usize,
) -> Result<Option<Entries>, CopyError> {
    let piece =
        place.with(shard, async |connection| piece_from(connection, &place.layout, key, first, count).await);
    piece.map_err(|error| named(error, || described(key)))
}

/// The last record that was let go, or is about to.
fn trimmed(
    place: &Place,
    shard: Shard,
    key: &PartitionKey,
    partition: &Partition,
) -> Result<Mark, CopyError> {
    let known = partition.ends.trimmed;
    if partition.keep_from == EntryId::default() {
        return Ok(known);
    }
    let mut question = redis::cmd("XREVRANGE");
    question.arg(place.layout.key(shard, &format!("stream:{}", partition_id(key))));
    question.arg(format!("({}", partition.keep_from)).arg("-").arg("COUNT").arg(1);
    let last: Vec<NamedEntry> =
        place.with(shard, async |connection| question.query_async(connection).await)?;
    let Some((id, fields)) = last.into_iter().next() else { return Ok(known) };
    let id = EntryId::parse(id.as_bytes()).unwrap_or_default();
    let number = fields.iter().find(|(name, _)| name == "number");
    let number = number.and_then(|(_, value)| decode::number_of_text(value).ok()).unwrap_or(0);
    Ok(known.max(Mark { position: partition.position(id), number }))
}

/// Message ids that the partition knows, the oldest first.
fn seen(place: &Place, shard: Shard, key: &PartitionKey) -> Result<Vec<(MessageId, Mark)>, CopyError> {
    let name = |kind: &str| place.layout.key(shard, &format!("{kind}:{}", partition_id(key)));
    let mut order = redis::cmd("LRANGE");
    order.arg(name("ids_order")).arg(0).arg(-1);
    let ids: Vec<String> = place.with(shard, async |connection| order.query_async(connection).await)?;
    let mut seen = Vec::with_capacity(ids.len());
    for some in ids.chunks(IDS) {
        let mut question = redis::cmd("HMGET");
        question.arg(name("ids")).arg(some);
        let marks: Vec<Option<String>> =
            place.with(shard, async |connection| question.query_async(connection).await)?;
        for (id, mark) in some.iter().zip(marks) {
            let Some(mark) = mark else { continue };
            let read = || Ok::<_, DecodeError>((message_id(id)?, mark_of(&mark)?));
            let row = || format!("the message id `{id}` in {}", described(key));
            seen.push(read().map_err(|cause| place.damaged(row(), cause))?);
        }
    }
    Ok(seen)
}

/// The records that were there when the partition was looked at, a page at a time.
fn records(
    place: &Place,
    shard: Shard,
    key: &PartitionKey,
    partition: &Partition,
    pages: &mut Pages<'_>,
) -> Result<(), CopyError> {
    let tail = partition.ends.tail.position;
    let size = partition.ends.bytes / partition.ends.records.max(1);
    let count = (BYTES / size.max(1)).clamp(1, ROWS_MAX as u64) as usize;
    let mut first = partition.keep_from;
    loop {
        let Some(piece) = ask(place, shard, key, first, count)? else { return Ok(()) };
        let asked = piece.entries.len();
        for (id, fields) in piece.entries {
            if id > (EntryId { ms: tail.ms, seq: tail.seq }) {
                return Ok(());
            }
            first = EntryId { ms: id.ms, seq: id.seq.saturating_add(1) };
            match decode::record(&piece.partition, id, &fields) {
                Ok(record) => pages.add_record(key, record)?,
                // Somebody else's, which nobody reads.
                Err(DecodeError::Missing(_)) => {}
                Err(cause) => return Err(place.damaged(format!("record {id} of {}", described(key)), cause)),
            }
        }
        if asked < count {
            return Ok(());
        }
    }
}
