//! Being somebody else: by client id, or by properties that look like the broker's.

use serde_json::json;
use weir_testkit::RawMqtt;

use super::token::{connect, enter, good, guarded, of, pair};
use crate::frames::{V5, V311, frame, publish, subscribe, text};
use crate::scene::Scene;

/// Session expiry of an hour.
const KEPT: [u8; 5] = [0x11, 0, 0, 14, 16];

fn user_property(name: &str, value: &str) -> Vec<u8> {
    [&[0x26][..], &text(name), &text(value)].concat()
}

#[test]
fn a_session_is_its_user_s_and_no_other_gets_it_by_its_client_id() {
    let scene = Scene::of_users(guarded(), pair());
    let mut owner = enter(&scene.node, "wanted", 0x02, &KEPT, &of("owner"));
    owner.send(&frame(0x82, &[&[0, 1, 0][..], &text("secret"), &[1]].concat()));
    assert_eq!(owner.frame().last(), Some(&1));
    let hijack = |level, flags, user_id: &str| {
        let mut raw = RawMqtt::connect(scene.node.address("mqtt"));
        raw.send(&connect(level, flags, &[], "wanted", ("JWT", &of(user_id))));
        let connack = raw.frame();
        assert_eq!(connack[2], 0, "no session");
        connack[3]
    };
    let try_all = || {
        for user_id in ["thief", "Owner", "owner ", "own", "owner2"] {
            for flags in [0x00, 0x02] {
                assert_eq!(hijack(V5, flags, user_id), 0x85, "{user_id}");
                assert_eq!(hijack(V311, flags, user_id), 2, "{user_id}");
            }
        }
    };
    try_all();
    owner.send(&frame(0xC0, &[]));
    assert_eq!(owner.frame(), [0xD0, 0], "nobody took it over");
    // Nor while it is away.
    drop(owner);
    try_all();
    let mut publisher = enter(&scene.node, "publisher", 0x02, &[], &of("publisher"));
    publisher.send(&publish(2, "secret", b"\0\x01\0for the owner"));
    assert_eq!(publisher.frame()[..2], [0x40, 2]);
    try_all();
    // Its own user has it whenever it comes.
    let mut owner = RawMqtt::connect(scene.node.address("mqtt"));
    owner.send(&connect(V5, 0x00, &KEPT, "wanted", ("JWT", &of("owner"))));
    assert_eq!(owner.frame()[2..4], [1, 0]);
    assert!(owner.frame().ends_with(b"for the owner"));
    drop((owner, publisher));
    scene.survives(0);
}

#[test]
fn user_properties_that_look_like_the_broker_s_give_no_right() {
    let scene = Scene::of_users(guarded().set("access.policy", "own"), pair());
    let names = ["user_id", "roles", "handler", "claims", "realm", "client_id", "weir-user", "$principal"];
    let properties: Vec<u8> = names.iter().flat_map(|name| user_property(name, "victim")).collect();
    let mut attacker = RawMqtt::connect(scene.node.address("mqtt"));
    let token = good(&json!({ "user_id": "attacker", "roles": ["authenticated", "anonymous"] }));
    let payload = [text("attacker"), text("JWT"), text(token)].concat();
    attacker.send(&crate::crowd::connect_long(0xC2, &properties, &payload));
    assert_eq!(attacker.frame()[3], 0);
    attacker.send(&subscribe(V5, "victim/#"));
    assert_eq!(attacker.frame().last(), Some(&0x87));
    let rest = [&[0, 1][..], &crate::crowd::long(&properties)].concat();
    attacker.send(&publish(2, "victim/x", &rest));
    assert_eq!(attacker.frame(), [0x40, 3, 0, 1, 0x87]);
    drop(attacker);
    scene.survives(0);
}

#[test]
fn user_properties_that_look_like_the_broker_s_are_handed_on_and_mean_nothing() {
    let scene = Scene::of_users(guarded(), pair());
    let names = ["weir-position", "weir-expiry", "message-id", "traceparent"];
    let properties: Vec<u8> = names.iter().flat_map(|name| user_property(name, "null")).collect();
    let mut raw = enter(&scene.node, "both", 0x02, &[], &of("both"));
    raw.send(&subscribe(V5, "both/+"));
    assert_eq!(raw.frame().last(), Some(&0));
    let message = |flags: u8, id: &[u8]| {
        publish(flags, "both/x", &[id, &crate::crowd::long(&properties), b"payload"].concat())
    };
    for number in 1..=20u8 {
        raw.send(&message(3, &[0, number]));
        // The copy and the PUBACK, in either order; nothing else.
        let mut said = [raw.frame(), raw.frame()];
        said.sort();
        assert_eq!(said[1][..4], [0x40, 2, 0, number]);
        assert_eq!(said[0], message(0, &[]), "byte for byte");
    }
    drop(raw);
    scene.survives(0);
}
