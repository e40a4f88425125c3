//! Numbers of publications: what WAMP calls a publication id, below 2^53, rising with time.
//!
//! The upper 41 bits are milliseconds since 2024, the lower 12 tell apart what is of one millisecond. A number is made where
//! a publish comes in ([`next`]), of which the lowest bits are the node's; or it is that of the [`Position`] where something
//! stands in the store ([`of`]): then it rises as positions of one topic do, and serves as a fencing token.

use std::sync::atomic::{AtomicU64, Ordering};

use weir_model::{Position, UnixMillis};

use crate::clock;

/// 2024-01-01, in milliseconds since 1970.
const BEGINNING_MS: u64 = 1_704_067_200_000;

/// Bits below the milliseconds.
const BITS: u32 = 12;

/// Of these the lowest say which node it was.
const NODE_BITS: u32 = 6;

const MASK: u64 = (1 << 53) - 1;

static LAST: AtomicU64 = AtomicU64::new(0);

static NODE: AtomicU64 = AtomicU64::new(0);

/// Says which incarnation of a node this process is: two that are less than 64 apart never give the same number.
pub(crate) fn made_by(incarnation: u64) {
    NODE.store(incarnation % (1 << NODE_BITS), Ordering::Relaxed);
}

/// From one number to the next.
const STEP: u64 = 1 << NODE_BITS;

/// Most numbers that are taken at once.
const BLOCK_MAX: u64 = 64;

/// A number that this process has not given before, higher than all it has. Above 64 in a millisecond they run ahead of the
/// clock.
pub fn next() -> u64 {
    take(1)
}

/// So many numbers, of which this is the first.
fn take(count: u64) -> u64 {
    let node = NODE.load(Ordering::Relaxed);
    let now = at(clock::unix()) | node;
    let first = |last: u64| now.max((last >> NODE_BITS << NODE_BITS) + STEP + node);
    let update = |last: u64| Some(first(last) + (count - 1) * STEP);
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update).unwrap_or_default();
    first(last) & MASK
}

/// Numbers for the messages of one publisher that come at once. They are taken in blocks, each twice as large as the one
/// before: threads that publish much meet seldom where numbers are made, and at most half of them are given to nobody.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    next: u64,
    left: u64,
    block: u64,
}

impl Numbers {
    /// One that nobody has; each is higher than the one before.
    pub fn next(&mut self) -> u64 {
        if self.left == 0 {
            self.block = (2 * self.block).clamp(1, BLOCK_MAX);
            (self.next, self.left) = (take(self.block), self.block);
        }
        let number = self.next;
        self.next = (number + STEP) & MASK;
        self.left -= 1;
        number
    }
}

/// The lowest number of a millisecond; 0 before 2024.
pub fn at(time: UnixMillis) -> u64 {
    time.0.saturating_sub(BEGINNING_MS) << BITS
}

/// When a number was made, more or less.
pub fn time_of(number: u64) -> UnixMillis {
    UnixMillis(BEGINNING_MS + (number >> BITS))
}

/// The number of what stands at a position of the store. Positions of one topic have rising numbers; a store that writes
/// more than 4096 times in one millisecond is ahead of its clock then.
pub fn of(position: Position) -> u64 {
    (at(UnixMillis(position.ms)) + position.seq).clamp(1, MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_say_when_they_were_made() {
        let before = clock::unix();
        let numbers: Vec<u64> = (0..10_000).map(|_| next()).collect();
        assert!(numbers.windows(2).all(|two| two[0] < two[1]));
        assert!(numbers[0] > 0 && numbers[9_999] < 1 << 53);
        assert!(time_of(numbers[0]) >= before);
    }

    #[test]
    fn numbers_of_runs_rise_and_are_given_once() {
        let (mut one, mut other) = (Numbers::default(), Numbers::default());
        let pairs: Vec<(u64, u64)> = (0..1000).map(|_| (one.next(), other.next())).collect();
        assert!(pairs.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 < two[1].1));
        let mut all: Vec<u64> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2000);
        assert!(next() > all[1999], "what is taken alone is higher than all before");
    }

    #[test]
    fn positions_of_a_topic_have_rising_numbers() {
        let mut position = Position { epoch: 1, ms: BEGINNING_MS + 5, seq: 4000 };
        for step in 0..10_000u64 {
            let next = position.next(BEGINNING_MS + 5 + step / 5000);
            assert!(of(next) > of(position), "{next} after {position}");
            position = next;
        }
        assert_eq!(time_of(of(position)).0, position.ms);
        assert_eq!(of(Position::default()), 1, "an id is never 0");
    }
}
