//! Retained values: the same on all nodes, and last seen as the store holds them.

use weir_model::Qos;

use super::bed::{Bed, Node, text, until};
use super::client::{CLEAN, Client};
use super::source::Source;

fn value(node: &Node, topic: &str) -> Option<String> {
    node.realm().retained.get(topic).map(|message| text(&message.payload))
}

#[tokio::test]
async fn a_value_set_on_one_node_is_current_on_another_once_its_mirror_has_heard() {
    let bed = Bed::of(&["a", "b"]).await;
    let b = bed.node("b");
    let mut source = Source::on(&bed.node("a"), "p").await;
    bed.store.hold_mirror(b.incarnation);
    source.retain("t", "1", Qos::AtMostOnce).await;
    assert_eq!(value(&b, "t"), None);
    let asked = tokio::spawn({
        let b = b.clone();
        async move { (b.broker.retained_is_current().await, value(&b, "t")) }
    });
    bed.store.let_mirror_go(b.incarnation);
    assert_eq!(asked.await.unwrap(), (true, Some("1".to_owned())));
    source.retain("t", "", Qos::AtMostOnce).await;
    assert_eq!(value(&b, "t"), None);
    bed.is_at_rest().await;
}

#[tokio::test]
async fn who_subscribes_everywhere_sees_last_what_the_store_holds() {
    let bed = Bed::of(&["a", "b", "c"]).await;
    let (a, b) = (bed.node("a"), bed.node("b"));
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let mut clients = Vec::new();
        for node in &bed.nodes {
            let client = Client::connect(node, &format!("c{}{qos:?}", node.name), CLEAN).await;
            client.subscribe("t", qos).await;
            clients.push(client);
        }
        let mut first = Source::on(&a, "pa").await;
        let mut second = Source::on(&b, "pb").await;
        // The store has the first value first, and a is the last to hear of it.
        a.store.hold_answers();
        first.send("t", "1", qos, true).await;
        second.retain("t", "2", qos).await;
        for client in &mut clients {
            client.takes(1).await;
        }
        a.store.let_answers_go();
        until("a has published", || {
            first.flush();
            first.waiting() == 0
        })
        .await;
        for client in &mut clients {
            client.takes_until(|client| client.payloads().contains(&"1")).await;
            client.takes_until(|client| client.payloads().last() == Some(&"2")).await;
        }
        assert!(bed.nodes.iter().all(|node| value(node, "t") == Some("2".to_owned())));
    }
    bed.is_at_rest().await;
}

#[tokio::test]
async fn many_who_set_one_topic_at_once_leave_everybody_with_the_same_value() {
    let bed = Bed::of(&["a", "b", "c"]).await;
    let (mut clients, mut sources) = (Vec::new(), Vec::new());
    for node in &bed.nodes {
        let client = Client::connect(node, &format!("c{}", node.name), CLEAN).await;
        client.subscribe("#", Qos::AtLeastOnce).await;
        clients.push(client);
        sources.push(Source::on(node, &format!("p{}", node.name)).await);
    }
    for turn in 0..60_usize {
        let place = turn * 7 % 3;
        let node = bed.nodes[place].clone();
        match turn % 5 {
            0 => node.store.hold_answers(),
            3 => bed.nodes.iter().for_each(|node| node.store.let_answers_go()),
            _ => {}
        }
        sources[place].send("t", &format!("{turn}"), Qos::AtLeastOnce, true).await;
        tokio::task::yield_now().await;
    }
    bed.nodes.iter().for_each(|node| node.store.let_answers_go());
    for source in &mut sources {
        source.publish("end", "end", Qos::AtLeastOnce).await;
    }
    let last = value(&bed.node("a"), "t").unwrap();
    for client in &mut clients {
        let ends = |client: &Client| client.got.iter().filter(|got| got.topic == "end").count() == 3;
        client.takes_until(ends).await;
    }
    bed.is_at_rest().await;
    for client in &mut clients {
        let seen = client.got.iter().rfind(|got| got.topic == "t").map(|got| got.payload.clone());
        assert_eq!(seen.as_ref(), Some(&last), "{}", client.id);
        assert_eq!(value(&client.node, "t").as_ref(), Some(&last));
    }
}
