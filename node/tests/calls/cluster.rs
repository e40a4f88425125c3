//! Calls over real nodes of a cluster.

use weir_testkit::{Cluster, Redis, eventually};

use crate::scene::{Callee, PROGRAM, call, calling};

struct Scene {
    cluster: Cluster,
    _redis: Redis,
}

fn scene() -> Scene {
    let redis = Redis::start();
    Scene { cluster: Cluster::of(PROGRAM, &redis.url()).start(), _redis: redis }
}

#[test]
fn a_procedure_of_one_node_is_called_from_all() {
    let scene = scene();
    let _callee = Callee::register(scene.cluster.node(1), &["app.echo"]);
    for node in 0..3 {
        let ended = call(scene.cluster.node(node), &["app.echo", "1"]);
        assert_eq!((ended.code, ended.output.trim()), (Some(0), "1"), "from node {node}: {ended:?}");
    }
}

#[test]
fn callees_of_several_nodes_share_a_procedure_in_turns() {
    let scene = scene();
    let shared = |node: usize| {
        let result = node.to_string();
        let options = ["app.shared", "--invoke", "roundrobin", "--result", &result];
        Callee::register(scene.cluster.node(node), &options)
    };
    let _callees: Vec<_> = (0..3).map(shared).collect();
    let mut turns = [0; 3];
    for _ in 0..9 {
        let ended = call(scene.cluster.node(0), &["app.shared"]);
        let node: usize = ended.output.trim().parse().unwrap_or_else(|_| panic!("{ended:?}"));
        turns[node] += 1;
    }
    assert_eq!(turns, [3, 3, 3]);
}

#[test]
fn a_killed_node_ends_its_calls_with_an_error_and_others_take_over() {
    let mut scene = scene();
    let names: Vec<String> = (0..6).map(|number| format!("app.p{number}")).collect();
    let callees: Vec<_> = names
        .iter()
        .map(|name| {
            Callee::register(scene.cluster.node(2), &[name, "--invoke", "first", "--concurrency", "1"])
        })
        .collect();
    // Stopped: they take calls and never answer.
    callees.iter().for_each(Callee::stop);
    let under_way: Vec<_> = names.iter().map(|name| calling(scene.cluster.node(0), &[name])).collect();
    let given = || scene.cluster.node(0).metrics().sum("weir_broker_calls_total") >= 6.0;
    eventually("all calls are under way", || given().then_some(()));
    scene.cluster.kill9(2);
    for calling in under_way {
        let ended = calling.end();
        assert_eq!(ended.code, Some(4), "{ended:?}");
        assert!(ended.errors.contains("wamp.error.canceled"), "{ended:?}");
    }
    for name in &names {
        let _new = Callee::register(scene.cluster.node(1), &[name, "--result", "1"]);
        let ended = call(scene.cluster.node(0), &[name]);
        assert_eq!(ended.output.trim(), "1", "{ended:?}");
    }
}
