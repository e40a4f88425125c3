//! Nodes come, go and die, and the others say so.

use weir_model::Qos;
use weir_testkit::{Node, Redis, eventually, http};

use super::scene::{Scene, next, publish, subscribe};

fn readiness(node: &Node, query: &str) -> (u16, String) {
    let answer = http::get(node.address("http"), &format!("/health/ready{query}"));
    (answer.status, answer.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_later_serves_like_all_others() {
    let mut scene = Scene::start_with(|builder| builder.nodes(2));
    let mut before = scene.client(0, "before").await;
    subscribe(&mut before, "t/#", Qos::AtLeastOnce).await;
    let late = scene.cluster.add();
    let mut newcomer = scene.client(late, "newcomer").await;
    publish(&mut newcomer, "t/1", "from the new", Qos::AtLeastOnce).await;
    assert_eq!(next(&mut before).await, "from the new");
    subscribe(&mut newcomer, "u", Qos::AtLeastOnce).await;
    publish(&mut before, "u", "to the new", Qos::AtLeastOnce).await;
    assert_eq!(next(&mut newcomer).await, "to the new");
    scene.cluster.wait_until_whole();
}

#[test]
fn a_dead_node_makes_the_others_degraded_not_unready_until_it_is_back() {
    let mut scene = Scene::start();
    for node in scene.cluster.running() {
        assert_eq!(readiness(node, "?strict"), (200, "ready\n".to_owned()));
    }
    scene.cluster.kill9(2);
    let survivor = scene.cluster.node(0);
    eventually("the death to be noticed", || {
        (readiness(survivor, "") == (200, "degraded\nnode node-2 is lost\n".to_owned())).then_some(())
    });
    assert_eq!(readiness(survivor, "?strict").0, 503);
    assert_eq!(survivor.metrics().value("weir_node_missing{what=\"node\"}"), 1.0);
    scene.cluster.restart(2);
    scene.cluster.wait_until_whole();
    let survivor = scene.cluster.node(0);
    eventually("all to be well", || (readiness(survivor, "?strict").0 == 200).then_some(()));
}

#[test]
fn a_node_that_leaves_is_missed_by_nobody() {
    let mut scene = Scene::start();
    scene.cluster.end(1);
    scene.cluster.wait_until_whole();
    for node in scene.cluster.running() {
        eventually("all to be well", || (readiness(node, "?strict").0 == 200).then_some(()));
        assert_eq!(node.metrics().sum("weir_cluster_deaths_total"), 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_keeps_what_is_acknowledged() {
    let mut scene = Scene::start();
    let mut subscriber = scene.connect(0, &super::scene::kept("subscriber")).await;
    subscribe(&mut subscriber, "t", Qos::AtLeastOnce).await;
    subscriber.disconnect().await.expect("a goodbye");
    let mut expected = Vec::new();
    for round in 0..3 {
        let mut publisher = scene.client((round + 1) % 3, "publisher").await;
        publish(&mut publisher, "t", &format!("{round}"), Qos::AtLeastOnce).await;
        expected.push(format!("{round}"));
        scene.cluster.end(round);
        scene.cluster.restart(round);
    }
    let mut subscriber = scene.connect(1, &super::scene::kept("subscriber")).await;
    assert_eq!(super::scene::next_many(&mut subscriber, 3).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_slept_through_its_lease_starts_anew_by_itself() {
    let scene = Scene::start();
    let mut subscriber = scene.connect(1, &super::scene::kept("subscriber")).await;
    subscribe(&mut subscriber, "t", Qos::AtLeastOnce).await;
    let _asleep = scene.connect(0, &super::sessions::with_will("will", super::scene::kept("asleep"))).await;
    subscribe(&mut subscriber, "will", Qos::AtLeastOnce).await;
    scene.cluster.stop(0);
    // Others have seen to its sessions: it cannot go on as who it was.
    assert_eq!(next(&mut subscriber).await, "gone");
    scene.cluster.cont(0);
    eventually("the node to start anew", || scene.cluster.node(0).stderr().contains("stopped").then_some(()));
    scene.cluster.wait_until_whole();
    let mut publisher = scene.client(0, "publisher").await;
    publish(&mut publisher, "t", "awake", Qos::AtLeastOnce).await;
    assert_eq!(next(&mut subscriber).await, "awake");
}

#[test]
fn the_start_of_a_node_waits_for_its_store() {
    let mut redis = Redis::start();
    redis.kill9();
    let node = Node::of(super::scene::PROGRAM).store(&redis.url()).spawn();
    eventually("the node to wait", || node.stderr().contains("waiting for the store").then_some(()));
    redis.restart();
    node.ready().expect("it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_store_a_cluster_is_degraded_and_carries_qos_0() {
    let scene = Scene::start();
    let mut subscriber = scene.client(1, "subscriber").await;
    subscribe(&mut subscriber, "t", Qos::AtMostOnce).await;
    let mut publisher = scene.client(0, "publisher").await;
    scene.redis.sigstop();
    for node in scene.cluster.running() {
        eventually("the node to miss its store", || {
            let (status, body) = readiness(node, "");
            (status == 200 && body.starts_with("degraded\nthe store is away")).then_some(())
        });
    }
    publish(&mut publisher, "t", "still here", Qos::AtMostOnce).await;
    assert_eq!(next(&mut subscriber).await, "still here");
    scene.redis.sigcont();
    for node in scene.cluster.running() {
        eventually("all to be well", || (readiness(node, "?strict").0 == 200).then_some(()));
    }
}
