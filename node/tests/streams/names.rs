//! What is no stream is refused by name, and hurts nobody.

use weir_broker::stream::Spec;
use weir_model::Qos;
use weir_wire::mqtt::{ReasonCode, Version};

use crate::client::{CLEAN, Client, How};
use crate::scene::Running;

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_no_stream_s_is_refused_with_its_reason() {
    let node = Running::start().await;
    node.stream("s", Spec::default()).await;
    let mut client = Client::connect(node.address, "c", CLEAN);
    let long = format!("$stream/{}", "x".repeat(256));
    let refused = [
        ("$stream/unknown", "there is no stream \"unknown\""),
        ("$stream/{s}", "there is no stream \"{s}\""),
        ("$stream/S", "there is no stream"),
        ("$stream/", "`name` must have 1 to 255 bytes"),
        (&long, "`name` must have 1 to 255 bytes"),
        ("$stream/s/t", "must not contain"),
        ("$stream//s", "must not contain"),
        ("$stream/#", "must not contain"),
        ("$stream/+", "must not contain"),
        ("$stream/s/#", "must not contain"),
        ("$stream/a\nb", "must not contain"),
        ("$stream/$SYS", "must not begin with"),
    ];
    for (filter, expected) in refused {
        let (code, reason) = client.subscribe(filter, Qos::AtLeastOnce, Some("earliest"));
        let shown = &filter[..filter.len().min(40)];
        assert_eq!(code, ReasonCode::TopicFilterInvalid, "{shown:?}");
        assert!(reason.as_deref().is_some_and(|reason| reason.contains(expected)), "{shown:?}: {reason:?}");
        assert!(reason.is_some_and(|reason| reason.len() < 400));
    }
    // Too long for a filter of any kind.
    let huge = format!("$stream/{}", "x".repeat(65_000));
    assert_eq!(client.subscribe(&huge, Qos::AtLeastOnce, None).0, ReasonCode::TopicFilterInvalid);
    let (code, reason) = client.subscribe("$share/g/$stream/s", Qos::AtLeastOnce, None);
    assert_eq!(code, ReasonCode::SharedSubscriptionsNotSupported);
    assert!(reason.is_some_and(|reason| reason.contains("share group")));
    assert_eq!(client.subscribe("$stream/s", Qos::AtLeastOnce, None).0, ReasonCode::GrantedQos1);
    assert_eq!(client.publish("s/t", "1"), ReasonCode::Success);
    assert_eq!(client.payloads(1), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_is_none_is_refused_with_what_may_be_said() {
    let node = Running::start().await;
    node.stream("s", Spec::default()).await;
    let mut client = Client::connect(node.address, "c", CLEAN);
    let huge = "9".repeat(60_000);
    for offset in ["", "oldest", "1", "-1", "1:2", "time:yesterday", "300/1:2-3", "0/first", &huge] {
        let (code, reason) = client.subscribe("$stream/s", Qos::AtLeastOnce, Some(offset));
        assert_eq!(code, ReasonCode::ImplementationSpecificError, "{}", &offset[..offset.len().min(20)]);
        assert!(reason.is_some_and(|reason| reason.starts_with("stream-offset") && reason.len() < 400));
    }
    let twice = [("stream-offset", "latest"), ("weir-stream-offset", "earliest")];
    let (code, _) = client.subscribe_with("$stream/s", Qos::AtLeastOnce, &twice, None);
    assert_eq!(code, ReasonCode::ImplementationSpecificError);
    // What is no stream does not look at it.
    assert_eq!(client.subscribe("s/#", Qos::AtLeastOnce, Some("nonsense")).0, ReasonCode::GrantedQos1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_client_is_refused_by_the_one_code_it_knows() {
    let node = Running::start().await;
    let mut client = Client::connect(node.address, "c", How { version: Version::V311, ..CLEAN });
    assert_eq!(client.subscribe("$stream/none", Qos::AtLeastOnce, None).0, ReasonCode::UnspecifiedError);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_publishes_to_a_stream_s_own_topic() {
    let node = Running::start().await;
    node.stream("s", Spec::default()).await;
    let mut client = Client::connect(node.address, "c", CLEAN);
    client.subscribe("$stream/s", Qos::AtLeastOnce, None);
    assert!(client.publish("$stream/s", "1").is_error());
    client.ping();
    assert_eq!(node.records("s").await, 0);
}
