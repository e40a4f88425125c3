//! Attacks on sessions: one client id again and again, and a session that is now kept and now not.

use std::collections::BTreeSet;

use weir_testkit::RawMqtt;
use weir_wire::mqtt::{Packet, Version, decode};

use super::crowd::{connect_long, enter};
use super::frames::{V311, connect, connected, frame, publish, text};
use super::scene::{Scene, node};

/// Session expiry of an hour.
const KEPT: [u8; 5] = [0x11, 0, 0, 14, 16];

fn subscribe_qos1(raw: &mut RawMqtt, filter: &str) {
    raw.send(&frame(0x82, &[&[0, 1, 0][..], &text(filter), &[1]].concat()));
    while raw.frame()[0] != 0x90 {}
}

#[test]
fn a_client_id_that_reconnects_1_000_times_while_published_to_misses_nothing() {
    const CONNECTS: u16 = 1000;
    let scene = Scene::of(node().set("gateway.flapping_connects_max", 0));
    let mut attacker = enter(&scene.node, "target", 0x02, &KEPT);
    subscribe_qos1(&mut attacker, "storm");
    let mut publisher = connected(&scene.node, 5);
    let mut messages = BTreeSet::new();
    for number in 0..CONNECTS {
        // The one before is still there and acknowledges nothing.
        let next = enter(&scene.node, "target", 0x00, &KEPT);
        let before = std::mem::replace(&mut attacker, next);
        if number % 2 == 0 {
            let id = (number + 1).to_be_bytes();
            publisher.send(&publish(0x02, "storm", &[&id[..], &[0], &id].concat()));
            assert_eq!(publisher.frame()[2..], id, "acknowledged");
            messages.insert(id);
            drop(before);
        } else {
            told_of_its_takeover(before);
        }
    }
    while !messages.is_empty() {
        let frame = attacker.frame();
        let Ok(Packet::Publish(message)) = decode(&frame, Version::V5) else { panic!("{frame:02x?}") };
        let id = message.packet_id.expect("QoS 1").get().to_be_bytes();
        messages.remove(message.payload);
        attacker.send(&[&[0x40, 2][..], &id].concat());
    }
    drop((attacker, publisher));
    scene.survives(0);
}

fn told_of_its_takeover(mut raw: RawMqtt) {
    let goodbye = std::iter::from_fn(|| raw.frame_or_end().ok()).find(|frame| frame[0] == 0xE0);
    assert_eq!(goodbye.expect("a DISCONNECT")[2], 0x8E);
}

#[test]
fn a_flapping_client_is_held_off_by_0x97_and_others_are_let_in() {
    let scene = Scene::of(node());
    let once = |client_id: &str| {
        let mut raw = RawMqtt::connect(scene.node.address("mqtt"));
        raw.send(&connect_long(0x02, &[], &text(client_id)));
        raw.frame()[3]
    };
    let codes: Vec<u8> = (0..100).map(|_| once("flapping")).collect();
    assert!(codes[..30].iter().all(|code| *code == 0), "{codes:02x?}");
    assert!(codes[31..].iter().all(|code| *code == 0x97), "{codes:02x?}");
    let mut old = RawMqtt::connect(scene.node.address("mqtt"));
    old.send(&connect(V311, "flapping"));
    assert_eq!(old.frame(), [0x20, 2, 0, 3]);
    assert_eq!(once("another"), 0);
    scene.counts("weir_gateway_flapping_total", 1.0);
    drop(old);
    scene.survives(0);
}

#[test]
fn a_session_now_kept_and_now_not_leaves_nothing_behind() {
    const TURNS: u8 = 200;
    let scene = Scene::of(node().set("gateway.flapping_connects_max", 0));
    let mut publisher = connected(&scene.node, 5);
    for turn in 0..TURNS {
        // Kept, with something in its queue, and cut off.
        let mut kept = enter(&scene.node, "jitter", 0x02, &KEPT);
        subscribe_qos1(&mut kept, "jitter/+");
        subscribe_qos1(&mut kept, "$share/group/jitter/#");
        drop(kept);
        publisher.send(&publish(0x02, "jitter/x", &[0, 1, 0, turn]));
        assert_eq!(publisher.frame()[0], 0x40);
        // Clean again: nothing of it may come.
        let mut clean = enter(&scene.node, "jitter", 0x02, &[]);
        subscribe_qos1(&mut clean, "jitter/+");
        clean.send(&frame(0xC0, &[]));
        assert_eq!(clean.frame(), [0xD0, 0]);
    }
    let mut last = RawMqtt::connect(scene.node.address("mqtt"));
    last.send(&connect_long(0x00, &[], &text("jitter")));
    let connack = last.frame();
    assert_eq!((connack[2], connack[3]), (0, 0), "no session is present");
    drop((last, publisher));
    let sessions = || scene.node.metrics().value("weir_broker_sessions");
    // The pair's two.
    weir_testkit::eventually("sessions to go", || (sessions() == 2.0).then_some(()));
    scene.survives(0);
}
