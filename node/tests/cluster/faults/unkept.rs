//! What Redis did not keep is not said to be done.

use std::num::NonZeroU16;

use weir_model::Qos;
use weir_testkit::RawMqtt;
use weir_wire::mqtt::{
    Ack, Connect, List, Packet, Publish, ReasonCode, Subscribe, SubscribeOptions, UserProperties, Version,
    decode, encode,
};

use super::scene_with;

struct Client(RawMqtt);

impl Client {
    fn connect(node: &weir_testkit::Node, client_id: &str) -> Client {
        let mut client = Client(RawMqtt::connect(node.address("mqtt")));
        let connect = Connect::new(Version::V5, client_id);
        let kept = Connect { clean_start: false, session_expiry_seconds: Some(3600), ..connect };
        client.say(&Packet::Connect(Box::new(kept)));
        client.0.frame();
        client
    }

    fn say(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode::packet(&mut bytes, packet, Version::V5);
        self.0.send(&bytes);
    }

    fn subscribe(&mut self, filter: &str) {
        let options = SubscribeOptions { qos: Qos::ExactlyOnce, ..Default::default() };
        let filters = [(filter, options)];
        self.say(&Packet::Subscribe(Subscribe {
            packet_id: NonZeroU16::MIN,
            filters: List::of(&filters),
            subscription_id: None,
            user: UserProperties::default(),
        }));
        self.0.frame();
    }

    /// The delivery goes on: from its PUBLISH on, or from its PUBREL if what nobody was told of was kept all the same.
    fn is_delivered_again(&mut self, id: NonZeroU16) {
        let frame = self.0.frame();
        match decode(&frame, Version::V5).expect("a packet") {
            Packet::Publish(publish) => assert_eq!((publish.packet_id, publish.dup), (Some(id), true)),
            Packet::Pubrel(ack) => assert_eq!(ack.packet_id, id),
            other => panic!("{other:?} for a delivery that is not finished"),
        }
    }

    /// Packet id and DUP of the next PUBLISH.
    fn publish(&mut self) -> (NonZeroU16, bool) {
        let frame = self.0.frame();
        match decode(&frame, Version::V5).expect("a packet") {
            Packet::Publish(publish) => (publish.packet_id.expect("QoS 2"), publish.dup),
            other => panic!("{other:?} instead of PUBLISH"),
        }
    }
}

#[test]
fn a_pubrec_that_redis_did_not_keep_is_not_answered_and_the_message_comes_again() {
    let mut scene = scene_with(|node| node.set("store.redis.unknown_wait_ms", 500));
    let mut subscriber = Client::connect(scene.cluster.node(0), "subscriber");
    subscriber.subscribe("t");
    let mut publisher = Client::connect(scene.cluster.node(1), "publisher");
    let once = Publish { qos: Qos::ExactlyOnce, packet_id: Some(NonZeroU16::MIN), ..Publish::new("t", b"x") };
    publisher.say(&Packet::Publish(once));
    let (id, _) = subscriber.publish();

    scene.redis.kill9();
    subscriber.say(&Packet::Pubrec(Ack::new(id, ReasonCode::Success)));
    while let Ok(frame) = subscriber.0.frame_or_end() {
        let said = decode(&frame, Version::V5).expect("a packet");
        assert!(matches!(said, Packet::Disconnect(_)), "{said:?} to a PUBREC that nobody keeps");
    }
    scene.redis.restart();
    scene.cluster.wait_until_whole();

    weir_testkit::eventually("leases to stand again", || {
        let ready = weir_testkit::http::get(scene.cluster.node(2).address("http"), "/health/ready?strict");
        (ready.status == 200).then_some(())
    });
    let mut subscriber = Client::connect(scene.cluster.node(2), "subscriber");
    subscriber.is_delivered_again(id);
}
