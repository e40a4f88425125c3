//! Promise: what one node kept is in the cluster that it is copied to, and back, under the same numbers.

#[path = "../sync/client.rs"]
#[expect(dead_code, reason = "what is copied here takes less")]
mod client;
mod command;
mod guards;
mod refusals;
#[path = "../streams_admin/scene.rs"]
#[expect(dead_code, reason = "what is copied here takes less")]
mod scene;
mod story;
mod streaming;

use weir_testkit::{Cluster, Node, Redis};

use command::{PROGRAM, copied, embedded};
use story::Story;
use streaming::Consuming;

#[tokio::test(flavor = "multi_thread")]
async fn clients_find_everything_in_the_cluster_that_their_node_was_copied_to_and_back() {
    let (redis, one, other) = (Redis::start(), dir(), dir());
    let mut node = Node::of(PROGRAM).listen("http").data_dir(one.path()).start();
    let there = Story::begin("there", &node).await;
    node.balanced();
    assert!(node.sigterm_and_wait().success());

    let report = copied(&[&embedded(one.path()), &redis.url()]);
    assert!(report["rows"]["queued"]["rows"].as_u64() > Some(15), "{report}");
    let mut cluster = Cluster::of(PROGRAM, &redis.url()).nodes(2).start();
    there.go_on(cluster.node(0), cluster.node(1)).await;
    let back = Story::begin("back", cluster.node(1)).await;
    cluster.end(0);
    cluster.end(1);

    let report = copied(&[&redis.url(), &embedded(other.path())]);
    assert!(report["rows"]["queued"]["rows"].as_u64() > Some(15), "{report}");
    let node = Node::of(PROGRAM).listen("http").data_dir(other.path()).start();
    back.go_on(&node, &node).await;
    node.balanced();
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_whose_node_was_killed_go_on_where_it_is_copied_to() {
    let (redis, one) = (Redis::start(), dir());
    let mut node = Node::of(PROGRAM).data_dir(one.path()).start();
    let mut story = Story::begin("killed", &node).await;
    story.hold_on(&node).await;
    node.kill9();
    copied(&[&embedded(one.path()), &redis.url()]);
    let cluster = Cluster::of(PROGRAM, &redis.url()).nodes(2).start();
    story.go_on(cluster.node(1), cluster.node(0)).await;
}

#[test]
fn a_lock_keeps_its_holder_and_the_order_of_those_who_wait_for_it() {
    let (redis, one) = (Redis::start(), dir());
    let mut node = Node::of(PROGRAM).listen("http").data_dir(one.path()).start();
    let locked = guards::Locked::begin(&node);
    assert!(node.sigterm_and_wait().success());
    copied(&[&embedded(one.path()), &redis.url()]);
    let cluster = Cluster::of(PROGRAM, &redis.url()).nodes(2).start();
    locked.go_on(&cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_on_in_the_cluster_that_its_stream_was_copied_to_and_back() {
    let (redis, one, other) = (Redis::start(), dir(), dir());
    let mut node = scene::node().data_dir(one.path()).start();
    let mut consuming = Consuming::begin(&node).await;
    assert!(node.sigterm_and_wait().success());

    let report = copied(&[&embedded(one.path()), &redis.url()]);
    assert_eq!(report["rows"]["records"]["rows"], 8, "{report}");
    let cluster = Cluster::of(PROGRAM, &redis.url()).nodes(2).each(|_, node| node.listen("admin"));
    let mut cluster = cluster.start();
    consuming.go_on(cluster.node(1), "late").await;
    cluster.end(0);
    cluster.end(1);

    let report = copied(&[&redis.url(), &embedded(other.path())]);
    assert_eq!(report["rows"]["records"]["rows"], 9, "{report}");
    let node = scene::node().data_dir(other.path()).start();
    consuming.go_on(&node, "later").await;
    node.balanced();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_a_copy_that_can_be_restored_as_often_as_wanted() {
    let (one, backup) = (dir(), dir());
    let mut node = Node::of(PROGRAM).data_dir(one.path()).start();
    let story = Story::begin("kept", &node).await;
    assert!(node.sigterm_and_wait().success());
    let first = copied(&[&embedded(one.path()), &embedded(backup.path())]);
    for _ in 0..2 {
        let restored = dir();
        let again = copied(&[&embedded(backup.path()), &embedded(restored.path())]);
        assert_eq!(first["rows"], again["rows"]);
        let node = Node::of(PROGRAM).data_dir(restored.path()).start();
        story.go_on(&node, &node).await;
    }
}

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}
