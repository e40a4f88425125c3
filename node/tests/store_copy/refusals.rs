//! Copies that are refused, and copies that were killed.

use std::time::Duration;

use weir_testkit::{Node, PATIENCE, Redis, eventually};

use super::command::{PROGRAM, copied, embedded, info, run, said, started};
use super::dir;

/// A node's data directory with so many retained messages, and the node ended.
fn filled(messages: usize) -> tempfile::TempDir {
    let dir = dir();
    let mut node = Node::of(PROGRAM).data_dir(dir.path()).set("store.level", "stored").start();
    let url = url::Url::parse(&format!("mqtt://{}", node.address("mqtt"))).expect("a URL");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let options = weir_bench::client::Options { timeout: PATIENCE, ..Default::default() };
        let mut client = weir_bench::Client::connect(&url, &options).await.expect("the node takes a client");
        for number in 0..messages {
            let topic = format!("t/{number}");
            let message =
                weir_bench::client::Message::new(topic, vec![b'.'; 200], weir_model::Qos::AtMostOnce);
            let message = weir_bench::client::Message { retain: true, ..message };
            client.publish(&message).await.expect("published");
        }
        client.ping().await.expect("an answer");
    });
    assert!(node.sigterm_and_wait().success());
    dir
}

#[test]
fn what_is_in_the_way_is_named_and_the_exit_code_says_whose_turn_it_is() {
    let (redis, from, empty) = (Redis::start(), filled(1), dir());
    let (source, target) = (embedded(from.path()), embedded(empty.path()));
    let refused = |args: &[&str], code: i32, why: &str| {
        let output = run(&[&["copy"], args].concat());
        assert!(output.status.code() == Some(code) && said(&output).contains(why), "{}", said(&output));
    };
    refused(&[&target, &source], 1, "there is no store");
    refused(&[&source, &source], 4, "in use by process");
    refused(&[&source, "memory"], 2, "no other process");
    refused(&[&source, "redis://127.0.0.1:1"], 3, "cannot connect to Redis");
    refused(&[&source, "redis://user:secret@127.0.0.1"], 2, "");
    copied(&[&source, &redis.url()]);
    refused(&[&source, &redis.url()], 4, "not empty, it holds 1 retained");
    let node = Node::of(PROGRAM).data_dir(from.path()).start();
    refused(&[&source, &target], 4, &format!("in use by process {}", node.pid()));
    assert!(info(&redis.url())["rows"]["retained"]["rows"] == 1, "what was copied is there");
}

#[test]
fn a_copy_that_is_killed_leaves_nothing_that_a_node_starts_on_and_is_done_again() {
    let (redis, from, to) = (Redis::start(), filled(5000), dir());
    let source = embedded(from.path());
    let whole = info(&source)["rows"].clone();
    for target in [redis.url(), embedded(to.path())] {
        let mut copy = started(&["copy", &source, &target]);
        eventually("the copy to be half done", || has_begun(&redis, to.path(), &target).then_some(()));
        copy.kill().expect("it is killed");
        assert!(!copy.wait().expect("its end").success(), "it was still at work");
        let node = match target.starts_with("redis") {
            true => Node::of(PROGRAM).store(&target),
            false => Node::of(PROGRAM).data_dir(to.path()),
        };
        let refused = node.try_start().expect_err("no node starts on it");
        assert!(refused.said.contains("not finished"), "{}", refused.said);
        let again = eventually("the dead copy to be taken for dead", || {
            let output = run(&["copy", &source, &target, "--json"]);
            output.status.success().then(|| serde_json::from_slice::<serde_json::Value>(&output.stdout))
        });
        let again = again.expect("JSON");
        assert_eq!((&again["rows"], &again["over_an_unfinished_copy"]), (&whole, &true.into()));
        assert_eq!(info(&target)["rows"], whole);
    }
}

fn has_begun(redis: &Redis, dir: &std::path::Path, target: &str) -> bool {
    std::thread::sleep(Duration::from_millis(1));
    if target.starts_with("redis") {
        redis.ask::<u64>(&["HLEN", "{weir:t0}:retained"]) > 0
    } else {
        dir.join("store.copying/mark").exists()
    }
}
