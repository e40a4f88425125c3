//! Attacks on properties and names: thousands of them, as long as can be, and characters MQTT forbids.

use weir_testkit::{Closed, RawMqtt};

use super::crowd::{connect_long, enter, long};
use super::frames::{V5, connected, disconnected, frame, publish, subscribe, text};
use super::scene::{Scene, node};

/// A user property of nothing: 5 bytes.
const EMPTY: [u8; 5] = [0x26, 0, 0, 0, 0];

/// User properties of a message near the maximum packet size.
const MANY: usize = 150_000;

/// What one such message takes: the packet as read and as sent on, and two texts for each property as it
/// is kept and as it is written.
const MESSAGE_BYTES: u64 = MANY as u64 * (2 * EMPTY.len() as u64 + 2 * 32);

#[test]
fn thousands_of_user_properties_in_connect_are_taken_and_forgotten() {
    const CLIENTS: usize = 50;
    let scene = Scene::of(node());
    // As many as a CONNECT may hold.
    let properties = EMPTY.repeat(100_000);
    for _ in 0..CLIENTS {
        let mut raw = RawMqtt::connect(scene.node.address("mqtt"));
        raw.send(&connect_long(0x02, &properties, &text("")));
        assert_eq!(raw.frame()[3], 0);
    }
    // One at a time.
    scene.survives(properties.len() as u64 * 2);
}

#[test]
fn more_user_properties_than_a_connect_may_hold_are_closed_without_a_word() {
    let scene = Scene::of(node());
    for _ in 0..50 {
        let mut raw = RawMqtt::connect(scene.node.address("mqtt"));
        let _ = raw.try_send(&connect_long(0x02, &EMPTY.repeat(110_000), &text("")));
        raw.end_without_a_word();
    }
    scene.survives(0);
}

#[test]
fn thousands_of_user_properties_in_publish_reach_their_subscriber_and_nobody_else_pays() {
    const MESSAGES: usize = 8;
    let scene = Scene::of(node());
    let many = EMPTY.repeat(MANY);
    let message = publish(0, "many", &long(&many));
    let mut raw = connected(&scene.node, V5);
    raw.send(&subscribe(V5, "many"));
    raw.frame();
    for _ in 0..MESSAGES {
        raw.send(&message);
        assert_eq!(raw.frame(), message);
        scene.serves_others();
    }
    drop(raw);
    scene.survives(2 * MESSAGE_BYTES);
}

#[test]
fn kept_messages_of_nothing_but_user_properties_count_against_their_queue() {
    const MESSAGES: u8 = 25;
    let queue_bytes_max = 16 << 20;
    let scene = Scene::of(node().set("store.queue_bytes_max", queue_bytes_max));
    // A session that is away.
    let mut sleeper = enter(&scene.node, "sleeper", 0x02, &[0x11, 0, 0, 1, 0]);
    sleeper.send(&frame(0x82, &[&[0, 1, 0][..], &text("many"), &[1]].concat()));
    sleeper.frame();
    sleeper.send(&frame(0xE0, &[]));
    sleeper.end();
    let mut raw = connected(&scene.node, V5);
    for number in 1..=MESSAGES {
        raw.send(&publish(2, "many", &[&[0, number][..], &long(&EMPTY.repeat(MANY))].concat()));
        assert_eq!(raw.frame()[..2], [0x40, 2]);
    }
    drop(raw);
    scene.survives(queue_bytes_max + 3 * MESSAGE_BYTES);
}

#[test]
fn client_ids_of_64_kib_take_their_bytes_and_no_more() {
    const CLIENTS: usize = 300;
    let scene = Scene::of(node());
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let client_id = format!("{number:065535}");
        let mut raw = RawMqtt::connect(scene.node.address("mqtt"));
        // Session expiry: what is kept of it is kept once more.
        raw.send(&connect_long(0x02, &[0x11, 0, 0, 0, 60], &text(&client_id)));
        assert_eq!(raw.frame()[3], 0);
        clients.push(raw);
    }
    scene.serves_others();
    drop(clients);
    // The session's key in the directory, the store's and the will table's copy.
    scene.survives(CLIENTS as u64 * 3 * (64 << 10));
}

/// Text that MQTT forbids (MQTT-1.5.4-1, MQTT-1.5.4-2): surrogates, U+0000, and what is no UTF-8 at all.
const FORBIDDEN: [&[u8]; 6] = [
    b"a\0b",
    &[0xed, 0xa0, 0x80],
    &[0xed, 0xbf, 0xbf],
    &[0xc0, 0x80],
    &[0xf8, 0x88, 0x80, 0x80, 0x80],
    &[0xff],
];

#[test]
fn forbidden_characters_in_a_connect_are_malformed_wherever_they_stand() {
    let scene = Scene::of(node());
    for bad in FORBIDDEN {
        let (id, bad) = (text("c"), text(bad));
        let user = |key: &[u8], value: &[u8]| [&[0x26][..], key, value].concat();
        let will =
            |properties: &[u8], topic: &[u8]| [&id[..], &long(properties), topic, &text("payload")].concat();
        let cases = [
            ("client id", connect_long(0x02, &[], &bad)),
            ("user name", connect_long(0x82, &[], &[&id[..], &bad].concat())),
            ("user property's name", connect_long(0x02, &user(&bad, &id), &id)),
            ("user property's value", connect_long(0x02, &user(&id, &bad), &id)),
            ("authentication method", connect_long(0x02, &[&[0x15][..], &bad].concat(), &id)),
            ("will topic", connect_long(0x06, &[], &will(&[], &bad))),
            ("will's content type", connect_long(0x06, &[], &will(&[&[3][..], &bad].concat(), &text("t")))),
            ("will's response topic", connect_long(0x06, &[], &will(&[&[8][..], &bad].concat(), &text("t")))),
            ("will's user property", connect_long(0x06, &[], &will(&user(&bad, &id), &text("t")))),
        ];
        for (place, bytes) in cases {
            let mut raw = RawMqtt::connect(scene.node.address("mqtt"));
            raw.send(&bytes);
            let connack = raw.frame();
            assert_eq!((connack[0], connack[3]), (0x20, 0x81), "{place} {bad:02x?}: {connack:02x?}");
            assert_eq!(raw.end_without_a_word(), Closed::Fin);
        }
    }
    scene.survives(0);
}

#[test]
fn forbidden_characters_in_a_packet_are_malformed_wherever_they_stand() {
    let scene = Scene::of(node());
    for bad in FORBIDDEN {
        let (good, bad) = (text("t"), text(bad));
        let property = |id: u8| long(&[&[id][..], &bad].concat());
        let pair = |key: &[u8], value: &[u8]| long(&[&[0x26][..], key, value].concat());
        let cases = [
            ("content type", publish(0, "t", &property(0x03))),
            ("response topic", publish(0, "t", &property(0x08))),
            ("name of a user property", publish(0, "t", &pair(&bad, &good))),
            ("value of a user property", publish(0, "t", &pair(&good, &bad))),
            ("filter", frame(0x82, &[&[0, 1, 0][..], &bad, &[0]].concat())),
            ("second filter", frame(0x82, &[&[0, 1, 0][..], &good, &[0], &bad, &[0]].concat())),
            ("filter to unsubscribe", frame(0xA2, &[&[0, 1, 0][..], &bad].concat())),
            ("reason", frame(0xE0, &[&[0][..], &property(0x1F)].concat())),
            ("authentication method", frame(0xF0, &[&[0x19][..], &property(0x15)].concat())),
        ];
        for (place, bytes) in cases {
            let mut raw = connected(&scene.node, V5);
            raw.send(&bytes);
            assert_eq!(disconnected(&mut raw), 0x81, "{place} {bad:02x?}");
        }
    }
    scene.survives(0);
}
