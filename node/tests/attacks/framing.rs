//! Attacks on framing: connections that stall, and the wrong protocol at the door.

mod quic;
mod websocket;

use weir_testkit::RawMqtt;

use super::crowd::{Attacker, enter, raise_open_files};
use super::frames::{V5, connect, frame, text};
use super::pair::Pair;
use super::scene::{Scene, node};

/// What a connection that was accepted and not yet let in may take beside the bytes it has sent.
const HALF_OPEN_BYTES: u64 = 16 << 10;

/// Waits until the node has closed all of them without a word.
fn all_end_without_a_word(attackers: &mut [Attacker]) {
    for attacker in attackers {
        assert_eq!(attacker.end(), b"");
    }
}

#[test]
fn connects_that_drip_byte_by_byte_are_given_up() {
    const ATTACKERS: usize = 300;
    let scene = Scene::of(node().set("gateway.connect_timeout_ms", 1000));
    let address = scene.node.address("mqtt");
    // Nobody gets this through in a second.
    let endless = connect(V5, &"c".repeat(65_535));
    let mut attackers: Vec<_> = (0..ATTACKERS).map(|_| Attacker::connect(address)).collect();
    let mut open: Vec<usize> = (0..ATTACKERS).collect();
    for byte in &endless {
        open.retain(|index| {
            let mut said = Vec::new();
            let attacker = &mut attackers[*index];
            let open = !attacker.is_closed(&mut said) && attacker.pour(&[*byte]).is_some();
            assert_eq!(said, b"");
            open
        });
        if open.is_empty() {
            break;
        }
    }
    assert!(open.is_empty(), "{} may drip on", open.len());
    scene.counts("weir_gateway_connects_refused_total", ATTACKERS as f64);
    scene.survives(ATTACKERS as u64 * HALF_OPEN_BYTES);
}

#[test]
fn thousands_of_half_open_connections_keep_nobody_out() {
    const ATTACKERS: usize = 3000;
    raise_open_files();
    let scene = Scene::of(node().set("gateway.connect_timeout_ms", 5000));
    let address = scene.node.address("mqtt");
    let mut attackers: Vec<_> = (0..ATTACKERS).map(|_| Attacker::connect(address)).collect();
    scene.serves_others();
    drop(enter(&scene.node, "newcomer", 0x02, &[]));
    all_end_without_a_word(&mut attackers);
    scene.counts("weir_gateway_connects_refused_total", ATTACKERS as f64);
    scene.survives(ATTACKERS as u64 * HALF_OPEN_BYTES);
}

#[test]
fn connects_whose_last_byte_never_comes_hold_what_was_sent_and_no_more() {
    const ATTACKERS: usize = 100;
    let connect_bytes_max = 512 << 10;
    let scene = Scene::of(node().set("gateway.connect_timeout_ms", 3000));
    let whole = frame(0x10, &[&text("MQTT")[..], &[5, 2, 0, 0], &vec![0; connect_bytes_max - 32]].concat());
    let sent = &whole[..whole.len() - 1];
    let mut attackers = Vec::new();
    for _ in 0..ATTACKERS {
        let mut raw = RawMqtt::connect(scene.node.address("mqtt"));
        // The node may be done with it already.
        let _ = raw.try_send(sent);
        attackers.push(raw);
    }
    scene.serves_others();
    for attacker in &mut attackers {
        attacker.end_without_a_word();
    }
    // A buffer grows by doubling.
    scene.survives((ATTACKERS * 2 * connect_bytes_max) as u64);
}

#[test]
fn stalled_tls_handshakes_are_given_up_and_keep_nobody_out() {
    const ATTACKERS: usize = 600;
    raise_open_files();
    let scene = Scene::of(node().listen("mqtts").set("net.handshake_timeout_ms", 3000));
    let address = scene.node.address("mqtts");
    // Nothing, the head of a ClientHello, and half of one.
    let half_hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 200]].concat();
    let parts = [&[][..], &half_hello[..5], &half_hello];
    let mut attackers = Vec::new();
    for number in 0..ATTACKERS {
        let mut attacker = Attacker::connect(address);
        attacker.pour(parts[number % parts.len()]);
        attackers.push(attacker);
    }
    let secure = Pair::over(&scene.node, "mqtts", "pair/tls");
    secure.is_served();
    scene.serves_others();
    attackers.iter_mut().for_each(|attacker| drop(attacker.end()));
    scene.counts("weir_gateway_handshakes_failed_total", ATTACKERS as f64);
    secure.finish();
    // What rustls holds of a handshake.
    scene.survives(ATTACKERS as u64 * (HALF_OPEN_BYTES + (32 << 10)));
}

#[test]
fn http_on_the_mqtt_port_is_closed_without_a_word() {
    const ATTACKERS: usize = 500;
    let scene = Scene::of(node());
    let address = scene.node.address("mqtt");
    let requests =
        ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", "POST /mqtt HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"];
    let mut attackers = Vec::new();
    for number in 0..ATTACKERS {
        let mut attacker = Attacker::connect(address);
        attacker.pour(requests[number % requests.len()].as_bytes());
        attackers.push(attacker);
    }
    all_end_without_a_word(&mut attackers);
    scene.counts("weir_gateway_connects_refused_total", ATTACKERS as f64);
    drop(attackers);
    scene.survives(ATTACKERS as u64 * HALF_OPEN_BYTES);
}

#[test]
fn mqtt_on_the_http_port_is_a_bad_request() {
    const ATTACKERS: usize = 500;
    let scene = Scene::of(node());
    let connect = connect(V5, "lost");
    let mut attackers = Vec::new();
    for _ in 0..ATTACKERS {
        let mut attacker = Attacker::connect(scene.node.address("http"));
        attacker.pour(&connect);
        attackers.push(attacker);
    }
    for attacker in &mut attackers {
        let said = attacker.end();
        let said = String::from_utf8_lossy(&said);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 400 "), "{said}");
    }
    drop(attackers);
    scene.survives(ATTACKERS as u64 * HALF_OPEN_BYTES);
}
