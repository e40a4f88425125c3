//! What goes out: outboxes, windows, answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinHandle;
use weir_bench::client::{Message, Subscription};
use weir_model::Qos;
use weir_testkit::{Closed, PATIENCE, eventually};
use weir_wire::mqtt::{Packet, Version, decode};

use crate::scene::{connect, dropped, is_limited, limited, node, options, passive};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_reads_nothing_loses_qos0_and_delays_nobody() {
    const MESSAGES: usize = 600;
    let node = node().start();
    let _stuck = passive(&node, "flood", Qos::AtMostOnce);
    let mut reader = connect(&node, &options("reader")).await;
    reader.subscribe(&[Subscription::new("flood", Qos::AtMostOnce)], None).await.expect("subscribed");
    let reading: JoinHandle<()> = tokio::spawn(async move {
        for number in 0..MESSAGES {
            let message = reader.next().await.expect("a message");
            assert_eq!(message.payload[..8], number.to_be_bytes());
        }
    });

    let mut publisher = connect(&node, &options("publisher")).await;
    for number in 0..MESSAGES {
        let payload = [&number.to_be_bytes()[..], &[0; 64 << 10]].concat();
        publisher.publish(&Message::new("flood", payload, Qos::AtMostOnce)).await.expect("taken");
    }

    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("all messages in time")
        .expect("all messages in order");
    // 38 MiB do not fit into 4 MiB and what the sockets hold.
    eventually("drops to be counted", || (dropped(&node, "outbox_full") > 0.0).then_some(()));
    assert!(node.resident_bytes() < 200 << 20, "{} bytes", node.resident_bytes());
    node.balanced();
}

/// A slow receiver that still takes bytes slows its publisher instead of losing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_but_living_subscriber_slows_its_publisher_and_loses_nothing() {
    const MESSAGES: usize = 600;
    // Living means here: took bytes within a minute, so that a busy machine cannot make it dead.
    let node = node().set("broker.outbox_stalled_ms", 60_000).start();
    let mut slow = passive(&node, "flood", Qos::AtMostOnce);
    let sent = Arc::new(AtomicUsize::new(0));
    let mut publisher = connect(&node, &options("publisher")).await;
    let counted = sent.clone();
    let publishing: JoinHandle<()> = tokio::spawn(async move {
        for number in 0..MESSAGES {
            let payload = [&number.to_be_bytes()[..], &[0; 64 << 10]].concat();
            publisher.publish(&Message::new("flood", payload, Qos::AtMostOnce)).await.expect("taken");
            counted.store(number + 1, Ordering::Release);
        }
    });

    // Nothing is read until the publisher is held back; without back-pressure it would be through,
    // and 38 MiB do not fit into 4 MiB and what the sockets hold.
    let (mut last, mut looks) = (0, 0);
    eventually("the publisher to be held back", || {
        let now = sent.load(Ordering::Acquire);
        (looks, last) = if now == last { (looks + 1, now) } else { (0, now) };
        (now > 0 && looks > 30).then_some(())
    });
    for number in 0..MESSAGES {
        let frame = slow.frame();
        let Ok(Packet::Publish(publish)) = decode(&frame, Version::V5) else { panic!("no PUBLISH") };
        assert_eq!(publish.payload[..8], number.to_be_bytes());
    }
    publishing.await.expect("all was taken");
    assert_eq!(dropped(&node, "outbox_full"), 0.0);
    node.balanced();
}

#[tokio::test]
async fn a_clean_session_beyond_its_bound_is_disconnected_with_0x97() {
    let node = node().set("broker.outbox_messages_max", 20).set("broker.inflight_max", 10).start();
    let mut silent = passive(&node, "t", Qos::AtLeastOnce);
    let mut publisher = connect(&node, &options("publisher")).await;
    for _ in 0..100 {
        publisher.publish(&Message::new("t", "x", Qos::AtLeastOnce)).await.expect("acknowledged");
    }

    let mut delivered = 0;
    let goodbye = loop {
        let frame = silent.frame();
        match decode(&frame, Version::V5).expect("a good frame") {
            Packet::Publish(_) => delivered += 1,
            Packet::Disconnect(goodbye) => break goodbye.code.as_u8(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(goodbye, 0x97);
    assert_eq!(silent.end_without_a_word(), Closed::Fin);
    assert_eq!(delivered, 10, "as many as may be unanswered");
    eventually("its losses to be counted", || (dropped(&node, "overrun") > 0.0).then_some(()));
    is_limited(&node, "broker", "inflight_max");
    node.balanced();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_retained_messages_comes_whole_and_in_bounded_memory() {
    const TOPICS: usize = 20_000;
    let node = node().set("broker.sys_interval_seconds", 0).start();
    let mut publisher = connect(&node, &options("publisher")).await;
    for number in 0..TOPICS {
        let retained =
            Message { retain: true, ..Message::new(format!("r/{number}"), [0; 2048], Qos::AtMostOnce) };
        publisher.publish(&retained).await.expect("taken");
    }
    eventually("all to be retained", || {
        (node.metrics().value("weir_broker_retained_messages") == TOPICS as f64).then_some(())
    });
    let before = node.resident_bytes();

    // Five at once that read nothing: 200 MiB are owed to them.
    let _waiting = [(); 4].map(|()| passive(&node, "r/#", Qos::AtMostOnce));
    let mut reader = passive(&node, "r/#", Qos::AtMostOnce);
    let mut topics = BTreeSet::new();
    while topics.len() < TOPICS {
        let frame = reader.frame();
        let Packet::Publish(publish) = decode(&frame, Version::V5).expect("a good frame") else { continue };
        assert!(publish.retain);
        assert!(topics.insert(publish.topic.to_owned()), "{} came twice", publish.topic);
    }

    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes more for readers that wait");
    node.balanced();
}

#[tokio::test]
async fn who_takes_no_answers_is_read_no_further_until_it_does() {
    const MESSAGES: usize = 24;
    let node = node().start();
    let mut publisher = connect(&node, &options("publisher")).await;
    for number in 0..MESSAGES {
        let message = Message::new(format!("r/{number}"), [0; 1000 << 10], Qos::AtLeastOnce);
        publisher.publish(&Message { retain: true, ..message }).await.expect("acknowledged");
    }
    // More than its sockets hold.
    let mut deaf = passive(&node, "r/#", Qos::AtMostOnce);
    is_limited(&node, "gateway", "answer_bytes_max");
    deaf.send(&[0xC0, 0]);
    let heard: Vec<u8> = (0..=MESSAGES).map(|_| deaf.frame()[0]).collect();
    assert_eq!(heard.iter().filter(|first| **first == 0x31).count(), MESSAGES);
    assert!(heard.contains(&0xD0), "its ping is answered too");
    node.balanced();
}

#[tokio::test]
async fn a_full_window_counts_once_until_all_that_waits_has_been_sent() {
    let node = node().set("broker.inflight_max", 2).start();
    let mut slow = passive(&node, "t", Qos::AtLeastOnce);
    let mut publisher = connect(&node, &options("publisher")).await;
    for round in 1..=2 {
        for _ in 0..20 {
            publisher.publish(&Message::new("t", "x", Qos::AtLeastOnce)).await.expect("acknowledged");
        }
        for _ in 0..20 {
            let frame = slow.frame();
            let Ok(Packet::Publish(publish)) = decode(&frame, Version::V5) else { panic!("no PUBLISH") };
            let id = publish.packet_id.expect("QoS 1").get().to_be_bytes();
            slow.send(&[0x40, 2, id[0], id[1]]);
        }
        slow.send(&[0xC0, 0]);
        assert_eq!(slow.frame()[0], 0xD0, "all answers were heard");
        assert_eq!(limited(&node, "broker", "inflight_max"), f64::from(round));
    }
    node.balanced();
}

/// A shared message is offered to so many members and not to all of them in turn.
#[tokio::test]
async fn a_shared_message_that_members_leave_behind_is_dropped_after_its_handovers() {
    let node = node().set("broker.shared_handovers_max", 1).start();
    let mut members: Vec<_> = (0..3).map(|_| passive(&node, "$share/g/t", Qos::AtLeastOnce)).collect();
    for raw in &members {
        raw.stream().set_nonblocking(true).expect("a socket");
    }
    let mut publisher = connect(&node, &options("publisher")).await;
    publisher.publish(&Message::new("t", "x", Qos::AtLeastOnce)).await.expect("acknowledged");
    for _ in 0..2 {
        let has_it = eventually("a member to have it", || {
            members.iter().position(|raw| raw.stream().peek(&mut [0]).is_ok_and(|bytes| bytes > 0))
        });
        drop(members.swap_remove(has_it));
    }
    eventually("it to be dropped", || (dropped(&node, "shared_unclaimed") == 1.0).then_some(()));
    assert!(members[0].stream().peek(&mut [0]).is_err(), "the third member was asked too");
    node.balanced();
}
