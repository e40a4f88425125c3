//! What changes while clients are connected holds for them at once, and what cannot be read changes nothing.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use weir_bench::Client;
use weir_bench::client::{Error, Options};
use weir_model::Qos;
use weir_testkit::{Node, eventually};
use weir_wire::mqtt::{ReasonCode, Version};

use crate::scene::{
    Files, SECRET, account, ask_for, bearing, connect, ended, in_seconds, message, node, publish, refusal,
    subscribe, text, token, try_connect, until, url, user, with_policy, with_tokens,
};

fn allowing(filter: &str) -> String {
    format!("[[rule]]\nallow = [\"publish\", \"subscribe\"]\nfilters = [\"{filter}\"]\n")
}

fn failures(node: &Node, source: &str) -> f64 {
    node.metrics().value(&format!("weir_access_reload_failures_total{{source=\"{source}\"}}"))
}

async fn may_subscribe(client: &mut Client, filter: &str) -> bool {
    ask_for(client, filter, Qos::AtMostOnce).await < 0x80
}

#[tokio::test]
async fn rules_that_change_hold_for_who_is_connected() {
    let files = Files::new();
    let policy = files.write("policy.toml", &allowing("a/#"));
    let node = with_policy(&policy).store("memory").start();
    let mut ann = connect(&node, &user("ann")).await;
    subscribe(&mut ann, "a/#").await;
    assert_eq!(publish(&mut ann, &message("b/x", "")).await, Err(0x87));
    files.write("policy.toml", &(allowing("a/#") + &allowing("b/#")));
    until(Ok(()), async || publish(&mut ann, &message("b/x", "")).await).await;
    subscribe(&mut ann, "b/#").await;
    files.write("policy.toml", &allowing("b/#"));
    until(Err(0x87), async || publish(&mut ann, &message("a/x", "a")).await).await;
    publish(&mut ann, &message("b/x", "b")).await.expect("still allowed");
    until("b".to_owned(), async || text(&mut ann).await).await;
    node.balanced();
}

#[tokio::test]
async fn rules_that_cannot_be_read_change_nothing_and_are_reported() {
    let files = Files::new();
    let policy = files.write("policy.toml", &allowing("a/#"));
    let node = with_policy(&policy).store("memory").start();
    let mut ann = connect(&node, &user("ann")).await;
    let broken = allowing("a/#") + &allowing("b/#") + "[[rule]]\nalow = [\"publish\"]\n";
    files.write("policy.toml", &broken);
    eventually("the failure to be counted", || (failures(&node, "policy") > 0.0).then_some(()));
    eventually("the place to be told", || node.stderr().contains("policy.toml:8").then_some(()));
    publish(&mut ann, &message("a/x", "")).await.expect("as before");
    assert_eq!(publish(&mut ann, &message("b/x", "")).await, Err(0x87));
    std::fs::remove_file(&policy).expect("removed");
    eventually("another failure", || (failures(&node, "policy") > 1.0).then_some(()));
    publish(&mut ann, &message("a/x", "")).await.expect("as before");
    files.write("policy.toml", &allowing("b/#"));
    until(Ok(()), async || publish(&mut ann, &message("b/x", "")).await).await;
    // Nobody is let through by a file that says nothing.
    files.write("policy.toml", "");
    until(Err(0x87), async || publish(&mut ann, &message("b/x", "")).await).await;
    assert!(!may_subscribe(&mut ann, "b/x").await);
}

#[tokio::test]
async fn an_account_that_is_removed_or_changed_ends_its_sessions() {
    let files = Files::new();
    for name in ["ann", "bob", "carl"] {
        files.account(&["add", name, "--password-stdin"], "apple");
    }
    let node =
        node().store("memory").set("access.accounts.file", files.path("accounts.toml").display()).start();
    let mut ann = connect(&node, &account("ann", "apple", "a")).await;
    let mut bob = connect(&node, &account("bob", "apple", "b")).await;
    let mut carl = connect(&node, &account("carl", "apple", "c")).await;
    let old = Options { version: Version::V311, ..account("ann", "apple", "old") };
    let mut old = connect(&node, &old).await;
    files.account(&["remove", "ann"], "");
    assert_eq!(ended(&mut ann).await, 0x87);
    let end = tokio::time::timeout(weir_testkit::PATIENCE, old.next()).await.expect("in time");
    assert!(matches!(end, Err(Error::Closed { .. })), "{end:?}");
    assert_eq!(refusal(&node, &account("ann", "apple", "a")).await, ReasonCode::BadUserNameOrPassword);
    files.account(&["passwd", "bob", "--password-stdin"], "pear");
    assert_eq!(ended(&mut bob).await, 0x87);
    assert_eq!(refusal(&node, &account("bob", "apple", "b")).await, ReasonCode::BadUserNameOrPassword);
    connect(&node, &account("bob", "pear", "b")).await;
    publish(&mut carl, &message("x", "still here")).await.expect("taken");
    // Half a file ends nobody's session.
    files.write("accounts.toml", "[[account]]\nname = \"carl\"\npass");
    eventually("the failure to be counted", || (failures(&node, "accounts") > 0.0).then_some(()));
    publish(&mut carl, &message("x", "still here")).await.expect("taken");
    node.balanced();
}

#[tokio::test]
async fn a_token_that_ends_ends_its_session() {
    let node = with_tokens().store("memory").start();
    let claims = json!({"user_id": "ann", "exp": in_seconds(3)});
    let short = bearing(&token(&claims, SECRET, None), "short");
    let mut ann = connect(&node, &short).await;
    let claims = json!({"user_id": "ann", "exp": in_seconds(3600)});
    let mut long = connect(&node, &bearing(&token(&claims, SECRET, None), "long")).await;
    publish(&mut ann, &message("x", "")).await.expect("taken");
    assert_eq!(ended(&mut ann).await, 0x87);
    assert_eq!(refusal(&node, &short).await, ReasonCode::BadUserNameOrPassword);
    publish(&mut long, &message("x", "")).await.expect("taken");
}

#[tokio::test]
async fn a_session_renewed_with_another_token_lives_as_long_as_that() {
    let node = with_tokens().store("memory").start();
    let until = |seconds| token(&json!({"user_id": "ann", "exp": in_seconds(seconds)}), SECRET, None);
    let mut first = connect(&node, &bearing(&until(3), "same")).await;
    let mut witness = connect(&node, &bearing(&until(3), "witness")).await;
    let mut second = connect(&node, &bearing(&until(3600), "same")).await;
    assert_eq!(ended(&mut first).await, 0x8e);
    assert_eq!(ended(&mut witness).await, 0x87);
    publish(&mut second, &message("x", "")).await.expect("taken");
}

/// A set of shared keys, as a file of the operator's may hold them.
fn key_set(keys: &[(&str, &str)]) -> String {
    let key =
        |(kid, secret): &(&str, &str)| json!({"kty": "oct", "kid": kid, "k": URL_SAFE_NO_PAD.encode(secret)});
    json!({"keys": keys.iter().map(key).collect::<Vec<_>>()}).to_string()
}

#[tokio::test]
async fn a_key_that_is_removed_ends_the_sessions_it_opened() {
    let files = Files::new();
    let set = files.write("keys.json", &key_set(&[("1", "one"), ("2", "two")]));
    let node = node().store("memory").set("access.jwt.jwks_file", set.display()).start();
    let of = |name: &str, secret, kid| bearing(&token(&json!({"user_id": name}), secret, Some(kid)), name);
    let mut ann = connect(&node, &of("ann", "one", "1")).await;
    let mut bob = connect(&node, &of("bob", "two", "2")).await;
    files.write("keys.json", &key_set(&[("2", "two"), ("3", "three")]));
    assert_eq!(ended(&mut ann).await, 0x87);
    assert_eq!(refusal(&node, &of("ann", "one", "1")).await, ReasonCode::BadUserNameOrPassword);
    connect(&node, &of("carl", "three", "3")).await;
    publish(&mut bob, &message("x", "")).await.expect("taken");
    files.write("keys.json", "{\"keys\": [");
    eventually("the failure to be counted", || (failures(&node, "jwt") > 0.0).then_some(()));
    publish(&mut bob, &message("x", "")).await.expect("taken");
    connect(&node, &of("dora", "two", "2")).await;
}

fn hang_up(node: &Node) {
    let pid = i32::try_from(node.pid()).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, Signal::HUP).expect("told");
}

#[tokio::test]
async fn a_node_that_does_not_look_by_itself_looks_when_told() {
    let files = Files::new();
    let policy = files.write("policy.toml", &allowing("a/#"));
    let node = with_policy(&policy).store("memory").set("access.reload_seconds", 0).start();
    let mut ann = connect(&node, &user("ann")).await;
    files.write("policy.toml", &allowing("b/#"));
    publish(&mut ann, &message("a/x", "")).await.expect("nobody has looked");
    hang_up(&node);
    until(Err(0x87), async || publish(&mut ann, &message("a/x", "")).await).await;
    publish(&mut ann, &message("b/x", "")).await.expect("allowed");
    files.write("policy.toml", "nonsense");
    hang_up(&node);
    eventually("the failure to be counted", || (failures(&node, "policy") > 0.0).then_some(()));
    publish(&mut ann, &message("b/x", "")).await.expect("as before");
}

/// A certificate of its own for localhost; the file with it is also who vouches for it.
fn certificate(files: &Files) -> std::path::PathBuf {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    // The key first: who looks between the two must not find that they belong together.
    files.write("server.key", &made.signing_key.serialize_pem());
    files.write("server.pem", &made.cert.pem())
}

async fn trusting(node: &Node, ca: &Path) -> bool {
    let mut url = url(node, "mqtts");
    url.set_host(Some("localhost")).expect("a host");
    let mut options = user("trusting");
    options.transport.ca_file = Some(ca.to_owned());
    Client::connect(&url, &options).await.is_ok()
}

#[tokio::test]
async fn a_certificate_that_is_replaced_is_shown_to_the_next_client() {
    let files = Files::new();
    let shown = certificate(&files);
    let old = files.write("old.pem", &std::fs::read_to_string(&shown).expect("a certificate"));
    let node = with_tokens().store("memory").listen("mqtts");
    let node = node.set("net.tls.certificate", shown.display()).set("net.tls.reload_seconds", 1);
    let node = node.set("net.tls.key", files.path("server.key").display()).start();
    assert!(trusting(&node, &old).await);
    let mut url = url(&node, "mqtts");
    url.set_host(Some("localhost")).expect("a host");
    let mut options = user("stays");
    options.transport.ca_file = Some(old.clone());
    let mut stays = Client::connect(&url, &options).await.expect("let in");
    let new = certificate(&files);
    until(true, async || trusting(&node, &new).await).await;
    assert!(!trusting(&node, &old).await);
    publish(&mut stays, &message("x", "")).await.expect("taken");
    files.write("server.pem", "no certificate");
    eventually("the failure to be counted", || {
        (node.metrics().sum("weir_net_tls_reload_failures_total") > 0.0).then_some(())
    });
    let last = files.write("last.pem", "");
    assert!(!trusting(&node, &last).await);
    assert!(try_connect(&node, &user("plain")).await.is_ok());
}
