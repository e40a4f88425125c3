//! A level is proved by the server's settings, or refused by the name of the one in the way.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use weir_store::redis::{ConnectError, RedisConfig, Servers, Shard};
use weir_store::{Level, LevelChoice, NotProved, Outcome, Refusal, SessionKey, Step, Store, suite};
use weir_testkit::{Redis, eventually};

use crate::connect::{config, connected, servers, write};
use crate::flow;

async fn refusal(redis: &Redis, level: &str) -> String {
    let choice: LevelChoice = level.parse().unwrap();
    let refused = Servers::connect(&redis.url(), choice, &config()).await.err();
    let refused = refused.unwrap_or_else(|| panic!("{level} is not refused"));
    assert!(matches!(refused, ConnectError::Unproved { .. }), "{refused}");
    refused.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_level_that_the_server_does_not_prove_is_refused_by_the_name_of_its_setting() {
    let redis = Redis::start();
    assert!(refusal(&redis, "fsynced").await.contains("`appendfsync` is `everysec`"));
    assert!(refusal(&redis, "replicated:1").await.contains("0 replicas are connected"));
    redis.config_set("maxmemory-policy", "volatile-lru");
    assert!(refusal(&redis, "stored").await.contains("`maxmemory-policy` is `volatile-lru`"));
    redis.config_set("maxmemory-policy", "noeviction");
    redis.config_set("appendonly", "no");
    assert!(refusal(&redis, "fsynced").await.contains("`appendonly` is `no`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_syncs_always_proves_fsynced() {
    let redis = Redis::build().set("appendfsync", "always").start();
    let servers = servers(&redis.url()).await;
    assert_eq!(servers.level(), Level::Fsynced);
    assert!(connected(&servers, Shard::Nodes).await.wait().expect("the level is proved").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_waits_for_as_many_replicas_as_the_level_says() {
    let redis = Redis::start();
    let replica = Redis::build().replica_of(&redis).start();
    redis.wait_for_replicas(1);
    let level = Level::Replicated(NonZeroU32::MIN);
    // A replica counts as connected before it has loaded what it was sent, and confirms nothing until then.
    let patience_ms = weir_testkit::PATIENCE.as_millis() as u64;
    let config = RedisConfig { confirm_ms: patience_ms, response_timeout_ms: patience_ms, ..config() };
    let servers = Servers::connect(&redis.url(), level.into(), &config).await.unwrap();
    let mut connection = connected(&servers, Shard::Topic(0)).await;
    let wait = connection.wait().unwrap().expect("replicas are waited for");
    let mut batch = redis::pipe();
    batch.cmd("SET").arg("{weir:t0}:x").arg(1).ignore().add_command(wait.command());
    let answers: Vec<redis::Value> = batch.query_async(&mut connection).await.unwrap();
    assert!(wait.enough(&answers[0]));
    assert_eq!(replica.ask::<u64>(&["GET", "{weir:t0}:x"]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_does_not_answer_leaves_a_write_unconfirmed() {
    let redis = Redis::start();
    let replica = Redis::build().replica_of(&redis).start();
    redis.wait_for_replicas(1);
    let level = Level::ReplicatedAll;
    let servers = Servers::connect(&redis.url(), level.into(), &config()).await.unwrap();
    let mut connection = connected(&servers, Shard::Topic(0)).await;
    replica.sigstop();
    let within = Duration::from_millis(600);
    let unconfirmed = connection.confirm("weir", Shard::Topic(0), within).await;
    replica.sigcont();
    assert!(unconfirmed.unwrap_err().to_string().contains("too few replicas"));
    connection.confirm("weir", Shard::Topic(0), weir_testkit::PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_get_weaker_stop_everything_until_they_are_right_again() {
    let redis = Redis::build().set("appendfsync", "always").start();
    let servers = servers(&redis.url()).await;
    let connection = connected(&servers, Shard::Session(0)).await;
    redis.config_set("appendfsync", "everysec");
    tokio::task::block_in_place(|| {
        eventually("the weaker setting to be seen", || (!connection.is_good()).then_some(()));
    });
    let mut refused = connection.clone();
    assert!(redis::cmd("PING").query_async::<String>(&mut refused).await.is_err());
    redis.config_set("appendfsync", "always");
    write(&servers, Shard::Session(0), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_is_seen_before_it_refuses() {
    let redis = Redis::start();
    let servers = servers(&redis.url()).await;
    connected(&servers, Shard::Nodes).await;
    assert!(!servers.is_memory_high(Shard::Nodes));
    let used: String = redis.ask(&["INFO", "memory"]);
    let used = used.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    let used: u64 = used.trim().parse().unwrap();
    redis.config_set("maxmemory", &(used * 10 / 9).to_string());
    tokio::task::block_in_place(|| {
        eventually("the high mark", || servers.is_memory_high(Shard::Nodes).then_some(()));
    });
    redis.config_set("maxmemory", "0");
    tokio::task::block_in_place(|| {
        eventually("the end of the high mark", || (!servers.is_memory_high(Shard::Nodes)).then_some(()));
    });
}

/// A server with a replica, and a store on it.
fn with_replica(change: impl FnOnce(&mut weir_store::Config)) -> (Redis, Redis, Arc<dyn Store>) {
    let redis = Redis::start();
    let replica = Redis::build().replica_of(&redis).start();
    redis.wait_for_replicas(1);
    let store = flow::store(&redis.url(), change);
    let one = Level::Replicated(NonZeroU32::MIN);
    eventually("the replica to be seen", || store.proves(one).is_ok().then_some(()));
    (redis, replica, store)
}

/// A session of the store, and what puts a message in its queue.
fn queue(store: &dyn Store) -> (SessionKey, impl Fn(&str) -> Vec<Step>) {
    let key = suite::client("a");
    let generation = suite::open(store, &key, suite::resuming()).fence.generation;
    let own = key.clone();
    let put =
        move |text: &str| vec![suite::step(&own, [suite::enqueue(generation, suite::message(text, 20))])];
    (key, put)
}

fn is_kept(answer: &std::sync::mpsc::Receiver<weir_store::Answer>) -> bool {
    let answer = answer.recv_timeout(weir_testkit::PATIENCE).expect("an answer");
    matches!(answer[0].as_deref(), Ok([Outcome::Enqueued { .. }]))
}

#[test]
fn a_raised_answer_waits_for_the_replica_and_holds_up_nobody_else() {
    let (_redis, replica, store) = with_replica(|config| config.level = Level::Stored.into());
    let (key, put) = queue(&*store);
    let one = Some(Level::Replicated(NonZeroU32::MIN));
    assert!(is_kept(&suite::submitted_at(&*store, one, put("1"))));
    replica.sigstop();
    let raised = suite::submitted_at(&*store, one, put("2"));
    for text in ["3", "4"] {
        assert!(
            is_kept(&suite::submitted_at(&*store, None, put(text))),
            "who has not asked for it does not wait"
        );
    }
    assert!(raised.try_recv().is_err(), "it was acknowledged although the replica does not have it");
    replica.sigcont();
    assert!(is_kept(&raised));
    let texts: Vec<String> = suite::texts(&*store, &key).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["1", "2", "3", "4"]);
}

#[test]
fn a_raised_answer_that_no_replica_confirms_in_time_is_unknown_and_done_once() {
    let (_redis, replica, store) = with_replica(|config| {
        config.level = Level::Stored.into();
        config.redis.unknown_wait_ms = 300;
    });
    let (key, put) = queue(&*store);
    replica.sigstop();
    let answer = suite::ask_at(&*store, Some(Level::ReplicatedAll), put("1"));
    replica.sigcont();
    assert_eq!(answer, [Err(Refusal::Unknown)]);
    assert_eq!(suite::texts(&*store, &key).len(), 1);
}

#[test]
fn what_a_server_cannot_prove_now_is_told_from_what_it_never_can() {
    let (redis, mut replica, store) = with_replica(|config| config.level = Level::Stored.into());
    let (one, two) = (Level::Replicated(NonZeroU32::MIN), "replicated:2".parse().unwrap());
    assert_eq!(store.proves(two), Err(NotProved::NotNow));
    assert_eq!(store.proves(Level::Stored), Ok(()));
    // A server before 7.2 cannot say when it has synced, unless it always does.
    let version: String = redis.ask(&["INFO", "server"]);
    if version.contains("redis_version:7.0") {
        assert_eq!(store.proves(Level::Fsynced), Err(NotProved::Never));
    }
    replica.kill9();
    eventually("the replica to be missed", || (store.proves(one) == Err(NotProved::NotNow)).then_some(()));
    redis.config_set("appendfsync", "always");
    eventually("the setting to be seen", || store.proves(Level::Fsynced).is_ok().then_some(()));
    let (_, put) = queue(&*store);
    assert!(is_kept(&suite::submitted_at(&*store, Some(Level::Fsynced), put("1"))));
}

#[test]
fn a_lowered_answer_does_not_wait_for_the_replica() {
    let one = Level::Replicated(NonZeroU32::MIN);
    let (redis, replica, store) = with_replica(|config| config.level = one.into());
    let (key, put) = queue(&*store);
    replica.sigstop();
    assert!(is_kept(&suite::submitted_at(&*store, Some(Level::Stored), put("1"))));
    // The two behind it are one batch: they are put in line while the server answers nothing.
    redis.sigstop();
    let first = suite::submitted_at(&*store, Some(Level::Stored), put("2"));
    let own = suite::submitted_at(&*store, None, put("3"));
    let lowered = suite::submitted_at(&*store, Some(Level::Stored), put("4"));
    redis.sigcont();
    assert!(is_kept(&first) && is_kept(&lowered));
    assert!(own.try_recv().is_err(), "it was acknowledged although the replica does not have it");
    replica.sigcont();
    assert!(is_kept(&own));
    assert_eq!(suite::texts(&*store, &key).len(), 4);
}
