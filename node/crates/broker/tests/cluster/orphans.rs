//! What becomes of the sessions of a node that is lost.

use weir_broker::session::directory::Request;
use weir_model::Qos;

use super::bed::{Bed, until};
use super::client::{CLEAN, Client, Ending, STAYS, request};
use super::source::Source;
use super::takeover::will;

#[tokio::test]
async fn the_will_of_a_lost_node_s_clean_session_is_published_once() {
    let mut bed = Bed::of(&["a", "b", "c"]).await;
    let a = bed.node("a");
    let mut watchers = Vec::new();
    for node in ["b", "c"] {
        let watcher = Client::connect(&bed.node(node), node, CLEAN).await;
        watcher.subscribe("will", Qos::AtLeastOnce).await;
        watchers.push(watcher);
    }
    let mut lost = Vec::new();
    for id in ["one", "two", "three"] {
        let asked = Request { will: Some(will(id)), ..request(&a, id, CLEAN) };
        lost.push(Client::ask(&a, asked).await.unwrap());
    }
    bed.kill("a").await;
    for watcher in &mut watchers {
        watcher.takes(3).await;
    }
    // Whoever claims them again in a later round finds nothing to do.
    let mut source = Source::on(&bed.node("b"), "p").await;
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    source.publish("will", "end", Qos::AtLeastOnce).await;
    for watcher in &mut watchers {
        watcher.takes(4).await;
        let mut payloads = watcher.payloads();
        payloads.sort_unstable();
        assert_eq!(payloads, ["end", "one", "three", "two"]);
    }
    bed.is_at_rest().await;
}

#[tokio::test]
async fn a_lost_node_s_persistent_sessions_keep_their_queue_and_are_found_elsewhere() {
    let mut bed = Bed::of(&["a", "b", "c"]).await;
    let (a, b) = (bed.node("a"), bed.node("b"));
    let mut client = Client::connect(&a, "c", STAYS).await;
    client.subscribe("t", Qos::AtLeastOnce).await;
    client.answers = false;
    let mut source = Source::on(&b, "p").await;
    source.publish("t", "1", Qos::AtLeastOnce).await;
    client.takes(1).await;
    bed.kill("a").await;
    source.publish("t", "2", Qos::AtLeastOnce).await;
    let known = || {
        let session = b.broker.sessions().find(&b.realm().name, &"c".into());
        session.is_some_and(|session| session.home().is_none())
    };
    until("it counts as detached", known).await;
    let mut back = Client::connect(&bed.node("c"), "c", STAYS).await;
    assert!(back.opened.present);
    back.takes(2).await;
    assert_eq!(back.payloads(), ["1", "2"], "what it had not answered comes again");
    bed.is_at_rest().await;
}

#[tokio::test]
async fn connections_of_a_node_that_has_lost_its_lease_are_ended() {
    let bed = Bed::of(&["a", "b"]).await;
    let a = bed.node("a");
    let mut clean = Client::connect(&a, "clean", CLEAN).await;
    let mut stays = Client::connect(&a, "stays", STAYS).await;
    bed.store.cut(a.incarnation);
    for client in [&mut clean, &mut stays] {
        assert_eq!(client.ends().await, Ending::Kicked);
        client.leave().await;
    }
    bed.is_at_rest().await;
}

#[tokio::test]
async fn what_a_lost_node_s_member_had_not_answered_goes_to_the_members_left() {
    let mut bed = Bed::of(&["a", "b", "c"]).await;
    let mut lost = Client::connect(&bed.node("a"), "lost", STAYS).await;
    lost.answers = false;
    lost.subscribe("$share/g/t", Qos::AtLeastOnce).await;
    let mut source = Source::on(&bed.node("b"), "p").await;
    for payload in ["1", "2", "3"] {
        source.publish("t", payload, Qos::AtLeastOnce).await;
    }
    lost.takes(3).await;
    let mut left = Client::connect(&bed.node("c"), "left", CLEAN).await;
    left.subscribe("$share/g/t", Qos::AtLeastOnce).await;
    bed.kill("a").await;
    left.takes_until(|left| ["1", "2", "3"].iter().all(|payload| left.payloads().contains(payload))).await;
    bed.is_at_rest().await;
}

#[tokio::test]
async fn what_a_lost_node_s_clean_member_held_of_the_group_s_queue_goes_to_another() {
    let mut bed = Bed::of(&["a", "b", "c"]).await;
    // A persistent member that is away makes the group keep a queue.
    let mut away = Client::connect(&bed.node("b"), "away", STAYS).await;
    away.subscribe("$share/g/t", Qos::AtLeastOnce).await;
    away.leave().await;
    let mut lost = Client::connect(&bed.node("a"), "lost", CLEAN).await;
    lost.answers = false;
    lost.subscribe("$share/g/t", Qos::AtLeastOnce).await;
    let mut source = Source::on(&bed.node("b"), "p").await;
    source.publish("t", "1", Qos::AtLeastOnce).await;
    lost.takes(1).await;
    let mut left = Client::connect(&bed.node("b"), "left", CLEAN).await;
    left.subscribe("$share/g/t", Qos::AtLeastOnce).await;
    bed.kill("a").await;
    left.takes(1).await;
    bed.is_at_rest().await;
}
