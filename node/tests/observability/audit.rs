//! Who was refused what, and who changed what, is in the audit log: bounded, as lines of JSON.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use weir_bench::client::{Client, Message, Options};
use weir_model::Qos;
use weir_testkit::eventually;
use weir_wire::mqtt::{Connect, Version, encode};

use crate::clients::{connect, file, node, options, url};

const POLICY: &str = r#"
[[rule]]
allow = ["publish", "subscribe"]
filters = ["open/#"]
"#;

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The first line of this event.
fn line(path: &Path, event: &str) -> Value {
    eventually(event, || lines(path).into_iter().find(|line| line["event"] == event))
}

#[tokio::test]
async fn refusals_are_in_the_file_and_in_the_log() {
    let (dir, policy) = (tempfile::tempdir().expect("a directory"), file(POLICY));
    let path = dir.path().join("audit.jsonl");
    let node =
        node().set("node.audit_file", path.display()).set("access.policy", policy.path().display()).start();
    let named = Options { username: Some("ann".to_owned()), ..options("c") };
    let mut client = connect(&node, &named).await;
    client.publish(&Message::new("closed/x", "p", Qos::AtLeastOnce)).await.expect_err("refused");
    let refused = line(&path, "publish refused");
    assert_eq!((&refused["client_id"], &refused["topic"]), (&"c".into(), &"closed/x".into()));
    assert_eq!((&refused["user_id"], &refused["address"]), (&"ann".into(), &"127.0.0.1".into()));

    let subscription = weir_bench::client::Subscription::new("#", Qos::AtMostOnce);
    client.subscribe(&[subscription], None).await.expect("answered");
    assert_eq!(line(&path, "subscription refused")["filter"], "#");

    // Somebody else's session.
    let other = Options { username: Some("bob".to_owned()), ..options("c") };
    assert!(Client::connect(&url(&node), &other).await.is_err());
    let hijack = line(&path, "connection refused");
    assert_eq!((&hijack["client_id"], &hijack["username"]), (&"c".into(), &"bob".into()));

    eventually("the log", || node.stderr().contains("publish refused").then_some(()));
    assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_takeover_from_another_address_is_told_and_one_from_the_same_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.jsonl");
    let node = node().set("node.audit_file", path.display()).start();
    let _first = connect(&node, &options("c")).await;
    let _second = connect(&node, &options("c")).await;
    let mut far = from("127.0.0.77", node.address("mqtt")).await;
    let mut bytes = Vec::new();
    encode::connect(&mut bytes, &Connect::new(Version::V5, "c"));
    far.write_all(&bytes).await.expect("sent");
    let told = line(&path, "session taken over from another address");
    assert_eq!((&told["before"], &told["address"]), (&"127.0.0.1".into(), &"127.0.0.77".into()));
    assert_eq!(lines(&path).len(), 1, "{:?}", lines(&path));
}

/// A connection from another loopback address.
async fn from(address: &str, to: std::net::SocketAddr) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(format!("{address}:0").parse().expect("an address")).expect("bound");
    socket.connect(to).await.expect("connected")
}

#[tokio::test]
async fn a_changed_policy_is_told_and_a_broken_one_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, policy) = (dir.path().join("audit.jsonl"), dir.path().join("policy.toml"));
    std::fs::write(&policy, POLICY).expect("written");
    let node = node()
        .set("node.audit_file", path.display())
        .set("access.policy", policy.display())
        .set("access.reload_seconds", 1)
        .start();
    std::fs::write(&policy, POLICY.replace("open/#", "other/#")).expect("written");
    assert_eq!(line(&path, "access changed")["source"], "policy");
    std::fs::write(&policy, "[[rule]]\nnonsense = 1\n").expect("written");
    assert_eq!(line(&path, "access not changed: it cannot be read")["source"], "policy");
    drop(node);
}

#[tokio::test]
async fn a_flood_of_refusals_is_cut_and_counted() {
    let (dir, policy) = (tempfile::tempdir().expect("a directory"), file(POLICY));
    let path = dir.path().join("audit.jsonl");
    let node = node()
        .set("node.audit_file", path.display())
        .set("node.audit_per_second_max", 5)
        .set("access.policy", policy.path().display())
        .start();
    let mut client = connect(&node, &options("c")).await;
    for _ in 0..500 {
        client.publish(&Message::new("closed/x", "p", Qos::AtLeastOnce)).await.expect_err("refused");
    }
    let suppressed = node.metrics().value("weir_node_audit_suppressed_total");
    let told = lines(&path).iter().filter(|line| line["event"] == "publish refused").count();
    assert!(suppressed > 0.0, "{told} told");
    assert!(told as f64 + suppressed <= 500.0);
}

#[test]
fn a_file_that_cannot_be_opened_is_named_at_start() {
    let refused = node().set("node.audit_file", "/nowhere/audit.jsonl").try_start().expect_err("no start");
    assert!(
        refused.said.contains("node.audit_file") && refused.said.contains("/nowhere"),
        "{}",
        refused.said
    );
}
