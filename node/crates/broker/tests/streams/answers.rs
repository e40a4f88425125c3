//! Members that take, answer, answer wrongly, or leave.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_broker::stream::group::{Ended, GroupDefinition, MemberOptions, NotYours};

use super::bed::*;

#[tokio::test]
async fn what_is_acked_is_never_delivered_again_and_the_rest_is() {
    let broker = node().await;
    stream(&broker, 1).await;
    group(&broker, GroupDefinition::default()).await;
    publish(&broker, 1, 0..10).await;
    let mut first = join(&broker).await;
    let records = take(&mut first, 10).await;
    assert_eq!(payloads(&records), (0..10).collect::<Vec<_>>());
    assert_eq!(first.ack(&receipts(&records)[..4]), []);
    first.close().await;
    let mut second = join(&broker).await;
    let records = take(&mut second, 6).await;
    assert_eq!(payloads(&records), (4..10).collect::<Vec<_>>());
    assert!(records.iter().all(|delivered| delivered.deliveries == 2));
    assert_eq!(second.ack_sync(&receipts(&records)).await, []);
    assert_eq!(lag(&broker).await, 0);
    broker.shutdown().await;
}

#[tokio::test]
async fn records_come_as_they_are_appended_and_a_new_group_may_begin_with_them() {
    let broker = node().await;
    stream(&broker, 2).await;
    publish(&broker, 4, 0..10).await;
    group(&broker, GroupDefinition { start: weir_store::Start::Latest, ..GroupDefinition::default() }).await;
    let mut member = join(&broker).await;
    for payload in 10..20 {
        publish(&broker, 4, [payload]).await;
        assert_eq!(finish(&mut member, 1).await, [payload]);
    }
    broker.shutdown().await;
}

#[tokio::test]
async fn members_share_the_records_and_a_key_stays_with_one_of_them() {
    let broker = node().await;
    stream(&broker, 1).await;
    group(&broker, GroupDefinition::default()).await;
    let small = MemberOptions { in_flight_max: 8, ..MemberOptions::default() };
    let (mut a, mut b) = (join_as(&broker, small.clone()).await, join_as(&broker, small).await);
    publish(&broker, 16, 0..160).await;
    let (first, second) = (take(&mut a, 8).await, take(&mut b, 8).await);
    let topics =
        |records: &[_]| payloads(records).iter().map(|payload| payload % 16).collect::<BTreeSet<_>>();
    assert!(topics(&first).is_disjoint(&topics(&second)));
    a.ack(&receipts(&first));
    b.ack(&receipts(&second));
    let mut seen = [payloads(&first), payloads(&second)].concat();
    while seen.len() < 160 {
        for member in [&mut a, &mut b] {
            if let Ok(batch) = tokio::time::timeout(Duration::from_millis(20), member.next()).await {
                let records = batch.unwrap().records;
                seen.extend(payloads(&records));
                assert_eq!(member.ack(&receipts(&records)), []);
            }
        }
    }
    for topic in 0..16 {
        let of_topic: Vec<_> = seen.iter().copied().filter(|payload| payload % 16 == topic).collect();
        assert!(of_topic.is_sorted(), "{of_topic:?}");
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..160).collect::<Vec<_>>());
    broker.shutdown().await;
}

#[tokio::test]
async fn answers_that_are_not_the_members_say_why_and_have_no_effect() {
    let broker = node().await;
    stream(&broker, 1).await;
    group(&broker, GroupDefinition::default()).await;
    publish(&broker, 3, 0..3).await;
    let (mut a, b) = (join(&broker).await, join(&broker).await);
    let held = receipts(&take(&mut a, 3).await);
    let why = |refused: Vec<weir_broker::stream::group::Refused>| {
        refused.into_iter().map(|refused| (refused.receipt, refused.why)).collect::<Vec<_>>()
    };
    assert_eq!(
        why(b.ack(&held)),
        held.iter().map(|receipt| (*receipt, NotYours::Others)).collect::<Vec<_>>()
    );
    assert_eq!(b.nack(held[0], None).unwrap_err().why, NotYours::Others);
    assert_eq!(a.ack(&held[..1]), []);
    assert_eq!(why(a.ack(&held[..2])), [(held[0], NotYours::Finished)], "acked twice; the other counts");
    assert_eq!(a.in_progress(held[2]), Ok(()));
    let elsewhere = weir_broker::stream::group::Receipt { partition: 7, ..held[2] };
    assert_eq!(why(a.ack(&[elsewhere])), [(elsewhere, NotYours::Elsewhere)]);
    let wrong = weir_broker::stream::group::Receipt { attempt: 9, ..held[2] };
    assert_eq!(a.nack(wrong, None).unwrap_err().why, NotYours::TakenBack);
    assert_eq!(a.ack_sync(&held[2..]).await, []);
    assert_eq!(lag(&broker).await, 0);
    broker.shutdown().await;
}

#[tokio::test]
async fn a_record_that_nobody_answers_is_taken_back_told_and_delivered_to_another() {
    let broker = node().await;
    stream(&broker, 1).await;
    group(&broker, GroupDefinition { ack_wait_ms: 100, ..GroupDefinition::default() }).await;
    publish(&broker, 1, 0..2).await;
    let mut silent = join(&broker).await;
    let held = receipts(&take(&mut silent, 2).await);
    let mut other = join(&broker).await;
    assert_eq!(finish(&mut other, 2).await, [0, 1]);
    assert_eq!(next(&mut silent).await.unwrap().taken, held);
    assert_eq!(silent.ack(&held)[0].why, NotYours::Finished);
    broker.shutdown().await;
}

#[tokio::test]
async fn a_nacked_record_comes_again_when_it_was_asked_to_and_others_do_not_wait() {
    let broker = node().await;
    stream(&broker, 1).await;
    group(&broker, GroupDefinition { backoff_ms: vec![3_600_000], ..GroupDefinition::default() }).await;
    publish(&broker, 10, 0..10).await;
    let mut member = join(&broker).await;
    let held = take(&mut member, 10).await;
    member.nack(held[3].receipt, None).unwrap();
    member.nack(held[5].receipt, Some(Duration::from_millis(1))).unwrap();
    let again = take(&mut member, 1).await;
    assert_eq!((payload(&again[0]), again[0].deliveries), (5, 2));
    let rest: Vec<_> = held.iter().filter(|held| ![3, 5].contains(&payload(held))).cloned().collect();
    assert_eq!(member.ack(&receipts(&rest)), []);
    assert_eq!(member.ack_sync(&receipts(&again)).await, []);
    publish(&broker, 10, 10..15).await;
    assert_eq!(finish(&mut member, 4).await, [10, 11, 12, 14], "13 is of the key that waits");
    broker.shutdown().await;
}

#[tokio::test]
async fn a_member_that_joins_under_the_same_name_takes_the_place_of_the_older() {
    let broker = node().await;
    stream(&broker, 1).await;
    group(&broker, GroupDefinition::default()).await;
    publish(&broker, 1, 0..3).await;
    let named = MemberOptions { name: "worker".into(), ..MemberOptions::default() };
    let mut older = join_as(&broker, named.clone()).await;
    take(&mut older, 3).await;
    let mut newer = join_as(&broker, named).await;
    assert_eq!(next(&mut older).await, Err(Ended::Superseded));
    assert_eq!(finish(&mut newer, 3).await, [0, 1, 2]);
    broker.shutdown().await;
}

#[tokio::test]
async fn a_member_that_does_nothing_while_there_is_something_to_do_is_ended_and_counted() {
    let broker = node().await;
    stream(&broker, 1).await;
    group(&broker, GroupDefinition { lag_stall_ms: 200, ..GroupDefinition::default() }).await;
    publish(&broker, 1, 0..3).await;
    let mut silent = join(&broker).await;
    take(&mut silent, 3).await;
    until("it is ended", async || info(&broker).await.stalled == 1).await;
    let mut other = join(&broker).await;
    assert_eq!(finish(&mut other, 3).await, [0, 1, 2]);
    assert_eq!(next(&mut silent).await, Err(Ended::Stalled));
    // Who waits for records has not stopped.
    assert!(is_given_nothing(&mut other).await);
    assert_eq!(info(&broker).await.stalled, 1);
    broker.shutdown().await;
}

#[tokio::test]
async fn no_more_is_delivered_than_may_be_pending() {
    let broker = node().await;
    stream(&broker, 1).await;
    group(&broker, GroupDefinition { ack_pending_max: 5, ..GroupDefinition::default() }).await;
    publish(&broker, 20, 0..20).await;
    let mut member = join(&broker).await;
    let held = take(&mut member, 5).await;
    assert!(is_given_nothing(&mut member).await);
    member.ack(&receipts(&held[..2]));
    assert_eq!(payloads(&take(&mut member, 2).await), [5, 6]);
    broker.shutdown().await;
}
