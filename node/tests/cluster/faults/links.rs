//! Links that are cut while both nodes live, each with its lease.

use weir_testkit::network::{self, Cut, Whereabouts};
use weir_testkit::{Traffic, eventually};

use super::{SOME, scene};

#[test]
fn nothing_is_lost_while_two_nodes_do_not_hear_each_other() {
    const NAME: &str = "faults::links::nothing_is_lost_while_two_nodes_do_not_hear_each_other";
    if network::enter(NAME) != Whereabouts::Inside {
        return;
    }
    let scene = scene();
    let traffic = Traffic::of_all_kinds(&scene.cluster).start();
    let address = |number| scene.cluster.node(number).address("peer").ip();
    for (one, other) in [(0, 1), (1, 2), (2, 0)] {
        traffic.wait_for(SOME);
        traffic.note(format!("nodes {one} and {other} are cut off each other"));
        let cut = Cut::between(address(one), address(other));
        eventually("the link to be lost", || {
            let ready = weir_testkit::http::get(scene.cluster.node(one).address("http"), "/health/ready");
            ready.body.contains("degraded").then_some(())
        });
        traffic.wait_for(SOME);
        traffic.note("they hear each other again");
        drop(cut);
        scene.cluster.wait_until_whole();
    }
    traffic.wait_for(SOME);
    traffic.kept_every_promise(&scene.cluster);
}

#[test]
fn nothing_is_lost_while_one_node_hears_no_other() {
    const NAME: &str = "faults::links::nothing_is_lost_while_one_node_hears_no_other";
    if network::enter(NAME) != Whereabouts::Inside {
        return;
    }
    let scene = scene();
    let traffic = Traffic::of_all_kinds(&scene.cluster).start();
    traffic.wait_for(SOME);
    traffic.note("node 0 is cut off the others");
    let address = |number| scene.cluster.node(number).address("peer").ip();
    let cuts = [1, 2].map(|other| Cut::between(address(0), address(other)));
    eventually("it to be given up", || {
        (scene.cluster.node(1).metrics().value("weir_cluster_members") == 2.0).then_some(())
    });
    traffic.wait_for(SOME);
    traffic.note("they hear each other again");
    drop(cuts);
    scene.cluster.wait_until_whole();
    traffic.wait_for(SOME);
    traffic.kept_every_promise(&scene.cluster);
}
