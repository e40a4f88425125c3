//! Unpredictable bytes and numbers. In a reducer they follow from the message's id, so that a replay computes the same.

use crate::host;

/// So many bytes, at most 65 536 at once.
pub fn bytes(count: u32) -> Vec<u8> {
    host::random_bytes(count)
}

/// Any `u64`.
pub fn number() -> u64 {
    bytes(8).into_iter().fold(0, |number, byte| (number << 8) | u64::from(byte))
}

/// A number below `end`, all about equally likely. 0 when `end` is 0.
pub fn below(end: u64) -> u64 {
    let wide = u128::from(number()) * u128::from(end);
    (wide >> 64) as u64
}
