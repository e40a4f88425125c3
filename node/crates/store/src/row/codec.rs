//! Rows as bytes: a layout byte, then postcard. A row that shares its body refers to it by number.

use std::sync::Arc;

use bytes::Bytes;
use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use weir_model::{Filter, Message, Position, Properties, Qos, Topic, UnixMillis};

use super::{Kind, RecordRow, Row, layout1};
use crate::Delivery;

/// The layout of rows written now. Rows of those before are read ([`layout1`]; 2 had fewer kinds) and
/// written anew when they change; others are refused by name. What groups keep and owe came later: a store that has no
/// such rows is read by those who do not know them, one that has is refused by the number of their kind.
pub(crate) const LAYOUT: u8 = 3;
const LAYOUT_2: u8 = 2;

const RELEASED: u8 = 0;
const INLINE: u8 = 1;
const SHARED: u8 = 2;

/// Why bytes are no row.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("layout {found} is not known, only those up to {LAYOUT} are")]
    Layout { found: u8 },
    #[error("kind {kind} is not known")]
    Kind { kind: u8 },
    #[error("body {body} is missing")]
    NoBody { body: u64 },
    #[error("it ends too early")]
    Short,
    #[error("its topic is none")]
    Topic,
    #[error("{0}")]
    Content(#[from] postcard::Error),
}

/// A delivery without its message.
#[derive(Serialize, Deserialize)]
struct Envelope {
    qos: Qos,
    retain: bool,
    subscription_ids: SmallVec<[u32; 1]>,
    group: Option<Filter>,
}

/// Appends the row's bytes.
pub(crate) fn encode(row: &Row, out: &mut Vec<u8>) {
    out.push(LAYOUT);
    match row {
        Row::Applied(row) => put(row, out),
        Row::Meta(row) => put(row, out),
        Row::Session(row) => put(row, out),
        Row::Subscription(row) => put(row, out),
        Row::Ends(row) => put(row, out),
        Row::Received(row) => put(row, out),
        Row::Seen(row) => put(row, out),
        Row::Body(row) => put(row, out),
        Row::Outbox(row) => put(row, out),
        Row::Released => out.push(RELEASED),
        Row::Waiting { delivery, body: 0 } => {
            out.push(INLINE);
            put(delivery, out);
        }
        Row::Waiting { delivery, body } => {
            out.push(SHARED);
            put(&(body, delivery.qos, delivery.retain, &delivery.subscription_ids, &delivery.group), out);
        }
        Row::Delayed { realm, message, epoch } => {
            put(&(realm, message), out);
            // Left out by most: rows of before it was kept end here, and who does not know it does not read it.
            epoch.iter().for_each(|epoch| put(epoch, out));
        }
        Row::Retained { position, message } => put(&(position, message), out),
        Row::Partition(row) => put(row, out),
        Row::PartitionEnds(row) => put(row, out),
        Row::Place(row) => put(row, out),
        Row::RecordSeen(row) => put(row, out),
        Row::Record(row) => put(row, out),
        Row::Cell(row) => put(row, out),
        Row::Claim(row) => put(row, out),
        Row::Kept(value) => out.extend_from_slice(value),
        Row::Owed(row) => put(row, out),
        Row::OwedTail(tail) => put(tail, out),
    }
}

/// Reads a row back. `body` finds a shared message by its number.
pub(crate) fn decode(
    key: &[u8],
    bytes: &[u8],
    body: &mut dyn FnMut(u64) -> Option<Arc<Message>>,
) -> Result<Row, DecodeError> {
    let (layout, bytes) = bytes.split_first().ok_or(DecodeError::Short)?;
    let kind = *key.first().ok_or(DecodeError::Short)?;
    match *layout {
        LAYOUT | LAYOUT_2 => {}
        layout1::LAYOUT if layout1::differs(kind) => return layout1::decode(key, bytes),
        layout1::LAYOUT => {}
        found => return Err(DecodeError::Layout { found }),
    }
    Ok(match kind {
        k if k == Kind::Applied as u8 => Row::Applied(get(bytes)?),
        k if k == Kind::Meta as u8 => Row::Meta(get(bytes)?),
        k if k == Kind::Session as u8 => Row::Session(get(bytes)?),
        k if k == Kind::Subscription as u8 => Row::Subscription(get(bytes)?),
        k if k == Kind::Ends as u8 => Row::Ends(get(bytes)?),
        k if k == Kind::Received as u8 => Row::Received(get(bytes)?),
        k if k == Kind::Seen as u8 || k == Kind::DelaySeen as u8 => Row::Seen(get(bytes)?),
        k if k == Kind::Body as u8 => Row::Body(get(bytes)?),
        k if k == Kind::Outbox as u8 => Row::Outbox(get(bytes)?),
        k if k == Kind::Queue as u8 => decode_queued(bytes, body)?,
        k if k == Kind::Delayed as u8 => {
            let ((realm, message), rest) = postcard::take_from_bytes(bytes)?;
            let epoch = if rest.is_empty() { None } else { Some(get(rest)?) };
            Row::Delayed { realm, message, epoch }
        }
        k if k == Kind::Retained as u8 => {
            let (position, message): (Position, Arc<Message>) = get(bytes)?;
            Row::Retained { position, message }
        }
        k if k == Kind::Partition as u8 => Row::Partition(get(bytes)?),
        k if k == Kind::PartitionEnds as u8 => Row::PartitionEnds(get(bytes)?),
        k if k == Kind::Place as u8 => Row::Place(get(bytes)?),
        k if k == Kind::RecordSeen as u8 => Row::RecordSeen(get(bytes)?),
        k if k == Kind::Record as u8 => Row::Record(get(bytes)?),
        k if k == Kind::Cell as u8 => Row::Cell(get(bytes)?),
        k if k == Kind::Claim as u8 => Row::Claim(get(bytes)?),
        k if k == Kind::Kept as u8 => Row::Kept(Bytes::copy_from_slice(bytes)),
        k if k == Kind::Owed as u8 => Row::Owed(get(bytes)?),
        k if k == Kind::OwedTail as u8 => Row::OwedTail(get(bytes)?),
        kind => return Err(DecodeError::Kind { kind }),
    })
}

/// A record's row without what it is read into: the same bytes as [`RecordRow`].
#[derive(Deserialize)]
struct Borrowed<'a> {
    position: Position,
    key: &'a [u8],
    #[serde(borrow)]
    message: BorrowedMessage<'a>,
}

#[derive(Deserialize)]
struct BorrowedMessage<'a> {
    topic: &'a str,
    payload: &'a [u8],
    qos: Qos,
    retain: bool,
    expires_at: Option<UnixMillis>,
    properties: Option<Box<Properties>>,
}

/// Reads a record back. Those that follow one another mostly have the same topic: it is shared with the one before.
pub(crate) fn decode_record(bytes: &[u8], topic: &mut Option<Topic>) -> Result<RecordRow, DecodeError> {
    let (layout, bytes) = bytes.split_first().ok_or(DecodeError::Short)?;
    if *layout != LAYOUT {
        return Err(DecodeError::Layout { found: *layout });
    }
    let Borrowed { position, key, message } = get(bytes)?;
    let known = match topic.take().filter(|known| known.as_str() == message.topic) {
        Some(known) => known,
        None => Topic::new(message.topic).map_err(|_| DecodeError::Topic)?,
    };
    *topic = Some(known.clone());
    let BorrowedMessage { payload, qos, retain, expires_at, properties, .. } = message;
    let payload = Bytes::copy_from_slice(payload);
    let message = Arc::new(Message { topic: known, payload, qos, retain, expires_at, properties });
    Ok(RecordRow { position, key: Bytes::copy_from_slice(key), message })
}

fn decode_queued(
    bytes: &[u8],
    body: &mut dyn FnMut(u64) -> Option<Arc<Message>>,
) -> Result<Row, DecodeError> {
    let (tag, bytes) = bytes.split_first().ok_or(DecodeError::Short)?;
    match *tag {
        RELEASED => Ok(Row::Released),
        INLINE => Ok(Row::Waiting { delivery: get(bytes)?, body: 0 }),
        SHARED => {
            let (number, envelope): (u64, Envelope) = get(bytes)?;
            let message = body(number).ok_or(DecodeError::NoBody { body: number })?;
            let Envelope { qos, retain, subscription_ids, group } = envelope;
            let delivery = Delivery { message, qos, retain, subscription_ids, group };
            Ok(Row::Waiting { delivery, body: number })
        }
        kind => Err(DecodeError::Kind { kind }),
    }
}

/// Postcard's way out into a buffer that is used again and again.
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

fn put<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    let written = postcard::serialize_with_flavor(value, Append(out));
    // Every type of a row has a known length, and the buffer grows: postcard has no other error.
    debug_assert!(written.is_ok(), "a row that postcard cannot write");
}

pub(super) fn get<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    Ok(postcard::from_bytes(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::number_key;

    #[test]
    fn a_row_reads_back_as_it_was_inline_and_shared() {
        let message = Arc::new(Message {
            topic: Topic::new("a/b").unwrap(),
            payload: Bytes::from_static(b"payload"),
            qos: Qos::ExactlyOnce,
            retain: true,
            expires_at: None,
            properties: None,
        });
        let delivery = Delivery {
            message: message.clone(),
            qos: Qos::AtLeastOnce,
            retain: false,
            subscription_ids: SmallVec::from_slice(&[3, 4]),
            group: Some(Filter::new("$share/g/a/+").unwrap()),
        };
        let key = number_key(Kind::Queue, 1, 2);
        for body in [0, 9] {
            let row = Row::Waiting { delivery: delivery.clone(), body };
            let mut bytes = Vec::new();
            encode(&row, &mut bytes);
            let read = decode(&key, &bytes, &mut |n| (n == 9).then(|| message.clone()));
            assert_eq!(read.unwrap(), row);
        }
    }

    #[test]
    fn a_record_reads_back_the_same_both_ways() {
        let properties = Properties { user: vec![("a".into(), "b".into())], ..Properties::default() };
        let mut topic = None;
        for (name, properties) in [("a/b", None), ("a/b", Some(Box::new(properties))), ("c", None)] {
            let message = Arc::new(Message {
                topic: Topic::new(name).unwrap(),
                payload: Bytes::from_static(b"payload"),
                qos: Qos::ExactlyOnce,
                retain: true,
                expires_at: Some(UnixMillis(5)),
                properties,
            });
            let position = Position { epoch: 1, ms: 2, seq: 3 };
            let row = RecordRow { position, key: Bytes::from_static(b"key"), message };
            let mut bytes = Vec::new();
            encode(&Row::Record(row.clone()), &mut bytes);
            assert_eq!(decode_record(&bytes, &mut topic).unwrap(), row);
            let key = number_key(Kind::Record, 1, 2);
            assert_eq!(decode(&key, &bytes, &mut |_| None).unwrap(), Row::Record(row));
        }
    }
}
