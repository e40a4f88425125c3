//! Leases on a real server: who holds one, who loses it, and who may not have one.

use std::sync::atomic::{AtomicU64, Ordering};

use weir_model::Topic;
use weir_testkit::{PATIENCE, Redis};

use super::*;
use crate::redis::config::RedisConfig;
use crate::{LevelChoice, Mirror, SessionChange, SessionKey};

/// Hears and says nothing.
struct Silent;

impl Mirror for Silent {
    fn retained(
        &self,
        _realm: &Arc<str>,
        _topic: &Topic,
        _position: weir_model::Position,
        _message: Option<&Arc<weir_model::Message>>,
    ) {
    }

    fn session(&self, _key: &SessionKey, _change: SessionChange) {}
}

fn config() -> RedisConfig {
    RedisConfig {
        lease_ms: 1500,
        watch_interval_ms: 100,
        back_off_ms: 10,
        back_off_max_ms: 100,
        shards: 2,
        ..RedisConfig::default()
    }
}

fn layout(config: &RedisConfig) -> Layout {
    Layout { prefix: config.key_prefix.as_str().into(), shards: config.shards }
}

async fn enter(redis: &Redis, config: &RedisConfig, cluster_id: &str) -> Result<NodeRef, EnrolError> {
    let servers = Servers::connect(&redis.url(), LevelChoice::Auto, config).await.unwrap();
    let wanted = NodeRef { node_id: "a".into(), incarnation: 1 };
    enrol(&servers, &layout(config), cluster_id, &wanted).await
}

async fn node_with_clock(redis: &Redis, id: &str, clock: BootClock) -> Arc<Lease> {
    let config = config();
    let servers = Servers::connect(&redis.url(), LevelChoice::Auto, &config).await.unwrap();
    let layout = layout(&config);
    let wanted = NodeRef { node_id: id.into(), incarnation: 1 };
    let node = enrol(&servers, &layout, "test", &wanted).await.unwrap();
    let feed = Feed::new(servers.clone(), layout.clone(), node.incarnation);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| feed.restore(&runtime, Arc::new(Silent), &mut |_| {})).unwrap();
    let lease = Lease::start(servers, layout, feed, node, clock);
    lease.standing().await.unwrap();
    lease
}

async fn node(redis: &Redis, id: &str) -> Arc<Lease> {
    node_with_clock(redis, id, boot_clock()).await
}

/// Looks until it is so.
async fn until(waiting_for: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {waiting_for}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn ids(lease: &Lease) -> Vec<String> {
    let mut ids: Vec<String> = lease.nodes().iter().map(|node| node.node_id.to_string()).collect();
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_leases_see_each_other() {
    let redis = Redis::start();
    let (one, other) = (node(&redis, "a").await, node(&redis, "b").await);
    until("both to see both", || ids(&one) == ["a", "b"] && ids(&other) == ["a", "b"]).await;
    assert!(other.node.incarnation > one.node.incarnation, "no two starts share an incarnation");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_with_one_node_id_the_newer_wins_and_the_older_is_told() {
    let redis = Redis::start();
    let older = node(&redis, "a").await;
    let newer = node(&redis, "a").await;
    let by = newer.node.incarnation;
    until("the older to be told", || *older.ended().borrow() == Some(Ended::Superseded { by })).await;
    assert!(!older.stands() && newer.stands());
    assert_eq!(newer.dead(), [older.node.incarnation]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_mirror_hears_nothing_loses_its_lease_and_is_dead_to_the_others() {
    let redis = Redis::start();
    let (deaf, other) = (node(&redis, "a").await, node(&redis, "b").await);
    deaf.feed.close();
    redis.ask::<String>(&["XADD", "{weir:t0}:changes", "*", "kind", "cleared", "topic", "default:t"]);
    until("the deaf one to stand no more", || !deaf.stands()).await;
    until("the other to list it as dead", || other.dead() == [deaf.node.incarnation]).await;
    assert_eq!(ids(&other), ["b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_taken_for_dead_is_told_when_it_comes_back_and_never_stands_again() {
    let redis = Redis::start();
    let (sleeper, other) = (node(&redis, "a").await, node(&redis, "b").await);
    let bury = script::leave(&other.layout, &sleeper.node);
    let mut connection = other.servers.commands(Shard::Nodes).await.unwrap();
    bury.query_async::<()>(&mut connection).await.unwrap();
    until("it to be told", || *sleeper.ended().borrow() == Some(Ended::Buried)).await;
    assert!(!sleeper.stands());
    assert_eq!(sleeper.standing().await, Err(Ended::Buried));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_was_slept_through_does_not_stand() {
    let redis = Redis::start();
    let slept = Arc::new(AtomicU64::new(0));
    let (machine, asleep) = (boot_clock(), slept.clone());
    let clock: BootClock = Arc::new(move || machine() + Duration::from_secs(asleep.load(Ordering::Relaxed)));
    let lease = node_with_clock(&redis, "a", clock).await;
    slept.store(3600, Ordering::Relaxed);
    assert!(!lease.stands());
    lease.standing().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_dead_because_the_store_was_away() {
    let mut redis = Redis::build().set("appendfsync", "always").start();
    let (one, other) = (node(&redis, "a").await, node(&redis, "b").await);
    redis.kill9();
    until("both to stand no more", || !one.stands() && !other.stands()).await;
    redis.restart();
    one.standing().await.unwrap();
    other.standing().await.unwrap();
    until("both to see both", || ids(&one) == ["a", "b"] && ids(&other) == ["a", "b"]).await;
    assert_eq!((one.dead(), other.dead()), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_given_back_is_over_for_everybody_at_once() {
    let redis = Redis::start();
    let (leaving, other) = (node(&redis, "a").await, node(&redis, "b").await);
    leaving.leave().await;
    assert!(!leaving.stands());
    other.renew().await.unwrap();
    assert_eq!((ids(&other), other.dead()), (vec!["b".to_owned()], vec![leaving.node.incarnation]));
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_renewed_in_a_store_that_is_full() {
    let redis = Redis::start();
    let lease = node(&redis, "a").await;
    redis.config_set("maxmemory", "1");
    let refused = redis.try_ask::<()>(redis::cmd("SET").arg("{weir:n}:x").arg(1)).unwrap_err();
    assert_eq!(refused.code(), Some("OOM"));
    lease.renew().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_another_cluster_or_layout_or_shape_is_refused_by_name() {
    let redis = Redis::start();
    enter(&redis, &config(), "ours").await.unwrap();
    let refused = enter(&redis, &config(), "theirs").await.unwrap_err().to_string();
    assert!(refused.contains("belongs to the cluster `ours`"), "{refused}");
    let others = RedisConfig { key_prefix: "theirs".to_owned(), ..config() };
    enter(&redis, &others, "theirs").await.unwrap();
    let wider = RedisConfig { shards: 4, ..config() };
    let refused = enter(&redis, &wider, "ours").await.unwrap_err().to_string();
    assert!(refused.contains("store.redis.shards = 2"), "{refused}");
    redis.ask::<()>(&["HSET", "{weir:n}:store", "layout", "2"]);
    let refused = enter(&redis, &config(), "ours").await.unwrap_err().to_string();
    assert!(refused.contains("has layout 2, this version knows up to 1"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_who_own_nothing_are_forgotten_and_only_they() {
    let redis = Redis::start();
    let lease = node(&redis, "a").await;
    redis.ask::<i64>(&["HSET", "{weir:n}:dead", "7", "0", "8", "0"]);
    redis.ask::<i64>(&["SADD", "{weir:s1}:owned:8", "c:default:someone"]);
    sweep::sweep(&lease).await;
    lease.renew().await.unwrap();
    assert_eq!(lease.dead(), [8]);
}
