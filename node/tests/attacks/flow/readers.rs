//! Receivers that read nothing, or too little, or answer nothing.

use std::io::Read as _;

use weir_testkit::RawMqtt;

use crate::crowd::{Attacker, enter};
use crate::frames::{V5, V311, connect_with, connected, disconnected, frame, publish, text};
use crate::scene::{Scene, node};

/// What waits for one connection in these tests at most.
const OUTBOX_BYTES: u64 = 1 << 20;

/// What the connection has taken from its outbox and the socket not yet taken from it.
const TAKEN_BYTES: u64 = 512 << 10;

fn scene() -> Scene {
    Scene::of(node().set("broker.outbox_bytes_max", OUTBOX_BYTES))
}

fn subscribe(raw: &mut RawMqtt, filter: &str, qos: u8) {
    raw.send(&frame(0x82, &[&[0, 1, 0][..], &text(filter), &[qos]].concat()));
    assert_eq!(raw.frame()[..2], [0x90, 4]);
}

/// Publishes this many bytes of QoS 0 in messages of 32 KiB, as fast as the node takes them.
fn flood(publisher: &mut RawMqtt, topic: &str, bytes: usize) {
    let message = publish(0, topic, &[&[0][..], &vec![b'x'; 32 << 10]].concat());
    (0..bytes / message.len()).for_each(|_| publisher.send(&message));
}

/// All that was sent before has been taken in.
fn settle(publisher: &mut RawMqtt) {
    publisher.send(&frame(0xC0, &[]));
    assert_eq!(publisher.frame(), [0xD0, 0]);
}

#[test]
fn receivers_that_never_read_hold_their_outbox_and_no_more() {
    const READERS: usize = 20;
    let scene = scene();
    let mut readers: Vec<_> = (0..READERS).map(|_| connected(&scene.node, V5)).collect();
    readers.iter_mut().for_each(|raw| subscribe(raw, "flood", 0));
    let mut publisher = connected(&scene.node, V5);
    for _ in 0..8 {
        flood(&mut publisher, "flood", 4 << 20);
        scene.serves_others();
    }
    settle(&mut publisher);
    scene.counts("weir_broker_copies_dropped_total", READERS as f64);
    drop((readers, publisher));
    scene.survives(READERS as u64 * (OUTBOX_BYTES + TAKEN_BYTES));
}

#[test]
fn receivers_of_one_byte_at_a_time_stop_no_publisher() {
    const READERS: usize = 5;
    let scene = scene();
    let mut readers: Vec<_> = (0..READERS).map(|_| connected(&scene.node, V5)).collect();
    for raw in &mut readers {
        subscribe(raw, "flood", 0);
        // The pair publishes to them, too.
        subscribe(raw, "pair/#", 0);
    }
    let mut publisher = connected(&scene.node, V5);
    for _ in 0..40 {
        flood(&mut publisher, "flood", 512 << 10);
        for raw in &readers {
            raw.stream().read_exact(&mut [0]).expect("a byte");
        }
        scene.serves_others();
    }
    settle(&mut publisher);
    drop((readers, publisher));
    scene.survives(READERS as u64 * (OUTBOX_BYTES + TAKEN_BYTES));
}

#[test]
fn receivers_that_answer_nothing_get_their_receive_maximum_and_no_more() {
    const RECEIVE_MAX: u8 = 5;
    const MESSAGES: u16 = 500;
    let scene = Scene::of(node());
    // Kept, so that what waits lies in its queue.
    let mut silent = enter(&scene.node, "silent", 0x02, &[0x21, 0, RECEIVE_MAX, 0x11, 0, 0, 0, 60]);
    subscribe(&mut silent, "unanswered", 2);
    let mut publisher = connected(&scene.node, V5);
    for number in 1..=MESSAGES {
        let id = number.to_be_bytes();
        publisher.send(&publish(0x02, "unanswered", &[&id[..], &[0]].concat()));
        assert_eq!(publisher.frame()[0], 0x40);
    }
    // An answer to a ping comes behind whatever was sent.
    silent.send(&frame(0xC0, &[]));
    let before_pong = std::iter::from_fn(|| Some(silent.frame()).filter(|frame| *frame != [0xD0, 0]));
    assert_eq!(before_pong.count(), usize::from(RECEIVE_MAX));
    silent.send(&frame(0xC0, &[]));
    assert_eq!(silent.frame(), [0xD0, 0]);
    scene.serves_others();
    drop((silent, publisher));
    scene.survives(0);
}

#[test]
fn large_qos1_messages_that_nobody_reads_are_held_to_the_bytes_of_an_outbox() {
    const READERS: usize = 5;
    let scene = scene();
    let mut readers: Vec<_> = (0..READERS).map(|_| connected(&scene.node, V5)).collect();
    readers.iter_mut().for_each(|raw| subscribe(raw, "large", 1));
    let mut publisher = connected(&scene.node, V5);
    for number in 1..=200u16 {
        let id = number.to_be_bytes();
        publisher.send(&publish(0x02, "large", &[&id[..], &[0], &[b'x'; 500_000]].concat()));
        assert_eq!(publisher.frame()[..1], [0x40]);
    }
    scene.serves_others();
    scene.counts("weir_broker_copies_dropped_total", 1.0);
    drop((readers, publisher));
    // One message may stand above each bound.
    scene.survives(READERS as u64 * (OUTBOX_BYTES + TAKEN_BYTES + (1 << 20)));
}

#[test]
fn publishers_that_ignore_the_receive_maximum_are_told_0x93() {
    const ATTACKERS: usize = 20;
    let scene = Scene::of(node().set("broker.receive_max", 100));
    let all: Vec<u8> =
        (1..=5000u16).flat_map(|id| publish(0x04, "t", &[&id.to_be_bytes()[..], &[0]].concat())).collect();
    for _ in 0..ATTACKERS {
        let mut raw = connected(&scene.node, V5);
        let _ = raw.try_send(&all);
        for _ in 0..100 {
            assert_eq!(raw.frame()[0], 0x50);
        }
        assert_eq!(disconnected(&mut raw), 0x93);
    }
    scene.survives(0);
}

/// MQTT 3.1.1 knows no receive maximum: all 65,535 packet ids may be in use.
#[test]
fn qos2_that_is_never_released_holds_its_packet_ids_and_no_more() {
    const ATTACKERS: usize = 3;
    let scene = Scene::of(node());
    let all: Vec<u8> = (1..=u16::MAX).flat_map(|id| publish(0x04, "unreleased", &id.to_be_bytes())).collect();
    let mut attackers = Vec::new();
    for number in 0..ATTACKERS {
        let mut attacker = Attacker::connect(scene.node.address("mqtt"));
        // The first one's session is kept.
        let flags = if number == 0 { 0x00 } else { 0x02 };
        let client_id = text(format!("unreleased-{number}"));
        attacker.pour(&connect_with("MQTT", V311, flags, &[], &client_id));
        let (mut sent, mut said) = (0, Vec::new());
        let wanted = 4 + 4 * usize::from(u16::MAX);
        // All of them, then the first ones once more: they are known and not published again.
        let twice = [&all[..], &all[..all.len() / 64]].concat();
        let again = 4 * (usize::from(u16::MAX) / 64);
        weir_testkit::eventually("every PUBREC", || {
            sent += attacker.pour(&twice[sent..]).expect("open");
            assert!(!attacker.is_closed(&mut said));
            (said.len() >= wanted + again).then_some(())
        });
        scene.serves_others();
        attackers.push(attacker);
    }
    let metrics = scene.node.metrics();
    let once = f64::from(u16::MAX) * ATTACKERS as f64;
    let again_sent = once / 64.0;
    let unmatched = metrics.sum("weir_broker_messages_unmatched_total");
    assert!(unmatched < once + again_sent / 2.0, "{unmatched} of {once} were published");
    drop(attackers);
    scene.survives(ATTACKERS as u64 * u64::from(u16::MAX) * 64);
}
