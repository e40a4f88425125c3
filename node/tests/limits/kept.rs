//! What is kept: queues and retained messages.

use weir_bench::Client;
use weir_bench::client::{Error, Message};
use weir_model::Qos;

use crate::scene::{connect, counted, dropped, kept, node, options, sleeper};

#[tokio::test]
async fn a_full_queue_drops_the_oldest_and_counts_it() {
    let node = node().set("store.queue_messages_max", 10).start();
    sleeper(&node, "sleeper", "q").await;

    let mut publisher = connect(&node, &options("publisher")).await;
    for number in 0..25u8 {
        publisher.publish(&Message::new("q", [number], Qos::AtLeastOnce)).await.expect("acknowledged");
    }

    let mut client = connect(&node, &kept("sleeper")).await;
    for number in 15..25u8 {
        assert_eq!(client.next().await.expect("a message").payload, [number]);
    }
    assert_eq!(dropped(&node, "queue_full"), 15.0);
    node.balanced();
}

#[tokio::test]
async fn a_publisher_is_refused_by_a_full_queue_if_so_configured() {
    let node = node().set("store.queue_messages_max", 2).set("store.queue_full", "refuse").start();
    sleeper(&node, "sleeper", "q").await;

    let mut publisher = connect(&node, &options("publisher")).await;
    let message = Message::new("q", "x", Qos::AtLeastOnce);
    for _ in 0..2 {
        publisher.publish(&message).await.expect("acknowledged");
    }
    refused_by_quota(&mut publisher, &message).await;
    assert_eq!(counted(&node, "weir_broker_messages_refused_total", "queue_full"), 1.0);
    node.balanced();
}

/// Publishes what must be refused with 0x97 (quota exceeded).
async fn refused_by_quota(publisher: &mut Client, message: &Message) {
    match publisher.publish(message).await {
        Err(Error::PublishRefused { code, .. }) => assert_eq!(code.as_u8(), 0x97),
        other => panic!("{other:?}"),
    }
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
    for (limit, value) in [("queued_messages_total_max", 3), ("queued_bytes_total_max", 2000)] {
        let node = node().set(&format!("store.{limit}"), value).set("store.queue_full", "refuse").start();
        sleeper(&node, "a", "a").await;
        sleeper(&node, "b", "b").await;
        let mut publisher = connect(&node, &options("publisher")).await;
        for _ in 0..3 {
            publisher.publish(&Message::new("a", [0; 600], Qos::AtLeastOnce)).await.expect("acknowledged");
        }
        refused_by_quota(&mut publisher, &Message::new("b", [0; 600], Qos::AtLeastOnce)).await;
        assert_eq!(counted(&node, "weir_store_refused_total", "queues_full"), 1.0, "{limit}");
        assert_eq!(counted(&node, "weir_broker_messages_refused_total", "queues_full"), 1.0, "{limit}");
        node.balanced();
    }
}
