//! RawSocket: the handshake and the frames.

use proptest::collection::vec;
use proptest::prelude::*;
use weir_wire::wamp::Format;
use weir_wire::wamp::rawsocket::*;

use crate::json;

#[test]
fn a_handshake_has_the_bytes_of_the_standard() {
    let asked = Handshake { length: LengthClass::within(1 << 24), format: Format::Json };
    assert_eq!(asked.bytes(), [0x7f, 0xf1, 0, 0]);
    let answered = Handshake { length: LengthClass::within(512), format: Format::MsgPack };
    assert_eq!(answered.bytes(), [0x7f, 0x02, 0, 0]);
    assert_eq!(Refusal::TooManyConnections.reply(), [0x7f, 0x40, 0, 0]);
}

#[test]
fn both_sides_read_what_the_other_says() {
    for format in crate::FORMATS {
        for class in 9..=24 {
            let said = Handshake { length: LengthClass::within(1 << class), format };
            assert_eq!(read_request(&said.bytes()), Ok(Some(said)));
            assert_eq!(read_reply(&said.bytes()), Ok(Some(said)));
        }
    }
    for refusal in [Refusal::Serializer, Refusal::Length, Refusal::ReservedBits, Refusal::TooManyConnections]
    {
        assert_eq!(read_reply(&refusal.reply()), Err(HandshakeError::Refused(refusal)));
    }
}

#[test]
fn a_length_class_never_promises_more_than_the_side_takes() {
    for (takes, promised) in [(0, 512), (511, 512), (512, 512), (1023, 512), (1024, 1024), (1 << 20, 1 << 20)]
    {
        assert_eq!(LengthClass::within(takes).bytes_max(), promised, "{takes}");
    }
    assert_eq!(LengthClass::within(usize::MAX).bytes_max(), (1 << 24) - 1);
}

#[test]
fn bad_handshakes_are_told_apart() {
    assert_eq!(read_request(b""), Ok(None));
    assert_eq!(read_request(b"\x7f\xf1\x00"), Ok(None));
    assert_eq!(read_request(b"GET "), Err(HandshakeError::NotRawSocket { first: b'G' }));
    assert_eq!(read_request(b"\x00"), Err(HandshakeError::NotRawSocket { first: 0 }));
    for serializer in [0, 4, 15] {
        let refused = Err(HandshakeError::Refused(Refusal::Serializer));
        assert_eq!(read_request(&[0x7f, 0xf0 | serializer, 0, 0]), refused);
    }
    assert_eq!(read_request(b"\x7f\xf1\x00\x01"), Err(HandshakeError::Refused(Refusal::ReservedBits)));
    assert_eq!(read_reply(b"\x7f\x90\x00\x00"), Err(HandshakeError::RefusedUnknown { code: 9 }));
}

#[test]
fn a_message_has_its_length_in_front() {
    let mut out = Vec::new();
    append_message(&mut out, &json("[35,7]"), Format::Json, 512).unwrap();
    assert_eq!(out, b"\x00\x00\x00\x06[35,7]");
    append(&mut out, FrameType::Ping, b"x", 512).unwrap();
    let (frame, rest) = read_frame(&out, 512).unwrap().unwrap();
    assert_eq!(frame, Frame { kind: FrameType::Message, payload: b"[35,7]" });
    assert_eq!(read_frame(rest, 512), Ok(Some((Frame { kind: FrameType::Ping, payload: b"x" }, &b""[..]))));
}

#[test]
fn what_the_other_side_does_not_take_is_not_sent() {
    let mut out = b"before".to_vec();
    let refused = append_message(&mut out, &json("[35,7]"), Format::Json, 5);
    assert_eq!(refused, Err(FrameError::TooLong { bytes: 6, max: 5 }));
    let refused = append(&mut out, FrameType::Pong, &[0; 6], 5);
    assert_eq!(refused, Err(FrameError::TooLong { bytes: 6, max: 5 }));
    assert_eq!(out, b"before");
}

#[test]
fn bad_frames_are_refused_before_they_are_whole() {
    assert_eq!(read_frame(b"\x08", 512), Err(FrameError::ReservedBits { first: 8 }));
    assert_eq!(read_frame(b"\x03", 512), Err(FrameError::ReservedType { kind: 3 }));
    assert_eq!(read_frame(b"\x00\x00\x02\x01", 512), Err(FrameError::TooLong { bytes: 513, max: 512 }));
    assert_eq!(read_frame(b"\x00\x00\x02\x00", 512), Ok(None));
    assert_eq!(read_frame(b"\x02\x00\x00", 512), Ok(None));
}

proptest! {
    #[test]
    fn whatever_comes_does_no_harm(bytes in vec(any::<u8>(), 0..32)) {
        let _ = (read_request(&bytes), read_reply(&bytes));
        if let Ok(Some((frame, rest))) = read_frame(&bytes, 512) {
            prop_assert_eq!(FRAME_HEADER_BYTES + frame.payload.len() + rest.len(), bytes.len());
        }
    }
}
