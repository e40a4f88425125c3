//! `weir explain` says who would get what by which rule, and nothing happens by asking.

use std::process::{Command, Output};

use serde_json::{Value, json};
use weir_bench::Client;
use weir_bench::client::{Incoming, Message, Options, Properties};
use weir_model::Qos;
use weir_testkit::Node;

use crate::clients::{connect, file, next, node, options, subscribe};

const POLICY: &str = r##"
[[rule]]
allow = ["publish", "subscribe"]
filters = ["#", "$delayed/#", "$SYS/explain"]

[[rule]]
deny = ["subscribe"]
filters = ["secret/+"]
roles = ["anonymous"]

[[rule]]
deny = ["publish"]
filters = ["{client_id}/own"]
"##;

fn explain(node: &Node, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("explain")
        .args(args)
        .args(["--url", &format!("mqtt://{}", node.address("mqtt")), "--id", "asker"])
        .env_remove("WEIR_URL")
        .output()
        .expect("it ends")
}

/// What it prints as JSON, and its exit code.
fn explained(node: &Node, args: &[&str]) -> (Value, Option<i32>) {
    let output = explain(node, &[args, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    let answer = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    (answer, output.status.code())
}

fn persistent(client_id: &str) -> Options {
    Options { clean_start: false, session_expiry_seconds: Some(3600), ..options(client_id) }
}

fn named(client_id: &str, user: &str) -> Options {
    Options { username: Some(user.to_owned()), ..options(client_id) }
}

/// The receiver of this client id.
fn receiver<'a>(answer: &'a Value, client: &str) -> &'a Value {
    let all = answer["receivers"].as_array().expect("receivers");
    all.iter().find(|receiver| receiver["client"] == client).unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test]
async fn each_receiver_of_a_message_is_told_with_what_becomes_of_its_copy() {
    let node = node().start();
    let mut live = connect(&node, &options("live")).await;
    subscribe(&mut live, "a/#", Qos::AtLeastOnce).await;
    subscribe(&mut live, "+/b", Qos::AtMostOnce).await;
    let mut sleeper = connect(&node, &persistent("sleeper")).await;
    subscribe(&mut sleeper, "a/b", Qos::AtLeastOnce).await;
    sleeper.disconnect().await.expect("a goodbye");
    let mut member = connect(&node, &options("member")).await;
    subscribe(&mut member, "$share/g/a/b", Qos::AtLeastOnce).await;

    let (answer, code) = explained(&node, &["pub", "-t", "a/b", "-q", "1", "-r"]);
    assert_eq!((code, &answer["allowed"], &answer["as"]["client"]), (Some(0), &json!(true), &json!("asker")));
    assert_eq!((&answer["receivers_total"], &answer["kept"]), (&json!(2), &json!(true)));
    assert_eq!(answer["retained"], "stored");
    let (live, sleeper) = (receiver(&answer, "live"), receiver(&answer, "sleeper"));
    assert_eq!((&live["outcome"], &live["filters"]), (&json!("sent"), &json!(["a/#", "+/b"])));
    assert_eq!((&sleeper["outcome"], &sleeper["online"]), (&json!("enqueued"), &json!(false)));
    assert_eq!(answer["groups"][0]["members"][0]["client"], "member");
    assert_eq!(
        node.metrics().value("weir_broker_retained_messages"),
        retained_of_sys(&node),
        "it only asked"
    );

    let (answer, _) = explained(&node, &["pub", "-t", "a/b"]);
    assert_eq!(receiver(&answer, "sleeper")["outcome"], "offline");
    assert_eq!((&answer["kept"], &answer["retained"]), (&json!(false), &json!("untouched")));
}

/// Retained messages that are the broker's own.
fn retained_of_sys(node: &Node) -> f64 {
    let (answer, _) = explained(node, &["sub", "-t", "$SYS/#"]);
    answer["retained_total"].as_f64().expect("a number")
}

#[tokio::test]
async fn a_topic_nobody_may_publish_to_is_refused_with_the_check_that_fails() {
    let node = node().start();
    for (topic, check) in [
        ("$SYS/broker/x", "reserved"),
        ("a/+", "name"),
        ("$delayed/5/$SYS/x", "reserved"),
        ("$delayed/soon/x", "delayed"),
    ] {
        let (answer, code) = explained(&node, &["pub", "-t", topic]);
        assert_eq!((code, &answer["allowed"]), (Some(1), &json!(false)), "{topic}");
        let rule = answer["rule"].as_str().expect("a rule");
        assert!(rule.starts_with(&format!("{check}: ")), "{topic}: {rule}");
    }
    let (answer, code) = explained(&node, &["pub", "-t", "$delayed/5/a/b"]);
    assert_eq!((code, &answer["topic"], &answer["delay_seconds"]), (Some(0), &json!("a/b"), &json!(5)));
}

#[tokio::test]
async fn the_rule_that_decides_is_named_for_publisher_and_receiver() {
    let policy = file(POLICY);
    let node = node().set("access.policy", policy.path().display()).start();
    let mut nobody = connect(&node, &options("nobody")).await;
    subscribe(&mut nobody, "fine/x", Qos::AtMostOnce).await;
    let mut ann = connect(&node, &named("ann-1", "ann")).await;
    subscribe(&mut ann, "secret/#", Qos::AtLeastOnce).await;

    let (answer, code) = explained(&node, &["pub", "-t", "ann-1/own", "--as", "ann-1"]);
    assert_eq!((code, &answer["as"]["user"]), (Some(1), &json!("ann")));
    assert!(answer["rule"].as_str().expect("a rule").contains("rule 3"), "{answer}");
    let (answer, code) = explained(&node, &["sub", "-t", "secret/#", "--as", "nobody", "-q", "1"]);
    assert_eq!((code, &answer["qos_granted"]), (Some(1), &Value::Null));
    assert!(answer["rule"].as_str().expect("a rule").contains("rule 2"), "{answer}");
    let (answer, code) = explained(&node, &["sub", "-t", "secret/#", "--as", "ann-1", "-q", "1"]);
    assert_eq!((code, &answer["qos_granted"], &answer["known"]), (Some(0), &json!(1), &json!(true)));

    let told = explain(&node, &["pub", "-t", "ann-1/own", "--as", "ann-1"]);
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(text.starts_with("REFUSED: publish ann-1/own at QoS 0 as ann-1 (user ann)\n"), "{text}");
    let told = explain(&node, &["sub", "-t", "x", "--as", "stranger"]);
    assert_eq!(told.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&told.stderr).contains("no session of client \"stranger\""));
}

#[tokio::test]
async fn a_receiver_whose_right_was_taken_away_is_told_as_denied() {
    let dir = tempfile::tempdir().expect("a directory");
    let policy = dir.path().join("policy.toml");
    std::fs::write(&policy, POLICY.replace("secret/+", "other/+")).expect("written");
    let node = node().set("access.policy", policy.display()).set("access.reload_seconds", 1);
    // It asks more often than a client may come back.
    let node = node.set("gateway.flapping_connects_max", 0).start();
    let mut nobody = connect(&node, &options("nobody")).await;
    subscribe(&mut nobody, "secret/x", Qos::AtMostOnce).await;
    std::fs::write(&policy, POLICY).expect("written");
    weir_testkit::eventually("the new policy", || {
        let (answer, _) = explained(&node, &["pub", "-t", "secret/x"]);
        let receiver = receiver(&answer, "nobody");
        let rule = receiver["rule"].as_str().unwrap_or_default();
        (receiver["outcome"] == "denied" && rule.contains("rule 2") && answer["denied_total"] == 1)
            .then_some(())
    });
}

#[tokio::test]
async fn who_may_not_publish_to_the_topic_may_not_ask() {
    let policy = file(&POLICY.replace(", \"$SYS/explain\"", ""));
    let node = node().set("access.policy", policy.path().display()).start();
    let told = explain(&node, &["pub", "-t", "a"]);
    assert_eq!(told.status.code(), Some(4), "{}", String::from_utf8_lossy(&told.stderr));
}

#[tokio::test]
async fn more_receivers_than_are_named_are_counted() {
    let node = node().start();
    let mut many = Vec::new();
    for number in 0..105 {
        let mut client = connect(&node, &options(&format!("c{number}"))).await;
        subscribe(&mut client, "a", Qos::AtMostOnce).await;
        many.push(client);
    }
    let (answer, _) = explained(&node, &["pub", "-t", "a"]);
    assert_eq!(answer["receivers"].as_array().map(Vec::len), Some(100));
    assert_eq!(answer["receivers_total"], 105);
    let text = explain(&node, &["pub", "-t", "a"]).stdout;
    assert!(String::from_utf8_lossy(&text).contains("and 5 more"));
}

async fn ask(client: &mut Client, payload: &str, response_topic: Option<&str>) -> Result<(), u8> {
    let properties = Properties {
        response_topic: response_topic.map(str::to_owned),
        correlation_data: Some(b"7".to_vec()),
        ..Properties::default()
    };
    let message = Message { properties, ..Message::new("$SYS/explain", payload, Qos::AtLeastOnce) };
    match client.publish(&message).await {
        Ok(_) => Ok(()),
        Err(weir_bench::client::Error::PublishRefused { code, .. }) => Err(code.as_u8()),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_answer_goes_to_the_asker_alone() {
    let node = node().start();
    let mut other = connect(&node, &options("other")).await;
    subscribe(&mut other, "#", Qos::AtMostOnce).await;
    let mut asker = connect(&node, &options("asker")).await;
    ask(&mut asker, r#"{"explain":"pub","topic":"a"}"#, Some("answers/here")).await.expect("taken");
    let Incoming { topic, payload, properties, .. } = next(&mut asker).await;
    assert_eq!((&*topic, properties.correlation_data.as_deref()), ("answers/here", Some(&b"7"[..])));
    let answer: Value = serde_json::from_slice(&payload).expect("JSON");
    assert_eq!(receiver(&answer, "other")["filters"], json!(["#"]));
    asker.publish(&Message::new("end", "", Qos::AtLeastOnce)).await.expect("taken");
    assert_eq!(next(&mut other).await.topic, "end");
}

#[tokio::test]
async fn a_question_that_is_none_is_answered_with_what_is_wrong() {
    let node = node().start();
    let mut asker = connect(&node, &options("asker")).await;
    for bad in
        ["", "{", r#"{"explain":"pub"}"#, r#"{"explain":"pub","topic":"a","qos":3}"#, r#"{"explain":"x"}"#]
    {
        ask(&mut asker, bad, Some("answers")).await.expect("taken");
        let answer: Value = serde_json::from_slice(&next(&mut asker).await.payload).expect("JSON");
        assert_eq!(answer["explain"], "error", "{bad}: {answer}");
    }
    assert_eq!(ask(&mut asker, r#"{"explain":"pub","topic":"a"}"#, None).await, Err(0x87));

    let imbalance = "weir_broker_ledger_imbalance_messages";
    weir_testkit::eventually("a balance", || (node.metrics().value(imbalance) == 0.0).then_some(()));
}
