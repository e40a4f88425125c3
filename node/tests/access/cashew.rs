//! cashew-mqtt's devices and handlers, as they are: mqtt.js over WebSockets with a token as password.

use weir_testkit::{Node, eventually};

use serde_json::json;

use crate::scene::{SECRET, node, token};
use crate::script::check_by_websockets;
use crate::tools::{Running, program};

fn cashew() -> weir_testkit::node::Builder {
    let node = node().store("memory").listen("https");
    node.set("access.policy", "cashew").set("access.jwt.secret", SECRET)
}

fn scenario(name: &str) {
    let node = cashew().start();
    check_by_websockets(&node, name);
    node.balanced();
}

#[test]
fn a_contact_is_added() {
    scenario("a_contact_is_added");
}

#[test]
fn a_list_of_contacts_is_its_owner_s() {
    scenario("a_list_of_contacts_is_its_owner_s");
}

#[test]
fn every_ping_finds_its_pong() {
    scenario("every_ping_finds_its_pong");
}

#[test]
fn everybody_gets_the_apples_asked_for() {
    scenario("everybody_gets_the_apples_asked_for");
}

#[test]
fn a_handler_may_be_a_user_too() {
    scenario("a_handler_may_be_a_user_too");
}

#[test]
fn whoever_shows_no_good_token_is_refused() {
    let node = cashew().start();
    check_by_websockets(&node, "whoever_shows_no_good_token_is_refused");
    let refused = node.metrics().value("weir_gateway_access_refused_total{reason=\"bad_credentials\"}");
    assert!(refused >= 4.0 * 18.0, "{refused}");
}

#[test]
fn a_device_may_not_listen_to_others() {
    let node = cashew().start();
    check_by_websockets(&node, "a_device_may_not_listen_to_others");
    node.balanced();
}

#[test]
fn a_device_that_listens_to_others_is_closed_where_that_is_configured() {
    let node = cashew().set("access.refused_subscribe", "close").start();
    check_by_websockets(&node, "a_device_that_listens_to_others_is_closed");
}

/// What mosquitto's tools say to this node's plain listener.
fn mosquitto(node: &Node, tool: &str, words: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(program("stdbuf"));
    let port = node.address("mqtt").port().to_string();
    command
        .arg("-oL")
        .arg(program(tool))
        .args(["-h", "127.0.0.1", "-p", &port, "-V", "mqttv311"])
        .args(words);
    command
}

#[test]
fn the_same_tokens_open_the_plain_listener() {
    let node = cashew().start();
    let device = token(&json!({"user_id": 68946}), SECRET, None);
    let shown = ["-u", "JWT", "-P", &device];
    let words = [&shown[..], &["-d", "-t", "68946/#", "-C", "1", "-F", "got %t %p"]].concat();
    let mut subscriber = Running::start(&mut mosquitto(&node, "mosquitto_sub", &words), None);
    subscriber.says("Subscribed (mid:");
    let words = [&shown[..], &["-t", "68946/ping", "-m", "1"]].concat();
    Running::start(&mut mosquitto(&node, "mosquitto_pub", &words), None).success();
    assert!(subscriber.success().contains("got 68946/ping 1"));

    let service = token(&json!({"handler": {"name": "ping-pong"}}), SECRET, None);
    let words = ["-u", "JWT", "-P", &service, "-d", "-t", "+/ping", "-F", "got %t %p"];
    let mut handler = Running::start(&mut mosquitto(&node, "mosquitto_sub", &words), None);
    handler.says("Subscribed (mid:");
    let words = [&shown[..], &["-t", "68946/ping", "-m", "2"]].concat();
    Running::start(&mut mosquitto(&node, "mosquitto_pub", &words), None).success();
    handler.says("got 68946/ping 2");
    handler.kill();

    let words = [&shown[..], &["-d", "-t", "12345/#"]].concat();
    let mut foreign = Running::start(&mut mosquitto(&node, "mosquitto_sub", &words), None);
    // mosquitto_sub goes by itself when all it asked for is refused.
    foreign.end();
    assert!(foreign.to_string().contains("All subscription requests were denied"), "{foreign}");
    for wrong in [&["-t", "x", "-m", "y"][..], &["-u", "JWT", "-P", "x", "-t", "x", "-m", "y"]] {
        let mut refused = Running::start(&mut mosquitto(&node, "mosquitto_pub", wrong), None);
        assert!(!refused.end().success(), "{refused}");
        assert!(refused.to_string().contains("bad user name or password"), "{refused}");
    }
    eventually("no client", || (node.metrics().sum("weir_broker_sessions_connected") == 0.0).then_some(()));
}
