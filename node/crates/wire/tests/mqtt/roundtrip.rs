//! Whatever is encoded is decoded as the same, and whatever is decoded does no harm.

use proptest::collection::vec;
use proptest::prelude::*;
use weir_wire::mqtt::*;

use crate::pool::{pools, versions};

fn encoded(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut frame = Vec::new();
    encode::packet(&mut frame, packet, version);
    frame
}

/// Decoding whatever this is neither panics nor reads what cannot be written back.
fn survives(frame: &[u8], version: Version) -> Result<(), TestCaseError> {
    let len = frame_len(frame, FRAME_BYTES_MAX);
    let Ok(packet) = decode(frame, version) else { return Ok(()) };
    prop_assert_eq!(len, Ok(Some(frame.len())));
    let version = match &packet {
        Packet::Connect(connect) => connect.version,
        _ => version,
    };
    let again = encoded(&packet, version);
    prop_assert_eq!(decode(&again, version), Ok(packet));
    Ok(())
}

proptest! {
    #[test]
    fn every_packet_is_decoded_as_it_was_encoded(pool in pools(), version in versions()) {
        let lists = pool.lists(version);
        for packet in pool.packets(&lists, version) {
            let frame = encoded(&packet, version);
            prop_assert_eq!(frame_len(&frame, frame.len()), Ok(Some(frame.len())));
            prop_assert!(frame_len(&frame, frame.len() - 1).is_err());
            prop_assert_eq!(decode(&frame, version), Ok(packet));
        }
    }

    #[test]
    fn a_cut_frame_is_refused_or_incomplete(pool in pools(), version in versions(), at in any::<prop::sample::Index>()) {
        let lists = pool.lists(version);
        for packet in pool.packets(&lists, version) {
            let frame = encoded(&packet, version);
            let cut = &frame[..at.index(frame.len())];
            let len = frame_len(cut, FRAME_BYTES_MAX).unwrap();
            prop_assert!(len.is_none_or(|len| len == frame.len()));
            prop_assert!(decode(cut, version).is_err());
        }
    }

    #[test]
    fn a_mutated_frame_never_panics(
        pool in pools(),
        version in versions(),
        spots in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let lists = pool.lists(version);
        for packet in pool.packets(&lists, version) {
            let mut frame = encoded(&packet, version);
            for (at, byte) in &spots {
                let at = at.index(frame.len());
                frame[at] = *byte;
            }
            survives(&frame, version)?;
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..64), version in versions()) {
        survives(&bytes, version)?;
        let _ = decode_connect(&bytes);
    }

    #[test]
    fn an_arbitrary_body_never_panics(
        first_byte in any::<u8>(),
        body in vec(any::<u8>(), 0..127),
        version in versions(),
    ) {
        let mut frame = vec![first_byte, body.len() as u8];
        frame.extend_from_slice(&body);
        survives(&frame, version)?;
        let _ = decode_publish(first_byte, &body, version);
    }
}
