//! Who may be a node of a cluster, and who is refused by name.

use std::path::Path;

use weir_model::Qos;
use weir_testkit::cluster::Certificates;
use weir_testkit::node::Builder;
use weir_testkit::{Cluster, Node, eventually};

use super::scene::{PROGRAM, Scene, clean, connect, next, publish, subscribe};

/// Two nodes that keep nothing.
fn pair() -> Cluster {
    Cluster::of(PROGRAM, "memory").nodes(2).start()
}

/// A node that joins the first of them.
fn stranger(cluster: &Cluster) -> Builder {
    let node = Node::of(PROGRAM).on_own_address().listen("http").listen("peer");
    node.arg("--join").arg(cluster.peer_address(0))
}

fn members(node: &Node) -> f64 {
    node.metrics().value("weir_cluster_members")
}

/// Waits until one of both has counted a refusal with this reason.
fn is_refused(cluster: &Cluster, stranger: &Node, reason: &str) {
    let series = format!("weir_cluster_refused_total{{reason=\"{reason}\"}}");
    eventually(&series, || {
        let counted = |node: &Node| node.metrics().value(&series) > 0.0;
        (cluster.running().any(counted) || counted(stranger)).then_some(())
    });
    assert_eq!((members(cluster.node(0)), members(stranger)), (2.0, 1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_keep_nothing_are_a_cluster_for_qos_0() {
    let cluster = pair();
    let mut subscriber = connect(cluster.node(0), &clean("subscriber")).await;
    subscribe(&mut subscriber, "t", Qos::AtMostOnce).await;
    let mut publisher = connect(cluster.node(1), &clean("publisher")).await;
    publish(&mut publisher, "t", "hello", Qos::AtMostOnce).await;
    assert_eq!(next(&mut subscriber).await, "hello");
}

#[test]
fn a_node_with_certificates_of_another_authority_is_no_member() {
    let cluster = pair();
    let others = Certificates::make(Path::new(PROGRAM));
    let stranger = others.given_to("node-9", stranger(&cluster)).store("memory").start();
    eventually("a handshake that failed", || {
        let metrics = cluster.node(0).metrics();
        (metrics.sum("weir_net_peer_refused_total") > 0.0).then_some(())
    });
    assert_eq!((members(cluster.node(0)), members(&stranger)), (2.0, 1.0));
}

#[test]
fn a_node_of_another_cluster_is_refused_by_name() {
    let cluster = pair();
    let stranger = stranger(&cluster).store("memory").set("cluster.id", "another");
    let stranger = cluster.certificates().given_to("node-9", stranger).start();
    is_refused(&cluster, &stranger, "other_cluster");
}

#[test]
fn a_node_with_a_store_of_its_own_may_neither_join_nor_be_joined() {
    let cluster = pair();
    let builder = cluster.certificates().given_to("node-9", stranger(&cluster));
    let refused = builder.try_start().expect_err("an embedded store does not join");
    assert_eq!(refused.status.and_then(|status| status.code()), Some(2));
    assert!(refused.said.contains("--join") && refused.said.contains("store.url"), "{}", refused.said);

    let embedded = Node::of(PROGRAM).on_own_address().listen("http").listen("peer");
    let embedded = cluster.certificates().given_to("node-8", embedded).start();
    let joiner = Node::of(PROGRAM).on_own_address().listen("http").listen("peer").store("memory");
    let joiner = joiner.arg("--join").arg(embedded.address("peer").to_string());
    let joiner = cluster.certificates().given_to("node-7", joiner).start();
    let series = "weir_cluster_refused_total{reason=\"embedded_store\"}";
    eventually(series, || (joiner.metrics().value(series) > 0.0).then_some(()));
    assert_eq!((members(&embedded), members(&joiner)), (1.0, 1.0));
}

#[test]
fn a_node_of_another_cluster_does_not_start_on_this_ones_redis() {
    let scene = Scene::start_with(|builder| builder.nodes(1));
    let stranger = Node::of(PROGRAM).store(&scene.redis.url()).set("cluster.id", "another");
    let refused = stranger.try_start().expect_err("it is refused");
    assert_eq!(refused.status.and_then(|status| status.code()), Some(1));
    assert!(refused.said.contains("`weir`") && refused.said.contains("`another`"), "{}", refused.said);
    let prefixed = Node::of(PROGRAM).store(&scene.redis.url()).set("cluster.id", "another");
    prefixed.set("store.redis.key_prefix", "another").start();
}

#[test]
fn of_two_processes_with_one_name_the_older_ends() {
    let mut scene = Scene::start_with(|builder| builder.nodes(2));
    let newer = stranger(&scene.cluster).store(&scene.redis.url());
    let newer = scene.cluster.certificates().given_to("node-1", newer).start();
    let older = scene.cluster.node_mut(1);
    assert_eq!(older.wait().code(), Some(1));
    assert!(older.stderr().contains("the node had to end"), "{}", older.stderr());
    eventually("both to see each other", || (members(&newer) == 2.0).then_some(()));
}
