//! What was delivered and not acknowledged when a node dies is delivered again; who may not is told so.

use std::process::Command;

use weir_admin::client::{Client as Admin, Target};
use weir_admin::proto::{GroupSpec, StreamsGetRequest};
use weir_admin::tonic::Code;
use weir_testkit::{Cluster, Redis};

use crate::scene::{
    Member, PROGRAM, admin, fill, group, message, node, payloads, read, reading, refusal, soon, stream,
    target, text_of, until,
};

#[tokio::test]
async fn a_node_that_is_killed_between_delivery_and_acknowledgement_delivers_again() {
    let mut node = node().start();
    let before = admin(&node).await;
    stream(&before, "s", &["a/#"]).await;
    group(&before, "s", "g", GroupSpec::default()).await;
    fill(&before, "a/x", 6).await;
    let mut member = Member::join(&before, "s", "g").await;
    let records = member.take(6).await;
    assert!(member.ack(&records[..2]).await.refused.is_empty());
    node.kill9();
    let end = soon("the end", member.hear()).await;
    assert!(end.is_err() || end.is_ok_and(|heard| heard.is_none()));
    let node = node.restart();
    let after = admin(&node).await;
    assert_eq!(payloads(&read(&after, reading("s")).await).len(), 6);
    let mut member = Member::join(&after, "s", "g").await;
    let again = member.take(4).await;
    assert_eq!(text_of(&again), ["2", "3", "4", "5"]);
    assert!(member.ack(&again).await.refused.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_of_a_cluster_goes_on_where_the_killed_one_was() {
    let redis = Redis::start();
    let mut cluster =
        Cluster::of(PROGRAM, &redis.url()).nodes(2).each(|_, node| node.listen("admin")).start();
    let (near, far) = (admin(cluster.node(0)).await, admin(cluster.node(1)).await);
    stream(&near, "s", &["a/#"]).await;
    group(&near, "s", "g", GroupSpec::default()).await;
    fill(&near, "a/x", 6).await;
    let mut member = Member::join(&near, "s", "g").await;
    let records = member.take(6).await;
    assert!(member.ack(&records[..2]).await.refused.is_empty());
    let get = StreamsGetRequest { name: "s".to_owned(), ..Default::default() };
    let key = far.streams().get(get).await.expect("found").into_inner().generations[0].partitions[0]
        .redis_key
        .clone();
    assert_eq!(redis.ask::<u64>(&["XLEN", &key]), 6);
    cluster.kill9(0);
    let mut member = Member::join(&far, "s", "g").await;
    let again = member.take(4).await;
    assert_eq!(text_of(&again), ["2", "3", "4", "5"]);
    assert!(member.ack(&again).await.refused.is_empty());
}

/// Somebody with a token of this scope.
async fn bearer(node: &weir_testkit::Node, scope: &str) -> Admin {
    let file = node.data_dir().join("admin-tokens.toml");
    let words = ["token", "create", "test", "--scope", scope, "--file"];
    let made = Command::new(PROGRAM).args(words).arg(&file).output().expect("the command");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let token = String::from_utf8(made.stdout).expect("text").trim().to_owned();
    Admin::connect(&Target { token: Some(token), ..target(node) }).await.expect("a connection")
}

#[tokio::test]
async fn a_wrong_scope_does_nothing_and_the_policy_decides_who_publishes() {
    let dir = tempfile::tempdir().expect("a directory");
    let policy = dir.path().join("policy.toml");
    let rules = "[[rule]]\nroles = [\"token:test\"]\nallow = [\"publish\"]\nfilters = [\"a/#\"]\n";
    std::fs::write(&policy, rules).expect("a policy");
    let node = node().set("access.policy", policy.display()).start();
    let nobody = admin(&node).await;
    assert_eq!(refusal(nobody.streams().publish(message("a/x", "p")).await).0, Code::Unauthenticated);
    let (writer, reader) = (bearer(&node, "streams:write").await, bearer(&node, "streams:read").await);
    stream(&writer, "s", &["a/#"]).await;
    assert_eq!(refusal(writer.streams().read(reading("s")).await).0, Code::PermissionDenied);
    assert_eq!(refusal(reader.streams().publish(message("a/x", "p")).await).0, Code::PermissionDenied);
    let (code, detail) = refusal(writer.streams().publish(message("b/x", "p")).await);
    assert_eq!((code, detail.reason.as_str()), (Code::PermissionDenied, "policy"));
    writer.streams().publish(message("a/x", "p")).await.expect("allowed");
    assert_eq!(payloads(&read(&reader, reading("s")).await), ["p"]);
    until("the audit", async || node.stderr().contains("streams.create").then_some(())).await;
}
