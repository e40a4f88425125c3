//! Batches that were acknowledged a short while ago, kept for the day on which the server does not know them any more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::redis::config::RedisConfig;

/// What each kept batch is taken to weigh besides its steps.
const BATCH_BYTES: usize = 128;

/// What a batch has changed last: what is newer is not undone by applying it again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::redis) struct ChangedAt {
    /// When it last changed a retained message: Unix milliseconds on the store's clock, 0 = it did not.
    pub ms: u64,
    /// The version of the newest guard it wrote, 0 = none.
    pub guard: u64,
}

/// An acknowledged batch, as it can be applied again.
#[derive(Debug)]
pub(in crate::redis) struct Kept {
    pub number: u64,
    /// The packed steps.
    pub packed: Vec<u8>,
    pub steps: u64,
    pub changed_at: ChangedAt,
    pub acknowledged: Instant,
}

/// How many bytes the windows of all lanes may keep.
pub(in crate::redis) struct Budget {
    used: AtomicUsize,
    max: usize,
    time: Duration,
}

impl Budget {
    pub fn new(config: &RedisConfig) -> Arc<Budget> {
        let time = Duration::from_millis(config.replay_window_ms);
        Arc::new(Budget { used: AtomicUsize::new(0), max: config.replay_window_bytes, time })
    }

    fn is_over(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.max
    }
}

/// The window of one lane, bounded in time and by what all may keep.
pub(in crate::redis) struct Window {
    kept: VecDeque<Kept>,
    budget: Arc<Budget>,
    /// The newest batch that is kept no more.
    forgotten: u64,
}

impl Window {
    pub fn new(budget: Arc<Budget>) -> Window {
        Window { kept: VecDeque::new(), budget, forgotten: 0 }
    }

    /// A batch was acknowledged: the newest of this lane.
    pub fn keep(&mut self, batch: Kept) {
        self.budget.used.fetch_add(bytes(&batch), Ordering::Relaxed);
        let now = batch.acknowledged;
        self.kept.push_back(batch);
        self.forget_before(now);
    }

    /// Batches behind `known` that can be applied again, in order, and how many cannot, at most.
    pub fn take_behind(&mut self, known: u64) -> (Vec<Kept>, u64) {
        let lost = self.forgotten.saturating_sub(known);
        let from = self.kept.partition_point(|batch| batch.number <= known);
        let taken: Vec<Kept> = self.kept.drain(from..).collect();
        self.budget.used.fetch_sub(taken.iter().map(bytes).sum(), Ordering::Relaxed);
        (taken, lost)
    }

    /// At this time the server still knew everything: what had been acknowledged long before is safe. While it is away
    /// nothing is forgotten for its age.
    pub fn forget_before(&mut self, now: Instant) {
        while let Some(oldest) = self.kept.front()
            && (self.budget.is_over() || now.duration_since(oldest.acknowledged) >= self.budget.time)
        {
            self.forgotten = oldest.number;
            self.budget.used.fetch_sub(bytes(oldest), Ordering::Relaxed);
            self.kept.pop_front();
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.kept.iter().map(bytes).sum(), Ordering::Relaxed);
    }
}

fn bytes(batch: &Kept) -> usize {
    batch.packed.capacity() + BATCH_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(max: usize, time: Duration) -> Window {
        Window::new(Arc::new(Budget { used: AtomicUsize::new(0), max, time }))
    }

    fn batch(number: u64) -> Kept {
        Kept {
            number,
            packed: vec![0; 72],
            steps: 1,
            changed_at: ChangedAt::default(),
            acknowledged: Instant::now(),
        }
    }

    fn numbers(kept: &[Kept]) -> Vec<u64> {
        kept.iter().map(|batch| batch.number).collect()
    }

    #[test]
    fn what_lies_behind_the_last_known_batch_is_applied_again_in_order() {
        let mut window = window(10_000, Duration::from_secs(60));
        [1, 2, 4].map(batch).into_iter().for_each(|batch| window.keep(batch));
        let (again, lost) = window.take_behind(1);
        assert_eq!((numbers(&again), lost), (vec![2, 4], 0));
    }

    #[test]
    fn a_full_window_forgets_the_oldest_and_says_how_many_are_lost() {
        let mut window = window(600, Duration::from_secs(60));
        (1..=5).map(batch).for_each(|batch| window.keep(batch));
        let (again, lost) = window.take_behind(1);
        assert_eq!((numbers(&again), lost), (vec![3, 4, 5], 1));
        assert_eq!(window.budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_was_acknowledged_long_before_the_server_was_heard_of_is_forgotten() {
        let mut window = window(10_000, Duration::from_secs(10));
        [1, 2].map(batch).into_iter().for_each(|batch| window.keep(batch));
        window.forget_before(Instant::now() + Duration::from_secs(9));
        assert_eq!(window.kept.len(), 2);
        window.forget_before(Instant::now() + Duration::from_secs(11));
        assert_eq!(window.kept.len(), 0);
    }

    #[test]
    fn a_window_of_no_time_keeps_nothing() {
        let mut window = window(10_000, Duration::ZERO);
        window.keep(batch(1));
        assert_eq!(numbers(&window.take_behind(0).0), Vec::<u64>::new());
    }
}
