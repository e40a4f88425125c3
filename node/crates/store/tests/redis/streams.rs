//! Streams as others see them in Redis, and what becomes of them when others write there or the server forgets.

use std::process::Command;
use std::sync::Arc;

use weir_store::redis::stream_key;
use weir_store::{
    Config, Mark, Outcome, PartitionKey, PartitionOp, Progress, Refusal, Retention, Start, Store, suite,
};
use weir_testkit::{Redis, eventually};

use crate::rollback::{go_back, size};
use crate::suite::{fresh, open};

/// A partition with some records, and the name of its stream.
struct Scene {
    redis: Redis,
    store: Arc<dyn Store>,
    key: PartitionKey,
    stream: String,
}

impl Scene {
    fn start(records: &[&str]) -> Scene {
        let redis = Redis::build().set("appendfsync", "always").start();
        let config = fresh(Config { dedup_ids_max: 1000, ..suite::config("redis") });
        let store = open(&config, &redis.url(), suite::node("a", 1));
        suite::restore(&*store);
        let key = suite::made(&*store, "orders", Retention::default());
        suite::fill_stream(&*store, &key, records);
        let stream = stream_key(&config.redis.key_prefix, config.redis.shards, &key);
        Scene { redis, store, key, stream }
    }

    fn cli(&self, words: &[&str]) -> String {
        let (host, port) = (self.redis.address().ip().to_string(), self.redis.address().port().to_string());
        let output = Command::new("redis-cli").args(["-h", &host, "-p", &port]).args(words).output();
        String::from_utf8(output.expect("a redis-cli").stdout).expect("text")
    }

    fn ids(&self) -> Vec<String> {
        let entries: Vec<(String, Vec<String>)> = self.redis.ask(&["XRANGE", &self.stream, "-", "+"]);
        entries.into_iter().map(|(id, _)| id).collect()
    }

    fn told(&self) -> Vec<String> {
        suite::told_from(&*self.store, &self.key, Start::Earliest)
    }

    fn trimmed(&self) -> Mark {
        suite::read(&*self.store, &self.key, Start::Earliest, 1).ends.trimmed
    }

    fn append(&self, text: &str) -> Mark {
        suite::append(&*self.store, &self.key, suite::record(text))
    }

    fn ask(&self, op: PartitionOp) -> Result<Outcome, Refusal> {
        suite::ask_stream(&*self.store, &self.key, op)
    }

    fn acquire(&self) -> Result<Outcome, Refusal> {
        self.ask(PartitionOp::Acquire { group: "g".into(), start: Start::Earliest })
    }

    fn acquired(&self) -> (u64, Progress) {
        eventually("the place of the group", || match self.acquire() {
            Ok(Outcome::Acquired { fence, progress }) => Some((fence, progress)),
            Ok(Outcome::Held { by: 0 }) => None,
            other => panic!("neither: {other:?}"),
        })
    }

    fn commit(&self, fence: u64, low: Mark) -> Result<Outcome, Refusal> {
        let progress = Progress { low, ..Progress::default() };
        self.ask(PartitionOp::Commit { group: "g".into(), fence, progress })
    }
}

#[test]
fn anybody_reads_a_stream_with_the_means_of_redis() {
    let scene = Scene::start(&["one", "two"]);
    suite::append(&*scene.store, &scene.key, suite::keyed("customer", "three"));
    let read = scene.cli(&["XREAD", "COUNT", "10", "STREAMS", &scene.stream, "0"]);
    let lines: Vec<&str> = read.lines().collect();
    for expected in [&["topic", "t", "payload", "one......", "number", "1"][..], &["key", "customer"]] {
        assert!(lines.windows(expected.len()).any(|window| window == expected), "{expected:?} in {read}");
    }
    assert_eq!(scene.cli(&["XGROUP", "CREATE", &scene.stream, "theirs", "0"]).trim(), "OK");
    let group = ["XREADGROUP", "GROUP", "theirs", "c", "COUNT", "1", "STREAMS", &scene.stream, ">"];
    for text in ["one", "two", "three"] {
        let read = scene.cli(&group);
        assert!(read.contains(&format!("payload\n{text}")) && read.contains("topic\nt\n"), "{read}");
    }
    assert_eq!(suite::info(&*scene.store, &scene.key).unwrap().groups, [], "not a group of the store");
}

#[test]
fn a_name_with_anything_in_it_has_its_stream_where_it_says() {
    let scene = Scene::start(&[]);
    for name in ["a/b:c", "{x}", "line\nend", "%3A"] {
        let key = suite::made(&*scene.store, name, Retention::default());
        suite::append(&*scene.store, &key, suite::record("a"));
        let prefix = scene.stream.trim_start_matches('{').split(':').next().unwrap();
        assert_eq!(scene.redis.ask::<u64>(&["XLEN", &stream_key(prefix, 4, &key)]), 1);
    }
}

#[test]
fn a_record_that_somebody_deletes_is_missing_and_nothing_else() {
    let scene = Scene::start(&["a", "b", "c"]);
    scene.redis.ask::<u64>(&["XDEL", &scene.stream, &scene.ids()[1]]);
    assert_eq!(scene.told(), ["a", "c"]);
    assert_eq!(scene.append("d").number, 4);
    let info = suite::info(&*scene.store, &scene.key).unwrap();
    assert_eq!((info.ends.records, info.ends.trimmed), (3, Mark::default()));
    assert!(scene.store.account().is_balanced());
}

#[test]
fn a_stream_that_somebody_trims_under_a_reader_says_so() {
    let scene = Scene::start(&["a", "b", "c", "d"]);
    let marks: Vec<Mark> =
        suite::records(&*scene.store, &scene.key, Start::Earliest).iter().map(|record| record.mark).collect();
    let (fence, _) = scene.acquired();
    scene.redis.ask::<u64>(&["XTRIM", &scene.stream, "MAXLEN", "1"]);
    let page = suite::read(&*scene.store, &scene.key, Start::After(marks[0].position), 10);
    assert_eq!(page.records.len(), 1);
    assert_eq!(page.ends.trimmed.number, 3);
    assert!(
        page.ends.trimmed.position >= marks[2].position && page.ends.trimmed.position < marks[3].position
    );
    assert_eq!(scene.commit(fence, marks[0]), Ok(Outcome::Done), "its place is its own business");
    scene.append("e");
    assert_eq!(suite::info(&*scene.store, &scene.key).unwrap().ends.trimmed.number, 3);
    assert!(scene.store.account().is_balanced());
}

#[test]
fn a_stream_that_somebody_deletes_under_a_reader_is_trimmed_and_goes_on() {
    let scene = Scene::start(&["a", "b", "c"]);
    let last = suite::info(&*scene.store, &scene.key).unwrap().ends.tail;
    scene.redis.ask::<u64>(&["DEL", &scene.stream]);
    let page = suite::read(&*scene.store, &scene.key, Start::Earliest, 10);
    assert!(page.records.is_empty());
    assert_eq!((page.ends.trimmed, page.ends.tail, page.ends.records, page.ends.bytes), (last, last, 0, 0));
    let mark = scene.append("d");
    assert!(mark.number == 4 && mark > last);
    assert_eq!((scene.told(), scene.trimmed()), (vec!["d".to_owned()], last));
    assert!(scene.store.account().is_balanced());
}

#[test]
fn what_somebody_else_adds_to_a_stream_is_left_out() {
    let scene = Scene::start(&["a"]);
    scene.redis.ask::<String>(&["XADD", &scene.stream, "*", "what", "ever"]);
    scene.append("b");
    assert_eq!(scene.told(), ["a", "b"]);
}

#[test]
fn a_partition_of_a_full_server_takes_no_more_and_its_groups_go_on() {
    let scene = Scene::start(&["a", "b"]);
    let marks = suite::records(&*scene.store, &scene.key, Start::Earliest);
    let (fence, _) = scene.acquired();
    scene.redis.config_set("maxmemory", "1");
    assert_eq!(scene.ask(suite::record("c")), Err(Refusal::StoreFull));
    let retention = Retention { records_max: 1, ..Retention::default() };
    assert_eq!(scene.ask(PartitionOp::Configure { retention }), Err(Refusal::StoreFull));
    assert_eq!(scene.commit(fence, marks[0].mark), Ok(Outcome::Done));
    assert_eq!(scene.ask(PartitionOp::Trim { before: Some(marks[0].mark.position) }), Ok(Outcome::Done));
    assert_eq!(scene.told(), ["b"]);
    let (fence, progress) = scene.acquired();
    assert_eq!(progress.low, marks[0].mark);
    let release = PartitionOp::Release { group: "g".into(), fence, progress };
    assert_eq!(scene.ask(release), Ok(Outcome::Done));
    scene.redis.config_set("maxmemory", "0");
    eventually("room for another record", || scene.ask(suite::record("c")).is_ok().then_some(()));
}

#[test]
fn records_that_the_server_has_forgotten_are_written_again_in_order_and_once() {
    let mut scene = Scene::start(&["a", "b"]);
    let before = suite::records(&*scene.store, &scene.key, Start::Earliest);
    let size = size(&scene.redis);
    let lost = suite::fill_stream(&*scene.store, &scene.key, &["c", "d"]);
    go_back(&mut scene.redis, size);
    let after = scene.append("e");
    assert_eq!(scene.told(), ["a", "b", "c", "d", "e"]);
    let found = suite::records(&*scene.store, &scene.key, Start::Earliest);
    assert_eq!(found[..2], before[..], "what was kept has its marks");
    assert!(
        found.is_sorted_by_key(|record| record.mark) && found[2].mark.position.epoch > lost[0].position.epoch
    );
    assert_eq!(found.iter().map(|record| record.mark.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(found[4].mark, after);
    // Who had read up to a place that is no more goes on behind all that was known then.
    let told = |start| suite::told_from(&*scene.store, &scene.key, Start::After(start));
    assert_eq!(told(lost[1].position), ["c", "d", "e"]);
    assert_eq!(told(before[0].mark.position), ["b", "c", "d", "e"]);
    assert_eq!(told(found[3].mark.position), ["e"]);
}

#[test]
fn a_group_whose_state_the_server_has_forgotten_starts_from_what_is_there() {
    let mut scene = Scene::start(&["a", "b", "c"]);
    let marks = suite::records(&*scene.store, &scene.key, Start::Earliest);
    let (fence, _) = scene.acquired();
    assert_eq!(scene.commit(fence, marks[0].mark), Ok(Outcome::Done));
    let size = size(&scene.redis);
    let (newer, _) = scene.acquired();
    assert_eq!(scene.commit(newer, marks[2].mark), Ok(Outcome::Done));
    go_back(&mut scene.redis, size);
    let later = scene.append("d");
    assert!(later.position.epoch > marks[2].mark.position.epoch, "whoever compares epochs can tell");
    for fence in [fence, newer] {
        assert_eq!(scene.commit(fence, marks[2].mark), Err(Refusal::Fenced));
    }
    let (last, progress) = scene.acquired();
    assert!(last > newer);
    assert_eq!(progress.low, marks[0].mark);
    assert_eq!(scene.commit(last, later), Ok(Outcome::Done));
}

#[test]
fn after_a_rollback_nobody_is_given_the_place_of_a_group_for_the_time_of_a_lease() {
    let mut scene = Scene::start(&["a"]);
    let size = size(&scene.redis);
    scene.append("b");
    go_back(&mut scene.redis, size);
    scene.append("c");
    assert_eq!(scene.acquire(), Ok(Outcome::Held { by: 0 }));
    scene.acquired();
}
