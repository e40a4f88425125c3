//! The first packet: whatever is not a good CONNECT is refused without being buffered.

use weir_testkit::{Closed, Node, RawMqtt};

use super::frames::{V5, V311, connect, connect_with, frame, publish, subscribe, text};
use super::witness::Witness;

fn node() -> Node {
    Node::of(env!("CARGO_BIN_EXE_weir")).store("memory").listen("http").start()
}

/// The reason or return code of the CONNACK to these first bytes, with nothing but an orderly end behind it.
fn refused(node: &Node, bytes: &[u8]) -> u8 {
    let mut raw = RawMqtt::connect(node.address("mqtt"));
    raw.send(bytes);
    let connack = raw.frame();
    assert_eq!((connack[0], connack[2]), (0x20, 0), "CONNACK without a session: {connack:02x?}");
    assert_eq!(raw.end_without_a_word(), Closed::Fin);
    connack[3]
}

#[test]
fn a_first_packet_that_is_no_connect_is_closed_without_a_word() {
    let node = node();
    let mut witness = Witness::of(&node);
    let first: [(&str, Vec<u8>); 9] = [
        ("PUBLISH", publish(0, "t", b"x")),
        ("SUBSCRIBE", subscribe(V311, "t")),
        ("PINGREQ", vec![0xC0, 0]),
        ("a huge PUBLISH", vec![0x30, 0xff, 0xff, 0xff, 0x7f]),
        ("a huge CONNECT", vec![0x10, 0xff, 0xff, 0xff, 0x7f]),
        ("a CONNECT with a length of five bytes", vec![0x10, 0xff, 0xff, 0xff, 0xff, 1]),
        ("HTTP", b"GET / HTTP/1.1\r\nhost: here\r\n\r\n".to_vec()),
        ("TLS", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
        ("a protocol nobody knows", connect_with("MQTX", V5, 0x02, &[], &text("c"))),
    ];
    for (what, bytes) in first {
        let mut raw = RawMqtt::connect(node.address("mqtt"));
        raw.send(&[bytes, vec![0; 50_000]].concat());
        assert_eq!(raw.end_without_a_word(), Closed::Fin, "{what}");
        witness.is_unaffected();
    }
    let counted = || node.metrics().sum("weir_gateway_connects_refused_total");
    weir_testkit::eventually("refusals to be counted", || (counted() >= 9.0).then_some(()));
    node.balanced();
}

#[test]
fn a_huge_connect_is_refused_without_being_buffered() {
    let node = node();
    let before = node.resident_bytes();
    let mut half_sent: Vec<RawMqtt> = Vec::new();
    for _ in 0..200 {
        let mut raw = RawMqtt::connect(node.address("mqtt"));
        // 255 MiB are announced.
        raw.send(&[&[0x10, 0xff, 0xff, 0xff, 0x7f][..], &[0; 8192]].concat());
        half_sent.push(raw);
    }
    for raw in &mut half_sent {
        assert_eq!(raw.end_without_a_word(), Closed::Fin);
    }
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for 200 refused clients");
}

#[test]
fn a_connect_against_the_rules_is_told_by_its_code() {
    let node = node();
    let id = text("c");
    let will = [&id[..], &[0], &text("w"), &text("x")].concat();
    let response_topic = [&[0x08][..], &text("a/#")].concat();
    let will_answered =
        [&id[..], &[response_topic.len() as u8], &response_topic, &text("w"), &text("x")].concat();
    let will_at = |topic: &str| [&id[..], &[0], &text(topic), &text("x")].concat();
    let cases: [(&str, u8, Vec<u8>); 12] = [
        ("a will to a wildcard", 0x90, connect_with("MQTT", V5, 0x06, &[], &will_at("w/+"))),
        ("a will answered at a wildcard", 0x82, connect_with("MQTT", V5, 0x06, &[], &will_answered)),
        ("a reserved flag", 0x81, connect_with("MQTT", V5, 0x03, &[], &id)),
        ("a will QoS without a will", 0x81, connect_with("MQTT", V5, 0x0A, &[], &id)),
        ("a will QoS of 3", 0x81, connect_with("MQTT", V5, 0x1E, &[], &will)),
        ("receive maximum 0", 0x82, connect_with("MQTT", V5, 0x02, &[0x21, 0, 0], &id)),
        ("maximum packet size 0", 0x82, connect_with("MQTT", V5, 0x02, &[0x27, 0, 0, 0, 0], &id)),
        (
            "a property twice",
            0x82,
            connect_with("MQTT", V5, 0x02, &[0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1], &id),
        ),
        ("a request flag of 2", 0x82, connect_with("MQTT", V5, 0x02, &[0x19, 2], &id)),
        ("a client id that is not UTF-8", 0x81, connect_with("MQTT", V5, 0x02, &[], &text([0xff]))),
        ("bytes behind the payload", 0x81, connect_with("MQTT", V5, 0x02, &[], &[&id[..], &[0]].concat())),
        (
            "an authentication method nobody speaks",
            0x8C,
            connect_with("MQTT", V5, 0x02, &[0x15, 0, 1, b'x'], &id),
        ),
    ];
    for (what, code, bytes) in cases {
        assert_eq!(refused(&node, &bytes), code, "{what}");
    }
}

#[test]
fn a_protocol_level_nobody_speaks_is_told_so() {
    let node = node();
    assert_eq!(refused(&node, &connect_with("MQTT", 6, 0x02, &[], &text("c"))), 0x84);
    assert_eq!(refused(&node, &connect_with("MQIsdp", 9, 0x02, &[], &text("c"))), 0x01);
}

#[test]
fn an_empty_client_id_with_a_kept_session_is_refused_in_3_1_1() {
    let node = node();
    assert_eq!(refused(&node, &connect_with("MQTT", V311, 0x00, &[], &text(""))), 0x02);
}

#[test]
fn todays_odd_clients_are_taken_in() {
    let node = node();
    for (name, level) in [("MQIsdp", 0x03), ("MQIsdp", 0x83), ("MQTT", 0x84)] {
        let mut raw = RawMqtt::connect(node.address("mqtt"));
        raw.send(&connect_with(name, level, 0x02, &[], &text("odd")));
        assert_eq!(raw.frame(), [0x20, 2, 0, 0], "{name} {level:#x}");
        raw.send(&subscribe(V311, "t"));
        assert_eq!(raw.frame()[0], 0x90);
        raw.send(&publish(0, "t", b"x"));
        // A bridge does not hear itself; a ping shows that nothing was in between.
        let is_bridge = level & 0x80 != 0;
        if !is_bridge {
            assert_eq!(raw.frame(), publish(0, "t", b"x"));
        }
        raw.send(&frame(0xC0, &[]));
        assert_eq!(raw.frame(), [0xD0, 0]);
    }
}

#[test]
fn a_client_id_of_65_535_bytes_is_a_client_id() {
    let node = node();
    let client_id = "c".repeat(65_535);
    for present in [0, 1] {
        let mut raw = RawMqtt::connect(node.address("mqtt"));
        // Session expiry, no clean start.
        raw.send(&connect_with("MQTT", V5, 0x00, &[0x11, 0, 0, 0, 60], &text(&client_id)));
        let connack = raw.frame();
        assert_eq!((connack[2], connack[3]), (present, 0), "{connack:02x?}");
        raw.send(&frame(0xE0, &[]));
        assert_eq!(raw.end(), Closed::Fin);
    }
}

#[test]
fn a_slow_connect_runs_out_of_time() {
    let node =
        Node::of(env!("CARGO_BIN_EXE_weir")).store("memory").set("gateway.connect_timeout_ms", 200).start();
    let mut witness = Witness::of(&node);
    let whole = connect(V5, "slow");
    for part in [&whole[..0], &whole[..1], &whole[..whole.len() - 1]] {
        let mut raw = RawMqtt::connect(node.address("mqtt"));
        raw.send(part);
        assert_eq!(raw.end_without_a_word(), Closed::Fin, "after {} bytes", part.len());
    }
    witness.is_unaffected();
}
