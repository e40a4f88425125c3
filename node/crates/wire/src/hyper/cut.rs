//! Where one MessagePack value ends, found while its bytes come: no byte is looked at twice.

use crate::wamp::Limits;

/// How far the first value of a stream is known. Begun anew for each value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Where the next thing to look at stands; it may not have come yet.
    at: usize,
    /// Values still to come.
    left: usize,
    /// Values seen.
    items: usize,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    #[error("message is longer than the maximum of {max} bytes")]
    TooLong { max: usize },
    #[error("message has more than {max} values")]
    TooManyItems { max: usize },
    #[error("byte {at} begins no value of messagepack")]
    NoValue { at: usize },
}

/// What stands behind a first byte: bytes of a length, bytes, values.
struct Shape {
    /// Bytes of the number in front of the rest; 0: it is known.
    length: usize,
    /// Bytes behind it in any case.
    bytes: usize,
    counts: Counts,
}

/// What the number in front counts.
enum Counts {
    Nothing,
    Bytes,
    Values(usize),
}

impl Default for Cut {
    fn default() -> Cut {
        Cut { at: 0, left: 1, items: 0 }
    }
}

impl Cut {
    /// Goes on with the same value, of which more may have come: where it ends, or `None` for now.
    ///
    /// # Errors
    /// It is none, or beyond the limits; depth is looked at by [`super::decode`].
    pub fn find(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, CutError> {
        while self.left > 0 {
            if self.at > limits.message_bytes_max {
                return Err(CutError::TooLong { max: limits.message_bytes_max });
            }
            let Some((bytes_more, values)) = self.next(bytes)? else { return Ok(None) };
            self.at += bytes_more;
            self.items += 1;
            self.left = self.left - 1 + values;
            if self.items.saturating_add(self.left) > limits.items_max {
                return Err(CutError::TooManyItems { max: limits.items_max });
            }
        }
        match self.at {
            at if at > limits.message_bytes_max => Err(CutError::TooLong { max: limits.message_bytes_max }),
            at => Ok(Some(at).filter(|at| *at <= bytes.len())),
        }
    }

    /// Bytes that must be there before there is something to look at.
    pub fn wants(&self) -> usize {
        self.at + usize::from(self.left > 0)
    }

    /// The length of what stands at [`Cut::at`], and the values in it; `None`: its head has not come.
    fn next(&self, bytes: &[u8]) -> Result<Option<(usize, usize)>, CutError> {
        let Some(first) = bytes.get(self.at) else { return Ok(None) };
        let shape = shape(*first).ok_or(CutError::NoValue { at: self.at })?;
        let from = self.at + 1;
        let Some(length) = bytes.get(from..from + shape.length) else { return Ok(None) };
        let count = length.iter().fold(0, |count: usize, byte| count << 8 | usize::from(*byte));
        let count = if shape.length == 0 { known(*first) } else { count };
        let head = 1 + shape.length + shape.bytes;
        Ok(Some(match shape.counts {
            Counts::Nothing => (head, 0),
            Counts::Bytes => (head + count, 0),
            Counts::Values(times) => (head, count * times),
        }))
    }
}

/// The number in a first byte that has one.
fn known(first: u8) -> usize {
    usize::from(match first {
        0xa0..=0xbf => first & 0x1f,
        0x80..=0x9f => first & 0x0f,
        _ => 0,
    })
}

fn shape(first: u8) -> Option<Shape> {
    let shape = |length, bytes, counts| Some(Shape { length, bytes, counts });
    match first {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => shape(0, 0, Counts::Nothing),
        0x80..=0x8f => shape(0, 0, Counts::Values(2)),
        0x90..=0x9f => shape(0, 0, Counts::Values(1)),
        0xa0..=0xbf => shape(0, 0, Counts::Bytes),
        0xc1 => None,
        0xc4 | 0xd9 => shape(1, 0, Counts::Bytes),
        0xc5 | 0xda => shape(2, 0, Counts::Bytes),
        0xc6 | 0xdb => shape(4, 0, Counts::Bytes),
        0xc7 => shape(1, 1, Counts::Bytes),
        0xc8 => shape(2, 1, Counts::Bytes),
        0xc9 => shape(4, 1, Counts::Bytes),
        0xcc | 0xd0 => shape(0, 1, Counts::Nothing),
        0xcd | 0xd1 => shape(0, 2, Counts::Nothing),
        0xca | 0xce | 0xd2 => shape(0, 4, Counts::Nothing),
        0xcb | 0xcf | 0xd3 => shape(0, 8, Counts::Nothing),
        0xd4..=0xd8 => shape(0, 1 + (1 << (first - 0xd4)), Counts::Nothing),
        0xdc => shape(2, 0, Counts::Values(1)),
        0xdd => shape(4, 0, Counts::Values(1)),
        0xde => shape(2, 0, Counts::Values(2)),
        0xdf => shape(4, 0, Counts::Values(2)),
    }
}
