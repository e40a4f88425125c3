//! Frames of a WebSocket as a client writes them and a server sends them (RFC 6455, section 5.2): as much of it as the
//! generator needs.

/// Kinds of frames.
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;

/// Masks every frame of the generator: what it is makes no difference to who takes it off.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Appends one whole message of a client.
pub(super) fn append(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    out.push(0x80 | kind);
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..65_536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    let from = out.len();
    out.extend_from_slice(payload);
    mask(&mut out[from..]);
}

fn mask(bytes: &mut [u8]) {
    let [a, b, c, d] = MASK;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    rest.iter_mut().zip(MASK.into_iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

/// The first frame of what a server has sent, its length and its payload; `None` when it is not whole.
pub(super) fn first(bytes: &[u8]) -> Option<(u8, usize, &[u8])> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (head, len): (usize, usize) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?),
        len => (2, usize::from(len)),
    };
    let end = head.checked_add(len)?;
    Some((first & 0x0f, end, bytes.get(head..end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_of_any_length_is_masked_behind_its_length() {
        for (len, head) in [(0, 2), (9, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let mut out = Vec::new();
            append(&mut out, TEXT, &payload);
            assert_eq!((out[0], out[1] & 0x80, out.len()), (0x81, 0x80, head + 4 + len));
            let masked = out[head + 4..].iter().zip(out[head..head + 4].iter().cycle());
            assert!(masked.map(|(byte, mask)| byte ^ mask).eq(payload));
        }
    }

    #[test]
    fn frames_are_told_apart_and_half_ones_waited_for() {
        let mut bytes = vec![0x82, 3, 1, 2, 3, 0x81, 126, 0, 200];
        bytes.extend([7; 200]);
        assert_eq!(first(&bytes), Some((BINARY, 5, &[1, 2, 3][..])));
        let (kind, len, payload) = first(&bytes[5..]).expect("it is whole");
        assert_eq!((kind, len, payload.len()), (TEXT, 204, 200));
        for end in [0, 1, 2, 4] {
            assert_eq!(first(&bytes[..end]), None);
        }
        assert_eq!(first(&bytes[5..100]), None);
    }
}
