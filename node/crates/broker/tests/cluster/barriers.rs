//! A subscription is acknowledged when the next publish meets it, whatever node that comes to.

use std::time::Duration;

use weir_broker::publish::Verdict;
use weir_model::{Qos, Reason};
use weir_store::SubscriptionOptions;

use super::bed::{Bed, until};
use super::client::{CLEAN, Client, STAYS};
use super::source::Source;

/// Long enough that what does not wait would be through.
const SOON: Duration = Duration::from_millis(300);

fn qos_1() -> SubscriptionOptions {
    SubscriptionOptions { qos: Qos::AtLeastOnce, ..SubscriptionOptions::default() }
}

#[tokio::test]
async fn the_next_publish_on_any_node_meets_an_acknowledged_subscription() {
    let bed = Bed::of(&["a", "b", "c"]).await;
    let mut clean = Client::connect(&bed.node("b"), "clean", CLEAN).await;
    let mut stays = Client::connect(&bed.node("b"), "stays", STAYS).await;
    let mut sources = Vec::new();
    for node in &bed.nodes {
        sources.push(Source::on(node, &format!("p{}", node.name)).await);
    }
    for turn in 0..30 {
        let client = if turn % 2 == 0 { &mut clean } else { &mut stays };
        let topic = format!("t/{turn}");
        let filter = if turn % 3 == 0 { format!("t/{turn}/#") } else { topic.clone() };
        client.subscribe(&filter, Qos::AtLeastOnce).await;
        let before = client.got.len();
        for source in &mut sources {
            source.publish(&topic, &topic, Qos::AtLeastOnce).await;
        }
        client.takes(before + 3).await;
    }
    bed.is_at_rest().await;
}

#[tokio::test]
async fn a_persistent_session_s_subscription_waits_for_a_node_that_has_not_heard_of_it() {
    let bed = Bed::of(&["a", "b"]).await;
    let a = bed.node("a");
    let mut client = Client::connect(&bed.node("b"), "c", STAYS).await;
    let mut source = Source::on(&a, "p").await;
    bed.store.hold_mirror(a.incarnation);
    {
        let mut subscribing = std::pin::pin!(client.subscribes("t", qos_1()));
        let early = tokio::time::timeout(SOON, &mut subscribing).await;
        assert!(early.is_err(), "a would publish past it");
        bed.store.let_mirror_go(a.incarnation);
        assert!(subscribing.await);
    }
    source.publish("t", "1", Qos::AtLeastOnce).await;
    client.takes(1).await;
    bed.is_at_rest().await;
}

#[tokio::test]
async fn a_node_that_has_lost_its_lease_is_not_waited_for_and_acknowledges_nothing() {
    let bed = Bed::of(&["a", "b"]).await;
    let a = bed.node("a");
    let mut client = Client::connect(&bed.node("b"), "c", STAYS).await;
    let mut source = Source::on(&a, "p").await;
    bed.store.hold_mirror(a.incarnation);
    {
        let mut subscribing = std::pin::pin!(client.subscribes("t", qos_1()));
        assert!(tokio::time::timeout(SOON, &mut subscribing).await.is_err());
        bed.store.cut(a.incarnation);
        assert!(subscribing.await);
    }
    let refused = source.publish_as("t", "1", Qos::AtLeastOnce, false).await;
    assert_eq!(refused, Verdict::Refused(Reason::Busy));
    client.take().await;
    assert!(client.got.is_empty());
    bed.store.let_mirror_go(a.incarnation);
    bed.is_at_rest().await;
}

#[tokio::test]
async fn a_clean_session_s_subscription_does_not_wait_for_a_silent_node_for_ever() {
    let bed = Bed::of(&["a", "b"]).await;
    bed.introduce_a_stranger();
    let b = bed.node("b");
    until("the stranger has a link", || b.links.all().len() == 2).await;
    let mut client = Client::connect(&b, "c", CLEAN).await;
    {
        let mut subscribing = std::pin::pin!(client.subscribes("t", qos_1()));
        assert!(tokio::time::timeout(SOON, &mut subscribing).await.is_err(), "it is waited for at first");
        assert!(subscribing.await);
    }
    let mut source = Source::on(&bed.node("a"), "p").await;
    source.publish("t", "1", Qos::AtLeastOnce).await;
    client.takes(1).await;
    bed.introduce().await;
    bed.is_at_rest().await;
}

#[tokio::test]
async fn a_node_that_holds_a_lease_and_has_no_link_is_waited_for() {
    let mut bed = Bed::of(&["a", "b"]).await;
    let c = bed.add("c").await;
    let client = Client::connect(&bed.node("b"), "c", STAYS).await;
    let mut subscribing = std::pin::pin!(client.subscribes("t", qos_1()));
    assert!(tokio::time::timeout(SOON, &mut subscribing).await.is_err());
    assert_eq!(c.receivers("t"), 1, "its mirror knows, but nobody has asked it");
    bed.introduce().await;
    assert!(subscribing.await);
    bed.is_at_rest().await;
}
