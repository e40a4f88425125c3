//! `$SYS` tells what monitors of MQTT brokers know, and what is this node's own.

use std::collections::BTreeMap;

use weir_bench::client::Message;
use weir_model::Qos;
use weir_testkit::{Node, RawMqtt, eventually};
use weir_wire::mqtt::{Connect, List, Subscribe, SubscribeOptions, UserProperties, Version, encode};

use crate::clients::{connect, next, node, options, subscribe};

/// Figures until all of these have been told.
async fn figures(node: &Node, wanted: &[&str]) -> BTreeMap<String, String> {
    let mut watcher = connect(node, &options("")).await;
    subscribe(&mut watcher, "$SYS/#", Qos::AtMostOnce).await;
    let mut told = BTreeMap::new();
    while !wanted.iter().all(|name| told.contains_key(&format!("$SYS/broker/{name}"))) {
        let message = next(&mut watcher).await;
        told.insert(message.topic, String::from_utf8(message.payload).expect("text"));
    }
    told
}

#[tokio::test]
async fn the_figures_that_monitors_know_are_there() {
    let node = node().set("broker.sys_interval_seconds", 1).start();
    let known = [
        "version",
        "uptime",
        "clients/connected",
        "clients/disconnected",
        "clients/total",
        "clients/maximum",
        "messages/received",
        "messages/sent",
        "bytes/received",
        "bytes/sent",
        "publish/messages/received",
        "publish/messages/sent",
        "publish/messages/dropped",
        "publish/bytes/received",
        "publish/bytes/sent",
        "subscriptions/count",
        "shared_subscriptions/count",
        "retained messages/count",
        "load/messages/received/1min",
        "load/messages/sent/5min",
        "load/bytes/received/15min",
        "load/bytes/sent/1min",
        "load/publish/dropped/1min",
        "load/connections/1min",
    ];
    let own = [
        "memory/pressure",
        "memory/used",
        "memory/max",
        "ledger/imbalance",
        "clients/slow",
        "slow_subscribers",
    ];
    let told = figures(&node, &[&known[..], &own[..]].concat()).await;
    assert_eq!(told["$SYS/broker/memory/pressure"], "normal");
    assert!(told["$SYS/broker/version"].starts_with("weir "));
    assert!(told["$SYS/broker/load/connections/1min"].parse::<f64>().is_ok());
}

#[tokio::test]
async fn subscriptions_are_counted_with_the_shared_ones_among_them() {
    let node = node().set("broker.sys_interval_seconds", 1).start();
    let mut client = connect(&node, &options("c")).await;
    for filter in ["a", "b/#", "$share/g/a"] {
        subscribe(&mut client, filter, Qos::AtMostOnce).await;
    }
    let mut watcher = connect(&node, &options("watcher")).await;
    subscribe(&mut watcher, "$SYS/broker/+/count", Qos::AtMostOnce).await;
    let (mut all, mut shared) = (String::new(), String::new());
    while (&*all, &*shared) != ("4", "1") {
        let message = next(&mut watcher).await;
        let text = String::from_utf8(message.payload).expect("text");
        match &*message.topic {
            "$SYS/broker/subscriptions/count" => all = text,
            "$SYS/broker/shared_subscriptions/count" => shared = text,
            _ => {}
        }
    }
}

/// A client that subscribes to this and never reads again.
fn deaf(node: &Node, client_id: &str, filter: &str) -> RawMqtt {
    let mut raw = RawMqtt::connect(node.address("mqtt"));
    let filters = [(filter, SubscribeOptions::default())];
    let request = Subscribe {
        packet_id: std::num::NonZeroU16::MIN,
        filters: List::of(&filters),
        subscription_id: None,
        user: UserProperties::default(),
    };
    let mut bytes = Vec::new();
    encode::connect(&mut bytes, &Connect::new(Version::V5, client_id));
    encode::subscribe(&mut bytes, &request, Version::V5);
    raw.send(&bytes);
    assert_eq!((raw.frame()[0], raw.frame()[0]), (0x20, 0x90));
    raw
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_ranked_among_the_slow() {
    let node = node().set("broker.sys_interval_seconds", 1).set("broker.slow_subscribers_max", 1).start();
    let _deaf = deaf(&node, "deaf", "flood");
    let mut watcher = connect(&node, &options("watcher")).await;
    subscribe(&mut watcher, "$SYS/broker/slow_subscribers", Qos::AtMostOnce).await;
    let mut publisher = connect(&node, &options("publisher")).await;
    for _ in 0..400 {
        publisher.publish(&Message::new("flood", [0; 64 << 10], Qos::AtMostOnce)).await.expect("taken");
    }
    loop {
        let message = next(&mut watcher).await;
        let ranking: serde_json::Value = serde_json::from_slice(&message.payload).expect("JSON");
        let slow = ranking["subscribers"].as_array().expect("a list");
        assert!(slow.len() <= 1);
        if let [slowest] = &slow[..]
            && slowest["above_high_seconds"].as_f64() > Some(0.0)
        {
            assert_eq!(slowest["client"], "deaf");
            assert!(slowest["waiting_bytes"].as_u64() > Some(256 << 10), "{ranking}");
            break;
        }
    }
    eventually("the gauge", || (node.metrics().value("weir_broker_slow_subscribers") == 1.0).then_some(()));
}
