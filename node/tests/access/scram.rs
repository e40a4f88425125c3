//! SCRAM-SHA-256 with mqtt.js, over TCP and over a WebSocket.

use crate::scene::{Files, node};
use crate::script::check;

fn proofs(name: &str) {
    let files = Files::new();
    files.account(&["add", "ann", "--password-stdin"], "apple");
    let node = node().store("memory").set("access.accounts.file", files.path("accounts.toml").display());
    let node = node.set("access.policy", "own").start();
    check(&node, name, &format!("mqtt://{}", node.address("mqtt")));
    check(&node, name, &format!("ws://{}/mqtt", node.address("http")));
}

#[test]
fn a_password_is_proved_and_never_said() {
    proofs("a_password_is_proved_and_never_said");
}

#[test]
fn a_wrong_password_is_no_proof() {
    proofs("a_wrong_password_is_no_proof");
}

#[test]
fn an_unknown_method_is_refused_with_0x8c() {
    proofs("an_unknown_method_is_refused_with_0x8c");
}

#[test]
fn a_live_connection_is_proved_anew() {
    proofs("a_live_connection_is_proved_anew");
}

#[test]
fn a_failed_new_proof_ends_the_connection() {
    proofs("a_failed_new_proof_ends_the_connection");
}

#[test]
fn nothing_but_auth_may_come_before_the_proof() {
    proofs("nothing_but_auth_may_come_before_the_proof");
}

#[test]
fn auth_needs_a_method_that_was_agreed_on() {
    proofs("auth_needs_a_method_that_was_agreed_on");
}

#[test]
fn many_prove_themselves_at_once() {
    proofs("many_prove_themselves_at_once");
}
