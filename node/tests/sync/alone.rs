//! One node.

use weir_testkit::{Node, eventually};
use weir_wire::mqtt::{Publish, ReasonCode};

use crate::client::{Client, Event, LOCK};

const PROGRAM: &str = env!("CARGO_BIN_EXE_weir");

fn node() -> Node {
    Node::of(PROGRAM).listen("mqtt").listen("http").start()
}

fn event(topic: &str, payload: &str) -> Event {
    Event { topic: topic.into(), payload: payload.into(), retain: false }
}

fn when(condition: &str) -> [(&str, &str); 1] {
    [("weir-when", condition)]
}

#[test]
fn a_publish_whose_condition_is_not_met_is_refused_and_seen_by_nobody() {
    let node = node();
    let at = node.address("mqtt");
    let (mut one, mut watcher) = (Client::clean(at, "one"), Client::clean(at, "watcher"));
    watcher.subscribe("state");
    let first = one.publish("state", r#"{"owner":"one"}"#, &when("null"));
    assert!(first.is_accepted(), "{first:?}");
    let refused = one.publish("state", r#"{"owner":"two"}"#, &when("null"));
    assert_eq!(
        (refused.code, refused.reason.as_deref()),
        (ReasonCode::ImplementationSpecificError, Some("when"))
    );
    let second = one.publish("state", r#"{"owner":"three"}"#, &when(r#"{"owner":"one"}"#));
    assert!(second.token() > first.token());
    assert_eq!(watcher.event(), event("state", r#"{"owner":"one"}"#));
    assert_eq!(watcher.event(), event("state", r#"{"owner":"three"}"#));
    let text = one.publish("text", "open", &when("null"));
    assert!(text.is_accepted());
    assert!(!one.publish("text", "x", &when(r#"{"a":1}"#)).is_accepted(), "a body that is no JSON");
    assert!(one.publish("text", "closed", &when(r#""open""#)).is_accepted());
    drop((one, watcher));
    eventually("a balanced ledger", || (node.metrics().sum("weir_broker_guards") == 0.0).then_some(()));
    node.balanced();
}

#[test]
fn who_waits_for_a_lock_gets_it_in_turn_whether_it_is_given_back_or_its_holder_goes() {
    let node = node();
    let at = node.address("mqtt");
    let mut watcher = Client::clean(at, "watcher");
    watcher.subscribe("lock");
    let mut clients: Vec<Client> = (0..4).map(|n| Client::clean(at, &format!("c{n}"))).collect();
    let held = clients[0].publish("lock", "c0", LOCK);
    let mut asked = Vec::new();
    for (n, client) in clients.iter_mut().enumerate().skip(1) {
        asked.push(client.send("lock", &format!("c{n}"), LOCK));
        eventually("it waits", || (node.metrics().sum("weir_broker_waiters") == n as f64).then_some(()));
        assert!(client.has_no_answer());
    }
    assert_eq!(watcher.event(), event("lock", "c0"));
    // Given back.
    assert!(clients[0].publish("lock", "", &[]).is_accepted());
    let second = clients[1].answer_to(asked[0]);
    assert!(second.token() > held.token());
    assert_eq!((watcher.event(), watcher.event()), (event("lock", ""), event("lock", "c1")));
    // Its holder says goodbye.
    let third = clients.remove(3);
    clients.remove(1).disconnect();
    let next = clients[1].answer_to(asked[1]);
    assert!(next.token() > second.token());
    assert_eq!((watcher.event(), watcher.event()), (event("lock", ""), event("lock", "c2")));
    // Who waits and goes leaves the line; the holder is cut off.
    drop(third);
    eventually("nobody waits", || (node.metrics().sum("weir_broker_waiters") == 0.0).then_some(()));
    drop(clients);
    assert_eq!(watcher.event(), event("lock", ""));
    eventually("nothing is left", || (node.metrics().sum("weir_broker_guards") == 0.0).then_some(()));
    drop(watcher);
    node.balanced();
}

#[test]
fn a_publish_that_waits_does_not_hold_up_those_behind_it() {
    let node = node();
    let at = node.address("mqtt");
    let (mut holder, mut other) = (Client::clean(at, "holder"), Client::clean(at, "other"));
    holder.publish("lock", "holder", LOCK);
    let waits = other.send("lock", "other", LOCK);
    assert!(other.publish("elsewhere", "x", &[]).is_accepted());
    assert!(other.publish("free", "x", &when("null")).is_accepted());
    assert!(other.has_no_answer());
    holder.disconnect();
    assert!(other.answer_to(waits).is_accepted());
}

#[test]
fn another_write_clears_a_will() {
    let node = node();
    let at = node.address("mqtt");
    let (mut one, mut two) = (Client::clean(at, "one"), Client::clean(at, "two"));
    assert!(one.publish("presence", r#""here""#, &[("weir-will", r#""gone""#)]).is_accepted());
    assert!(two.publish("presence", r#""kept""#, &[]).is_accepted());
    one.disconnect();
    let mut late = Client::clean(at, "late");
    late.subscribe("presence");
    assert_eq!(late.event().payload, r#""kept""#);
    assert!(two.publish("presence", r#""here""#, &[("weir-will", r#""gone""#)]).is_accepted());
    assert_eq!(late.event().payload, r#""here""#);
    drop(two);
    assert_eq!(late.event().payload, r#""gone""#);
}

#[test]
fn the_will_of_one_grants_the_next_whose_will_grants_the_next() {
    let node = node();
    let at = node.address("mqtt");
    let mut clients: Vec<Client> = (0..5).map(|n| Client::clean(at, &format!("c{n}"))).collect();
    let ask = |n: usize| {
        let (is, becomes) = (format!("{{\"at\":{n}}}"), format!("{{\"at\":{}}}", n + 1));
        (is, becomes)
    };
    assert!(clients[0].publish("chain", r#"{"at":"on"}"#, &[("weir-will", r#"{"at":1}"#)]).is_accepted());
    let mut asked = vec![0];
    for (n, client) in clients.iter_mut().enumerate().skip(1) {
        let (is, becomes) = ask(n);
        let user = [("weir-when", &*is), ("weir-watch", "true"), ("weir-will", &*becomes)];
        asked.push(client.send("chain", r#"{"at":"on"}"#, &user));
        eventually("it waits", || (node.metrics().sum("weir_broker_waiters") == n as f64).then_some(()));
    }
    for asked in &asked[1..] {
        clients.remove(0).disconnect();
        assert!(clients[0].answer_to(*asked).is_accepted(), "{asked}");
    }
}

#[test]
fn a_repeat_keeps_its_place_and_is_answered_as_the_first_time() {
    let node = node();
    let at = node.address("mqtt");
    let mut holder = Client::clean(at, "holder");
    holder.publish("lock", "holder", LOCK);
    let mut kept = Client::kept(at, "kept");
    kept.send_as(1, false, ("lock", "kept"), LOCK);
    eventually("it waits", || (node.metrics().sum("weir_broker_waiters") == 1.0).then_some(()));
    let mut behind = Client::clean(at, "behind");
    let last = behind.send("lock", "behind", LOCK);
    eventually("both wait", || (node.metrics().sum("weir_broker_waiters") == 2.0).then_some(()));
    drop(kept);
    let mut kept = Client::kept(at, "kept");
    assert!(kept.session_present);
    kept.send_as(1, true, ("lock", "kept"), LOCK);
    assert!(kept.has_no_answer());
    holder.disconnect();
    let granted = kept.answer_to(1);
    drop(kept);
    let mut kept = Client::kept(at, "kept");
    kept.send_as(1, true, ("lock", "kept"), LOCK);
    assert_eq!(kept.answer_to(1).token(), granted.token(), "the first answer once more");
    assert!(behind.has_no_answer());
    kept.send_as(1, false, ("lock", ""), &[]);
    assert!(kept.answer_to(1).is_accepted());
    assert!(behind.answer_to(last).token() > granted.token());
}

#[test]
fn a_publish_under_an_idempotency_key_is_granted_once_from_whatever_connection() {
    let node = node();
    let at = node.address("mqtt");
    let user = [("weir-when", "null"), ("weir-idempotency-key", "k1")];
    let first = Client::clean(at, "one").publish("leader", "one", &user);
    let again = Client::clean(at, "one").publish("leader", "one", &user);
    assert_eq!((first.token(), again.is_accepted()), (again.token(), true));
    let other = [("weir-when", "null"), ("weir-idempotency-key", "k2")];
    assert!(!Client::clean(at, "one").publish("leader", "one", &other).is_accepted());
}

#[test]
fn who_waits_for_what_never_comes_is_refused_in_the_end_and_many_are_refused_at_once() {
    let node = Node::of(PROGRAM)
        .listen("mqtt")
        .listen("http")
        .set("broker.watch_seconds_max", 1)
        .set("broker.waiters_per_topic_max", 3)
        .set("broker.waiters_per_session_max", 2)
        .start();
    let at = node.address("mqtt");
    let never = [("weir-when", r#"{"never":1}"#), ("weir-watch", "true")];
    let mut clients: Vec<Client> = (0..4).map(|n| Client::clean(at, &format!("c{n}"))).collect();
    let asked: Vec<u16> = clients.iter_mut().map(|client| client.send("never", "x", &never)).collect();
    let answers: Vec<_> =
        clients.iter_mut().zip(asked).map(|(client, id)| client.answer_to(id).code).collect();
    let count = |code| answers.iter().filter(|known| **known == code).count();
    assert_eq!(count(ReasonCode::QuotaExceeded), 1, "{answers:?}");
    assert_eq!(count(ReasonCode::ImplementationSpecificError), 3, "{answers:?}");
    let ids: Vec<u16> = (0..3).map(|n| clients[0].send(&format!("never/{n}"), "x", &never)).collect();
    assert_eq!(clients[0].answer_to(ids[2]).code, ReasonCode::QuotaExceeded);
    assert_eq!(clients[0].answer_to(ids[0]).code, ReasonCode::ImplementationSpecificError);
    drop(clients);
    eventually("nothing is left", || (node.metrics().sum("weir_broker_guards") == 0.0).then_some(()));
    node.balanced();
}

#[test]
fn what_is_no_condition_is_refused_with_the_reason_and_does_nothing() {
    let node = node();
    let at = node.address("mqtt");
    let mut client = Client::clean(at, "c");
    let deep = "[".repeat(40) + &"]".repeat(40);
    for (user, named) in [
        (vec![("weir-when", "{")], "weir-when"),
        (vec![("weir-when", &*deep)], "weir-when"),
        (vec![("weir-when", "1"), ("weir-when", "1")], "weir-when"),
        (vec![("weir-watch", "maybe")], "weir-watch"),
        (vec![("weir-will", "gone")], "weir-will"),
        (vec![("weir-watch", "true")], "conditions"),
    ] {
        let refused = client.publish("t", "x", &user);
        assert_eq!(refused.code, ReasonCode::ImplementationSpecificError);
        let reason = refused.reason.expect("a reason");
        assert!(reason.starts_with(named), "{user:?}: {reason}");
    }
    let qos0 = Publish { retain: true, ..Publish::new("t", b"x") };
    let user = [("weir-when", "null")];
    let properties = weir_wire::mqtt::MessageProperties {
        user: weir_wire::mqtt::List::of(&user),
        ..weir_wire::mqtt::MessageProperties::default()
    };
    client.send_packet(&Publish { properties, ..qos0 });
    client.ping();
    assert!(client.publish("t", "x", &when("null")).is_accepted(), "nothing of it was retained");
}

#[test]
fn locks_of_kept_sessions_and_their_line_outlive_the_node_and_clean_ones_end_with_it() {
    let mut node = node();
    let mut kept = Client::kept(node.address("mqtt"), "kept");
    assert!(kept.publish("lock/kept", "kept", LOCK).is_accepted());
    let mut clean = Client::clean(node.address("mqtt"), "clean");
    assert!(clean.publish("lock/clean", "clean", LOCK).is_accepted());
    kept.send_as(7, false, ("lock/clean", "kept"), LOCK);
    eventually("it waits", || (node.metrics().sum("weir_broker_waiters") == 1.0).then_some(()));
    node.kill9();
    let node = node.restart();
    let mut kept = Client::kept(node.address("mqtt"), "kept");
    kept.send_as(7, true, ("lock/clean", "kept"), LOCK);
    assert!(kept.answer_to(7).is_accepted());
    let mut other = Client::clean(node.address("mqtt"), "other");
    assert!(!other.publish("lock/kept", "other", &when("null")).is_accepted());
}

#[test]
fn a_realm_that_merges_keeps_what_each_has_said_and_shows_what_it_keeps() {
    let node = Node::of(PROGRAM)
        .listen("mqtt")
        .listen("http")
        .env("WEIR__BROKER__REALM", r#"[{ name = "default", retained = "merge" }]"#)
        .start();
    let at = node.address("mqtt");
    let (mut one, mut watcher) = (Client::clean(at, "one"), Client::clean(at, "watcher"));
    watcher.subscribe("twin");
    assert!(one.publish("twin", r#"{"x":1,"n":{"p":1}}"#, &[]).is_accepted());
    assert!(one.publish("twin", r#"{"y":2,"n":{"q":2}}"#, &[]).is_accepted());
    let merged = r#"{"n":{"p":1,"q":2},"x":1,"y":2}"#;
    assert_eq!(watcher.event().payload, r#"{"x":1,"n":{"p":1}}"#);
    let sorted = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    assert_eq!(sorted(&watcher.event().payload), sorted(merged));
    let mut late = Client::clean(at, "late");
    late.subscribe("twin");
    assert_eq!(sorted(&late.event().payload), sorted(merged));
    assert!(one.publish("twin", "", &[]).is_accepted());
    assert!(one.publish("twin", r#"{"z":1}"#, &when("null")).is_accepted());
}
