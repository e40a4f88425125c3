//! What a store holds, counted and summed up: two stores with the same digest hold the same rows.

use std::fmt;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use weir_model::{Filter, MessageId};
use xxhash_rust::xxh3::Xxh3;

use super::{ClaimCopy, CopyRow, OwedCopy, PartitionCopy, QueueCopy, SessionCopy};
use crate::{Delivery, Record, Retention, RowState, SessionKey, SubscriptionOptions, TableRow};

/// Bounds of streams above this are the same: it is the highest that a Redis is given.
const BOUND_MAX: u64 = 99_999_999_999_999;

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
    /// Of streams.
    Partitions,
    /// How far groups have come in partitions.
    Places,
    /// Message ids by which partitions recognise repeats.
    RecordSeen,
    Records,
    /// Values that groups keep in partitions.
    GroupValues,
    /// Entries of the outboxes of groups.
    GroupOwed,
    /// How far these outboxes have counted.
    GroupOutboxes,
    /// Definitions of streams, groups and the like.
    Tables,
    /// Idempotency keys.
    Claims,
}

impl Kind {
    pub const ALL: [Kind; 18] = [
        Kind::Sessions,
        Kind::Subscriptions,
        Kind::Queued,
        Kind::Received,
        Kind::Seen,
        Kind::Owed,
        Kind::Delayed,
        Kind::DelaySeen,
        Kind::Retained,
        Kind::Partitions,
        Kind::Places,
        Kind::RecordSeen,
        Kind::Records,
        Kind::GroupValues,
        Kind::GroupOwed,
        Kind::GroupOutboxes,
        Kind::Tables,
        Kind::Claims,
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
            Kind::Partitions => "partitions",
            Kind::Places => "group_places",
            Kind::RecordSeen => "record_seen",
            Kind::Records => "records",
            Kind::GroupValues => "group_values",
            Kind::GroupOwed => "group_owed",
            Kind::GroupOutboxes => "group_outboxes",
            Kind::Tables => "table_rows",
            Kind::Claims => "idempotency",
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
            CopyRow::Partition(partition) => self.add_partition(partition),
            CopyRow::Place { key, place } => {
                self.note(Kind::Places, &(key, &place.group, place.fence, &place.progress));
            }
            CopyRow::RecordSeen { key, ids } => {
                for (place, (id, mark)) in ids.iter().rev().enumerate() {
                    self.note(Kind::RecordSeen, &(key, place as u64, id, mark));
                }
            }
            CopyRow::Records { key, records } => {
                for Record { mark, key: of, message } in records {
                    self.note(Kind::Records, &(key, mark, of, message));
                }
            }
            CopyRow::Kept { key, group, values } => {
                values.iter().for_each(|value| self.note(Kind::GroupValues, &(key, group, value)));
            }
            CopyRow::GroupOwed { key, group, entries } => {
                for OwedCopy { entry, id, message } in entries {
                    self.note(Kind::GroupOwed, &(key, group, entry, id, message));
                }
            }
            CopyRow::GroupOutbox { key, group, tail } => {
                self.note(Kind::GroupOutboxes, &(key, group, tail));
            }
            CopyRow::Table(TableRow { table, key, version, value }) => {
                self.note(Kind::Tables, &(table, key, version, value));
            }
            CopyRow::Claim(claim) => {
                let ClaimCopy { realm, topic, key, id, position, until, settled } = &**claim;
                self.note(Kind::Claims, &(realm, topic.as_str(), key, id, position, until, settled));
            }
        }
    }

    fn add_partition(&mut self, partition: &PartitionCopy) {
        let PartitionCopy { key, retention, trimmed, tail, is_sealed } = partition;
        let Retention { records_max, bytes_max, age_max_ms, is_compacted } = *retention;
        let bounds = [records_max, bytes_max, age_max_ms].map(|max| max.min(BOUND_MAX));
        self.note(Kind::Partitions, &(key, bounds, is_compacted, trimmed, tail, is_sealed));
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
