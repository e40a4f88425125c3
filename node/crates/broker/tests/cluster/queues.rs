//! What persistent sessions of other nodes get, by the live copy and by their queue.

use weir_model::Qos;

use super::bed::{Bed, until};
use super::client::{CLEAN, Client, STAYS};
use super::source::Source;

#[tokio::test]
async fn a_persistent_session_of_another_node_gets_live_copies_and_needs_no_read() {
    let bed = Bed::of(&["a", "b"]).await;
    let b = bed.node("b");
    let mut client = Client::connect(&b, "c", STAYS).await;
    client.subscribe("t/#", Qos::ExactlyOnce).await;
    let mut source = Source::on(&bed.node("a"), "p").await;
    // It reads when it comes, and when all know that it is here: by now they do.
    source.publish("t/1", "first", Qos::AtLeastOnce).await;
    client.takes(1).await;
    client.got.clear();
    let reads = b.store.reads();
    for number in 0..20 {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            source.publish("t/1", &format!("{qos:?} {number:02}"), qos).await;
        }
    }
    client.takes(60).await;
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let of_qos = client.got.iter().filter(|got| got.qos == qos);
        let expected: Vec<_> = (0..20).map(|number| format!("{qos:?} {number:02}")).collect();
        assert_eq!(of_qos.map(|got| got.payload.clone()).collect::<Vec<_>>(), expected);
    }
    assert_eq!(b.store.reads(), reads);
    bed.is_at_rest().await;
}

#[tokio::test]
async fn what_was_queued_by_one_node_is_found_on_another() {
    let bed = Bed::of(&["a", "b", "c"]).await;
    let mut client = Client::connect(&bed.node("b"), "c", STAYS).await;
    client.subscribe("t", Qos::AtLeastOnce).await;
    client.leave().await;
    let mut source = Source::on(&bed.node("a"), "p").await;
    for payload in ["1", "2", "3"] {
        source.publish("t", payload, Qos::AtLeastOnce).await;
        source.publish("t", "of QoS 0", Qos::AtMostOnce).await;
    }
    let mut client = client.move_to(&bed.node("c")).await;
    assert!(client.opened.present);
    client.takes(3).await;
    source.publish("t", "4", Qos::AtLeastOnce).await;
    client.takes(4).await;
    assert_eq!(client.payloads(), ["1", "2", "3", "4"]);
    bed.is_at_rest().await;
}

#[tokio::test]
async fn what_is_queued_by_a_node_that_has_not_heard_of_the_connection_is_found_by_looking() {
    let bed = Bed::of(&["a", "b"]).await;
    let (a, b) = (bed.node("a"), bed.node("b"));
    let mut client = Client::connect(&b, "c", STAYS).await;
    client.subscribe("t", Qos::AtLeastOnce).await;
    client.leave().await;
    let mut source = Source::on(&a, "p").await;
    bed.store.hold_mirror(a.incarnation);
    let mut client = client.move_to(&b).await;
    client.take().await;
    source.publish("t", "1", Qos::AtLeastOnce).await;
    client.take().await;
    assert!(client.got.is_empty(), "nobody has told it");
    bed.store.let_mirror_go(a.incarnation);
    client.takes(1).await;
    bed.is_at_rest().await;
}

#[tokio::test]
async fn a_session_without_an_expiry_that_resumed_a_queue_still_gets_what_others_publish() {
    let bed = Bed::of(&["a", "b"]).await;
    let mut client = Client::connect(&bed.node("a"), "c", STAYS).await;
    client.subscribe("t", Qos::AtLeastOnce).await;
    client.leave().await;
    // It comes back for this connection only (MQTT-3.1.2-5).
    let mut client = Client::connect(&bed.node("b"), "c", CLEAN).await;
    assert!(client.opened.present);
    let mut source = Source::on(&bed.node("a"), "p").await;
    source.publish("t", "1", Qos::AtLeastOnce).await;
    client.takes(1).await;
    client.leave().await;
    until("nobody knows it any more", || bed.nodes.iter().all(|node| node.receivers("t") == 0)).await;
    bed.is_at_rest().await;
}

#[tokio::test]
async fn a_node_that_comes_later_knows_who_has_subscribed() {
    let mut bed = Bed::of(&["a", "b"]).await;
    let mut stays = Client::connect(&bed.node("a"), "stays", STAYS).await;
    stays.subscribe("t", Qos::AtLeastOnce).await;
    let mut clean = Client::connect(&bed.node("b"), "clean", CLEAN).await;
    clean.subscribe("t", Qos::AtLeastOnce).await;
    let c = bed.add("c").await;
    bed.introduce().await;
    let mut source = Source::on(&c, "p").await;
    source.publish("t", "1", Qos::AtLeastOnce).await;
    stays.takes(1).await;
    clean.takes(1).await;
    bed.is_at_rest().await;
}
