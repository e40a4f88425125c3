//! Primaries are found however Redis is set up, and found again when they move.

use redis::aio::ConnectionLike as _;
use weir_store::redis::{ConnectError, Servers, Shard};
use weir_store::{Level, LevelChoice};
use weir_testkit::{Redis, RedisCluster, RedisSentinels, eventually};

use crate::connect::{config, connected, read, servers, write};

#[tokio::test(flavor = "multi_thread")]
async fn one_server_has_every_shard_on_one_connection() {
    let redis = Redis::start();
    let servers = servers(&redis.url()).await;
    assert_eq!(servers.groups().len(), 1);
    assert_eq!(servers.level(), Level::Stored);
    write(&servers, Shard::Session(3), 7).await;
    assert_eq!(read(&servers, Shard::Session(3)).await, Some(7));
    connected(&servers, Shard::Topic(1)).await;
    let clients: String = redis.ask(&["CLIENT", "LIST", "TYPE", "normal"]);
    // The node's, and the one that asks.
    assert_eq!(clients.lines().count(), 2, "{clients}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_away_is_connected_to_again() {
    let mut redis = Redis::start();
    let servers = servers(&redis.url()).await;
    write(&servers, Shard::Topic(0), 1).await;
    redis.stop();
    let mut broken = connected_or_away(&servers).await;
    while let Some(mut connection) = broken {
        let error = connection.req_packed_command(&redis::cmd("PING")).await.unwrap_err();
        servers.lost(&connection, &error);
        broken = connected_or_away(&servers).await;
    }
    redis.restart();
    write(&servers, Shard::Topic(0), 2).await;
    assert_eq!(read(&servers, Shard::Topic(0)).await, Some(2));
}

async fn connected_or_away(servers: &Servers) -> Option<weir_store::redis::Connection> {
    servers.commands(Shard::Topic(0)).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_are_replaced_once_each() {
    let redis = Redis::start();
    let servers = servers(&redis.url()).await;
    let first = connected(&servers, Shard::Nodes).await;
    redis.client_kill_all();
    let error = first.clone().req_packed_command(&redis::cmd("PING")).await.unwrap_err();
    // Everybody who used it reports it.
    for _ in 0..3 {
        servers.lost(&first, &error);
    }
    let shards = [Shard::Session(0), Shard::Session(1), Shard::Topic(0)];
    let again = futures_util::future::join_all(shards.map(|shard| connected(&servers, shard))).await;
    servers.lost(&first, &error);
    assert!(again[0].clone().req_packed_command(&redis::cmd("PING")).await.is_ok());
    let clients: String = redis.ask(&["CLIENT", "LIST", "TYPE", "normal"]);
    assert_eq!(clients.lines().count(), 2, "{clients}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_no_place_for_a_store() {
    let primary = Redis::start();
    let replica = Redis::build().replica_of(&primary).start();
    let refused = Servers::connect(&replica.url(), LevelChoice::Auto, &config()).await;
    assert!(matches!(refused, Err(ConnectError::Replica { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_made_a_replica_is_left_until_it_is_primary_again() {
    let redis = Redis::start();
    let other = Redis::start();
    let servers = servers(&redis.url()).await;
    let mut connection = connected(&servers, Shard::Nodes).await;
    redis.ask::<()>(&["REPLICAOF", &other.address().ip().to_string(), &other.address().port().to_string()]);
    let error =
        redis::cmd("SET").arg("{weir:n}:x").arg(1).query_async::<()>(&mut connection).await.unwrap_err();
    servers.lost(&connection, &error);
    let mut away = servers.commands(Shard::Nodes).await.err().expect("no connection to a replica");
    while !away.cause.contains("is a replica") {
        tokio::time::sleep(away.retry_in).await;
        away = servers.commands(Shard::Nodes).await.err().expect("no connection to a replica");
    }
    redis.ask::<()>(&["REPLICAOF", "NO", "ONE"]);
    write(&servers, Shard::Nodes, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_that_sentinels_name_is_found_and_followed_when_they_promote_another() {
    let sentinels = RedisSentinels::start();
    let servers = servers(&sentinels.url()).await;
    write(&servers, Shard::Session(0), 1).await;
    let before = connected(&servers, Shard::Session(0)).await;
    tokio::task::block_in_place(|| {
        sentinels.failover();
        eventually("the old primary to be left", || (!before.is_good()).then_some(()));
    });
    write(&servers, Shard::Session(0), 2).await;
    let after = connected(&servers, Shard::Session(0)).await;
    assert_ne!(before.run_id(), after.run_id());
    let primary = sentinels.servers.iter().find(|server| server.address() == sentinels.primary()).unwrap();
    assert_eq!(primary.ask::<u64>(&["GET", "{weir:s0}:test"]), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_dies_is_replaced_by_the_one_that_sentinels_promote() {
    let mut sentinels = RedisSentinels::start();
    let servers = servers(&sentinels.url()).await;
    write(&servers, Shard::Topic(2), 1).await;
    let dead = sentinels.primary();
    tokio::task::block_in_place(|| {
        sentinels.primary_server().kill9();
        sentinels.wait_until_moved_from(dead);
    });
    write(&servers, Shard::Topic(2), 2).await;
    assert_eq!(read(&servers, Shard::Topic(2)).await, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_shard_of_a_cluster_is_written_where_its_slot_is() {
    let cluster = RedisCluster::start_with(0, |builder| builder);
    let servers = servers(&cluster.url()).await;
    assert_eq!(servers.groups().len(), 3);
    for shard in Shard::all(config().shards) {
        write(&servers, shard, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_is_followed() {
    let cluster = RedisCluster::start_with(0, |builder| builder);
    let servers = servers(&cluster.url()).await;
    let shard = Shard::Session(5);
    write(&servers, shard, 1).await;
    let slot = shard.slot("weir");
    let from = cluster.owner(slot);
    tokio::task::block_in_place(|| cluster.move_slot(slot, (from + 1) % 3));
    write(&servers, shard, 2).await;
    assert_eq!(read(&servers, shard).await, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_a_cluster_that_takes_over_is_followed() {
    let mut cluster = RedisCluster::start();
    let servers = servers(&cluster.url()).await;
    let shard = Shard::Topic(9);
    write(&servers, shard, 1).await;
    let owner = cluster.owner(shard.slot("weir"));
    tokio::task::block_in_place(|| cluster.failover_to(owner + 3));
    write(&servers, shard, 2).await;
    // And one that takes over from a dead one.
    cluster.servers[owner + 3].kill9();
    write(&servers, shard, 3).await;
    assert_eq!(read(&servers, shard).await, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_to_ask_is_an_error_that_says_so() {
    let redis = Redis::start();
    // A server that is neither Sentinel nor part of a cluster.
    let sentinel = redis.url().replace("redis://", "redis+sentinel://") + "/main";
    let refused = Servers::connect(&sentinel, LevelChoice::Auto, &config()).await.err().unwrap();
    assert!(refused.to_string().contains("no Sentinel knows the primary `main`"), "{refused}");
    let cluster = redis.url().replace("redis://", "redis+cluster://");
    let refused = Servers::connect(&cluster, LevelChoice::Auto, &config()).await.err().unwrap();
    assert!(refused.to_string().contains("no node of the cluster"), "{refused}");
}
