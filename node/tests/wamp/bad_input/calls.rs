//! Calls that are answered by nobody, by the wrong one, too often or too late.

use serde_json::Value;
use weir_testkit::Node;

use crate::raw::{Client, second_id};
use crate::script;

const CALLER: &str = r#"[1,"default",{"roles":{"caller":{"features":{"call_canceling":true,"progressive_call_results":true}}}}]"#;
const CALLEE: &str = r#"[1,"default",{"roles":{"callee":{"features":{"call_canceling":true,"progressive_call_results":true}}}}]"#;

fn client(node: &Node, hello: &str) -> Client {
    let mut client = Client::open(node);
    assert!(client.ask(hello).starts_with("[2,"));
    client
}

/// A callee that has registered this.
fn callee(node: &Node, procedure: &str) -> Client {
    let mut callee = client(node, CALLEE);
    let answer = callee.ask(&format!("[64,1,{{}},\"{procedure}\"]"));
    assert!(answer.starts_with("[65,1,"), "{answer}");
    callee
}

/// The id of the invocation that comes next.
fn invoked(callee: &mut Client) -> u64 {
    let invocation = callee.hear();
    let parts: Value = serde_json::from_str(&invocation).expect("JSON");
    assert_eq!(parts[0], 68, "{invocation}");
    parts[1].as_u64().expect("an id")
}

fn ignored(node: &Node) -> f64 {
    node.metrics().sum("weir_broker_call_answers_ignored_total")
}

#[test]
fn what_others_were_asked_can_be_answered_by_nobody_else() {
    let node = script::node();
    let (mut caller, mut callee) = (client(&node, CALLER), callee(&node, "p"));
    // It has been asked something itself, so that its ids are like the other's.
    let mut thief = self::callee(&node, "q");
    caller.say("[48,1,{},\"q\"]");
    let own = invoked(&mut thief);
    caller.say("[48,2,{},\"p\"]");
    let id = invoked(&mut callee);
    let before = ignored(&node);
    let mut tries = 0.0;
    for stolen in (1..=id.max(own) + 3).filter(|stolen| *stolen != own) {
        thief.say(&format!("[70,{stolen},{{}},[\"stolen\"]]"));
        thief.say(&format!("[70,{stolen},{{\"progress\":true}},[\"stolen\"]]"));
        thief.say(&format!("[8,68,{stolen},{{}},\"stolen.error\"]"));
        tries += 3.0;
    }
    // Behind them, so that they have been looked at.
    assert!(thief.ask("[32,9,{},\"a\"]").starts_with("[33,9,"));
    callee.say(&format!("[70,{id},{{}},[\"mine\"]]"));
    assert_eq!(caller.hear(), "[50,2,{},[\"mine\"]]");
    thief.say(&format!("[70,{own},{{}},[\"its own\"]]"));
    assert_eq!(caller.hear(), "[50,1,{},[\"its own\"]]");
    assert_eq!(ignored(&node), before + tries);
}

#[test]
fn what_is_over_can_be_answered_and_canceled_without_effect() {
    let node = script::node();
    let (mut caller, mut callee) = (client(&node, CALLER), callee(&node, "p"));
    caller.say("[48,1,{},\"p\"]");
    let id = invoked(&mut callee);
    callee.say(&format!("[70,{id},{{}},[1]]"));
    assert_eq!(caller.hear(), "[50,1,{},[1]]");
    for again in ["[70,ID,{},[2]]", "[8,68,ID,{},\"a.b\"]", "[70,ID,{\"progress\":true},[3]]"] {
        callee.say(&again.replace("ID", &id.to_string()));
    }
    for mode in ["skip", "kill", "killnowait"] {
        caller.say(&format!("[49,1,{{\"mode\":\"{mode}\"}}]"));
        caller.say(&format!("[49,77,{{\"mode\":\"{mode}\"}}]"));
    }
    caller.say("[48,2,{},\"p\"]");
    let id = invoked(&mut callee);
    caller.say("[49,2,{\"mode\":\"skip\"}]");
    assert!(caller.hear().starts_with("[8,48,2,{},\"wamp.error.canceled\""));
    // Too late.
    callee.say(&format!("[70,{id},{{}},[4]]"));
    caller.say("[48,3,{},\"p\"]");
    let id = invoked(&mut callee);
    callee.say(&format!("[70,{id},{{}},[5]]"));
    assert_eq!(caller.hear(), "[50,3,{},[5]]");
    assert_eq!(ignored(&node), 4.0);
}

#[test]
fn an_id_of_a_call_that_waits_is_not_to_be_used_again() {
    let node = script::node();
    let (mut caller, mut callee) = (client(&node, CALLER), callee(&node, "p"));
    caller.say("[48,1,{},\"p\"]");
    invoked(&mut callee);
    let answer = caller.ask("[48,1,{},\"p\"]");
    assert!(answer.starts_with("[3,") && answer.contains("protocol_violation"), "{answer}");
    assert!(callee.hear().starts_with("[69,"), "the callee is interrupted");
}

#[test]
fn a_flood_of_calls_that_nobody_answers_is_bounded_and_each_ends_once() {
    let node = Node::of(env!("CARGO_BIN_EXE_weir")).listen("wamp").listen("http");
    let node = node.set("broker.calls.calls_max", 1000).start();
    let (mut caller, mut callee) = (client(&node, CALLER), callee(&node, "never"));
    let mut witness = client(&node, CALLER);
    let mut speaks = caller.twin();
    let speaker = std::thread::spawn(move || {
        for request in 1..=5000 {
            speaks.say(&format!("[48,{request},{{}},\"never\",[\"{}\"]]", "x".repeat(100)));
        }
    });
    let mut ended = vec![0; 5001];
    let mut end = |answer: &str, error: &str| {
        let parts: Value = serde_json::from_str(answer).expect("JSON");
        assert_eq!((&parts[0], &parts[1]), (&8.into(), &48.into()), "{answer}");
        assert_eq!(parts[4], error, "{answer}");
        ended[parts[2].as_u64().expect("an id") as usize] += 1;
    };
    for _ in 0..4000 {
        end(&caller.hear(), "wamp.error.unavailable");
    }
    speaker.join().expect("it has said all");
    for _ in 0..1000 {
        invoked(&mut callee);
    }
    assert!(witness.ask("[48,1,{},\"wamp.session.count\"]").starts_with("[50,1,"));
    drop(callee);
    for _ in 0..1000 {
        end(&caller.hear(), "wamp.error.canceled");
    }
    assert!(ended[1..].iter().all(|ends| *ends == 1));
    assert_eq!(node.metrics().value("weir_broker_calls_refused_total"), 4000.0);
}

#[test]
fn a_callee_that_never_answers_is_interrupted_when_the_time_is_over() {
    let node = Node::of(env!("CARGO_BIN_EXE_weir")).listen("wamp").listen("http");
    let node = node.set("broker.calls.timeout_max_ms", 300).start();
    let (mut caller, mut callee) = (client(&node, CALLER), callee(&node, "never"));
    // Without a timeout of its own, and with one beyond what is allowed.
    for (request, options) in [(1, "{}"), (2, "{\"timeout\":9007199254740992}")] {
        caller.say(&format!("[48,{request},{options},\"never\"]"));
        let id = invoked(&mut callee);
        assert!(caller.hear().starts_with(&format!("[8,48,{request},{{}},\"wamp.error.timeout\"")));
        assert!(callee.hear().starts_with(&format!("[69,{id},")));
    }
    assert_eq!(node.metrics().value("weir_broker_call_timeouts_total"), 2.0);
}

#[test]
fn progress_for_a_caller_that_does_not_read_is_dropped_and_its_result_is_not() {
    const PARTS: u64 = 40_000;
    let node = Node::of(env!("CARGO_BIN_EXE_weir")).listen("wamp").listen("http");
    let node = node.set("broker.calls.mailbox_bytes_max", 1 << 20).start();
    let (mut caller, mut callee) = (client(&node, CALLER), callee(&node, "long"));
    caller.say("[48,1,{\"receive_progress\":true},\"long\"]");
    let id = invoked(&mut callee);
    let part = format!("[70,{id},{{\"progress\":true}},[\"{}\"]]", "x".repeat(1000));
    let before = node.resident_bytes();
    for _ in 0..PARTS {
        callee.say(&part);
    }
    assert!(callee.ask("[32,2,{},\"a\"]").starts_with("[33,2,"), "the flood has been taken");
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 30 << 20, "{grown} bytes for a caller that does not read");
    callee.say(&format!("[70,{id},{{}},[\"done\"]]"));
    let mut parts = 0;
    loop {
        let answer = caller.hear();
        if answer.starts_with("[50,1,{},") {
            assert_eq!(answer, "[50,1,{},[\"done\"]]");
            break;
        }
        assert!(answer.starts_with("[50,1,{\"progress\":true},"), "{answer}");
        parts += 1;
    }
    let dropped = node.metrics().value("weir_broker_call_progress_dropped_total");
    assert!(dropped > 0.0 && dropped as u64 + parts == PARTS, "{dropped} dropped, {parts} came");
}

#[test]
fn registrations_end_with_what_a_session_may_have() {
    let node = Node::of(env!("CARGO_BIN_EXE_weir")).listen("wamp").listen("http");
    let node = node.set("broker.calls.registrations_max", 10).start();
    let mut callee = client(&node, CALLEE);
    let mut first = 0;
    for request in 1..=20 {
        let answer = callee.ask(&format!("[64,{request},{{}},\"p.n{request}\"]"));
        if request == 1 {
            first = second_id(&answer);
        }
        let wanted = if request <= 10 { format!("[65,{request},") } else { format!("[8,64,{request},") };
        assert!(answer.starts_with(&wanted), "{answer}");
    }
    assert_eq!(callee.ask(&format!("[66,30,{first}]")), "[67,30]");
    let again = callee.ask(&format!("[66,31,{first}]"));
    assert!(again.contains("wamp.error.no_such_registration"), "{again}");
    assert!(callee.ask("[64,32,{},\"p.again\"]").starts_with("[65,32,"));
    for (request, procedure) in
        [(33, "a b"), (34, "a..b"), (35, ""), (36, "wamp.mine"), (37, "$SYS.x"), (38, "a#")]
    {
        let answer = callee.ask(&format!("[64,{request},{{}},\"{procedure}\"]"));
        assert!(answer.starts_with(&format!("[8,64,{request},{{}},\"wamp.error.invalid_uri\"")), "{answer}");
    }
}
