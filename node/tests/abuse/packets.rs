//! Packets that are malformed, forbidden, or out of place, after a good CONNECT.

use weir_testkit::{Closed, Node};

use super::frames::{V5, V311, connect, connected, disconnected, frame, publish, text};
use super::witness::Witness;

/// What an MQTT 5 client must be told (MQTT 5, 4.13), and the packet in both versions where both can say it.
struct Case {
    what: &'static str,
    code: u8,
    v5: Vec<u8>,
    v311: Option<Vec<u8>>,
}

fn case(what: &'static str, code: u8, v5: Vec<u8>, v311: Option<Vec<u8>>) -> Case {
    Case { what, code, v5, v311 }
}

/// The same bytes in both versions.
fn both(what: &'static str, code: u8, bytes: Vec<u8>) -> Case {
    Case { what, code, v311: Some(bytes.clone()), v5: bytes }
}

fn only_v5(what: &'static str, code: u8, bytes: Vec<u8>) -> Case {
    case(what, code, bytes, None)
}

fn framing() -> Vec<Case> {
    vec![
        both("a length of five bytes", 0x81, vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01]),
        both("a packet type of 0", 0x81, frame(0x00, &[])),
        both("a QoS of 3", 0x81, publish(0x06, "t", &[0, 1, 0])),
        both("DUP at QoS 0", 0x81, publish(0x08, "t", &[0])),
        both("reserved bits in PUBREL", 0x81, frame(0x60, &[0, 1])),
        both("reserved bits in SUBSCRIBE", 0x81, frame(0x80, &[0, 1, 0, 0, 1, b't', 0])),
        both("reserved bits in PINGREQ", 0x81, frame(0xC1, &[])),
        both("a PINGREQ with a body", 0x81, frame(0xC0, &[0])),
        both("a PUBACK cut short", 0x81, frame(0x40, &[0])),
        both("a topic longer than its packet", 0x81, frame(0x30, &[0, 9, b't'])),
        both("a packet above the limit", 0x95, vec![0x30, 0xff, 0xff, 0xff, 0x7f]),
        both("a topic that is not UTF-8", 0x81, publish(0, [0xff, 0xfe], &[0])),
        both("a topic with a surrogate", 0x81, publish(0, [0xed, 0xa0, 0x80], &[0])),
        both("a topic with U+0000", 0x81, publish(0, [b'a', 0], &[0])),
    ]
}

fn rules() -> Vec<Case> {
    let no_id = publish(0x02, "t", &[0, 0, 0]);
    let no_filter_v5 = frame(0x82, &[0, 1, 0]);
    let no_filter = frame(0x82, &[0, 1]);
    let slashes = publish(0, "/".repeat(65_535), &[0]);
    vec![
        case("a second CONNECT", 0x82, connect(V5, "again"), Some(connect(V311, "again"))),
        both("a CONNACK", 0x82, frame(0x20, &[0, 0, 0])).at_v311(frame(0x20, &[0, 0])),
        both("a PINGRESP", 0x82, frame(0xD0, &[])),
        both("a SUBACK", 0x82, frame(0x90, &[0, 1, 0, 0])).at_v311(frame(0x90, &[0, 1, 0])),
        both("packet id 0 in PUBLISH", 0x82, no_id),
        both("packet id 0 in SUBSCRIBE", 0x82, frame(0x82, &[0, 0, 0, 0, 1, b't', 0]))
            .at_v311(frame(0x82, &[0, 0, 0, 1, b't', 0])),
        case("a SUBSCRIBE of nothing", 0x82, no_filter_v5, Some(no_filter)),
        both("a wildcard in PUBLISH", 0x90, publish(0, "a/#", &[0])),
        both("a plus in PUBLISH", 0x90, publish(0, "a/+/b", &[0])),
        both("a topic of 65,535 slashes", 0x90, slashes),
        case("no topic", 0x82, publish(0, "", &[0]), Some(publish(0, "", &[]))),
        only_v5("an AUTH that nobody asked for", 0x82, frame(0xF0, &[0x18, 0])),
        only_v5("a reserved bit in subscription options", 0x81, options(0x40)),
        only_v5("retain handling 3", 0x82, options(0x30)),
        only_v5("session expiry raised from 0 at DISCONNECT", 0x82, frame(0xE0, &[0, 5, 0x11, 0, 0, 0, 9])),
    ]
}

fn properties() -> Vec<Case> {
    let with = |properties: &[u8]| {
        let rest = [&[properties.len() as u8], properties, b"payload"].concat();
        publish(0, "t", &rest)
    };
    let no_local_share = frame(0x82, &[&[0, 1, 0], &text("$share/g/t")[..], &[0x04]].concat());
    vec![
        only_v5("a property twice", 0x82, with(&[0x01, 1, 0x01, 1])),
        only_v5("a payload format of 2", 0x82, with(&[0x01, 2])),
        only_v5("a property of another packet", 0x81, with(&[0x11, 0, 0, 0, 1])),
        only_v5("a property nobody knows", 0x81, with(&[0x7f, 1])),
        only_v5("properties cut short", 0x81, with(&[0x02, 0, 0])),
        only_v5("topic alias 0", 0x94, with(&[0x23, 0, 0])),
        only_v5("a topic alias above the maximum", 0x94, with(&[0x23, 0xff, 0xff])),
        only_v5("a topic alias nobody set", 0x82, publish(0, "", &[3, 0x23, 0, 1])),
        only_v5("a subscription id from a client", 0x82, with(&[0x0B, 1])),
        only_v5("a response topic with a wildcard", 0x82, with(&[0x08, 0, 1, b'#'])),
        only_v5("a payload that is not the UTF-8 it claims", 0x99, publish(0, "t", &[2, 0x01, 1, 0xff])),
        only_v5("subscription id 0", 0x82, frame(0x82, &[0, 1, 2, 0x0B, 0, 0, 1, b't', 0])),
        only_v5("no-local on a shared subscription", 0x82, no_local_share),
    ]
}

/// A SUBSCRIBE with this byte of options.
fn options(byte: u8) -> Vec<u8> {
    frame(0x82, &[0, 1, 0, 0, 1, b't', byte])
}

impl Case {
    fn at_v311(self, bytes: Vec<u8>) -> Case {
        Case { v311: Some(bytes), ..self }
    }
}

/// What a client goes on sending because it does not know yet: unread bytes that must not make an RST.
fn more() -> Vec<u8> {
    frame(0xC0, &[]).repeat(40_000)
}

/// Tries every case in both versions beside a witness; the counter of broken packets counts `counted` of them.
fn each_case_is_told_and_ends_in_order(cases: Vec<Case>) {
    let node = Node::of(env!("CARGO_BIN_EXE_weir")).store("memory").listen("http").start();
    let mut witness = Witness::of(&node);
    let before = node.metrics().sum("weir_gateway_disconnects_total");
    let mut ended = 0.0;
    for Case { what, code, v5, v311 } in cases {
        eprintln!("{what}");
        let mut raw = connected(&node, V5);
        raw.send(&[v5, more()].concat());
        assert_eq!(disconnected(&mut raw), code, "{what}");
        ended += 1.0;
        if let Some(v311) = v311 {
            let mut raw = connected(&node, V311);
            raw.send(&[v311, more()].concat());
            assert_eq!(raw.end_without_a_word(), Closed::Fin, "{what}");
            ended += 1.0;
        }
        witness.is_unaffected();
    }
    weir_testkit::eventually("every end to be counted", || {
        let counted = node.metrics().sum("weir_gateway_disconnects_total") - before;
        (counted >= ended).then_some(())
    });
    node.balanced();
}

#[test]
fn malformed_framing_is_told_by_its_code_and_ends_in_order() {
    each_case_is_told_and_ends_in_order(framing());
}

#[test]
fn packets_against_the_rules_are_told_by_their_code_and_end_in_order() {
    each_case_is_told_and_ends_in_order(rules());
}

#[test]
fn properties_against_the_rules_are_told_by_their_code_and_end_in_order() {
    each_case_is_told_and_ends_in_order(properties());
}

#[test]
fn more_unanswered_qos2_than_the_receive_maximum_ends_with_0x93() {
    let node = Node::of(env!("CARGO_BIN_EXE_weir"))
        .store("memory")
        .listen("http")
        .set("broker.receive_max", 4)
        .start();
    let mut raw = connected(&node, V5);
    for id in 1..=5u8 {
        raw.send(&publish(0x04, "t", &[0, id, 0]));
    }
    for _ in 0..4 {
        assert_eq!(raw.frame()[0], 0x50);
    }
    assert_eq!(disconnected(&mut raw), 0x93);
    node.balanced();
}

#[test]
fn answers_to_what_was_never_sent_do_no_harm() {
    let node = Node::of(env!("CARGO_BIN_EXE_weir")).store("memory").start();
    let mut raw = connected(&node, V5);
    raw.send(&frame(0x40, &[0, 7]));
    raw.send(&frame(0x70, &[0, 7]));
    raw.send(&frame(0x62, &[0, 7]));
    assert_eq!(raw.frame(), [0x70, 3, 0, 7, 0x92], "PUBCOMP: packet identifier not found");
    raw.send(&frame(0x50, &[0, 7]));
    assert_eq!(raw.frame(), [0x62, 3, 0, 7, 0x92], "PUBREL: packet identifier not found");
}
