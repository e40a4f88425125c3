//! A store that goes away in the middle of a commit, and a node that sleeps past its lease in the middle of a call.

use std::fs;

use weir_testkit::{Cluster, Node, Redis};

use crate::probe::{Load, Told, assert_each_once, bound};
use crate::scene::{PROGRAM, admin, binding, calls, node, publish, read, records, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_in_mid_commit_loses_no_effect_and_doubles_none() {
    // With `everysec` it loses what it has acknowledged, and says so: what was in flight may come twice then.
    let mut redis = Redis::build().set("appendfsync", "always").start();
    let node = node().store(&redis.url()).start();
    let admin = admin(&node).await;
    bound(&admin, 3).await;
    let load = Load::start(&node);
    for _ in 0..4 {
        load.more(40).await;
        tokio::task::block_in_place(|| redis.restart());
    }
    load.more(40).await;
    let sent = load.finish().await;
    assert_each_once(&admin, sent).await;
}

/// Processor time that a process has used, in ticks of 10 ms.
fn worked(node: &Node) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", node.pid())).expect("a live node");
    let (_, rest) = stat.rsplit_once(')').expect("a name in brackets");
    let field = |at: usize| rest.split_whitespace().nth(at).and_then(|text| text.parse::<u64>().ok());
    field(11).expect("utime") + field(12).expect("stime")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_call_that_outlives_its_node_s_lease_only_what_the_next_node_did_counts() {
    let redis = Redis::start();
    let cluster = Cluster::of(PROGRAM, &redis.url()).nodes(2).each(|_, node| node.listen("admin")).start();
    let admins = [admin(cluster.node(0)).await, admin(cluster.node(1)).await];
    bound(&admins[0], 1).await;
    publish(&admins[0], "in/a", r#"{"seq": 1}"#).await;
    let slow = until("somebody to serve it", async || {
        let done = [calls(&admins[0], "b", "done").await, calls(&admins[1], "b", "done").await];
        done.iter().position(|done| *done > 0)
    })
    .await;
    let other = &admins[1 - slow];
    until("its end to be stored", async || (binding(other, "b").await.group?.lag == 0).then_some(())).await;
    let before = worked(cluster.node(slow));
    publish(other, "in/a", r#"{"seq": 2, "spin": 2000}"#).await;
    until("the call to be under way", async || (worked(cluster.node(slow)) > before + 40).then_some(()))
        .await;
    cluster.stop(slow);
    // The other node has taken over, and done it itself.
    let found = records(other, "first", 2).await;
    assert_eq!(found.len(), 2);
    cluster.cont(slow);
    tokio::task::block_in_place(|| cluster.wait_until_whole());
    // Whatever the first node still wants to say comes while these two go all the way.
    for seq in [3, 4] {
        publish(other, "in/a", &format!(r#"{{"seq": {seq}}}"#)).await;
        for which in ["first", "second"] {
            records(other, which, seq).await;
        }
    }
    for which in ["first", "second"] {
        let told: Vec<_> = read(other, which).await.iter().map(Told::of).map(|t| (t.seq, t.count)).collect();
        assert_eq!(told, [(1, 1), (2, 2), (3, 3), (4, 4)], "{which}");
    }
}
