//! Masking of WebSocket payloads, in place (RFC 6455 section 5.3).

/// XORs `data` with the repeated `key` and returns the key turned so that it continues after `data`.
///
/// The key's first wire byte is its lowest byte.
pub(super) fn apply(key: u32, data: &mut [u8]) -> u32 {
    if key == 0 {
        return 0;
    }
    let wide = u64::from(key) << 32 | u64::from(key);
    let (words, tail) = data.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_le_bytes(*word) ^ wide).to_le_bytes();
    }
    let rest = tail.len() as u32 % 4;
    for (byte, key) in tail.iter_mut().zip(key.to_le_bytes().into_iter().cycle()) {
        *byte ^= key;
    }
    key.rotate_right(8 * rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::apply;

    proptest! {
        #[test]
        fn masking_in_pieces_equals_the_byte_by_byte_rule(
            key: [u8; 4],
            data in proptest::collection::vec(any::<u8>(), 0..100),
            cut in 0usize..100,
        ) {
            let expected: Vec<u8> = data.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            let mut masked = data;
            let cut = cut.min(masked.len());
            let turned = apply(u32::from_le_bytes(key), &mut masked[..cut]);
            apply(turned, &mut masked[cut..]);
            prop_assert_eq!(masked, expected);
        }
    }
}
