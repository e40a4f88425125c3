//! A node that dies at a step between the end of a record and the last of its effects has done each of them once.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;
use weir_broker::stream::group::fault::POINTS;
use weir_testkit::node::Builder;
use weir_testkit::{Node, Redis};

use crate::probe::{Load, assert_each_once, bound};
use crate::scene::{admin, node};

/// Steps of the store within a commit.
const OF_THE_STORE: [&str; 4] = ["log.before_write", "log.torn_write", "log.after_sync", "answer.before"];

/// Lets the node die when it reaches `point` the `count`th time. Returns one that lives.
fn die_at(node: Node, point: &str, count: u32) -> Node {
    let told = format!("{point}:{count}");
    let (status, node) = match node.try_restart_with(|builder| builder.env("WEIR_FAULT", told)) {
        Ok(mut doomed) => {
            (Some(doomed.wait()), doomed.restart_with(|builder| builder.without_env("WEIR_FAULT")))
        }
        // What the node before has left may take it there before it is ready.
        Err(error) => (error.status, error.builder.without_env("WEIR_FAULT").start()),
    };
    let signal = status.and_then(|status| status.signal());
    assert_eq!(signal, Some(Signal::ABORT.as_raw()), "{point}: {status:?}");
    node
}

async fn die_everywhere(node: Builder, points: &[&str], count: u32) {
    let mut node = node.start();
    bound(&admin(&node).await, 3).await;
    let load = Load::start(&node);
    for point in points {
        load.more(30).await;
        node = tokio::task::block_in_place(|| die_at(node, point, count));
    }
    load.more(30).await;
    let sent = load.finish().await;
    assert_each_once(&admin(&node).await, sent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_at_the_first_pass_of_any_step_loses_no_effect_and_doubles_none() {
    die_everywhere(node(), POINTS, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_at_a_later_pass_of_any_step_loses_no_effect_and_doubles_none() {
    die_everywhere(node(), POINTS, 9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_within_the_store_s_commit_loses_no_effect_and_doubles_none() {
    die_everywhere(node(), &OF_THE_STORE, 7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_at_any_step_on_redis_loses_no_effect_and_doubles_none() {
    let redis = Redis::start();
    die_everywhere(node().store(&redis.url()), POINTS, 5).await;
}
