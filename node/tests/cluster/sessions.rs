//! Sessions have no home: they are where their client is, and survive the node it was at.

use weir_bench::client::{Error, Options, Will};
use weir_model::Qos;
use weir_wire::mqtt::ReasonCode;

use super::scene::{EVERY_QOS, Scene, clean, kept, next, next_many, publish, subscribe};

#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_a_client_was_away_waits_for_it_at_whatever_node_it_comes_to() {
    let scene = Scene::start();
    let mut publisher = scene.client(1, "publisher").await;
    let mut traveller = scene.connect(0, &kept("traveller")).await;
    subscribe(&mut traveller, "news/#", Qos::ExactlyOnce).await;
    traveller.disconnect().await.expect("a goodbye");
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        publish(&mut publisher, "news/today", &format!("{}", qos as u8), qos).await;
    }
    let mut traveller = scene.connect(2, &kept("traveller")).await;
    assert!(traveller.session_present());
    assert_eq!(next_many(&mut traveller, 2).await, ["1", "2"]);
    publish(&mut publisher, "news/today", "live", Qos::AtLeastOnce).await;
    assert_eq!(next(&mut traveller).await, "live");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_id_lives_once_and_the_old_connection_is_told() {
    let scene = Scene::start();
    for options in [clean("one"), kept("two")] {
        let mut old = scene.connect(0, &options).await;
        let mut new = scene.connect(1, &options).await;
        match old.next().await {
            Err(Error::Disconnected { code, .. }) => assert_eq!(code, ReasonCode::SessionTakenOver),
            other => panic!("{other:?} instead of DISCONNECT"),
        }
        new.ping().await.expect("the new one is served");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_taken_over_gets_everything_at_its_new_node() {
    let scene = Scene::start();
    let mut publisher = scene.client(2, "publisher").await;
    let mut old = scene.connect(0, &kept("mover")).await;
    subscribe(&mut old, "m", Qos::AtLeastOnce).await;
    let mut expected = Vec::new();
    for round in 0..20 {
        for number in 0..5 {
            let payload = format!("{round}-{number}");
            publish(&mut publisher, "m", &payload, Qos::AtLeastOnce).await;
            expected.push(payload);
        }
        let mut new = scene.connect(round % 2 + 1, &kept("mover")).await;
        // What the old connection has not acknowledged comes again.
        while !expected.is_empty() {
            let payload = next(&mut new).await;
            let at = expected.iter().position(|expected| *expected == payload);
            expected.drain(..=at.unwrap_or_else(|| panic!("{payload} was not due, {expected:?} was")));
        }
    }
}

pub fn with_will(topic: &str, options: Options) -> Options {
    let will =
        Will { topic: topic.into(), payload: b"gone".to_vec(), qos: Qos::AtLeastOnce, ..Will::default() };
    Options { will: Some(will), ..options }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wills_of_a_killed_node_are_published_by_the_others() {
    let mut scene = Scene::start();
    let mut witness = scene.client(1, "witness").await;
    subscribe(&mut witness, "will/#", Qos::AtLeastOnce).await;
    let _clean = scene.connect(0, &with_will("will/clean", clean("clean"))).await;
    let _kept = scene.connect(0, &with_will("will/kept", kept("kept"))).await;
    scene.cluster.kill9(0);
    let mut wills =
        [witness.next().await.expect("a will").topic, witness.next().await.expect("a will").topic];
    wills.sort();
    assert_eq!(wills, ["will/clean", "will/kept"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_node_is_killed_has_its_queue_at_another() {
    let mut scene = Scene::start();
    let mut publisher = scene.client(1, "publisher").await;
    let mut subscriber = scene.connect(0, &kept("subscriber")).await;
    for qos in EVERY_QOS {
        subscribe(&mut subscriber, &format!("q/{}", qos as u8), qos).await;
    }
    publish(&mut publisher, "q/1", "before", Qos::AtLeastOnce).await;
    assert_eq!(next(&mut subscriber).await, "before");
    scene.cluster.kill9(0);
    publish(&mut publisher, "q/1", "one", Qos::AtLeastOnce).await;
    publish(&mut publisher, "q/2", "two", Qos::ExactlyOnce).await;
    let mut subscriber = scene.connect(2, &kept("subscriber")).await;
    assert!(subscriber.session_present());
    let mut payloads = next_many(&mut subscriber, 2).await;
    // Its acknowledgement may have died with the node.
    if payloads[0] == "before" {
        payloads = vec![payloads[1].clone(), next(&mut subscriber).await];
    }
    assert_eq!(payloads, ["one", "two"]);
}
