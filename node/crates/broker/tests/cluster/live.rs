//! What a publish on one node comes to on the others.

use weir_model::Qos;

use super::bed::Bed;
use super::client::{CLEAN, Client, STAYS};
use super::source::Source;

const ALL_QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

#[tokio::test]
async fn a_publish_reaches_clean_subscribers_of_another_node_once() {
    let bed = Bed::of(&["a", "b"]).await;
    let mut clients = Vec::new();
    for (id, filters) in [("exact", &["t/1"][..]), ("wild", &["t/+"]), ("overlap", &["t/1", "t/#", "#"])] {
        let client = Client::connect(&bed.node("b"), id, CLEAN).await;
        for filter in filters {
            client.subscribe(filter, Qos::ExactlyOnce).await;
        }
        clients.push(client);
    }
    let mut source = Source::on(&bed.node("a"), "p").await;
    for qos in ALL_QOS {
        for payload in ["1", "2"] {
            source.publish("t/1", &format!("{qos:?}{payload}"), qos).await;
        }
    }
    for qos in ALL_QOS {
        source.publish("t/1", "end", qos).await;
    }
    for client in &mut clients {
        client.takes(9).await;
        let mut got: Vec<_> = client.got.iter().map(|got| (got.qos, got.payload.clone())).collect();
        got.sort_by_key(|(qos, _)| *qos);
        let expected =
            |qos: Qos| [format!("{qos:?}1"), format!("{qos:?}2"), "end".to_owned()].map(|p| (qos, p));
        assert_eq!(got, ALL_QOS.map(expected).concat(), "{}", client.id);
    }
    // Nine messages for three sessions: each went over the link once.
    assert_eq!(bed.node("a").sent_to(&bed.node("b")), 9);
    bed.is_at_rest().await;
}

#[tokio::test]
async fn nothing_goes_to_a_node_without_a_receiver_and_nothing_comes_back() {
    let bed = Bed::of(&["a", "b", "c"]).await;
    let (a, b, c) = (bed.node("a"), bed.node("b"), bed.node("c"));
    let mut at_b = Client::connect(&b, "b", CLEAN).await;
    at_b.subscribe("t", Qos::AtLeastOnce).await;
    let at_c = Client::connect(&c, "c", CLEAN).await;
    at_c.subscribe("u", Qos::AtLeastOnce).await;
    let mut at_a = Client::connect(&a, "a", CLEAN).await;
    at_a.subscribe("t", Qos::AtLeastOnce).await;
    let mut source = Source::on(&a, "p").await;
    for qos in ALL_QOS {
        source.publish("t", "x", qos).await;
        source.publish("nobody", "x", qos).await;
    }
    at_b.takes(3).await;
    at_a.takes(3).await;
    bed.is_at_rest().await;
    assert_eq!((a.sent_to(&b), a.sent_to(&c)), (3, 0));
    assert_eq!((b.sent_to(&a), b.sent_to(&c)), (0, 0));
    assert_eq!((at_a.got.len(), at_c.got.len()), (3, 0));
}

#[tokio::test]
async fn a_publisher_that_wants_nothing_of_its_own_gets_nothing_back() {
    let bed = Bed::of(&["a", "b"]).await;
    let mut at_b = Client::connect(&bed.node("b"), "b", CLEAN).await;
    at_b.subscribe("t", Qos::AtLeastOnce).await;
    let mut source = Source::on(&bed.node("b"), "p").await;
    source.publish("t", "1", Qos::AtLeastOnce).await;
    at_b.takes(1).await;
    assert_eq!(bed.node("b").sent_to(&bed.node("a")), 0);
    bed.is_at_rest().await;
}

/// Of a message of that number.
fn qos_of(number: u32) -> Qos {
    if number.is_multiple_of(3) { Qos::AtLeastOnce } else { Qos::AtMostOnce }
}

#[tokio::test]
async fn each_qos_of_a_topic_keeps_its_order_over_a_link() {
    let bed = Bed::of(&["a", "b"]).await;
    let mut clean = Client::connect(&bed.node("b"), "clean", CLEAN).await;
    clean.subscribe("t", Qos::AtLeastOnce).await;
    let mut stays = Client::connect(&bed.node("b"), "stays", STAYS).await;
    stays.subscribe("+", Qos::AtLeastOnce).await;
    let mut source = Source::on(&bed.node("a"), "p").await;
    for number in 0..300_u32 {
        let qos = qos_of(number);
        source.send("t", &format!("{number:03}"), qos, number % 7 == 0).await;
    }
    source.publish("t", "end", Qos::AtMostOnce).await;
    for client in [&mut clean, &mut stays] {
        client.takes_until(|client| client.payloads().contains(&"end") && client.got.len() >= 301).await;
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
            // A retained value may come once more in the lane of an older one that was late.
            let sent_so = |payload: &str| payload == "end" || qos_of(payload.parse().unwrap()) == qos;
            let of_qos = client.got.iter().filter(|got| got.qos == qos && sent_so(&got.payload));
            let payloads: Vec<_> = of_qos.map(|got| &got.payload).collect();
            assert!(payloads.is_sorted(), "{} {qos:?}: {payloads:?}", client.id);
            let sent = (0..300).filter(|number| qos_of(*number) == qos).count();
            assert!(payloads.len() >= sent, "{} {qos:?}: {payloads:?}", client.id);
        }
    }
    bed.is_at_rest().await;
}
