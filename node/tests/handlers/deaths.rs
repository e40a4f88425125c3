//! A node that dies at a step between the end of a record and the last of its effects has done each of them once.

use weir_broker::stream::group::fault::POINTS;
use weir_testkit::Redis;
use weir_testkit::node::Builder;

use crate::probe::{Load, assert_each_once, bound};
use crate::scene::{admin, node};

/// Steps of the store within a commit.
const OF_THE_STORE: [&str; 4] = ["log.before_write", "log.torn_write", "log.after_sync", "answer.before"];

async fn die_everywhere(node: Builder, points: &[&str], count: u32) {
    let mut node = node.start();
    bound(&admin(&node).await, 3).await;
    let load = Load::start(&node);
    for point in points {
        load.more(30).await;
        node = tokio::task::block_in_place(|| node.die_at(point, count));
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
