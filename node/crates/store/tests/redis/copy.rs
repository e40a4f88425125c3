//! Copies to a Redis, from one, and from one to another; and what stands in their way there.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_store::copy::{CopyError, CopyRow, CopySource, CopyTarget, QueueCopy, run};
use weir_store::redis::{
    EnrolError, RedisConfig, RedisOpenError, RedisSource, RedisStore, RedisTarget, stream_key,
};
use weir_store::suite::{self, CopyPlace};
use weir_store::{
    Config, EmbeddedSource, EmbeddedTarget, NodeRef, Open, OpenError, PartitionKey, Retention, SessionOp,
    Store, SubscriptionOptions,
};
use weir_testkit::{Redis, RedisCluster, RedisSentinels};

use crate::connect;
use crate::suite::fresh;

/// A data directory.
struct Files<'a>(&'a Path);

impl CopyPlace for Files<'_> {
    fn store(&self) -> Result<Arc<dyn Store>, OpenError> {
        weir_store::open(&suite::config("embedded"), self.0).map(|(store, _)| store)
    }

    fn source(&self) -> Result<Box<dyn CopySource>, CopyError> {
        Ok(Box::new(EmbeddedSource::open(&suite::config("embedded"), self.0)?))
    }

    fn target(&self) -> Result<Box<dyn CopyTarget>, CopyError> {
        Ok(Box::new(EmbeddedTarget::open(&suite::config("embedded"), self.0)?))
    }
}

/// A prefix in a Redis.
struct Keys {
    config: Config,
    url: String,
}

impl Keys {
    fn at(url: &str) -> Keys {
        Keys { config: fresh(suite::config("redis")), url: url.to_owned() }
    }
}

impl CopyPlace for Keys {
    fn store(&self) -> Result<Arc<dyn Store>, OpenError> {
        let node = NodeRef { node_id: "a".into(), incarnation: 1 };
        connect::runtime().block_on(RedisStore::open(&self.config, &self.url, "test", node))
    }

    fn source(&self) -> Result<Box<dyn CopySource>, CopyError> {
        let runtime = connect::runtime().handle();
        Ok(Box::new(RedisSource::open(&self.config, &self.url, "test", false, runtime)?))
    }

    fn target(&self) -> Result<Box<dyn CopyTarget>, CopyError> {
        let runtime = connect::runtime().handle();
        Ok(Box::new(RedisTarget::open(&self.config, &self.url, "test", "a test", runtime)?))
    }
}

macro_rules! promises {
    ($($promise:ident),* $(,)?) => {
        mod embedded_to_redis {
            $(#[test] fn $promise() { super::from_files(weir_store::suite::$promise); })*
        }
        mod redis_to_embedded {
            $(#[test] fn $promise() { super::to_files(weir_store::suite::$promise); })*
        }
        mod redis_to_redis {
            $(#[test] fn $promise() { super::between_prefixes(weir_store::suite::$promise); })*
        }
        mod sentinels_to_embedded {
            $(#[test] fn $promise() { super::from_sentinels(weir_store::suite::$promise); })*
        }
        mod embedded_to_a_cluster {
            $(#[test] fn $promise() { super::to_a_cluster(weir_store::suite::$promise); })*
        }
    };
}

fn from_files(promise: impl Fn(suite::Pair)) {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    promise((&Files(dir.path()), &Keys::at(&redis.url())));
}

fn to_files(promise: impl Fn(suite::Pair)) {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    promise((&Keys::at(&redis.url()), &Files(dir.path())));
}

/// Of another number of shards.
fn between_prefixes(promise: impl Fn(suite::Pair)) {
    let redis = Redis::start();
    let mut other = Keys::at(&redis.url());
    other.config.redis.shards = 3;
    promise((&Keys::at(&redis.url()), &other));
}

fn from_sentinels(promise: impl Fn(suite::Pair)) {
    let (sentinels, dir) = (RedisSentinels::start(), tempfile::tempdir().unwrap());
    promise((&Keys::at(&sentinels.url()), &Files(dir.path())));
}

fn to_a_cluster(promise: impl Fn(suite::Pair)) {
    let (cluster, dir) = (RedisCluster::start(), tempfile::tempdir().unwrap());
    promise((&Files(dir.path()), &Keys::at(&cluster.url())));
}

weir_store::each_copy_promise!(promises);

/// A store in files with one retained message of so many bytes.
fn retaining(dir: &Path, bytes: usize) {
    let store = Files(dir).store().unwrap();
    suite::restore(&*store);
    let topic = weir_model::Topic::new("t").unwrap();
    let op = weir_store::TopicOp::Retain { message: Some(suite::message("m", bytes)) };
    let step = weir_store::Step::Topic { realm: "default".into(), topic, op };
    suite::ask(&*store, vec![step]).remove(0).unwrap();
    suite::wait(store.close());
}

fn copy(from: &dyn CopyPlace, to: &dyn CopyPlace) -> Result<(), CopyError> {
    run(&mut *from.source()?, &mut *to.target()?, &mut |_| ()).map(drop)
}

#[test]
fn a_store_of_another_cluster_or_layout_or_shape_is_refused_by_name() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let keys = Keys::at(&redis.url());
    let store = keys.store().unwrap();
    suite::wait(store.leave());
    suite::wait(store.close());
    let runtime = connect::runtime().handle();
    let other = RedisSource::open(&keys.config, &keys.url, "theirs", false, runtime).err().unwrap();
    assert!(other.to_string().contains("belongs to the cluster `test`"), "{other}");
    let mut wider = Keys { config: keys.config.clone(), url: keys.url.clone() };
    wider.config.redis.shards = 9;
    let refused = wider.target().err().unwrap().to_string();
    assert!(refused.contains("store.redis.shards = 4"), "{refused}");
    let key = format!("{{{}:n}}:store", keys.config.redis.key_prefix);
    redis.ask::<()>(&["HSET", &key, "layout", "99"]);
    for refused in [keys.source().err().unwrap(), keys.target().err().unwrap()] {
        assert!(refused.to_string().contains("has layout 99"), "{refused}");
    }
    assert!(Files(dir.path()).source().is_err());
}

#[test]
fn a_source_is_read_in_the_shape_it_was_made_in() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let (keys, files) = (Keys::at(&redis.url()), tempfile::tempdir().unwrap());
    retaining(dir.path(), 100);
    copy(&Files(dir.path()), &keys).unwrap();
    let mut other = Keys { config: keys.config.clone(), url: keys.url.clone() };
    other.config.redis.shards = 16;
    copy(&other, &Files(files.path())).unwrap();
    let store = Files(files.path()).store().unwrap();
    assert_eq!(store.account().retained_messages, 1);
}

#[test]
fn a_redis_without_memory_for_it_is_named_and_holds_nothing_that_counts() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let keys = Keys::at(&redis.url());
    retaining(dir.path(), 100);
    let mut target = keys.target().unwrap();
    let mut source = Files(dir.path()).source().unwrap();
    target.begin(source.marks().unwrap()).unwrap();
    redis.config_set("maxmemory", "1");
    let full = source.read(&mut |rows| target.write(rows)).unwrap_err();
    assert!(matches!(full, CopyError::StoreFull { .. }), "{full}");
    drop(target);
    redis.config_set("maxmemory", "0");
    let refused = keys.store().err().expect("it is not finished");
    let OpenError::Redis(RedisOpenError::Enrol(EnrolError::Unfinished { from })) = refused else {
        panic!("{refused}")
    };
    assert_eq!(from, "a test");
}

#[test]
fn a_copy_whose_place_is_taken_by_another_writes_nothing_more() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let keys = Keys::at(&redis.url());
    retaining(dir.path(), 100);
    let mut source = Files(dir.path()).source().unwrap();
    let (mut older, mut newer) = (keys.target().unwrap(), keys.target().unwrap());
    let marks = source.marks().unwrap();
    older.begin(marks).unwrap();
    let busy = newer.begin(marks).unwrap_err();
    assert!(matches!(busy, CopyError::OtherCopy { .. }), "{busy}");
    // As if it had been silent for long.
    let key = format!("{{{}:n}}:store", keys.config.redis.key_prefix);
    let mark: String = redis.ask(&["HGET", &key, "copying"]);
    let silent = mark.split(' ').next().unwrap().to_owned() + " 1 a test";
    redis.ask::<()>(&["HSET", &key, "copying", &silent]);
    assert!(newer.begin(marks).unwrap(), "over an unfinished one");
    let superseded = source.read(&mut |rows| older.write(rows)).unwrap_err();
    assert!(matches!(superseded, CopyError::Superseded { .. }), "{superseded}");
    source.read(&mut |rows| newer.write(rows)).unwrap();
    newer.finish(marks).unwrap();
    assert_eq!(keys.store().unwrap().account().retained_messages, 1);
}

#[test]
fn a_row_that_cannot_be_read_is_named() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let (keys, files) = (Keys::at(&redis.url()), tempfile::tempdir().unwrap());
    retaining(dir.path(), 100);
    copy(&Files(dir.path()), &keys).unwrap();
    for shard in 0..4 {
        let key = format!("{{{}:t{shard}}}:retained", keys.config.redis.key_prefix);
        if redis.ask::<u64>(&["EXISTS", &key]) == 1 {
            redis.ask::<()>(&["HSET", &key, "default:t", "100 1-1\nno message"]);
        }
    }
    let damaged = copy(&keys, &Files(files.path())).unwrap_err();
    assert!(damaged.to_string().contains("what is retained for `default:t`"), "{damaged}");
}

/// A partition of two records in a data directory.
fn streaming(dir: &Path) -> PartitionKey {
    let store = Files(dir).store().unwrap();
    suite::restore(&*store);
    let key = suite::made(&*store, "orders", Retention::default());
    suite::append(&*store, &key, suite::keyed("k", "one"));
    suite::append(&*store, &key, suite::record("two"));
    suite::wait(store.close());
    key
}

#[test]
fn anybody_can_read_the_records_of_a_copy() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let (keys, key) = (Keys::at(&redis.url()), streaming(dir.path()));
    copy(&Files(dir.path()), &keys).unwrap();
    let RedisConfig { key_prefix, shards, .. } = &keys.config.redis;
    let name = stream_key(key_prefix, *shards, &key);
    let entries: Vec<(String, Vec<String>)> = redis.ask(&["XRANGE", &name, "-", "+"]);
    let fields = |entry: usize| entries[entry].1.join(" ");
    assert_eq!(fields(0), "topic t payload one...... number 1 key k");
    assert_eq!(fields(1), "topic t payload two...... number 2");
    redis.ask::<()>(&["XGROUP", "CREATE", &name, "theirs", "0"]);
}

#[test]
fn a_record_that_cannot_be_read_is_named() {
    let (redis, dir) = (Redis::start(), tempfile::tempdir().unwrap());
    let (keys, files, key) = (Keys::at(&redis.url()), tempfile::tempdir().unwrap(), streaming(dir.path()));
    copy(&Files(dir.path()), &keys).unwrap();
    let RedisConfig { key_prefix, shards, .. } = &keys.config.redis;
    let name = stream_key(key_prefix, *shards, &key);
    let entries: Vec<(String, Vec<String>)> = redis.ask(&["XRANGE", &name, "-", "+"]);
    let (first, last) = (&entries[0].0, &entries[1].0);
    redis.ask::<()>(&["DEL", &name]);
    redis.ask::<()>(&["XADD", &name, first, "who", "somebody else"]);
    redis.ask::<()>(&["XADD", &name, last, "topic", "a/#", "payload", "x", "number", "2"]);
    let damaged = copy(&keys, &Files(files.path())).unwrap_err().to_string();
    let named = format!("record {last} of partition 0 of the stream `orders`");
    assert!(damaged.contains(&named), "{damaged}");
}

#[test]
fn a_session_that_is_made_anew_while_it_is_read_is_copied_as_one_or_the_other() {
    let redis = Redis::start();
    let keys = Keys::at(&redis.url());
    let store = keys.store().unwrap();
    suite::restore(&*store);
    let is_over = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                remade(&*store, &round.to_string());
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let rounds: HashSet<String> = (0..100).filter_map(|_| read_live(&keys)).collect();
        is_over.store(true, Ordering::Relaxed);
        rounds
    });
    assert!(rounds.len() > 1, "it was made anew while it was read: {rounds:?}");
    suite::wait(store.close());
}

/// The session `a`, of which every part says which one it is.
fn remade(store: &dyn Store, round: &str) {
    let key = suite::client("a");
    let fence = suite::open(store, &key, Open { clean_start: true, ..suite::resuming() }).fence;
    let filter = weir_model::Filter::new(round).unwrap();
    let options = SubscriptionOptions::default();
    let message = suite::message(round, 10);
    let ops = [
        SessionOp::Subscribe { fence, filter, options },
        suite::enqueue(fence.generation, message.clone()),
        suite::enqueue(fence.generation, message),
    ];
    assert!(suite::ask(store, vec![suite::step(&key, ops)]).remove(0).is_ok());
}

/// Which session `a` was read, if there was one.
fn read_live(keys: &Keys) -> Option<String> {
    let runtime = connect::runtime().handle();
    let mut source = RedisSource::open(&keys.config, &keys.url, "test", true, runtime).unwrap();
    let (mut sessions, mut texts) = (Vec::new(), Vec::new());
    let mut note = |rows: Vec<CopyRow>| {
        for row in rows {
            match row {
                CopyRow::Session(session) => sessions.push(*session),
                CopyRow::Queue { rows, .. } => {
                    let messages = rows.iter().filter_map(QueueCopy::delivery).map(|copy| &copy.message);
                    texts.extend(
                        messages.map(|message| String::from_utf8_lossy(&message.payload).into_owned()),
                    );
                }
                _ => {}
            }
        }
        Ok(())
    };
    source.read(&mut note).unwrap();
    let session = sessions.pop()?;
    assert!(sessions.is_empty());
    let Some((filter, _)) = session.subscriptions.first() else {
        assert!(texts.is_empty(), "it has just been made: {texts:?}");
        return None;
    };
    let round = filter.as_str().to_owned();
    assert!(texts.iter().all(|text| text.trim_end_matches('.') == round), "{round}: {texts:?}");
    Some(round)
}

#[test]
fn a_redis_on_which_nodes_work_is_read_only_when_told_so() {
    let (redis, files) = (Redis::start(), tempfile::tempdir().unwrap());
    let keys = Keys::at(&redis.url());
    let store = keys.store().unwrap();
    suite::restore(&*store);
    let fence = suite::open(&*store, &suite::client("a"), suite::resuming()).fence;
    let refused = keys.source().err().unwrap().to_string();
    assert!(refused.contains("the nodes a") && refused.contains("--live"), "{refused}");
    let runtime = connect::runtime().handle();
    let mut source = RedisSource::open(&keys.config, &keys.url, "test", true, runtime).unwrap();
    assert_eq!(source.nodes(), ["a"]);
    let mut target = Files(files.path()).target().unwrap();
    run(&mut source, &mut *target, &mut |_| ()).unwrap();
    drop(target);
    let copy = Files(files.path()).store().unwrap();
    let (_, sessions) = suite::restore(&*copy);
    assert_eq!(sessions[0].fence, fence);
    suite::wait(store.close());
}
