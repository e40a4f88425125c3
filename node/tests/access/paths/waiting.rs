//! What waits for its receiver when a right is lost: encoded already, or in the queue of one member of a group.

use weir_bench::client::{Message, Options};
use weir_model::Qos;
use weir_testkit::{Node, eventually};

use super::{DENIAL, Scene, WIDE, device, one_by_one, operator, says};
use crate::scene::{Files, ask_for, connect, denied, kept, next, publish, subscribe, text, with_policy};

/// Copies that must wait when the right to them is lost; what the sockets hold comes on top.
const WAITING: f64 = 100.0;

/// Messages between two looks, and looks in a row at which all of them must have been left waiting: what only waits for
/// a busy node to write it would be on its way soon.
const ROUND: usize = 50;
const ROUNDS_STUCK: usize = 10;

/// A node with an outbox that takes all that is sent here, and publishers that never wait.
fn with_large_outboxes() -> Scene {
    let files = Files::new();
    let policy = files.write("policy.toml", WIDE);
    let node = with_policy(&policy).store("memory");
    let node = node.set("broker.outbox_bytes_max", 256 << 20).set("broker.outbox_bytes_high", 256 << 20);
    Scene { node: node.start(), files }
}

fn waiting(node: &Node) -> f64 {
    node.metrics().value("weir_broker_copies_waiting")
}

/// Publishes secrets, and open messages among them, to somebody who does not read, until many wait and stay.
async fn fill(scene: &Scene, publisher: &mut weir_bench::Client) -> (u32, u32) {
    let (mut secret, mut open, mut rounds_stuck) = (0, 0, 0);
    while rounds_stuck < ROUNDS_STUCK {
        let before = waiting(&scene.node);
        for number in 0..ROUND {
            let topic = if number % 10 == 0 { "open/1" } else { "secret/1" };
            let message = Message::new(topic, vec![0; 16 << 10], Qos::AtMostOnce);
            publish(publisher, &message).await.expect("taken");
            *(if number % 10 == 0 { &mut open } else { &mut secret }) += 1;
        }
        publisher.ping().await.expect("an answer");
        let is_stuck = before >= WAITING && waiting(&scene.node) >= before + ROUND as f64;
        rounds_stuck = if is_stuck { rounds_stuck + 1 } else { 0 };
    }
    (secret, open)
}

#[tokio::test]
async fn what_waits_encoded_for_a_reader_that_has_stopped_is_not_sent_once_the_right_is_lost() {
    let scene = with_large_outboxes();
    let mut ann = connect(&scene.node, &Options { keep_alive_seconds: 0, ..device("ann") }).await;
    for filter in ["secret/#", "open/#"] {
        assert_eq!(ask_for(&mut ann, filter, Qos::AtMostOnce).await, 0);
    }
    let mut olga = scene.operator().await;
    let (secret, open) = fill(&scene, &mut olga).await;
    scene.files.write("policy.toml", &format!("{WIDE}{DENIAL}"));
    eventually("what waits to be denied", || (denied(&scene.node) > 0.0).then_some(()));
    publish(&mut olga, &Message::new("open/end", "", Qos::AtMostOnce)).await.expect("taken");
    let (mut read_secret, mut read_open) = (0, 0);
    loop {
        match next(&mut ann).await.topic.as_str() {
            "open/end" => break,
            "open/1" => read_open += 1,
            // It was on its way to the socket before she lost the right to it.
            "secret/1" => read_secret += 1,
            topic => panic!("{topic}"),
        }
    }
    assert_eq!(read_open, open, "what she may have is whole");
    scene.has_denied(secret - read_secret);
}

#[tokio::test]
async fn what_waits_for_one_member_goes_to_another_once_it_loses_the_right() {
    let scene = Scene::start();
    let mut ann = connect(&scene.node, &one_by_one(kept(device("ann")))).await;
    subscribe(&mut ann, "$share/g/secret/#").await;
    says(&mut scene.operator().await, &["secret/1", "secret/2", "secret/3"]).await;
    let first = next(&mut ann).await;
    let mut bob = connect(&scene.node, &kept(operator("bob"))).await;
    subscribe(&mut bob, "$share/g/secret/#").await;
    scene.narrow().await;
    ann.acknowledge(&first).await.expect("acknowledged");
    let mut got = vec![text(&mut bob).await, text(&mut bob).await];
    got.sort();
    assert_eq!(got, ["secret/2", "secret/3"]);
    scene.has_denied(0);
}

#[tokio::test]
async fn a_member_that_comes_back_without_the_right_leaves_its_queue_to_the_group() {
    let scene = Scene::start();
    let mut ann = connect(&scene.node, &one_by_one(kept(device("ann")))).await;
    subscribe(&mut ann, "$share/g/secret/#").await;
    subscribe(&mut ann, "open/#").await;
    says(&mut scene.operator().await, &["secret/1", "secret/2", "secret/3"]).await;
    next(&mut ann).await;
    ann.disconnect().await.expect("goodbye");
    scene.narrow().await;
    let mut ann = connect(&scene.node, &kept(device("ann"))).await;
    assert!(ann.session_present());
    says(&mut scene.operator().await, &["open/1"]).await;
    assert_eq!(text(&mut ann).await, "open/1");
    let mut bob = connect(&scene.node, &kept(operator("bob"))).await;
    subscribe(&mut bob, "$share/g/secret/#").await;
    let mut got = vec![text(&mut bob).await, text(&mut bob).await, text(&mut bob).await];
    got.sort();
    assert_eq!(got, ["secret/1", "secret/2", "secret/3"]);
    scene.has_denied(0);
}
