//! One client id lives once, whatever nodes it comes to.

use std::sync::Arc;

use weir_access::{Grant, Identity};
use weir_model::{Message, Principal, Qos, Reason, Topic};
use weir_store::{SessionOp, Will};

use super::bed::{Bed, Node, until};
use super::client::{CLEAN, Client, Ending, STAYS, open, request};

/// Whether a node knows that the session is connected to another one.
fn knows(node: &Node, id: &str, home: &Node) -> bool {
    let session = node.broker.sessions().find(&node.realm().name, &id.into());
    session.is_some_and(|session| !session.is_online() && session.home() == Some(home.incarnation))
}

fn has(node: &Node, id: &str) -> bool {
    let session = node.broker.sessions().find(&node.realm().name, &id.into());
    session.is_some_and(|session| session.is_online())
}

#[tokio::test]
async fn who_comes_to_another_node_is_taken_from_the_first() {
    let bed = Bed::of(&["a", "b", "c"]).await;
    let (a, b, c) = (bed.node("a"), bed.node("b"), bed.node("c"));
    for expiry in [CLEAN, STAYS] {
        let mut first = Client::connect(&a, "c", expiry).await;
        first.subscribe("t", Qos::AtLeastOnce).await;
        let mut second = Client::connect(&b, "c", expiry).await;
        assert_eq!(second.opened.present, expiry == STAYS);
        assert_eq!(first.ends().await, Ending::TakenOver);
        let fence = first.opened.fence.unwrap();
        assert!(!first.submit(SessionOp::Ack { fence, number: 1 }).await, "its fence is refused");
        first.leave().await;
        assert!(has(&b, "c") && !has(&a, "c"), "the end of the first is not the end of the second");
        assert_eq!((knows(&a, "c", &b), knows(&c, "c", &b)), (expiry == STAYS, expiry == STAYS));
        second.end().await;
        until("nobody knows it any more", || bed.nodes.iter().all(|node| node.receivers("t") == 0)).await;
    }
    bed.is_at_rest().await;
}

#[tokio::test]
async fn of_two_who_come_at_once_the_one_with_the_newer_fence_stays() {
    let bed = Bed::of(&["a", "b"]).await;
    let (a, b) = (bed.node("a"), bed.node("b"));
    for (place, (expiry, known, clean_start)) in [
        (CLEAN, false, false),
        (STAYS, false, false),
        (STAYS, true, false),
        (STAYS, true, true),
        (STAYS, false, true),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("c{place}");
        if known {
            let mut before = Client::connect(&b, &id, expiry).await;
            before.subscribe("t", Qos::AtLeastOnce).await;
            before.leave().await;
        }
        // The store decides for a first, then for b; only then a hears of its own.
        a.store.hold_answers();
        let asked = super::client::request(&a, &id, expiry);
        let asked = weir_broker::session::directory::Request { clean_start, ..asked };
        let first = tokio::spawn({
            let (a, asked) = (a.clone(), asked);
            async move { Client::ask(&a, asked).await }
        });
        until("the store has the first", || a.store.answers_held() > 0).await;
        let asked = request(&b, &id, expiry);
        let asked = weir_broker::session::directory::Request { clean_start, ..asked };
        let mut second = Client::ask(&b, asked).await.unwrap();
        second.subscribe("u", Qos::AtLeastOnce).await;
        a.store.let_answers_go();
        let mut first = first.await.unwrap().expect("it was opened, for a moment");
        assert!(first.opened.fence.unwrap().fence < second.opened.fence.unwrap().fence);
        assert_eq!(first.ends().await, Ending::TakenOver, "{id}");
        first.leave().await;
        second.take().await;
        assert_eq!(second.ended, None, "{id}");
        assert!(has(&b, &id) && !has(&a, &id), "{id}");
        assert_eq!(knows(&a, &id, &b), expiry == STAYS, "{id}");
        let at_a = if expiry == CLEAN { 1 } else { b.receivers("u") };
        until("a meets what the second wants", || a.receivers("u") == at_a).await;
        second.end().await;
        let nobody = || bed.nodes.iter().all(|node| node.receivers("u") + node.receivers("t") == 0);
        until("nobody wants anything", nobody).await;
    }
    bed.is_at_rest().await;
}

#[tokio::test]
async fn whoever_comes_often_and_everywhere_is_in_one_place_at_the_end() {
    let bed = Bed::of(&["a", "b", "c"]).await;
    for expiry in [CLEAN, STAYS] {
        let opening = (0..30).map(|turn| {
            let node = bed.nodes[turn % 3].clone();
            tokio::spawn(async move { Client::connect(&node, "c", expiry).await })
        });
        let mut clients = Vec::new();
        for client in opening.collect::<Vec<_>>() {
            clients.push(client.await.unwrap());
        }
        clients.sort_by_key(|client| client.opened.fence.unwrap().fence);
        let mut last = clients.pop().unwrap();
        for client in &mut clients {
            assert_eq!(client.ends().await, Ending::TakenOver);
            client.leave().await;
        }
        last.take().await;
        assert_eq!(last.ended, None);
        let others = bed.nodes.iter().filter(|node| node.name != last.node.name);
        for other in others {
            assert_eq!((has(other, "c"), knows(other, "c", &last.node)), (false, expiry == STAYS));
        }
        last.end().await;
    }
    bed.is_at_rest().await;
}

#[tokio::test]
async fn a_clean_start_on_the_same_node_is_a_takeover_too() {
    let bed = Bed::of(&["a", "b"]).await;
    let a = bed.node("a");
    for expiry in [CLEAN, STAYS] {
        let mut first = Client::connect(&a, "c", expiry).await;
        first.subscribe("t", Qos::AtLeastOnce).await;
        let asked = request(&a, "c", expiry);
        let asked = weir_broker::session::directory::Request { clean_start: true, ..asked };
        let mut second = Client::ask(&a, asked).await.unwrap();
        assert!(!second.opened.present);
        assert_eq!(first.ends().await, Ending::TakenOver);
        first.leave().await;
        second.take().await;
        assert_eq!((second.ended, has(&a, "c")), (None, true));
        until("nobody wants anything", || bed.nodes.iter().all(|node| node.receivers("t") == 0)).await;
        second.end().await;
    }
    bed.is_at_rest().await;
}

#[tokio::test]
async fn another_user_s_session_is_refused_on_every_node() {
    let bed = Bed::of(&["a", "b"]).await;
    let of_user = |node: &Node, user: &str, expiry| {
        let principal =
            Principal { client_id: "c".into(), user_id: Some(user.into()), ..Principal::default() };
        let identity = Arc::new(Identity::new(principal, Grant::Open));
        weir_broker::session::directory::Request { identity, ..request(node, "c", expiry) }
    };
    let (a, b) = (bed.node("a"), bed.node("b"));
    for expiry in [CLEAN, STAYS] {
        let mut first = Client::ask(&a, of_user(&a, "one", expiry)).await.unwrap();
        let refused = open(&b, of_user(&b, "other", expiry)).await;
        assert_eq!(refused.map(|_| ()), Err(Reason::ClientId));
        first.take().await;
        assert_eq!(first.ended, None);
        let mut again = Client::ask(&b, of_user(&b, "one", expiry)).await.unwrap();
        assert_eq!(first.ends().await, Ending::TakenOver);
        again.end().await;
    }
    bed.is_at_rest().await;
}

#[tokio::test]
async fn a_will_without_a_delay_is_published_when_its_connection_is_taken_to_another_node() {
    let bed = Bed::of(&["a", "b"]).await;
    let (a, b) = (bed.node("a"), bed.node("b"));
    let mut watcher = Client::connect(&a, "watcher", CLEAN).await;
    watcher.subscribe("will", Qos::AtLeastOnce).await;
    for (count, expiry) in [(1, CLEAN), (2, STAYS)] {
        let asked = request(&a, "c", expiry);
        let asked = weir_broker::session::directory::Request { will: Some(will("gone")), ..asked };
        let mut first = Client::ask(&a, asked).await.unwrap();
        let mut second = Client::connect(&b, "c", expiry).await;
        assert_eq!(first.ends().await, Ending::TakenOver);
        first.leave().await;
        watcher.takes(count).await;
        second.end().await;
    }
    bed.is_at_rest().await;
    assert_eq!(watcher.got.len(), 2);
}

pub fn will(payload: &str) -> Will {
    let message = Message {
        topic: Topic::new("will").unwrap(),
        payload: payload.to_owned().into(),
        qos: Qos::AtLeastOnce,
        retain: false,
        expires_at: None,
        properties: None,
    };
    Will { message: Arc::new(message), delay_seconds: 0, expiry_seconds: None }
}
