//! The balance: both sides of the two equations of the ledger, term by term.

use super::{Ledger, Loss, Refused};
use crate::broker::Broker;

/// The account at one moment (`guarantees.md` 9). While messages move, terms are read one after the
/// other and may disagree; at rest both sides are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    pub received: u64,
    pub refused: Vec<(Refused, u64)>,
    pub accepted: u64,
    /// Received, and waiting in a connection's line for the store.
    pub in_lines: i64,
    pub matched: u64,
    pub restored: u64,
    pub returned: u64,
    pub delivered: u64,
    pub stored: u64,
    /// Given to links.
    pub linked: u64,
    /// Expired and denied copies are among them.
    pub dropped: Vec<(Loss, u64)>,
    /// Copies in outboxes that lie in no store.
    pub in_outboxes: u64,
}

impl Balance {
    /// Messages received less what became of them.
    pub fn messages(&self) -> i64 {
        let refused: u64 = self.refused.iter().map(|(_, n)| n).sum();
        difference(self.received, refused + self.accepted) - self.in_lines
    }

    /// Copies that came into being less what became of them.
    pub fn copies(&self) -> i64 {
        let dropped: u64 = self.dropped.iter().map(|(_, n)| n).sum();
        let made = self.matched + self.restored + self.returned;
        difference(made, self.delivered + self.stored + self.linked + dropped + self.in_outboxes)
    }

    /// How many messages and copies nobody can account for, or were counted twice; 0 at rest.
    pub fn imbalance(&self) -> u64 {
        self.messages().unsigned_abs() + self.copies().unsigned_abs()
    }
}

/// `a - b` for counters that are nearly equal.
fn difference(a: u64, b: u64) -> i64 {
    a.wrapping_sub(b).cast_signed()
}

impl Ledger {
    /// Both sides, given what lies in outboxes.
    pub fn balance(&self, in_outboxes: u64) -> Balance {
        Balance {
            received: self.received.get(),
            refused: Refused::ALL.iter().map(|reason| (*reason, self.refused(*reason))).collect(),
            accepted: self.accepted.get(),
            in_lines: self.in_lines.load(std::sync::atomic::Ordering::Relaxed),
            matched: self.matched.get(),
            restored: self.restored.get(),
            returned: self.returned.get(),
            delivered: self.delivered.get(),
            stored: self.stored.get(),
            linked: self.linked.get(),
            dropped: Loss::ALL.iter().map(|loss| (*loss, self.dropped(*loss))).collect(),
            in_outboxes,
        }
    }
}

impl Broker {
    /// Both sides of the ledger now; looks into every outbox.
    pub fn balance(&self) -> Balance {
        self.ledger().balance(self.sessions().census().waiting)
    }
}
