//! Idempotent publishes: a key makes sending again harmless.

use weir_broker::form::Publish;
use weir_broker::publish::claim::{KEY_BYTES_MAX, PROPERTY};
use weir_broker::publish::{Answering, Publisher, Verdict};
use weir_model::{Position, Properties, Qos, Reason};
use weir_store::{Page, Queued, Refusal, RowState, Store};

use super::bench::{Bench, publish};

const ACCEPTED: Verdict = Verdict::Accepted { matched: true };

fn with_key<'a>(payload: &'a [u8], key: &str) -> Publish<'a> {
    let user = vec![(PROPERTY.into(), key.into())];
    let properties = Some(Box::new(Properties { user, ..Properties::default() }));
    Publish { properties, ..publish(payload, Qos::AtLeastOnce, false) }
}

fn payload(row: &Queued) -> u8 {
    match &row.state {
        RowState::Waiting(delivery) => delivery.message.payload[0],
        RowState::Released => panic!("nobody has answered it"),
    }
}

/// Publishes, and waits for the verdict and the position.
fn send(publisher: &mut Publisher, publish: Publish<'_>) -> (Verdict, Option<Position>) {
    let verdict = match publisher.publish(publish, Answering::Puback(1)) {
        Verdict::Waiting => publisher.completed().expect("a store that answers at once").1,
        verdict => verdict,
    };
    publisher.push();
    (verdict, publisher.position())
}

#[tokio::test]
async fn a_repeat_is_acknowledged_with_the_first_position_and_goes_nowhere() {
    let bench = Bench::start().await;
    let stored = bench.connect("stored", 60).await;
    bench.subscribe(&stored, "t", Qos::AtLeastOnce).await;
    let mut publisher = bench.publisher("p").await;
    let (verdict, first) = send(&mut publisher, with_key(b"1", "k"));
    assert_eq!(verdict, ACCEPTED);
    assert!(first.is_some());
    assert_eq!(send(&mut publisher, with_key(b"1", "k")), (ACCEPTED, first));
    let (_, second) = send(&mut publisher, with_key(b"2", "l"));
    assert_ne!(second, first);
    assert_eq!(bench.copies(&stored), b"12");
    publisher.settle();
    assert_eq!(bench.broker.ledger().balance(0).imbalance(), 0);
}

#[tokio::test]
async fn a_key_belongs_to_its_topic() {
    let bench = Bench::start().await;
    let stored = bench.connect("stored", 60).await;
    bench.subscribe(&stored, "+", Qos::AtLeastOnce).await;
    let mut publisher = bench.publisher("p").await;
    send(&mut publisher, with_key(b"1", "k"));
    send(&mut publisher, Publish { topic: "u", ..with_key(b"2", "k") });
    assert_eq!(bench.copies(&stored), b"12");
}

#[tokio::test]
async fn a_try_that_was_refused_is_done_by_the_next() {
    let bench = Bench::start().await;
    let stored = bench.connect("stored", 60).await;
    bench.subscribe(&stored, "t", Qos::AtLeastOnce).await;
    let mut publisher = bench.publisher("p").await;
    bench.store.close_gate();
    let verdict = publisher.publish(with_key(b"1", "k"), Answering::Puback(1));
    assert_eq!(verdict, Verdict::Waiting);
    // The claim goes through, and what follows it does not.
    let held = bench.store.held.lock().replace(Default::default()).unwrap();
    for (steps, _, done) in held {
        bench.store.pass(steps, done);
    }
    assert_eq!(publisher.completed(), None);
    bench.store.open_gate(Some(Refusal::DiskFull));
    assert_eq!(publisher.completed(), Some((Answering::Puback(1), Verdict::Refused(Reason::Quota))));
    assert_eq!(send(&mut publisher, with_key(b"1", "k")).0, ACCEPTED);
    assert_eq!(bench.copies(&stored), b"1");
}

#[tokio::test]
async fn what_comes_behind_a_message_that_claims_its_key_keeps_its_place() {
    let bench = Bench::start().await;
    let stored = bench.connect("stored", 60).await;
    bench.subscribe(&stored, "t", Qos::AtLeastOnce).await;
    let mut publisher = bench.publisher("p").await;
    bench.store.close_gate();
    for (id, payload) in [(1, b"1"), (2, b"2"), (3, b"3")] {
        let publish = if id == 2 {
            publish(payload, Qos::AtLeastOnce, false)
        } else {
            with_key(payload, &id.to_string())
        };
        assert_eq!(publisher.publish(publish, Answering::Puback(id)), Verdict::Waiting);
    }
    bench.store.open_gate(None);
    let answered: Vec<Answering> = std::iter::from_fn(|| Some(publisher.completed()?.0)).collect();
    assert_eq!(answered, [Answering::Puback(1), Answering::Puback(2), Answering::Puback(3)]);
    publisher.push();
    assert_eq!(bench.copies(&stored), b"123");
}

#[tokio::test]
async fn what_was_held_up_keeps_its_place_also_when_the_claim_is_through() {
    let bench = Bench::start().await;
    let stored = bench.connect("stored", 60).await;
    bench.subscribe(&stored, "t", Qos::AtLeastOnce).await;
    let opened = bench.connect("p", 60).await;
    let principal = std::sync::Arc::new(weir_model::Principal::default());
    let mut publisher =
        Publisher::new(bench.broker.clone(), bench.realm(), opened.session, principal, opened.fence);
    let kept = |payload| publish(payload, Qos::AtLeastOnce, false);
    bench.store.close_gate();
    publisher.publish(with_key(b"1", "k"), Answering::Puback(1));
    // Its packet id is being noted, for longer than the claim takes.
    publisher.publish(publish(b"2", Qos::ExactlyOnce, false), Answering::Pubrec(2));
    publisher.publish(kept(b"3"), Answering::Puback(3));
    let mut held = bench.store.held.lock().replace(Default::default()).unwrap();
    let (claim, _, done) = held.pop_front().unwrap();
    bench.store.pass(claim, done);
    assert_eq!(publisher.completed(), None);
    publisher.publish(kept(b"4"), Answering::Puback(4));
    let (note, _, done) = held.pop_front().unwrap();
    bench.store.pass(note, done);
    assert_eq!(publisher.completed(), None);
    bench.store.open_gate(None);
    while publisher.completed().is_some() {}
    publisher.push();
    let page = Page { rows_max: 10, bytes_max: 1 << 20 };
    let rows = bench.store.read_queue(stored.session.key.clone(), 0, page).await.unwrap();
    let payloads: Vec<u8> = rows.iter().map(payload).collect();
    assert_eq!(payloads, b"1234");
}

#[tokio::test]
async fn a_key_that_is_too_long_is_refused() {
    let bench = Bench::start().await;
    let stored = bench.connect("stored", 60).await;
    bench.subscribe(&stored, "t", Qos::AtLeastOnce).await;
    let mut publisher = bench.publisher("p").await;
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    assert_eq!(send(&mut publisher, with_key(b"1", &long)).0, Verdict::Refused(Reason::Quota));
    assert_eq!(send(&mut publisher, with_key(b"1", &long[1..])).0, ACCEPTED);
}
