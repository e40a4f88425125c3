//! What a publisher hears, and a queue holds, when the server or the way to it fails in mid-stream.

use weir_store::redis::Shard;
use weir_store::{Outcome, Refusal, SessionOp, suite};
use weir_testkit::{Redis, RedisCluster, eventually};

use crate::flow::{Flow, repeated, seen, store, until_seen};

/// Messages answered between two faults.
const SOME: u64 = 1000;

#[test]
fn a_server_that_is_killed_and_started_again_loses_and_doubles_nothing() {
    let mut redis = Redis::start();
    let store = store(&redis.url(), |_| {});
    let flow = Flow::start(&store);
    for _ in 0..3 {
        flow.until_more(SOME);
        redis.kill9();
        redis.restart();
    }
    flow.until_more(SOME);
    assert!(flow.end().is_empty());
    assert!(seen("io") + seen("away") > 0);
}

#[test]
fn connections_cut_in_mid_stream_lose_and_double_nothing() {
    let redis = Redis::start();
    let store = store(&redis.url(), |_| {});
    let flow = Flow::start(&store);
    eventually("an answer to be lost", || {
        flow.until_more(SOME / 4);
        redis.client_kill_all();
        (repeated() > 2).then_some(())
    });
    flow.until_more(SOME);
    assert!(flow.end().is_empty());
    assert!(seen("io") > 0);
}

#[test]
fn a_library_that_is_gone_is_loaded_again() {
    let redis = Redis::start();
    let store = store(&redis.url(), |_| {});
    let flow = Flow::start(&store);
    for _ in 0..5 {
        flow.until_more(SOME / 4);
        redis.ask::<()>(&["SCRIPT", "FLUSH"]);
        redis.ask::<()>(&["FUNCTION", "FLUSH"]);
    }
    flow.until_more(SOME);
    assert!(flow.end().is_empty());
    assert!(seen("no_function") > 0);
}

/// Nodes of two releases work on one server while a cluster is upgraded.
#[test]
fn the_library_of_another_release_stands_beside_this_one_s() {
    const OTHER: &str = "#!lua name=weir_0123456789abcdef\n\
        redis.register_function('weir_0123456789abcdef_grow', function() return 'of another release' end)";
    let redis = Redis::start();
    let store = store(&redis.url(), |_| {});
    let flow = Flow::start(&store);
    for _ in 0..5 {
        flow.until_more(SOME / 4);
        redis.ask::<String>(&["FUNCTION", "LOAD", "REPLACE", OTHER]);
    }
    flow.until_more(SOME);
    assert!(flow.end().is_empty());
    let libraries: redis::Value = redis.ask(&["FUNCTION", "LIST", "LIBRARYNAME", "weir_*"]);
    let redis::Value::Array(libraries) = libraries else { panic!("{libraries:?}") };
    assert_eq!(libraries.len(), 2, "{libraries:?}");
    let answer: String = redis.ask(&["FCALL", "weir_0123456789abcdef_grow", "0"]);
    assert_eq!(answer, "of another release");
}

#[test]
fn a_full_server_takes_no_more_and_is_drained() {
    let redis = Redis::start();
    let store = store(&redis.url(), |_| {});
    let key = suite::client("a");
    let fence = suite::open(&*store, &key, suite::resuming()).fence;
    let put = || suite::ask_one(&*store, &key, suite::enqueue(fence.generation, suite::message("m", 10_000)));
    for _ in 0..200 {
        assert!(matches!(put(), Ok(Outcome::Enqueued { .. })));
    }
    let used = used_memory(&redis);
    redis.config_set("maxmemory", &(used - 500_000).to_string());
    assert_eq!(put(), Err(Refusal::StoreFull));
    let new = SessionOp::Open(suite::resuming());
    assert_eq!(suite::ask_one(&*store, &suite::client("new"), new), Err(Refusal::StoreFull));
    let fence = suite::open(&*store, &key, suite::resuming()).fence;
    for number in 1..=200 {
        assert_eq!(suite::ask_one(&*store, &key, SessionOp::Ack { fence, number }), Ok(Outcome::Done));
    }
    assert!(suite::rows(&*store, &key).is_empty());
    eventually("room for another message", || put().is_ok().then_some(()));
    assert!(seen("oom") > 0);
}

#[test]
fn a_node_takes_no_more_before_the_server_is_full() {
    let redis = Redis::start();
    let store = store(&redis.url(), |config| config.redis.memory_high_percent = 50);
    let key = suite::client("a");
    let fence = suite::open(&*store, &key, suite::resuming()).fence;
    let put = || suite::ask_one(&*store, &key, suite::enqueue(fence.generation, suite::message("m", 10)));
    assert!(put().is_ok());
    let used = used_memory(&redis);
    redis.config_set("maxmemory", &(used + used / 2).to_string());
    eventually("the node to notice", || (put() == Err(Refusal::StoreFull)).then_some(()));
    assert_eq!(suite::ask_one(&*store, &key, SessionOp::Ack { fence, number: 1 }), Ok(Outcome::Done));
    assert_eq!(seen("oom"), 0);
    redis.config_set("maxmemory", "0");
    eventually("the node to notice", || put().is_ok().then_some(()));
}

#[test]
fn a_primary_that_is_made_a_replica_and_back_loses_and_doubles_nothing() {
    let redis = Redis::start();
    let store = store(&redis.url(), |_| {});
    let flow = Flow::start(&store);
    for _ in 0..3 {
        flow.until_more(SOME / 4);
        redis.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
        until_seen("readonly");
        redis.ask::<()>(&["REPLICAOF", "NO", "ONE"]);
    }
    flow.until_more(SOME);
    assert!(flow.end().is_empty());
}

#[test]
fn a_server_that_loads_its_files_is_waited_for() {
    let redis = Redis::build()
        .set("key-load-delay", "50")
        .set("loading-process-events-interval-bytes", "1024")
        .start();
    let store = store(&redis.url(), |_| {});
    let flow = Flow::start(&store);
    flow.until_more(20 * SOME);
    redis.ask::<()>(&["DEBUG", "LOADAOF"]);
    flow.until_more(SOME);
    assert!(flow.end().is_empty());
    assert!(seen("loading") > 0);
}

#[test]
fn somebody_s_slow_script_is_waited_for() {
    let redis = Redis::build().set("busy-reply-threshold", "20").start();
    let store = store(&redis.url(), |_| {});
    let flow = Flow::start(&store);
    flow.until_more(SOME);
    let url = redis.url();
    let script = std::thread::spawn(move || {
        let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        redis::cmd("EVAL").arg("while true do end").arg(0).query::<()>(&mut connection)
    });
    until_seen("busy");
    redis.ask::<()>(&["SCRIPT", "KILL"]);
    assert!(script.join().unwrap().is_err());
    flow.until_more(SOME);
    assert!(flow.end().is_empty());
}

#[test]
fn a_slot_that_moves_loses_and_doubles_nothing() {
    let cluster = RedisCluster::start();
    let mut slot = 0;
    let store = store(&cluster.url(), |config| {
        config.redis.shards = 1;
        slot = Shard::Session(0).slot(&config.redis.key_prefix);
    });
    let flow = Flow::start(&store);
    for _ in 0..2 {
        flow.until_more(SOME);
        let to = (cluster.owner(slot) + 1) % 3;
        cluster.move_slot(slot, to);
    }
    flow.until_more(SOME);
    assert!(flow.end().is_empty());
    // While it moves the answer is ASK, and afterwards MOVED, if the table is not faster.
    assert!(seen("ask") + seen("moved") > 0);
}

#[test]
fn what_a_store_that_is_away_was_asked_is_answered_in_the_end() {
    let mut redis = Redis::start();
    let store = store(&redis.url(), |config| config.redis.unknown_wait_ms = 300);
    let key = suite::client("a");
    let generation = suite::open(&*store, &key, suite::resuming()).fence.generation;
    redis.kill9();
    let put = || suite::ask_one(&*store, &key, suite::enqueue(generation, suite::message("m", 10)));
    assert!(matches!(put(), Err(Refusal::Unknown | Refusal::Unavailable)));
    assert_eq!(put(), Err(Refusal::Unavailable), "certainly not done, for it was never sent");
    redis.restart();
    eventually("the store to be back", || put().is_ok().then_some(()));
    assert_eq!(suite::rows(&*store, &key).len(), 1);
}

fn used_memory(redis: &Redis) -> u64 {
    let info: String = redis.ask(&["INFO", "memory"]);
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    used.unwrap().trim().parse().unwrap()
}

/// Its publisher may have gone on at another node meanwhile.
#[test]
fn a_message_that_was_under_way_when_the_lease_ended_is_refused_and_never_comes() {
    let mut redis = Redis::start();
    let store = store(&redis.url(), |config| config.redis.lease_ms = 500);
    let (_heard, _) = suite::restore(&*store);
    let key = suite::client("a");
    let fence = suite::open(&*store, &key, suite::resuming()).fence;
    eventually("the lease", || store.stands().then_some(()));
    redis.kill9();
    let (heard, answers) = std::sync::mpsc::channel();
    // The first of them are in batches when the lease ends, the others wait for one.
    for turn in 0..1000 {
        let heard = heard.clone();
        let op = match turn % 2 {
            0 => suite::enqueue(fence.generation, suite::message(&turn.to_string(), 10)),
            _ => SessionOp::Subscribe { fence, filter: suite::filter("f"), options: Default::default() },
        };
        let done = move |answer: weir_store::Answer| drop(heard.send((turn, answer)));
        store.submit(vec![suite::step(&key, [op])], Box::new(done));
    }
    eventually("the lease to end", || (!store.stands()).then_some(()));
    redis.restart();
    for (turn, answer) in answers.iter().take(1000) {
        match (turn % 2, &answer[0]) {
            (0, Err(Refusal::Unavailable)) => {}
            (1, Ok(outcomes)) if outcomes[0] == Outcome::Done => {}
            other => panic!("{turn} was answered {other:?}"),
        }
    }
    assert!(suite::rows(&*store, &key).is_empty());
    eventually("it takes messages again", || {
        let put = suite::enqueue(fence.generation, suite::message("new", 10));
        suite::ask_one(&*store, &key, put).is_ok().then_some(())
    });
    assert_eq!(suite::texts(&*store, &key)[0].1, "new");
}
