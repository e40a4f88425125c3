//! A position: a place in a stream or table, the same form in every store.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `{epoch, ms-seq}`; ordered by epoch first. An epoch begins when a store may have lost its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    pub epoch: u64,
    /// Milliseconds since 1970 on the store's clock, never going back within an epoch.
    pub ms: u64,
    /// Tells apart what was written within one millisecond.
    pub seq: u64,
}

/// The highest `seq` of a millisecond: the next one is of the millisecond after it, so that 12 bits hold it.
const SEQ_MAX: u64 = (1 << 12) - 1;

impl Position {
    /// The place after this one at the store's time `now_ms`, also when the clock went back.
    pub fn next(self, now_ms: u64) -> Position {
        if now_ms > self.ms {
            Position { ms: now_ms, seq: 0, ..self }
        } else if self.seq >= SEQ_MAX {
            Position { ms: self.ms + 1, seq: 0, ..self }
        } else {
            Position { seq: self.seq + 1, ..self }
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}-{}", self.epoch, self.ms, self.seq)
    }
}

/// The text is not `epoch:ms-seq`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a position of the form epoch:ms-seq")]
pub struct ParseError(String);

impl FromStr for Position {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Position, ParseError> {
        let parse = || {
            let (epoch, rest) = text.split_once(':')?;
            let (ms, seq) = rest.split_once('-')?;
            Some(Position { epoch: epoch.parse().ok()?, ms: ms.parse().ok()?, seq: seq.parse().ok()? })
        };
        parse().ok_or_else(|| ParseError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_back_does_not_take_positions_back() {
        let first = Position { epoch: 1, ms: 100, seq: 0 };
        let second = first.next(90);
        assert_eq!(second, Position { epoch: 1, ms: 100, seq: 1 });
        assert!(second.next(101) > second);
        let full = Position { seq: 4095, ..first };
        assert_eq!(full.next(100), Position { epoch: 1, ms: 101, seq: 0 });
    }

    #[test]
    fn text_form_round_trips() {
        let position = Position { epoch: 3, ms: 1_700_000_000_000, seq: 7 };
        assert_eq!(position.to_string().parse(), Ok(position));
        assert!("1-2".parse::<Position>().is_err());
    }
}
