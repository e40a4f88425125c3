//! What the generator's threads and the one who measures them share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::histogram::Histogram;
use super::lead::Lead;

/// Counters and switches of one run.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) counters: Counters,
    /// What all times in payloads count from.
    epoch: Instant,
    is_stopping: AtomicBool,
    is_recording: AtomicBool,
    latencies: Mutex<Histogram>,
    receivers_per_message: u64,
    lead: Mutex<Lead>,
}

/// Counted since the start, in messages and connections. Written once per read or write, not per message.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) published: AtomicU64,
    pub(super) acknowledged: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) disconnected: AtomicU64,
    /// Publishers that have something to send or to wait for.
    pub(super) busy_publishers: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Snapshot {
    pub(super) published: u64,
    pub(super) acknowledged: u64,
    pub(super) delivered: u64,
    pub(super) refused: u64,
    pub(super) disconnected: u64,
}

impl Shared {
    pub(super) fn new(receivers_per_message: u64) -> Shared {
        Shared {
            counters: Counters::default(),
            epoch: Instant::now(),
            is_stopping: AtomicBool::new(false),
            is_recording: AtomicBool::new(false),
            latencies: Mutex::new(Histogram::default()),
            receivers_per_message,
            lead: Mutex::new(Lead::default()),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.epoch.elapsed()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let counters = &self.counters;
        Snapshot {
            published: counters.published.load(Relaxed),
            acknowledged: counters.acknowledged.load(Relaxed),
            delivered: counters.delivered.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            disconnected: counters.disconnected.load(Relaxed),
        }
    }

    /// Deliveries owed for all that was published and not refused.
    pub(super) fn owed(&self) -> u64 {
        let published = self.counters.published.load(Relaxed);
        published.saturating_sub(self.counters.refused.load(Relaxed)) * self.receivers_per_message
    }

    /// Whether publishers are not too far ahead of the deliveries.
    pub(super) fn may_publish(&self) -> bool {
        let mut lead = self.lead.lock().unwrap_or_else(PoisonError::into_inner);
        lead.allows(self.elapsed(), self.owed(), self.counters.delivered.load(Relaxed))
    }

    /// Publishers begin nothing new.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Relaxed)
    }

    pub(super) fn record_latencies(&self, is_recording: bool) {
        self.is_recording.store(is_recording, Relaxed);
    }

    /// Adds the latencies of one read, if they are wanted now.
    pub(super) fn add_latencies(&self, sent: &[u64]) {
        if sent.is_empty() || !self.is_recording.load(Relaxed) {
            return;
        }
        let now = self.elapsed().as_nanos() as u64;
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        sent.iter().for_each(|sent| latencies.record(now.saturating_sub(*sent)));
    }

    pub(super) fn latencies(&self) -> Histogram {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
