//! Redis dies, loses its clients, sleeps, or is replaced by one of its replicas.

use weir_testkit::history::Habit;
use weir_testkit::redis::RedisSentinels;
use weir_testkit::{Cluster, Traffic};

use super::{SOME, roomy, scene, scene_with};
use crate::scene::PROGRAM;

#[test]
fn nothing_is_lost_when_redis_dies_and_comes_back_with_what_it_has_synced() {
    let mut scene = scene();
    let traffic = Traffic::of_all_kinds(&scene.cluster).subscribers(Habit::Spared, &[0]).start();
    for _ in 0..3 {
        traffic.wait_for(SOME);
        traffic.note("kill -9 of redis, which starts again");
        scene.redis.kill9();
        scene.redis.restart();
    }
    traffic.wait_for(SOME);
    scene.cluster.wait_until_whole();
    traffic.kept_every_promise(&scene.cluster);
}

#[test]
fn nothing_is_lost_while_redis_is_away_for_longer_than_leases_last() {
    let mut scene = scene();
    let traffic = Traffic::of_all_kinds(&scene.cluster).start();
    traffic.wait_for(SOME);
    traffic.note("kill -9 of redis");
    scene.redis.kill9();
    weir_testkit::eventually("a node to say that its lease is gone", || {
        let ready = weir_testkit::http::get(scene.cluster.node(0).address("http"), "/health/ready");
        ready.body.contains("lease").then_some(())
    });
    traffic.note("redis starts again");
    scene.redis.restart();
    traffic.wait_for(SOME);
    scene.cluster.wait_until_whole();
    traffic.kept_every_promise(&scene.cluster);
}

#[test]
fn nothing_is_lost_when_redis_cuts_all_its_clients() {
    // Cut again and again, a lease may not be renewed in time, and its node begins anew: that is another promise.
    let scene = scene_with(|node| node.set("store.redis.lease_ms", 10_000));
    let traffic = Traffic::of_all_kinds(&scene.cluster).subscribers(Habit::Spared, &[0, 1]).start();
    for _ in 0..10 {
        traffic.wait_for(SOME / 4);
        traffic.note("CLIENT KILL");
        scene.redis.client_kill_all();
    }
    traffic.wait_for(SOME);
    scene.cluster.wait_until_whole();
    traffic.kept_every_promise(&scene.cluster);
}

#[test]
fn nothing_is_lost_when_redis_sleeps_for_a_while() {
    let scene = scene();
    let traffic = Traffic::of_all_kinds(&scene.cluster).start();
    traffic.wait_for(SOME);
    traffic.note("redis sleeps");
    scene.redis.sigstop();
    weir_testkit::eventually("a node to miss it", || {
        let ready = weir_testkit::http::get(scene.cluster.node(0).address("http"), "/health/ready");
        ready.body.contains("degraded").then_some(())
    });
    traffic.note("redis wakes");
    scene.redis.sigcont();
    traffic.wait_for(SOME);
    scene.cluster.wait_until_whole();
    traffic.kept_every_promise(&scene.cluster);
}

#[test]
fn nothing_is_lost_when_a_replica_takes_over_at_the_level_of_all_replicas() {
    let mut sentinels = RedisSentinels::start();
    let url = sentinels.url();
    let all = |_, node| roomy(node).set("store.level", "replicated:all");
    let cluster = Cluster::of(PROGRAM, &url).each(all).start();
    let traffic = Traffic::of_all_kinds(&cluster).start();
    for is_killed in [false, true] {
        traffic.wait_for(SOME);
        if is_killed {
            traffic.note("kill -9 of the primary, and a replica takes over");
            let before = sentinels.primary();
            sentinels.primary_server().kill9();
            sentinels.wait_until_moved_from(before);
            // Whichever replica is promoted: so as many have to confirm as there were.
            let dead = sentinels.servers.iter_mut().find(|server| server.address() == before);
            dead.expect("it was one of them").restart();
        } else {
            traffic.note("a replica takes over by order");
            sentinels.failover();
        }
        traffic.note("another server is primary");
    }
    traffic.wait_for(SOME);
    cluster.wait_until_whole();
    traffic.kept_every_promise(&cluster);
}
