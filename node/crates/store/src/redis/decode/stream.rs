//! Partitions, their records and groups, rows of tables and idempotency keys, as they lie in the keys and are answered.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use weir_model::{Message, MessageId, Position, Qos, Topic, UnixMillis};

use super::{DecodeError, ValueRef, Values, bytes_of, json, number, number_of, qos, text_of, word};
use crate::redis::layout::row_of;
use crate::redis::marks::{mark_of, progress_of};
use crate::redis::mirror::EntryId;
use crate::redis::text;
use crate::{
    GroupPlace, Mark, Outcome, PartitionEnds, PartitionKey, PartitionOp, Record, Retention, TableRow,
};

/// The first record that a batch has appended to each partition: the others follow on it.
pub(super) type Firsts<'s> = HashMap<&'s PartitionKey, Mark>;

pub(super) fn partition_outcome<'s>(
    key: &'s PartitionKey,
    op: &PartitionOp,
    value: &ValueRef,
    firsts: &mut Firsts<'s>,
) -> Result<Outcome, DecodeError> {
    match (op, value) {
        (PartitionOp::Append(_), ValueRef::Integer(_)) => {
            let first = firsts.get(key).ok_or(DecodeError::Short)?;
            let number = number_of(value)?;
            let seq = first.position.seq + number.saturating_sub(first.number);
            let mark = Mark { position: Position { seq, ..first.position }, number };
            Ok(Outcome::Appended { mark, first: true })
        }
        (PartitionOp::Append(_), ValueRef::Array(_)) => {
            let mut list = Values::of(value)?;
            let (number, ms, seq, epoch) = (list.number()?, list.number()?, list.number()?, list.number()?);
            let mark = Mark { position: Position { epoch, ms, seq }, number };
            let first = list.flag()?;
            if first {
                firsts.insert(key, mark);
            }
            Ok(Outcome::Appended { mark, first })
        }
        (PartitionOp::Owe { .. }, ValueRef::Integer(_)) => Ok(Outcome::Owed { entry: number_of(value)? }),
        (PartitionOp::Acquire { .. } | PartitionOp::Seek { .. }, ValueRef::Array(_)) => {
            let mut list = Values::of(value)?;
            if !list.flag()? {
                return Ok(Outcome::Held { by: list.number()? });
            }
            Ok(Outcome::Acquired { fence: list.number()?, progress: progress_of(list.bytes()?)? })
        }
        (_, ValueRef::Integer(_)) => Ok(Outcome::Done),
        (_, other) => word(bytes_of(other)?),
    }
}

/// `{ 1, version, change }` or `{ 0, version or 0 }`.
pub(super) fn table_outcome(value: &ValueRef) -> Result<Outcome, DecodeError> {
    let mut list = Values::of(value)?;
    let (is_done, version) = (list.flag()?, list.number()?);
    if is_done {
        return Ok(Outcome::Put { version });
    }
    Ok(Outcome::Differs { version: Some(version).filter(|version| *version > 0) })
}

/// `{ id, epoch, ms, seq, settled }`.
pub(super) fn claimed(value: &ValueRef) -> Result<Outcome, DecodeError> {
    let mut list = Values::of(value)?;
    let id = message_id(list.text()?)?;
    let position = Position { epoch: list.number()?, ms: list.number()?, seq: list.number()? };
    Ok(Outcome::Claimed { id, position, settled: list.flag()? })
}

fn message_id(text: &str) -> Result<MessageId, DecodeError> {
    let bad = || DecodeError::Number(text.to_owned());
    let mut parts = text.split('.');
    let mut next = || parts.next().ok_or_else(bad);
    let (source, slot, count) = (next()?, next()?, next()?);
    let slot = slot.parse().map_err(|_| bad())?;
    Ok(MessageId { source: number(source)?, slot, count: number(count)? })
}

/// A row of a table by its id; a value is `<version> <change>\n<value>`.
pub(in crate::redis) fn table_row(id: &str, value: &[u8]) -> Result<TableRow, DecodeError> {
    let (table, key) = row_of(id).ok_or_else(|| DecodeError::Name(id.to_owned()))?;
    let (head, value) = text::line(value)?;
    let version = text_of(head)?.split(' ').next().ok_or(DecodeError::Short)?;
    Ok(TableRow { table, key, version: number(version)?, value: Some(Bytes::copy_from_slice(value)) })
}

/// What is known of a partition: fields of its hash.
#[derive(Debug, Clone, Default)]
pub(in crate::redis) struct Partition {
    pub retention: Retention,
    pub ends: PartitionEnds,
    /// The epochs in which it was appended to, each with the first entry of it, by rising ids.
    pub epochs: Vec<(u64, EntryId)>,
    /// Records before this are about to go.
    pub keep_from: EntryId,
}

/// The fields of a partition's hash that [`partition`] reads, in order.
pub(in crate::redis) const PARTITION: [&str; 11] = [
    "records_max",
    "bytes_max",
    "age_max_ms",
    "compacted",
    "sealed",
    "tail",
    "trimmed",
    "records",
    "bytes",
    "epochs",
    "keep_from",
];

/// `None` = there is none.
pub(in crate::redis) fn partition(row: &[Option<Vec<u8>>]) -> Result<Option<Partition>, DecodeError> {
    let text = |at: usize| row.get(at).and_then(|value| value.as_deref()).map_or(Ok(""), text_of);
    let count = |at: usize| number(text(at)?);
    if text(5)?.is_empty() {
        return Ok(None);
    }
    let retention = Retention {
        records_max: count(0)?,
        bytes_max: count(1)?,
        age_max_ms: count(2)?,
        is_compacted: text(3)? == "1",
    };
    let ends = PartitionEnds {
        trimmed: mark_of(text(6)?)?,
        tail: mark_of(text(5)?)?,
        records: count(7)?,
        bytes: count(8)?,
        is_sealed: text(4)? == "1",
    };
    let epoch = |text: &str| {
        let bad = || DecodeError::Number(text.to_owned());
        let (epoch, id) = text.split_once(':').ok_or_else(bad)?;
        Ok((number(epoch)?, EntryId::parse(id.as_bytes()).ok_or_else(bad)?))
    };
    let epochs = text(9)?.split_terminator(' ').map(epoch).collect::<Result<_, DecodeError>>()?;
    let keep_from = EntryId::parse(text(10)?.as_bytes()).unwrap_or_default();
    Ok(Some(Partition { retention, ends, epochs, keep_from }))
}

impl Partition {
    /// The position of an entry.
    pub fn position(&self, id: EntryId) -> Position {
        let of = self.epochs.iter().rev().find(|(_, first)| *first <= id).or(self.epochs.first());
        let epoch = of.map_or(self.ends.tail.position.epoch, |(epoch, _)| *epoch);
        Position { epoch, ms: id.ms, seq: id.seq }
    }

    /// The first entry that may stand behind a position; `None` = none yet.
    pub fn behind(&self, position: Position) -> Option<EntryId> {
        let later = self.epochs.iter().find(|(epoch, _)| *epoch > position.epoch).map(|(_, first)| *first);
        // Epochs before the oldest that is known are taken for it.
        let is_older = self.epochs.first().is_some_and(|(oldest, _)| position.epoch < *oldest);
        let is_known = is_older || self.epochs.iter().any(|(epoch, _)| *epoch == position.epoch);
        let own = EntryId { ms: position.ms, seq: position.seq.saturating_add(1) };
        match later {
            Some(later) if is_known => Some(own.min(later)),
            Some(later) => Some(later),
            None => is_known.then_some(own),
        }
    }
}

/// An entry of a partition's stream by its fields, names and values in turn.
pub(in crate::redis) fn record(
    partition: &Partition,
    id: EntryId,
    fields: &[Bytes],
) -> Result<Record, DecodeError> {
    let Fields { message, key, number, .. } = Fields::of(fields)?;
    let number = number.ok_or(DecodeError::Missing("number"))?;
    let mark = Mark { position: partition.position(id), number };
    Ok(Record { mark, key, message: Arc::new(message) })
}

/// An entry of a group's outbox, `<entry>-0`.
pub(in crate::redis) fn owed(
    id: EntryId,
    fields: &[Bytes],
) -> Result<(u64, MessageId, Arc<Message>), DecodeError> {
    let Fields { message, id: of, .. } = Fields::of(fields)?;
    let of = message_id(text_of(&of.ok_or(DecodeError::Missing("id"))?)?)?;
    Ok((id.ms, of, Arc::new(message)))
}

/// What the fields of an entry say.
struct Fields {
    message: Message,
    key: Bytes,
    number: Option<u64>,
    id: Option<Bytes>,
}

impl Fields {
    fn of(fields: &[Bytes]) -> Result<Fields, DecodeError> {
        let message = Message {
            topic: Topic::new("-").map_err(|_| DecodeError::Topic)?,
            payload: Bytes::new(),
            qos: Qos::AtLeastOnce,
            retain: false,
            expires_at: None,
            properties: None,
        };
        let mut found = Fields { message, key: Bytes::new(), number: None, id: None };
        let (message, mut has_topic) = (&mut found.message, false);
        for pair in fields.chunks_exact(2) {
            let value = &pair[1];
            match &pair[0][..] {
                b"topic" => {
                    message.topic = Topic::new(text_of(value)?).map_err(|_| DecodeError::Topic)?;
                    has_topic = true;
                }
                b"payload" => message.payload = value.clone(),
                b"number" => found.number = Some(number(text_of(value)?)?),
                b"key" => found.key = value.clone(),
                b"id" => found.id = Some(value.clone()),
                b"qos" => message.qos = qos(value)?,
                b"retain" => message.retain = true,
                b"expires_at" => message.expires_at = Some(UnixMillis(number(text_of(value)?)?)),
                b"properties" => message.properties = json(value)?,
                _ => {}
            }
        }
        if has_topic { Ok(found) } else { Err(DecodeError::Missing("topic")) }
    }
}

/// A group's row: `<owner or 0> <fence>\n<progress>`. What it keeps and owes lies elsewhere.
pub(in crate::redis) fn group_place(name: &str, row: &[u8]) -> Result<GroupPlace, DecodeError> {
    let (head, progress) = text::line(row)?;
    let (owner, fence) = text_of(head)?.split_once(' ').ok_or(DecodeError::Short)?;
    let owner = Some(number(owner)?).filter(|owner| *owner > 0);
    let (fence, progress) = (number(fence)?, progress_of(progress)?);
    Ok(GroupPlace { group: name.into(), owner, fence, progress, kept: 0, owed: 0 })
}
