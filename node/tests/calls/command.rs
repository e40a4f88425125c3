//! `weir wamp` against one node.

use serde_json::json;
use weir_testkit::Node;

use crate::scene::{Callee, PROGRAM, call};

fn node() -> Node {
    Node::of(PROGRAM).listen("http").start()
}

#[test]
fn a_call_is_answered_by_who_has_registered() {
    let node = node();
    let mut callee = Callee::register(&node, &["app.add", "--result", "7"]);
    let ended = call(&node, &["app.add", "3", "4", "--kwarg", "note=\"sum\""]);
    assert_eq!((ended.code, ended.output.trim()), (Some(0), "7"), "{ended:?}");
    let told = json!({ "args": [3, 4], "kwargs": { "note": "sum" } });
    assert_eq!(callee.called()["call"], told);
}

#[test]
fn arguments_come_back_as_they_went() {
    let node = node();
    let _callee = Callee::register(&node, &["app.echo"]);
    let ended = call(&node, &["app.echo", "[1, 2.5, null, \"text\"]", "{\"deep\": {\"er\": true}}"]);
    let echoed: serde_json::Value = serde_json::from_str(&ended.output).expect("a line of JSON");
    let whole = json!({ "args": [[1, 2.5, null, "text"], { "deep": { "er": true } }] });
    assert_eq!(echoed, whole, "{ended:?}");
}

#[test]
fn a_procedure_that_nobody_has_is_exit_code_6() {
    let node = node();
    let ended = call(&node, &["app.missing"]);
    assert_eq!(ended.code, Some(6), "{ended:?}");
    assert!(ended.errors.contains("wamp.error.no_such_procedure"), "{ended:?}");
}

#[test]
fn a_registration_ends_with_its_callee() {
    let node = node();
    drop(Callee::register(&node, &["app.brief"]));
    let gone = || call(&node, &["app.brief"]).code == Some(6);
    weir_testkit::eventually("the registration is gone", || gone().then_some(()));
    let _second = Callee::register(&node, &["app.brief", "--result", "1"]);
    assert_eq!(call(&node, &["app.brief"]).output.trim(), "1");
}

#[test]
fn a_pattern_is_told_which_procedure_was_called() {
    let node = node();
    let mut callee = Callee::register(&node, &["app.", "--match", "prefix"]);
    call(&node, &["app.some.thing", "1"]);
    assert_eq!(callee.called()["procedure"], "app.some.thing");
}

#[test]
fn the_router_answers_for_its_registrations() {
    let node = node();
    let _callee = Callee::register(&node, &["app.known"]);
    let id = call(&node, &["wamp.registration.lookup", "app.known"]).output;
    let counted = call(&node, &["wamp.registration.count_callees", id.trim()]);
    assert_eq!(counted.output.trim(), "1", "{counted:?}");
}
