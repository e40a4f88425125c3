//! What the functions answer, and what lies in the keys, read back.

use std::sync::Arc;

use rmpv::ValueRef;
use smallvec::SmallVec;
use weir_model::{Filter, Message, MessageId, Position, Qos, Topic, UnixMillis};

use super::text;
use crate::{Delivery, Fence, OutboxEntry, Outcome, Owner, QueueEnds, Restored, SubscriptionOptions};

mod answers;
mod change;
mod due;
mod stream;

pub(super) use answers::answers;
pub(super) use change::{Change, change};
pub(super) use due::{Found, due};
pub(super) use stream::{PARTITION, Partition, group_place, owed, partition, record, table_row};

/// Why something is not what a function answers or a key holds.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DecodeError {
    #[error("it is no MessagePack")]
    Packed,
    #[error("{expected} was expected")]
    Kind { expected: &'static str },
    #[error("it ends too early")]
    Short,
    #[error("JSON: {0}")]
    Json(String),
    #[error("a topic or filter is invalid")]
    Topic,
    #[error("a QoS is above 2")]
    Qos,
    #[error("`{0}` is no number")]
    Number(String),
    #[error("`{0}` names no session or topic")]
    Name(String),
    #[error("the field {0} is missing")]
    Missing(&'static str),
}

/// One MessagePack value.
pub(super) fn unpacked(mut bytes: &[u8]) -> Result<ValueRef<'_>, DecodeError> {
    rmpv::decode::read_value_ref(&mut bytes).map_err(|_| DecodeError::Packed)
}

/// Values of a list, one after the other.
pub(super) struct Values<'a, 'b> {
    values: std::slice::Iter<'b, ValueRef<'a>>,
}

impl<'a, 'b> Values<'a, 'b> {
    pub fn of(list: &'b ValueRef<'a>) -> Result<Values<'a, 'b>, DecodeError> {
        match list {
            ValueRef::Array(values) => Ok(Values { values: values.iter() }),
            _ => Err(DecodeError::Kind { expected: "a list" }),
        }
    }

    pub fn next(&mut self) -> Result<&'b ValueRef<'a>, DecodeError> {
        self.values.next().ok_or(DecodeError::Short)
    }

    pub fn peek(&self) -> Option<&'b ValueRef<'a>> {
        self.values.as_slice().first()
    }

    pub fn list(&mut self) -> Result<Values<'a, 'b>, DecodeError> {
        Values::of(self.next()?)
    }

    /// A number, also one written as text.
    pub fn number(&mut self) -> Result<u64, DecodeError> {
        number_of(self.next()?)
    }

    pub fn bytes(&mut self) -> Result<&'b [u8], DecodeError> {
        bytes_of(self.next()?)
    }

    pub fn text(&mut self) -> Result<&'b str, DecodeError> {
        text_of(self.bytes()?)
    }

    /// A number written as text; `None` when the text is empty.
    pub fn optional(&mut self) -> Result<Option<u64>, DecodeError> {
        let text = self.text()?;
        if text.is_empty() { Ok(None) } else { number(text).map(Some) }
    }

    pub fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.next()? {
            ValueRef::Boolean(flag) => Ok(*flag),
            other => Ok(number_of(other)? == 1),
        }
    }

    pub fn rest(self) -> impl Iterator<Item = &'b ValueRef<'a>> {
        self.values
    }
}

fn bytes_of<'b>(value: &'b ValueRef<'_>) -> Result<&'b [u8], DecodeError> {
    match value {
        ValueRef::String(text) => Ok(text.as_bytes()),
        ValueRef::Binary(bytes) => Ok(bytes),
        _ => Err(DecodeError::Kind { expected: "a text" }),
    }
}

fn number_of(value: &ValueRef<'_>) -> Result<u64, DecodeError> {
    match value {
        ValueRef::Integer(number) => number.as_u64().ok_or(DecodeError::Kind { expected: "a number" }),
        other => number(text_of(bytes_of(other)?)?),
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::Kind { expected: "UTF-8" })
}

fn number(text: &str) -> Result<u64, DecodeError> {
    text.parse().map_err(|_| DecodeError::Number(text.to_owned()))
}

pub(super) fn json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(bytes).map_err(|error| DecodeError::Json(error.to_string()))
}

/// An outcome that has a word of its own.
fn word(word: &[u8]) -> Result<Outcome, DecodeError> {
    match word {
        b"duplicate" => Ok(Outcome::Duplicate),
        b"gone" => Ok(Outcome::Gone),
        b"full" => Ok(Outcome::QueueFull),
        _ => Err(DecodeError::Kind { expected: "an outcome" }),
    }
}

fn filter(text: &str) -> Result<Filter, DecodeError> {
    Filter::new(text).map_err(|_| DecodeError::Topic)
}

fn qos(bytes: &[u8]) -> Result<Qos, DecodeError> {
    match bytes {
        [digit @ b'0'..=b'2'] => Qos::from_bits(digit - b'0').ok_or(DecodeError::Qos),
        _ => Err(DecodeError::Qos),
    }
}

/// A row of a queue by its fields.
pub(super) fn delivery(fields: &[(&[u8], &[u8])]) -> Result<Delivery, DecodeError> {
    let field = |name: &'static str| {
        let found = fields.iter().find(|(field, _)| *field == name.as_bytes());
        found.map(|(_, value)| *value).ok_or(DecodeError::Missing(name))
    };
    let optional = |name: &'static str| field(name).ok();
    let delivered = optional("qos").map_or(Ok(Qos::AtLeastOnce), qos)?;
    let message = Message {
        topic: Topic::new(text_of(field("topic")?)?).map_err(|_| DecodeError::Topic)?,
        payload: bytes::Bytes::copy_from_slice(field("payload")?),
        qos: optional("published_qos").map_or(Ok(delivered), qos)?,
        retain: optional("published_retain").is_some(),
        expires_at: optional("expires_at").map(|at| number(text_of(at)?)).transpose()?.map(UnixMillis),
        properties: optional("properties").map(json).transpose()?,
    };
    let ids = optional("subscription_ids").map_or(Ok(""), text_of)?;
    let id = |text: &str| text.parse().map_err(|_| DecodeError::Number(text.to_owned()));
    let ids: Result<SmallVec<[u32; 1]>, DecodeError> = ids.split_terminator(',').map(id).collect();
    Ok(Delivery {
        message: Arc::new(message),
        qos: delivered,
        retain: optional("retain").is_some(),
        subscription_ids: ids?,
        group: optional("group").map(|text| filter(text_of(text)?)).transpose()?,
    })
}

pub(super) fn owner(bytes: &[u8]) -> Result<Option<Arc<Owner>>, DecodeError> {
    if bytes.is_empty() { Ok(None) } else { json(bytes).map(Some) }
}

/// `{ filter, options, filter, options, ... }`, sorted.
fn subscriptions(mut list: Values) -> Result<Vec<(Filter, SubscriptionOptions)>, DecodeError> {
    let mut found = Vec::new();
    while list.peek().is_some() {
        found.push((filter(list.text()?)?, json(list.bytes()?)?));
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// `{ head, tail, sent, messages, bytes }`.
fn queue_ends(mut list: Values) -> Result<QueueEnds, DecodeError> {
    let (head, tail, sent) = (list.number()?, list.number()?, list.number()?);
    Ok(QueueEnds { head, tail, sent, messages: list.number()?, bytes: list.number()? })
}

/// A value of an outbox: `<generation> <epoch> <expires at or 0> <bytes of owner>\n<owner><message>`.
pub(super) fn outbox_entry(entry: u64, value: &[u8]) -> Result<OutboxEntry, DecodeError> {
    let (head, rest) = text::line(value)?;
    let mut numbers = text_of(head)?.split(' ').skip(1).map(number);
    let mut next = || numbers.next().unwrap_or(Err(DecodeError::Short));
    let (epoch, expires_at, owner_bytes) = (next()?, next()?, next()?);
    let split = rest.split_at_checked(owner_bytes as usize);
    let (owner_json, message) = split.ok_or(DecodeError::Short)?;
    let mut message = text::decode(message)?;
    if expires_at > 0 {
        Arc::make_mut(&mut message).expires_at = Some(UnixMillis(expires_at));
    }
    Ok(OutboxEntry { entry, id: MessageId::outbox(epoch, entry), message, owner: owner(owner_json)? })
}

/// A value of the delayed messages: `<bytes> <epoch> <bytes of realm>\n<realm><message>`.
pub(super) fn delayed_entry(entry: u64, value: &[u8]) -> Result<(Arc<str>, OutboxEntry), DecodeError> {
    let (head, rest) = text::line(value)?;
    let mut numbers = text_of(head)?.split(' ').skip(1).map(number);
    let mut next = || numbers.next().unwrap_or(Err(DecodeError::Short));
    let (epoch, realm_bytes) = (next()?, next()?);
    let (realm, message) = rest.split_at_checked(realm_bytes as usize).ok_or(DecodeError::Short)?;
    let id = MessageId::outbox(epoch, entry);
    let entry = OutboxEntry { entry, id, message: text::decode(message)?, owner: None };
    Ok((text_of(realm)?.into(), entry))
}

/// A value of the retained messages: `<bytes> <change>\n<message>`. One that came by a copy has an epoch of its own as
/// long as the shard has the one it had then: `<bytes> <change> <epoch> <epoch of the shard>\n<message>`.
pub(super) fn retained(epoch: u64, value: &[u8]) -> Result<(Position, Arc<Message>), DecodeError> {
    let (head, message) = text::line(value)?;
    let mut head = text_of(head)?.split(' ').skip(1);
    let change = head.next().ok_or(DecodeError::Short)?;
    let epoch = match (head.next(), head.next()) {
        (Some(own), Some(since)) if number(since)? == epoch => number(own)?,
        _ => epoch,
    };
    Ok((position(epoch, change)?, text::decode(message)?))
}

/// Of which session generation a value of an outbox is.
pub(super) fn outbox_generation(value: &[u8]) -> Result<u64, DecodeError> {
    let (head, _) = text::line(value)?;
    number_of_text(head.split(|byte| *byte == b' ').next().unwrap_or_default())
}

pub(super) fn number_of_text(text: &[u8]) -> Result<u64, DecodeError> {
    number(text_of(text)?)
}

/// The position of an entry of `changes`, `<ms>-<seq>`.
pub(super) fn position(epoch: u64, change: &str) -> Result<Position, DecodeError> {
    let (ms, seq) = change.split_once('-').ok_or(DecodeError::Short)?;
    Ok(Position { epoch, ms: number(ms)?, seq: number(seq)? })
}

/// A session as the functions `scan` and `due` answer it.
pub(super) fn session(mut list: Values) -> Result<Restored, DecodeError> {
    let id = list.text()?;
    let key = super::layout::session_of(id).ok_or_else(|| DecodeError::Name(id.to_owned()))?;
    let is_group = key.kind == crate::SessionKind::Group;
    let fence = Fence { generation: list.number()?, fence: list.number()? };
    let owner = owner(list.bytes()?)?;
    let (persistent, expiry) = (list.flag()?, list.number()?);
    let (detached_at, home, delay) = (list.optional()?, list.optional()?, list.optional()?);
    Ok(Restored {
        key,
        fence,
        owner,
        persistent,
        expiry_seconds: u32::try_from(expiry).unwrap_or(u32::MAX),
        detached_at: if is_group { Some(UnixMillis(0)) } else { detached_at.map(UnixMillis) },
        home,
        has_will: delay.is_some(),
        will_delay_seconds: u32::try_from(delay.unwrap_or(0)).unwrap_or(u32::MAX),
        subscriptions: subscriptions(list.list()?)?,
        queue: queue_ends(list.list()?)?,
        outbox: outbox(list.list()?)?,
    })
}

/// `{ entry, value, entry, value, ... }`, sorted.
fn outbox(mut list: Values) -> Result<Vec<OutboxEntry>, DecodeError> {
    let mut found = Vec::new();
    while list.peek().is_some() {
        let entry = list.number()?;
        found.push(outbox_entry(entry, list.bytes()?)?);
    }
    found.sort_by_key(|entry| entry.entry);
    Ok(found)
}
