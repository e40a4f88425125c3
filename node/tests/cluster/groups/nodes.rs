//! Nodes that own partitions of a group die, or sleep longer than their lease.

use std::collections::BTreeSet;

use weir_admin::proto::StreamsPauseGroupRequest;
use weir_admin::tonic::Code;
use weir_testkit::{PATIENCE, eventually};

use super::work::{Member, Work, id, why};
use super::{GROUP, PARTITIONS, STREAM, admin, make, message, scene, state, target};

/// Records finished before and after each failure.
const SOME: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn the_partitions_of_a_killed_node_are_finished_by_others_and_nothing_twice() {
    let mut scene = scene();
    make(&admin(scene.cluster.node(0)).await, PARTITIONS).await;
    let work = Work::over(&scene.cluster);
    for number in [0, 1] {
        work.wait_for(SOME).await;
        work.note(format_args!("kill -9 of node {number}"));
        scene.cluster.kill9(number);
        work.wait_for(SOME).await;
        work.note(format_args!("node {number} starts again"));
        scene.cluster.restart(number);
    }
    work.wait_for(SOME).await;
    work.kept_every_promise().await;
    assert_eq!(state(&admin(scene.cluster.node(2)).await).await.lag, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_sleeps_longer_than_its_lease_finishes_nothing_that_others_have() {
    let scene = scene();
    make(&admin(scene.cluster.node(0)).await, PARTITIONS).await;
    let work = Work::over(&scene.cluster);
    for number in [0, 1] {
        work.wait_for(SOME).await;
        work.note(format_args!("node {number} sleeps"));
        scene.cluster.stop(number);
        let witness = scene.cluster.node(2);
        eventually("the sleeper to be given up", || {
            (witness.metrics().value("weir_cluster_members") == 2.0).then_some(())
        });
        work.wait_for(SOME).await;
        work.note(format_args!("node {number} wakes"));
        scene.cluster.cont(number);
        work.wait_for(SOME).await;
        scene.cluster.wait_until_whole();
    }
    work.kept_every_promise().await;
    assert_eq!(state(&admin(scene.cluster.node(2)).await).await.lag, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_acknowledges_at_a_node_that_slept_past_its_lease_is_told_that_it_had_no_effect() {
    let scene = scene();
    let (near, far) = (admin(scene.cluster.node(0)).await, admin(scene.cluster.node(1)).await);
    make(&near, 1).await;
    for number in 1..=6 {
        near.streams().publish(message("work/a", number)).await.expect("published");
    }
    let mut sleeper = Member::join(&target(scene.cluster.node(0)), 0).await.expect("joined");
    let held = sleeper.take(6).await;
    assert_eq!(sleeper.ack(&held[..2]).await.expect("an answer"), [""; 0]);
    scene.cluster.stop(0);
    let mut other = Member::join(&target(scene.cluster.node(1)), 0).await.expect("joined");
    let again = other.take(4).await;
    assert_eq!(again.iter().map(|record| id(record).1).collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert_eq!(other.ack(&again[..2]).await.expect("an answer"), [""; 0]);
    // It is said while the node sleeps, and the first thing that it hears.
    let answer = tokio::spawn(async move {
        let answer = sleeper.ack(&held[2..]).await;
        (sleeper, answer)
    });
    scene.cluster.cont(0);
    let (mut sleeper, answer) = tokio::time::timeout(PATIENCE, answer).await.expect("soon").expect("ended");
    match answer {
        Ok(reasons) => {
            let named: BTreeSet<&str> = ["cut_off", "elsewhere", "taken_back"].into();
            assert!(reasons.len() == 4 && reasons.iter().all(|one| named.contains(&**one)), "{reasons:?}");
        }
        Err(status) => assert_eq!(why(&status), "Unavailable not_here"),
    }
    // It is sent away: the node has not what it had.
    loop {
        match tokio::time::timeout(PATIENCE, sleeper.hear()).await.expect("an end") {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                break;
            }
        }
    }
    assert_eq!(state(&far).await.lag, 2, "what others hold is still theirs");
    assert_eq!(other.ack(&again[2..]).await.expect("an answer"), [""; 0]);
    assert_eq!(state(&far).await.lag, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_start_again_and_go_on_where_the_group_was() {
    let mut scene = scene();
    make(&admin(scene.cluster.node(0)).await, PARTITIONS).await;
    let work = Work::over(&scene.cluster);
    for is_killed in [false, true] {
        work.wait_for(SOME).await;
        work.note(format_args!("all nodes end; killed: {is_killed}"));
        for number in 0..3 {
            match is_killed {
                true => scene.cluster.kill9(number),
                false => scene.cluster.end(number),
            }
        }
        work.note("all nodes start again");
        (0..3).for_each(|number| scene.cluster.restart(number));
        scene.cluster.wait_until_whole();
    }
    work.wait_for(SOME).await;
    work.kept_every_promise().await;
    assert_eq!(state(&admin(scene.cluster.node(1)).await).await.lag, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_another_node_gave_is_refused_and_the_record_stays_with_its_member() {
    let scene = scene();
    let (near, far) = (admin(scene.cluster.node(0)).await, admin(scene.cluster.node(1)).await);
    make(&near, 1).await;
    near.streams().publish(message("work/a", 1)).await.expect("published");
    let mut owner = Member::join(&target(scene.cluster.node(0)), 0).await.expect("joined");
    let held = owner.take(1).await;
    // Wherever the partition is served now that there are two: nobody else is given its record.
    let (stream, group) = (STREAM.to_owned(), GROUP.to_owned());
    let pause = StreamsPauseGroupRequest { stream, group, ..Default::default() };
    far.streams().pause_group(pause).await.expect("paused");
    let mut other = Member::join(&target(scene.cluster.node(1)), 0).await.expect("joined");
    let reasons = other.ack(&held).await.expect("an answer");
    assert!(["elsewhere", "others", "finished"].contains(&&*reasons[0]), "{reasons:?}");
    assert_eq!(state(&far).await.lag, 1);
}
