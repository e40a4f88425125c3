//! What a store counts, by handles kept for its life.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

use crate::Refusal;

#[derive(Clone)]
pub(crate) struct Counters {
    commits: Counter,
    commit_records: Counter,
    commit_seconds: Histogram,
    queue_dropped: Counter,
    refused: [Counter; 6],
}

impl Counters {
    pub fn new() -> Counters {
        Counters {
            commits: counter!("weir_store_commits_total"),
            commit_records: counter!("weir_store_commit_records_total"),
            commit_seconds: histogram!("weir_store_commit_seconds"),
            queue_dropped: counter!("weir_store_queue_dropped_total"),
            refused: ["fenced", "not_owner", "disk_full", "queue_refuses", "unavailable", "unknown"]
                .map(|reason| counter!("weir_store_refused_total", "reason" => reason)),
        }
    }

    pub fn committed(&self, records: usize, dropped: u64, took: Duration) {
        self.commits.increment(1);
        self.commit_records.increment(records as u64);
        self.commit_seconds.record(took.as_secs_f64());
        if dropped > 0 {
            self.queue_dropped.increment(dropped);
        }
    }

    pub fn refused(&self, refusal: Refusal, steps: usize) {
        let place = match refusal {
            Refusal::Fenced => 0,
            Refusal::NotOwner => 1,
            Refusal::DiskFull => 2,
            Refusal::QueueRefuses => 3,
            Refusal::Unavailable => 4,
            Refusal::Unknown => 5,
        };
        self.refused[place].increment(steps as u64);
    }
}
