//! What groups keep and owe as others see it in Redis, and what becomes of it when the server fails or forgets.

use std::sync::Arc;

use weir_store::redis::stream_key;
use weir_store::suite::{Held, bytes};
use weir_store::{Outcome, PartitionOp, Refusal, Start, Store, suite};
use weir_testkit::{Redis, eventually};

use crate::flow::{recorder, repeated};
use crate::rollback::{go_back, size};
use crate::suite::{fresh, open};

/// A group that is held.
struct Scene {
    redis: Redis,
    store: Arc<dyn Store>,
    held: Held,
    /// Names the keys of the group, for one kind of them.
    stream: String,
}

impl Scene {
    fn start() -> Scene {
        recorder();
        let redis = Redis::build().set("appendfsync", "always").start();
        let config = fresh(suite::config("redis"));
        let store = open(&config, &redis.url(), suite::node("a", 1));
        suite::restore(&*store);
        let held = Held::of(&*store, "orders", "g");
        let stream = stream_key(&config.redis.key_prefix, config.redis.shards, &held.key);
        Scene { redis, store, held, stream }
    }

    fn key(&self, kind: &str) -> String {
        format!("{}:g", self.stream.replace(":stream:", &format!(":{kind}:")))
    }

    fn done(&self, ops: impl IntoIterator<Item = PartitionOp>) -> Vec<Outcome> {
        self.held.done(&*self.store, ops)
    }

    fn owed(&self) -> Vec<(u64, u64)> {
        self.held.owed(&*self.store, 0, 1000)
    }

    /// The place once more, when it is given again after a rollback.
    fn again(&mut self) {
        let acquire = PartitionOp::Acquire { group: self.held.group.clone(), start: Start::Earliest };
        let ask = || suite::ask_stream(&*self.store, &self.held.key, acquire.clone());
        self.held.fence = eventually("the place of the group", || match ask() {
            Ok(Outcome::Acquired { fence, .. }) => Some(fence),
            Ok(Outcome::Held { by: 0 }) => None,
            other => panic!("neither: {other:?}"),
        });
    }
}

#[test]
fn what_a_group_keeps_and_owes_is_read_with_the_means_of_redis() {
    let scene = Scene::start();
    let held = &scene.held;
    scene.done([held.keep("customer", "{}"), held.owe(1), held.owe(2), held.paid(1)]);
    let value: String = scene.redis.ask(&["HGET", &scene.key("kept"), "customer"]);
    assert_eq!(value, "{}");
    let entries: Vec<(String, Vec<String>)> = scene.redis.ask(&["XRANGE", &scene.key("owed"), "-", "+"]);
    let fields = ["id", "7.1.2", "topic", "t", "payload", "2.................."].map(str::to_owned);
    assert_eq!(entries, [("2-0".to_owned(), fields.to_vec())]);
    scene.done([held.paid(2), held.forget("customer")]);
    for kind in ["kept", "kept_keys", "owed", "owed_ids"] {
        assert_eq!(scene.redis.ask::<u64>(&["EXISTS", &scene.key(kind)]), 0, "{kind}");
    }
    scene.done([held.keep("a", "1"), held.owe(3)]);
    suite::ask_stream(&*scene.store, &held.key, PartitionOp::Drop).unwrap();
    for kind in ["kept", "kept_keys", "owed", "owed_ids"] {
        assert_eq!(scene.redis.ask::<u64>(&["EXISTS", &scene.key(kind)]), 0, "{kind}");
    }
    let effects = format!("{}:effects", scene.stream.split(":stream:").next().unwrap());
    assert_eq!(scene.redis.ask::<u64>(&["EXISTS", &effects]), 0);
}

#[test]
fn a_handler_on_a_full_server_can_forget_and_pay_and_nothing_more() {
    let scene = Scene::start();
    let held = &scene.held;
    scene.done([held.keep("a", "1"), held.keep("b", "1"), held.owe(1), held.owe(2)]);
    scene.redis.config_set("maxmemory", "1");
    for op in [held.keep("a", "2"), held.owe(3)] {
        assert_eq!(held.ask(&*scene.store, [held.commit(2), op]), Err(Refusal::StoreFull));
    }
    scene.done([held.commit(3), held.forget("a"), held.paid(1)]);
    let place = held.place(&*scene.store).unwrap();
    assert_eq!((place.progress.low.number, place.kept, place.owed), (3, 1, 1));
    scene.redis.config_set("maxmemory", "0");
    eventually("room for another entry", || held.ask(&*scene.store, [held.owe(3)]).ok());
    assert_eq!(scene.owed(), [(2, 2), (3, 3)]);
}

#[test]
fn a_handler_s_batch_whose_answer_is_lost_is_done_once() {
    let scene = Scene::start();
    let (held, mut number) = (&scene.held, 0);
    let before = repeated();
    eventually("an answer to be lost", || {
        std::thread::scope(|scope| {
            let cuts = scope.spawn(|| (0..20).for_each(|_| scene.redis.client_kill_all()));
            while !cuts.is_finished() {
                number += 1;
                let ops = [held.commit(number), held.keep("last", &number.to_string()), held.owe(number)];
                assert_eq!(scene.done(ops)[2], Outcome::Owed { entry: number });
            }
        });
        (repeated() > before + 2).then_some(())
    });
    let place = held.place(&*scene.store).unwrap();
    assert_eq!((place.progress.low.number, place.owed), (number, number));
    assert_eq!(held.value(&*scene.store, "last"), Some(number.to_string()));
    let found = held.owed(&*scene.store, 0, usize::from(u16::MAX));
    assert_eq!(found, (1..=number).map(|n| (n, n)).collect::<Vec<_>>());
}

#[test]
fn what_a_handler_committed_and_the_server_forgot_is_there_again_and_once() {
    let mut scene = Scene::start();
    let held = &scene.held;
    scene.done([held.commit(1), held.keep("a", "1"), held.owe(1), held.owe(2)]);
    let size = size(&scene.redis);
    scene.done([held.commit(2), held.keep("a", "2"), held.keep("b", "1"), held.owe(3)]);
    scene.done([held.commit(3), held.forget("b"), held.owe(4), held.paid(1)]);
    scene.done([held.paid(3)]);
    assert_eq!(scene.owed(), [(4, 4)]);
    go_back(&mut scene.redis, size);
    suite::append(&*scene.store, &scene.held.key, suite::record("a"));
    let held = &scene.held;
    // Others may have lost what was published: it is owed again, under the numbers and ids that it had.
    assert_eq!(scene.owed(), [(1, 1), (2, 2), (3, 3), (4, 4)]);
    assert_eq!(held.values(&*scene.store), [(bytes("a"), bytes("2"))]);
    assert_eq!(held.place(&*scene.store).unwrap().progress.low.number, 3);
    for op in [held.keep("a", "late"), held.owe(5), held.paid(4)] {
        assert_eq!(held.ask(&*scene.store, [op]), Err(Refusal::Fenced), "a fence from before");
    }
    scene.again();
    let held = &scene.held;
    let outcomes = scene.done([held.owe(4), held.owe(5), held.owe(6)]);
    assert_eq!(outcomes[0], Outcome::Owed { entry: 4 }, "it is owed already");
    let [Outcome::Owed { entry: one }, Outcome::Owed { entry: two }] = outcomes[1..] else {
        panic!("not owed: {outcomes:?}")
    };
    assert!(one > 1000 && two == one + 1, "{one} may have been given before");
    scene.done([held.paid(4)]);
    assert_eq!(scene.owed(), [(one, 5), (two, 6)]);
}

#[test]
fn what_cannot_be_done_again_takes_nothing_else_from_an_outbox() {
    let mut scene = Scene::start();
    let size = size(&scene.redis);
    // The fence that all of this is under is not known any more.
    scene.again();
    let held = &scene.held;
    scene.done([held.commit(1), held.keep("a", "1"), held.owe(1)]);
    scene.done([held.paid(1), held.owe(2)]);
    go_back(&mut scene.redis, size);
    suite::append(&*scene.store, &scene.held.key, suite::record("a"));
    assert_eq!((scene.owed(), scene.held.counts(&*scene.store)), (vec![], (0, 0)));
    scene.again();
    let held = &scene.held;
    let outcomes = scene.done([held.commit(1), held.keep("a", "1"), held.owe(1)]);
    let Outcome::Owed { entry } = outcomes[2] else { panic!("not owed: {outcomes:?}") };
    assert!(entry > 2, "it was given before");
    assert_eq!((scene.owed(), scene.held.counts(&*scene.store)), (vec![(entry, 1)], (1, 1)));
}
