//! A record: the compact form of one message on a link.
//!
//! ```text
//! head        1 byte: QoS (bits 0, 1), retain (2), same topic (3), same realm (4), more (5); others 0
//! more        1 byte, if said: expiry (0), properties (1), position (2), numbered (3), share (4),
//!             only named (5); others 0
//! realm       varint length, bytes; not with "same realm" or "same topic"
//! topic       varint length, bytes; not with "same topic"
//! expiry      varint, milliseconds left
//! properties  varint length, bytes
//! position    3 varints: epoch, ms, seq
//! numbered    varint count, then each: a byte of QoS (0, 1), retain (2), group (3); client id; generation;
//!             number; varint count and subscription ids; group if said
//! share       varint length, bytes
//! payload     varint length, bytes
//! ```
//!
//! "Same" means the record before in the same run. The first record of a run says all, so runs can be
//! put one behind the other. Varints are LEB128 of 64 bits at most.

mod decode;
mod varint;

use std::ops::Range;

pub use decode::{Incoming, IncomingCopies, IncomingNumbered, Malformed, Records, SubscriptionIds};
use weir_model::{Position, Properties, Qos};

const HEAD_RETAIN: u8 = 1 << 2;
const HEAD_SAME_TOPIC: u8 = 1 << 3;
const HEAD_SAME_REALM: u8 = 1 << 4;
const HEAD_MORE: u8 = 1 << 5;
const HEAD_UNKNOWN: u8 = 0b1100_0000;

const MORE_EXPIRY: u8 = 1;
const MORE_PROPERTIES: u8 = 1 << 1;
const MORE_POSITION: u8 = 1 << 2;
const MORE_NUMBERED: u8 = 1 << 3;
const MORE_SHARE: u8 = 1 << 4;
const MORE_ONLY_NAMED: u8 = 1 << 5;
const MORE_UNKNOWN: u8 = 0b1100_0000;

/// The most that stands before a payload whose record says nothing more: head, more, length.
const HEAD_BYTES: usize = 12;

const COPY_RETAIN: u8 = 1 << 2;
const COPY_GROUP: u8 = 1 << 3;
const COPY_UNKNOWN: u8 = 0b1111_0000;

/// A message on its way to a peer: borrowed, nothing is copied before it is encoded.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    pub realm: &'a str,
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: Qos,
    pub retain: bool,
    /// Milliseconds it may still live.
    pub expiry_ms_left: Option<u64>,
    /// As [`encode_properties`] made them; `None` when there are none.
    pub properties: Option<&'a [u8]>,
    /// Where the store keeps it as the topic's retained value.
    pub position: Option<Position>,
    /// The copies that lie in queues of sessions or groups the peer serves.
    pub numbered: &'a [Numbered<'a>],
    /// The shared filter the peer picks one of its members for.
    pub share: Option<&'a str>,
    /// It is for nobody but `numbered` and `share`: who else there wants it has it already.
    pub only_named: bool,
}

/// A copy that lies in a stored queue; sending it over the link saves the peer a read.
#[derive(Debug, Clone, Copy)]
pub struct Numbered<'a> {
    pub client_id: &'a str,
    /// The session's generation: a copy for another one is none of its business.
    pub generation: u64,
    /// The place in the queue.
    pub number: u64,
    pub qos: Qos,
    pub retain: bool,
    pub subscription_ids: &'a [u32],
    /// The shared filter whose queue it lies in, if not the session's own.
    pub group: Option<&'a str>,
}

/// A run of records in one buffer: remembers what the next one need not repeat. Good for one buffer, as
/// long as nothing else changes it.
#[derive(Debug, Default)]
pub struct Run {
    realm: Range<usize>,
    topic: Range<usize>,
    messages: u32,
}

impl Run {
    /// Appends one record to `out`. A payload of 64 bytes on the topic of the record before takes 66 bytes.
    pub fn push(&mut self, out: &mut Vec<u8>, message: &Outgoing<'_>) {
        let same_realm = self.messages > 0 && out[self.realm.clone()] == *message.realm.as_bytes();
        let same_topic = same_realm && out[self.topic.clone()] == *message.topic.as_bytes();
        self.put(out, message, same_realm, same_topic);
    }

    /// The same for a message whose realm and topic are those of all before it.
    pub fn push_to_topic(&mut self, out: &mut Vec<u8>, message: &Outgoing<'_>) {
        let same = self.messages > 0;
        self.put(out, message, same, same);
    }

    #[inline]
    fn put(&mut self, out: &mut Vec<u8>, message: &Outgoing<'_>, same_realm: bool, same_topic: bool) {
        let more = more_of(message);
        out.reserve(message.payload.len() + HEAD_BYTES);
        let mut head = message.qos as u8;
        head |= if message.retain { HEAD_RETAIN } else { 0 };
        head |= if more != 0 { HEAD_MORE } else { 0 };
        head |= match (same_topic, same_realm) {
            (true, _) => HEAD_SAME_TOPIC,
            (_, true) => HEAD_SAME_REALM,
            _ => 0,
        };
        out.push(head);
        if more != 0 {
            out.push(more);
        }
        if !same_realm {
            self.realm = put_bytes(out, message.realm.as_bytes());
        }
        if !same_topic {
            self.topic = put_bytes(out, message.topic.as_bytes());
        }
        if more != 0 {
            put_more(out, message);
        }
        put_bytes(out, message.payload);
        self.messages += 1;
    }

    /// Records in the run.
    pub fn messages(&self) -> u32 {
        self.messages
    }
}

/// Appends a run of one record to `out`.
pub fn encode_publish(out: &mut Vec<u8>, message: &Outgoing<'_>) {
    Run::default().push(out, message);
}

fn more_of(message: &Outgoing<'_>) -> u8 {
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    flag(message.expiry_ms_left.is_some(), MORE_EXPIRY)
        | flag(message.properties.is_some(), MORE_PROPERTIES)
        | flag(message.position.is_some(), MORE_POSITION)
        | flag(!message.numbered.is_empty(), MORE_NUMBERED)
        | flag(message.share.is_some(), MORE_SHARE)
        | flag(message.only_named, MORE_ONLY_NAMED)
}

fn put_more(out: &mut Vec<u8>, message: &Outgoing<'_>) {
    if let Some(left) = message.expiry_ms_left {
        varint::put(out, left);
    }
    if let Some(properties) = message.properties {
        put_bytes(out, properties);
    }
    if let Some(Position { epoch, ms, seq }) = message.position {
        for part in [epoch, ms, seq] {
            varint::put(out, part);
        }
    }
    if !message.numbered.is_empty() {
        varint::put(out, message.numbered.len() as u64);
        message.numbered.iter().for_each(|copy| put_numbered(out, copy));
    }
    if let Some(share) = message.share {
        put_bytes(out, share.as_bytes());
    }
}

fn put_numbered(out: &mut Vec<u8>, copy: &Numbered<'_>) {
    let mut flags = copy.qos as u8;
    flags |= if copy.retain { COPY_RETAIN } else { 0 };
    flags |= if copy.group.is_some() { COPY_GROUP } else { 0 };
    out.push(flags);
    put_bytes(out, copy.client_id.as_bytes());
    varint::put(out, copy.generation);
    varint::put(out, copy.number);
    varint::put(out, copy.subscription_ids.len() as u64);
    for id in copy.subscription_ids {
        varint::put(out, u64::from(*id));
    }
    if let Some(group) = copy.group {
        put_bytes(out, group.as_bytes());
    }
}

/// Appends length and bytes; returns where the bytes are.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Range<usize> {
    varint::put(out, bytes.len() as u64);
    let start = out.len();
    out.extend_from_slice(bytes);
    start..out.len()
}

/// The bytes that stand for a message's properties on links.
///
/// `None` if a value cannot be encoded; none of today's is such.
pub fn encode_properties(properties: &Properties) -> Option<Vec<u8>> {
    postcard::to_allocvec(properties).ok()
}

/// What [`encode_properties`] was given.
///
/// # Errors
/// The bytes are something else.
pub fn decode_properties(bytes: &[u8]) -> Result<Properties, Malformed> {
    match postcard::take_from_bytes(bytes) {
        Ok((properties, [])) => Ok(properties),
        Ok((_, rest)) => {
            Err(Malformed { at: bytes.len() - rest.len(), what: "there is something behind the properties" })
        }
        Err(_) => Err(Malformed { at: 0, what: "the properties are none" }),
    }
}

#[cfg(test)]
mod tests;
