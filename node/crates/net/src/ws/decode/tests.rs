//! What the decoder promises, whichever way the bytes are cut.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const LIMIT: u32 = 1 << 20;
const BINARY: u8 = 0x82;
const FIRST_PART: u8 = 0x02;
const MIDDLE_PART: u8 = 0x00;
const LAST_PART: u8 = 0x80;
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A masked frame, as a client sends it.
fn frame(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(key);
    frame.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
    frame
}

fn decode(wire: &[u8]) -> (Vec<u8>, Decoded) {
    let mut raw = wire.to_vec();
    let decoded = Decoder::new(true, LIMIT).decode(&mut raw);
    raw.truncate(decoded.kept);
    (raw, decoded)
}

fn violation(wire: &[u8]) -> Violation {
    match decode(wire).1.end {
        Some(End::Violated(violation)) => violation,
        other => panic!("no violation but {other:?}"),
    }
}

/// Frames of one message each or of several, with control frames between, and their payload.
fn stream() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, u32)> {
    let message = vec((vec(any::<u8>(), 0..300), any::<[u8; 4]>(), any::<Option<bool>>()), 1..4);
    vec(message, 0..8).prop_map(|messages| {
        let (mut wire, mut payload, mut pings) = (Vec::new(), Vec::new(), 0);
        for parts in messages {
            let last = parts.len() - 1;
            for (at, (part, key, control)) in parts.iter().enumerate() {
                let first = match (at, at == last) {
                    (0, true) => BINARY,
                    (0, false) => FIRST_PART,
                    (_, false) => MIDDLE_PART,
                    (_, true) => LAST_PART,
                };
                wire.extend(frame(first, part, *key));
                payload.extend(part);
                if let Some(ping) = control {
                    wire.extend(frame(if *ping { PING } else { PONG }, &part[..part.len() % 126], *key));
                    pings += u32::from(*ping);
                }
            }
        }
        (wire, payload, pings)
    })
}

proptest! {
    #[test]
    fn any_cut_of_the_stream_gives_the_same_bytes(
        (wire, payload, pings) in stream(),
        cuts in vec(1usize..40, 1..50),
    ) {
        let mut decoder = Decoder::new(true, LIMIT);
        let (mut read, mut seen, mut rest) = (Vec::<u8>::new(), 0, &wire[..]);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            let mut piece = piece.to_vec();
            let decoded = decoder.decode(&mut piece);
            prop_assert_eq!(decoded.end, None);
            read.extend(&piece[..decoded.kept]);
            seen += decoded.pings;
            rest = after;
        }
        prop_assert_eq!(read, payload);
        prop_assert_eq!(seen, pings);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic_or_keep_more_than_it_was_given(
        pieces in vec(vec(any::<u8>(), 0..64), 0..20),
        from_client: bool,
    ) {
        let mut decoder = Decoder::new(from_client, 100);
        for mut piece in pieces {
            let length = piece.len();
            let decoded = decoder.decode(&mut piece);
            prop_assert!(decoded.kept <= length);
            if decoded.end.is_some() {
                break;
            }
        }
    }
}

#[test]
fn a_frame_of_every_length_form_is_read() {
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 200_000] {
        let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
        let (read, decoded) = decode(&frame(BINARY, &payload, [1, 2, 3, 4]));
        assert_eq!(decoded.end, None, "{length}");
        assert!(read == payload, "{length}");
    }
}

#[test]
fn of_several_pings_in_one_read_the_last_is_kept_and_all_are_counted() {
    let wire = [frame(PING, b"one", [9; 4]), frame(PING, b"two", [7; 4])].concat();
    let (_, decoded) = decode(&wire);
    assert_eq!((decoded.ping.as_deref(), decoded.pings), (Some(&b"two"[..]), 2));
}

#[test]
fn bytes_before_a_violation_are_kept_and_those_after_it_are_not() {
    let wire = [frame(BINARY, b"good", [9; 4]), frame(TEXT, b"bad", [7; 4]), frame(BINARY, b"late", [1; 4])];
    let (read, decoded) = decode(&wire.concat());
    assert_eq!((&read[..], decoded.end), (&b"good"[..], Some(End::Violated(Violation::Text))));
}

#[test]
fn each_broken_rule_is_named() {
    let key = [5; 4];
    assert_eq!(violation(&frame(0xc2, b"x", key)), Violation::ReservedBit);
    assert_eq!(violation(&frame(0x83, b"x", key)), Violation::Header);
    assert_eq!(violation(&frame(0x8b, b"x", key)), Violation::Header);
    assert_eq!(violation(&[BINARY, 1, b'x']), Violation::Mask { masked: false });
    assert_eq!(violation(&frame(0x09, b"x", key)), Violation::Control);
    assert_eq!(violation(&frame(PING, &[0; 126], key)), Violation::Control);
    assert_eq!(violation(&frame(LAST_PART, b"x", key)), Violation::Continuation);
    let twice = [frame(FIRST_PART, b"x", key), frame(BINARY, b"y", key)].concat();
    assert_eq!(violation(&twice), Violation::Interleaved);
    assert_eq!(violation(&[BINARY, 0x80 | 126, 0, 5, 0, 0, 0, 0]), Violation::Length);
    let negative = [&[BINARY, 0xff][..], &(1u64 << 63 | 5).to_be_bytes(), &key].concat();
    assert_eq!(violation(&negative), Violation::Length);
    let long = [&[BINARY, 0xff][..], &u64::from(LIMIT + 1).to_be_bytes(), &key].concat();
    let bytes = u64::from(LIMIT) + 1;
    assert_eq!(violation(&long), Violation::TooLong { bytes, bytes_max: LIMIT });
}

#[test]
fn a_server_that_masks_is_refused() {
    let mut raw = frame(BINARY, b"x", [1; 4]);
    let decoded = Decoder::new(false, LIMIT).decode(&mut raw);
    assert_eq!(decoded.end, Some(End::Violated(Violation::Mask { masked: true })));
}

#[test]
fn a_close_frame_ends_with_its_code_if_that_may_be_sent() {
    let close = |payload: &[u8]| decode(&frame(CLOSE, payload, [3; 4])).1.end;
    assert_eq!(close(b""), Some(End::Closed(1000)));
    assert_eq!(close(&[0x03, 0xe9]), Some(End::Closed(1001)));
    assert_eq!(close(&[0x0f, 0xa0, b'b', b'y', b'e']), Some(End::Closed(4000)));
    assert_eq!(close(&[0x03]), Some(End::Violated(Violation::Close)));
    assert_eq!(close(&[0x03, 0xed]), Some(End::Violated(Violation::Close)));
    assert_eq!(close(&[0x03, 0xe8, 0xff]), Some(End::Violated(Violation::CloseReason)));
}
