//! Meta events are the router's own: nobody else says them, in whatever way.

use weir_model::Qos;
use weir_testkit::{Node, RawMqtt};
use weir_wire::mqtt::{self, Connect, Packet, Publish, ReasonCode, Version, Will, encode};

use crate::script;

const EVENTS: [&str; 4] = [
    "wamp/session/on_join",
    "wamp/subscription/on_create",
    "wamp/registration/on_delete",
    "$delayed/1/wamp/session/on_leave",
];

fn connect(node: &Node, will: Option<&str>) -> (RawMqtt, ReasonCode) {
    let mut link = RawMqtt::try_connect(node.address("mqtt")).expect("a connection");
    let will = will.map(|topic| Will { qos: Qos::AtLeastOnce, ..Will::new(topic, b"[1]") });
    let mut bytes = Vec::new();
    encode::connect(&mut bytes, &Connect { will, ..Connect::new(Version::V5, "liar") });
    link.send(&bytes);
    match mqtt::decode(&link.frame(), Version::V5) {
        Ok(Packet::Connack(connack)) => (link, connack.code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_mqtt_client_can_neither_publish_a_meta_event_nor_leave_one_as_its_will() {
    let node = script::node();
    for topic in EVENTS {
        let (_, code) = connect(&node, Some(topic));
        assert!(code.is_error(), "a will for {topic}: {code:?}");
        let (mut link, code) = connect(&node, None);
        assert_eq!(code, ReasonCode::Success);
        let mut bytes = Vec::new();
        let packet_id = std::num::NonZeroU16::new(1);
        let publish = Publish { qos: Qos::AtLeastOnce, packet_id, ..Publish::new(topic, b"[1]") };
        encode::publish(&mut bytes, &publish, Version::V5);
        link.send(&bytes);
        match mqtt::decode(&link.frame(), Version::V5) {
            Ok(Packet::Puback(ack)) => assert_eq!(ack.code, ReasonCode::NotAuthorized, "{topic}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(connect(&node, Some("wamp/own")).1, ReasonCode::Success);
}
