//! Promise: every message is accounted for: whatever fault befalls a node, its ledger balances at rest.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::{Duration, Instant};

use weir_model::Qos;
use weir_testkit::node::Builder;
use weir_testkit::{Node, RawMqtt, eventually};
use weir_wire::mqtt::{
    Ack, Connect, Disconnect, List, Packet, Publish, ReasonCode, Subscribe, SubscribeOptions, UserProperties,
    Version, decode, encode,
};

const EXPIRY_SECONDS: u32 = 3600;

fn node() -> Builder {
    Node::of(env!("CARGO_BIN_EXE_weir")).listen("http").set("broker.sys_interval_seconds", 0)
}

/// How long a client's session lives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Clean,
    Kept,
}

/// A client that says and hears one packet at a time.
struct Client(RawMqtt);

impl Client {
    fn connect(node: &Node, client_id: &str, life: Life) -> Client {
        let mut client = Client(RawMqtt::connect(node.address("mqtt")));
        let connect = Connect {
            clean_start: life == Life::Clean,
            session_expiry_seconds: (life == Life::Kept).then_some(EXPIRY_SECONDS),
            ..Connect::new(Version::V5, client_id)
        };
        client.say(&Packet::Connect(Box::new(connect)));
        assert_eq!(client.0.frame()[0], 0x20);
        client
    }

    fn say(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode::packet(&mut bytes, packet, Version::V5);
        self.0.send(&bytes);
    }

    fn subscribed(mut self, filter: &str, qos: Qos) -> Client {
        let filters = [(filter, SubscribeOptions { qos, ..SubscribeOptions::default() })];
        self.say(&Packet::Subscribe(Subscribe {
            packet_id: NonZeroU16::MIN,
            filters: List::of(&filters),
            subscription_id: None,
            user: UserProperties::default(),
        }));
        // Retained messages may come first.
        while self.0.frame()[0] != 0x90 {}
        self
    }

    fn publish(&mut self, topic: &str, payload: &[u8], qos: Qos, retain: bool) {
        let packet_id = (qos > Qos::AtMostOnce).then_some(NonZeroU16::MIN);
        self.say(&Packet::Publish(Publish { qos, retain, packet_id, ..Publish::new(topic, payload) }));
        if qos > Qos::AtMostOnce {
            self.acknowledged();
        }
    }

    /// Waits for PUBACK, PUBREC or the answer to a ping, whatever else comes before.
    fn acknowledged(&mut self) {
        loop {
            let frame = self.0.frame();
            match decode(&frame, Version::V5).expect("a good frame") {
                Packet::Puback(_) | Packet::Pubcomp(_) | Packet::Pingresp => return,
                Packet::Pubrec(ack) => {
                    self.say(&Packet::Pubrel(Ack::new(ack.packet_id, ReasonCode::Success)))
                }
                _ => {}
            }
        }
    }

    /// Everything said before has been read.
    fn ping(&mut self) {
        self.say(&Packet::Pingreq);
        self.acknowledged();
    }

    /// The next PUBLISH, with its packet id.
    fn delivery(&mut self) -> Option<NonZeroU16> {
        loop {
            let frame = self.0.frame();
            if let Packet::Publish(publish) = decode(&frame, Version::V5).expect("a good frame") {
                return publish.packet_id;
            }
        }
    }

    fn leave(mut self) {
        self.say(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
        self.0.end();
    }
}

fn counted(node: &Node, series: &str) -> f64 {
    node.metrics().value(series)
}

fn dropped(node: &Node, reason: &str) -> f64 {
    counted(node, &format!("weir_broker_copies_dropped_total{{reason=\"{reason}\"}}"))
}

#[test]
fn a_reader_that_reads_nothing_and_is_then_gone_leaves_a_balance() {
    let node = node().store("memory").start();
    let stuck = Client::connect(&node, "stuck", Life::Clean).subscribed("flood", Qos::AtMostOnce);
    let mut publisher = Client::connect(&node, "p", Life::Clean);
    for _ in 0..300 {
        publisher.publish("flood", &[0; 64 << 10], Qos::AtMostOnce, false);
    }
    publisher.ping();
    assert!(dropped(&node, "outbox_full") > 0.0);
    node.balanced();
    drop(stuck);
    eventually("what waited for it to be counted", || {
        (dropped(&node, "connection_lost") > 0.0).then_some(())
    });
    node.balanced();
}

#[test]
fn every_kind_of_subscriber_cut_off_in_mid_delivery_leaves_a_balance() {
    let node = node().store("memory").set("broker.inflight_max", 5).start();
    let mut publisher = Client::connect(&node, "p", Life::Clean);
    for round in 0..3 {
        let kinds = [
            ("clean-0", Life::Clean, "t/#", Qos::AtMostOnce),
            ("clean-1", Life::Clean, "t/#", Qos::AtLeastOnce),
            ("clean-2", Life::Clean, "t/+", Qos::ExactlyOnce),
            ("kept-1", Life::Kept, "t/#", Qos::AtLeastOnce),
            ("kept-2", Life::Kept, "t/+", Qos::ExactlyOnce),
            ("member-a", Life::Clean, "$share/g/t/#", Qos::AtLeastOnce),
            ("member-b", Life::Clean, "$share/g/t/#", Qos::ExactlyOnce),
            ("member-c", Life::Clean, "$share/h/t/#", Qos::AtLeastOnce),
            ("member-d", Life::Kept, "$share/h/t/#", Qos::AtLeastOnce),
        ];
        let mut readers: Vec<Client> = kinds
            .iter()
            .map(|(id, life, filter, qos)| Client::connect(&node, id, *life).subscribed(filter, *qos))
            .collect();
        for number in 0..30u8 {
            let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][usize::from(number) % 3];
            publisher.publish(&format!("t/{round}"), &[number], qos, number % 7 == 0);
        }
        for reader in &mut readers {
            reader.delivery();
        }
        drop(readers);
        node.balanced();
    }
}

#[test]
fn a_storm_of_takeovers_leaves_a_balance() {
    let node = node().store("memory").set("gateway.flapping_connects_max", 0).start();
    let mut publisher = Client::connect(&node, "p", Life::Clean);
    for life in [Life::Clean, Life::Kept] {
        let mut sockets = Vec::new();
        for round in 0..40u8 {
            sockets.push(Client::connect(&node, "torn", life).subscribed("t", Qos::AtLeastOnce));
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
                publisher.publish("t", &[round], qos, false);
            }
        }
        drop(sockets);
        node.balanced();
    }
}

#[test]
fn a_killed_node_that_comes_back_balances_from_the_first_message_on() {
    let mut node = node().on_own_address().listen("http").start();
    let kept = Client::connect(&node, "kept", Life::Kept).subscribed("t", Qos::AtLeastOnce);
    let mut publisher = Client::connect(&node, "p", Life::Clean);
    for number in 0..20u8 {
        publisher.publish("t", &[number], Qos::AtLeastOnce, true);
    }
    node.balanced();
    drop(kept);
    node.kill9();
    let node = node.restart();
    node.balanced();
    let mut kept = Client::connect(&node, "kept", Life::Kept);
    for _ in 0..20 {
        kept.delivery().expect("QoS 1");
    }
    node.balanced();
    assert_eq!(counted(&node, "weir_broker_copies_resent_total"), 20.0, "nobody knows what was sent");
}

#[test]
fn what_expires_or_is_too_large_leaves_a_balance() {
    let node = node().store("memory").start();
    let kept = Client::connect(&node, "kept", Life::Kept).subscribed("t", Qos::AtLeastOnce);
    kept.leave();
    let mut publisher = Client::connect(&node, "p", Life::Clean);
    let properties = weir_wire::mqtt::MessageProperties { expiry_seconds: Some(1), ..Default::default() };
    let short_lived = Publish {
        qos: Qos::AtLeastOnce,
        packet_id: Some(NonZeroU16::MIN),
        properties,
        ..Publish::new("t", b"x")
    };
    publisher.say(&Packet::Publish(short_lived));
    publisher.acknowledged();
    publisher.publish("t", &[0; 2048], Qos::AtLeastOnce, false);
    node.balanced();
    let published = Instant::now();
    eventually("the first message to expire", || {
        (published.elapsed() > Duration::from_secs(2)).then_some(())
    });

    let mut small = Client(RawMqtt::connect(node.address("mqtt")));
    let connect = Connect {
        clean_start: false,
        session_expiry_seconds: Some(EXPIRY_SECONDS),
        packet_bytes_max: NonZeroU32::new(1024),
        ..Connect::new(Version::V5, "kept")
    };
    small.say(&Packet::Connect(Box::new(connect)));
    eventually("both to be given up", || {
        (dropped(&node, "too_large") == 1.0 && dropped(&node, "expired") == 1.0).then_some(())
    });
    node.balanced();
}

#[test]
fn queues_that_overflow_leave_a_balance() {
    let node = node().store("memory").set("store.queue_messages_max", 5).start();
    for (id, filter) in [("kept", "t"), ("member", "$share/g/t")] {
        Client::connect(&node, id, Life::Kept).subscribed(filter, Qos::AtLeastOnce).leave();
    }
    let mut publisher = Client::connect(&node, "p", Life::Clean);
    for number in 0..20u8 {
        publisher.publish("t", &[number], Qos::AtLeastOnce, false);
    }
    node.balanced();
    assert!(dropped(&node, "queue_full") >= 15.0);
    let mut kept = Client::connect(&node, "kept", Life::Kept);
    let mut member = Client::connect(&node, "member", Life::Kept);
    for _ in 0..5 {
        kept.delivery();
        member.delivery();
    }
    node.balanced();
}

#[test]
fn retained_messages_replayed_to_every_kind_of_session_leave_a_balance() {
    let node = node().store("memory").set("store.queue_messages_max", 10).start();
    let mut publisher = Client::connect(&node, "p", Life::Clean);
    for number in 0..50 {
        publisher.publish(&format!("r/{number}"), b"x", Qos::AtLeastOnce, true);
    }
    for (id, life) in [("clean", Life::Clean), ("kept", Life::Kept)] {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let mut reader = Client::connect(&node, id, life).subscribed("r/#", qos);
            reader.delivery();
            drop(reader);
            node.balanced();
        }
    }
}

#[test]
fn losses_are_told_on_sys_drops_while_somebody_listens() {
    let node = node().store("memory").set("store.queue_messages_max", 1).start();
    Client::connect(&node, "sleeper", Life::Kept).subscribed("a/b", Qos::AtLeastOnce).leave();
    let mut watcher =
        Client::connect(&node, "watcher", Life::Clean).subscribed("$SYS/drops", Qos::AtMostOnce);
    let mut publisher = Client::connect(&node, "p", Life::Clean);
    // The broker sees its watcher at the next tick.
    eventually("an event", || {
        publisher.publish("a/b", b"x", Qos::AtLeastOnce, false);
        watcher.say(&Packet::Pingreq);
        let frame = watcher.0.frame();
        match decode(&frame, Version::V5).expect("a good frame") {
            Packet::Publish(event) => {
                let said = std::str::from_utf8(event.payload).expect("JSON");
                assert!(said.starts_with(r#"{"reason":"queue_full","count":"#), "{said}");
                assert!(said.ends_with(r#","client":"sleeper","topic":"a/b"}"#), "{said}");
                Some(())
            }
            _ => None,
        }
    });
    node.balanced();
}
