//! A level is proved by the server's settings, or refused by the name of the one in the way.

use std::num::NonZeroU32;
use std::time::Duration;

use weir_store::redis::{ConnectError, RedisConfig, Servers, Shard};
use weir_store::{Level, LevelChoice};
use weir_testkit::{Redis, eventually};

use crate::connect::{config, connected, servers, write};

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
