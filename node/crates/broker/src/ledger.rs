//! The ledger: every message is accounted for, in copies, with a reason for each loss.
//!
//! A connection counts in plain integers ([`Tally`]) and settles once per read, so the message path
//! touches no shared counter per message.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, counter};

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
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
        /// The connection ended with QoS 0 copies in its outbox.
        ConnectionLost => "connection_lost",
        /// A persistent session's queue was full.
        QueueFull => "queue_full",
        /// The session ended or was made anew between match and enqueue.
        SessionGone => "session_gone",
        /// A QoS 0 copy for a session without a connection.
        Offline => "offline",
        /// Its expiry passed before it could be sent.
        Expired => "expired",
        /// Larger than the client's maximum packet size (MQTT-3.1.2-24).
        TooLarge => "too_large",
        /// A shared message that no member took.
        SharedUnclaimed => "shared_unclaimed",
        /// A clean session was disconnected for too many unanswered messages.
        Overrun => "overrun",
        /// The store refused or failed; nothing was acknowledged.
        StoreRefused => "store_refused",
        /// A retained QoS 0 message delivered but not kept, the store being away.
        RetainSkipped => "retain_skipped",
    }
}

/// What a connection has counted and not yet settled.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub received: u64,
    pub received_bytes: u64,
    pub refused: u64,
    pub accepted: u64,
    pub unmatched: u64,
    pub matched: u64,
    pub delivered: u64,
    pub delivered_bytes: u64,
    /// Copies that lie in a stored queue too and were taken from there, or saved that read.
    pub restored: u64,
}

impl Tally {
    /// A PUBLISH came in whole.
    pub fn receive(&mut self, payload_bytes: usize) {
        self.received += 1;
        self.received_bytes += payload_bytes as u64;
    }
}

/// The node's account.
pub struct Ledger {
    /// PUBLISH packets that came in whole.
    pub received: Count,
    pub received_bytes: Count,
    /// Not let in: access, syntax, quota.
    pub refused: Count,
    pub accepted: Count,
    /// Accepted with nobody to take it.
    pub unmatched: Count,
    /// Copies owed to receivers, live ones and queued ones.
    pub matched: Count,
    /// Copies handed to a socket.
    pub delivered: Count,
    pub delivered_bytes: Count,
    /// Copies put in a queue of the store.
    pub stored: Count,
    /// Copies that were in a queue of the store and have left for a client.
    pub restored: Count,
    dropped: Vec<Count>,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger {
            received: Count::new(counter!("weir_broker_messages_received_total")),
            received_bytes: Count::new(counter!("weir_broker_received_bytes_total")),
            refused: Count::new(counter!("weir_broker_messages_refused_total")),
            accepted: Count::new(counter!("weir_broker_messages_accepted_total")),
            unmatched: Count::new(counter!("weir_broker_messages_unmatched_total")),
            matched: Count::new(counter!("weir_broker_copies_matched_total")),
            delivered: Count::new(counter!("weir_broker_copies_delivered_total")),
            delivered_bytes: Count::new(counter!("weir_broker_delivered_bytes_total")),
            stored: Count::new(counter!("weir_broker_copies_stored_total")),
            restored: Count::new(counter!("weir_broker_copies_restored_total")),
            dropped: Loss::ALL
                .iter()
                .map(|loss| {
                    Count::new(counter!("weir_broker_copies_dropped_total", "reason" => loss.as_str()))
                })
                .collect(),
        }
    }
}

impl Ledger {
    pub fn lost(&self, loss: Loss, copies: u64) {
        self.dropped[loss as usize].add(copies);
    }

    pub fn dropped(&self, loss: Loss) -> u64 {
        self.dropped[loss as usize].get()
    }

    /// Takes over what a connection has counted and clears it.
    pub fn settle(&self, tally: &mut Tally) {
        let t = std::mem::take(tally);
        self.received.add(t.received);
        self.received_bytes.add(t.received_bytes);
        self.refused.add(t.refused);
        self.accepted.add(t.accepted);
        self.unmatched.add(t.unmatched);
        self.matched.add(t.matched);
        self.delivered.add(t.delivered);
        self.delivered_bytes.add(t.delivered_bytes);
        self.restored.add(t.restored);
    }
}
