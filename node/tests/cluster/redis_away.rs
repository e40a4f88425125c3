//! Without Redis: what needs no store goes on, what needs it is refused in time, and all heals by itself.

use weir_bench::Client;
use weir_bench::client::{Error, Message};
use weir_model::Qos;
use weir_testkit::{Cluster, Redis, eventually};
use weir_wire::mqtt::ReasonCode;

use super::scene::{PROGRAM, Scene, clean, kept, next, publish, subscribe, url};

const UNKNOWN_WAIT_MS: u64 = 2000;

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_qos_0_goes_on_and_what_must_be_kept_is_refused_until_it_is_back() {
    let redis = Redis::build().set("appendfsync", "always").start();
    let cluster = Cluster::of(PROGRAM, &redis.url())
        .each(|_, node| node.set("store.redis.unknown_wait_ms", UNKNOWN_WAIT_MS))
        .start();
    let mut scene = Scene { cluster, redis };
    let mut subscriber = scene.client(0, "subscriber").await;
    subscribe(&mut subscriber, "live", Qos::AtMostOnce).await;
    let mut sleeper = scene.connect(0, &kept("sleeper")).await;
    subscribe(&mut sleeper, "kept", Qos::AtLeastOnce).await;
    sleeper.disconnect().await.expect("a goodbye");
    let mut publisher = scene.client(0, "publisher").await;
    publish(&mut publisher, "kept", "before", Qos::AtLeastOnce).await;
    scene.redis.kill9();
    publish(&mut publisher, "live", "without", Qos::AtMostOnce).await;
    assert_eq!(next(&mut subscriber).await, "without");
    // Of what was on its way nobody knows what has become: its connection is ended. What comes later is refused.
    let mut refused = publisher.publish(&Message::new("kept", "without", Qos::AtLeastOnce)).await;
    let mut tries = 0;
    let address = url(scene.cluster.node(0));
    while let Err(Error::Disconnected { .. }) = refused {
        // One that the store does not know: whether it knows another one nobody can say.
        tries += 1;
        let client_id = format!("publisher-{tries}");
        publisher = Client::connect(&address, &clean(&client_id)).await.expect("served");
        refused = publisher.publish(&Message::new("kept", "without", Qos::AtLeastOnce)).await;
    }
    assert!(matches!(refused, Err(Error::PublishRefused { .. })), "{refused:?}");
    let persistent = Client::connect(&address, &kept("new")).await;
    match persistent {
        Err(Error::Refused { code, .. }) => assert_eq!(code, ReasonCode::ServerUnavailable),
        Err(other) => panic!("{other} instead of a refusal"),
        Ok(_) => panic!("a session that cannot be kept was promised"),
    }
    let mut passing = Client::connect(&address, &clean("passing")).await.expect("served");
    publish(&mut passing, "live", "by the way", Qos::AtMostOnce).await;
    assert_eq!(next(&mut subscriber).await, "by the way");
    scene.redis.restart();
    scene.cluster.wait_until_whole();
    eventually("the way back", || {
        let ready = weir_testkit::http::get(scene.cluster.node(0).address("http"), "/health/ready");
        (!ready.body.contains("degraded")).then_some(())
    });
    publish(&mut publisher, "kept", "after", Qos::AtLeastOnce).await;
    let mut sleeper = scene.connect(0, &kept("sleeper")).await;
    assert_eq!(next(&mut sleeper).await, "before");
    // What was on its way may have been kept.
    while next(&mut sleeper).await != "after" {}
}
