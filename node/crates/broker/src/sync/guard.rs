//! A guard: who waits at a topic, whose will lies on its value, and what was granted and is still to be handed out.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use weir_model::{Message, MessageId, Position, UnixMillis};

/// The form of what is written. Others are not read.
const LAYOUT: u8 = 1;

/// A session as guards know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holder {
    pub client_id: Arc<str>,
    /// Of a stored session its generation, of another one the connection at its node.
    pub number: u64,
    pub is_stored: bool,
    /// The node that looks after it: of one that is not stored the only one that knows whether it lives.
    pub home: u64,
}

impl Holder {
    /// Whether it is the same session, wherever it is at home.
    pub fn is(&self, other: &Holder) -> bool {
        let is_here = self.is_stored || self.home == other.home;
        self.client_id == other.client_id
            && self.number == other.number
            && self.is_stored == other.is_stored
            && is_here
    }
}

/// By what a publish that comes again is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// It is not.
    Once,
    /// The packet id of QoS 1, and a hash of what it brings: the id may be used again for something else.
    Packet { packet_id: u16, digest: u64 },
    /// As the session's slot knows it (QoS 2).
    Received(MessageId),
    /// Its publisher and the idempotency key.
    Key(Arc<str>),
}

/// A publish that waits for its condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiter {
    pub id: MessageId,
    pub holder: Holder,
    pub request: Request,
    pub message: Arc<Message>,
    /// As JSON text.
    pub when: Arc<str>,
    pub will: Option<Bytes>,
    pub will_id: MessageId,
    /// When it has waited long enough; `None` = never.
    pub until: Option<UnixMillis>,
}

/// What a session leaves to its end; empty = the value is deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Will {
    pub holder: Holder,
    pub payload: Bytes,
    /// Under which it is published, at every try.
    pub id: MessageId,
}

/// Where something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// It is no retained value.
    Nowhere,
    /// With this one of the values that came with the guard.
    With(u32),
    At(Position),
}

impl Place {
    pub fn position(self) -> Option<Position> {
        match self {
            Place::At(position) => Some(position),
            Place::Nowhere | Place::With(_) => None,
        }
    }

    pub fn resolve(&mut self, positions: &[Position]) {
        if let Place::With(at) = *self {
            *self = positions.get(at as usize).map_or(Place::Nowhere, |position| Place::At(*position));
        }
    }
}

/// Accepted, and not yet given to its receivers: an entry of the outbox of the topic's family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Owed {
    pub id: MessageId,
    pub message: Arc<Message>,
    pub place: Place,
    /// The node that is to hand it out, or whoever acts for it.
    pub home: u64,
}

/// What a publish was answered that may come again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    pub id: MessageId,
    pub holder: Holder,
    pub request: Request,
    pub place: Place,
    pub until: UnixMillis,
}

/// All that is noted at one topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    pub will: Option<Will>,
    /// In the order in which they came.
    pub waiters: Vec<Waiter>,
    /// In the order in which they were accepted.
    pub owed: Vec<Owed>,
    /// The oldest first.
    pub done: Vec<Done>,
}

impl Guard {
    /// As it is stored; `None` = there is nothing to store.
    pub fn encode(&self) -> Option<Bytes> {
        if *self == Guard::default() {
            return None;
        }
        // Texts, numbers and lists: postcard has a form for each.
        let written = postcard::to_extend(self, vec![LAYOUT]);
        debug_assert!(written.is_ok(), "a guard that postcard cannot write");
        written.ok().map(Bytes::from)
    }

    /// Reads one back; `positions` are of the values that came with it.
    pub fn decode(bytes: &[u8], positions: &[Position]) -> Option<Guard> {
        let (layout, bytes) = bytes.split_first()?;
        let guard: Guard = (*layout == LAYOUT).then(|| postcard::from_bytes(bytes).ok())??;
        Some(guard.resolved(positions))
    }

    /// The same, with the places of the values that came with it.
    pub fn resolved(mut self, positions: &[Position]) -> Guard {
        self.owed.iter_mut().for_each(|owed| owed.place.resolve(positions));
        self.done.iter_mut().for_each(|done| done.place.resolve(positions));
        self
    }

    /// Every session that something here depends on, the first time it is named.
    pub fn holders(&self) -> Vec<&Holder> {
        let all = self.will.iter().map(|will| &will.holder);
        let all = all.chain(self.waiters.iter().map(|waiter| &waiter.holder));
        let all = all.chain(self.done.iter().map(|done| &done.holder));
        let mut found: Vec<&Holder> = Vec::new();
        for holder in all {
            if !found.iter().any(|known| known.is(holder)) {
                found.push(holder);
            }
        }
        found
    }
}
