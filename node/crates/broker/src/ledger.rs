//! The ledger: every message is accounted for, in copies, with a reason for each loss.
//!
//! What each term counts, and where a copy enters and leaves it, stands in
//! `node/docs/adr/0005-the-ledger.md`; [`balance`] compares both sides. A connection counts in plain
//! integers ([`Tally`]) and settles once per read, so the message path touches no shared counter per
//! message. Refusals and losses, which are rare, are counted where they happen.

pub mod balance;
pub mod drops;
pub mod tally;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use metrics::{Counter, counter};
use weir_model::Reason;
use weir_store::{Outcome, Refusal};

pub use balance::Balance;
pub use drops::Drops;
pub use tally::Tally;

/// One shared count, seen as a metric and readable here.
pub struct Count {
    value: AtomicU64,
    metric: Counter,
}

impl Count {
    fn new(metric: Counter) -> Count {
        Count { value: AtomicU64::new(0), metric }
    }

    pub fn add(&self, n: u64) {
        if n > 0 {
            self.value.fetch_add(n, Ordering::Relaxed);
            self.metric.increment(n);
        }
    }

    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The word in metrics and on `$SYS`.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

reasons! {
    /// Why a copy was not delivered.
    Loss {
        /// The receiver took nothing and its outbox was full: oldest QoS 0 first.
        OutboxFull => "outbox_full",
        /// The connection ended with copies in its outbox that lie in no store.
        ConnectionLost => "connection_lost",
        /// A persistent session's queue was full.
        QueueFull => "queue_full",
        /// The session ended or was made anew between match and enqueue.
        SessionGone => "session_gone",
        /// A QoS 0 copy, or one of a clean session, for a receiver without a connection.
        Offline => "offline",
        /// Its expiry passed before it could be sent.
        Expired => "expired",
        /// Larger than the client's maximum packet size (MQTT-3.1.2-24).
        TooLarge => "too_large",
        /// A shared message that no member took.
        SharedUnclaimed => "shared_unclaimed",
        /// A clean session was disconnected for too many unanswered messages.
        Overrun => "overrun",
        /// A retained message for a persistent session that the store refused to queue.
        StoreRefused => "store_refused",
        /// The receiver may not have it by the policy.
        Denied => "denied",
        /// A retained QoS 0 message delivered but not kept: the store was away or had no room for it.
        RetainSkipped => "retain_skipped",
        /// A QoS 0 message delivered but not captured by a stream: the store was away or had no room for it.
        CaptureSkipped => "capture_skipped",
        /// The stream ended between match and append.
        StreamGone => "stream_gone",
        /// Dropped from the fullest outboxes because the node ran out of memory.
        Shed => "shed",
        /// The link to the receiver's node was full: oldest QoS 0 first.
        LinkFull => "link_full",
        /// The link to the receiver's node stayed full: its clean session is disconnected.
        LinkOverrun => "link_overrun",
        /// Middleware refused it for its receiver.
        Middleware => "middleware",
        /// A live copy of what its receiver was given from the history already.
        Replayed => "replayed",
    }
}

reasons! {
    /// Why a message was not accepted.
    Refused {
        /// Its publisher may not by the policy.
        Denied => "denied",
        TopicInvalid => "topic_invalid",
        /// More than the publisher may send in a second.
        Rate => "rate",
        DiskFull => "disk_full",
        /// The server that keeps what is kept has no memory left.
        StoreFull => "store_full",
        /// The queue of a receiver is full and refuses its publishers.
        QueueFull => "queue_full",
        /// All queues together hold as much as they may, and refuse publishers.
        QueuesFull => "queues_full",
        /// As much is retained as may be.
        RetainedFull => "retained_full",
        /// A bound of the publisher's own was reached.
        Quota => "quota",
        /// The acknowledgement level it asked for is none, or none of this store.
        AckLevel => "ack_level",
        /// The store is away, or its intake is full.
        Unavailable => "unavailable",
        /// The store failed in the middle, or a newer connection has the session: nobody was told.
        Unknown => "unknown",
        /// Middleware said no, or failed.
        Middleware => "middleware",
        /// The retained value does not meet its condition, or did not in time.
        Condition => "condition",
        /// Its connection ended while it waited for its condition. If its session lives on, it still waits, and is
        /// received once more when its turn comes.
        LeftWaiting => "left_waiting",
        /// For a reason that none of the above names.
        Internal => "internal",
    }
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Refused {
        match reason {
            Reason::NotAuthorized | Reason::LevelDenied => Refused::Denied,
            Reason::TopicInvalid => Refused::TopicInvalid,
            Reason::RateTooHigh => Refused::Rate,
            Reason::Quota => Refused::Quota,
            Reason::Busy | Reason::Unavailable | Reason::LevelAway => Refused::Unavailable,
            Reason::LevelUnknown | Reason::LevelImpossible => Refused::AckLevel,
            Reason::ConditionNotMet | Reason::ConditionInvalid => Refused::Condition,
            _ => Refused::Internal,
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        match refusal {
            Refusal::DiskFull => Refused::DiskFull,
            Refusal::StoreFull => Refused::StoreFull,
            Refusal::QueueRefuses => Refused::QueueFull,
            Refusal::QueuesFull => Refused::QueuesFull,
            Refusal::RetainedFull => Refused::RetainedFull,
            Refusal::TooLarge => Refused::Quota,
            Refusal::Unavailable | Refusal::Guarded => Refused::Unavailable,
            Refusal::NotOwner => Refused::Denied,
            Refusal::Fenced | Refusal::Unknown => Refused::Unknown,
        }
    }
}

/// What became of a copy for a queue of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// It lies there under this number.
    At(u64),
    Lost,
    /// A repeat: it was counted when it came first.
    Before,
}

/// The node's account.
pub struct Ledger {
    /// PUBLISH packets offered to the door, and what the broker publishes of its own.
    pub received: Count,
    pub received_bytes: Count,
    refused: Vec<Count>,
    pub accepted: Count,
    /// Accepted with nobody to take it.
    pub unmatched: Count,
    /// Copies owed to receivers, live ones and queued ones.
    pub matched: Count,
    /// Copies handed to a connection's socket for the first time.
    pub delivered: Count,
    pub delivered_bytes: Count,
    /// Copies sent again with DUP; outside the equation.
    pub resent: Count,
    /// Copies put in a queue of the store.
    pub stored: Count,
    /// Copies taken out of a queue of the store: for a client, for another queue, or to be dropped.
    pub restored: Count,
    /// Shared copies that lie in no store, taken back from a member that was lost before it answered.
    pub returned: Count,
    /// Copies given to a link: what becomes of them is the account of the link and of the node behind it.
    pub linked: Count,
    dropped: Vec<Count>,
    /// Messages that wait in connections' lines for their commit or their turn.
    in_lines: AtomicI64,
    pub drops: Drops,
}

impl Default for Ledger {
    fn default() -> Ledger {
        let refused = |reason: &Refused| {
            Count::new(counter!("weir_broker_messages_refused_total", "reason" => reason.as_str()))
        };
        let dropped = |reason: &Loss| {
            Count::new(counter!("weir_broker_copies_dropped_total", "reason" => reason.as_str()))
        };
        Ledger {
            received: Count::new(counter!("weir_broker_messages_received_total")),
            received_bytes: Count::new(counter!("weir_broker_received_bytes_total")),
            refused: Refused::ALL.iter().map(refused).collect(),
            accepted: Count::new(counter!("weir_broker_messages_accepted_total")),
            unmatched: Count::new(counter!("weir_broker_messages_unmatched_total")),
            matched: Count::new(counter!("weir_broker_copies_matched_total")),
            delivered: Count::new(counter!("weir_broker_copies_delivered_total")),
            delivered_bytes: Count::new(counter!("weir_broker_delivered_bytes_total")),
            resent: Count::new(counter!("weir_broker_copies_resent_total")),
            stored: Count::new(counter!("weir_broker_copies_stored_total")),
            restored: Count::new(counter!("weir_broker_copies_restored_total")),
            returned: Count::new(counter!("weir_broker_copies_returned_total")),
            linked: Count::new(counter!("weir_broker_copies_linked_total")),
            dropped: Loss::ALL.iter().map(dropped).collect(),
            in_lines: AtomicI64::new(0),
            drops: Drops::default(),
        }
    }
}

impl Ledger {
    /// Copies were lost, nobody knows whose.
    pub fn lost(&self, loss: Loss, copies: u64) {
        if copies > 0 {
            self.dropped[loss as usize].add(copies);
            self.drops.note(loss, copies, None, None);
        }
    }

    /// Copies for one client were lost; `topic` is that of one of them, or of what took their place,
    /// empty where that is not known.
    pub fn lost_by(&self, client: &Arc<str>, topic: &str, loss: Loss, copies: u64) {
        if copies > 0 {
            self.dropped[loss as usize].add(copies);
            self.drops.note(loss, copies, Some(client), Some(topic).filter(|topic| !topic.is_empty()));
        }
    }

    pub fn dropped(&self, loss: Loss) -> u64 {
        self.dropped[loss as usize].get()
    }

    /// A message was received and not accepted.
    pub fn refuse(&self, reason: Refused) {
        self.refused[reason as usize].add(1);
    }

    pub fn refused(&self, reason: Refused) -> u64 {
        self.refused[reason as usize].get()
    }

    /// A retained message could not be kept: the copy that its topic was owed is lost.
    pub fn skip_retained(&self, client: &Arc<str>, topic: &str) {
        self.matched.add(1);
        self.lost_by(client, topic, Loss::RetainSkipped, 1);
    }

    /// Streams did not get a QoS 0 message that they capture.
    pub fn skip_captured(&self, client: &Arc<str>, topic: &str, records: u64) {
        self.matched.add(records);
        self.lost_by(client, topic, Loss::CaptureSkipped, records);
    }

    /// Counts what became of a record for the stream of that name: 1 if it was owed, 0 if it had been there before.
    pub fn captured(&self, stream: &Arc<str>, outcome: Option<&Outcome>) -> u64 {
        match outcome {
            Some(Outcome::Appended { first: true, .. }) => self.stored.add(1),
            Some(Outcome::Appended { first: false, .. }) => return 0,
            _ => self.lost_by(stream, "", Loss::StreamGone, 1),
        }
        1
    }

    /// A full queue of the store gave up its oldest rows for a new one.
    pub fn overflowed(&self, client: &Arc<str>, topic: &str, rows: u64) {
        self.restored.add(rows);
        self.lost_by(client, topic, Loss::QueueFull, rows);
    }

    /// Counts what became of a copy that was to be put in the queue `name` of the store.
    pub fn enqueued(&self, name: &Arc<str>, topic: &str, outcome: Option<&Outcome>) -> Enqueued {
        let loss = match outcome {
            Some(Outcome::Enqueued { number, dropped }) => {
                self.stored.add(1);
                self.overflowed(name, topic, u64::from(*dropped));
                return Enqueued::At(*number);
            }
            Some(Outcome::Gone) => Loss::SessionGone,
            Some(Outcome::QueueFull) => Loss::QueueFull,
            Some(_) => return Enqueued::Before,
            None => Loss::StoreRefused,
        };
        self.lost_by(name, topic, loss, 1);
        Enqueued::Lost
    }

    /// A connection's line has grown or shrunk by so many messages.
    pub fn in_lines(&self, change: i64) {
        if change != 0 {
            self.in_lines.fetch_add(change, Ordering::Relaxed);
        }
    }

    /// Takes over what a connection has counted and clears it.
    pub fn settle(&self, tally: &mut Tally) {
        let t = std::mem::take(tally);
        self.received.add(t.received);
        self.received_bytes.add(t.received_bytes);
        self.accepted.add(t.accepted);
        self.unmatched.add(t.unmatched);
        self.matched.add(t.matched);
        self.delivered.add(t.delivered);
        self.delivered_bytes.add(t.delivered_bytes);
        self.resent.add(t.resent);
        self.restored.add(t.restored);
    }
}
