//! What comes in: packets, names, and what waits for its commit.

use weir_model::topic::TOPIC_BYTES_MAX;
use weir_testkit::node::Builder;
use weir_testkit::{Node, RawMqtt};

use crate::frames::{V5, connected, disconnected, publish, subscribe};
use crate::scene::{counted, is_ended, is_limited, node, sleeper};

#[test]
fn a_packet_above_the_limit_is_answered_0x95_and_counted() {
    let node = node().start();
    let mut raw = connected(&node, V5);
    raw.send(&[0x30, 0xff, 0xff, 0xff, 0x7f]);
    assert_eq!(disconnected(&mut raw), 0x95);
    assert_eq!(node.metrics().sum("weir_gateway_broken_packets_total"), 1.0);
}

#[test]
fn a_name_above_the_limit_is_refused_and_counted() {
    let node = node().start();
    let long = "x".repeat(TOPIC_BYTES_MAX + 1);
    let mut raw = connected(&node, V5);
    raw.send(&subscribe(V5, &long));
    let suback = raw.frame();
    assert_eq!((suback[0], suback.last()), (0x90, Some(&0x8F)));
    raw.send(&publish(0, &long, &[0]));
    assert_eq!(disconnected(&mut raw), 0x90);
    assert_eq!(counted(&node, "weir_gateway_subscriptions_refused_total", "filter_invalid"), 1.0);
    assert_eq!(counted(&node, "weir_broker_messages_refused_total", "topic_invalid"), 1.0);
}

#[test]
fn a_topic_alias_above_the_limit_is_answered_0x94_and_counted() {
    let node = node().set("gateway.topic_alias_max", 2).start();
    let mut raw = connected(&node, V5);
    raw.send(&publish(0, "t", &[3, 0x23, 0, 2]));
    raw.send(&publish(0, "t", &[3, 0x23, 0, 3]));
    assert_eq!(disconnected(&mut raw), 0x94);
    is_ended(&node, "topic_alias");
}

#[test]
fn more_unanswered_messages_than_allowed_are_answered_0x93_and_counted() {
    let node = node().set("broker.receive_max", 2).start();
    let mut raw = connected(&node, V5);
    for id in 1..=3u8 {
        raw.send(&publish(0x04, "t", &[0, id, 0]));
    }
    assert_eq!((raw.frame()[0], raw.frame()[0]), (0x50, 0x50));
    assert_eq!(disconnected(&mut raw), 0x93);
    is_ended(&node, "receive_maximum");
}

/// Publishes what must be kept, all at once, and hears that all of it was; returns the node.
async fn kept_at_once(builder: Builder) -> Node {
    const MESSAGES: u16 = 300;
    // On a disk, where a commit takes its time.
    let node = builder.start();
    sleeper(&node, "sleeper", "q").await;
    let mut raw: RawMqtt = connected(&node, V5);
    let all: Vec<u8> = (1..=MESSAGES)
        .flat_map(|id| publish(0x02, "q", &[&id.to_be_bytes()[..], &[0], &[0; 100]].concat()))
        .collect();
    raw.send(&all);
    for id in 1..=MESSAGES {
        let puback = raw.frame();
        assert_eq!((puback[0], &puback[2..4]), (0x40, &id.to_be_bytes()[..]));
        assert!(puback.get(4).is_none_or(|code| *code == 0), "{puback:02x?}");
    }
    node.balanced();
    node
}

fn on_disk() -> Builder {
    Node::of(env!("CARGO_BIN_EXE_weir")).listen("http")
}

#[tokio::test]
async fn a_publisher_whose_commits_wait_is_read_no_further_and_loses_nothing() {
    let limits = [
        ("broker.commits_waiting_max", 2, "commits_waiting_max"),
        ("broker.commits_waiting_bytes_max", 250, "commits_waiting_bytes_max"),
        ("store.intake_records_max", 4, "store.intake"),
    ];
    for (key, value, label) in limits {
        let node = kept_at_once(on_disk().set(key, value)).await;
        is_limited(&node, "broker", label);
    }
}
