//! Bytes written by hand from the standard, read and written back.

use std::num::{NonZeroU16, NonZeroU32};

use weir_model::Qos;
use weir_wire::mqtt::*;

fn id(value: u16) -> NonZeroU16 {
    NonZeroU16::new(value).unwrap()
}

/// The bytes mean the packet and the packet becomes the bytes.
fn both_ways(bytes: &[u8], packet: Packet<'_>, version: Version) {
    assert_eq!(frame_len(bytes, FRAME_BYTES_MAX), Ok(Some(bytes.len())));
    assert_eq!(decode(bytes, version).as_ref(), Ok(&packet));
    let mut encoded = Vec::new();
    encode::packet(&mut encoded, &packet, version);
    assert_eq!(encoded, bytes, "{packet:?}");
}

#[test]
fn a_connect_of_3_1_names_mqisdp() {
    let bytes = b"\x10\x10\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x02c1";
    let connect = Connect { keep_alive: 60, ..Connect::new(Version::V31, "c1") };
    both_ways(bytes, Packet::Connect(Box::new(connect)), Version::V31);
}

#[test]
fn a_connect_of_3_1_1_carries_will_and_credentials() {
    let bytes = b"\x10\x1c\x00\x04MQTT\x04\xf4\x00\x0a\x00\x01c\x00\x01w\x00\x02\x00\xff\x00\x01u\x00\x03\x01\x02\x03";
    let connect = Connect {
        clean_start: false,
        keep_alive: 10,
        will: Some(Will { qos: Qos::ExactlyOnce, retain: true, ..Will::new("w", &[0, 0xff]) }),
        username: Some("u"),
        password: Some(&[1, 2, 3]),
        ..Connect::new(Version::V311, "c")
    };
    both_ways(bytes, Packet::Connect(Box::new(connect)), Version::V311);
}

#[test]
fn a_connect_of_5_carries_every_property() {
    let properties = b"\x11\x00\x00\x00\x78\x21\x00\x14\x27\x00\x01\x00\x00\x22\x00\x0a\x19\x01\x17\x00\x15\x00\x01m\x16\x00\x01d\x26\x00\x01k\x00\x01v";
    let will = b"\x18\x00\x00\x00\x05\x01\x01\x02\x00\x00\x00\x3c\x03\x00\x01t\x08\x00\x01r\x09\x00\x01\x00";
    let mut body = b"\x00\x04MQTT\x05\x06\x00\x00".to_vec();
    body.push(properties.len() as u8);
    body.extend_from_slice(properties);
    body.extend_from_slice(b"\x00\x00");
    body.push(will.len() as u8);
    body.extend_from_slice(will);
    body.extend_from_slice(b"\x00\x01w\x00\x01p");
    let mut bytes = vec![0x10, body.len() as u8];
    bytes.extend_from_slice(&body);

    let connect = Connect {
        will: Some(Will {
            delay_seconds: 5,
            properties: MessageProperties {
                payload_is_utf8: true,
                expiry_seconds: Some(60),
                content_type: Some("t"),
                response_topic: Some("r"),
                correlation_data: Some(&[0]),
                user: UserProperties::default(),
            },
            ..Will::new("w", b"p")
        }),
        session_expiry_seconds: Some(120),
        receive_maximum: Some(id(20)),
        packet_bytes_max: NonZeroU32::new(65_536),
        topic_alias_maximum: 10,
        request_response_information: true,
        request_problem_information: false,
        user: UserProperties::of(&[("k", "v")]),
        authentication_method: Some("m"),
        authentication_data: Some(b"d"),
        ..Connect::new(Version::V5, "")
    };
    both_ways(&bytes, Packet::Connect(Box::new(connect)), Version::V5);
}

#[test]
fn the_bridge_bit_is_taken_off_the_level_and_surfaced() {
    let bytes = b"\x10\x0d\x00\x04MQTT\x84\x02\x00\x00\x00\x01b";
    let connect = Connect { bridge: true, ..Connect::new(Version::V311, "b") };
    both_ways(bytes, Packet::Connect(Box::new(connect)), Version::V311);
    let bytes = b"\x10\x0f\x00\x06MQIsdp\x83\x02\x00\x00\x00\x01b";
    let connect = Connect { bridge: true, ..Connect::new(Version::V31, "b") };
    both_ways(bytes, Packet::Connect(Box::new(connect)), Version::V31);
}

#[test]
fn mqtt_3_1_may_announce_credentials_it_does_not_send() {
    let bytes = b"\x10\x0f\x00\x06MQIsdp\x03\xc2\x00\x00\x00\x01c";
    assert_eq!(decode_connect(bytes), Ok(Connect::new(Version::V31, "c")));
}

#[test]
fn mqtt_5_allows_a_password_alone() {
    let bytes = b"\x10\x11\x00\x04MQTT\x05\x42\x00\x00\x00\x00\x01c\x00\x01p";
    let connect = Connect { password: Some(b"p"), ..Connect::new(Version::V5, "c") };
    both_ways(bytes, Packet::Connect(Box::new(connect)), Version::V5);
}

#[test]
fn a_connack_says_what_its_version_can() {
    let plain = Connack { session_present: true, ..Connack::new(ReasonCode::Success) };
    both_ways(b"\x20\x02\x01\x00", Packet::Connack(plain), Version::V311);
    both_ways(b"\x20\x03\x01\x00\x00", Packet::Connack(plain), Version::V5);
    let refused = Connack::new(ReasonCode::NotAuthorized);
    both_ways(b"\x20\x02\x00\x05", Packet::Connack(refused), Version::V31);
    both_ways(b"\x20\x03\x00\x87\x00", Packet::Connack(refused), Version::V5);
}

#[test]
fn a_connack_of_5_carries_every_property() {
    let properties = b"\x11\x00\x00\x00\x01\x21\x00\x02\x24\x01\x27\x00\x00\x00\x40\x12\x00\x01a\x22\x00\x03\x25\x00\x28\x00\x29\x00\x2a\x00\x13\x00\x1e\x1a\x00\x01i\x1c\x00\x01s\x15\x00\x01m\x16\x00\x01d\x1f\x00\x01r\x26\x00\x01k\x00\x01v";
    let mut bytes = vec![0x20, properties.len() as u8 + 3, 0, 0, properties.len() as u8];
    bytes.extend_from_slice(properties);
    let connack = Connack {
        session_expiry_seconds: Some(1),
        receive_maximum: Some(id(2)),
        maximum_qos: Qos::AtLeastOnce,
        retain_available: false,
        packet_bytes_max: NonZeroU32::new(64),
        assigned_client_id: Some("a"),
        topic_alias_maximum: 3,
        reason: Some("r"),
        user: UserProperties::of(&[("k", "v")]),
        wildcard_subscription_available: false,
        subscription_ids_available: false,
        shared_subscription_available: false,
        server_keep_alive: Some(30),
        response_information: Some("i"),
        server_reference: Some("s"),
        authentication_method: Some("m"),
        authentication_data: Some(b"d"),
        ..Connack::new(ReasonCode::Success)
    };
    both_ways(&bytes, Packet::Connack(connack), Version::V5);
}

#[test]
fn a_publish_is_topic_id_properties_and_the_rest_is_payload() {
    let plain = Publish::new("a/b", b"hi");
    both_ways(b"\x30\x07\x00\x03a/bhi", Packet::Publish(plain), Version::V311);
    both_ways(b"\x30\x08\x00\x03a/b\x00hi", Packet::Publish(plain), Version::V5);
    let twice = Publish {
        dup: true,
        qos: Qos::ExactlyOnce,
        retain: true,
        packet_id: Some(id(0x1234)),
        ..Publish::new("a/b", &[])
    };
    both_ways(b"\x3d\x07\x00\x03a/b\x12\x34", Packet::Publish(twice), Version::V31);
    both_ways(b"\x3d\x08\x00\x03a/b\x12\x34\x00", Packet::Publish(twice), Version::V5);
}

#[test]
fn a_publish_of_5_carries_every_property() {
    let properties = b"\x23\x00\x07\x0b\x01\x0b\x80\x01\x01\x01\x02\x00\x00\x00\x0a\x03\x00\x01t\x08\x00\x01r\x09\x00\x01\x00\x26\x00\x01k\x00\x01v\x26\x00\x01k\x00\x00";
    let mut bytes = vec![0x32, properties.len() as u8 + 6, 0, 0, 0, 9, properties.len() as u8];
    bytes.extend_from_slice(properties);
    bytes.push(b'p');
    let publish = Publish {
        qos: Qos::AtLeastOnce,
        packet_id: Some(id(9)),
        topic_alias: Some(id(7)),
        subscription_ids: SubscriptionIds::of(&[1, 128]),
        properties: MessageProperties {
            payload_is_utf8: true,
            expiry_seconds: Some(10),
            content_type: Some("t"),
            response_topic: Some("r"),
            correlation_data: Some(&[0]),
            user: UserProperties::of(&[("k", "v"), ("k", "")]),
        },
        ..Publish::new("", b"p")
    };
    both_ways(&bytes, Packet::Publish(publish), Version::V5);
}

#[test]
fn user_properties_and_subscription_ids_are_found_between_other_properties() {
    let bytes = b"\x30\x1b\x00\x01t\x17\x26\x00\x01a\x00\x01b\x0b\x05\x01\x01\x26\x00\x01c\x00\x01d\x0b\x06\x23\x00\x01";
    let Ok(Packet::Publish(publish)) = decode(bytes, Version::V5) else { panic!("refused") };
    assert_eq!(publish.properties.user, UserProperties::of(&[("a", "b"), ("c", "d")]));
    assert_eq!(publish.subscription_ids, SubscriptionIds::of(&[5, 6]));
}

#[test]
fn acknowledgements_take_the_shortest_form() {
    let success = Ack::new(id(10), ReasonCode::Success);
    for version in [Version::V31, Version::V311, Version::V5] {
        both_ways(b"\x40\x02\x00\x0a", Packet::Puback(success), version);
        both_ways(b"\x50\x02\x00\x0a", Packet::Pubrec(success), version);
        both_ways(b"\x62\x02\x00\x0a", Packet::Pubrel(success), version);
        both_ways(b"\x70\x02\x00\x0a", Packet::Pubcomp(success), version);
    }
    let refused = Ack::new(id(10), ReasonCode::QuotaExceeded);
    both_ways(b"\x40\x03\x00\x0a\x97", Packet::Puback(refused), Version::V5);
    let unknown = Ack { reason: Some("no"), ..Ack::new(id(10), ReasonCode::PacketIdentifierNotFound) };
    both_ways(b"\x62\x09\x00\x0a\x92\x05\x1f\x00\x02no", Packet::Pubrel(unknown), Version::V5);
}

#[test]
fn a_subscribe_lists_filters_with_options() {
    let plain = [("a/+", SubscribeOptions { qos: Qos::AtLeastOnce, ..SubscribeOptions::default() })];
    let subscribe = Subscribe {
        packet_id: id(1),
        filters: Filters::of(&plain),
        subscription_id: None,
        user: UserProperties::default(),
    };
    both_ways(b"\x82\x08\x00\x01\x00\x03a/+\x01", Packet::Subscribe(subscribe), Version::V311);

    let options = SubscribeOptions {
        qos: Qos::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let filters = [("#", options), ("b", SubscribeOptions::default())];
    let subscribe =
        Subscribe { filters: Filters::of(&filters), subscription_id: Some(268_435_455), ..subscribe };
    let bytes = b"\x82\x10\x00\x01\x05\x0b\xff\xff\xff\x7f\x00\x01#\x2e\x00\x01b\x00";
    both_ways(bytes, Packet::Subscribe(subscribe), Version::V5);
}

#[test]
fn a_suback_answers_every_filter() {
    let codes = [ReasonCode::Success, ReasonCode::GrantedQos2, ReasonCode::UnspecifiedError];
    let suback = Suback::new(id(1), ReasonCodes::of(&codes));
    both_ways(b"\x90\x05\x00\x01\x00\x02\x80", Packet::Suback(suback), Version::V311);
    both_ways(b"\x90\x06\x00\x01\x00\x00\x02\x80", Packet::Suback(suback), Version::V5);
}

#[test]
fn every_refusal_becomes_0x80_in_a_suback_of_3_1_1() {
    let suback = Suback::new(id(1), ReasonCodes::of(&[ReasonCode::NotAuthorized]));
    let mut out = Vec::new();
    encode::suback(&mut out, &suback, Version::V311);
    assert_eq!(out, b"\x90\x03\x00\x01\x80");
}

#[test]
fn unsubscribe_and_unsuback_speak_of_the_same_filters() {
    let unsubscribe =
        Unsubscribe { packet_id: id(2), filters: List::of(&["a", "b/#"]), user: UserProperties::default() };
    both_ways(b"\xa2\x0a\x00\x02\x00\x01a\x00\x03b/#", Packet::Unsubscribe(unsubscribe), Version::V311);
    both_ways(b"\xa2\x0b\x00\x02\x00\x00\x01a\x00\x03b/#", Packet::Unsubscribe(unsubscribe), Version::V5);
    let bare = Suback::new(id(2), ReasonCodes::default());
    both_ways(b"\xb0\x02\x00\x02", Packet::Unsuback(bare), Version::V311);
    let codes = [ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
    let coded = Suback::new(id(2), ReasonCodes::of(&codes));
    both_ways(b"\xb0\x05\x00\x02\x00\x00\x11", Packet::Unsuback(coded), Version::V5);
}

#[test]
fn pings_are_two_bytes() {
    both_ways(b"\xc0\x00", Packet::Pingreq, Version::V5);
    both_ways(b"\xd0\x00", Packet::Pingresp, Version::V31);
}

#[test]
fn a_disconnect_says_why() {
    let normal = Disconnect::new(ReasonCode::Success);
    both_ways(b"\xe0\x00", Packet::Disconnect(normal), Version::V311);
    both_ways(b"\xe0\x00", Packet::Disconnect(normal), Version::V5);
    let taken_over = Disconnect::new(ReasonCode::SessionTakenOver);
    both_ways(b"\xe0\x01\x8e", Packet::Disconnect(taken_over), Version::V5);
    let moved = Disconnect {
        session_expiry_seconds: Some(0),
        reason: Some("r"),
        server_reference: Some("s"),
        ..Disconnect::new(ReasonCode::ServerMoved)
    };
    let bytes = b"\xe0\x0f\x9d\x0d\x11\x00\x00\x00\x00\x1f\x00\x01r\x1c\x00\x01s";
    both_ways(bytes, Packet::Disconnect(moved), Version::V5);
}

#[test]
fn an_auth_names_its_method() {
    let auth = Auth { data: Some(b"d"), ..Auth::new(ReasonCode::ContinueAuthentication, "m") };
    both_ways(b"\xf0\x0a\x18\x08\x15\x00\x01m\x16\x00\x01d", Packet::Auth(auth), Version::V5);
}

#[test]
fn the_packet_id_of_a_shared_frame_can_be_patched() {
    let publish = Publish { qos: Qos::AtLeastOnce, ..Publish::new("topic", &[7; 200]) };
    let mut out = b"before".to_vec();
    let at = encode::publish(&mut out, &publish, Version::V5).expect("qos 1 has a packet id");
    let frame = &mut out[6..];
    frame[at..at + 2].copy_from_slice(&513_u16.to_be_bytes());
    let Ok(Packet::Publish(patched)) = decode(frame, Version::V5) else { panic!("refused") };
    assert_eq!(patched, Publish { packet_id: Some(id(513)), ..publish });
    assert_eq!(encode::publish(&mut out, &Publish::new("t", b""), Version::V5), None);
}

#[test]
fn an_empty_buffer_grows_to_exactly_one_frame() {
    let mut out = Vec::new();
    encode::publish(&mut out, &Publish::new("topic", &[7; 200]), Version::V5);
    assert_eq!(out.capacity(), out.len());
}
