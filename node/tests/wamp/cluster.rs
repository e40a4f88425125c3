//! Several nodes as one router.

use weir_testkit::{Cluster, Node, Redis};

use crate::script;

struct Scene {
    cluster: Cluster,
    _redis: Redis,
}

fn scene() -> Scene {
    let redis = Redis::start();
    Scene { cluster: Cluster::of(env!("CARGO_BIN_EXE_weir"), &redis.url()).start(), _redis: redis }
}

fn ws(node: &Node) -> String {
    format!("ws://{}/wamp", node.address("http"))
}

fn mqtt(node: &Node) -> String {
    format!("mqtt://{}", node.address("mqtt"))
}

impl Scene {
    fn run(&self, name: &str, words: &[String]) {
        script::run_with(name, self.cluster.node(0), words);
    }

    /// The WebSockets of all nodes.
    fn everywhere(&self) -> Vec<String> {
        (0..3).map(|node| ws(self.cluster.node(node))).collect()
    }
}

#[test]
fn the_meta_api_tells_of_all_nodes_and_its_events_come_once() {
    let scene = scene();
    scene.run("cluster_meta.mjs", &scene.everywhere());
}

#[test]
fn the_options_of_a_publish_hold_on_every_node_and_for_members_of_share_groups() {
    let scene = scene();
    let mqtt = [0, 1].map(|node| mqtt(scene.cluster.node(node)));
    scene.run("cluster_pubsub.mjs", &[scene.everywhere(), mqtt.to_vec()].concat());
}

#[test]
fn testaments_outlive_the_node_of_their_session_and_are_published_once() {
    let scene = scene();
    let node = |number| scene.cluster.node(number);
    let words = [ws(node(2)), ws(node(1)), node(2).pid().to_string(), mqtt(node(1))];
    scene.run("cluster_testaments.mjs", &words);
}

#[test]
fn calls_across_nodes_keep_progress_cancellation_limits_and_turns() {
    let scene = scene();
    scene.run("cluster_calls.mjs", &scene.everywhere());
}

#[test]
fn a_callee_is_interrupted_when_the_node_of_its_caller_is_killed() {
    let scene = scene();
    let words =
        [ws(scene.cluster.node(0)), ws(scene.cluster.node(2)), scene.cluster.node(2).pid().to_string()];
    scene.run("cluster_interrupt.mjs", &words);
}
