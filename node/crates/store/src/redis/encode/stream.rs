//! Steps of partitions, tables and idempotency keys as the functions take them.

use weir_model::{Message, MessageId, Position, Qos, UnixMillis};

use super::{NUMBER_MAX, Steps, Values, id_text, json};
use crate::redis::layout::{claim_name, partition_id, row_id};
use crate::redis::marks::progress_text;
use crate::{Append, Expect, PartitionKey, PartitionOp, Progress, Retention, Start, Table, TableOp};

impl Steps {
    pub(super) fn partition(&mut self, key: &PartitionKey, ops: &[PartitionOp]) {
        let place = self.partition_place(key);
        if let [PartitionOp::Append(append)] = ops
            && is_plain(append)
        {
            self.values.negative(place);
            self.values.text(append.message.topic.as_str());
            self.values.text(&append.message.payload);
            return;
        }
        self.values.number(place as u64);
        self.values.number(ops.len() as u64);
        ops.iter().for_each(|op| self.partition_op(place, op));
    }

    fn partition_place(&mut self, key: &PartitionKey) -> usize {
        if let Some(place) = self.partitions.get(key) {
            return *place;
        }
        self.ids.text(partition_id(key));
        let place = self.partitions.len() + 1;
        self.partitions.insert(key.clone(), place);
        place
    }

    fn partition_op(&mut self, place: usize, op: &PartitionOp) {
        match op {
            PartitionOp::Configure { retention } => {
                let Retention { records_max, bytes_max, age_max_ms, is_compacted } = *retention;
                let values = self.op("C", 4);
                for max in [records_max, bytes_max, age_max_ms] {
                    values.number(max.min(NUMBER_MAX));
                }
                values.number(u64::from(is_compacted));
            }
            PartitionOp::Append(append) => self.append(place, append),
            PartitionOp::Seal => {
                self.op("L", 0);
            }
            PartitionOp::Trim { before: None } => self.op("T", 1).text(""),
            PartitionOp::Trim { before: Some(before) } => self.op("T", 3).position(*before),
            PartitionOp::Acquire { group, start } => self.group_start("Q", group, *start),
            PartitionOp::Commit { group, fence, progress } => self.progress("M", group, *fence, progress),
            PartitionOp::Release { group, fence, progress } => self.progress("R", group, *fence, progress),
            PartitionOp::Keep { group, fence, key, value } => {
                let values = self.group("V", 4, group, *fence);
                values.text(key);
                match value {
                    Some(value) => values.text(value),
                    None => values.no(),
                }
            }
            PartitionOp::Owe { group, fence, id, message } => {
                let values = self.group("O", 6, group, *fence);
                values.text(id_text(*id));
                values.text(message.topic.as_str());
                values.text(&message.payload);
                let more = more_fields(None, &[], message);
                if more.is_empty() { values.no() } else { values.list(&more) }
            }
            PartitionOp::Paid { group, fence, through } => {
                self.group("P", 3, group, *fence).number((*through).min(NUMBER_MAX));
            }
            PartitionOp::Forget { group } => self.op("F", 1).text(&**group),
            PartitionOp::Seek { group, start } => self.group_start("K", group, *start),
            PartitionOp::Drop => {
                self.op("D", 0);
            }
        }
    }

    fn append(&mut self, place: usize, append: &Append) {
        let Append { id, message, .. } = append;
        if let Some(id) = id {
            self.seen.number(place as u64);
            self.seen.text(id_text(*id));
        }
        let values = self.op("A", 5);
        values.text(id.map(id_text).unwrap_or_default());
        values.number(message.size_bytes() as u64);
        values.text(message.topic.as_str());
        values.text(&message.payload);
        let more = more_fields(*id, &append.key, message);
        if more.is_empty() { values.no() } else { values.list(&more) }
    }

    fn group_start(&mut self, letter: &str, group: &str, start: Start) {
        let values = self.op(letter, 5);
        values.text(group);
        match start {
            Start::Earliest => values.text("earliest"),
            Start::Latest => values.text("latest"),
            Start::After(_) => values.text("after"),
            Start::At(_) => values.text("at"),
        }
        values.position(match start {
            Start::After(position) => position,
            Start::At(at) => Position { epoch: 0, ms: at.0, seq: 0 },
            Start::Earliest | Start::Latest => Position::default(),
        });
    }

    fn progress(&mut self, letter: &str, group: &str, fence: u64, progress: &Progress) {
        self.group(letter, 3, group, fence).text(progress_text(progress));
    }

    /// An op of a group that begins with its name and fence.
    fn group(&mut self, letter: &str, arguments: u64, group: &str, fence: u64) -> &mut Values {
        let values = self.op(letter, arguments);
        values.text(group);
        values.number(fence);
        values
    }

    pub(super) fn table(&mut self, table: Table, key: &str, op: &TableOp) {
        let (name, arguments, expect) = match op {
            TableOp::Put { expect, .. } => ("put", 3, expect),
            TableOp::Delete { expect } => ("delete", 2, expect),
        };
        let values = self.op(name, arguments);
        values.text(row_id(table, key));
        match expect {
            Expect::Anything => values.text(""),
            Expect::Absent => values.number(0),
            // No row ever has version 1; 0 stands for none.
            Expect::Version(version) => values.number((*version).max(1)),
        }
        if let TableOp::Put { value, .. } = op {
            values.text(value);
        }
    }

    pub(super) fn claim(&mut self, realm: &str, topic: &str, key: &str, id: MessageId, until: UnixMillis) {
        let values = self.op("claim", 3);
        values.text(claim_name(realm, topic, key));
        values.text(id_text(id));
        values.time(Some(until));
    }

    pub(super) fn settle(&mut self, realm: &str, topic: &str, key: &str, id: MessageId) {
        let values = self.op("settle", 2);
        values.text(claim_name(realm, topic, key));
        values.text(id_text(id));
    }
}

impl Values {
    fn position(&mut self, position: Position) {
        for number in [position.epoch, position.ms, position.seq] {
            self.number(number.min(NUMBER_MAX));
        }
    }
}

/// Whether topic and payload say everything.
fn is_plain(append: &Append) -> bool {
    let Append { id, key, message } = append;
    let Message { qos, retain, expires_at, properties, .. } = &**message;
    id.is_none()
        && key.is_empty()
        && *qos == Qos::AtLeastOnce
        && !retain
        && expires_at.is_none()
        && properties.is_none()
}

/// What a record has beside topic, payload and number: the key first, and only what is not as in most.
pub(in crate::redis) fn more_fields(
    id: Option<MessageId>,
    key: &[u8],
    message: &Message,
) -> Vec<(&'static str, Vec<u8>)> {
    let Message { qos, retain, expires_at, properties, .. } = message;
    let mut fields = Vec::new();
    if !key.is_empty() {
        fields.push(("key", key.to_vec()));
    }
    if let Some(id) = id {
        fields.push(("id", id_text(id).into_bytes()));
    }
    if *qos != Qos::AtLeastOnce {
        fields.push(("qos", vec![b'0' + *qos as u8]));
    }
    if *retain {
        fields.push(("retain", b"1".to_vec()));
    }
    if let Some(at) = expires_at {
        fields.push(("expires_at", at.to_string().into_bytes()));
    }
    if let Some(properties) = properties {
        fields.push(("properties", json(properties)));
        fields.push(("bytes", message.size_bytes().to_string().into_bytes()));
    }
    fields
}
