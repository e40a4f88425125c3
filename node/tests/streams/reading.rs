//! What a reader is given: which records, on which topic, with which properties, from which place on.

use std::time::Duration;

use weir_broker::stream::Spec;
use weir_model::{DEFAULT_REALM, Qos};
use weir_store::Retention;
use weir_wire::mqtt::{ReasonCode, Version};

use crate::client::{CLEAN, Client, How};
use crate::scene::Running;

/// Nothing that is on its way takes longer.
const QUIET: Duration = Duration::from_millis(300);

fn publish(client: &mut Client, stream: &str, payloads: std::ops::RangeInclusive<u32>) {
    for payload in payloads {
        client.publish(&format!("{stream}/t{payload}"), &payload.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_on_their_own_topic_and_tell_their_place() {
    let node = Running::start().await;
    node.stream("plant", Spec::default()).await;
    let mut reader = Client::connect(node.address, "reader", CLEAN);
    let user = [("weir-stream-offset", "earliest")];
    assert_eq!(
        reader.subscribe_with("$stream/plant", Qos::ExactlyOnce, &user, Some(7)).0,
        ReasonCode::GrantedQos1
    );
    let mut publisher = Client::connect(node.address, "publisher", CLEAN);
    // Who pretends to be the broker is not believed.
    let mine = [("mine", "1"), ("weir-position", "9:9-9"), ("mine", "2")];
    publisher.publish_with("plant/a/temperature", "21", &mine);
    let record = reader.next();
    assert_eq!((record.topic.as_str(), record.payload.as_str()), ("plant/a/temperature", "21"));
    assert_eq!((record.qos, record.retain, &record.subscription_ids), (Qos::AtLeastOnce, false, &vec![7]));
    let names: Vec<_> = record.user.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["mine", "mine", "weir-stream", "weir-position", "weir-partition"]);
    assert_eq!(
        (record.property("weir-stream"), record.property("weir-partition")),
        (Some("plant"), Some("0"))
    );
    assert!(record.position().parse::<weir_model::Position>().is_ok_and(|position| position.epoch != 9));
    reader.answer(&record);
    reader.leave();
    publisher.leave();
    node.balanced();
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_begins_where_it_is_asked_to() {
    let node = Running::start().await;
    node.stream("s", Spec::default()).await;
    let mut publisher = Client::connect(node.address, "publisher", CLEAN);
    publish(&mut publisher, "s", 1..=5);
    let mut first = Client::connect(node.address, "first", CLEAN);
    first.subscribe("$stream/s", Qos::AtLeastOnce, Some("earliest"));
    let records = first.take(5);
    let after = records[2].position();
    let time = format!("time:{}", after.split([':', '-']).nth(1).expect("milliseconds"));

    let reader = |offset: Option<&str>, name: &str| {
        let mut reader = Client::connect(node.address, name, CLEAN);
        assert_eq!(reader.subscribe("$stream/s", Qos::AtMostOnce, offset).0, ReasonCode::Success);
        reader
    };
    let mut latest = [reader(None, "none"), reader(Some("latest"), "latest")];
    assert_eq!(reader(Some(&after), "after").payloads(2), ["4", "5"]);
    let at_time = reader(Some(&time), "time").payloads(3);
    assert!(at_time.ends_with(&["5".to_owned()]) || at_time.contains(&"3".to_owned()), "{at_time:?}");
    assert_eq!(reader(Some("time:2020-01-01T00:00:00Z"), "long ago").payloads(5), ["1", "2", "3", "4", "5"]);
    publish(&mut publisher, "s", 6..=6);
    latest.iter_mut().for_each(|reader| assert_eq!(reader.payloads(1), ["6"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_client_reads_what_comes_from_then_on() {
    let node = Running::start().await;
    node.stream("s", Spec::default()).await;
    let mut publisher = Client::connect(node.address, "publisher", CLEAN);
    publish(&mut publisher, "s", 1..=2);
    let old = How { version: Version::V311, ..CLEAN };
    let mut reader = Client::connect(node.address, "old", old);
    assert_eq!(reader.subscribe("$stream/s", Qos::ExactlyOnce, None).0, ReasonCode::GrantedQos1);
    publish(&mut publisher, "s", 3..=4);
    assert_eq!(reader.payloads(2), ["3", "4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribing_again_changes_options_or_the_place_and_unsubscribing_ends_it() {
    let node = Running::start().await;
    node.stream("s", Spec::default()).await;
    let mut publisher = Client::connect(node.address, "publisher", CLEAN);
    publish(&mut publisher, "s", 1..=2);
    let mut reader = Client::connect(node.address, "reader", CLEAN);
    reader.subscribe("$stream/s", Qos::AtLeastOnce, Some("earliest"));
    assert_eq!(reader.payloads(2), ["1", "2"]);
    // Without an offset it goes on where it is, at another QoS.
    reader.subscribe("$stream/s", Qos::AtMostOnce, None);
    publish(&mut publisher, "s", 3..=3);
    let record = reader.next();
    assert_eq!((record.payload.as_str(), record.qos), ("3", Qos::AtMostOnce));
    reader.subscribe("$stream/s", Qos::AtMostOnce, Some("earliest"));
    assert_eq!(reader.payloads(3), ["1", "2", "3"]);
    assert_eq!(reader.unsubscribe("$stream/s"), ReasonCode::Success);
    assert_eq!(reader.unsubscribe("$stream/s"), ReasonCode::NoSubscriptionExisted);
    publish(&mut publisher, "s", 4..=4);
    assert_eq!(reader.next_within(QUIET), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_on_in_each_partition_where_it_was() {
    let node = Running::start().await;
    node.stream("s", Spec { partitions: 4, ..Spec::default() }).await;
    let mut publisher = Client::connect(node.address, "publisher", CLEAN);
    publish(&mut publisher, "s", 1..=40);
    let mut reader = Client::connect(node.address, "reader", CLEAN);
    reader.subscribe("$stream/s", Qos::AtLeastOnce, Some("earliest"));
    let mut places = std::collections::BTreeMap::new();
    let mut seen = reader.take(17);
    for record in &seen {
        let partition = record.property("weir-partition").expect("a partition").to_owned();
        places.insert(partition, record.position());
    }
    reader.leave();
    let offsets: Vec<_> =
        places.iter().map(|(partition, position)| format!("{partition}/{position}")).collect();
    let user: Vec<_> = offsets.iter().map(|offset| ("stream-offset", &**offset)).collect();
    let mut again = Client::connect(node.address, "reader", CLEAN);
    again.subscribe_with("$stream/s", Qos::AtLeastOnce, &user, None);
    seen.extend(again.take(23));
    let mut numbers: Vec<u32> = seen.iter().map(|record| record.payload.parse().expect("a number")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_a_stream_that_is_deleted_hears_of_it() {
    let node = Running::start().await;
    node.stream("s", Spec::default()).await;
    let mut reader = Client::connect(node.address, "reader", CLEAN);
    reader.subscribe("$stream/s", Qos::AtLeastOnce, None);
    node.broker.delete_stream(&DEFAULT_REALM.into(), "s").await.expect("deleted");
    let last = reader.next();
    assert_eq!((last.topic.as_str(), last.payload.as_str(), last.qos), ("$stream/s", "", Qos::AtMostOnce));
    assert_eq!(last.property("weir-stream-end"), Some("deleted"));
    let session = node.broker.sessions().find(&DEFAULT_REALM.into(), &"reader".into()).expect("its session");
    weir_testkit::eventually("no subscription", || session.subscriptions().is_empty().then_some(()));
    assert_eq!(reader.subscribe("$stream/s", Qos::AtLeastOnce, None).0, ReasonCode::TopicFilterInvalid);
    reader.leave();
    node.balanced();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_went_unread_are_told() {
    let node = Running::start().await;
    let retention = Retention { records_max: 5, ..Retention::default() };
    node.stream("s", Spec { retention, ..Spec::default() }).await;
    let mut publisher = Client::connect(node.address, "publisher", CLEAN);
    publish(&mut publisher, "s", 1..=1);
    let mut reader = Client::connect(node.address, "reader", CLEAN);
    reader.subscribe("$stream/s", Qos::AtLeastOnce, Some("earliest"));
    let first = reader.take(1).remove(0);
    assert_eq!(first.property("weir-missed"), None);
    reader.leave();
    publish(&mut publisher, "s", 2..=20);
    let mut reader = Client::connect(node.address, "reader", CLEAN);
    reader.subscribe("$stream/s", Qos::AtLeastOnce, Some(&first.position()));
    let records = reader.take(5);
    assert_eq!(records[0].payload, "16");
    assert!(records[0].property("weir-missed").is_some() && records[1].property("weir-missed").is_none());
}
