//! Redis starts again, or a replica takes over, while a group works; one that lags forgets what was finished, and what
//! is put back then may come behind newer records (`docs/redis.md`, limits).

use std::collections::BTreeSet;
use std::time::Duration;

use weir_admin::proto::ConsumeRecord;
use weir_testkit::redis::RedisSentinels;
use weir_testkit::{Cluster, eventually, http};

use super::work::{Member, Work, id};
use super::{PARTITIONS, admin, administered, make, message, scene, target};
use crate::scene::PROGRAM;

/// Records finished before and after each failure.
const SOME: usize = 200;

/// Longer than any failover here takes: a node that loses its lease begins anew, and what it could put back and report
/// goes with it.
const LEASE_MS: u64 = 15_000;

/// Of the nodes that answer: one that has lost its lease begins anew.
fn sum(cluster: &Cluster, metric: &str) -> f64 {
    let told = |node: &weir_testkit::Node| http::try_get(node.address("http"), "/metrics").ok();
    cluster.running().filter_map(told).map(|answer| http::Metrics::read(&answer.body).sum(metric)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_finished_stays_so_when_redis_dies_and_starts_again() {
    let mut scene = scene();
    make(&admin(scene.cluster.node(0)).await, PARTITIONS).await;
    let work = Work::over(&scene.cluster);
    for _ in 0..2 {
        work.wait_for(SOME).await;
        work.note("kill -9 of redis, which starts again");
        scene.redis.kill9();
        scene.redis.restart();
    }
    work.wait_for(SOME).await;
    work.kept_every_promise().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_finished_stays_so_when_a_replica_takes_over_that_has_it() {
    let mut sentinels = RedisSentinels::start();
    let node = |_, node| administered(node).set("store.level", "replicated:all");
    let cluster = Cluster::of(PROGRAM, &sentinels.url()).each(node).start();
    make(&admin(cluster.node(0)).await, PARTITIONS).await;
    let work = Work::over(&cluster);
    work.wait_for(SOME).await;
    work.note("a replica takes over by order");
    sentinels.failover();
    work.wait_for(SOME).await;
    work.note("kill -9 of the primary, and a replica takes over");
    let before = sentinels.primary();
    sentinels.primary_server().kill9();
    sentinels.wait_until_moved_from(before);
    let dead = sentinels.servers.iter_mut().find(|server| server.address() == before);
    dead.expect("it was one of them").restart();
    work.wait_for(SOME).await;
    work.kept_every_promise().await;
}

/// The primary dies with what its replicas have never heard of, and one of those takes over.
fn a_lagging_replica_takes_over(sentinels: &mut RedisSentinels) {
    let before = sentinels.primary();
    sentinels.primary_server().kill9();
    sentinels.servers.iter().filter(|server| server.address() != before).for_each(|server| server.sigcont());
    sentinels.wait_until_moved_from(before);
}

/// Replicas hear nothing from now on; what is on its way to them is lost.
fn replicas_stop(sentinels: &mut RedisSentinels) {
    let primary = sentinels.primary();
    let replicas = || sentinels.servers.iter().filter(|server| server.address() != primary);
    let offset = |server: &weir_testkit::Redis, field: &str| {
        let info: String = server.ask(&["INFO", "replication"]);
        let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.and_then(|text| text.trim().parse::<u64>().ok())
    };
    let is = |server: &&weir_testkit::Redis| server.address() == primary;
    let primary_server = sentinels.servers.iter().find(is).expect("a primary");
    let wanted = offset(primary_server, "master_repl_offset");
    eventually("replicas that have all", || {
        replicas().all(|replica| offset(replica, "slave_repl_offset") >= wanted).then_some(())
    });
    replicas().for_each(|replica| replica.sigstop());
    primary_server.ask::<i64>(&["CLIENT", "KILL", "TYPE", "replica"]);
}

/// Goes on with what it holds and is given, at another node if it has to, until nothing is missing. Returns all it was
/// given.
async fn finish(
    cluster: &Cluster,
    mut member: Member,
    mut held: Vec<ConsumeRecord>,
    mut missing: BTreeSet<u64>,
) -> BTreeSet<u64> {
    let mut given = BTreeSet::new();
    for turn in 0.. {
        while let Ok(reasons) = member.ack(&held).await {
            if reasons.is_empty() {
                held.iter().for_each(|record| {
                    missing.remove(&id(record).1);
                });
            }
            if missing.is_empty() {
                return given;
            }
            let Ok(more) = member.next().await else { break };
            given.extend(more.iter().map(|record| id(record).1));
            held = more;
        }
        member = loop {
            match Member::join(&target(cluster.node(turn % 3)), 0).await {
                Ok(member) => break member,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        held = Vec::new();
    }
    given
}

/// A group loses what it has done since its replicas stopped: before its member came, or when it had finished some.
async fn forgets(is_before_it_joins: bool) {
    let mut sentinels = RedisSentinels::start();
    // Nothing is put back by the nodes: what the replica lacks is gone.
    let node = |_, node| {
        administered(node).set("store.redis.replay_window_ms", 0).set("store.redis.lease_ms", LEASE_MS)
    };
    let cluster = Cluster::of(PROGRAM, &sentinels.url()).each(node).start();
    let near = admin(cluster.node(0)).await;
    make(&near, 1).await;
    for number in 1..=20 {
        near.streams().publish(message("work/a", number)).await.expect("published");
    }
    if is_before_it_joins {
        replicas_stop(&mut sentinels);
    }
    let mut member = Member::join(&target(cluster.node(0)), 0).await.expect("joined");
    let records = member.take(20).await;
    assert_eq!(member.ack(&records[..5]).await.expect("an answer"), [""; 0]);
    if !is_before_it_joins {
        replicas_stop(&mut sentinels);
    }
    assert_eq!(member.ack(&records[5..15]).await.expect("an answer"), [""; 0]);
    near.streams().publish(message("work/a", 21)).await.expect("published, and forgotten");
    a_lagging_replica_takes_over(&mut sentinels);
    eventually("the loss to be reported", || {
        (sum(&cluster, "weir_store_redis_rollback_lost_total") > 0.0).then_some(())
    });
    cluster.wait_until_whole();
    let after = admin(cluster.node(1)).await;
    let mut again = 0;
    // The new primary takes writes when what it lacks is found out.
    while let Err(status) = after.streams().publish(message("work/a", 22)).await {
        again += 1;
        assert!(again < 600, "{status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What was finished may come again, what was not does; what is new too.
    let missing = (16..=20).chain([22]).collect();
    let given = finish(&cluster, member, records[15..].to_vec(), missing).await;
    assert!(given.contains(&22) && given.iter().all(|number| (1..=22).contains(number)), "{given:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_progress_a_failover_has_forgotten_goes_on_and_the_loss_is_reported() {
    forgets(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_which_the_new_primary_knows_no_owner_goes_on_and_the_loss_is_reported() {
    forgets(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_when_a_lagging_replica_takes_over_and_nodes_put_back_what_it_lacks() {
    let mut sentinels = RedisSentinels::start();
    // Whatever the failover takes, what was acknowledged before it is put back.
    let node = |_, node| {
        administered(node).set("store.redis.lease_ms", LEASE_MS).set("store.redis.replay_window_ms", 120_000)
    };
    let cluster = Cluster::of(PROGRAM, &sentinels.url()).each(node).start();
    make(&admin(cluster.node(0)).await, PARTITIONS).await;
    let work = Work::over(&cluster);
    work.wait_for(SOME).await;
    work.note("replicas stop");
    replicas_stop(&mut sentinels);
    work.wait_for(SOME).await;
    work.book.store_has_forgotten();
    a_lagging_replica_takes_over(&mut sentinels);
    work.book.store_forgets_no_more();
    work.wait_for(SOME).await;
    cluster.wait_until_whole();
    work.kept_every_promise().await;
    assert!(sum(&cluster, "weir_store_redis_rollback_replayed_total") > 0.0);
}
