//! Consuming by gRPC: each record is finished by one member, and answers that are not a member's own do nothing.

use weir_admin::proto::streams_consume_request::Request as Said;
use weir_admin::proto::{
    ConsumeAck, ConsumeInProgress, ConsumeJoin, GroupSpec, StreamsDeleteGroupRequest, StreamsGetRequest,
};
use weir_admin::tonic::Code;

use crate::scene::{Member, admin, fill, group, node, publish, reasons, refusal, stream, text_of};

#[tokio::test]
async fn what_is_acknowledged_is_done_and_the_rest_is_delivered_again_to_the_next() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    group(&admin, "s", "g", GroupSpec::default()).await;
    fill(&admin, "a/x", 10).await;
    let mut member = Member::join(&admin, "s", "g").await;
    let records = member.take(10).await;
    assert_eq!(text_of(&records)[..3], ["0", "1", "2"]);
    assert!(records.iter().all(|one| one.deliveries == 1));
    assert!(member.ack(&records[..4]).await.refused.is_empty());
    member.leave().await;
    let mut next = Member::join(&admin, "s", "g").await;
    let again = next.take(6).await;
    assert_eq!(text_of(&again), ["4", "5", "6", "7", "8", "9"]);
    assert!(next.ack(&again).await.refused.is_empty());
    let get = StreamsGetRequest { name: "s".to_owned(), ..Default::default() };
    let found = admin.streams().get(get).await.expect("found").into_inner();
    assert_eq!(found.groups[0].lag, 0);
}

#[tokio::test]
async fn answers_twice_or_for_others_have_no_effect_and_are_told() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    group(&admin, "s", "g", GroupSpec::default()).await;
    let mut one = Member::join_with(&admin, "s", "g", 1).await;
    publish(&admin, "a/x", "x").await;
    let mine = one.take(1).await;
    let mut two = Member::join_with(&admin, "s", "g", 1).await;
    publish(&admin, "a/y", "y").await;
    let other = two.take(1).await;
    assert_eq!(reasons(&two.ack(&mine).await), ["others"]);
    assert_eq!(reasons(&one.nack(&other[0], None).await), ["others"]);
    assert!(one.ack(&mine).await.refused.is_empty());
    assert_eq!(reasons(&one.ack(&mine).await), ["finished"]);
    one.say(Said::Ack(ConsumeAck { receipts: vec![b"nonsense".to_vec().into()], ..Default::default() }))
        .await;
    assert_eq!(reasons(&one.answer().await), ["malformed"]);
    let progress = ConsumeInProgress { receipt: other[0].receipt.clone(), tag: 3 };
    two.say(Said::InProgress(progress)).await;
    let answer = two.answer().await;
    assert!(answer.tag == 3 && answer.refused.is_empty());
    assert!(two.ack(&other).await.refused.is_empty());
}

#[tokio::test]
async fn what_failed_or_was_not_answered_in_time_comes_again_and_at_last_is_a_dead_letter() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    stream(&admin, "dead", &[]).await;
    let spec = GroupSpec {
        ack_wait_ms: Some(300),
        deliveries_max: Some(3),
        dead_letter: "dead".to_owned(),
        ..GroupSpec::default()
    };
    group(&admin, "s", "g", spec).await;
    publish(&admin, "a/x", "bad").await;
    let mut one = Member::join(&admin, "s", "g").await;
    let first = one.take(1).await;
    assert!(one.nack(&first[0], Some(0)).await.refused.is_empty());
    let second = one.take(1).await;
    assert_eq!(second[0].deliveries, 2);
    // Nothing is said of it until its time is over.
    let third = one.take(1).await;
    assert_eq!(third[0].deliveries, 3);
    assert_eq!(reasons(&one.ack(&second).await), ["taken_back"]);
    assert!(one.nack(&third[0], None).await.refused.is_empty());
    let dead = crate::scene::until("the dead letter", async || {
        let dead = crate::scene::read(&admin, crate::scene::reading("dead")).await;
        (!dead.is_empty()).then_some(dead)
    });
    let dead = dead.await;
    assert_eq!(crate::scene::payloads(&dead), ["bad"]);
    assert!(dead[0].user_properties.iter().any(|one| one.name == "weir-dead-stream" && one.value == "s"));
}

#[tokio::test]
async fn a_cancelled_call_gives_its_records_back_at_once() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    group(&admin, "s", "g", GroupSpec { ack_wait_ms: Some(600_000), ..GroupSpec::default() }).await;
    fill(&admin, "a/x", 3).await;
    let mut one = Member::join(&admin, "s", "g").await;
    assert_eq!(one.take(3).await.len(), 3);
    let mut two = Member::join(&admin, "s", "g").await;
    drop(one);
    let again = two.take(3).await;
    assert_eq!(text_of(&again), ["0", "1", "2"]);
    assert!(again.iter().all(|record| record.deliveries == 2));
}

#[tokio::test]
async fn two_members_share_the_records_and_every_one_is_finished_once() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    group(&admin, "s", "g", GroupSpec::default()).await;
    let (mut one, mut two) =
        (Member::join_with(&admin, "s", "g", 10).await, Member::join_with(&admin, "s", "g", 10).await);
    for number in 0..100 {
        publish(&admin, &format!("a/{}", number % 20), &number.to_string()).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 100 {
        tokio::select! {
            records = one.take(1) => {
                seen.extend(text_of(&records));
                assert!(one.ack(&records).await.refused.is_empty());
            }
            records = two.take(1) => {
                seen.extend(text_of(&records));
                assert!(two.ack(&records).await.refused.is_empty());
            }
        }
    }
    let mut numbers: Vec<u32> = seen.iter().map(|text| text.parse().expect("a number")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_a_member_may_not_say_ends_its_call_by_the_field() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    group(&admin, "s", "g", GroupSpec::default()).await;
    let join = |stream: &str, group: &str| ConsumeJoin {
        stream: stream.to_owned(),
        group: group.to_owned(),
        ..ConsumeJoin::default()
    };
    let long = "x".repeat(65_536);
    let first = [
        (Code::InvalidArgument, "join", Said::Ack(ConsumeAck::default())),
        (Code::NotFound, "stream", Said::Join(join("none", "g"))),
        (Code::NotFound, "group", Said::Join(join("s", "none"))),
        (Code::InvalidArgument, "join.group", Said::Join(join("s", "a/{b}\n"))),
        (Code::InvalidArgument, "join.name", Said::Join(ConsumeJoin { name: long, ..join("s", "g") })),
        (
            Code::InvalidArgument,
            "join.in_flight_max",
            Said::Join(ConsumeJoin { in_flight_max: 10_001, ..join("s", "g") }),
        ),
    ];
    for (code, field, said) in first {
        let mut member = Member::call(&admin).await;
        member.say(said).await;
        let (got, detail) = refusal(member.hear().await);
        assert_eq!((got, detail.field.as_str()), (code, field));
    }
    let mut member = Member::join(&admin, "s", "g").await;
    member.say(Said::Join(join("s", "g"))).await;
    assert_eq!(refusal(member.hear().await).1.field, "join");
    let mut member = Member::join(&admin, "s", "g").await;
    let (stream, group) = ("s".to_owned(), "g".to_owned());
    let delete = StreamsDeleteGroupRequest { stream, group, ..Default::default() };
    admin.streams().delete_group(delete).await.expect("deleted");
    assert_eq!(refusal(member.hear().await).0, Code::NotFound);
}
