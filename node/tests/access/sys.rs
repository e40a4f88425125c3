//! `$SYS/drops` tells who lost what: only to those whom the rules let see it.

use std::path::Path;

use tokio::task::JoinHandle;
use weir_bench::client::Options;
use weir_model::Qos;
use weir_testkit::Node;

use crate::scene::{
    Files, ask_for, connect, kept, message, next, subscribe, until, user, with_policy, with_role,
};

/// Everybody may have everything but what tenants are denied.
fn rules(denied: &str) -> String {
    format!(
        r##"
[[rule]]
allow = ["publish", "subscribe"]
filters = ["#", "$SYS/#"]

[[rule]]
roles = ["tenant"]
deny = ["subscribe"]
filters = ["{denied}"]
"##
    )
}

fn tenant(client_id: &str) -> Options {
    Options { client_id: client_id.to_owned(), ..with_role("tom", "tenant") }
}

/// A node where one message too many is lost, and somebody away who loses it.
async fn losing(policy: &Path) -> Node {
    let node = with_policy(policy).store("memory");
    let node = node.set("store.queue_messages_max", 1).set("broker.sys_interval_seconds", 1).start();
    let mut sleeper = connect(&node, &kept(user("sleeper"))).await;
    subscribe(&mut sleeper, "lost").await;
    sleeper.disconnect().await.expect("a goodbye");
    node
}

/// Publishes what is lost until the task is ended.
async fn publishing(node: &Node) -> JoinHandle<()> {
    let mut publisher = connect(node, &user("publisher")).await;
    tokio::spawn(async move {
        loop {
            publisher.publish(&message("lost", "x")).await.expect("acknowledged");
        }
    })
}

/// Waits until an operator was told of a loss.
async fn operator_hears(node: &Node) {
    let mut operator = connect(node, &with_role("olga", "operator")).await;
    assert_eq!(ask_for(&mut operator, "$SYS/drops", Qos::AtMostOnce).await, 0);
    let publishing = publishing(node).await;
    let event = next(&mut operator).await;
    publishing.abort();
    assert_eq!(event.topic, "$SYS/drops");
    let event: serde_json::Value = serde_json::from_slice(&event.payload).expect("JSON");
    assert_eq!((&event["reason"], &event["client"]), (&"queue_full".into(), &"sleeper".into()));
}

#[tokio::test]
async fn no_filter_shows_losses_to_who_may_not_see_them() {
    let files = Files::new();
    let node = losing(&files.write("policy.toml", &rules("$SYS/drops"))).await;
    let mut tenant = connect(&node, &tenant("tom")).await;
    for filter in ["$SYS/drops", "$SYS/#", "$SYS/+", "$SYS/drops/#", "$share/g/$SYS/drops", "$share/g/$SYS/#"]
    {
        assert_eq!(ask_for(&mut tenant, filter, Qos::AtMostOnce).await, 0x87, "{filter}");
    }
    assert_eq!(ask_for(&mut tenant, "$SYS/broker/#", Qos::AtMostOnce).await, 0);
    operator_hears(&node).await;
    node.balanced();
}

#[tokio::test]
async fn who_may_see_losses_no_more_is_told_of_none_by_a_filter_from_before() {
    let files = Files::new();
    let node = losing(&files.write("policy.toml", &rules("nothing"))).await;
    let mut watching = connect(&node, &tenant("watching")).await;
    assert_eq!(ask_for(&mut watching, "$SYS/#", Qos::AtMostOnce).await, 0);
    files.write("policy.toml", &rules("$SYS/drops"));
    let mut asking = connect(&node, &tenant("asking")).await;
    until(0x87, async || ask_for(&mut asking, "$SYS/drops", Qos::AtMostOnce).await).await;

    operator_hears(&node).await;

    // What the node says every second comes behind what it has said before.
    let mut seconds = 0;
    while seconds < 2 {
        let said = next(&mut watching).await;
        assert_ne!(said.topic, "$SYS/drops");
        seconds += u32::from(said.topic == "$SYS/broker/uptime");
    }
    node.balanced();
}
