//! The `weir` command is the API's client: what it prints scripts can read, and how it ends they can tell apart.

use std::net::TcpListener;

use serde_json::json;
use weir_testkit::eventually;

use crate::scene::{at, clean, closed, connect, json, kept, node, retain, subscribe, text, weir};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_as_json_is_json() {
    let node = node().start();
    let mut client = connect(&node, &kept("a/{b}\nc")).await;
    subscribe(&mut client, "news/#").await;
    retain(&mut client, "news/1", "one").await;
    let run = |words: &[&str]| json(&at(&node, words));
    let sessions = run(&["session", "list", "--json"]);
    assert_eq!((&sessions[0]["client_id"], &sessions[0]["connected"]), (&json!("a/{b}\nc"), &json!(true)));
    assert_eq!(run(&["session", "list", "--offline", "--json"]), json!([]));
    let shown = run(&["session", "show", "a/{b}\nc", "--json"]);
    assert_eq!(shown["subscriptions"][0]["filter"], "news/#");
    let retained = run(&["topic", "retained", "news/+", "--payloads", "--json"]);
    assert_eq!((&retained[0]["topic"], &retained[0]["payload"]), (&json!("news/1"), &json!("one")));
    let payload = at(&node, &["topic", "retained", "--get", "news/1"]);
    assert_eq!(payload.stdout, b"one");
    let subscribers = run(&["topic", "subscriptions", "news/1", "--json"]);
    assert_eq!(subscribers[0]["client_id"], "a/{b}\nc");
    let explained = run(&["topic", "explain", "pub", "-t", "news/1", "--as", "a/{b}\nc", "--json"]);
    assert_eq!(explained["allowed"], true);
    assert_eq!(
        run(&["topic", "delete", "news/#", "--dry-run", "--json"]),
        json!({"deleted": 1, "dry_run": true})
    );
    assert_eq!(run(&["topic", "delete", "news/#", "--json"])["deleted"], 1);
    let nodes = run(&["node", "list", "--json"]);
    assert_eq!((&nodes[0]["state"], &nodes[0]["connected_sessions"]), (&json!("live"), &json!(1)));
    let top = run(&["top", "--once", "--json", "--interval", "0.1"]);
    assert!(top["connected"] == 1 && top["latencies"].is_array(), "{top}");
    let made = run(&["token", "create", "ci", "--scope", "watch", "--expires", "1h", "--json"]);
    assert!(made["secret"].as_str().expect("text").starts_with("weir_"));
    assert_eq!(run(&["token", "list", "--json"])[0]["id"], made["id"]);
    let policy = run(&["account", "policy", "--json"]);
    assert_eq!(policy["open"], true);
    assert_eq!(run(&["session", "kick", "a/{b}\nc", "--json"])["node_id"], nodes[0]["node_id"]);
    assert_eq!(run(&["session", "delete", "a/{b}\nc", "--json"])["deleted"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_cannot_speak_to_the_terminal() {
    let node = node().start();
    let _client = connect(&node, &clean("a\u{1b}[2J\nb")).await;
    let listed = at(&node, &["session", "list"]);
    let said = text(&listed);
    assert!(!said.contains('\u{1b}') && said.contains("a\\u{1b}[2J\\nb"), "{said}");
    assert_eq!(said.lines().count(), 2, "a head and one line: {said}");
    for words in [&["top", "--once", "--interval", "0.1"][..], &["session", "show", "a\u{1b}[2J\nb"]] {
        assert!(!text(&at(&node, words)).contains('\u{1b}'), "{words:?}");
    }
}

#[test]
fn exit_codes_tell_failures_apart() {
    let (open, closed) = (node().start(), closed().start());
    let code = |output: std::process::Output| (output.status.code(), text(&output));
    assert_eq!(code(at(&open, &["session", "list"])).0, Some(0));
    assert_eq!(code(at(&open, &["account", "list"])).0, Some(1));
    assert_eq!(code(at(&open, &["session", "list", "--page-size", "999999"])).0, Some(2));
    assert_eq!(code(weir(&["session"])).0, Some(2));
    // A port that nobody else has meanwhile, and where nobody answers.
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("http://{}", nobody.local_addr().expect("an address"));
    assert_eq!(code(weir(&["session", "list", "--server", &silent, "--timeout", "1"])).0, Some(5));
    drop(nobody);
    assert_eq!(code(weir(&["session", "list", "--server", &silent])).0, Some(3));
    assert_eq!(code(at(&closed, &["session", "list"])).0, Some(4));
    assert_eq!(code(at(&open, &["session", "show", "nobody"])).0, Some(6));
    assert_eq!(code(weir(&["session", "list", "--server", "mqtt://a"])).0, Some(2));
}

#[test]
fn a_watcher_prints_one_line_an_event() {
    let node = node().start();
    let server = format!("http://{}", node.address("admin"));
    let watching = std::thread::spawn(move || {
        weir(&["watch", "--json", "--count", "2", "--prefix", "w", "--server", &server])
    });
    eventually("the watcher", || (node.metrics().value("weir_admin_watchers") == 1.0).then_some(()));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        connect(&node, &clean("w1")).await.disconnect().await.expect("a goodbye");
    });
    let said = watching.join().expect("it ends");
    let lines = String::from_utf8(said.stdout).expect("text");
    let kinds: Vec<_> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["kind"].clone())
        .collect();
    assert_eq!(kinds, ["connected", "disconnected"]);
}

#[test]
fn a_node_drains_when_it_is_told_to() {
    let mut node = node().start();
    let drained = at(&node, &["node", "drain", "--wait", "--json"]);
    let said = json(&drained);
    assert_eq!((&said["connected_sessions"], &said["gone"]), (&json!(0), &json!(true)));
    assert!(node.wait().success());
}

#[test]
fn shells_are_told_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = weir(&["completion", shell]);
        assert!(script.status.success());
        let script = text(&script);
        assert!(script.contains("session") && script.contains("token"), "{shell}");
    }
}
