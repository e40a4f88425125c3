//! Nodes that die, and nodes that are stopped for longer than their lease.

use weir_testkit::Traffic;
use weir_testkit::history::Habit;

use super::{SOME, scene};
use crate::scene::Scene;

/// A publisher at node 0, kept sessions at node 1; clean ones there are owed everything when `spared`.
fn traffic(scene: &Scene, spared: bool) -> Traffic {
    let traffic = Traffic::over(&scene.cluster).publishers(&[0, 0]).subscribers(Habit::Stays, &[1, 1]);
    let traffic = if spared { traffic.subscribers(Habit::Spared, &[1]) } else { traffic };
    traffic.sleepers(&[1]).start()
}

fn dies(number: usize, spared: bool) {
    let mut scene = scene();
    let traffic = traffic(&scene, spared);
    for _ in 0..2 {
        traffic.wait_for(SOME);
        traffic.note(format!("kill -9 of node {number}"));
        scene.cluster.kill9(number);
        traffic.wait_for(SOME);
        traffic.note(format!("node {number} starts again"));
        scene.cluster.restart(number);
    }
    traffic.wait_for(SOME);
    scene.cluster.wait_until_whole();
    traffic.kept_every_promise(&scene.cluster);
}

#[test]
fn while_nothing_fails_everything_arrives_once_and_in_order() {
    let scene = scene();
    let everywhere = [0, 1, 2];
    let traffic = Traffic::of_all_kinds(&scene.cluster).subscribers(Habit::Spared, &everywhere).start();
    traffic.wait_for(4 * SOME);
    let history = traffic.kept_every_promise(&scene.cluster);
    assert_eq!(history.refused(), 0);
}

#[test]
fn nothing_is_lost_by_the_death_of_the_publishers_node() {
    dies(0, false);
}

#[test]
fn nothing_is_lost_by_the_death_of_the_subscribers_node() {
    dies(1, false);
}

#[test]
fn nothing_is_lost_by_the_death_of_a_third_node_not_even_by_clean_sessions() {
    dies(2, true);
}

#[test]
fn a_node_that_sleeps_longer_than_its_lease_takes_nothing_with_it() {
    for number in [0, 1] {
        let scene = scene();
        let traffic = traffic(&scene, false);
        traffic.wait_for(SOME);
        traffic.note(format!("node {number} sleeps"));
        scene.cluster.stop(number);
        let witness = scene.cluster.node(2);
        weir_testkit::eventually("the sleeper to be given up", || {
            (witness.metrics().value("weir_cluster_members") == 2.0).then_some(())
        });
        // Its clients have found another node, and messages flow again.
        traffic.wait_for(SOME);
        traffic.note(format!("node {number} wakes"));
        scene.cluster.cont(number);
        traffic.wait_for(SOME);
        scene.cluster.wait_until_whole();
        traffic.kept_every_promise(&scene.cluster);
    }
}

#[test]
fn a_client_id_has_one_owner_while_its_node_sleeps_and_wakes() {
    let scene = scene();
    let traffic = Traffic::over(&scene.cluster).publishers(&[2]).rivals(&[0, 1, 2]).start();
    for number in [0, 1] {
        traffic.wait_for(SOME);
        traffic.note(format!("node {number} sleeps"));
        scene.cluster.stop(number);
        traffic.wait_for(SOME);
        traffic.note(format!("node {number} wakes"));
        scene.cluster.cont(number);
    }
    traffic.wait_for(SOME);
    scene.cluster.wait_until_whole();
    traffic.kept_every_promise(&scene.cluster);
}
