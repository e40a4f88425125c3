//! How fast the store appends, beside what redis-benchmark reaches on the same server: prints both. Run by hand:
//! `cargo test --release -p weir-store --test redis speed -- --ignored --nocapture`.

use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use weir_store::{Store, suite};
use weir_testkit::Redis;

use crate::flow::store;

const MESSAGES: u64 = 400_000;
const PAYLOAD_BYTES: usize = 100;

/// Answers that may be outstanding, of all callers together.
const WINDOW: u64 = 8192;

#[test]
#[ignore = "measures"]
fn appends_to_one_queue_and_to_many() {
    let redis = Redis::start();
    let store = store(&redis.url(), |config| {
        config.redis.shards = 16;
        config.redis.response_timeout_ms = 10_000;
    });
    for round in 0..3 {
        let benchmark = benchmark(&redis);
        for sessions in [1, 500] {
            let rate = appends(&store, round, sessions);
            println!(
                "{sessions} queues: {rate:.0}/s, {:.0} % of XADD at {benchmark:.0}/s",
                100.0 * rate / benchmark
            );
        }
    }
}

/// XADD a second, by redis-benchmark with pipelines of 128.
fn benchmark(redis: &Redis) -> f64 {
    let (host, port) = (redis.address().ip().to_string(), redis.address().port().to_string());
    let payload = ".".repeat(PAYLOAD_BYTES);
    let output = Command::new("redis-benchmark")
        .args(["-h", &host, "-p", &port, "-P", "128", "-n", &MESSAGES.to_string(), "--csv"])
        .args(["XADD", "benchmark", "*", "d", &payload])
        .output()
        .expect("a redis-benchmark");
    redis.ask::<i64>(&["DEL", "benchmark"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().last().unwrap_or_default();
    line.split("\",\"")
        .nth(1)
        .and_then(|rate| rate.parse().ok())
        .unwrap_or_else(|| panic!("no rate in {text}"))
}

fn appends(store: &Arc<dyn Store>, round: usize, sessions: u64) -> f64 {
    let keys: Vec<_> = (0..sessions).map(|n| suite::client(&format!("{round}-{sessions}-{n}"))).collect();
    let generations: Vec<_> =
        keys.iter().map(|key| suite::open(&**store, key, suite::resuming()).fence.generation).collect();
    let message = suite::message("m", PAYLOAD_BYTES);
    let (sender, answers) = channel();
    let begun = Instant::now();
    for turn in 0..MESSAGES {
        let of = (turn % sessions) as usize;
        let step = suite::step(&keys[of], [suite::enqueue(generations[of], message.clone())]);
        let sender = sender.clone();
        store.submit(vec![step], Box::new(move |answer| sender.send(answer[0].is_ok()).unwrap()));
        if turn >= WINDOW {
            assert!(answers.recv().unwrap());
        }
    }
    assert!((0..WINDOW).all(|_| answers.recv().unwrap()));
    MESSAGES as f64 / begun.elapsed().as_secs_f64()
}
