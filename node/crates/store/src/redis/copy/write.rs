//! Rows of a copy as the functions take them, and the shard that each belongs to.

use rmpv::Value;
use weir_model::{MessageId, Qos, UnixMillis};

use crate::copy::{CopyError, CopyRow, QueueCopy, SessionCopy};
use crate::redis::encode::{further_fields, id_text, json};
use crate::redis::layout::{Layout, session_id, topic_id};
use crate::redis::mirror::EntryId;
use crate::redis::shard::Shard;
use crate::redis::text;
use crate::{Delivery, Owner, PartitionKey, SessionKind};

mod stream;

/// Generations and fences above do not fit into a session's state.
const FENCE_MAX: u64 = (1 << 48) - 1;

/// Queue numbers above do not fit into it.
const NUMBER_MAX: u64 = (1 << 40) - 1;

/// What the rows go into.
pub(super) trait Shards {
    fn layout(&self) -> &Layout;
    fn store(&self) -> &str;
    /// The epoch that a shard has from now on.
    fn epoch(&self, shard: Shard) -> u64;
    /// A Position in this shard names this change.
    fn note_change(&mut self, shard: Shard, change: (u64, u64));
    /// The next record of a partition has this entry. Whether it stands behind the one before.
    fn note_entry(&mut self, key: &PartitionKey, entry: EntryId) -> bool;
}

/// What is to be written, and where.
pub(super) fn row(row: &CopyRow, shards: &mut impl Shards) -> Result<Vec<(Shard, Value)>, CopyError> {
    let layout = shards.layout();
    Ok(match row {
        CopyRow::Session(copy) => {
            let id = session_id(&copy.key);
            let row = format!("the session `{id}`");
            fits(shards, &row, copy.fence.generation.max(copy.fence.fence), FENCE_MAX)?;
            fits(shards, &row, copy.tail, NUMBER_MAX)?;
            vec![(layout.of_session(&id), session(&id, copy))]
        }
        CopyRow::Queue { key, rows, .. } => {
            let id = session_id(key);
            let newest = rows.last().map_or(0, |row| row.number);
            fits(shards, &format!("the session `{id}`"), newest, NUMBER_MAX)?;
            let rows = Value::Array(rows.iter().map(queued).collect());
            vec![(layout.of_session(&id), list([word("queue"), bytes(&id), rows]))]
        }
        CopyRow::Owed { key, generation, entry } => {
            let id = session_id(key);
            let owner = entry.owner.as_ref().map(json).unwrap_or_default();
            let head = format!("{generation} {} 0 {}\n", entry.id.source, owner.len());
            let value = [head.as_bytes(), &owner, &text::encode(&entry.message)].concat();
            let row = [word("owed"), bytes(&id), entry.entry.into(), Value::Binary(value)];
            vec![(layout.of_session(&id), list(row))]
        }
        CopyRow::Delayed { realm, due, entry } => {
            let size = entry.message.size_bytes();
            let head = format!("{size} {} {}\n{realm}", entry.id.source, realm.len());
            let value = [head.as_bytes(), &text::encode(&entry.message)].concat();
            let shard = layout.of_delayed(entry.entry, realm, &entry.message.topic);
            let due = bytes(due.to_string());
            vec![(shard, list([word("delayed"), entry.entry.into(), due, size.into(), Value::Binary(value)]))]
        }
        // In which shard a repeat will be looked for, nobody can say.
        CopyRow::DelaySeen(ids) => {
            let row = list([word("delay_seen"), scored(ids)]);
            layout.topics().map(|shard| (shard, row.clone())).collect()
        }
        CopyRow::Retained { realm, topic, position, message } => {
            let id = topic_id(realm, topic);
            let shard = layout.of_topic(&id);
            let size = message.size_bytes();
            let since = shards.epoch(shard);
            let head = format!("{size} {}-{} {} {since}\n", position.ms, position.seq, position.epoch);
            let value = [head.as_bytes(), &text::encode(message)].concat();
            shards.note_change(shard, (position.ms, position.seq));
            vec![(shard, list([word("retained"), bytes(&id), size.into(), Value::Binary(value)]))]
        }
        CopyRow::Partition(copy) => stream::partition(copy, shards),
        CopyRow::Place { key, place } => stream::place(key, place, shards),
        CopyRow::RecordSeen { key, ids } => stream::record_seen(key, ids, shards),
        CopyRow::Records { key, records } => stream::records(key, records, shards)?,
        CopyRow::Kept { key, group, values } => stream::kept((key, group), values, shards),
        CopyRow::GroupOwed { key, group, entries } => stream::owed((key, group), entries, shards),
        CopyRow::GroupOutbox { key, group, tail } => stream::outbox((key, group), *tail, shards)?,
        CopyRow::Table(row) => stream::cell(row, shards)?,
        CopyRow::Claim(claim) => stream::claim(claim, shards),
    })
}

/// The rows of one call. Redis knows the MessagePack of before there were binaries: bytes go as text.
pub(super) fn packed(rows: Vec<Value>) -> Vec<u8> {
    let mut out = Vec::new();
    let written = pack(&Value::Array(rows), &mut out);
    debug_assert!(written.is_ok(), "a buffer that does not grow");
    out
}

fn pack(value: &Value, out: &mut Vec<u8>) -> Result<(), rmpv::encode::Error> {
    match value {
        Value::Array(values) => {
            rmp::encode::write_array_len(out, u32::try_from(values.len()).unwrap_or(u32::MAX))?;
            values.iter().try_for_each(|value| pack(value, out))
        }
        Value::Binary(bytes) => {
            rmp::encode::write_str_len(out, u32::try_from(bytes.len()).unwrap_or(u32::MAX))?;
            out.extend_from_slice(bytes);
            Ok(())
        }
        other => rmpv::encode::write_value(out, other),
    }
}

fn fits(shards: &impl Shards, row: &str, number: u64, max: u64) -> Result<(), CopyError> {
    if number <= max {
        return Ok(());
    }
    let (store, row) = (shards.store().to_owned(), row.to_owned());
    Err(CopyError::TooLarge {
        store,
        row,
        cause: format!("it has the number {number}, {max} is the highest"),
    })
}

fn session(id: &str, copy: &SessionCopy) -> Value {
    let left = copy.left.as_ref();
    let time = |time: Option<UnixMillis>| bytes(time.map(|time| time.to_string()).unwrap_or_default());
    let subscriptions = copy
        .subscriptions
        .iter()
        .flat_map(|(filter, options)| [bytes(filter.as_str()), Value::Binary(json(options))]);
    let received = copy.received.iter().flat_map(|(packet_id, uses)| [number(*packet_id), number(*uses)]);
    let is_lost = left.is_none() && copy.key.kind == SessionKind::Client;
    list([
        word("session"),
        bytes(id),
        copy.fence.generation.into(),
        copy.fence.fence.into(),
        copy.tail.into(),
        Value::Array(fields(copy, is_lost)),
        Value::Array(subscriptions.collect()),
        Value::Array(received.collect()),
        scored(&copy.seen),
        time(left.and_then(|left| left.expires_at)),
        time(left.and_then(|left| left.will_at)),
        is_lost.into(),
    ])
}

/// The fields of the session's own hash.
fn fields(copy: &SessionCopy, is_lost: bool) -> Vec<Value> {
    let mut fields = Vec::new();
    let mut put = |name: &str, value: Value| fields.extend([word(name), value]);
    put("generation", number(copy.fence.generation));
    put("persistent", number(u8::from(copy.persistent)));
    put("expiry", number(copy.expiry_seconds));
    if copy.uses > 0 {
        put("uses", number(copy.uses));
    }
    if copy.key.kind == SessionKind::Group {
        return fields;
    }
    put("fence", number(copy.fence.fence));
    put("user", bytes(Owner::user_id(copy.owner.as_ref()).map_or("", |user| user)));
    put("owner", Value::Binary(copy.owner.as_ref().map(json).unwrap_or_default()));
    if is_lost {
        // An incarnation that no node ever has: the nodes see to its sessions as to those of one that has died.
        put("home", word("1"));
    }
    if let Some(left) = &copy.left {
        put("at", number(left.at));
        put("sent", number(left.sent));
        left.expires_at.into_iter().for_each(|at| put("expires_at", number(at)));
        left.will_at.into_iter().for_each(|at| put("will_at", number(at)));
    }
    if let Some(will) = &copy.will {
        put("will", Value::Binary(text::encode(&will.message)));
        put("will_bytes", number(will.message.size_bytes()));
        put("will_delay", number(will.delay_seconds));
        will.expiry_seconds.into_iter().for_each(|seconds| put("will_expiry", number(seconds)));
    }
    fields
}

/// `{ number, bytes, fields }`, or `{ number }` of a released one.
fn queued(row: &QueueCopy) -> Value {
    let Some(delivery) = row.delivery() else { return list([row.number.into()]) };
    let Delivery { message, qos, .. } = delivery;
    let payload = Value::Binary(message.payload.to_vec());
    let mut fields = vec![word("topic"), bytes(message.topic.as_str()), word("payload"), payload];
    let further = further_fields(delivery);
    if *qos != Qos::AtLeastOnce || !further.is_empty() {
        fields.extend([word("qos"), number(*qos as u8)]);
    }
    for (name, value) in further {
        fields.extend([word(name), Value::Binary(value)]);
    }
    list([row.number.into(), message.size_bytes().into(), Value::Array(fields)])
}

/// `{ score, id, ... }`: below every score that a shard gives itself.
fn scored(ids: &[MessageId]) -> Value {
    let newest = ids.len() as i64 - 1;
    let score = |place: usize| bytes((place as i64 - newest).to_string());
    let pairs = ids.iter().enumerate().flat_map(|(place, id)| [score(place), bytes(id_text(*id))]);
    Value::Array(pairs.collect())
}

fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(values.into_iter().collect())
}

fn word(text: &str) -> Value {
    Value::Binary(text.as_bytes().to_vec())
}

fn bytes(text: impl AsRef<str>) -> Value {
    word(text.as_ref())
}

fn number(number: impl ToString) -> Value {
    bytes(number.to_string())
}
