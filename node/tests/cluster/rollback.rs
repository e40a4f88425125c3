//! Redis comes back with less than it had acknowledged: what the nodes can put back is put back, the rest is reported.

use std::collections::BTreeSet;
use std::path::PathBuf;

use weir_bench::Client;
use weir_bench::client::{Error, Message};
use weir_model::Qos;
use weir_testkit::{Cluster, Redis, eventually};

use super::scene::{PROGRAM, Scene, kept, next, publish, subscribe};

/// Messages on each side of the point that Redis goes back to.
const SOME: usize = 50;

fn scene(replay_window_ms: u64) -> Scene {
    let redis = Redis::build().set("appendfsync", "always").start();
    let cluster = Cluster::of(PROGRAM, &redis.url());
    let cluster = cluster.each(move |_, node| node.set("store.redis.replay_window_ms", replay_window_ms));
    Scene { cluster: cluster.start(), redis }
}

fn file(redis: &Redis) -> PathBuf {
    let files = std::fs::read_dir(redis.directory().join("appendonlydir")).expect("files");
    let mut files = files.map(|file| file.expect("a file").path());
    files.find(|path| path.to_string_lossy().ends_with(".incr.aof")).expect("the file that grows")
}

fn size(redis: &Redis) -> u64 {
    std::fs::metadata(file(redis)).expect("a file").len()
}

/// Redis forgets what was written after its file was of this size. The cut may go through a command that was written
/// meanwhile (a lease): Redis leaves out the half of it.
fn go_back(scene: &mut Scene, size: u64) {
    scene.redis.kill9();
    let file = std::fs::OpenOptions::new().write(true).open(file(&scene.redis)).expect("a file");
    file.set_len(size).expect("cut");
    scene.redis.restart();
    scene.cluster.wait_until_whole();
}

async fn publish_some(client: &mut Client, topic: &str, name: &str) -> Vec<String> {
    let mut payloads = Vec::new();
    for number in 0..SOME {
        payloads.push(format!("{name}{number}"));
        let message = Message::new(topic, payloads[number].as_str(), Qos::AtLeastOnce);
        // For a moment after a rollback nothing is taken.
        while let Err(refused) = client.publish(&message).await {
            assert!(matches!(refused, Error::PublishRefused { .. }), "{refused}");
        }
    }
    payloads
}

fn sum(scene: &Scene, metric: &str) -> f64 {
    scene.cluster.running().map(|node| node.metrics().sum(metric)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_messages_that_redis_has_forgotten_reach_who_is_away_and_who_is_there() {
    let mut scene = scene(60_000);
    let mut away = scene.connect(1, &kept("away")).await;
    subscribe(&mut away, "news", Qos::AtLeastOnce).await;
    away.disconnect().await.expect("a goodbye");
    let mut there = scene.connect(2, &kept("there")).await;
    subscribe(&mut there, "news", Qos::AtLeastOnce).await;
    let mut watcher = scene.client(0, "watcher").await;
    subscribe(&mut watcher, "$SYS/rollback", Qos::AtMostOnce).await;
    let mut publisher = scene.client(0, "publisher").await;
    let mut expected = publish_some(&mut publisher, "news", "before").await;
    let size = size(&scene.redis);
    expected.extend(publish_some(&mut publisher, "news", "forgotten").await);
    go_back(&mut scene, size);
    let report = next(&mut watcher).await;
    assert!(report.contains("\"replayed_steps\""), "{report}");
    expected.extend(publish_some(&mut publisher, "news", "after").await);
    for client_id in ["away", "there"] {
        let mut client = scene.connect(2, &kept(client_id)).await;
        let mut missing: BTreeSet<String> = expected.iter().cloned().collect();
        if client_id == "there" {
            // What it has acknowledged may or may not come again.
            missing.retain(|payload| payload.starts_with("after"));
        }
        while !missing.is_empty() {
            missing.remove(&next(&mut client).await);
        }
    }
    assert!(sum(&scene, "weir_store_redis_rollback_replayed_total") >= SOME as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_replay_window_the_loss_is_counted_and_published() {
    let mut scene = scene(0);
    let mut away = scene.connect(1, &kept("away")).await;
    subscribe(&mut away, "news", Qos::AtLeastOnce).await;
    away.disconnect().await.expect("a goodbye");
    let mut publisher = scene.client(0, "publisher").await;
    let size = size(&scene.redis);
    publish_some(&mut publisher, "news", "forgotten").await;
    go_back(&mut scene, size);
    eventually("the loss to be counted", || {
        (sum(&scene, "weir_store_redis_rollback_lost_total") >= SOME as f64).then_some(())
    });
    let mut watcher = scene.client(0, "watcher").await;
    subscribe(&mut watcher, "$SYS/rollback", Qos::AtMostOnce).await;
    assert!(next(&mut watcher).await.contains("\"lost_batches\""));
    publish(&mut publisher, "news", "after", Qos::AtLeastOnce).await;
    let mut away = scene.connect(1, &kept("away")).await;
    assert_eq!(next(&mut away).await, "after");
}
