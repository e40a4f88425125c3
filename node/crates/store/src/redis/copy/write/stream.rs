//! Partitions, rows of tables and idempotency keys of a copy as the functions take them.

use bytes::Bytes;
use rmpv::Value;
use weir_model::{Message, MessageId};

use super::{Shards, bytes, fits, list, number, word};
use crate::copy::{ClaimCopy, CopyError, OwedCopy, PartitionCopy, PlaceCopy, described};
use crate::redis::encode::{NUMBER_MAX, id_text, more_fields};
use crate::redis::layout::{claim_name, partition_id, row_id, topic_id};
use crate::redis::marks::{mark_text, progress_text};
use crate::redis::mirror::EntryId;
use crate::redis::shard::Shard;
use crate::{Mark, PartitionKey, Record, Retention, TableRow};

pub(super) fn partition(copy: &PartitionCopy, shards: &impl Shards) -> Vec<(Shard, Value)> {
    let id = partition_id(&copy.key);
    let Retention { records_max, bytes_max, age_max_ms, is_compacted } = copy.retention;
    let bound = |max: u64| number(max.min(NUMBER_MAX));
    let fields = [
        ("records_max", bound(records_max)),
        ("bytes_max", bound(bytes_max)),
        ("age_max_ms", bound(age_max_ms)),
        ("compacted", number(u8::from(is_compacted))),
        ("sealed", number(u8::from(copy.is_sealed))),
        ("tail", bytes(mark_text(copy.tail))),
        ("trimmed", bytes(mark_text(copy.trimmed))),
        ("records", number(0)),
        ("bytes", number(0)),
        ("epochs", word("")),
        ("keep_from", bytes(EntryId::default().to_string())),
    ];
    let fields = fields.into_iter().flat_map(|(name, value)| [word(name), value]).collect();
    let row = list([word("partition"), bytes(&id), Value::Array(fields)]);
    vec![(shards.layout().of_partition(&id), row)]
}

/// `<owner or 0> <fence>\n<progress>`.
pub(super) fn place(key: &PartitionKey, place: &PlaceCopy, shards: &impl Shards) -> Vec<(Shard, Value)> {
    let id = partition_id(key);
    let head = format!("0 {}\n", place.fence);
    let value = [head.as_bytes(), &progress_text(&place.progress)].concat();
    let row = list([bytes(&place.group), Value::Binary(value)]);
    vec![(shards.layout().of_partition(&id), list([word("places"), bytes(&id), row]))]
}

pub(super) fn record_seen(
    key: &PartitionKey,
    ids: &[(MessageId, Mark)],
    shards: &impl Shards,
) -> Vec<(Shard, Value)> {
    let id = partition_id(key);
    let marks = ids.iter().flat_map(|(of, mark)| [bytes(id_text(*of)), bytes(mark_text(*mark))]);
    let order = ids.iter().map(|(of, _)| bytes(id_text(*of)));
    let (marks, order) = (Value::Array(marks.collect()), Value::Array(order.collect()));
    vec![(shards.layout().of_partition(&id), list([word("record_seen"), bytes(&id), marks, order]))]
}

/// An entry has the time and the number of its record's Position: they have to rise, whatever the epoch.
pub(super) fn records(
    key: &PartitionKey,
    records: &[Record],
    shards: &mut impl Shards,
) -> Result<Vec<(Shard, Value)>, CopyError> {
    let id = partition_id(key);
    let mut rows = Vec::with_capacity(records.len());
    for record in records {
        let Mark { position, number } = record.mark;
        let entry = EntryId { ms: position.ms, seq: position.seq };
        if !shards.note_entry(key, entry) {
            let (store, row) = (shards.store().to_owned(), format!("record {number} of {}", described(key)));
            let cause = format!("its Position {position} is not behind that of the record before in time");
            return Err(CopyError::TooLarge { store, row, cause });
        }
        rows.push(appended(record, entry));
    }
    let row = list([word("records"), bytes(&id), Value::Array(rows)]);
    Ok(vec![(shards.layout().of_partition(&id), row)])
}

/// `{ entry, epoch, bytes, key or '', names and values }`.
fn appended(record: &Record, entry: EntryId) -> Value {
    let Record { mark, key, message } = record;
    let mut fields = fields_of(message).to_vec();
    fields.extend([word("number"), number(mark.number)]);
    fields.extend(further(more_fields(None, key, message)));
    list([
        bytes(entry.to_string()),
        mark.position.epoch.into(),
        message.size_bytes().into(),
        Value::Binary(key.to_vec()),
        Value::Array(fields),
    ])
}

pub(super) fn kept(
    (key, group): (&PartitionKey, &str),
    values: &[(Bytes, Bytes)],
    shards: &impl Shards,
) -> Vec<(Shard, Value)> {
    let binary = |bytes: &Bytes| Value::Binary(bytes.to_vec());
    let rows = values.iter().flat_map(|(name, value)| [binary(name), binary(value)]).collect();
    let order = values.iter().flat_map(|(name, _)| [number(0), binary(name)]).collect();
    of_group((key, group), shards, [word("kept"), Value::Array(rows), Value::Array(order)])
}

pub(super) fn owed(
    (key, group): (&PartitionKey, &str),
    entries: &[OwedCopy],
    shards: &impl Shards,
) -> Vec<(Shard, Value)> {
    let rows = entries.iter().map(|OwedCopy { entry, id, message }| {
        let mut fields = vec![word("id"), bytes(id_text(*id))];
        fields.extend(fields_of(message));
        fields.extend(further(more_fields(None, &[], message)));
        list([bytes(format!("{entry}-0")), Value::Array(fields)])
    });
    let rows = Value::Array(rows.collect());
    let order = entries.iter().flat_map(|entry| [number(entry.entry), bytes(id_text(entry.id))]).collect();
    of_group((key, group), shards, [word("group_owed"), rows, Value::Array(order)])
}

pub(super) fn outbox(
    (key, group): (&PartitionKey, &str),
    tail: u64,
    shards: &impl Shards,
) -> Result<Vec<(Shard, Value)>, CopyError> {
    fits(shards, &format!("the outbox of the group `{group}` in {}", described(key)), tail, NUMBER_MAX)?;
    Ok(of_group((key, group), shards, [word("group_outbox"), tail.into()]))
}

/// The kind, `<partition id>:<group>`, and the rest.
fn of_group(
    (key, group): (&PartitionKey, &str),
    shards: &impl Shards,
    row: impl IntoIterator<Item = Value>,
) -> Vec<(Shard, Value)> {
    let id = partition_id(key);
    let mut row: Vec<Value> = row.into_iter().collect();
    row.insert(1, bytes(format!("{id}:{group}")));
    vec![(shards.layout().of_partition(&id), Value::Array(row))]
}

/// Topic and payload.
fn fields_of(message: &Message) -> [Value; 4] {
    let payload = Value::Binary(message.payload.to_vec());
    [word("topic"), bytes(message.topic.as_str()), word("payload"), payload]
}

fn further(fields: Vec<(&'static str, Vec<u8>)>) -> impl Iterator<Item = Value> {
    fields.into_iter().flat_map(|(name, value)| [word(name), Value::Binary(value)])
}

/// `<version> <change>\n<value>`: of no change that this store has.
pub(super) fn cell(row: &TableRow, shards: &impl Shards) -> Result<Vec<(Shard, Value)>, CopyError> {
    let id = row_id(row.table, &row.key);
    fits(shards, &format!("the row `{id}` of the tables"), row.version, NUMBER_MAX)?;
    let head = format!("{} 0-0\n", row.version);
    let value = [head.as_bytes(), row.value.as_deref().unwrap_or_default()].concat();
    let shard = shards.layout().of_row(row.table, &row.key);
    Ok(vec![(shard, list([word("cell"), bytes(&id), Value::Binary(value)]))])
}

/// `<id> <position> <until> <1 if settled>`.
pub(super) fn claim(claim: &ClaimCopy, shards: &impl Shards) -> Vec<(Shard, Value)> {
    let ClaimCopy { realm, topic, key, id, position, until, settled } = claim;
    let value = format!("{} {position} {until} {}", id_text(*id), u8::from(*settled));
    let shard = shards.layout().of_topic(&topic_id(realm, topic));
    let name = bytes(claim_name(realm, topic, key));
    vec![(shard, list([word("claim"), name, bytes(value), bytes(until.to_string())]))]
}
