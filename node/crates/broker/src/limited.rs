//! Limits met: how often the broker's limits made somebody wait, or granted less than was asked for.
//!
//! Refusals and losses have counts of their own in the [ledger](crate::ledger). What is counted here happens to a
//! connection now and then, never once per message: when a wait begins, not while it lasts.

use metrics::{Counter, counter};

/// A limit that holds back without refusing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// More deliveries than a client may leave unanswered: the others wait.
    Inflight,
    /// Kept publishes of one connection that wait for their commit: it is read no further.
    CommitsWaiting,
    /// The same by their bytes.
    CommitsWaitingBytes,
    /// Steps of all connections that wait for the store: who has one among them is read no further.
    StoreIntake,
    /// A session that was to outlive its connection for longer than is granted.
    SessionExpiry,
    /// Wills, and what else the broker owes, that wait for a turn.
    Wills,
    /// One consumer group more than there may be was asked for.
    Groups,
    /// The same of a member at this node.
    GroupMembers,
    /// As much of a partition is delivered to a group and not finished as may be: nothing new is delivered.
    GroupPending,
}

impl Limit {
    pub const ALL: [Limit; 9] = [
        Limit::Inflight,
        Limit::CommitsWaiting,
        Limit::CommitsWaitingBytes,
        Limit::StoreIntake,
        Limit::SessionExpiry,
        Limit::Wills,
        Limit::Groups,
        Limit::GroupMembers,
        Limit::GroupPending,
    ];

    /// Its key in the configuration: the label of the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Limit::Inflight => "inflight_max",
            Limit::CommitsWaiting => "commits_waiting_max",
            Limit::CommitsWaitingBytes => "commits_waiting_bytes_max",
            Limit::StoreIntake => "store.intake",
            Limit::SessionExpiry => "session_expiry_seconds_max",
            Limit::Wills => "wills_per_second",
            Limit::Groups => "groups_max",
            Limit::GroupMembers => "group_members_max",
            Limit::GroupPending => "ack_pending_max",
        }
    }
}

/// How often each limit was met.
pub struct Limited([Counter; Limit::ALL.len()]);

impl Default for Limited {
    fn default() -> Limited {
        Limited(Limit::ALL.map(|limit| counter!("weir_broker_limited_total", "limit" => limit.as_str())))
    }
}

impl Limited {
    pub fn count(&self, limit: Limit) {
        self.0[limit as usize].increment(1);
    }
}
