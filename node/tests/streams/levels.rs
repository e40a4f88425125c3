//! Acknowledgement levels that clients ask for, by MQTT 5: raised, lowered as far as the policy lets them, or refused.

use std::path::Path;

use weir_access::{Access, Anonymous, Parts, RefusedSubscribe};
use weir_broker::stream::Spec;
use weir_model::{Level, Qos};
use weir_store::NodeRef;
use weir_store::redis::RedisStore;
use weir_testkit::Redis;
use weir_wire::mqtt::{ReasonCode, Version};

use crate::client::{CLEAN, Client, How};
use crate::scene::Running;

const LEVEL: &str = "weir-ack-level";

/// Everybody may do everything, and ask for `stored` below `t/`.
const POLICY: &str = "[[rule]]\nallow = ['publish', 'subscribe']\nfilters = ['#', '$stream/#']\n\
                      [[rule]]\nallow = ['publish']\nfilters = ['t/#']\nack_level_min = 'stored'\n";

/// A node over an embedded store with that policy and a stream of all topics below `t/` and `u/`.
async fn node(dir: &Path, level: Level) -> Running {
    std::fs::write(dir.join("policy.toml"), POLICY).expect("written");
    let access = Access::new(Parts {
        authenticators: Vec::new(),
        policy: weir_access::policy::load("policy.toml", dir).expect("a policy").policy,
        anonymous: Anonymous::Anywhere,
        refused_subscribe: RefusedSubscribe::Answer,
    });
    let config = weir_store::Config { level: level.into(), ..weir_store::Config::default() };
    let (store, _) = weir_store::open(&config, &dir.join("data")).expect("a store");
    let node = Running::over(weir_broker::Config::default(), access, store).await;
    node.stream("t", Spec::default()).await;
    node.stream("u", Spec::default()).await;
    node
}

fn asked(client: &mut Client, topic: &str, level: &str) -> (ReasonCode, Option<String>) {
    let answer = client.publish_and_hear(topic, "1", &[(LEVEL, level)]);
    (answer.code, answer.property(LEVEL))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_hears_the_level_it_was_acknowledged_at_if_it_asked_for_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path(), Level::Fsynced).await;
    let mut client = Client::connect(node.address, "c", CLEAN);
    for level in ["stored", "fsynced"] {
        assert_eq!(asked(&mut client, "t/a", level), (ReasonCode::Success, Some(level.to_owned())));
    }
    let plain = client.publish_and_hear("t/a", "1", &[]);
    assert_eq!((plain.code, plain.property(LEVEL)), (ReasonCode::Success, None));
    // Nothing is owed to the store for a topic that nobody keeps.
    let nobody = (ReasonCode::NoMatchingSubscribers, Some("none".to_owned()));
    assert_eq!(asked(&mut client, "v/a", "fsynced"), nobody);
    assert_eq!(node.records("t").await, 3);
    let keyed = [(LEVEL, "fsynced"), ("weir-idempotency-key", "k")];
    let first = client.publish_and_hear("t/a", "4", &keyed);
    assert_eq!(first.property(LEVEL).as_deref(), Some("fsynced"));
    let again = client.publish_and_hear("t/a", "4", &keyed);
    assert_eq!(again.property(LEVEL).as_deref(), Some("none"), "nothing was written for the repeat");
    assert_eq!(again.property("weir-position"), first.property("weir-position"));
    client.leave();
    node.balanced();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_below_what_the_policy_allows_is_refused_and_nothing_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path(), Level::Fsynced).await;
    let mut client = Client::connect(node.address, "c", CLEAN);
    let answer = client.publish_and_hear("u/a", "1", &[(LEVEL, "stored")]);
    assert_eq!((answer.code, answer.property(LEVEL)), (ReasonCode::NotAuthorized, None));
    let reason = answer.reason.expect("a reason string");
    assert!(reason.contains("stored") && reason.contains("lower than the policy allows"), "{reason}");
    assert_eq!(node.records("u").await, 0);
    client.leave();
    node.balanced();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_is_none_or_never_here_is_refused_by_its_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path(), Level::Stored).await;
    let mut client = Client::connect(node.address, "c", CLEAN);
    assert_eq!(asked(&mut client, "t/a", "fsynced"), (ReasonCode::Success, Some("fsynced".to_owned())));
    for (level, part) in [
        ("replicated:1", "replicated:1: the acknowledgement level cannot be had from this store"),
        ("replicated:all", "replicated:all"),
        ("none", "names no acknowledgement level"),
        ("", "names no acknowledgement level"),
    ] {
        let answer = client.publish_and_hear("t/a", "1", &[(LEVEL, level)]);
        assert_eq!(answer.code, ReasonCode::ImplementationSpecificError, "{level}");
        let reason = answer.reason.expect("a reason string");
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(node.records("t").await, 1);
    // Who has said nothing by it is not refused: QoS 0 and MQTT 3.1.1 have no acknowledgement that could.
    let mut old = Client::connect(node.address, "old", How { version: Version::V311, ..CLEAN });
    assert_eq!(old.publish("t/a", "1"), ReasonCode::Success);
    client.leave();
    old.leave();
    node.balanced();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_one_publisher_come_in_the_order_of_its_messages_whatever_their_levels() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path(), Level::Fsynced).await;
    let mut client = Client::connect(node.address, "c", CLEAN);
    let levels = ["fsynced", "stored", "stored", "fsynced", "stored"];
    let sent: Vec<_> = levels
        .iter()
        .enumerate()
        .map(|(at, level)| client.send_publish("t/a", &at.to_string(), &[(LEVEL, level)]))
        .collect();
    let heard: Vec<_> = levels.iter().map(|_| client.next_puback()).collect();
    assert_eq!(heard.iter().map(|(id, _)| *id).collect::<Vec<_>>(), sent);
    for ((_, answer), level) in heard.iter().zip(levels) {
        assert_eq!(answer.property(LEVEL).as_deref(), Some(level));
    }
    let mut reader = Client::connect(node.address, "reader", CLEAN);
    reader.subscribe("$stream/t", Qos::AtLeastOnce, Some("earliest"));
    assert_eq!(reader.payloads(5), ["0", "1", "2", "3", "4"]);
    client.leave();
    reader.leave();
    node.balanced();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_wants_more_replicas_than_are_there_is_refused_and_one_that_has_them_waits() {
    let redis = Redis::start();
    let replica = Redis::build().replica_of(&redis).start();
    redis.wait_for_replicas(1);
    let own = NodeRef { node_id: "a".into(), incarnation: 1 };
    let config = weir_store::Config { level: Level::Stored.into(), ..weir_store::Config::default() };
    let store = RedisStore::open(&config, &redis.url(), "test", own).await.expect("a store");
    let node = Running::over(weir_broker::Config::default(), Access::open(), store).await;
    node.stream("t", Spec::default()).await;
    let mut client = Client::connect(node.address, "c", CLEAN);
    let answer = client.publish_and_hear("t/a", "1", &[(LEVEL, "replicated:2")]);
    assert_eq!(answer.code, ReasonCode::QuotaExceeded);
    let reason = answer.reason.expect("a reason string");
    assert!(
        reason.contains("replicated:2: the acknowledgement level cannot be had at the moment"),
        "{reason}"
    );
    replica.sigstop();
    let raised = client.send_publish("t/a", "2", &[(LEVEL, "replicated:1")]);
    // Who has not asked for it hears at once.
    let mut other = Client::connect(node.address, "other", CLEAN);
    assert_eq!(other.publish("t/a", "3"), ReasonCode::Success);
    assert_eq!(node.records("t").await, 2, "it is written, and not acknowledged");
    assert!(client.hears_nothing(), "it was acknowledged although the replica does not have it");
    replica.sigcont();
    let (answered, answer) = client.next_puback();
    assert_eq!((answered, answer.property(LEVEL).as_deref()), (raised, Some("replicated:1")));
    assert_eq!(node.records("t").await, 2);
    client.leave();
    other.leave();
}
