//! The canary: one acknowledged message taken out of Redis by hand must be missed by the same traffic and checker.

use std::collections::HashMap;

use weir_testkit::{Fault, Redis, Traffic, eventually};

use super::{SOME, scene};

/// Takes one message of QoS 1 out of the queue of this client's session.
fn steal(redis: &Redis, client_id: &str) {
    let keys: Vec<String> = redis.ask(&["KEYS", &format!("*:queue:c:default:{client_id}")]);
    let [queue] = &keys[..] else { panic!("{keys:?} are not one queue") };
    eventually("a message to steal", || {
        let waiting: Vec<(String, HashMap<String, String>)> = redis.ask(&["XRANGE", queue, "-", "+"]);
        // Not the newest ones, which may not be acknowledged yet.
        let mut old = waiting.iter().rev().skip(SOME / 4);
        let (id, _) = old.find(|(_, fields)| fields.get("qos").is_some_and(|qos| qos == "1"))?;
        let stolen: i64 = redis.ask(&["XDEL", queue, id]);
        (stolen == 1).then_some(())
    });
}

#[test]
fn a_message_that_vanishes_from_redis_is_missed() {
    let scene = scene();
    let traffic = Traffic::of_all_kinds(&scene.cluster).start();
    traffic.wait_for(2 * SOME);
    steal(&scene.redis, "asleep-0");
    traffic.wait_for(SOME);
    let (history, faults) = traffic.finish(&scene.cluster);
    let is_caught = matches!(&faults[..], [Fault::Lost { receiver, .. }] if receiver == "asleep-0");
    assert!(is_caught, "{}", history.report(&faults));
}
