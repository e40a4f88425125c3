//! Unsigned numbers of 64 bits at most, seven bits a byte, the low ones first (LEB128).

/// Most bytes of one.
const BYTES_MAX: usize = 10;

pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The number at the start of `bytes`, and how many bytes it takes; `None` if it does not end in time
/// or has more than 64 bits.
#[inline]
pub(super) fn take(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((u64::from(first), 1));
    }
    let mut value = 0;
    for (i, byte) in bytes.iter().take(BYTES_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if i == BYTES_MAX - 1 && bits > 1 {
            return None;
        }
        value |= bits << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken(value: u64) {
            let mut out = Vec::new();
            put(&mut out, value);
            prop_assert_eq!(take(&out), Some((value, out.len())));
            prop_assert_eq!(take(&out[..out.len() - 1]), None);
        }
    }

    #[test]
    fn more_than_64_bits_are_refused() {
        assert_eq!(take(&[0xff; 10]), None);
        assert_eq!(take(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]), None);
        assert_eq!(take(&[]), None);
    }
}
