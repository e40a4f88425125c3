//! Rows: what the tables of a store hold, and the keys they lie under.
//!
//! A key is one kind byte and what names the row within its kind, big-endian, so that byte order is
//! the order of reading: sessions before what belongs to them, bodies before the queues that refer to
//! them, queue rows by number.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use weir_model::{Message, MessageId, Position, UnixMillis};

use crate::{Delivery, Owner, PartitionEnds, SessionKey, SessionKind, SubscriptionOptions, Will};

pub(crate) mod codec;
mod layout1;
mod stream;

pub(crate) use stream::{CellRow, ClaimRow, OwedRow, PartitionRow, PlaceRow, RecordRow, SeenRow};

/// Where a row lies. Numbered keys fit without an allocation.
pub(crate) type Key = SmallVec<[u8; 24]>;

/// The first byte of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Sequence of the commit up to which the tables are complete.
    Applied = 1,
    Meta = 2,
    Session = 3,
    Subscription = 4,
    Ends = 5,
    Received = 6,
    Seen = 7,
    Body = 8,
    Queue = 9,
    Outbox = 10,
    Delayed = 11,
    DelaySeen = 12,
    Retained = 13,
    /// What a partition is; what belongs to it lies under its id.
    Partition = 14,
    PartitionEnds = 15,
    /// How far a group has come in a partition.
    Place = 16,
    RecordSeen = 17,
    Record = 18,
    /// A row of a [`crate::Table`].
    Cell = 19,
    Claim = 20,
    /// A value that a group keeps in a partition.
    Kept = 21,
    /// An entry of a group's outbox in a partition.
    Owed = 22,
    OwedTail = 23,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Row {
    Applied(Applied),
    Meta(Meta),
    Session(Box<SessionRow>),
    Subscription(SubscriptionOptions),
    Ends(Ends),
    /// Which use of its packet id an incoming QoS 2 message is.
    Received(u64),
    Seen(Seen),
    Body(Arc<Message>),
    /// `body` is 0 when the message is stored in the row itself.
    Waiting {
        delivery: Delivery,
        body: u64,
    },
    Released,
    Outbox(Box<OutboxRow>),
    Delayed {
        realm: Arc<str>,
        message: Arc<Message>,
        /// Of its id, when it was delayed in another store; `None` = the store's own.
        epoch: Option<u64>,
    },
    Retained {
        position: Position,
        message: Arc<Message>,
    },
    Partition(Box<PartitionRow>),
    /// Lets go of every record up to `trimmed`; when this row is deleted, of all.
    PartitionEnds(Box<PartitionEnds>),
    Place(Box<PlaceRow>),
    RecordSeen(Box<SeenRow>),
    Record(RecordRow),
    Cell(Box<CellRow>),
    Claim(Box<ClaimRow>),
    Kept(Bytes),
    Owed(Box<OwedRow>),
    /// The newest entry ever given.
    OwedTail(u64),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    pub sequence: u64,
    pub at: UnixMillis,
}

/// What the store knows of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub epoch: u64,
    /// Generations, fences and entries below this may have been given.
    pub reserved: u64,
    /// No share group has ever given a queue number above this and been forgotten.
    pub group_base: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SessionRow {
    pub generation: u64,
    pub fence: u64,
    pub owner: Option<Arc<Owner>>,
    pub persistent: bool,
    pub expiry_seconds: u32,
    pub will: Option<Will>,
    pub detached: Option<Detached>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Detached {
    pub at: UnixMillis,
    pub sent: u64,
    pub expires_at: Option<UnixMillis>,
    pub will_at: Option<UnixMillis>,
}

/// What a session's rows alone do not tell after they are gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ends {
    pub tail: u64,
    /// Packet id uses up to here may have been counted.
    pub uses_reserved: u64,
}

/// One place in a ring of message ids; `at` counts the ids ever put into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub at: u64,
    pub id: MessageId,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OutboxRow {
    pub key: SessionKey,
    pub generation: u64,
    pub id: MessageId,
    pub message: Arc<Message>,
    pub owner: Option<Arc<Owner>>,
}

/// One change of the tables.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub key: Key,
    pub change: Change,
}

#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A row under a key that never had one.
    Fresh(Row),
    Put(Row),
    Delete,
}

pub(crate) fn kind_key(kind: Kind) -> Key {
    SmallVec::from_slice(&[kind as u8])
}

pub(crate) fn id_key(kind: Kind, id: u64) -> Key {
    let mut key = kind_key(kind);
    key.extend_from_slice(&id.to_be_bytes());
    key
}

pub(crate) fn number_key(kind: Kind, id: u64, number: u64) -> Key {
    let mut bytes = [0; 17];
    bytes[0] = kind as u8;
    bytes[1..9].copy_from_slice(&id.to_be_bytes());
    bytes[9..].copy_from_slice(&number.to_be_bytes());
    SmallVec::from_slice(&bytes)
}

/// A value that a group keeps: the id of its partition, the number of its place, the value's own key. Read in the order
/// of these.
pub(crate) fn kept_key(id: u64, place: u64, name: &[u8]) -> Key {
    let mut key = number_key(Kind::Kept, id, place);
    key.extend_from_slice(name);
    key
}

/// An entry of the outbox that a group has in a partition.
pub(crate) fn owed_key(id: u64, place: u64, entry: u64) -> Key {
    let mut key = number_key(Kind::Owed, id, place);
    key.extend_from_slice(&entry.to_be_bytes());
    key
}

/// What stands behind the two numbers of a [`kept_key`] or an [`owed_key`].
pub(crate) fn effect_of(key: &[u8]) -> Option<&[u8]> {
    key.get(17..)
}

/// Kind, id and text: a subscription of a generation.
pub(crate) fn text_key(kind: Kind, id: u64, text: &str) -> Key {
    let mut key = id_key(kind, id);
    key.extend_from_slice(text.as_bytes());
    key
}

pub(crate) fn session_key(session: &SessionKey) -> Key {
    let mut key = realm_key(Kind::Session, &session.realm);
    key.push(match session.kind {
        SessionKind::Client => 0,
        SessionKind::Group => 1,
    });
    key.extend_from_slice(session.name.as_bytes());
    key
}

pub(crate) fn retained_key(realm: &str, topic: &str) -> Key {
    let mut key = realm_key(Kind::Retained, realm);
    key.extend_from_slice(topic.as_bytes());
    key
}

/// Kind and the realm behind its length. Names of realms longer than 64 KiB share what follows.
fn realm_key(kind: Kind, realm: &str) -> Key {
    let mut key = kind_key(kind);
    let length = u16::try_from(realm.len()).unwrap_or(u16::MAX);
    key.extend_from_slice(&length.to_be_bytes());
    key.extend_from_slice(&realm.as_bytes()[..usize::from(length)]);
    key
}

/// The id and the number of a [`number_key`], or the id alone of an [`id_key`].
pub(crate) fn numbers_of(key: &[u8]) -> Option<(u64, u64)> {
    let id = u64::from_be_bytes(key.get(1..9)?.try_into().ok()?);
    let number = match key.get(9..17) {
        Some(bytes) => u64::from_be_bytes(bytes.try_into().ok()?),
        None => 0,
    };
    Some((id, number))
}

/// The text behind the id of a [`text_key`].
pub(crate) fn text_of(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(9..)?).ok()
}

pub(crate) fn session_of(key: &[u8]) -> Option<SessionKey> {
    let (realm, rest) = realm_of(key)?;
    let (kind, name) = rest.split_first()?;
    let kind = match kind {
        0 => SessionKind::Client,
        1 => SessionKind::Group,
        _ => return None,
    };
    Some(SessionKey { realm: realm.into(), kind, name: std::str::from_utf8(name).ok()?.into() })
}

pub(crate) fn retained_of(key: &[u8]) -> Option<(&str, &str)> {
    let (realm, rest) = realm_of(key)?;
    Some((realm, std::str::from_utf8(rest).ok()?))
}

fn realm_of(key: &[u8]) -> Option<(&str, &[u8])> {
    let length = usize::from(u16::from_be_bytes(key.get(1..3)?.try_into().ok()?));
    Some((std::str::from_utf8(key.get(3..3 + length)?).ok()?, key.get(3 + length..)?))
}
