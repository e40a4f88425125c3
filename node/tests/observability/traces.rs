//! A trace context is handed on byte for byte on every path of a message, and is in the log at debug.

use weir_bench::Client;
use weir_bench::client::{Incoming, Message, Options, Will};
use weir_model::Qos;
use weir_testkit::{Node, eventually};

use crate::clients::{connect, message, next, node, options, subscribe};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Also what no parser would write: order, case, spaces and strangers stay.
const CONTEXT: [(&str, &str); 4] = [
    ("Before", " x "),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("tracestate", "vendor=opaque:1 ,rojo=00f067aa0ba902b7;a= b"),
    ("traceparent", "not one"),
];

fn traced(topic: &str, qos: Qos) -> Message {
    message(topic, "x", qos, &CONTEXT)
}

fn assert_kept(message: &Incoming) {
    let user: Vec<_> = message.properties.user.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(user, CONTEXT, "{}", message.topic);
}

async fn publisher(node: &Node) -> Client {
    connect(node, &options("publisher")).await
}

fn persistent(client_id: &str) -> Options {
    Options { clean_start: false, session_expiry_seconds: Some(3600), ..options(client_id) }
}

#[tokio::test]
async fn live_copies_keep_it_at_every_qos() {
    let node = node().start();
    let mut subscriber = connect(&node, &options("s")).await;
    subscribe(&mut subscriber, "t", Qos::ExactlyOnce).await;
    let mut publisher = publisher(&node).await;
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        publisher.publish(&traced("t", qos)).await.expect("taken");
        assert_kept(&next(&mut subscriber).await);
    }
}

#[tokio::test]
async fn queued_copies_keep_it_through_a_restart() {
    let node = Node::of(env!("CARGO_BIN_EXE_weir")).start();
    let mut sleeper = connect(&node, &persistent("s")).await;
    subscribe(&mut sleeper, "t", Qos::AtLeastOnce).await;
    sleeper.disconnect().await.expect("a goodbye");
    publisher(&node).await.publish(&traced("t", Qos::AtLeastOnce)).await.expect("taken");
    let node = node.restart();
    let mut sleeper = connect(&node, &persistent("s")).await;
    assert_kept(&next(&mut sleeper).await);
}

#[tokio::test]
async fn retained_messages_keep_it() {
    let node = node().start();
    let retained = Message { retain: true, ..traced("t", Qos::AtLeastOnce) };
    publisher(&node).await.publish(&retained).await.expect("taken");
    let mut subscriber = connect(&node, &options("s")).await;
    subscribe(&mut subscriber, "t", Qos::AtMostOnce).await;
    assert_kept(&next(&mut subscriber).await);
}

#[tokio::test]
async fn wills_keep_it() {
    let node = node().start();
    let mut subscriber = connect(&node, &options("s")).await;
    subscribe(&mut subscriber, "t", Qos::AtMostOnce).await;
    let Message { topic, payload, qos, properties, .. } = traced("t", Qos::AtMostOnce);
    let will = Will { topic, payload, qos, properties, ..Will::default() };
    drop(connect(&node, &Options { will: Some(will), ..options("mortal") }).await);
    assert_kept(&next(&mut subscriber).await);
}

#[tokio::test]
async fn shared_copies_keep_it() {
    let node = node().start();
    let mut member = connect(&node, &persistent("m")).await;
    subscribe(&mut member, "$share/g/t", Qos::AtLeastOnce).await;
    let mut publisher = publisher(&node).await;
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        publisher.publish(&traced("t", qos)).await.expect("taken");
        assert_kept(&next(&mut member).await);
    }
}

#[tokio::test]
async fn delayed_messages_keep_it() {
    let node = node().start();
    let mut subscriber = connect(&node, &options("s")).await;
    subscribe(&mut subscriber, "t", Qos::AtLeastOnce).await;
    publisher(&node).await.publish(&traced("$delayed/0/t", Qos::AtLeastOnce)).await.expect("taken");
    assert_kept(&next(&mut subscriber).await);
}

#[tokio::test]
async fn at_debug_level_the_publish_event_carries_the_trace_inside_its_spans() {
    let node = node().log("debug").start();
    let mut publisher = publisher(&node).await;
    publisher.publish(&traced("traced/topic", Qos::AtLeastOnce)).await.expect("taken");
    publisher.publish(&Message::new("other/topic", "x", Qos::AtLeastOnce)).await.expect("taken");
    publisher.disconnect().await.expect("a goodbye");
    let said = eventually("the end in the log", || {
        let said = node.stderr();
        said.contains("disconnected").then_some(said)
    });
    let line = said.lines().find(|line| line.contains(TRACE)).unwrap_or_else(|| panic!("{said}"));
    let connection = line.find("connection{listener=\"mqtt\"").unwrap_or_else(|| panic!("{line}"));
    let session =
        line.find("session{client_id=\"publisher\" protocol=\"5\"}").unwrap_or_else(|| panic!("{line}"));
    assert!(connection < session && line.contains("transport=\"tcp\""), "{line}");
    assert!(!said.contains("other/topic"), "{said}");
}
