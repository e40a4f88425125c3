//! Streams: topics captured durably, to be read again by anybody, alone or in groups.
//!
//! A stream is a definition, mirrored from the store's table by every node, and partitions that records are appended to
//! by the publish that brings them: [`capture`] is part of its plan, and of its acknowledgement.

pub mod capture;
pub mod catalog;
pub mod definition;
pub mod following;
pub mod group;
pub mod history;
pub mod janitor;
pub mod key;
pub mod manage;
pub mod reader;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use weir_store::{Mark, PartitionKey};

pub use catalog::Streams;
pub use definition::{Definition, Spec};
pub use manage::StreamError;

/// What a filter begins with that reads a stream: its name follows.
pub const FILTER_PREFIX: &str = "$stream/";

/// A stream as this node knows it: one version of its definition.
pub struct Stream {
    pub realm: Arc<str>,
    pub name: Arc<str>,
    /// The version of its row; each change has a higher one.
    pub version: u64,
    pub definition: Definition,
    /// What follows the stream through its versions.
    life: Arc<Life>,
}

/// What stays the same while definitions change.
#[derive(Default)]
struct Life {
    /// Rung when records were appended, and when the definition changed or is gone.
    bell: Notify,
    /// Counts the rings.
    rings: AtomicU64,
}

impl Stream {
    /// Whether it is a version of the same stream, and not one made anew under its name.
    pub fn is_same(&self, other: &Stream) -> bool {
        Arc::ptr_eq(&self.life, &other.life)
    }

    /// A partition of its newest generation.
    pub fn partition(&self, partition: u32) -> PartitionKey {
        self.partition_of(self.generation(), partition)
    }

    /// A partition of any generation.
    pub fn partition_of(&self, generation: u64, partition: u32) -> PartitionKey {
        PartitionKey { realm: self.realm.clone(), stream: self.name.clone(), generation, partition }
    }

    /// The generation that takes records.
    pub fn generation(&self) -> u64 {
        self.definition.generation_of(self.version)
    }

    /// Every generation that may hold records, oldest first, and how many partitions it has.
    pub fn generations(&self) -> impl DoubleEndedIterator<Item = (u64, u32)> {
        let earlier = self.definition.earlier.iter().map(|earlier| (earlier.generation, earlier.partitions));
        earlier.chain([(self.generation(), self.definition.partitions)])
    }

    /// All partitions of these.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionKey> {
        let all = self.generations().flat_map(|(generation, count)| (0..count).map(move |n| (generation, n)));
        all.map(|(generation, partition)| self.partition_of(generation, partition))
    }

    /// How often it has grown or changed; see [`Stream::grown`].
    pub fn rings(&self) -> u64 {
        self.life.rings.load(Ordering::Acquire)
    }

    /// Waits until it has grown or changed since `rings` was read.
    pub async fn grown(&self, rings: u64) {
        loop {
            let rung = self.life.bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            if self.rings() != rings {
                return;
            }
            rung.await;
        }
    }

    fn ring(&self) {
        self.life.rings.fetch_add(1, Ordering::AcqRel);
        self.life.bell.notify_waiters();
    }

    /// A partition has records up to here, or is gone.
    fn appended(&self, _key: &PartitionKey, _tail: Option<Mark>) {
        self.ring();
    }
}
