//! What a policy file allows, as clients see it.

use weir_bench::client::Message;
use weir_model::Qos;
use weir_wire::mqtt::Version;

use crate::scene::{
    Files, ask_for, connect, message, next, options, publish, subscribe, text, user, with_policy, with_role,
};

const DENY_WINS: &str = r##"
[[rule]]
allow = ["publish", "subscribe"]
filters = ["#", "$SYS/#"]

[[rule]]
deny = ["publish", "subscribe"]
filters = ["private/#"]
"##;

#[tokio::test]
async fn no_filter_reaches_around_a_denial() {
    let files = Files::new();
    let policy = files.write("policy.toml", DENY_WINS);
    let node = with_policy(&policy).store("memory").start();
    let mut client = connect(&node, &user("ann")).await;
    let around = ["#", "+", "+/#", "+/x", "+/+", "private", "private/#", "private/+", "private/x/y"];
    for filter in around {
        assert_eq!(ask_for(&mut client, filter, Qos::AtMostOnce).await, 0x87, "{filter}");
        let shared = format!("$share/g/{filter}");
        assert_eq!(ask_for(&mut client, &shared, Qos::AtMostOnce).await, 0x87, "{shared}");
    }
    for filter in ["fleet/#", "fleet/+/x", "$SYS/#", "$share/g/fleet/#", "/#", "privat/#"] {
        assert_eq!(ask_for(&mut client, filter, Qos::AtMostOnce).await, 0, "{filter}");
    }
    assert_eq!(publish(&mut client, &message("private/x", "")).await, Err(0x87));
    assert_eq!(publish(&mut client, &message("fleet/x", "")).await, Ok(()));
}

const LIMITS: &str = r##"
[[rule]]
allow = ["publish", "subscribe"]
filters = ["low/#"]
qos_max = 1

[[rule]]
allow = ["publish", "subscribe"]
filters = ["plain/#"]
retain = false

[[rule]]
roles = ["operator"]
allow = ["publish", "subscribe"]
filters = ["#"]
"##;

#[tokio::test]
async fn rules_may_limit_qos_and_retain() {
    let files = Files::new();
    let policy = files.write("policy.toml", LIMITS);
    let node = with_policy(&policy).store("memory").start();
    let mut client = connect(&node, &user("ann")).await;
    assert_eq!(ask_for(&mut client, "low/a", Qos::ExactlyOnce).await, 1);
    assert_eq!(ask_for(&mut client, "low/b", Qos::AtMostOnce).await, 0);
    let low = |qos| Message::new("low/a", "x", qos);
    assert_eq!(publish(&mut client, &low(Qos::ExactlyOnce)).await, Err(0x87));
    assert_eq!(publish(&mut client, &low(Qos::AtLeastOnce)).await, Ok(()));
    assert_eq!(next(&mut client).await.qos, Qos::AtLeastOnce);
    let plain = |retain| Message { retain, ..message("plain/a", "x") };
    assert_eq!(publish(&mut client, &plain(true)).await, Err(0x87));
    assert_eq!(publish(&mut client, &plain(false)).await, Ok(()));
    let mut operator = connect(&node, &with_role("olga", "operator")).await;
    assert_eq!(ask_for(&mut operator, "low/a", Qos::ExactlyOnce).await, 2);
    assert_eq!(publish(&mut operator, &plain(true)).await, Ok(()));
    node.balanced();
}

/// MQTT 3.1.1 has no word for a refused publish: it is acknowledged and dropped (MQTT-3.3.5-2).
#[tokio::test]
async fn a_refused_publish_is_told_to_those_who_can_hear_it() {
    let files = Files::new();
    let policy = files.write("policy.toml", LIMITS);
    let node = with_policy(&policy).store("memory").start();
    let mut watcher = connect(&node, &with_role("olga", "operator")).await;
    subscribe(&mut watcher, "#").await;
    let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];
    let mut young = connect(&node, &user("ann")).await;
    for qos in qos {
        let told = publish(&mut young, &Message::new("closed/x", "young", qos)).await;
        assert_eq!(told, if qos == Qos::AtMostOnce { Ok(()) } else { Err(0x87) });
    }
    let old = weir_bench::client::Options { version: Version::V311, ..user("bob") };
    let mut old = connect(&node, &old).await;
    for qos in qos {
        publish(&mut old, &Message::new("closed/x", "old", qos)).await.expect("acknowledged");
    }
    publish(&mut young, &message("low/x", "first")).await.expect("allowed");
    publish(&mut old, &message("low/x", "second")).await.expect("allowed");
    assert_eq!((text(&mut watcher).await, text(&mut watcher).await), ("first".into(), "second".into()));
    let refused = node.metrics().value("weir_broker_messages_refused_total{reason=\"denied\"}");
    assert_eq!(refused, 6.0);
    node.balanced();
}

/// A rule for `{user_id}` is nobody's who has none, and no name makes it wider.
#[tokio::test]
async fn a_name_with_wildcards_in_it_owns_nothing() {
    let files = Files::new();
    let policy = files.write(
        "policy.toml",
        "[[rule]]\nallow = [\"publish\", \"subscribe\"]\nfilters = [\"{user_id}/#\"]\n",
    );
    let node = with_policy(&policy).set("access.anonymous", "loopback").store("memory").start();
    for name in ["+", "#", "a/b", "$SYS"] {
        let mut client =
            connect(&node, &weir_bench::client::Options { client_id: "c".into(), ..user(name) }).await;
        for filter in ["#", "+/#", "ann/#", "a/b/#", "$SYS/#", "/#"] {
            assert_eq!(ask_for(&mut client, filter, Qos::AtMostOnce).await, 0x87, "{name:?} {filter}");
        }
        assert_eq!(publish(&mut client, &message("ann/x", "")).await, Err(0x87), "{name:?}");
        client.disconnect().await.expect("goodbye");
    }
    let mut nobody = connect(&node, &options("nobody")).await;
    for filter in ["#", "+/#", "nobody/#", "/#"] {
        assert_eq!(ask_for(&mut nobody, filter, Qos::AtMostOnce).await, 0x87, "{filter}");
    }
    let mut ann = connect(&node, &user("ann")).await;
    subscribe(&mut ann, "ann/#").await;
    node.balanced();
}
