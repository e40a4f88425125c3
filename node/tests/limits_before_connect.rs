//! Promise: nobody gets in the way of others before saying a word; each limit of the door is met, and counted.

#[path = "abuse/frames.rs"]
#[allow(dead_code, reason = "shared with the tests of abuse")]
mod frames;

use std::os::unix::fs::PermissionsExt as _;

use frames::{V5, connect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_net::client::{ClientOptions, ConnectError};
use weir_testkit::http::try_get;
use weir_testkit::node::Builder;
use weir_testkit::{Metrics, Node, PATIENCE, RawMqtt, eventually};

fn node() -> Builder {
    Node::of(env!("CARGO_BIN_EXE_weir")).store("memory").listen("http")
}

/// A node behind a proxy on loopback: whoever connects to `mqtt` names its client's address.
fn proxied() -> Builder {
    node().set("net.proxy_protocol", "mqtt").set("net.trusted_proxies", "127.0.0.0/8")
}

/// Waits until connections were refused for this reason. Asking is a connection too, which may be refused.
fn is_counted(node: &Node, reason: &str) {
    let series = format!("weir_gateway_connections_refused_total{{reason=\"{reason}\"}}");
    eventually(&series, || {
        let answer = try_get(node.address("http"), "/metrics").ok().filter(|answer| answer.status == 200)?;
        (Metrics::read(&answer.body).value(&series) > 0.0).then_some(())
    });
}

/// A connection that says nothing.
fn silent(node: &Node) -> RawMqtt {
    RawMqtt::connect(node.address("mqtt"))
}

/// A connection that a proxy makes for a client at this address, which then says this.
fn through_proxy(node: &Node, address: &str, bytes: &[u8]) -> RawMqtt {
    let mut raw = silent(node);
    let header = format!("PROXY TCP4 {address} 127.0.0.1 4711 1883\r\n");
    // Who is refused may be gone before all is sent.
    let _ = raw.try_send(&[header.as_bytes(), bytes].concat());
    raw
}

fn is_let_in(raw: &mut RawMqtt) -> bool {
    raw.frame_or_end().is_ok_and(|connack| (connack[0], connack[3]) == (0x20, 0))
}

/// Tries until a client is let in: places of those who have gone are free a moment later.
fn let_in(node: &Node) -> RawMqtt {
    eventually("a client to be let in", || {
        let mut raw = RawMqtt::try_connect(node.address("mqtt")).ok()?;
        raw.try_send(&connect(V5, "")).ok()?;
        is_let_in(&mut raw).then_some(raw)
    })
}

#[test]
fn a_connection_too_many_is_closed_at_once_and_there_is_room_when_another_has_gone() {
    let node = node().set("net.limits.connections_max", 3).start();
    let clients = [(); 3].map(|()| let_in(&node));
    silent(&node).end();
    drop(clients);
    is_counted(&node, "connections");
    let_in(&node);
}

#[test]
fn those_who_only_stand_there_make_room_for_newer_ones() {
    let node = node().set("net.limits.half_open_max", 5).start();
    let mut standing: Vec<_> = (0..20).map(|_| silent(&node)).collect();
    for oldest in &mut standing[..15] {
        oldest.end();
    }
    let _client = let_in(&node);
    is_counted(&node, "half_open");
}

#[test]
fn connections_that_come_too_fast_are_closed_at_once() {
    let node = node().set("net.limits.connects_per_second", 2).start();
    let fast: Vec<_> = (0..50).map(|_| silent(&node)).collect();
    is_counted(&node, "rate");
    drop(fast);
    let_in(&node);
}

#[test]
fn one_address_has_so_many_connections_and_others_have_theirs() {
    let node = proxied().set("net.limits.connections_per_address_max", 2).start();
    let hello = connect(V5, "");
    let mut first = through_proxy(&node, "192.0.2.1", &hello);
    let mut second = through_proxy(&node, "192.0.2.1", &hello);
    assert!(is_let_in(&mut first) && is_let_in(&mut second));
    through_proxy(&node, "192.0.2.1", &hello).end();
    assert!(is_let_in(&mut through_proxy(&node, "192.0.2.2", &hello)));
    is_counted(&node, "address");
}

#[test]
fn one_address_stands_there_only_so_often() {
    let node = proxied().set("net.limits.half_open_per_address_max", 1).start();
    let _standing = through_proxy(&node, "192.0.2.1", &[]);
    // Which of the two the node met first cannot be told, only that one of them may stay.
    let second = through_proxy(&node, "192.0.2.1", &[]);
    is_counted(&node, "half_open_address");
    assert!(is_let_in(&mut through_proxy(&node, "192.0.2.2", &connect(V5, ""))));
    drop(second);
}

#[test]
fn one_address_comes_only_so_fast() {
    let node = proxied().set("net.limits.connects_per_second_per_address", 1).start();
    let fast: Vec<_> = (0..30).map(|_| through_proxy(&node, "192.0.2.1", &[])).collect();
    is_counted(&node, "rate_address");
    assert!(is_let_in(&mut through_proxy(&node, "192.0.2.2", &connect(V5, ""))));
    drop(fast);
}

#[test]
fn only_trusted_proxies_come_to_a_listener_for_them() {
    let node = node()
        .set("net.proxy_protocol", "mqtt")
        .set("net.trusted_proxies", "10.0.0.0/8,2001:db8::/32")
        .start();
    through_proxy(&node, "192.0.2.1", &connect(V5, "")).end();
    is_counted(&node, "untrusted");
}

#[test]
fn a_proxy_that_names_nobody_is_refused() {
    let node = proxied().start();
    let mut raw = silent(&node);
    raw.send(&connect(V5, "without-a-header"));
    raw.end_without_a_word();
    is_counted(&node, "proxy_header");
}

#[test]
fn the_address_of_a_websocket_is_the_one_its_proxy_forwards_for() {
    let node = node()
        .set("net.forwarded_for", "http")
        .set("net.trusted_proxies", "127.0.0.1")
        .set("net.limits.connections_per_address_max", 1)
        .start();
    let upgrade = |address: &str| {
        let mut raw = RawMqtt::connect(node.address("http"));
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Forwarded-For: {address}\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        raw.send(request.as_bytes());
        raw
    };
    let _one = upgrade("192.0.2.1");
    let _other = upgrade("192.0.2.2");
    let _second_of_one = upgrade("203.0.113.9, 192.0.2.1");
    is_counted(&node, "address");
}

#[test]
fn a_node_short_of_memory_opens_no_websocket_and_still_tells_its_metrics() {
    let node = node().set("broker.memory_max_bytes", 1 << 20).start();
    eventually("a WebSocket to be refused", || {
        let mut raw = std::net::TcpStream::connect(node.address("http")).ok()?;
        let request = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Protocol: mqtt\r\n\r\n";
        std::io::Write::write_all(&mut raw, request).ok()?;
        let mut answer = [0; 13];
        std::io::Read::read_exact(&mut raw, &mut answer).ok()?;
        (&answer == b"HTTP/1.1 503 ").then_some(())
    });
    is_counted(&node, "pressure");
}

/// A QUIC connection after its handshake, without a byte on its stream.
async fn quic(node: &Node) -> Result<weir_net::Stream, ConnectError> {
    let url = format!("quic://{}", node.address("quic")).parse().expect("a URL");
    let options =
        ClientOptions { ca_file: Some(node.data_dir().join("dev-tls/ca.pem")), ..ClientOptions::default() };
    weir_net::client::connect(&url, &options).await
}

#[tokio::test]
async fn quic_connections_that_only_stand_there_make_room_for_newer_ones() {
    let node = node().listen("quic").set("net.limits.half_open_max", 5).start();
    let mut standing = Vec::new();
    for _ in 0..20 {
        standing.push(quic(&node).await.expect("the newest is never the one that goes"));
    }
    for oldest in &mut standing[..15] {
        let end = tokio::time::timeout(PATIENCE, oldest.read(&mut [0])).await.expect("the oldest go");
        assert!(end.is_err() || end.is_ok_and(|bytes| bytes == 0));
    }
    let mut newest = quic(&node).await.expect("a handshake");
    newest.write_all(&connect(V5, "")).await.expect("sent");
    newest.flush().await.expect("sent");
    let mut connack = [0; 4];
    newest.read_exact(&mut connack).await.expect("CONNACK");
    assert_eq!((connack[0], connack[3]), (0x20, 0));
    is_counted(&node, "half_open");
}

#[test]
fn a_node_short_of_memory_refuses_quic() {
    let node = node().listen("quic").set("broker.memory_max_bytes", 1 << 20).start();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let refused = |error: &ConnectError| matches!(error, ConnectError::Quic { .. });
    eventually("QUIC to be refused", || runtime.block_on(quic(&node)).err().filter(refused));
    is_counted(&node, "pressure");
}

#[test]
fn a_node_without_file_descriptors_tells_clients_by_closing_and_serves_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let limited = dir.path().join("limited");
    let script = format!("#!/bin/sh\nulimit -n 64\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_weir"));
    std::fs::write(&limited, script).expect("written");
    std::fs::set_permissions(&limited, std::fs::Permissions::from_mode(0o755)).expect("made executable");
    let mut node =
        Node::of(limited).store("memory").listen("http").set("net.limits.connections_max", 1000).start();

    let mut crowd: Vec<_> = (0..200).map(|_| silent(&node)).collect();
    // More than there are descriptors: the last ones are closed, not left to wait for one.
    for late in &mut crowd[100..] {
        late.end();
    }
    assert!(node.is_running());
    drop(crowd);
    is_counted(&node, "files");
    let_in(&node);
}

#[test]
fn a_certificate_that_breaks_is_reported_and_the_old_one_stays() {
    let node = node().listen("mqtts").set("net.tls.reload_seconds", 1).start();
    let key = node.data_dir().join("dev-tls/key.pem");
    let good = std::fs::read(&key).expect("a key");
    let failures = || node.metrics().sum("weir_net_tls_reload_failures_total");
    std::fs::write(&key, "not a key").expect("written");
    eventually("the failure to be counted", || (failures() == 1.0).then_some(()));
    std::fs::write(&key, good).expect("written");
    assert!(node.stderr().contains("key.pem"), "{}", node.stderr());
}

#[test]
fn a_proxy_list_that_cannot_work_is_refused_at_start() {
    let said = |builder: Builder| builder.try_start().expect_err("refused").said;
    let quic = said(node().set("net.proxy_protocol", "quic").set("net.trusted_proxies", "10.0.0.0/8"));
    assert!(quic.contains("net.proxy_protocol") && quic.contains("mqtt, mqtts, http, https"), "{quic}");
    let nobody = said(node().set("net.forwarded_for", "http"));
    assert!(nobody.contains("net.trusted_proxies"), "{nobody}");
    let nowhere = said(node().set("net.trusted_proxies", "10.0.0.0/99"));
    assert!(nowhere.contains("10.0.0.0/99"), "{nowhere}");
}
