//! A kept session's place in a stream is kept with it.

use weir_broker::stream::Spec;
use weir_model::{DEFAULT_REALM, Qos};
use weir_testkit::eventually;
use weir_wire::mqtt::{ReasonCode, Version};

use crate::client::{CLEAN, Client, How, KEPT};
use crate::scene::Running;

fn publish(client: &mut Client, payloads: std::ops::RangeInclusive<u32>) {
    for payload in payloads {
        assert_eq!(client.publish(&format!("s/t{payload}"), &payload.to_string()), ReasonCode::Success);
    }
}

async fn places(node: &Running) -> usize {
    let info = node.broker.stream_info(&DEFAULT_REALM.into(), "s").await.expect("a stream");
    info.generations[0].1[0].groups.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_session_goes_on_behind_what_it_has_answered() {
    let node = Running::start().await;
    node.stream("s", Spec::default()).await;
    let mut publisher = Client::connect(node.address, "publisher", CLEAN);
    publish(&mut publisher, 1..=4);
    for version in [Version::V5, Version::V311] {
        let kept = How { version, ..KEPT };
        let name = format!("{version:?}");
        let mut reader = Client::connect(node.address, &name, kept);
        let offset = (version == Version::V5).then_some("earliest");
        assert_eq!(reader.subscribe("$stream/s", Qos::AtLeastOnce, offset).0, ReasonCode::GrantedQos1);
        if version == Version::V311 {
            publish(&mut publisher, 1..=4);
        }
        let records: Vec<_> = (0..4).map(|_| reader.next()).collect();
        records[..2].iter().for_each(|record| reader.answer(record));
        reader.ping();
        reader.leave();
        publish(&mut publisher, 5..=5);
        let mut reader = Client::connect(node.address, &name, kept);
        assert!(reader.session_present);
        assert_eq!(reader.payloads(3), ["3", "4", "5"], "{name}");
        reader.ping();
        // Subscribing again, as many clients do, changes nothing.
        reader.subscribe("$stream/s", Qos::AtLeastOnce, None);
        publish(&mut publisher, 6..=6);
        assert_eq!(reader.payloads(1), ["6"]);
        reader.leave();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_moves_to_another_node_goes_on_there() {
    let (one, other) = Running::two().await;
    one.stream("s", Spec::default()).await;
    other.broker.store().caught_up().await.expect("heard");
    let mut publisher = Client::connect(one.address, "publisher", CLEAN);
    publish(&mut publisher, 1..=3);
    let mut here = Client::connect(one.address, "mover", KEPT);
    here.subscribe("$stream/s", Qos::AtLeastOnce, Some("earliest"));
    let records: Vec<_> = (0..3).map(|_| here.next()).collect();
    here.answer(&records[0]);
    here.ping();
    // The connection there takes the session over while the one here still stands.
    let mut there = Client::connect(other.address, "mover", KEPT);
    assert!(there.session_present);
    publish(&mut publisher, 4..=4);
    assert_eq!(there.payloads(3), ["2", "3", "4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_ends_with_its_subscription_or_its_session() {
    let node = Running::start().await;
    node.stream("s", Spec::default()).await;
    let gone = || async { eventually_none(&node).await };
    let mut reader = Client::connect(node.address, "a", KEPT);
    reader.subscribe("$stream/s", Qos::AtLeastOnce, None);
    assert_eq!(places(&node).await, 1);
    reader.unsubscribe("$stream/s");
    gone().await;
    reader.subscribe("$stream/s", Qos::AtLeastOnce, None);
    reader.leave();
    assert_eq!(places(&node).await, 1);
    // A clean start ends the session: the janitor finds what it left.
    let mut anew = Client::connect(node.address, "a", CLEAN);
    node.broker.tidy_streams(true).await;
    gone().await;
    // A clean session has no place.
    anew.subscribe("$stream/s", Qos::AtLeastOnce, None);
    assert_eq!(places(&node).await, 0);
}

async fn eventually_none(node: &Running) {
    while places(node).await > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_deleted_while_its_reader_is_away_is_told_when_it_comes_back() {
    let node = Running::start().await;
    node.stream("s", Spec::default()).await;
    let mut reader = Client::connect(node.address, "reader", KEPT);
    reader.subscribe("$stream/s", Qos::AtLeastOnce, None);
    reader.leave();
    node.broker.delete_stream(&DEFAULT_REALM.into(), "s").await.expect("deleted");
    let mut reader = Client::connect(node.address, "reader", KEPT);
    assert_eq!(reader.next().property("weir-stream-end"), Some("deleted"));
    let session = node.broker.sessions().find(&DEFAULT_REALM.into(), &"reader".into()).expect("its session");
    eventually("no subscription", || session.subscriptions().is_empty().then_some(()));
    node.stream("s", Spec::default()).await;
    assert_eq!(reader.subscribe("$stream/s", Qos::AtLeastOnce, None).0, ReasonCode::GrantedQos1);
}
