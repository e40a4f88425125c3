//! A token bucket: so many at once, and so many a second after that.

use std::time::{Duration, Instant};

/// Holds the tokens of one second: after a second of silence it is full again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    per_second: f64,
    tokens: f64,
    /// When `tokens` was right; `None` = never touched, full.
    at: Option<Instant>,
}

impl Bucket {
    /// Full; `None` when nothing is limited.
    pub fn per_second(limit: u32) -> Option<Self> {
        let per_second = f64::from(limit);
        (limit > 0).then_some(Self { per_second, tokens: per_second, at: None })
    }

    /// Takes a token if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.tokens = (self.tokens + since.as_secs_f64() * self.per_second).min(self.per_second);
        self.at = Some(now);
        let is_there = self.tokens >= 1.0;
        if is_there {
            self.tokens -= 1.0;
        }
        is_there
    }

    /// Whether it says no more than a new one would.
    pub fn is_full(&self, now: Instant) -> bool {
        self.at.is_none_or(|at| {
            let since = now.saturating_duration_since(at).as_secs_f64();
            self.tokens + since * self.per_second >= self.per_second
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_a_second_is_let_through_and_then_the_rate_holds() {
        let (mut bucket, start) = (Bucket::per_second(10).expect("a limit"), Instant::now());
        assert_eq!((0..20).filter(|_| bucket.take(start)).count(), 10);
        let later = start + Duration::from_millis(350);
        assert_eq!((0..20).filter(|_| bucket.take(later)).count(), 3);
        assert!(!bucket.is_full(later));
        assert!(bucket.is_full(later + Duration::from_secs(1)));
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        assert!(Bucket::per_second(0).is_none());
    }
}
