//! Publishing by gRPC: the same door as for clients, the same answers.

use std::collections::BTreeSet;

use tokio_stream::StreamExt as _;
use weir_admin::proto::streams_publish_many_response::Outcome;
use weir_admin::proto::{
    StreamsPublishManyRequest, StreamsPublishRequest, TopicsGetRetainedRequest, UserProperty,
};
use weir_admin::tonic::Code;
use weir_bench::client::{Client, Options, Subscription};
use weir_model::Qos;
use weir_testkit::PATIENCE;

use crate::scene::{admin, message, node, payloads, publish, read, reading, refusal, soon, stream};

#[tokio::test]
async fn a_message_reaches_streams_subscribers_and_the_retained_value_alike() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    let url = url::Url::parse(&format!("mqtt://{}", node.address("mqtt"))).expect("a URL");
    let options = Options { client_id: "c".to_owned(), timeout: PATIENCE, ..Options::default() };
    let mut client = Client::connect(&url, &options).await.expect("connected");
    client.subscribe(&[Subscription::new("#", Qos::AtLeastOnce)], None).await.expect("subscribed");
    let user_properties = vec![UserProperty { name: "n".to_owned(), value: "v".to_owned() }];
    let request = StreamsPublishRequest {
        retain: true,
        content_type: "text/plain".to_owned(),
        user_properties,
        ..message("a/x", "one")
    };
    let done = admin.streams().publish(request).await.expect("published").into_inner();
    assert!(done.matched && !done.deduplicated && !done.position.is_empty());
    let got = soon("the copy", client.next()).await.expect("a message");
    assert_eq!((got.topic.as_str(), &got.payload[..]), ("a/x", &b"one"[..]));
    let get = TopicsGetRetainedRequest { topic: "a/x".to_owned(), ..Default::default() };
    let kept = admin.topics().get_retained(get).await.expect("kept").into_inner().message.expect("one");
    assert_eq!((kept.position, &kept.payload[..]), (done.position, &b"one"[..]));
    let records = read(&admin, reading("s")).await;
    assert_eq!((payloads(&records), records[0].content_type.as_str()), (vec!["one"], "text/plain"));
    assert_eq!((records[0].user_properties[0].name.as_str(), records[0].qos), ("n", 1));
    let alone = publish(&admin, "b", "nobody").await;
    assert_eq!(alone.position, "");
    node.balanced();
}

#[tokio::test]
async fn a_repeat_under_its_key_is_answered_as_the_first_time_and_does_nothing() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    let keyed =
        |payload: &str| StreamsPublishRequest { idempotency_key: "k1".to_owned(), ..message("a/x", payload) };
    let first = admin.streams().publish(keyed("one")).await.expect("published").into_inner();
    let again = admin.streams().publish(keyed("two")).await.expect("published").into_inner();
    assert_eq!((first.deduplicated, again.deduplicated), (false, true));
    assert_eq!(first.position, again.position);
    assert_eq!(payloads(&read(&admin, reading("s")).await), ["one"]);
    node.balanced();
}

#[tokio::test]
async fn a_message_hears_the_level_it_asked_for_or_why_it_cannot_have_it() {
    let node = node().set("store.level", "stored").start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    let at = |level: &str, topic: &str| StreamsPublishRequest {
        ack_level: level.to_owned(),
        ..message(topic, "p")
    };
    let reached =
        async |request| admin.streams().publish(request).await.expect("published").into_inner().ack_level;
    assert_eq!(reached(at("fsynced", "a/x")).await, "fsynced");
    assert_eq!(reached(at("stored", "a/x")).await, "stored");
    assert_eq!(reached(at("fsynced", "b")).await, "none");
    assert_eq!(reached(at("", "a/x")).await, "");
    let (code, detail) = refusal(admin.streams().publish(at("replicated:2", "a/x")).await);
    assert_eq!((code, detail.reason.as_str()), (Code::FailedPrecondition, "ack_level_impossible"));
    let (code, detail) = refusal(admin.streams().publish(at("all", "a/x")).await);
    assert_eq!((code, detail.field.as_str()), (Code::InvalidArgument, "ack_level"));
    assert_eq!(payloads(&read(&admin, reading("s")).await).len(), 3);
    node.balanced();
}

#[tokio::test]
async fn a_level_below_that_of_the_node_is_for_those_whom_the_policy_lets() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    let lowered = StreamsPublishRequest { ack_level: "stored".to_owned(), ..message("a/x", "p") };
    let (code, detail) = refusal(admin.streams().publish(lowered).await);
    assert_eq!((code, detail.reason.as_str()), (Code::PermissionDenied, "ack_level_min"));
    assert!(read(&admin, reading("s")).await.is_empty());
    node.balanced();
}

#[tokio::test]
async fn a_message_that_cannot_be_is_refused_by_its_field() {
    let node = node().start();
    let admin = admin(&node).await;
    let long = "x".repeat(65_536);
    for topic in ["", "a/+", "#", "a\0", &long] {
        let (code, detail) = refusal(admin.streams().publish(message(topic, "p")).await);
        assert_eq!((code, detail.field.as_str()), (Code::InvalidArgument, "topic"), "{}", topic.len());
    }
    let (code, detail) = refusal(admin.streams().publish(message("$SYS/x", "p")).await);
    assert_eq!((code, detail.reason.as_str()), (Code::PermissionDenied, "policy"));
    let key = StreamsPublishRequest { idempotency_key: "x".repeat(256), ..message("a", "p") };
    assert_eq!(refusal(admin.streams().publish(key).await).1.field, "idempotency_key");
    let strange = "a/{b}\n c/ü";
    stream(&admin, "s", &["a/#"]).await;
    publish(&admin, strange, "p").await;
    assert_eq!(read(&admin, reading("s")).await[0].topic, strange);
    node.balanced();
}

#[tokio::test]
async fn many_messages_are_kept_in_order_and_each_is_answered() {
    let node = node().start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    let one = |tag: u64, topic: &str| StreamsPublishManyRequest {
        tag,
        message: Some(message(topic, &tag.to_string())),
    };
    let mut requests: Vec<_> = (0..3000).map(|tag| one(tag, "a/x")).collect();
    requests[1500] = one(1500, "a/#");
    requests[1501].message = None;
    let answers =
        admin.streams().publish_many(tokio_stream::iter(requests)).await.expect("a call").into_inner();
    let answers: Vec<_> = soon("all answers", answers.collect::<Vec<_>>()).await;
    let mut tags = BTreeSet::new();
    for answer in answers {
        let answer = answer.expect("an answer");
        assert!(tags.insert(answer.tag));
        match answer.outcome.expect("an outcome") {
            Outcome::Done(done) => assert!(done.matched && !done.position.is_empty()),
            Outcome::Refused(refused) => {
                assert!([1500, 1501].contains(&answer.tag), "{refused:?}");
                assert_eq!(refused.field, "topic");
            }
        }
    }
    assert_eq!(tags.len(), 3000);
    let kept: Vec<u64> = read(&admin, reading("s"))
        .await
        .iter()
        .map(|one| crate::scene::payload(one).parse().unwrap())
        .collect();
    let expected: Vec<u64> = (0..3000).filter(|tag| ![1500, 1501].contains(tag)).collect();
    assert_eq!(kept, expected);
    node.balanced();
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_its_call_and_nothing_else() {
    let node = node().set("admin.message_bytes_max", 100_000).start();
    let admin = admin(&node).await;
    stream(&admin, "s", &["a/#"]).await;
    let long = message("a/x", &"x".repeat(200_000));
    assert_eq!(refusal(admin.streams().publish(long.clone()).await).0, Code::OutOfRange);
    let requests = [message("a/x", "one"), long]
        .map(|message| StreamsPublishManyRequest { tag: 1, message: Some(message) });
    let mut answers =
        admin.streams().publish_many(tokio_stream::iter(requests)).await.expect("a call").into_inner();
    let end = loop {
        match soon("an answer", answers.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the end has a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::OutOfRange);
    publish(&admin, "a/x", "two").await;
    assert_eq!(payloads(&read(&admin, reading("s")).await), ["one", "two"]);
}
