//! A message reaches what is bound to its topic or stream, and what comes of it reaches whoever wants that.

use weir_admin::proto::{
    HandlersListBindingsRequest, HandlersPauseRequest, HandlersReadLogsRequest, HandlersReplayRequest,
    HandlersResumeRequest, HandlersUnbindRequest, StreamEnd, StreamStart, stream_start::From,
};

use crate::scene::{
    admin, bind, binding, calls, example, from_stream, from_topics, node, publish, read, records, stream,
    text, until, upload,
};

#[tokio::test]
async fn a_publish_is_handled_on_its_way_and_its_event_goes_where_any_message_goes() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "pp", example("ping-pong")).await.expect("kept");
    stream(&admin, "pongs", "+/pong", 1).await;
    bind(&admin, "live", from_topics("pp", "+/ping", &["+/pong"])).await.expect("bound");
    // The binding begins to work soon after.
    until("a pong", async || {
        publish(&admin, "7/ping", r#"{"seq": 1}"#).await;
        (!read(&admin, "pongs").await.is_empty()).then_some(())
    })
    .await;
    let found = records(&admin, "pongs", 1).await;
    assert_eq!(text(&found[0]), ("7/pong", r#"{"seq":1}"#));
    let hops = found[0].user_properties.iter().find(|property| property.name == "weir-hops");
    assert_eq!(hops.map(|hops| hops.value.as_str()), Some("1"));
}

#[tokio::test]
async fn every_record_of_a_stream_is_handled_once_and_of_a_key_in_order() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "pp", example("ping-pong")).await.expect("kept");
    stream(&admin, "pings", "+/ping", 4).await;
    stream(&admin, "pongs", "+/pong", 4).await;
    for seq in 0..200 {
        publish(&admin, &format!("{}/ping", seq % 10), &format!(r#"{{"seq": {seq}}}"#)).await;
    }
    bind(&admin, "pp", from_stream("pp", "pings", &["+/pong"])).await.expect("bound");
    let found = records(&admin, "pongs", 200).await;
    assert_eq!(found.len(), 200);
    for who in 0..10 {
        let topic = format!("{who}/pong");
        let mine: Vec<_> =
            found.iter().filter(|record| record.topic == topic).map(|record| text(record).1).collect();
        let expected: Vec<_> = (0..20).map(|nth| format!(r#"{{"seq":{}}}"#, nth * 10 + who)).collect();
        assert_eq!(mine, expected);
    }
    assert_eq!(calls(&admin, "pp", "done").await, 200);
    until("no lag", async || (binding(&admin, "pp").await.group?.lag == 0).then_some(())).await;
}

#[tokio::test]
async fn what_it_may_not_publish_and_what_it_rejects_is_a_dead_letter_that_says_why_and_the_rest_goes_on() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "pp", example("ping-pong")).await.expect("kept");
    stream(&admin, "pings", "+/ping", 1).await;
    stream(&admin, "pongs", "+/pong", 1).await;
    stream(&admin, "dead", "nothing", 1).await;
    publish(&admin, "evil/ping", r#"{"seq": 1}"#).await;
    publish(&admin, "good/ping", "no json").await;
    publish(&admin, "good/ping", r#"{"seq": 2}"#).await;
    let mut spec = from_stream("pp", "pings", &["good/pong"]);
    spec.dead_letter = "dead".to_owned();
    bind(&admin, "pp", spec).await.expect("bound");
    let dead = records(&admin, "dead", 2).await;
    let why = |topic: &str| {
        let record = dead.iter().find(|record| record.topic == topic).expect("a dead letter");
        let said = |name: &str| {
            record.user_properties.iter().find(|said| said.name == name).expect(name).value.clone()
        };
        (said("weir-dead-reason"), said("weir-dead-error"), said("weir-dead-deliveries"))
    };
    let (reason, error, deliveries) = why("evil/ping");
    assert_eq!((reason.as_str(), deliveries.as_str()), ("rejected", "1"));
    assert!(error.contains("may not publish to `evil/pong`"), "{error}");
    assert!(why("good/ping").1.contains("expected"), "{}", why("good/ping").1);
    assert_eq!(text(&records(&admin, "pongs", 1).await[0]), ("good/pong", r#"{"seq":2}"#));
    assert_eq!((calls(&admin, "pp", "forbidden").await, calls(&admin, "pp", "rejected").await), (1, 1));
    let request = HandlersReadLogsRequest { name: "pp".to_owned(), last: 10, ..Default::default() };
    let mut lines = admin.handlers().read_logs(request).await.expect("logs").into_inner();
    let mut told = String::new();
    while let Some(line) = lines.message().await.expect("a line") {
        told.push_str(&line.text);
    }
    assert!(told.contains("may not publish to `evil/pong`"), "{told}");
}

#[tokio::test]
async fn a_paused_binding_waits_a_resumed_one_goes_on_and_a_replayed_one_does_it_again() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "pp", example("ping-pong")).await.expect("kept");
    stream(&admin, "pings", "ping", 1).await;
    bind(&admin, "pp", from_stream("pp", "pings", &["pong"])).await.expect("bound");
    publish(&admin, "ping", r#"{"seq": 1}"#).await;
    until("a call", async || (calls(&admin, "pp", "done").await == 1).then_some(())).await;
    let pause = HandlersPauseRequest { name: "pp".to_owned(), ..Default::default() };
    admin.handlers().pause(pause).await.expect("paused");
    publish(&admin, "ping", r#"{"seq": 2}"#).await;
    assert!(binding(&admin, "pp").await.binding.expect("a binding").paused);
    assert_eq!(calls(&admin, "pp", "done").await, 1);
    let resume = HandlersResumeRequest { name: "pp".to_owned(), ..Default::default() };
    admin.handlers().resume(resume).await.expect("resumed");
    until("the second", async || (calls(&admin, "pp", "done").await == 2).then_some(())).await;
    let start = Some(StreamStart { from: Some(From::End(StreamEnd::Earliest.into())) });
    let replay = HandlersReplayRequest { name: "pp".to_owned(), start, ..Default::default() };
    admin.handlers().replay(replay).await.expect("replayed");
    until("both again", async || (calls(&admin, "pp", "done").await == 4).then_some(())).await;
    let unbind = HandlersUnbindRequest { name: "pp".to_owned(), ..Default::default() };
    admin.handlers().unbind(unbind).await.expect("unbound");
    publish(&admin, "ping", r#"{"seq": 3}"#).await;
    assert!(
        admin
            .handlers()
            .list_bindings(HandlersListBindingsRequest::default())
            .await
            .expect("listed")
            .into_inner()
            .bindings
            .is_empty()
    );
}
