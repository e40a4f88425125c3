//! What a store counts, by handles kept for its life.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use parking_lot::Mutex;

use crate::{Account, Refusal};

pub(crate) struct Counters {
    commits: Counter,
    commit_records: Counter,
    commit_seconds: Histogram,
    syncs: Counter,
    refused: [Counter; 11],
    queue: QueueCounters,
    stream: StreamCounters,
    /// Idempotency keys that went before their time.
    keys_dropped: Counter,
    present: Present,
    /// As it was when the newest group was answered.
    account: Mutex<Account>,
}

/// What came to queues and went.
struct QueueCounters {
    added: Counter,
    acknowledged: Counter,
    dropped: Counter,
    ended: Counter,
    not_taken: Counter,
}

/// What came to streams and went.
struct StreamCounters {
    appended: Counter,
    trimmed: Counter,
    compacted: Counter,
    ended: Counter,
}

/// What there is.
struct Present {
    queued_messages: Gauge,
    queued_bytes: Gauge,
    delayed_messages: Gauge,
    delayed_bytes: Gauge,
    retained_messages: Gauge,
    retained_bytes: Gauge,
    stream_records: Gauge,
    stream_bytes: Gauge,
    idempotency_keys: Gauge,
}

impl Counters {
    /// Counts on from what a store that has just been opened holds.
    pub fn new(account: Account) -> Counters {
        let counters = Counters {
            commits: counter!("weir_store_commits_total"),
            commit_records: counter!("weir_store_commit_records_total"),
            commit_seconds: histogram!("weir_store_commit_seconds"),
            syncs: counter!("weir_store_syncs_total"),
            refused: [
                "fenced",
                "not_owner",
                "disk_full",
                "queue_refuses",
                "queues_full",
                "retained_full",
                "unavailable",
                "unknown",
                "store_full",
                "too_large",
                "guarded",
            ]
            .map(|reason| counter!("weir_store_refused_total", "reason" => reason)),
            queue: QueueCounters {
                added: counter!("weir_store_queue_added_total"),
                acknowledged: counter!("weir_store_queue_acknowledged_total"),
                dropped: counter!("weir_store_queue_dropped_total"),
                ended: counter!("weir_store_queue_ended_total"),
                not_taken: counter!("weir_store_queue_not_taken_total"),
            },
            stream: StreamCounters {
                appended: counter!("weir_store_stream_appended_total"),
                trimmed: counter!("weir_store_stream_trimmed_total"),
                compacted: counter!("weir_store_stream_compacted_total"),
                ended: counter!("weir_store_stream_ended_total"),
            },
            keys_dropped: counter!("weir_store_limited_total", "limit" => "idempotency_keys_max"),
            present: Present {
                queued_messages: gauge!("weir_store_queued_messages"),
                queued_bytes: gauge!("weir_store_queued_bytes"),
                delayed_messages: gauge!("weir_store_delayed_messages"),
                delayed_bytes: gauge!("weir_store_delayed_bytes"),
                retained_messages: gauge!("weir_store_retained_messages"),
                retained_bytes: gauge!("weir_store_retained_bytes"),
                stream_records: gauge!("weir_store_stream_records"),
                stream_bytes: gauge!("weir_store_stream_bytes"),
                idempotency_keys: gauge!("weir_store_idempotency_keys"),
            },
            account: Mutex::new(account),
        };
        counters.present.show(&account);
        counters
    }

    /// One group commit, after which the account stands so.
    pub fn committed(&self, records: usize, took: Duration, account: Account) {
        self.commits.increment(1);
        self.commit_records.increment(records as u64);
        self.commit_seconds.record(took.as_secs_f64());
        self.note(account);
    }

    /// What was written is on the disk.
    pub fn synced(&self) {
        self.syncs.increment(1);
    }

    /// The account stands so now.
    pub fn note(&self, account: Account) {
        let mut known = self.account.lock();
        let (queue, stream, was) = (&self.queue, &self.stream, *known);
        for (counter, before, after) in [
            (&queue.added, was.added, account.added),
            (&queue.acknowledged, was.acknowledged, account.acknowledged),
            (&queue.dropped, was.dropped, account.dropped),
            (&queue.ended, was.ended, account.ended),
            (&queue.not_taken, was.not_taken, account.not_taken),
            (&stream.appended, was.appended, account.appended),
            (&stream.trimmed, was.trimmed, account.trimmed),
            (&stream.compacted, was.compacted, account.compacted),
            (&stream.ended, was.stream_ended, account.stream_ended),
            (&self.keys_dropped, was.idempotency_keys_dropped, account.idempotency_keys_dropped),
        ] {
            if after > before {
                counter.increment(after - before);
            }
        }
        self.present.show(&account);
        *known = account;
    }

    pub fn account(&self) -> Account {
        *self.account.lock()
    }

    pub fn refused(&self, refusal: Refusal, steps: usize) {
        let place = match refusal {
            Refusal::Fenced => 0,
            Refusal::NotOwner => 1,
            Refusal::DiskFull => 2,
            Refusal::QueueRefuses => 3,
            Refusal::QueuesFull => 4,
            Refusal::RetainedFull => 5,
            Refusal::Unavailable => 6,
            Refusal::Unknown => 7,
            Refusal::StoreFull => 8,
            Refusal::TooLarge => 9,
            Refusal::Guarded => 10,
        };
        self.refused[place].increment(steps as u64);
    }
}

impl Present {
    fn show(&self, account: &Account) {
        self.queued_messages.set(account.queued_messages as f64);
        self.queued_bytes.set(account.queued_bytes as f64);
        self.delayed_messages.set(account.delayed_messages as f64);
        self.delayed_bytes.set(account.delayed_bytes as f64);
        self.retained_messages.set(account.retained_messages as f64);
        self.retained_bytes.set(account.retained_bytes as f64);
        self.stream_records.set(account.stream_records as f64);
        self.stream_bytes.set(account.stream_bytes as f64);
        self.idempotency_keys.set(account.idempotency_keys as f64);
    }
}
