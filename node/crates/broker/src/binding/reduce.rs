//! Worlds `reducer` and `merging-reducer`: map-reduce over a stream, each step a record that is handled effectively once.
//!
//! A record of the source is mapped, and what it gives to each key goes through the outbox into a stream of the binding's
//! own, in which the records of a key are in order. There the key's state is reduced, kept in one step with the record's
//! end, and published as the retained value of `$view/<binding>/<key>`. Of a merging reducer each partition of the source
//! is reduced by itself; the states go through the same stream once more and are merged.

mod fold;
mod map;
mod own;
mod topics;

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use weir_model::{Message, Properties, Qos, Topic, UnixMillis};
use weir_runtime::Moment;
use weir_store::{KEPT_KEY_BYTES_MAX, KEPT_VALUE_BYTES_MAX};

use super::logs::CallResult;
use super::work::{Wrong, mark};

pub(super) use fold::fold;
pub(super) use map::map;
use topics::{own_filter, view_filter};
pub(super) use topics::{own_group, own_stream};

/// What a record of the source gives to one key: the payload of a record of the binding's own stream, in postcard.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Given<'a> {
    cause: Cause,
    /// Each value with its weight.
    #[serde(borrow)]
    values: Vec<(&'a [u8], i32)>,
}

/// The state of a key as one partition of the source has made it, on its way to be merged; in postcard.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Partial<'a> {
    cause: Cause,
    partition: u32,
    /// `None` = the key is no more.
    #[serde(borrow)]
    state: Option<&'a [u8]>,
}

/// The record of the source that something follows from: time and chance go by it, so that a replay computes the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Cause {
    id: (u64, u64),
    published_at: u64,
}

impl Cause {
    fn moment(self) -> Moment {
        Moment { now: UnixMillis(self.published_at), id: self.id }
    }
}

/// What is kept, by the first byte of its key.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Place {
    /// What the newest record with a key has given, under that key.
    Mapped = b'v',
    /// The state of a key, under the partition of the source and the key.
    State = b's',
    /// The same of a merging reducer, where it is merged.
    Partial = b'p',
    /// Which partitions have such a state of a key, under that key.
    Partitions = b'i',
}

impl Place {
    fn key(self, partition: Option<u32>, key: &[u8]) -> Result<Bytes, Wrong> {
        let mut kept = vec![self as u8];
        kept.extend(partition.iter().flat_map(|partition| partition.to_be_bytes()));
        kept.extend(key);
        if kept.len() > KEPT_KEY_BYTES_MAX {
            let text = format!("a key of {} bytes is too long for what is kept under it", key.len());
            return Err((text, CallResult::BadOutput));
        }
        Ok(kept.into())
    }
}

/// A value that may be kept.
fn bounded(value: Vec<u8>, what: &str) -> Result<Bytes, Wrong> {
    if value.len() > KEPT_VALUE_BYTES_MAX {
        let text = format!(
            "{what} has {} bytes, more than the {KEPT_VALUE_BYTES_MAX} that can be kept",
            value.len()
        );
        return Err((text, CallResult::BadOutput));
    }
    Ok(value.into())
}

/// A message of the binding's own.
fn message(cause: &Message, topic: Topic, payload: Bytes, retain: bool, hops: u32) -> Arc<Message> {
    let mut properties = Box::<Properties>::default();
    mark(cause, &mut properties, hops);
    Arc::new(Message {
        topic,
        payload,
        qos: Qos::AtLeastOnce,
        retain,
        expires_at: None,
        properties: Some(properties),
    })
}

/// What these types cannot fail to be written as.
fn written<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).unwrap_or_default()
}
