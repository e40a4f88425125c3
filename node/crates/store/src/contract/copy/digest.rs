//! What a store holds, counted and summed up: two stores with the same digest hold the same rows.

use std::fmt;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use weir_model::{Filter, MessageId};
use xxhash_rust::xxh3::Xxh3;

use super::{CopyRow, QueueCopy, SessionCopy};
use crate::{Delivery, RowState, SessionKey, SubscriptionOptions};

/// A kind of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Sessions and share groups, with their wills.
    Sessions,
    Subscriptions,
    /// Rows of queues.
    Queued,
    /// Incoming QoS 2 packet ids that are not released.
    Received,
    /// Message ids by which sessions recognise repeats.
    Seen,
    /// Wills that wait for being published.
    Owed,
    Delayed,
    /// Message ids by which repeats of delayed publishes are recognised.
    DelaySeen,
    Retained,
}

impl Kind {
    pub const ALL: [Kind; 9] = [
        Kind::Sessions,
        Kind::Subscriptions,
        Kind::Queued,
        Kind::Received,
        Kind::Seen,
        Kind::Owed,
        Kind::Delayed,
        Kind::DelaySeen,
        Kind::Retained,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Sessions => "sessions",
            Kind::Subscriptions => "subscriptions",
            Kind::Queued => "queued",
            Kind::Received => "received",
            Kind::Seen => "seen",
            Kind::Owed => "owed",
            Kind::Delayed => "delayed",
            Kind::DelaySeen => "delay_seen",
            Kind::Retained => "retained",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The rows of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub rows: u64,
    /// The sum of the rows' 128-bit hashes: in what order they came does not matter.
    pub checksum: u128,
}

/// The rows of all kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest {
    tallies: [Tally; Kind::ALL.len()],
}

impl Digest {
    pub fn of(&self, kind: Kind) -> Tally {
        self.tallies[kind as usize]
    }

    pub fn tallies(&self) -> impl Iterator<Item = (Kind, Tally)> {
        Kind::ALL.into_iter().zip(self.tallies)
    }

    /// Rows of all kinds.
    pub fn rows(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.rows).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    pub fn add(&mut self, row: &CopyRow) {
        match row {
            CopyRow::Session(session) => self.add_session(session),
            CopyRow::Queue { key, generation, rows } => {
                rows.iter().for_each(|row| self.add_queued(key, *generation, row));
            }
            CopyRow::Owed { key, generation, entry } => {
                self.note(
                    Kind::Owed,
                    &(key, generation, entry.entry, entry.id, &entry.message, &entry.owner),
                );
            }
            // Far times lose digits where timers are kept as floating-point numbers.
            CopyRow::Delayed { realm, due, entry } => {
                self.note(Kind::Delayed, &(realm, due.0 as f64, entry.entry, entry.id, &entry.message));
            }
            CopyRow::DelaySeen(ids) => ids.iter().for_each(|id| self.note(Kind::DelaySeen, id)),
            CopyRow::Retained { realm, topic, position, message } => {
                self.note(Kind::Retained, &(realm, topic.as_str(), position, message));
            }
        }
    }

    fn add_session(&mut self, session: &SessionCopy) {
        let SessionCopy { key, fence, owner, persistent, expiry_seconds, will, left, .. } = session;
        let SessionCopy { tail, uses, subscriptions, received, seen, .. } = session;
        let left = left.as_ref().map(|left| (left.at, left.sent, left.expires_at, left.will_at));
        let whole = (key, fence, owner, persistent, expiry_seconds, will, left, tail, uses);
        self.note(Kind::Sessions, &whole);
        for (filter, options) in subscriptions {
            let row: (u64, &Filter, &SubscriptionOptions) = (fence.generation, filter, options);
            self.note(Kind::Subscriptions, &row);
        }
        for (packet_id, uses) in received {
            self.note(Kind::Received, &(fence.generation, packet_id, uses));
        }
        for (place, id) in seen.iter().rev().enumerate() {
            let row: (u64, u64, &MessageId) = (fence.generation, place as u64, id);
            self.note(Kind::Seen, &row);
        }
    }

    fn add_queued(&mut self, key: &SessionKey, generation: u64, row: &QueueCopy) {
        let delivery: Option<&Delivery> = match &row.state {
            RowState::Waiting(delivery) => Some(delivery),
            RowState::Released => None,
        };
        self.note(Kind::Queued, &(key, generation, row.number, delivery));
    }

    fn note(&mut self, kind: Kind, row: &impl Serialize) {
        let hash = postcard::serialize_with_flavor(row, Hash(Xxh3::new()));
        // Every type of a row has a known length: postcard has no other error.
        debug_assert!(hash.is_ok(), "a row that postcard cannot write");
        let tally = &mut self.tallies[kind as usize];
        tally.rows += 1;
        tally.checksum = tally.checksum.wrapping_add(hash.unwrap_or_default());
    }
}

/// Postcard's way into a hash.
struct Hash(Xxh3);

impl Flavor for Hash {
    type Output = u128;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.update(&[byte]);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.update(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<u128> {
        Ok(self.0.digest128())
    }
}
