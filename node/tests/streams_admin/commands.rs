//! `weir stream`: what people type, and what scripts read.

use serde_json::{Value, json as value};

use crate::scene::{admin, fill, group, json, node, said, stream, weir};

#[test]
fn a_stream_is_made_written_read_altered_and_ended_by_the_command() {
    let node = node().start();
    let create = ["stream", "create", "s", "-f", "a/#", "--key", "property:id", "--age-max", "7days"];
    assert!(said(&weir(&node, &create)).starts_with("created: s"));
    let listed = json(&weir(&node, &["stream", "list", "--json"]));
    assert_eq!(listed[0]["key"], "property:id");
    assert_eq!((&listed[0]["age_max_ms"], &listed[0]["filters"]), (&value!(604_800_000), &value!(["a/#"])));
    let publish = ["stream", "publish", "-t", "a/x", "-m", "one", "--idempotency-key", "k", "--json"];
    let (first, again) = (json(&weir(&node, &publish)), json(&weir(&node, &publish)));
    assert_eq!((&first["deduplicated"], &again["deduplicated"]), (&value!(false), &value!(true)));
    assert_eq!(first["position"], again["position"]);
    assert_eq!(said(&weir(&node, &["stream", "read", "s"])), "one\n");
    let read: Value = json(&weir(&node, &["stream", "read", "s", "--json"]));
    assert_eq!(
        (&read["topic"], &read["payload"], &read["number"]),
        (&value!("a/x"), &value!("one"), &value!(1))
    );
    let position = read["position"].as_str().expect("a position");
    assert_eq!(said(&weir(&node, &["stream", "read", "s", "--from", position])), "");
    let altered = json(&weir(&node, &["stream", "alter", "s", "--records-max", "5", "--json"]));
    assert_eq!((&altered["records_max"], &altered["filters"]), (&value!(5), &value!(["a/#"])));
    let info = json(&weir(&node, &["stream", "info", "s", "--json"]));
    assert_eq!(info["generations"][0]["partitions"][0]["records"], 1);
    assert!(said(&weir(&node, &["stream", "info", "s"])).contains("1 records"));
    assert_eq!(json(&weir(&node, &["stream", "delete", "s", "--json"]))["deleted"], true);
    assert_eq!(weir(&node, &["stream", "info", "s"]).status.code(), Some(6));
    assert_eq!(weir(&node, &["stream", "create", "a/b"]).status.code(), Some(2));
    assert_eq!(weir(&node, &["stream", "create", "s", "--key", "nonsense"]).status.code(), Some(2));
}

#[tokio::test]
async fn a_group_is_made_consumed_moved_and_ended_by_the_command() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    fill(&admin, "a/x", 5).await;
    let create = ["stream", "group", "create", "s", "g", "--ack-wait", "1m", "--backoff", "1s,10s", "--json"];
    let made = json(&weir(&node, &create));
    assert_eq!((&made["ack_wait_ms"], &made["backoff_ms"]), (&value!(60_000), &value!([1000, 10_000])));
    let consume = |count: &str| said(&weir(&node, &["stream", "consume", "s", "g", "-C", count, "-W", "30"]));
    assert_eq!(consume("2"), "0\n1\n");
    assert_eq!(consume("3"), "2\n3\n4\n");
    let late = weir(&node, &["stream", "consume", "s", "g", "-C", "1", "-W", "1"]);
    assert_eq!(late.status.code(), Some(5));
    said(&weir(&node, &["stream", "group", "seek", "s", "g", "--to", "earliest"]));
    assert_eq!(consume("1"), "0\n");
    assert_eq!(json(&weir(&node, &["stream", "group", "pause", "s", "g", "--json"]))["paused"], true);
    assert_eq!(json(&weir(&node, &["stream", "group", "resume", "s", "g", "--json"]))["paused"], false);
    let altered =
        json(&weir(&node, &["stream", "group", "alter", "s", "g", "--deliveries-max", "3", "--json"]));
    assert_eq!((&altered["deliveries_max"], &altered["ack_wait_ms"]), (&value!(3), &value!(60_000)));
    assert_eq!(json(&weir(&node, &["stream", "group", "list", "s", "--json"]))[0]["group"], "g");
    assert!(said(&weir(&node, &["stream", "info", "s"])).contains("group g: 4 to go"));
    said(&weir(&node, &["stream", "group", "delete", "s", "g"]));
    assert_eq!(weir(&node, &["stream", "consume", "s", "g", "-C", "1"]).status.code(), Some(6));
    group(&admin, "s", "h", Default::default()).await;
    assert_eq!(weir(&node, &["stream", "group", "redrive", "s", "h"]).status.code(), Some(1));
}
