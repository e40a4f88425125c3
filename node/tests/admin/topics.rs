//! Retained messages are browsed and removed, subscriptions found, and verdicts explained.

use weir_admin::proto::topics_explain_request::Question;
use weir_admin::proto::topics_list_subscriptions_request::Of;
use weir_admin::proto::{
    ExplainPublish, ExplainSubscribe, StreamSpec, StreamsCreateRequest, TopicsDeleteRetainedRequest,
    TopicsExplainRequest, TopicsGetRetainedRequest, TopicsListRetainedRequest,
    TopicsListSubscriptionsRequest,
};
use weir_admin::tonic::Code;

use crate::scene::{admin, clean, connect, kept, node, refusal, retain, subscribe};

#[tokio::test]
async fn retained_messages_are_listed_shown_and_removed() {
    let node = node().start();
    let mut client = connect(&node, &clean("c")).await;
    let odd = "odd/{x}\n/\u{1F600}";
    for topic in ["a/1", "a/2", "a/3", "b/1", odd] {
        retain(&mut client, topic, &format!("of {topic}")).await;
    }
    let mut topics = admin(&node).await.topics();
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let filter = "a/+".to_owned();
        let request = TopicsListRetainedRequest {
            page_size: 2,
            page_token,
            filter,
            with_payloads: true,
            ..Default::default()
        };
        let page = topics.list_retained(request).await.expect("a page").into_inner();
        seen.extend(page.messages.into_iter().map(|one| (one.topic, one.payload)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let expected: Vec<_> =
        ["a/1", "a/2", "a/3"].map(|topic| (topic.to_owned(), format!("of {topic}").into())).into();
    assert_eq!(seen, expected);

    let get = |topic: &str| TopicsGetRetainedRequest { topic: topic.to_owned(), ..Default::default() };
    let shown = topics.get_retained(get(odd)).await.expect("shown").into_inner().message.expect("one");
    assert_eq!(
        (shown.topic.as_str(), shown.qos, shown.payload_bytes),
        (odd, 1, format!("of {odd}").len() as u64)
    );
    assert!(!shown.position.is_empty());

    let delete = |filter: &str, dry_run| TopicsDeleteRetainedRequest {
        filter: filter.to_owned(),
        dry_run,
        ..Default::default()
    };
    for (dry_run, deleted) in [(true, 3), (false, 3), (false, 0)] {
        let done = topics.delete_retained(delete("a/#", dry_run)).await.expect("done").into_inner();
        assert_eq!((done.deleted, done.more), (deleted, false), "dry_run {dry_run}");
    }
    topics.delete_retained(delete(odd, false)).await.expect("done");
    assert_eq!(refusal(topics.get_retained(get(odd)).await).0, Code::NotFound);
    topics.get_retained(get("b/1")).await.expect("it stays");
    for (filter, field) in [("a/#/b", "filter"), ("$share/g/a", "filter"), ("", "filter")] {
        assert_eq!(refusal(topics.delete_retained(delete(filter, false)).await).1.field, field, "{filter}");
    }
    assert_eq!(refusal(topics.get_retained(get("a/+")).await).1.field, "topic");
    let elsewhere = TopicsListRetainedRequest { realm: "nowhere".to_owned(), ..Default::default() };
    assert_eq!(refusal(topics.list_retained(elsewhere).await).1.field, "realm");
}

#[tokio::test]
async fn subscriptions_are_found_by_topic_and_by_filter_page_by_page() {
    let node = node().start();
    let mut clients = Vec::new();
    for number in 0..5 {
        let mut client = connect(&node, &kept(&format!("c{number}"))).await;
        subscribe(&mut client, "news/+").await;
        clients.push(client);
    }
    subscribe(&mut clients[0], "#").await;
    subscribe(&mut clients[1], "$share/g/news/#").await;
    let mut topics = admin(&node).await.topics();
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let of = Some(Of::Topic("news/today".to_owned()));
        let request = TopicsListSubscriptionsRequest { page_size: 3, page_token, of, ..Default::default() };
        let page = topics.list_subscriptions(request).await.expect("a page").into_inner();
        found.extend(page.subscriptions.into_iter().map(|one| format!("{} {}", one.client_id, one.filter)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(
        found,
        ["c0 #", "c0 news/+", "c1 $share/g/news/#", "c1 news/+", "c2 news/+", "c3 news/+", "c4 news/+"]
    );
    let of = |of: Option<Of>| TopicsListSubscriptionsRequest { of, ..Default::default() };
    let exact =
        topics.list_subscriptions(of(Some(Of::Filter("#".to_owned())))).await.expect("found").into_inner();
    assert_eq!(exact.subscriptions.len(), 1);
    assert_eq!(refusal(topics.list_subscriptions(of(None)).await).0, Code::InvalidArgument);
    let odd = of(Some(Of::Topic("a/#".to_owned())));
    assert_eq!(refusal(topics.list_subscriptions(odd).await).1.field, "topic");
}

#[tokio::test]
async fn verdicts_are_explained_for_a_client() {
    let node = node().start();
    let mut client = connect(&node, &clean("c")).await;
    subscribe(&mut client, "news/+").await;
    let mut topics = admin(&node).await.topics();
    let ask = |client: &str, question: Question| TopicsExplainRequest {
        client_id: client.to_owned(),
        question: Some(question),
        ..Default::default()
    };
    let publish = |qos| Question::Publish(ExplainPublish { topic: "news/x".to_owned(), qos, retain: false });
    for name in ["second", "first", "other"] {
        let filters = vec![if name == "other" { "else/#" } else { "news/#" }.to_owned()];
        let spec = Some(StreamSpec { filters, ..StreamSpec::default() });
        let create = StreamsCreateRequest { name: name.to_owned(), spec, ..Default::default() };
        admin(&node).await.streams().create(create).await.expect("made");
    }
    let told = topics.explain(ask("c", publish(1))).await.expect("explained").into_inner();
    assert_eq!(told.streams, ["first", "second"]);
    let json: serde_json::Value = serde_json::from_str(&told.json).expect("JSON");
    assert!(told.allowed && json["receivers"][0]["client"] == "c", "{told:?}");
    let subscribe = Question::Subscribe(ExplainSubscribe { filter: "a/#/b".to_owned(), qos: 0 });
    assert!(!topics.explain(ask("c", subscribe)).await.expect("explained").into_inner().allowed);
    assert_eq!(refusal(topics.explain(ask("nobody", publish(0))).await).0, Code::NotFound);
    assert_eq!(refusal(topics.explain(ask("", publish(0))).await).1.field, "client_id");
    assert_eq!(refusal(topics.explain(ask("c", publish(3))).await).1.field, "qos");
}
