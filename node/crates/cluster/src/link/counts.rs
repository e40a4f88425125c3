//! The account of a link: what was given to it, and what became of it.

use std::sync::atomic::{AtomicU64, Ordering};

/// The account of a link, in messages; repeats and notices are not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken for the peer: they are dropped, lost, arrived, waiting here or on the way.
    pub pushed: u64,
    /// QoS 0 copies that found no room.
    pub dropped: u64,
    /// QoS 0 copies that were on the way when a connection was cut, and all that was left when the link ended.
    pub lost: u64,
    /// What the peer said it has taken; told once a second for QoS 0.
    pub arrived: u64,
    /// Taken from the peer.
    pub received: u64,
}

impl Counts {
    /// What waits here or is on the way.
    pub fn waiting(&self) -> u64 {
        self.pushed.saturating_sub(self.dropped + self.lost + self.arrived)
    }
}

#[derive(Default)]
pub(super) struct Counters {
    pub pushed: AtomicU64,
    pub dropped: AtomicU64,
    pub lost: AtomicU64,
    /// QoS 0 copies given to connections.
    pub sent_frames: AtomicU64,
    /// QoS 0 copies the peer said it took.
    pub arrived_frames: AtomicU64,
    pub confirmed: AtomicU64,
    pub received: AtomicU64,
    /// QoS 0 copies taken under the peer's present numbering.
    pub heard_frames: AtomicU64,
    /// What `arrived_frames` was when the peer began to count anew.
    pub arrived_before: AtomicU64,
}

impl Counters {
    pub fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            pushed: read(&self.pushed),
            dropped: read(&self.dropped),
            lost: read(&self.lost),
            arrived: read(&self.arrived_frames) + read(&self.confirmed),
            received: read(&self.received),
        }
    }
}
