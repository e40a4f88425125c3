//! Chance that can be had again: the same seed throws the same numbers.

/// A sequence of numbers that looks like chance (xorshift64*).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    #[must_use]
    pub fn of(seed: u64) -> Dice {
        // Spread over all bits, and never the one state that stays as it is.
        Dice((seed ^ 0x9e37_79b9_7f4a_7c15).max(1))
    }

    /// The seed that `WEIR_SEED` names, else one of the clock; to be printed with whatever fails.
    ///
    /// # Panics
    /// `WEIR_SEED` is no number.
    #[must_use]
    pub fn seed() -> u64 {
        match std::env::var("WEIR_SEED") {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("WEIR_SEED is `{text}`, which is no number")),
            Err(_) => std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |now| now.subsec_nanos().into()),
        }
    }

    /// From 0 to below `sides`.
    pub fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let thrown = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(thrown).unwrap_or(0) % sides.max(1)
    }

    /// From 0 to below `sides`, and not `other`.
    pub fn other_than(&mut self, other: usize, sides: usize) -> usize {
        (other + 1 + self.below(sides - 1)) % sides
    }
}
