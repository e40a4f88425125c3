//! The one door.

use std::sync::Arc;

use weir_broker::Config;
use weir_broker::outbox::Bell;
use weir_broker::publish::{Answering, Verdict};
use weir_model::{Qos, Reason};
use weir_store::Refusal;

use super::bench::{Bench, ENCODED, publish};

#[tokio::test]
async fn what_comes_behind_a_kept_message_waits_for_it() {
    let bench = Bench::start().await;
    let subscriber = bench.connect("s", 0).await;
    bench.subscribe(&subscriber, "t", Qos::AtMostOnce).await;
    let mut publisher = bench.publisher("p").await;
    bench.store.close_gate();
    assert_eq!(publisher.publish(publish(b"1", Qos::AtMostOnce, true), Answering::Nothing), Verdict::Waiting);
    assert_eq!(
        publisher.publish(publish(b"2", Qos::AtMostOnce, false), Answering::Nothing),
        Verdict::Waiting
    );
    publisher.push();
    assert_eq!(publisher.completed(), None);
    assert!(bench.frames(&subscriber).is_empty());
    bench.store.open_gate(None);
    while publisher.completed().is_some() {}
    assert_eq!(bench.frames(&subscriber), b"12");
}

#[tokio::test]
async fn an_event_for_five_hundred_is_encoded_once() {
    let bench = Bench::start().await;
    let mut subscribers = Vec::new();
    for at in 0..500 {
        let subscriber = bench.connect(&format!("s{at}"), 0).await;
        bench.subscribe(&subscriber, "t", Qos::AtMostOnce).await;
        subscribers.push(subscriber);
    }
    let mut publisher = bench.publisher("p").await;
    let before = ENCODED.get();
    publisher.publish(publish(b"1", Qos::AtMostOnce, false), Answering::Nothing);
    publisher.publish(publish(b"2", Qos::AtLeastOnce, false), Answering::Puback(1));
    publisher.push();
    assert_eq!(ENCODED.get() - before, 2);
    assert!(subscribers.iter().all(|subscriber| bench.frames(subscriber) == b"12"));
}

#[tokio::test]
async fn a_refused_message_is_seen_by_nobody() {
    let bench = Bench::start().await;
    let stored = bench.connect("stored", 60).await;
    let clean = bench.connect("clean", 0).await;
    bench.subscribe(&stored, "t", Qos::AtLeastOnce).await;
    bench.subscribe(&clean, "t", Qos::AtLeastOnce).await;
    let mut publisher = bench.publisher("p").await;
    bench.store.close_gate();
    let verdict = publisher.publish(publish(b"1", Qos::AtLeastOnce, false), Answering::Puback(1));
    assert_eq!(verdict, Verdict::Waiting);
    bench.store.open_gate(Some(Refusal::DiskFull));
    let refused = (Answering::Puback(1), Verdict::Refused(Reason::Quota));
    assert_eq!(publisher.completed(), Some(refused));
    publisher.push();
    assert!(bench.copies(&stored).is_empty());
    assert!(bench.copies(&clean).is_empty());
}

#[tokio::test]
async fn an_acknowledgement_waits_for_the_store_only_if_somebody_durable_wants_it() {
    let bench = Bench::start().await;
    let clean = bench.connect("clean", 0).await;
    bench.subscribe(&clean, "t", Qos::AtLeastOnce).await;
    let mut publisher = bench.publisher("p").await;
    bench.store.close_gate();
    let verdict = publisher.publish(publish(b"1", Qos::AtLeastOnce, false), Answering::Puback(1));
    assert_eq!(verdict, Verdict::Accepted { matched: true });
    publisher.push();
    assert_eq!(bench.copies(&clean), b"1");
    bench.store.open_gate(None);
    let stored = bench.connect("stored", 60).await;
    bench.subscribe(&stored, "t", Qos::AtLeastOnce).await;
    bench.store.close_gate();
    let verdict = publisher.publish(publish(b"2", Qos::AtLeastOnce, false), Answering::Puback(2));
    assert_eq!(verdict, Verdict::Waiting);
    bench.store.open_gate(None);
    assert_eq!(publisher.completed(), Some((Answering::Puback(2), Verdict::Accepted { matched: true })));
    assert_eq!((bench.copies(&clean), bench.copies(&stored)), (b"2".to_vec(), b"2".to_vec()));
}

#[tokio::test]
async fn who_subscribes_while_a_retained_message_is_in_the_store_gets_it() {
    let bench = Bench::start().await;
    let mut publisher = bench.publisher("p").await;
    bench.store.close_gate();
    let verdict = publisher.publish(publish(b"1", Qos::AtLeastOnce, true), Answering::Puback(1));
    assert_eq!(verdict, Verdict::Waiting);
    let held = bench.store.held.lock().take();
    let stored = bench.connect("late", 60).await;
    bench.subscribe(&stored, "t", Qos::AtLeastOnce).await;
    *bench.store.held.lock() = held;
    bench.store.open_gate(None);
    assert_eq!(publisher.completed(), Some((Answering::Puback(1), Verdict::Accepted { matched: true })));
    assert_eq!(bench.copies(&stored), b"1");
}

#[tokio::test]
async fn what_a_subscriber_sees_last_of_a_retained_topic_is_what_the_store_holds() {
    let bench = Bench::start().await;
    let subscriber = bench.connect("s", 0).await;
    bench.subscribe(&subscriber, "t", Qos::AtMostOnce).await;
    let (mut first, mut second) = (bench.publisher("p1").await, bench.publisher("p2").await);
    bench.store.close_gate();
    first.publish(publish(b"1", Qos::AtMostOnce, true), Answering::Nothing);
    second.publish(publish(b"2", Qos::AtMostOnce, true), Answering::Nothing);
    bench.store.open_gate(None);
    // The one that was stored later is fanned out first.
    while second.completed().is_some() {}
    while first.completed().is_some() {}
    assert_eq!(bench.frames(&subscriber).last(), Some(&b'2'));
}

#[tokio::test]
async fn a_connection_s_qos_0_and_qos_1_to_one_topic_both_arrive() {
    let bench = Bench::start().await;
    let subscriber = bench.connect("s", 0).await;
    bench.subscribe(&subscriber, "t", Qos::AtLeastOnce).await;
    let mut publisher = bench.publisher("p").await;
    // All in one read.
    publisher.publish(publish(b"0", Qos::AtMostOnce, false), Answering::Nothing);
    publisher.publish(publish(b"1", Qos::AtLeastOnce, false), Answering::Puback(1));
    publisher.publish(publish(b"2", Qos::AtMostOnce, false), Answering::Nothing);
    publisher.push();
    assert_eq!((bench.frames(&subscriber), bench.copies(&subscriber)), (b"02".to_vec(), b"1".to_vec()));
}

#[tokio::test]
async fn a_takeover_leaves_the_session_to_the_newest_connection() {
    let bench = Bench::start().await;
    let first = bench.connect("c", 60).await;
    bench.subscribe(&first, "t", Qos::AtLeastOnce).await;
    let connection = first.session.connection();
    let second = bench.connect("c", 60).await;
    assert!(second.present);
    assert!(Arc::ptr_eq(&first.session, &second.session));
    assert!(!first.session.is_attached_to(connection));
    bench.broker.sessions().close(bench.closing(&first, connection, 0)).await;
    assert!(second.session.is_online(), "the old connection's end must not end the new one's session");
    assert_eq!(bench.broker.sessions().count(), (1, 1));
}

#[tokio::test]
async fn a_group_s_queue_is_handed_out_as_fast_as_its_only_member_takes_it() {
    const MESSAGES: u8 = 200;
    let bench = Bench::with(Config { outbox_messages_max: 10, ..Config::default() }).await;
    let realm = bench.realm();
    let away = bench.connect("away", 60).await;
    bench.subscribe(&away, "$share/g/t", Qos::AtLeastOnce).await;
    bench.broker.sessions().close(bench.closing(&away, away.session.connection(), 60)).await;
    let mut publisher = bench.publisher("p").await;
    for number in 0..MESSAGES {
        publisher.publish(publish(&[number], Qos::AtLeastOnce, false), Answering::Nothing);
        while publisher.completed().is_some() {}
    }

    let member = bench.connect("member", 0).await;
    bench.subscribe(&member, "$share/g/t", Qos::AtLeastOnce).await;
    bench.broker.collect_shared(&realm, &member.session);
    let mut received = Vec::new();
    let all = async {
        while received.len() < usize::from(MESSAGES) {
            let mut copies = Vec::new();
            member.session.outbox.take_copies(5, bench.broker.limits(), &mut copies);
            for live in copies {
                received.push(live.delivery.message.payload[0]);
                bench.broker.group_ack(&live.claim.expect("a shared copy"));
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), all).await.expect("all of the queue");
    assert_eq!(received, (0..MESSAGES).collect::<Vec<_>>());
    assert!(!member.session.outbox.heard(Bell::Overrun));
}
