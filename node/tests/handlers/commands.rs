//! The same from a shell: `weir handler`.

use std::process::{Command, Output};

use weir_testkit::Node;

use crate::scene::{PROGRAM, admin, example_file, node, publish, records, stream, text, until};

fn handler(node: Option<&Node>, words: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("handler").args(words);
    if let Some(node) = node {
        command.args(["--server", &format!("http://{}", node.address("admin"))]);
    }
    command.output().expect("the command")
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_deployed_listed_watched_and_ended() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "pings", "ping", 1).await;
    stream(&admin, "pongs", "pong", 1).await;
    let file = example_file("ping-pong").display().to_string();
    let words = ["deploy", &file, "--stream", "pings", "--output", "pong"];
    assert!(said(&handler(Some(&node), &words)).contains("ping-pong: version 1"));
    publish(&admin, "ping", r#"{"seq": 5}"#).await;
    assert_eq!(text(&records(&admin, "pongs", 1).await[0]), ("pong", r#"{"seq":5}"#));
    assert!(said(&handler(Some(&node), &["list"])).contains("live=1"));
    assert!(said(&handler(Some(&node), &["show", "ping-pong"])).contains("version 1"));
    until("the call to be counted", async || {
        said(&handler(Some(&node), &["binding", "ping-pong"])).contains("done 1").then_some(())
    })
    .await;
    let refused = handler(Some(&node), &["delete", "ping-pong"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("still uses it"));
    said(&handler(Some(&node), &["unbind", "ping-pong"]));
    said(&handler(Some(&node), &["delete", "ping-pong"]));
    assert_eq!(handler(Some(&node), &["show", "ping-pong"]).status.code(), Some(6));
}

#[test]
fn a_handler_is_tried_on_a_file_of_messages_without_a_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let (input, golden) = (dir.path().join("in.ndjson"), dir.path().join("out.ndjson"));
    std::fs::write(&input, "{\"topic\": \"ping\", \"payload\": {\"seq\": 1}}\n").expect("written");
    let (file, input) = (example_file("ping-pong").display().to_string(), input.display().to_string());
    let out = said(&handler(None, &["test", &file, "--input", &input]));
    assert!(out.contains(r#""topic":"pong""#) && out.contains(r#"{\"seq\":1}"#), "{out}");
    std::fs::write(&golden, &out).expect("written");
    let golden = golden.display().to_string();
    said(&handler(None, &["test", &file, "--input", &input, "--golden", &golden]));
    std::fs::write(&golden, "{}\n").expect("written");
    let other = handler(None, &["test", &file, "--input", &input, "--golden", &golden]);
    assert_eq!(other.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&other.stderr).contains("line 1"));
}
