//! Wills: thousands at once, and to topics that are the broker's.

use std::collections::BTreeSet;

use weir_testkit::RawMqtt;
use weir_wire::mqtt::{Packet, Version, decode};

use crate::crowd::{Attacker, connect_long, enter, raise_open_files};
use crate::frames::{V5, V311, connect_with, connected, publish, subscribe, text};
use crate::scene::{Scene, node};

/// The payload of a CONNECT with a will.
fn with_will(level: u8, client_id: &str, topic: &str) -> Vec<u8> {
    let properties: &[u8] = if level == V5 { &[0] } else { &[] };
    [&text(client_id)[..], properties, &text(topic), &text("gone")].concat()
}

#[test]
fn five_thousand_wills_at_once_all_come_and_delay_nobody() {
    const WILLS: usize = 5000;
    raise_open_files();
    let scene = Scene::of(node().set("broker.wills_per_second", 2500));
    let mut heir = connected(&scene.node, V5);
    heir.send(&subscribe(V5, "wills/#"));
    assert_eq!(heir.frame()[0], 0x90);
    let mut dying = Vec::new();
    for number in 0..WILLS {
        let mut attacker = Attacker::connect(scene.node.address("mqtt"));
        let will = with_will(V5, &format!("dying-{number}"), &format!("wills/{number}"));
        attacker.pour(&connect_long(0x06, &[], &will)).expect("taken");
        dying.push(attacker);
    }
    scene.counts("weir_broker_sessions_connected", WILLS as f64 + 3.0);
    drop(dying);
    scene.serves_others();
    let mut topics = BTreeSet::new();
    while topics.len() < WILLS {
        let frame = heir.frame();
        let Ok(Packet::Publish(will)) = decode(&frame, Version::V5) else { panic!("{frame:02x?}") };
        assert!(topics.insert(will.topic.to_owned()), "{} came twice", will.topic);
    }
    scene.serves_others();
    drop(heir);
    scene.survives(WILLS as u64 * (24 << 10));
}

/// What only the broker publishes to, and the ways around that.
const RESERVED: [&str; 5] = [
    "$SYS/broker/version",
    "$SYS",
    "$delayed/0/$SYS/broker/version",
    "$delayed/1/$SYS/broker/version",
    "$share/group/topic",
];

#[test]
fn wills_to_topics_of_the_broker_are_refused_at_connect() {
    let scene = Scene::of(node());
    for topic in RESERVED {
        for (level, code) in [(V5, 0x87), (V311, 5)] {
            let mut raw = RawMqtt::connect(scene.node.address("mqtt"));
            raw.send(&connect_with("MQTT", level, 0x06, &[], &with_will(level, "forger", topic)));
            let connack = raw.frame();
            assert_eq!((connack[0], connack[3]), (0x20, code), "{topic}: {connack:02x?}");
            raw.end_without_a_word();
        }
    }
    scene.survives(0);
}

#[test]
fn nothing_a_client_publishes_comes_out_under_a_topic_of_the_broker() {
    let scene = Scene::of(node().set("broker.sys_interval_seconds", 0));
    let mut reader = connected(&scene.node, V5);
    for filter in ["$SYS/#", "$SYS", "$share/group/$SYS/#"] {
        reader.send(&subscribe(V5, filter));
        while reader.frame()[0] != 0x90 {}
    }
    let mut forger = enter(&scene.node, "forger", 0x02, &[]);
    for topic in &RESERVED[..4] {
        for flags in 0..4 {
            let id: &[u8] = if flags & 2 == 0 { &[] } else { &[0, 1] };
            forger.send(&publish(flags, topic, &[id, b"\0forged"].concat()));
            if flags & 2 != 0 {
                assert_eq!(forger.frame(), [0x40, 3, 0, 1, 0x87], "{topic}");
            }
        }
    }
    // Delayed ones have come due, too, when a later one comes back.
    reader.send(&subscribe(V5, "due"));
    reader.frame();
    forger.send(&publish(0, "$delayed/1/due", b"\0x"));
    assert_eq!(reader.frame(), publish(0, "due", b"\0x"));
    drop((reader, forger));
    scene.survives(0);
}
