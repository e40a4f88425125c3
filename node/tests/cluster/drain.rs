//! A node that drains sends its clients to others, and goes.

use std::process::Command;

use weir_bench::client::Error;
use weir_model::Qos;
use weir_testkit::eventually;
use weir_wire::mqtt::{ReasonCode, Version};

use super::scene::{PROGRAM, Scene, clean, kept, next, publish, subscribe};

fn drain(words: &[&str]) -> std::process::Output {
    Command::new(PROGRAM)
        .arg("drain")
        .args(words)
        .env_remove("WEIR_CONFIG")
        .output()
        .expect("`weir drain` runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_node_tells_its_clients_where_to_go_and_ends_with_0() {
    let mut scene = Scene::start();
    // The one started last is where clients are sent.
    scene.cluster.restart(2);
    scene.cluster.wait_until_whole();
    let mut five = scene.connect(0, &kept("five")).await;
    subscribe(&mut five, "t", Qos::AtLeastOnce).await;
    let old = weir_bench::client::Options { version: Version::V311, ..clean("three") };
    let mut three = scene.connect(0, &old).await;
    let data_dir = scene.cluster.node(0).data_dir().display().to_string();
    let draining = tokio::task::spawn_blocking(move || drain(&["--data-dir", &data_dir]));
    match five.next().await {
        Err(Error::Disconnected { code, server_reference, .. }) => {
            assert_eq!(code, ReasonCode::UseAnotherServer);
            let there = scene.cluster.node(2).address("mqtt").to_string();
            assert_eq!(server_reference, Some(there));
        }
        other => panic!("{other:?} instead of DISCONNECT"),
    }
    assert!(matches!(three.next().await, Err(Error::Closed { .. } | Error::Io { .. })));
    drop((five, three));
    let drained = draining.await.expect("the command ends");
    assert!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
    scene.cluster.wait_for_end(0);
    scene.cluster.wait_until_whole();
    let mut publisher = scene.client(1, "publisher").await;
    publish(&mut publisher, "t", "after", Qos::AtLeastOnce).await;
    let mut five = scene.connect(2, &kept("five")).await;
    assert_eq!(next(&mut five).await, "after");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_new_is_let_in_while_clients_are_sent_away_one_by_one() {
    let scene = Scene::start_with(|builder| {
        let slowly = |_, node: weir_testkit::node::Builder| node.set("cluster.drain_per_second", 1);
        builder.nodes(2).each(slowly)
    });
    let (mut first, mut second) = (scene.client(0, "first").await, scene.client(0, "second").await);
    let node = scene.cluster.node(0);
    let pid = node.pid().to_string();
    let draining = tokio::task::spawn_blocking(move || drain(&["--pid", &pid]));
    let http = node.address("http");
    eventually("the node to say that it drains", || {
        let answer = weir_testkit::http::try_get(http, "/health/ready").ok()?;
        (answer.status == 503 && answer.body.starts_with("draining")).then_some(())
    });
    let refused = weir_bench::Client::connect(&super::scene::url(node), &clean("late")).await;
    assert!(refused.is_err(), "a draining node let a client in");
    for client in [&mut first, &mut second] {
        assert!(matches!(client.next().await, Err(Error::Disconnected { .. })));
    }
    drop((first, second));
    assert!(draining.await.expect("the command ends").status.success());
}

#[test]
fn what_is_no_node_is_not_signalled() {
    let mut sleeper = Command::new("sleep").arg("600").spawn().expect("sleep");
    let refused = drain(&["--pid", &sleeper.id().to_string()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(sleeper.try_wait().expect("a child").is_none(), "it was killed");
    let _ = sleeper.kill();
    let _ = sleeper.wait();
    let nowhere = tempfile::tempdir().expect("a directory");
    assert_eq!(drain(&["--data-dir", &nowhere.path().display().to_string()]).status.code(), Some(3));
}
