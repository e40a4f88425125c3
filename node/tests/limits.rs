//! Promise: every queue is bounded, what falls out is counted, and one slow client costs the others nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinHandle;
use url::Url;
use weir_bench::Client;
use weir_bench::client::{Error, Message, Options, Subscription};
use weir_model::Qos;
use weir_testkit::{Node, PATIENCE, RawMqtt, eventually};
use weir_wire::mqtt::{
    Connect, List, Packet, Subscribe, SubscribeOptions, UserProperties, Version, decode, encode,
};

fn node() -> weir_testkit::node::Builder {
    Node::of(env!("CARGO_BIN_EXE_weir")).store("memory").listen("http")
}

fn options(client_id: &str) -> Options {
    Options { client_id: client_id.to_owned(), timeout: PATIENCE, ..Options::default() }
}

async fn connect(node: &Node, options: &Options) -> Client {
    let url = Url::parse(&format!("mqtt://{}", node.address("mqtt"))).expect("a URL");
    Client::connect(&url, options).await.expect("the node takes a client")
}

/// An MQTT 5 client with a clean session that has subscribed and does nothing by itself.
fn passive(node: &Node, filter: &str, qos: Qos) -> RawMqtt {
    let mut raw = RawMqtt::connect(node.address("mqtt"));
    let filters = [(filter, SubscribeOptions { qos, ..SubscribeOptions::default() })];
    let subscribe = Subscribe {
        packet_id: std::num::NonZeroU16::MIN,
        filters: List::of(&filters),
        subscription_id: None,
        user: UserProperties::default(),
    };
    let mut bytes = Vec::new();
    encode::connect(&mut bytes, &Connect::new(Version::V5, ""));
    encode::subscribe(&mut bytes, &subscribe, Version::V5);
    raw.send(&bytes);
    assert_eq!((raw.frame()[0], raw.frame()[0]), (0x20, 0x90));
    raw
}

fn dropped(node: &Node, reason: &str) -> f64 {
    node.metrics().value(&format!("weir_broker_copies_dropped_total{{reason=\"{reason}\"}}"))
}

#[tokio::test]
async fn a_full_queue_drops_the_oldest_and_counts_it() {
    let node = node().set("store.queue_messages_max", 10).start();
    let sleeper = Options { clean_start: false, session_expiry_seconds: Some(3600), ..options("sleeper") };
    let mut client = connect(&node, &sleeper).await;
    client.subscribe(&[Subscription::new("q", Qos::AtLeastOnce)], None).await.expect("subscribed");
    client.disconnect().await.expect("a goodbye");

    let mut publisher = connect(&node, &options("publisher")).await;
    for number in 0..25u8 {
        publisher.publish(&Message::new("q", [number], Qos::AtLeastOnce)).await.expect("acknowledged");
    }

    let mut client = connect(&node, &sleeper).await;
    for number in 15..25u8 {
        assert_eq!(client.next().await.expect("a message").payload, [number]);
    }
    assert_eq!(dropped(&node, "queue_full"), 15.0);
    node.balanced();
}

#[tokio::test]
async fn a_publisher_is_refused_by_a_full_queue_if_so_configured() {
    let node = node().set("store.queue_messages_max", 2).set("store.queue_full", "refuse").start();
    let sleeper = Options { clean_start: false, session_expiry_seconds: Some(3600), ..options("sleeper") };
    let mut client = connect(&node, &sleeper).await;
    client.subscribe(&[Subscription::new("q", Qos::AtLeastOnce)], None).await.expect("subscribed");
    client.disconnect().await.expect("a goodbye");

    let mut publisher = connect(&node, &options("publisher")).await;
    let message = Message::new("q", "x", Qos::AtLeastOnce);
    for _ in 0..2 {
        publisher.publish(&message).await.expect("acknowledged");
    }
    match publisher.publish(&message).await {
        Err(Error::PublishRefused { code, .. }) => assert_eq!(code.as_u8(), 0x97),
        other => panic!("{other:?}"),
    }
    node.balanced();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_reads_nothing_loses_qos0_and_delays_nobody() {
    const MESSAGES: usize = 600;
    let node = node().start();
    let _stuck = passive(&node, "flood", Qos::AtMostOnce);
    let mut reader = connect(&node, &options("reader")).await;
    reader.subscribe(&[Subscription::new("flood", Qos::AtMostOnce)], None).await.expect("subscribed");
    let reading: JoinHandle<()> = tokio::spawn(async move {
        for number in 0..MESSAGES {
            let message = reader.next().await.expect("a message");
            assert_eq!(message.payload[..8], number.to_be_bytes());
        }
    });

    let mut publisher = connect(&node, &options("publisher")).await;
    for number in 0..MESSAGES {
        let payload = [&number.to_be_bytes()[..], &[0; 64 << 10]].concat();
        publisher.publish(&Message::new("flood", payload, Qos::AtMostOnce)).await.expect("taken");
    }

    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("all messages in time")
        .expect("all messages in order");
    // 38 MiB do not fit into 4 MiB and what the sockets hold.
    eventually("drops to be counted", || (dropped(&node, "outbox_full") > 0.0).then_some(()));
    assert!(node.resident_bytes() < 200 << 20, "{} bytes", node.resident_bytes());
    node.balanced();
}

/// A slow receiver that still takes bytes slows its publisher instead of losing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_but_living_subscriber_slows_its_publisher_and_loses_nothing() {
    const MESSAGES: usize = 600;
    // Living means here: took bytes within a minute, so that a busy machine cannot make it dead.
    let node = node().set("broker.outbox_stalled_ms", 60_000).start();
    let mut slow = passive(&node, "flood", Qos::AtMostOnce);
    let sent = Arc::new(AtomicUsize::new(0));
    let mut publisher = connect(&node, &options("publisher")).await;
    let counted = sent.clone();
    let publishing: JoinHandle<()> = tokio::spawn(async move {
        for number in 0..MESSAGES {
            let payload = [&number.to_be_bytes()[..], &[0; 64 << 10]].concat();
            publisher.publish(&Message::new("flood", payload, Qos::AtMostOnce)).await.expect("taken");
            counted.store(number + 1, Ordering::Release);
        }
    });

    // Nothing is read until the publisher is held back; without back-pressure it would be through,
    // and 38 MiB do not fit into 4 MiB and what the sockets hold.
    let (mut last, mut looks) = (0, 0);
    eventually("the publisher to be held back", || {
        let now = sent.load(Ordering::Acquire);
        (looks, last) = if now == last { (looks + 1, now) } else { (0, now) };
        (now > 0 && looks > 30).then_some(())
    });
    for number in 0..MESSAGES {
        let frame = slow.frame();
        let Ok(Packet::Publish(publish)) = decode(&frame, Version::V5) else { panic!("no PUBLISH") };
        assert_eq!(publish.payload[..8], number.to_be_bytes());
    }
    publishing.await.expect("all was taken");
    assert_eq!(dropped(&node, "outbox_full"), 0.0);
    node.balanced();
}

#[tokio::test]
async fn a_clean_session_beyond_its_bound_is_disconnected_with_0x97() {
    let node = node().set("broker.outbox_messages_max", 20).set("broker.inflight_max", 10).start();
    let mut silent = passive(&node, "t", Qos::AtLeastOnce);
    let mut publisher = connect(&node, &options("publisher")).await;
    for _ in 0..100 {
        publisher.publish(&Message::new("t", "x", Qos::AtLeastOnce)).await.expect("acknowledged");
    }

    let mut delivered = 0;
    let goodbye = loop {
        let frame = silent.frame();
        match decode(&frame, Version::V5).expect("a good frame") {
            Packet::Publish(_) => delivered += 1,
            Packet::Disconnect(goodbye) => break goodbye.code.as_u8(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(goodbye, 0x97);
    assert_eq!(silent.end_without_a_word(), weir_testkit::Closed::Fin);
    assert_eq!(delivered, 10, "as many as may be unanswered");
    eventually("its losses to be counted", || (dropped(&node, "overrun") > 0.0).then_some(()));
    node.balanced();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_retained_messages_comes_whole_and_in_bounded_memory() {
    const TOPICS: usize = 20_000;
    let node = node().set("broker.sys_interval_seconds", 0).start();
    let mut publisher = connect(&node, &options("publisher")).await;
    for number in 0..TOPICS {
        let retained =
            Message { retain: true, ..Message::new(format!("r/{number}"), [0; 2048], Qos::AtMostOnce) };
        publisher.publish(&retained).await.expect("taken");
    }
    eventually("all to be retained", || {
        (node.metrics().value("weir_broker_retained_messages") == TOPICS as f64).then_some(())
    });
    let before = node.resident_bytes();

    // Five at once that read nothing: 200 MiB are owed to them.
    let _waiting = [(); 4].map(|()| passive(&node, "r/#", Qos::AtMostOnce));
    let mut reader = passive(&node, "r/#", Qos::AtMostOnce);
    let mut topics = BTreeSet::new();
    while topics.len() < TOPICS {
        let frame = reader.frame();
        let Packet::Publish(publish) = decode(&frame, Version::V5).expect("a good frame") else { continue };
        assert!(publish.retain);
        assert!(topics.insert(publish.topic.to_owned()), "{} came twice", publish.topic);
    }

    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes more for readers that wait");
    node.balanced();
}

/// Publishes what must be refused with 0x97 (quota exceeded).
async fn refused_by_quota(publisher: &mut Client, message: &Message) {
    match publisher.publish(message).await {
        Err(Error::PublishRefused { code, .. }) => assert_eq!(code.as_u8(), 0x97),
        other => panic!("{other:?}"),
    }
}

fn counted(node: &Node, metric: &str, reason: &str) -> f64 {
    node.metrics().value(&format!("{metric}{{reason=\"{reason}\"}}"))
}

fn retained(topic: &str, payload: &[u8]) -> Message {
    Message { retain: true, ..Message::new(topic, payload.to_vec(), Qos::AtLeastOnce) }
}

#[tokio::test]
async fn retained_messages_beyond_their_number_or_bytes_are_refused_and_counted() {
    let node = node().set("store.retained_messages_max", 2).set("store.retained_bytes_max", 1000).start();
    let mut publisher = connect(&node, &options("publisher")).await;
    for topic in ["a", "b"] {
        publisher.publish(&retained(topic, b"x")).await.expect("acknowledged");
    }
    refused_by_quota(&mut publisher, &retained("c", b"x")).await;
    // What is there may be replaced and taken away, and makes room.
    publisher.publish(&retained("a", b"y")).await.expect("replaced");
    publisher.publish(&retained("b", b"")).await.expect("taken away");
    refused_by_quota(&mut publisher, &retained("c", &[0; 2000])).await;
    publisher.publish(&retained("c", b"x")).await.expect("acknowledged");
    assert_eq!(counted(&node, "weir_store_refused_total", "retained_full"), 2.0);
    assert_eq!(counted(&node, "weir_broker_messages_refused_total", "retained_full"), 2.0);
    node.balanced();
}

#[tokio::test]
async fn queues_that_are_full_together_refuse_publishers_if_so_configured() {
    let node = node().set("store.queued_messages_total_max", 3).set("store.queue_full", "refuse").start();
    for (client, filter) in [("a", "a"), ("b", "b")] {
        let sleeper = Options { clean_start: false, session_expiry_seconds: Some(3600), ..options(client) };
        let mut client = connect(&node, &sleeper).await;
        client.subscribe(&[Subscription::new(filter, Qos::AtLeastOnce)], None).await.expect("subscribed");
        client.disconnect().await.expect("a goodbye");
    }
    let mut publisher = connect(&node, &options("publisher")).await;
    for _ in 0..3 {
        publisher.publish(&Message::new("a", "x", Qos::AtLeastOnce)).await.expect("acknowledged");
    }
    refused_by_quota(&mut publisher, &Message::new("b", "x", Qos::AtLeastOnce)).await;
    assert_eq!(counted(&node, "weir_store_refused_total", "queues_full"), 1.0);
    assert_eq!(counted(&node, "weir_broker_messages_refused_total", "queues_full"), 1.0);
    node.balanced();
}

#[test]
fn a_packet_above_the_limit_is_answered_0x95_and_counted() {
    let node = node().start();
    let mut raw = passive(&node, "t", Qos::AtMostOnce);
    raw.send(&[0x30, 0xff, 0xff, 0xff, 0x7f]);
    let frame = raw.frame();
    assert_eq!((frame[0], frame[2]), (0xe0, 0x95));
    assert_eq!(node.metrics().sum("weir_gateway_broken_packets_total"), 1.0);
}
