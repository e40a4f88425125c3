//! Records and notices over links: order, bounds, cuts.

use std::sync::Arc;

use weir_cluster::link::Config;
use weir_cluster::{Control, Full};
use weir_model::Qos;

use crate::testbed::{Authority, hash, introduce, pair, record, until};

const TOPICS: [&str; 5] = ["a", "b/c", "d", "e/f/g", "h"];

fn all(n: u64) -> Vec<u64> {
    (0..n).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_topic_keep_their_order_whatever_their_size() {
    let (a, b) = pair(Config::default()).await;
    let link = a.link_to(&b);
    let size = |number: u64| match number % 37 {
        3 => 300_000,
        11 => 70_000,
        19 => 33_000,
        _ => 64,
    };
    for number in 0..300 {
        for topic in TOPICS {
            let of = |qos| record(topic, number, size(number), qos);
            link.push_frames(hash(topic), &of(Qos::AtMostOnce), 1);
            while let Err(Full) = link.push_sure(hash(topic), &of(Qos::AtLeastOnce), 1) {
                link.room(hash(topic)).await;
            }
        }
        if number % 16 == 0 {
            // QoS 0 would be dropped if it came faster than it goes.
            until("the link has drained", || link.counts().waiting() < 8 << 20 && !link.presses(hash("a")))
                .await;
        }
    }
    for topic in TOPICS {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
            until("all have come", || b.inbox.numbers_of(topic, qos).len() == 300).await;
            assert_eq!(b.inbox.numbers_of(topic, qos), all(300), "{topic} {qos:?}");
        }
    }
    until("the account is balanced", || link.counts().arrived == 3000).await;
    let (sent, received) = (link.counts(), b.link_to(&a).counts());
    assert_eq!((sent.pushed, sent.dropped, sent.lost, sent.waiting()), (3000, 0, 0, 0));
    assert_eq!(received.received, 3000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_arrive_survives_cuts_once_and_in_order() {
    let (a, b) = pair(Config::default()).await;
    let (there, back) = (a.link_to(&b), b.link_to(&a));
    for number in 0..2000 {
        for topic in TOPICS {
            let size = if number % 97 == 5 { 100_000 } else { 64 };
            let run = record(topic, number, size, Qos::AtLeastOnce);
            while let Err(Full) = there.push_sure(hash(topic), &run, 1) {
                there.room(hash(topic)).await;
            }
            back.push_sure(hash(topic), &record(topic, number, 64, Qos::ExactlyOnce), 1).unwrap();
        }
        if number % 250 == 100 {
            if number % 500 == 100 {
                there.cut()
            } else {
                back.cut()
            };
            let (there, back) = (there.clone(), back.clone());
            until("the link is up again", || there.is_up() && back.is_up()).await;
        }
        tokio::task::yield_now().await;
    }
    for topic in TOPICS {
        until("all have come", || b.inbox.numbers_of(topic, Qos::AtLeastOnce).len() >= 2000).await;
        until("all have come back", || a.inbox.numbers_of(topic, Qos::ExactlyOnce).len() >= 2000).await;
        assert_eq!(b.inbox.numbers_of(topic, Qos::AtLeastOnce), all(2000), "{topic}");
        assert_eq!(a.inbox.numbers_of(topic, Qos::ExactlyOnce), all(2000), "{topic}");
    }
    until("all is confirmed", || there.counts().waiting() == 0 && back.counts().waiting() == 0).await;
    assert_eq!(there.counts().lost, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn qos0_on_the_way_when_the_connection_is_cut_is_counted_as_lost() {
    let (a, b) = pair(Config::default()).await;
    let link = a.link_to(&b);
    let mut pushed = 0;
    for round in 0..20 {
        for _ in 0..200 {
            link.push_frames(hash("t"), &record("t", pushed, 1000, Qos::AtMostOnce), 1);
            pushed += 1;
        }
        if round % 4 == 3 {
            link.cut();
            until("the link is up again", || link.is_up()).await;
        }
    }
    until("every message is accounted for", || {
        let counts = link.counts();
        counts.waiting() == 0 && counts.arrived + counts.lost + counts.dropped == pushed
    })
    .await;
    let came = b.inbox.numbers_of("t", Qos::AtMostOnce);
    assert!(came.is_sorted());
    assert_eq!(came.len() as u64, link.counts().arrived);
    assert_eq!(b.link_to(&a).counts().received, link.counts().arrived);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_link_drops_the_oldest_qos0_first_and_counts_it() {
    let (a, b) = pair(Config { frames_bytes_max: 1 << 20, ..Config::default() }).await;
    let link = a.link_to(&b);
    b.inbox.hold(true);
    let pushed = 60_000;
    for number in 0..pushed {
        link.push_frames(hash("t"), &record("t", number, 1000, Qos::AtMostOnce), 1);
    }
    until("some were dropped", || link.counts().dropped > 0).await;
    b.inbox.hold(false);
    let came = || b.inbox.numbers_of("t", Qos::AtMostOnce);
    until("the newest has come", || came().last() == Some(&(pushed - 1))).await;
    until("every message is accounted for", || link.counts().waiting() == 0).await;
    let (came, counts) = (came(), link.counts());
    assert!(came.is_sorted());
    assert_eq!(came.len() as u64 + counts.dropped, pushed);
    assert_eq!((counts.arrived, counts.lost), (came.len() as u64, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_link_takes_no_more_that_must_arrive_until_there_is_room() {
    let (a, b) = pair(Config { held_bytes_max: 1 << 20, ..Config::default() }).await;
    let link = a.link_to(&b);
    b.inbox.hold(true);
    let run = |number| record("t", number, 1000, Qos::AtLeastOnce);
    let mut number = 0;
    // What is held by the receiver's flow control is not confirmed.
    while link.push_sure(hash("t"), &run(number), 1).is_ok() {
        number += 1;
        if number % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let waiting = tokio::spawn({
        let link = link.clone();
        async move { link.room(hash("t")).await }
    });
    b.inbox.hold(false);
    waiting.await.unwrap();
    link.push_sure(hash("t"), &run(number), 1).unwrap();
    until("all have come", || b.inbox.numbers_of("t", Qos::AtLeastOnce).len() as u64 == number + 1).await;
    assert_eq!(b.inbox.numbers_of("t", Qos::AtLeastOnce), all(number + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_topic_holds_up_no_topic_of_another_stream() {
    let (a, b) = pair(Config::default()).await;
    let link = a.link_to(&b);
    b.inbox.hold(true);
    link.push_frames(hash("t"), &record("t", 0, 64, Qos::AtMostOnce), 1);
    until("it holds", || b.inbox.numbers_of("t", Qos::AtMostOnce).len() == 1).await;
    // Of so many topics some have another stream.
    let others: Vec<_> = (0..100).map(|n| format!("other/{n}")).collect();
    for other in &others {
        link.push_frames(hash(other), &record(other, 0, 64, Qos::AtMostOnce), 1);
    }
    let came = |other: &String| b.inbox.numbers_of(other, Qos::AtMostOnce).len() == 1;
    until("others came", || others.iter().any(came)).await;
    b.inbox.hold(false);
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_arrive_in_order_also_when_the_connection_is_cut() {
    let (a, b) = pair(Config::default()).await;
    let link = a.link_to(&b);
    let text = |text: String| Arc::<str>::from(text);
    let mut expected = Vec::new();
    for n in 0..500_u64 {
        let (realm, client_id) = (text("default".into()), text(format!("client-{n}")));
        match n % 3 {
            0 => {
                link.push_marker(&realm, &client_id);
                expected.push(Control::LookInQueue { realm, client_id });
            }
            1 => {
                link.end_clean(&realm, &client_id);
                expected.push(Control::EndClean { realm, topic: client_id });
            }
            _ => {
                link.taken_over(&realm, &client_id, n, n + 1);
                expected.push(Control::TakenOver { realm, client_id, generation: n, fence: n + 1 });
            }
        }
        if n % 100 == 50 {
            link.cut();
        }
        tokio::task::yield_now().await;
    }
    until("all have come", || b.inbox.controls.lock().len() >= expected.len()).await;
    assert_eq!(*b.inbox.controls.lock(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_without_room_become_one_that_stands_for_all() {
    let authority = Authority::new();
    let config = Config { notices_bytes_max: 1000, ..Config::default() };
    let (a, b) = (authority.node_with("a", config, "test"), authority.node("b"));
    a.links.update(&[b.as_peer()]);
    let link = a.link_to(&b);
    for n in 0..100 {
        link.push_marker(&"default".into(), &format!("client-{n}").into());
    }
    introduce(&[&a, &b]).await;
    let missed = || {
        b.inbox.controls.lock().iter().find_map(|control| match control {
            Control::Missed { messages } => Some(*messages),
            _ => None,
        })
    };
    until("what was left out is told", || missed().is_some()).await;
    let told = b.inbox.controls.lock().len() as u64 - 1;
    assert_eq!(told + missed().unwrap(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_declared_dead_by_mistake_is_told_what_it_missed_and_hears_nothing_twice() {
    let (a, b) = pair(Config::default()).await;
    let topic = "t";
    let push = |numbers: std::ops::Range<u64>| {
        let link = a.link_to(&b);
        numbers
            .for_each(|n| link.push_sure(hash(topic), &record(topic, n, 64, Qos::AtLeastOnce), 1).unwrap());
    };
    push(0..100);
    until("all have come", || b.inbox.numbers_of(topic, Qos::AtLeastOnce).len() == 100).await;
    until("all are confirmed", || a.link_to(&b).counts().waiting() == 0).await;
    // B forgets A, then A forgets B with something on its hands.
    b.links.update(&[]);
    until("b's link is over", || !b.inbox.gone.lock().is_empty()).await;
    push(100..110);
    let link = a.link_to(&b);
    a.links.update(&[]);
    until("a's link is over", || !a.inbox.gone.lock().is_empty()).await;
    assert_eq!(link.counts().lost, 10);
    link.push_sure(hash(topic), &record(topic, 110, 64, Qos::AtLeastOnce), 1).unwrap();
    assert_eq!((link.counts().lost, link.counts().waiting()), (11, 0));

    introduce(&[&a, &b]).await;
    push(111..120);
    until("b is told", || b.inbox.controls.lock().contains(&Control::Missed { messages: 10 })).await;
    until("the rest has come", || b.inbox.numbers_of(topic, Qos::AtLeastOnce).len() == 109).await;
    let expected: Vec<_> = (0..100).chain(111..120).collect();
    assert_eq!(b.inbox.numbers_of(topic, Qos::AtLeastOnce), expected);
}
