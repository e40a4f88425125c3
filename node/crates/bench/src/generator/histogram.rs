//! Latencies in fixed buckets: logarithmic, 64 for each power of two, so within 1.6 %.

use std::time::Duration;

/// Buckets for each power of two.
const STEPS: u64 = 64;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// Up to 2^42 ns, above an hour; what is longer counts as that.
const BUCKETS: usize = (STEPS as usize) * (42 - STEP_BITS as usize + 1);

/// How often each latency was seen.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest_ns: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], total: 0, longest_ns: 0 }
    }
}

impl Histogram {
    #[inline]
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.counts[bucket(nanoseconds)] += 1;
        self.total += 1;
        self.longest_ns = self.longest_ns.max(nanoseconds);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.total == 0
    }

    pub(crate) fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest_ns)
    }

    /// The latency that `share` (0 to 1) of all samples do not exceed; zero without samples.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(upper_bound(at).min(self.longest_ns));
            }
        }
        self.longest()
    }

    pub(crate) fn merge(&mut self, other: &Histogram) {
        for (ours, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *ours += theirs;
        }
        self.total += other.total;
        self.longest_ns = self.longest_ns.max(other.longest_ns);
    }
}

#[inline]
fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let shift = 63 - value.leading_zeros() - STEP_BITS;
    let step = (value >> shift) - STEPS;
    let at = u64::from(shift + 1) * STEPS + step;
    (at as usize).min(BUCKETS - 1)
}

/// The largest value that falls into a bucket.
fn upper_bound(bucket: usize) -> u64 {
    let (power, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    match power {
        0 => step,
        _ => ((STEPS + step + 1) << (power - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_is_within_two_percent_of_what_fell_into_it(value in 0..1u64 << 41) {
            let bound = upper_bound(bucket(value));
            prop_assert!(bound >= value);
            prop_assert!((bound - value) as f64 <= 0.02 * value as f64);
        }
    }

    #[test]
    fn quantiles_of_one_to_a_thousand_are_where_they_belong() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|micros| histogram.record(micros * 1000));
        for (share, micros) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
            let found = histogram.quantile(share).as_secs_f64() * 1e6;
            assert!((found / micros - 1.0).abs() < 0.02, "{share}: {found}");
        }
        assert_eq!(histogram.longest(), Duration::from_millis(1));
    }

    #[test]
    fn a_latency_beyond_the_last_bucket_still_counts() {
        let mut histogram = Histogram::default();
        histogram.record(u64::MAX);
        assert_eq!(histogram.quantile(0.5), upper_bound_of_last());
        assert!(!histogram.is_empty());
    }

    fn upper_bound_of_last() -> Duration {
        Duration::from_nanos(upper_bound(BUCKETS - 1))
    }

    #[test]
    fn merging_adds_the_samples_of_both() {
        let (mut left, mut right) = (Histogram::default(), Histogram::default());
        left.record(10);
        right.record(1_000_000);
        left.merge(&right);
        assert_eq!(left.quantile(0.5), Duration::from_nanos(10));
        assert_eq!(left.longest(), Duration::from_millis(1));
    }
}
