//! Redis comes back without what it had acknowledged of a lock.

use std::path::PathBuf;

use weir_testkit::{Cluster, Redis, eventually};

use crate::client::{Answer, Client, LOCK};

const PROGRAM: &str = env!("CARGO_BIN_EXE_weir");

/// Asks for the lock without waiting for it. All sessions begin before the point that Redis goes back to: those it has
/// forgotten are ended.
const TRY: &[(&str, &str)] = &[("weir-when", "null"), ("weir-will", "null")];

struct Scene {
    cluster: Cluster,
    redis: Redis,
}

fn scene(replay_window_ms: u64) -> Scene {
    let redis = Redis::build().set("appendfsync", "always").start();
    let cluster = Cluster::of(PROGRAM, &redis.url());
    let cluster = cluster.each(move |_, node| node.set("store.redis.replay_window_ms", replay_window_ms));
    Scene { cluster: cluster.start(), redis }
}

impl Scene {
    fn client(&self, node: usize, name: &str) -> Client {
        Client::clean(self.cluster.node(node).address("mqtt"), name)
    }

    fn file(&self) -> PathBuf {
        let files = std::fs::read_dir(self.redis.directory().join("appendonlydir")).expect("files");
        let mut files = files.map(|file| file.expect("a file").path());
        files.find(|path| path.to_string_lossy().ends_with(".incr.aof")).expect("the file that grows")
    }

    fn size(&self) -> u64 {
        std::fs::metadata(self.file()).expect("a file").len()
    }

    /// Redis forgets what was written after its file was of this size.
    fn go_back(&mut self, size: u64) {
        self.redis.kill9();
        let file = std::fs::OpenOptions::new().write(true).open(self.file()).expect("a file");
        file.set_len(size).expect("cut");
        self.redis.restart();
        self.cluster.wait_until_whole();
    }

    fn sum(&self, metric: &str) -> f64 {
        self.cluster.running().map(|node| node.metrics().sum(metric)).sum()
    }

    /// What the lock's topic retains, as the node of the second one knows it.
    fn held(&self) -> Option<String> {
        let mut looks = Client::connect(self.cluster.node(1).address("mqtt"), "looks", false)?;
        looks.subscribe("lock");
        let held = looks.event();
        looks.disconnect();
        Some(held.payload)
    }

    fn waiters(&self) -> f64 {
        self.cluster.node(0).metrics().sum("weir_broker_waiters")
    }
}

/// For a moment after a rollback nothing is taken.
fn until_taken(client: &mut Client, payload: &str, user: &[(&str, &str)]) -> Answer {
    eventually("it is decided", || {
        let answer = client.publish("lock", payload, user);
        (answer.is_accepted() || answer.reason.as_deref() == Some("when")).then_some(answer)
    })
}

#[test]
fn a_grant_that_redis_has_forgotten_is_put_back_before_anybody_else_is_granted() {
    let mut scene = scene(60_000);
    let mut third = scene.client(2, "third");
    let (mut first, mut second) = (scene.client(0, "first"), scene.client(1, "second"));
    assert!(first.publish("lock", "first", LOCK).is_accepted());
    let size = scene.size();
    let asked = second.send("lock", "second", LOCK);
    eventually("it waits", || (scene.waiters() == 1.0).then_some(()));
    assert!(first.publish("lock", "", &[]).is_accepted());
    let granted = second.answer_to(asked);
    assert!(granted.is_accepted(), "{granted:?}");
    scene.go_back(size);
    // Each node puts back its part: what comes in between may be overtaken by the rest (redis.md).
    eventually("all of it is put back", || (scene.held()? == "second").then_some(()));
    let refused = until_taken(&mut third, "third", TRY);
    assert!(!refused.is_accepted(), "the second one still has it: {refused:?}");
    assert!(until_taken(&mut second, "", &[]).is_accepted());
    let next = until_taken(&mut third, "third", TRY);
    assert!(next.is_accepted() && next.token() > granted.token(), "{next:?} after {granted:?}");
}

#[test]
fn who_is_granted_a_lock_after_its_grant_was_lost_has_the_higher_token_and_keeps_it() {
    let mut scene = scene(0);
    let [mut old, mut new, mut third] =
        [(0, "old"), (1, "new"), (2, "third")].map(|(node, name)| scene.client(node, name));
    let size = scene.size();
    let lost = old.publish("lock", "old", LOCK);
    assert!(lost.is_accepted());
    scene.go_back(size);
    eventually("the loss to be counted", || {
        (scene.sum("weir_store_redis_rollback_lost_total") >= 1.0).then_some(())
    });
    let granted = until_taken(&mut new, "new", LOCK);
    assert!(granted.is_accepted() && granted.token() > lost.token(), "{granted:?} after {lost:?}");
    // What the old holder leaves behind is nothing to the new one.
    old.disconnect();
    assert!(!until_taken(&mut third, "third", TRY).is_accepted());
    let asked = third.send("lock", "third", LOCK);
    eventually("it waits", || (scene.waiters() == 1.0).then_some(()));
    assert!(new.publish("lock", "", &[]).is_accepted());
    assert!(third.answer_to(asked).token() > granted.token());
}

#[test]
fn a_lock_whose_last_steps_are_lost_for_good_can_be_taken_again() {
    let mut scene = scene(0);
    let mut third = scene.client(2, "third");
    let (mut first, mut second) = (scene.client(0, "first"), scene.client(1, "second"));
    let held = first.publish("lock", "first", LOCK);
    let asked = second.send("lock", "second", LOCK);
    eventually("it waits", || (scene.waiters() == 1.0).then_some(()));
    let size = scene.size();
    assert!(first.publish("lock", "", &[]).is_accepted());
    let granted = second.answer_to(asked);
    assert!(granted.token() > held.token(), "{granted:?} after {held:?}");
    scene.go_back(size);
    eventually("the loss to be counted", || {
        (scene.sum("weir_store_redis_rollback_lost_total") >= 1.0).then_some(())
    });
    // As far as the store knows the first one has it again; it goes, and so does everybody else.
    first.disconnect();
    second.disconnect();
    let next = until_taken(&mut third, "third", LOCK);
    assert!(next.token() > granted.token());
}
