//! What becomes of what was acknowledged when a server has forgotten it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use weir_model::{Message, Position, Topic};
use weir_store::{
    Config, Fence, Mirror, Outcome, Refusal, Rollback, SessionChange, SessionKey, SessionOp, ShardRollback,
    Step, Store, TopicOp, suite,
};
use weir_testkit::{Redis, eventually};

use crate::flow::Flow;
use crate::suite::{fresh, open};

/// Messages on each side of the point that the server goes back to.
const SOME: u64 = 50;

/// Notes what it is told of rollbacks, and the sessions that are in them.
#[derive(Default)]
struct Heard {
    shards: Mutex<Vec<ShardRollback>>,
    sessions: Mutex<Vec<SessionKey>>,
    retained: Mutex<HashMap<String, String>>,
}

impl Mirror for Heard {
    fn retained(&self, _: &Arc<str>, topic: &Topic, _: Position, message: Option<&Arc<Message>>) {
        if let Some(message) = message {
            let text = String::from_utf8_lossy(&message.payload).into_owned();
            self.retained.lock().insert(topic.as_str().to_owned(), text);
        }
    }

    fn session(&self, _: &SessionKey, _: SessionChange) {}

    fn rolled_back(&self, rollback: &Rollback) {
        self.shards.lock().extend(rollback.shards.iter().cloned());
        let known = [suite::client("a"), suite::client("b")];
        self.sessions.lock().extend(known.into_iter().filter(|key| rollback.is_in(key)));
    }
}

/// A server whose file can be cut, and a store on it.
struct Scene {
    redis: Redis,
    config: Config,
    store: Arc<dyn Store>,
    heard: Arc<Heard>,
    key: SessionKey,
    fence: Fence,
}

impl Scene {
    fn start(change: impl FnOnce(&mut Config)) -> Scene {
        let redis = Redis::build().set("appendfsync", "always").start();
        let mut config = fresh(Config {
            queue_messages_max: u64::MAX,
            queue_bytes_max: u64::MAX,
            ..suite::config("redis")
        });
        change(&mut config);
        let (store, heard) = node(&config, &redis, "one");
        let key = suite::client("a");
        let fence = suite::open(&*store, &key, suite::resuming()).fence;
        Scene { redis, config, store, heard, key, fence }
    }

    fn put(&self, store: &dyn Store, text: &str) -> Result<Outcome, Refusal> {
        let op = suite::enqueue(self.fence.generation, suite::message(text, 20));
        suite::ask_one(store, &self.key, op)
    }

    fn put_some(&self, name: &str) {
        for turn in 0..SOME {
            let answer = self.put(&*self.store, &format!("{name}{turn}"));
            assert!(matches!(answer, Ok(Outcome::Enqueued { .. })), "{answer:?}");
        }
    }

    fn texts(&self) -> Vec<String> {
        let rows = suite::rows(&*self.store, &self.key).into_iter();
        let text = |row: weir_store::Queued| match row.state {
            weir_store::RowState::Waiting(delivery) => {
                String::from_utf8_lossy(&delivery.message.payload).trim_end_matches('.').to_owned()
            }
            weir_store::RowState::Released => "released".to_owned(),
        };
        rows.map(text).collect()
    }

    fn wait_for_report(&self) -> ShardRollback {
        eventually("a report of the rollback", || {
            let shards = self.heard.shards.lock();
            shards.iter().find(|shard| shard.from_epoch > 0).cloned()
        })
    }
}

fn file(redis: &Redis) -> PathBuf {
    let files = std::fs::read_dir(redis.directory().join("appendonlydir")).expect("files");
    let mut files = files.map(|file| file.expect("a file").path());
    files.find(|path| path.to_string_lossy().ends_with(".incr.aof")).expect("the file that grows")
}

pub fn size(redis: &Redis) -> u64 {
    std::fs::metadata(file(redis)).expect("a file").len()
}

/// The server forgets what was written after its file was of this size. Of a command that is cut in two, it leaves out
/// the half that is there.
pub fn go_back(redis: &mut Redis, size: u64) {
    redis.kill9();
    let file = std::fs::OpenOptions::new().write(true).open(file(redis)).expect("a file");
    file.set_len(size).expect("cut");
    redis.restart();
}

fn node(config: &Config, redis: &Redis, name: &str) -> (Arc<dyn Store>, Arc<Heard>) {
    let store = open(config, &redis.url(), suite::node(name, 1));
    let heard = Arc::new(Heard::default());
    store.restore(heard.clone(), &mut |_| {}).expect("restored");
    (store, heard)
}

fn all(names: &[&str]) -> Vec<String> {
    names.iter().flat_map(|name| (0..SOME).map(move |turn| format!("{name}{turn}"))).collect()
}

#[test]
fn what_the_server_has_forgotten_is_written_again_in_order_and_once() {
    let mut scene = Scene::start(|_| {});
    scene.put_some("before");
    let size = size(&scene.redis);
    scene.put_some("forgotten");
    go_back(&mut scene.redis, size);
    scene.put_some("after");
    assert_eq!(scene.texts(), all(&["before", "forgotten", "after"]));
    let report = scene.wait_for_report();
    assert_eq!((report.replayed_steps, report.lost_steps, report.lost_batches), (SOME, 0, 0), "{report:?}");
    assert!(report.epoch > report.from_epoch);
    assert!(scene.heard.sessions.lock().contains(&scene.key));
}

#[test]
fn a_node_that_writes_nothing_notices_by_itself() {
    let mut scene = Scene::start(|_| {});
    let size = size(&scene.redis);
    scene.put_some("forgotten");
    go_back(&mut scene.redis, size);
    scene.wait_for_report();
    assert_eq!(scene.texts(), all(&["forgotten"]));
}

#[test]
fn without_a_replay_window_what_is_lost_is_reported() {
    let mut scene = Scene::start(|config| config.redis.replay_window_ms = 0);
    let size = size(&scene.redis);
    scene.put_some("forgotten");
    go_back(&mut scene.redis, size);
    let report = scene.wait_for_report();
    assert_eq!((report.replayed_steps, report.lost_batches), (0, SOME), "{report:?}");
    assert_eq!(scene.texts(), all(&[]));
    scene.put_some("after");
    assert_eq!(scene.texts(), all(&["after"]));
}

#[test]
fn what_another_node_writes_first_is_kept_beside_what_is_written_again() {
    let mut scene = Scene::start(|config| {
        config.redis.back_off_ms = 3000;
        config.redis.back_off_max_ms = 3000;
    });
    let size = size(&scene.redis);
    scene.put_some("forgotten");
    go_back(&mut scene.redis, size);
    let mut config = scene.config.clone();
    (config.redis.back_off_ms, config.redis.back_off_max_ms) = (10, 100);
    let (other, heard) = node(&config, &scene.redis, "other");
    assert!(matches!(scene.put(&*other, "newer"), Ok(Outcome::Enqueued { number: 1, .. })));
    scene.wait_for_report();
    assert_eq!(scene.texts(), [vec!["newer".to_owned()], all(&["forgotten"])].concat());
    eventually("the other node to hear of it", || {
        let shards = heard.shards.lock();
        (shards.len() >= usize::from(2 * scene.config.redis.shards)).then_some(())
    });
    assert!(matches!(scene.put(&*other, "last"), Ok(Outcome::Enqueued { .. })));
    // What was delivered before may have another's number now.
    let ack = SessionOp::Ack { fence: scene.fence, number: 1 };
    assert_eq!(suite::ask_one(&*scene.store, &scene.key, ack), Err(Refusal::Fenced));
    let fence = suite::open(&*scene.store, &scene.key, suite::resuming()).fence;
    assert!(fence.fence > scene.fence.fence);
    let ack = SessionOp::Ack { fence, number: 1 };
    assert_eq!(suite::ask_one(&*scene.store, &scene.key, ack), Ok(Outcome::Done));
}

#[test]
fn numbers_that_were_given_before_a_rollback_are_not_given_again() {
    let mut scene = Scene::start(|_| {});
    let size = size(&scene.redis);
    let forgotten = suite::open(&*scene.store, &suite::client("b"), suite::resuming()).fence;
    go_back(&mut scene.redis, size);
    scene.wait_for_report();
    let again = suite::open(&*scene.store, &suite::client("b"), suite::resuming()).fence;
    assert!(again.fence > forgotten.fence && again.generation > forgotten.generation);
}

#[test]
fn a_stream_that_is_undone_again_and_again_loses_and_doubles_nothing_and_keeps_its_order() {
    let mut redis = Redis::build().set("appendfsync", "always").start();
    let store = crate::flow::store(&redis.url(), |_| {});
    let flow = Flow::start(&store);
    for _ in 0..5 {
        flow.until_more(1000);
        let size = size(&redis);
        flow.until_more(1000);
        go_back(&mut redis, size);
    }
    flow.until_more(1000);
    assert!(flow.end().is_empty());
}

#[test]
fn retained_messages_come_back_unless_somebody_has_retained_something_newer() {
    let mut scene = Scene::start(|config| {
        config.redis.back_off_ms = 3000;
        config.redis.back_off_max_ms = 3000;
    });
    let retain = |store: &dyn Store, topic: &str, text: &str| {
        let topic = Topic::new(topic).expect("a topic");
        let op = TopicOp::Retain { message: Some(suite::message(text, 10)) };
        let answer = suite::ask(store, vec![Step::Topic { realm: "default".into(), topic, op }]);
        assert!(answer[0].is_ok(), "{answer:?}");
    };
    let size = size(&scene.redis);
    retain(&*scene.store, "x", "first");
    retain(&*scene.store, "y", "first");
    retain(&*scene.store, "x", "second");
    go_back(&mut scene.redis, size);
    let mut config = scene.config.clone();
    (config.redis.back_off_ms, config.redis.back_off_max_ms) = (10, 100);
    let (other, heard) = node(&config, &scene.redis, "other");
    retain(&*other, "y", "newer");
    scene.wait_for_report();
    eventually("both retained messages", || {
        let retained = heard.retained.lock();
        let text = |topic: &str| retained.get(topic).map(|text| text.trim_end_matches('.').to_owned());
        (text("x").as_deref() == Some("second") && text("y").as_deref() == Some("newer")).then_some(())
    });
    assert_eq!(heard.retained.lock().len(), 2);
}

#[test]
fn what_a_dead_node_was_acknowledged_is_missed_by_who_has_heard_of_it() {
    let mut scene = Scene::start(|_| {});
    let (other, _) = node(&scene.config, &scene.redis, "two");
    scene.put_some("before");
    let size = size(&scene.redis);
    let put = |name: &str| {
        for turn in 0..SOME {
            scene.put(&*other, &format!("{name}{turn}")).expect("acknowledged");
        }
    };
    put("lost");
    let marks = other.marks().expect("a shared store has marks");
    suite::wait(other.leave());
    suite::wait(other.close());
    go_back(&mut scene.redis, size);
    scene.store.witness("nonsense");
    scene.store.witness(&marks);
    let report = scene.wait_for_report();
    assert!(report.lost_batches > 0, "{report:?}");
    assert_eq!(scene.texts(), all(&["before"]));
    // Told once: the shard is taken to know by now.
    scene.heard.shards.lock().clear();
    scene.store.witness(&marks);
    scene.put_some("after");
    assert_eq!(scene.texts(), all(&["before", "after"]));
    assert!(scene.heard.shards.lock().iter().all(|shard| shard.lost_batches == 0));
}
