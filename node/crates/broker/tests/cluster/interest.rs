//! What peers want, as it comes and goes.

use weir_model::Qos;

use super::bed::{Bed, Node, Setup, until};
use super::client::{CLEAN, Client};
use super::source::Source;

/// Whether nobody wants anything any more, and no node believes otherwise.
fn is_empty(bed: &Bed, topics: &[&str]) -> bool {
    let empty = |node: &Node| {
        topics.iter().all(|topic| node.receivers(topic) == 0) && node.links.interest().digest().filters == 0
    };
    bed.nodes.iter().all(|node| empty(node))
}

#[tokio::test]
async fn who_leaves_takes_its_interest_along() {
    let bed = Bed::of(&["a", "b"]).await;
    let a = bed.node("a");
    let mut client = Client::connect(&bed.node("b"), "c", CLEAN).await;
    for filter in ["t", "t/#", "+/u", "$share/g/t", "$share/g/t/#"] {
        client.subscribe(filter, Qos::AtLeastOnce).await;
    }
    assert!(a.peers_for("t") >= 3 && a.peers_for("t/u") >= 2);
    client.unsubscribe("t").await;
    client.end().await;
    until("all is forgotten", || is_empty(&bed, &["t", "t/u"])).await;
    bed.is_at_rest().await;
}

#[tokio::test]
async fn a_filter_is_wanted_until_the_last_of_its_subscribers_has_gone() {
    let bed = Bed::of(&["a", "b"]).await;
    let (a, b) = (bed.node("a"), bed.node("b"));
    let mut first = Client::connect(&b, "one", CLEAN).await;
    first.subscribe("t", Qos::AtLeastOnce).await;
    // Again and again is once.
    first.subscribe("t", Qos::AtMostOnce).await;
    let mut second = Client::connect(&b, "two", CLEAN).await;
    second.subscribe("t", Qos::AtLeastOnce).await;
    // Taken to the other node, where it does not subscribe.
    let mut moved = first.move_to(&a).await;
    first.ends().await;
    first.leave().await;
    let mut source = Source::on(&a, "p").await;
    source.publish("t", "1", Qos::AtLeastOnce).await;
    second.takes(1).await;
    second.end().await;
    moved.end().await;
    until("all is forgotten", || is_empty(&bed, &["t"])).await;
    bed.is_at_rest().await;
}

#[tokio::test]
async fn a_node_that_goes_takes_all_its_filters_along() {
    let mut bed = Bed::of(&["a", "b", "c"]).await;
    let client = Client::connect(&bed.node("b"), "c", CLEAN).await;
    for filter in ["t", "t/#", "+/u", "$share/g/t"] {
        client.subscribe(filter, Qos::AtLeastOnce).await;
    }
    assert!(bed.node("a").receivers("t") > 0 && bed.node("c").receivers("t") > 0);
    bed.kill("b").await;
    until("all is forgotten", || is_empty(&bed, &["t", "t/u"])).await;
    let again = bed.add("b").await;
    bed.introduce().await;
    let mut client = Client::connect(&again, "c", CLEAN).await;
    client.subscribe("t", Qos::AtLeastOnce).await;
    let mut source = Source::on(&bed.node("a"), "p").await;
    source.publish("t", "1", Qos::AtLeastOnce).await;
    client.takes(1).await;
    bed.is_at_rest().await;
}

#[tokio::test]
async fn what_changed_while_a_link_was_cut_is_known_once_it_is_back() {
    let bed = Bed::of(&["a", "b"]).await;
    let (a, b) = (bed.node("a"), bed.node("b"));
    let client = Client::connect(&b, "c", CLEAN).await;
    for turn in 0..10 {
        client.subscribe(&format!("t/{turn}"), Qos::AtLeastOnce).await;
        bed.cut_link("a", "b");
        let other = format!("u/{turn}");
        client.subscribe(&other, Qos::AtLeastOnce).await;
        client.unsubscribe(&format!("t/{turn}")).await;
        until("the change is known", || a.receivers(&other) == 1 && a.receivers(&format!("t/{turn}")) == 0)
            .await;
    }
    bed.introduce().await;
    bed.is_at_rest().await;
}

#[tokio::test]
async fn a_topic_shard_that_fails_keeps_what_the_peers_want() {
    let bed = Bed::of(&["a", "b"]).await;
    let (a, b) = (bed.node("a"), bed.node("b"));
    let mut client = Client::connect(&b, "c", CLEAN).await;
    let topics: Vec<_> = (0..20).map(|number| format!("t/{number}")).collect();
    for topic in &topics {
        client.subscribe(topic, Qos::AtLeastOnce).await;
    }
    client.subscribe("t/+/x", Qos::AtLeastOnce).await;
    let mut source = Source::on(&a, "p").await;
    (0..9).for_each(|shard| a.broker.topics().panic(shard));
    // Whoever subscribes now waits for the shards' successors.
    let local = Client::connect(&a, "local", CLEAN).await;
    for topic in topics.iter().map(String::as_str).chain(["t/+/x"]) {
        local.subscribe(topic, Qos::AtMostOnce).await;
    }
    for topic in &topics {
        source.publish(topic, topic, Qos::AtLeastOnce).await;
    }
    source.publish("t/1/x", "end", Qos::AtLeastOnce).await;
    client.takes(21).await;
    bed.is_at_rest().await;
    assert_eq!((client.got.len(), a.sent_to(&b)), (21, 21));
}

#[tokio::test]
async fn what_a_peer_does_not_say_again_when_it_says_all_is_wanted_no_more() {
    let mut setup = Setup::default();
    // Each cut misses more changes than are remembered: all is said anew.
    setup.link.interest_changes_max = 1;
    let bed = Bed::with(setup, &["a", "b"]).await;
    let (a, b) = (bed.node("a"), bed.node("b"));
    let mut client = Client::connect(&b, "c", CLEAN).await;
    let filters = ["t", "t/#", "+/u", "$share/g/t", "$share/g/t/+", "stays", "stays/+", "$share/g/stays"];
    for turn in 0..5 {
        for filter in filters {
            client.subscribe(filter, Qos::AtLeastOnce).await;
        }
        until("all is known", || a.peers_for("stays") == 2 && a.peers_for("t/u") == 2).await;
        bed.cut_link("a", "b");
        for filter in &filters[..5] {
            client.unsubscribe(filter).await;
        }
        until("what went is forgotten", || a.peers_for("t") + a.peers_for("t/u") == 0).await;
        bed.introduce().await;
        assert_eq!((a.peers_for("stays"), a.peers_for("stays/x")), (2, 1), "turn {turn}");
    }
    let digest = b.links.interest().digest();
    assert_eq!(digest.filters, 3);
    client.end().await;
    until("all is forgotten", || is_empty(&bed, &["stays", "stays/x"])).await;
    bed.is_at_rest().await;
}
