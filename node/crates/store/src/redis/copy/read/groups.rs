//! Groups of a partition in a Redis as rows of a copy: how far each has come, what it keeps and what it owes.

use std::sync::Arc;

use bytes::Bytes;

use super::super::Place;
use super::{named, scan};
use crate::copy::{CopyError, CopyRow, OwedCopy, Pages, PlaceCopy, described};
use crate::redis::decode;
use crate::redis::layout::partition_id;
use crate::redis::read::Group;
use crate::redis::shard::Shard;
use crate::{GroupPlace, PartitionKey};

/// Entries of an outbox asked for at once.
const ENTRIES: usize = 64;

pub(super) fn groups(
    place: &Place,
    shard: Shard,
    key: &PartitionKey,
    pages: &mut Pages<'_>,
) -> Result<(), CopyError> {
    scan(place, shard, &format!("groups:{}", partition_id(key)), |page| {
        let mut groups = Vec::with_capacity(page.len());
        for (name, row) in page {
            let name = String::from_utf8_lossy(&name).into_owned();
            let found = decode::group_place(&name, &row);
            let found = found.map_err(|cause| place.damaged(described_group(key, &name), cause))?;
            let GroupPlace { group, fence, progress, .. } = found;
            groups.push(group.clone());
            pages.add(CopyRow::Place { key: key.clone(), place: PlaceCopy { group, fence, progress } })?;
        }
        effects(place, shard, key, &groups, pages)
    })
}

fn described_group(key: &PartitionKey, group: &str) -> String {
    format!("the group `{group}` in {}", described(key))
}

/// What those of these groups keep and owe that ever did.
fn effects(
    place: &Place,
    shard: Shard,
    key: &PartitionKey,
    groups: &[Arc<str>],
    pages: &mut Pages<'_>,
) -> Result<(), CopyError> {
    if groups.is_empty() {
        return Ok(());
    }
    let id = partition_id(key);
    let mut question = redis::cmd("HMGET");
    question.arg(place.layout.key(shard, "effects"));
    question.arg(groups.iter().map(|group| format!("{id}:{group}")).collect::<Vec<_>>());
    let known: Vec<Option<String>> =
        place.with(shard, async |connection| question.query_async(connection).await)?;
    for (group, row) in groups.iter().zip(known) {
        let Some(row) = row else { continue };
        let tail = row.split(' ').next().unwrap_or_default();
        let tail = decode::number_of_text(tail.as_bytes());
        let tail = tail.map_err(|cause| place.damaged(described_group(key, group), cause))?;
        kept(place, shard, (key, group), pages)?;
        owed(place, shard, (key, group), tail, pages)?;
        if tail > 0 {
            let (key, group) = (key.clone(), group.clone());
            pages.add(CopyRow::GroupOutbox { key, group, tail })?;
        }
    }
    Ok(())
}

fn kept(
    place: &Place,
    shard: Shard,
    (key, group): (&PartitionKey, &Arc<str>),
    pages: &mut Pages<'_>,
) -> Result<(), CopyError> {
    scan(place, shard, &format!("kept:{}:{group}", partition_id(key)), |page| {
        let mut values = page.into_iter().map(|(name, value)| (Bytes::from(name), Bytes::from(value)));
        values.try_for_each(|value| pages.add_kept((key, group), value))
    })
}

/// What it owes up to this entry.
fn owed(
    place: &Place,
    shard: Shard,
    (key, group): (&PartitionKey, &Arc<str>),
    tail: u64,
    pages: &mut Pages<'_>,
) -> Result<(), CopyError> {
    let mut after = 0;
    loop {
        let entries = place.with(shard, async |connection| {
            Group::of(&place.layout, key, group).owed(connection, after, ENTRIES).await
        });
        let entries = entries.map_err(|error| {
            named(error, || {
                format!("an entry behind {after} in the outbox of {}", described_group(key, group))
            })
        })?;
        let is_last = entries.len() < ENTRIES;
        for (entry, id, message) in entries {
            if entry > tail {
                return Ok(());
            }
            after = entry;
            pages.add_owed((key, group), OwedCopy { entry, id, message })?;
        }
        if is_last {
            return Ok(());
        }
    }
}
