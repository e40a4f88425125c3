//! Bad input and the reason code of the standard it gets.

use weir_wire::mqtt::Version::{V5, V31, V311};
use weir_wire::mqtt::*;

const MALFORMED: u8 = 0x81;
const PROTOCOL: u8 = 0x82;
const TOPIC_ALIAS: u8 = 0x94;

/// The codec refuses the frame with this reason code.
#[track_caller]
fn refuses(frame: &[u8], version: Version, code: u8) {
    match decode(frame, version) {
        Ok(packet) => panic!("{frame:02x?} was read as {packet:?}"),
        Err(refused) => assert_eq!(refused.code.as_u8(), code, "{refused} for {frame:02x?}"),
    }
}

/// A frame of MQTT 5 with one property block between `head` and `tail`.
fn with_properties(first_byte: u8, head: &[u8], properties: &[u8], tail: &[u8]) -> Vec<u8> {
    let len = head.len() + 1 + properties.len() + tail.len();
    let mut frame = vec![first_byte, u8::try_from(len).unwrap()];
    frame.extend_from_slice(head);
    frame.push(properties.len() as u8);
    frame.extend_from_slice(properties);
    frame.extend_from_slice(tail);
    frame
}

fn connect(properties: &[u8]) -> Vec<u8> {
    with_properties(0x10, b"\x00\x04MQTT\x05\x02\x00\x00", properties, b"\x00\x01c")
}

fn publish(properties: &[u8]) -> Vec<u8> {
    with_properties(0x30, b"\x00\x01t", properties, b"")
}

fn subscribe(properties: &[u8]) -> Vec<u8> {
    with_properties(0x82, b"\x00\x01", properties, b"\x00\x01t\x00")
}

#[test]
fn a_huge_length_is_refused_before_anything_is_buffered() {
    let huge = frame_len(b"\x10\xff\xff\xff\x7f", 1 << 20).unwrap_err();
    assert_eq!(huge.code, ReasonCode::PacketTooLarge);
    assert_eq!(frame_len(b"\x30\x7f", 128).unwrap_err().code, ReasonCode::PacketTooLarge);
    assert_eq!(frame_len(b"\x30\x7e", 128), Ok(Some(128)));
}

#[test]
fn a_length_of_five_bytes_or_of_needless_bytes_is_malformed() {
    for header in [b"\x30\x80\x80\x80\x80\x01".as_slice(), b"\x30\xff\xff\xff\xff", b"\x30\x80\x00"] {
        let refused = frame_len(header, FRAME_BYTES_MAX).unwrap_err();
        assert_eq!(refused.code.as_u8(), MALFORMED, "{header:02x?}");
    }
    refuses(b"\x30\x06\x00\x01t\x80\x00p", V5, MALFORMED);
}

#[test]
fn an_unfinished_header_asks_for_more() {
    for header in [b"".as_slice(), b"\x30", b"\x30\x80", b"\x30\xff\xff\xff"] {
        assert_eq!(frame_len(header, FRAME_BYTES_MAX), Ok(None), "{header:02x?}");
    }
}

#[test]
fn many_frames_in_one_buffer_are_found_one_after_the_other() {
    let mut bytes = Vec::new();
    encode::pingreq(&mut bytes);
    encode::publish(&mut bytes, &Publish::new("t", &[0; 300]), V311);
    encode::pingresp(&mut bytes);
    let len = frame_len(&bytes[2..], FRAME_BYTES_MAX).unwrap().unwrap();
    assert_eq!(frame_len(&bytes, FRAME_BYTES_MAX), Ok(Some(2)));
    assert_eq!(frame_len(&bytes[2 + len..], FRAME_BYTES_MAX), Ok(Some(2)));
}

#[test]
fn reserved_types_and_flags_are_refused_by_the_first_byte() {
    for first_byte in 0..=255_u8 {
        let kind = first_byte >> 4;
        let flags = first_byte & 0x0f;
        let known = match kind {
            0 => false,
            3 => flags & 0x06 != 0x06 && flags & 0x0e != 0x08,
            6 | 8 | 10 => flags & 0x07 == 0x02,
            _ => flags == 0,
        };
        let refused = frame_len(&[first_byte], FRAME_BYTES_MAX);
        assert_eq!(refused.is_ok(), known, "first byte {first_byte:02x}");
        assert!(refused.map_err(|refused| refused.code.as_u8()) != Err(PROTOCOL));
    }
}

#[test]
fn dup_on_a_subscribe_is_of_mqtt_3_1_only() {
    let frame = b"\x8a\x06\x00\x01\x00\x01t\x00";
    assert!(decode(frame, V31).is_ok());
    refuses(frame, V311, MALFORMED);
    refuses(b"\x6a\x02\x00\x01", V5, MALFORMED);
}

#[test]
fn qos_3_is_refused_wherever_it_stands() {
    refuses(b"\x36\x05\x00\x01t\x00\x01", V311, MALFORMED);
    refuses(b"\x82\x06\x00\x01\x00\x01t\x03", V311, PROTOCOL);
    refuses(b"\x82\x07\x00\x01\x00\x00\x01t\x03", V5, PROTOCOL);
    refuses(b"\x10\x13\x00\x04MQTT\x04\x1e\x00\x00\x00\x01c\x00\x01w\x00\x01p", V311, MALFORMED);
}

#[test]
fn dup_with_qos_0_is_malformed() {
    for version in [V31, V311, V5] {
        refuses(b"\x38\x05\x00\x01t\x00\x01", version, MALFORMED);
    }
}

#[test]
fn packet_id_0_is_a_protocol_error() {
    refuses(b"\x32\x06\x00\x01t\x00\x00\x00", V5, PROTOCOL);
    refuses(b"\x40\x02\x00\x00", V311, PROTOCOL);
    refuses(b"\x62\x02\x00\x00", V5, PROTOCOL);
    refuses(b"\x82\x06\x00\x00\x00\x01t\x00", V311, PROTOCOL);
    refuses(b"\xa2\x05\x00\x00\x00\x01t", V311, PROTOCOL);
}

#[test]
fn strings_are_utf8_without_nul() {
    refuses(b"\x30\x05\x00\x02\xc3\x28\x00", V5, MALFORMED);
    refuses(b"\x30\x06\x00\x03\xed\xa0\x80\x00", V5, MALFORMED);
    refuses(b"\x30\x05\x00\x03a\x00b", V311, MALFORMED);
    refuses(b"\x82\x07\x00\x01\x00\x02\xff\xff\x00", V311, MALFORMED);
    refuses(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02c\x00", V311, MALFORMED);
    refuses(&publish(b"\x26\x00\x01\xff\x00\x00"), V5, MALFORMED);
    refuses(&publish(b"\x03\x00\x01\x00"), V5, MALFORMED);
}

#[test]
fn a_property_that_may_stand_once_is_refused_twice() {
    refuses(&publish(b"\x01\x00\x01\x00"), V5, PROTOCOL);
    refuses(&publish(b"\x23\x00\x01\x23\x00\x01"), V5, PROTOCOL);
    refuses(&publish(b"\x08\x00\x01r\x08\x00\x01r"), V5, PROTOCOL);
    refuses(&subscribe(b"\x0b\x01\x0b\x02"), V5, PROTOCOL);
    refuses(&connect(b"\x11\x00\x00\x00\x01\x11\x00\x00\x00\x01"), V5, PROTOCOL);
    refuses(&connect(b"\x21\x00\x01\x21\x00\x01"), V5, PROTOCOL);
}

#[test]
fn a_property_of_another_packet_is_refused() {
    refuses(&publish(b"\x11\x00\x00\x00\x01"), V5, MALFORMED);
    refuses(&connect(b"\x23\x00\x01"), V5, MALFORMED);
    refuses(&subscribe(b"\x1f\x00\x01r"), V5, MALFORMED);
    refuses(b"\x40\x06\x00\x01\x00\x02\x01\x00", V5, MALFORMED);
    refuses(b"\xe0\x05\x00\x03\x13\x00\x01", V5, MALFORMED);
    refuses(&publish(b"\x7e"), V5, MALFORMED);
    refuses(&publish(b"\x80\x01"), V5, MALFORMED);
}

#[test]
fn property_values_out_of_range_are_refused() {
    refuses(&publish(b"\x01\x02"), V5, PROTOCOL);
    refuses(&publish(b"\x23\x00\x00"), V5, TOPIC_ALIAS);
    refuses(&publish(b"\x0b\x00"), V5, PROTOCOL);
    refuses(&subscribe(b"\x0b\x00"), V5, PROTOCOL);
    refuses(&subscribe(b"\x0b\xff\xff\xff\xff\x01"), V5, MALFORMED);
    refuses(&connect(b"\x21\x00\x00"), V5, PROTOCOL);
    refuses(&connect(b"\x27\x00\x00\x00\x00"), V5, PROTOCOL);
    refuses(&connect(b"\x17\x02"), V5, PROTOCOL);
    refuses(&connect(b"\x19\x02"), V5, PROTOCOL);
    refuses(&connect(b"\x16\x00\x01d"), V5, PROTOCOL);
    refuses(b"\x20\x05\x00\x00\x02\x24\x02", V5, PROTOCOL);
}

#[test]
fn a_property_block_longer_or_shorter_than_it_says_is_malformed() {
    refuses(b"\x30\x05\x00\x01t\x05\x01", V5, MALFORMED);
    refuses(&publish(b"\x02\x00\x00"), V5, MALFORMED);
    refuses(&publish(b"\x26\x00\x01k"), V5, MALFORMED);
    refuses(b"\x30\x03\x00\x01t", V5, MALFORMED);
}

#[test]
fn a_publish_needs_a_topic_or_an_alias() {
    refuses(b"\x30\x03\x00\x00\x00", V5, PROTOCOL);
    assert!(decode(b"\x30\x06\x00\x00\x03\x23\x00\x01", V5).is_ok());
}

#[test]
fn a_subscribe_needs_filters_and_known_options() {
    refuses(b"\x82\x02\x00\x01", V311, PROTOCOL);
    refuses(b"\x82\x03\x00\x01\x00", V5, PROTOCOL);
    refuses(b"\xa2\x02\x00\x01", V311, PROTOCOL);
    refuses(b"\x82\x07\x00\x01\x00\x00\x01t\x40", V5, MALFORMED);
    refuses(b"\x82\x07\x00\x01\x00\x00\x01t\x30", V5, PROTOCOL);
    refuses(b"\x82\x06\x00\x01\x00\x01t\x04", V311, MALFORMED);
    refuses(b"\x82\x05\x00\x01\x00\x01t", V311, MALFORMED);
}

#[test]
fn connect_flags_must_not_contradict_each_other() {
    let flagged = |flags| [b"\x10\x0d\x00\x04MQTT\x04".as_slice(), &[flags], b"\x00\x00\x00\x01c"].concat();
    assert!(decode(&flagged(0x02), V311).is_ok());
    for flags in [0x03, 0x0a, 0x12, 0x22, 0x42, 0x1e] {
        refuses(&flagged(flags), V311, MALFORMED);
    }
}

#[test]
fn bytes_behind_the_end_are_malformed() {
    refuses(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x01cx", V311, MALFORMED);
    refuses(b"\x40\x03\x00\x01\x00", V311, MALFORMED);
    refuses(b"\x40\x05\x00\x01\x00\x00\x00", V5, MALFORMED);
    refuses(b"\xc0\x01\x00", V5, MALFORMED);
    refuses(b"\xe0\x01\x00", V311, MALFORMED);
    refuses(b"\xb0\x03\x00\x01\x00", V311, MALFORMED);
    refuses(b"\xc0\x00\xc0\x00", V5, MALFORMED);
    refuses(b"\x20\x03\x00\x00\x00", V311, MALFORMED);
}

#[test]
fn reason_codes_of_another_packet_are_refused() {
    refuses(b"\x40\x03\x00\x01\x92", V5, PROTOCOL);
    refuses(b"\x62\x03\x00\x01\x10", V5, PROTOCOL);
    refuses(b"\xe0\x01\x01", V5, PROTOCOL);
    refuses(b"\xe0\x01\x7f", V5, PROTOCOL);
    refuses(b"\x90\x04\x00\x01\x00\x03", V5, PROTOCOL);
    refuses(b"\x90\x03\x00\x01\x87", V311, PROTOCOL);
    refuses(b"\x20\x02\x00\x06", V311, PROTOCOL);
    refuses(b"\x20\x02\x01\x05", V311, PROTOCOL);
}

#[test]
fn auth_is_of_mqtt_5_and_needs_a_method() {
    refuses(b"\xf0\x00", V311, MALFORMED);
    refuses(b"\xf0\x02\x18\x00", V5, PROTOCOL);
    assert!(decode(b"\xf0\x00", V5).is_ok());
}

#[test]
fn an_unknown_level_is_answered_in_the_version_that_comes_nearest() {
    let answer = |name: &str, level: u8| {
        let head = [0x10, name.len() as u8 + 8, 0, name.len() as u8];
        let frame = [&head, name.as_bytes(), &[level], b"\x02\x00\x00\x00\x00"].concat();
        decode_connect(&frame).map(|connect| connect.version).map_err(|e| (e.error.code.as_u8(), e.answer))
    };
    assert_eq!(answer("MQTT", 4), Ok(V311));
    assert_eq!(answer("MQIsdp", 3), Ok(V31));
    assert_eq!(answer("MQTT", 6), Err((0x84, Some(V5))));
    assert_eq!(answer("MQTT", 0x85), Err((0x84, Some(V5))));
    assert_eq!(answer("MQTT", 3), Err((0x84, Some(V311))));
    assert_eq!(answer("MQIsdp", 4), Err((0x84, Some(V311))));
    assert_eq!(answer("HTTP", 4), Err((0x82, None)));
}

#[test]
fn only_mqtt_5_gets_an_answer_to_a_malformed_connect() {
    let refused = decode_connect(&connect(b"\x21\x00\x00")).unwrap_err();
    assert_eq!((refused.error.code, refused.answer), (ReasonCode::ProtocolError, Some(V5)));
    let refused = decode_connect(b"\x10\x0d\x00\x04MQTT\x04\x03\x00\x00\x00\x01c").unwrap_err();
    assert_eq!((refused.error.code, refused.answer), (ReasonCode::MalformedPacket, None));
    assert_eq!(decode_connect(b"\xc0\x00").unwrap_err().error.code, ReasonCode::ProtocolError);
}

#[test]
fn a_filter_of_65_535_slashes_is_read_like_any_other() {
    let slashes = "/".repeat(65_535);
    let filters = [(slashes.as_str(), SubscribeOptions::default())];
    let packet_id = std::num::NonZeroU16::MIN;
    let subscribe = Subscribe {
        packet_id,
        filters: Filters::of(&filters),
        subscription_id: None,
        user: UserProperties::default(),
    };
    let mut frame = Vec::new();
    encode::subscribe(&mut frame, &subscribe, V311);
    assert_eq!(decode(&frame, V311), Ok(Packet::Subscribe(subscribe)));
}

#[test]
fn every_reason_code_is_known_by_its_byte() {
    let known = (0..=255_u8).filter_map(ReasonCode::from_u8);
    assert!(known.clone().all(|code| ReasonCode::from_u8(code.as_u8()) == Some(code)));
    assert_eq!(known.count(), 43);
    assert_eq!(ReasonCode::from_u8(0xa2), Some(ReasonCode::WildcardSubscriptionsNotSupported));
    for byte in 0..6 {
        assert_eq!(ReasonCode::from_v3_connack(byte).map(ReasonCode::to_v3_connack), Some(byte));
    }
}
