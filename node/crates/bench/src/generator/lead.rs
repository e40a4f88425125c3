//! How far publishers may run ahead of the deliveries: far enough to keep any broker busy, not so far that a
//! slow one has minutes of work left when the run is over.

use std::time::Duration;

/// Deliveries that may always be under way.
const LEAD_MIN: u64 = 200_000;

/// Beyond that: what has been delivered in this much time on average.
const LEAD_TIME: Duration = Duration::from_secs(2);

/// Publishers that wait this long without a single delivery take what is missing for lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// The state of all publishers of a run together.
#[derive(Debug, Default)]
pub(super) struct Lead {
    /// Deliveries that are not waited for any more.
    written_off: u64,
    delivered: u64,
    delivered_at: Duration,
}

impl Lead {
    /// Whether another write may go out, `now` after the start, with `owed` deliveries in all so far.
    pub(super) fn allows(&mut self, now: Duration, owed: u64, delivered: u64) -> bool {
        if delivered != self.delivered {
            (self.delivered, self.delivered_at) = (delivered, now);
        }
        let per_second = delivered as f64 / now.as_secs_f64().max(0.1);
        let allowed = LEAD_MIN.max((per_second * LEAD_TIME.as_secs_f64()) as u64);
        let missing = owed.saturating_sub(delivered);
        if missing.saturating_sub(self.written_off) < allowed {
            return true;
        }
        if now.saturating_sub(self.delivered_at) >= PATIENCE {
            self.written_off = missing;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_slow_broker_holds_its_publishers_back_until_it_has_caught_up() {
        let mut lead = Lead::default();
        assert!(lead.allows(SECOND, 250_000, 100_000));
        assert!(!lead.allows(SECOND, 300_000, 100_000));
        assert!(lead.allows(SECOND, 300_000, 100_001));
    }

    #[test]
    fn a_fast_broker_may_have_two_seconds_under_way() {
        assert!(Lead::default().allows(SECOND, 59_000_000, 20_000_000));
        assert!(!Lead::default().allows(SECOND, 60_000_000, 20_000_000));
    }

    #[test]
    fn what_a_broker_has_dropped_does_not_hold_its_publishers_for_ever() {
        let mut lead = Lead::default();
        assert!(!lead.allows(SECOND, 5_000_000, 10));
        assert!(!lead.allows(SECOND + PATIENCE, 5_000_000, 10));
        assert!(lead.allows(SECOND + PATIENCE, 5_000_000, 10));
    }
}
