//! A Redis without memory: publishers are refused, subscribers drain it, and then there is room again.

use weir_bench::client::{Error, Message};
use weir_model::Qos;
use weir_wire::mqtt::ReasonCode;

use super::scene::{Scene, kept, next, subscribe};

const BYTES: usize = 50_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_refuses_publishers_keeps_its_leases_and_is_drained_by_subscribers() {
    let scene = Scene::start_with(|nodes| nodes.each(|_, node| node.set("store.queue_bytes_max", 1 << 30)));
    let mut subscriber = scene.connect(1, &kept("subscriber")).await;
    subscribe(&mut subscriber, "news", Qos::AtLeastOnce).await;
    subscriber.disconnect().await.expect("a goodbye");
    let mut publisher = scene.client(0, "publisher").await;
    let message = Message::new("news", vec![b'x'; BYTES], Qos::AtLeastOnce);
    for _ in 0..100 {
        publisher.publish(&message).await.expect("taken");
    }
    let info: String = scene.redis.ask(&["INFO", "memory"]);
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("used memory");
    let used: u64 = used.trim().parse().expect("a number");
    scene.redis.config_set("maxmemory", &(used - 500_000).to_string());
    match publisher.publish(&message).await {
        Err(Error::PublishRefused { code, .. }) => assert_eq!(code, ReasonCode::QuotaExceeded),
        other => panic!("{other:?} instead of a refusal"),
    }
    let mut subscriber = scene.connect(1, &kept("subscriber")).await;
    for _ in 0..100 {
        assert_eq!(next(&mut subscriber).await.len(), BYTES);
    }
    for node in scene.cluster.running() {
        assert_eq!(node.metrics().sum("weir_store_redis_lease_lapses_total"), 0.0, "leases hold");
    }
    scene.redis.config_set("maxmemory", "0");
    // The nodes look at its memory once a second.
    while let Err(refused) = publisher.publish(&message).await {
        assert!(matches!(refused, Error::PublishRefused { .. }), "{refused}");
    }
}
