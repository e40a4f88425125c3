//! When each message of a paced run is due, by an absolute schedule: being late once delays nothing after it.

use std::time::Duration;

/// All is due at a multiple of this after the start: a thread that slept for each message of its own would
/// cost more than the messages.
const TICK_NS: u64 = 500_000;

/// The schedule of one of several publishers that share a rate. Its messages go in groups, one write each;
/// the groups of all publishers follow each other evenly.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// Between two groups of this publisher.
    interval_ns: u64,
    /// Of its first group.
    offset_ns: u64,
    start_ns: u64,
    group: u32,
    groups_taken: u64,
}

impl Pace {
    /// The messages that come due for one of `publishers` within a millisecond: what it writes at once when
    /// nothing else is said. At least one.
    pub(super) fn natural_group(rate: u32, publishers: usize) -> usize {
        (rate as usize / 1000 / publishers.max(1)).max(1)
    }

    /// The schedule of publisher `index` of `publishers` at `rate` messages a second in all, `group` a write.
    pub(super) fn new(rate: u32, group: u32, index: usize, publishers: usize) -> Pace {
        let between_groups = 1e9 * f64::from(group) / f64::from(rate.max(1));
        let interval_ns = (between_groups * publishers as f64) as u64;
        let offset_ns = (between_groups * index as f64) as u64;
        Pace { interval_ns: interval_ns.max(1), offset_ns, start_ns: 0, group, groups_taken: 0 }
    }

    /// The same schedule, later.
    pub(super) fn starting_at(mut self, start: Duration) -> Pace {
        self.start_ns = start.as_nanos() as u64;
        self
    }

    /// When the next group is due, on the clock of `starting_at`.
    pub(super) fn next_due(&self) -> Duration {
        Duration::from_nanos(self.next_ns())
    }

    fn next_ns(&self) -> u64 {
        let due = self.offset_ns + self.groups_taken * self.interval_ns;
        self.start_ns + due.next_multiple_of(TICK_NS)
    }

    /// Messages in a group.
    pub(super) fn group(&self) -> u32 {
        self.group
    }

    /// Takes the next group if it is due: when it was to be sent, in nanoseconds of the same clock.
    pub(super) fn take(&mut self, now: Duration) -> Option<u64> {
        let due = self.next_ns();
        if u128::from(due) > now.as_nanos() {
            return None;
        }
        self.groups_taken += 1;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_by(pace: &mut Pace, now: Duration) -> u32 {
        let mut messages = 0;
        while pace.take(now).is_some() {
            messages += pace.group();
        }
        messages
    }

    #[test]
    fn all_publishers_together_send_the_rate() {
        let second = Duration::from_secs(1);
        let total: u32 = (0..10).map(|index| due_by(&mut Pace::new(20_000, 1, index, 10), second)).sum();
        assert_eq!(total, 20_001, "one is due at the very end");
    }

    #[test]
    fn messages_of_all_publishers_are_evenly_spread() {
        let due: Vec<_> = (0..4).map(|index| Pace::new(1000, 1, index, 4).next_due()).collect();
        let expected: Vec<_> = (0..4).map(Duration::from_millis).collect();
        assert_eq!(due, expected);
    }

    #[test]
    fn times_are_rounded_up_to_ticks_of_the_start() {
        let mut pace = Pace::new(10_000, 1, 0, 1).starting_at(Duration::from_nanos(7));
        let due: Vec<_> = (0..4).filter_map(|_| pace.take(Duration::from_secs(1))).collect();
        assert_eq!(due, [7, 500_007, 500_007, 500_007]);
    }

    #[test]
    fn being_late_once_delays_nothing_after_it() {
        let mut pace = Pace::new(1000, 1, 0, 1);
        assert_eq!(due_by(&mut pace, Duration::from_micros(10_500)), 11);
        assert_eq!(pace.next_due(), Duration::from_millis(11));
        assert_eq!(pace.take(Duration::from_millis(10)), None);
        assert_eq!(pace.take(Duration::from_millis(30)), Some(11_000_000));
    }

    #[test]
    fn a_group_is_what_comes_due_in_a_millisecond() {
        assert_eq!(Pace::natural_group(20_000, 10), 2);
        assert_eq!(Pace::natural_group(500, 10), 1);
        assert_eq!(Pace::natural_group(1_000_000, 10), 100);
    }

    #[test]
    fn a_group_is_due_at_once_and_keeps_the_rate() {
        let mut pace = Pace::new(1000, 16, 0, 1);
        assert_eq!(due_by(&mut pace, Duration::from_millis(15)), 16);
        assert_eq!(pace.next_due(), Duration::from_millis(16));
        assert_eq!(due_by(&mut pace, Duration::from_millis(999)), 992);
    }
}
