//! autobahn-python, the strictest of the clients: whatever it takes for a breach of the protocol ends the session.

use weir_testkit::Node;

use crate::auth::Accounts;
use crate::script::{self, run_with};

fn urls(node: &Node) -> [String; 2] {
    [format!("ws://{}/wamp", node.address("http")), format!("rs://{}", node.address("wamp"))]
}

fn speaks(serialization: &str) {
    let node = script::node();
    let words = [&[serialization.to_owned()], &urls(&node)[..]].concat();
    run_with("python.py", &node, &words);
    assert_eq!(node.metrics().value("weir_gateway_broken_packets_total"), 0.0);
}

#[test]
fn autobahn_python_finds_no_fault_in_json() {
    speaks("json");
}

#[test]
fn autobahn_python_finds_no_fault_in_message_pack() {
    speaks("msgpack");
}

#[test]
fn autobahn_python_finds_no_fault_in_cbor() {
    speaks("cbor");
}

#[test]
fn autobahn_python_proves_who_it_is_by_every_method() {
    let accounts = Accounts::of_everybody();
    let node = accounts.node().start();
    run_with("python_auth.py", &node, &urls(&node));
}
