//! How fast the store appends and reads, beside what redis-benchmark reaches on the same server: prints both. Run by hand:
//! `cargo test --release -p weir-store --test redis speed -- --ignored --nocapture`.

use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use weir_store::redis::stream_key;
use weir_store::{Append, PartitionKey, PartitionOp, Retention, Start, Step, Store, suite};
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

#[test]
#[ignore = "measures"]
fn captures_into_one_partition_and_reads_it_back() {
    let redis = Redis::start();
    let store = store(&redis.url(), |config| {
        config.redis.shards = 16;
        config.redis.response_timeout_ms = 10_000;
    });
    for round in 0..3 {
        let cpu = cpu_seconds(&redis);
        let benchmark = benchmark(&redis);
        let bare_cpu = cpu_seconds(&redis) - cpu;
        let key = suite::made(&*store, &format!("s{round}"), Retention::default());
        let message = suite::message("m", PAYLOAD_BYTES);
        let rate = submits(&store, |_| {
            let append = Append { id: None, key: Default::default(), message: message.clone() };
            suite::stream_step(&key, [PartitionOp::Append(append)])
        });
        println!("capture: {rate:.0}/s, {:.0} % of XADD at {benchmark:.0}/s", 100.0 * rate / benchmark);
        let own_cpu = cpu_seconds(&redis) - cpu - bare_cpu;
        println!("of the server's time: {:.0} %", 100.0 * bare_cpu / own_cpu);
        let bare = reads_of_a_bare_client(&redis, &stream_key("test0", 16, &key));
        let rate = reads(&store, &key);
        println!("consume: {rate:.0}/s, {:.0} % of XREADGROUP at {bare:.0}/s", 100.0 * rate / bare);
        suite::ask_stream(&*store, &key, PartitionOp::Drop).expect("dropped");
    }
}

/// Records a second that XREADGROUP hands out in thousands.
fn reads_of_a_bare_client(redis: &Redis, key: &str) -> f64 {
    let client = redis::Client::open(redis.url()).expect("a client");
    let mut connection = client.get_connection().expect("a connection");
    redis::cmd("XGROUP").arg("CREATE").arg(key).arg("bare").arg("0").exec(&mut connection).expect("a group");
    let (begun, mut read) = (Instant::now(), 0);
    loop {
        let mut question = redis::cmd("XREADGROUP");
        question.arg("GROUP").arg("bare").arg("c").arg("COUNT").arg(1000).arg("STREAMS").arg(key).arg(">");
        type Streams = Vec<(String, Vec<(String, Vec<Vec<u8>>)>)>;
        let found: Option<Streams> = question.query(&mut connection).expect("an answer");
        match found {
            Some(found) => read += found[0].1.len(),
            None => return read as f64 / begun.elapsed().as_secs_f64(),
        }
    }
}

/// What the server has spent so far: other load on the machine does not count.
fn cpu_seconds(redis: &Redis) -> f64 {
    let info: String = redis.ask(&["INFO", "cpu"]);
    let of = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok());
    of("used_cpu_user:").unwrap_or(0.0) + of("used_cpu_sys:").unwrap_or(0.0)
}

fn reads(store: &Arc<dyn Store>, key: &PartitionKey) -> f64 {
    let (begun, mut read, mut start) = (Instant::now(), 0, Start::Earliest);
    loop {
        let page = suite::read(&**store, key, start, 1000);
        let Some(last) = page.records.last() else { return f64::from(read) / begun.elapsed().as_secs_f64() };
        start = Start::After(last.mark.position);
        read += page.records.len() as u32;
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
    submits(store, |turn| {
        let of = (turn % sessions) as usize;
        suite::step(&keys[of], [suite::enqueue(generations[of], message.clone())])
    })
}

/// Answers a second to these steps, each submitted alone.
fn submits(store: &Arc<dyn Store>, step: impl Fn(u64) -> Step) -> f64 {
    let (sender, answers) = channel();
    let begun = Instant::now();
    for turn in 0..MESSAGES {
        let sender = sender.clone();
        let done = move |answer: weir_store::Answer| sender.send(answer[0].is_ok()).unwrap();
        store.submit(vec![step(turn)], Box::new(done));
        if turn >= WINDOW {
            assert!(answers.recv().unwrap());
        }
    }
    assert!((0..WINDOW).all(|_| answers.recv().unwrap()));
    MESSAGES as f64 / begun.elapsed().as_secs_f64()
}
