//! Publishes that wait for what their topic retains, at nodes that come and go.

use std::sync::Arc;

use weir_broker::form::Publish;
use weir_broker::publish::{Answering, Publisher, Verdict};
use weir_broker::sync::{Condition, Conditions};
use weir_model::{Qos, Reason};

use super::bed::{Bed, Node, until};
use super::client::{CLEAN, Client, STAYS};

/// A client that publishes.
struct Contender {
    client: Client,
    publisher: Publisher,
    /// Answered as soon as it came.
    at_once: Option<(Answering, Verdict)>,
}

impl Contender {
    async fn at(node: &Arc<Node>, id: &str, expiry_seconds: u32) -> Contender {
        let client = Client::connect(node, id, expiry_seconds).await;
        let (session, fence) = (client.opened.session.clone(), client.opened.fence);
        let principal = Arc::new(weir_model::Principal { client_id: id.into(), ..Default::default() });
        let fence = fence.filter(|_| session.stored.is_some());
        let publisher = Publisher::new(node.broker.clone(), node.realm(), session, principal, fence);
        Contender { client, publisher, at_once: None }
    }

    /// Takes the lock or waits for it.
    fn lock(&mut self, packet_id: u16, repeat: bool) {
        let when = Condition::parse("null").ok();
        let conditions = Conditions { when, watch: true, will: Some(bytes::Bytes::new()), repeat };
        let payload = format!("\"{}\"", self.client.id);
        self.publish(&payload, Some(conditions), packet_id);
    }

    fn publish(&mut self, payload: &str, conditions: Option<Conditions>, packet_id: u16) {
        let publish = Publish {
            topic: "lock",
            payload: payload.as_bytes(),
            is_json: false,
            qos: Qos::AtLeastOnce,
            retain: true,
            expiry_seconds: None,
            properties: None,
            conditions: conditions.map(Box::new),
        };
        let answering = Answering::Puback(packet_id);
        let verdict = self.publisher.publish(publish, answering);
        self.publisher.push();
        self.publisher.settle();
        self.at_once = (verdict != Verdict::Waiting).then_some((answering, verdict));
    }

    /// The next answer, if it is there.
    fn answered(&mut self) -> Option<(Answering, Verdict)> {
        let answered = self.at_once.take().or_else(|| self.publisher.completed());
        self.publisher.settle();
        answered
    }

    async fn wins(&mut self) -> String {
        until("its turn", || match self.answered() {
            Some((_, Verdict::Accepted { .. })) => true,
            Some(other) => panic!("its turn: {other:?}"),
            None => false,
        })
        .await;
        self.publisher.position().expect("a position").to_string()
    }

    async fn end(mut self) {
        self.client.end().await;
        self.publisher.drain().await;
    }
}

fn waiting(node: &Node) -> usize {
    node.broker.waiters()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_passes_over_three_nodes_in_the_order_of_asking_whoever_goes_and_however() {
    let mut bed = Bed::of(&["a", "b", "c"]).await;
    let names = ["a", "b", "c"];
    let mut contenders = Vec::new();
    for n in 0..9 {
        let node = bed.node(names[n % 3]);
        let mut contender = Contender::at(&node, &format!("c{n}"), CLEAN).await;
        contender.lock(1, false);
        if n == 0 {
            contender.wins().await;
        } else {
            let told = bed.node("b");
            until("it waits", || {
                assert_eq!(contender.answered(), None);
                waiting(&told) == n
            })
            .await;
        }
        contenders.push(contender);
    }
    // The holder's node dies, and with it those of its clients that wait.
    bed.kill("a").await;
    let mut left: Vec<Contender> =
        contenders.into_iter().filter(|contender| !contender.client.node.is_dead()).collect();
    let mut token = String::new();
    while !left.is_empty() {
        let mut holder = left.remove(0);
        let next = holder.wins().await;
        assert!(next > token, "{next} after {token}");
        token = next;
        assert!(left.iter_mut().all(|contender| contender.answered().is_none()), "one holds it at a time");
        holder.end().await;
    }
    let one = bed.node("b");
    until("nothing is left", || waiting(&one) == 0 && one.realm().retained.is_empty()).await;
    bed.is_at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_session_keeps_its_place_at_another_node_and_is_answered_as_the_first_time() {
    let mut bed = Bed::of(&["a", "b"]).await;
    let (a, b) = (bed.node("a"), bed.node("b"));
    let mut holder = Contender::at(&b, "holder", CLEAN).await;
    holder.lock(1, false);
    holder.wins().await;
    let mut kept = Contender::at(&a, "kept", STAYS).await;
    kept.lock(7, false);
    until("it waits", || kept.answered().is_none() && waiting(&b) == 1).await;
    let mut behind = Contender::at(&b, "behind", CLEAN).await;
    behind.lock(1, false);
    until("both wait", || behind.answered().is_none() && waiting(&b) == 2).await;
    bed.kill("a").await;
    let mut again = Contender::at(&b, "kept", STAYS).await;
    assert!(again.client.opened.present);
    again.lock(7, true);
    holder.end().await;
    let granted = again.wins().await;
    again.lock(7, true);
    assert_eq!(again.wins().await, granted);
    assert_eq!(behind.answered(), None);
    again.publish("", None, 8);
    again.wins().await;
    assert!(behind.wins().await > granted);
    behind.end().await;
    again.end().await;
    bed.is_at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_many_nodes_who_do_not_wait_one_is_first() {
    let bed = Bed::of(&["a", "b", "c"]).await;
    let mut contenders = Vec::new();
    for n in 0..12 {
        let node = bed.node(["a", "b", "c"][n % 3]);
        contenders.push(Contender::at(&node, &format!("c{n}"), CLEAN).await);
    }
    let when = Conditions { when: Condition::parse("null").ok(), ..Conditions::default() };
    let mut verdicts = Vec::new();
    for contender in &mut contenders {
        contender.publish("\"me\"", Some(when.clone()), 1);
    }
    for contender in &mut contenders {
        until("an answer", || match contender.answered() {
            Some((_, verdict)) => {
                verdicts.push(verdict);
                true
            }
            None => false,
        })
        .await;
    }
    let won = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Accepted { .. })).count();
    let lost =
        verdicts.iter().filter(|verdict| **verdict == Verdict::Refused(Reason::ConditionNotMet)).count();
    assert_eq!((won, lost), (1, 11), "{verdicts:?}");
    for contender in contenders {
        contender.end().await;
    }
    bed.is_at_rest().await;
}
