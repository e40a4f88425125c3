//! Nodes die under readers: nothing that was acknowledged is missing, and a kept session goes on.

use std::net::SocketAddr;
use std::process::Command;

use weir_model::Qos;
use weir_testkit::{Cluster, Node, Redis, eventually};
use weir_wire::mqtt::ReasonCode;

use crate::client::{CLEAN, Client, KEPT};

const PROGRAM: &str = env!("CARGO_BIN_EXE_weir");

fn create(admin: SocketAddr) {
    let server = format!("http://{admin}");
    let made =
        Command::new(PROGRAM).args(["stream", "create", "s", "-f", "s/#", "--server", &server]).output();
    let made = made.expect("the command runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn publish(address: SocketAddr, payloads: std::ops::RangeInclusive<u32>) {
    let mut publisher = Client::connect(address, "publisher", CLEAN);
    for payload in payloads {
        assert_eq!(publisher.publish("s/t", &payload.to_string()), ReasonCode::Success);
    }
    publisher.leave();
}

/// Reads up to `last`; what comes begins not behind `from`, and has no gap.
fn reads_on(reader: &mut Client, from: u32, last: u32) {
    let mut expected = None;
    while expected != Some(last + 1) {
        let payload: u32 = reader.payloads(1)[0].parse().expect("a number");
        assert!(payload <= from || expected.is_some(), "begins with {payload}");
        assert!(expected.is_none_or(|expected| payload == expected), "{payload} after a gap");
        expected = Some(payload + 1);
    }
}

#[test]
fn after_kill_9_a_kept_session_reads_on_and_everything_acknowledged_is_there() {
    let mut node = Node::of(PROGRAM).store("embedded").listen("admin").listen("http").start();
    create(node.address("admin"));
    publish(node.address("mqtt"), 1..=5);
    let mut reader = Client::connect(node.address("mqtt"), "reader", KEPT);
    reader.subscribe("$stream/s", Qos::AtLeastOnce, Some("earliest"));
    assert_eq!(reader.payloads(2), ["1", "2"]);
    publish(node.address("mqtt"), 6..=8);
    node.kill9();
    let node = node.restart();
    let mut reader = Client::connect(node.address("mqtt"), "reader", KEPT);
    assert!(reader.session_present);
    reads_on(&mut reader, 3, 8);
    publish(node.address("mqtt"), 9..=9);
    assert_eq!(reader.payloads(1), ["9"]);
    let mut all = Client::connect(node.address("mqtt"), "all", CLEAN);
    all.subscribe("$stream/s", Qos::AtMostOnce, Some("earliest"));
    assert_eq!(all.payloads(9), ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

#[test]
fn when_its_node_is_killed_a_kept_session_reads_on_at_another() {
    let redis = Redis::start();
    let mut cluster =
        Cluster::of(PROGRAM, &redis.url()).nodes(2).each(|_, node| node.listen("admin")).start();
    create(cluster.node(0).address("admin"));
    let there = cluster.node(1).address("mqtt");
    // The other node hears of the stream by its mirror.
    let mut all = Client::connect(there, "all", CLEAN);
    eventually("the stream", || {
        let (code, _) = all.subscribe("$stream/s", Qos::AtMostOnce, Some("earliest"));
        (code == ReasonCode::Success).then_some(())
    });
    publish(cluster.node(0).address("mqtt"), 1..=4);
    assert_eq!(all.payloads(4), ["1", "2", "3", "4"]);
    let mut reader = Client::connect(cluster.node(0).address("mqtt"), "reader", KEPT);
    reader.subscribe("$stream/s", Qos::AtLeastOnce, Some("earliest"));
    assert_eq!(reader.payloads(2), ["1", "2"]);
    cluster.kill9(0);
    // Its place is free when the lease of the dead node is over.
    let mut reader = Client::connect(there, "reader", KEPT);
    assert!(reader.session_present);
    reads_on(&mut reader, 3, 4);
    publish(there, 5..=5);
    assert_eq!(reader.payloads(1), ["5"]);
}
