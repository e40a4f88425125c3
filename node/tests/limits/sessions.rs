//! What a connection and its session may ask for: a name, a keep-alive, an expiry, a will.

use weir_testkit::{Node, RawMqtt, eventually};
use weir_wire::mqtt::{Connack, Connect, Packet, Version, Will, decode, encode};

use crate::frames::{V5, V311, connect, connected, disconnected, frame, subscribe};
use crate::scene::{is_ended, is_limited, limited, node};

/// Sends this CONNECT; `look` sees the CONNACK.
fn greeted(node: &Node, connect: &Connect<'_>, look: impl FnOnce(&Connack<'_>)) -> RawMqtt {
    let mut raw = RawMqtt::connect(node.address("mqtt"));
    let mut bytes = Vec::new();
    encode::connect(&mut bytes, connect);
    raw.send(&bytes);
    match decode(&raw.frame(), connect.version).expect("a good frame") {
        Packet::Connack(connack) => look(&connack),
        other => panic!("{other:?}"),
    }
    raw
}

#[test]
fn who_is_silent_for_too_long_is_told_so_and_counted() {
    let node = node().start();
    let connect = Connect { keep_alive: 1, ..Connect::new(Version::V5, "silent") };
    let mut raw = greeted(&node, &connect, |connack| assert_eq!(connack.server_keep_alive, None));
    assert_eq!(disconnected(&mut raw), 0x8D);
    is_ended(&node, "keep_alive");
}

#[test]
fn who_asks_for_a_longer_keep_alive_or_none_is_told_the_longest_and_counted() {
    let node = node().set("gateway.keep_alive_seconds_max", 77).start();
    let told = |asked, told| {
        let connect = Connect { keep_alive: asked, ..Connect::new(Version::V5, "") };
        greeted(&node, &connect, |connack| assert_eq!(connack.server_keep_alive, told));
    };
    told(77, None);
    assert_eq!(limited(&node, "gateway", "keep_alive_seconds_max"), 0.0);
    told(0, Some(77));
    told(78, Some(77));
    assert_eq!(limited(&node, "gateway", "keep_alive_seconds_max"), 2.0);
}

#[test]
fn a_session_ends_after_the_longest_expiry_whatever_its_client_asked_for() {
    let node = node().set("broker.session_expiry_seconds_max", 1).start();
    let connect = Connect { session_expiry_seconds: Some(3600), ..Connect::new(Version::V5, "kept") };
    let mut raw = greeted(&node, &connect, |connack| assert_eq!(connack.session_expiry_seconds, Some(1)));
    assert_eq!(limited(&node, "broker", "session_expiry_seconds_max"), 1.0);
    raw.send(&frame(0xE0, &[0, 5, 0x11, 0, 0, 0x0E, 0x10]));
    raw.end_without_a_word();
    eventually("the session to end", || {
        let metrics = node.metrics();
        let expired = metrics.value("weir_broker_sessions_expired_total");
        (expired == 1.0 && metrics.value("weir_broker_sessions") == 0.0).then_some(())
    });
    assert_eq!(limited(&node, "broker", "session_expiry_seconds_max"), 2.0);
}

#[test]
fn a_client_id_above_the_limit_is_refused_and_counted() {
    let node = node().set("gateway.client_id_bytes_max", 8).start();
    let answered = |version, client_id| {
        let mut raw = RawMqtt::connect(node.address("mqtt"));
        raw.send(&connect(version, client_id));
        raw.frame()[3]
    };
    assert_eq!((answered(V5, "12345678"), answered(V311, "12345678")), (0, 0));
    assert_eq!((answered(V5, "123456789"), answered(V311, "123456789")), (0x85, 2));
    assert_eq!(limited(&node, "gateway", "client_id_bytes_max"), 2.0);
    assert_eq!(node.metrics().sum("weir_gateway_connects_refused_total"), 2.0);
}

#[test]
fn wills_beyond_their_rate_wait_for_their_turn_and_all_come() {
    const WILLS: usize = 6;
    let node = node().set("broker.wills_per_second", 2).start();
    let mut heir = connected(&node, V5);
    heir.send(&subscribe(V5, "wills"));
    assert_eq!(heir.frame()[0], 0x90);
    let dying: Vec<_> = (0..WILLS)
        .map(|_| {
            let connect = Connect { will: Some(Will::new("wills", b"x")), ..Connect::new(Version::V5, "") };
            greeted(&node, &connect, |connack| assert!(!connack.code.is_error()))
        })
        .collect();
    drop(dying);
    for _ in 0..WILLS {
        assert_eq!(heir.frame()[0], 0x30);
    }
    is_limited(&node, "broker", "wills_per_second");
    node.balanced();
}
