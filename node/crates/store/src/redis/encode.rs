//! Steps as the functions take them: MessagePack of the ids of the sessions or partitions of a batch, of the generation
//! each session is meant for or the message ids that partitions are given, and of all values of the steps in a row.

use std::collections::HashMap;
use std::sync::Arc;

use weir_model::{Message, MessageId, Qos, UnixMillis};

use super::layout::{session_id, topic_id};
use super::text;
use crate::PartitionKey;
use crate::canary;
use crate::{Delivery, Detach, Enqueue, Fence, Open, Owner, SessionKey, SessionOp, Step, TopicOp, Will};

mod guard;
mod stream;

pub(super) use stream::more_fields;

/// Queue numbers above are nobody's; beyond, Lua writes a number in another form.
pub(super) const NUMBER_MAX: u64 = 99_999_999_999_999;

/// The steps of one batch.
#[derive(Default)]
pub(super) struct Steps {
    ids: Values,
    /// The place of each session among them, from 1.
    places: HashMap<SessionKey, usize>,
    /// For whom a session's plain steps are; 0 = it has none.
    generations: Vec<u64>,
    /// The place of each partition, from 1.
    partitions: HashMap<PartitionKey, usize>,
    /// The message ids that records bring, each behind the place of its partition.
    seen: Values,
    values: Values,
    /// The enqueue in hand is meant for nobody: see [`canary`].
    lies: bool,
}

/// MessagePack values in a row.
#[derive(Default)]
struct Values {
    bytes: Vec<u8>,
    count: u32,
}

impl Values {
    fn number(&mut self, number: u64) {
        self.count += 1;
        let written = rmp::encode::write_uint(&mut self.bytes, number);
        debug_assert!(written.is_ok(), "a buffer that does not grow");
    }

    fn negative(&mut self, place: usize) {
        self.count += 1;
        let written = rmp::encode::write_sint(&mut self.bytes, -(place as i64));
        debug_assert!(written.is_ok(), "a buffer that does not grow");
    }

    fn text(&mut self, text: impl AsRef<[u8]>) {
        self.count += 1;
        self.raw_text(text.as_ref());
    }

    /// A list that stands for one value.
    fn list(&mut self, items: &[(&'static str, Vec<u8>)]) {
        self.count += 1;
        let written = rmp::encode::write_array_len(&mut self.bytes, 2 * items.len() as u32);
        debug_assert!(written.is_ok(), "a buffer that does not grow");
        for (name, value) in items {
            self.raw_text(name.as_bytes());
            self.raw_text(value);
        }
    }

    fn no(&mut self) {
        self.count += 1;
        self.bytes.push(rmp::Marker::False.to_u8());
    }

    fn raw_text(&mut self, text: &[u8]) {
        // Longer than 4 GiB is no message: protocols end far below.
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let written = rmp::encode::write_str_len(&mut self.bytes, length);
        debug_assert!(written.is_ok(), "a buffer that does not grow");
        self.bytes.extend_from_slice(&text[..length as usize]);
    }

    fn fence(&mut self, fence: Fence) {
        self.number(fence.generation);
        self.number(fence.fence);
    }

    fn time(&mut self, time: Option<UnixMillis>) {
        // Far times have more digits than Lua's numbers.
        self.text(time.map(|time| time.to_string()).unwrap_or_default());
    }

    fn into_list(self, out: &mut Vec<u8>) {
        out.push(rmp::Marker::Array32.to_u8());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&self.bytes);
    }
}

impl Steps {
    pub fn add(&mut self, step: &Step) {
        match step {
            Step::Session { key, ops } => {
                let place = self.place(key);
                if let [SessionOp::Enqueue(enqueue)] = ops.as_slice()
                    && !self.lies()
                    && self.add_plain(place, enqueue)
                {
                    return;
                }
                self.values.number(place as u64);
                self.values.number(ops.len() as u64);
                ops.iter().for_each(|op| self.session_op(op));
            }
            Step::Topic { realm, topic, op } => self.topic_op(realm, topic, op),
            Step::Partition { key, ops } => self.partition(key, ops),
            Step::Table { table, key, op } => self.table(*table, key, op),
        }
    }

    fn lies(&mut self) -> bool {
        self.lies = canary::drops();
        self.lies
    }

    fn place(&mut self, key: &SessionKey) -> usize {
        if let Some(place) = self.places.get(key) {
            return *place;
        }
        self.ids.text(session_id(key));
        self.generations.push(0);
        let place = self.generations.len();
        self.places.insert(key.clone(), place);
        place
    }

    /// The short form of the most common step: its session's place below zero, topic and payload.
    fn add_plain(&mut self, place: usize, enqueue: &Enqueue) -> bool {
        let Enqueue { generation, id, delivery } = enqueue;
        let known = &mut self.generations[place - 1];
        let is_plain = id.is_none()
            && *generation > 0
            && (*known == 0 || *known == *generation)
            && delivery.qos == Qos::AtLeastOnce
            && further_fields(delivery).is_empty();
        if is_plain {
            *known = *generation;
            self.values.negative(place);
            self.values.text(delivery.message.topic.as_str());
            self.values.text(&delivery.message.payload);
        }
        is_plain
    }

    /// The last argument of a batch.
    pub fn into_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.ids.bytes.len() + self.values.bytes.len() + 512);
        self.ids.into_list(&mut out);
        let mut second = self.seen;
        self.generations.iter().for_each(|generation| second.number(*generation));
        second.into_list(&mut out);
        self.values.into_list(&mut out);
        out
    }

    fn topic_op(&mut self, realm: &str, topic: &str, op: &TopicOp) {
        let values = &mut self.values;
        match op {
            TopicOp::Retain { message } => {
                values.text("retain");
                values.number(3);
                values.text(topic_id(realm, topic));
                match message {
                    Some(message) => {
                        values.number(message.size_bytes() as u64);
                        values.text(text::encode(message));
                    }
                    None => {
                        values.no();
                        values.text("");
                    }
                }
            }
            TopicOp::Exchange(exchange) => self.exchange(realm, topic, exchange),
            TopicOp::Delay { due, id, message } => {
                values.text("delay");
                values.number(5);
                values.time(Some(*due));
                values.text(id.map(id_text).unwrap_or_default());
                values.number(message.size_bytes() as u64);
                values.text(realm);
                values.text(text::encode(message));
            }
            TopicOp::Claim { key, id, until } => self.claim(realm, topic, key, *id, *until),
            TopicOp::Settle { key, id } => self.settle(realm, topic, key, *id),
            TopicOp::Delayed { entry } => {
                values.text("delayed");
                values.number(1);
                values.number(*entry);
            }
        }
    }

    fn op(&mut self, letter: &str, arguments: u64) -> &mut Values {
        self.values.text(letter);
        self.values.number(arguments);
        &mut self.values
    }

    fn session_op(&mut self, op: &SessionOp) {
        match op {
            SessionOp::Open(open) => self.open(open),
            SessionOp::Enqueue(enqueue) => self.enqueue(enqueue),
            SessionOp::Subscribe { fence, filter, options } => {
                let values = self.op("S", 4);
                values.fence(*fence);
                values.text(filter.as_str());
                values.text(json(options));
            }
            SessionOp::Unsubscribe { fence, filter } => {
                let values = self.op("U", 3);
                values.fence(*fence);
                values.text(filter.as_str());
            }
            SessionOp::Ack { fence, number } => self.fenced("A", *fence, (*number).min(NUMBER_MAX)),
            SessionOp::Pubrec { fence, number } => self.fenced("P", *fence, (*number).min(NUMBER_MAX)),
            SessionOp::GroupAck { number } => {
                self.fenced("G", Fence { generation: 0, fence: 0 }, (*number).min(NUMBER_MAX));
            }
            SessionOp::Receive { fence, packet_id } => self.fenced("R", *fence, u64::from(*packet_id)),
            SessionOp::Release { fence, packet_id } => self.fenced("L", *fence, u64::from(*packet_id)),
            SessionOp::ClearWill { fence } => self.op("C", 2).fence(*fence),
            SessionOp::Detach { fence, detach } => self.detach(*fence, detach),
            SessionOp::FireWill { generation, fence } => {
                let op = self.op("F", 2);
                op.number(*generation);
                op.number(fence.unwrap_or(0));
            }
            SessionOp::OutboxDone { entry } => self.op("X", 1).number(*entry),
            SessionOp::Renew { fence, owner } => {
                let values = self.op("N", 4);
                values.fence(*fence);
                values.owner(Some(owner));
            }
            SessionOp::End { generation, fence } => {
                let values = self.op("Z", 2);
                values.number(*generation);
                match fence {
                    Some(fence) => values.number(*fence),
                    None => values.text(""),
                }
            }
        }
    }

    fn fenced(&mut self, letter: &str, fence: Fence, number: u64) {
        let values = self.op(letter, 3);
        values.fence(fence);
        values.number(number);
    }

    fn open(&mut self, open: &Open) {
        let values = self.op("O", 9);
        values.number(u64::from(open.clean_start));
        values.number(u64::from(open.persistent));
        values.number(u64::from(open.expiry_seconds));
        values.owner(open.owner.as_ref());
        match &open.will {
            Some(Will { message, delay_seconds, expiry_seconds }) => {
                values.text(text::encode(message));
                values.number(message.size_bytes() as u64);
                values.number(u64::from(*delay_seconds));
                values.text(expiry_seconds.map(|seconds| seconds.to_string()).unwrap_or_default());
            }
            None => {
                values.text("");
                values.number(0);
                values.text("");
                values.text("");
            }
        }
    }

    fn enqueue(&mut self, enqueue: &Enqueue) {
        let Delivery { message, qos, .. } = &enqueue.delivery;
        let generation = if std::mem::take(&mut self.lies) { 0 } else { enqueue.generation };
        let values = self.op("E", 7);
        values.number(generation);
        values.text(enqueue.id.map(id_text).unwrap_or_default());
        values.number(message.size_bytes() as u64);
        values.text(message.topic.as_str());
        values.text(&message.payload);
        values.text([b'0' + *qos as u8]);
        let more = further_fields(&enqueue.delivery);
        if more.is_empty() { values.no() } else { values.list(&more) }
    }

    fn detach(&mut self, fence: Fence, detach: &Detach) {
        let values = self.op("D", 6);
        values.fence(fence);
        values.time(Some(detach.at));
        values.text(detach.sent.to_string());
        values.time(detach.expires_at);
        values.time(detach.will_at);
    }
}

impl Values {
    fn owner(&mut self, owner: Option<&Arc<Owner>>) {
        self.text(Owner::user_id(owner).map_or("", |user| user));
        self.text(owner.map(json).unwrap_or_default());
    }
}

/// What a row has beside topic, payload and QoS: only what is not as in most.
pub(super) fn further_fields(delivery: &Delivery) -> Vec<(&'static str, Vec<u8>)> {
    let Message { qos, retain, expires_at, properties, .. } = &*delivery.message;
    let mut fields = Vec::new();
    if *qos != delivery.qos {
        fields.push(("published_qos", vec![b'0' + *qos as u8]));
    }
    if delivery.retain {
        fields.push(("retain", b"1".to_vec()));
    }
    if *retain {
        fields.push(("published_retain", b"1".to_vec()));
    }
    if let Some(at) = expires_at {
        fields.push(("expires_at", at.to_string().into_bytes()));
    }
    if let Some(properties) = properties {
        fields.push(("properties", json(properties)));
        fields.push(("bytes", delivery.message.size_bytes().to_string().into_bytes()));
    }
    if !delivery.subscription_ids.is_empty() {
        let ids: Vec<String> = delivery.subscription_ids.iter().map(u32::to_string).collect();
        fields.push(("subscription_ids", ids.join(",").into_bytes()));
    }
    if let Some(group) = &delivery.group {
        fields.push(("group", group.as_str().as_bytes().to_vec()));
    }
    fields
}

pub(super) fn id_text(id: MessageId) -> String {
    format!("{}.{}.{}", id.source, id.slot, id.count)
}

pub(super) fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let written = serde_json::to_vec(value);
    // Texts, numbers and lists: JSON has a form for each.
    debug_assert!(written.is_ok(), "a value that JSON cannot write");
    written.unwrap_or_default()
}
