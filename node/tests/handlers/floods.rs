//! A handler that floods has its own call fail, or its lines dropped; who comes after it is served.

use weir_admin::client::Client as Admin;
use weir_admin::proto::{HandlerBindingSpec, HandlerLimits, HandlersReadLogsRequest};

use crate::poison::said;
use crate::probe::{Told, ample, client, from_in, prepare, send};
use crate::scene::{admin, bind, calls, from_topics, node, publish, records, until};

fn limits() -> Option<HandlerLimits> {
    Some(HandlerLimits { outputs_max: 10, log_lines_max: 5, kv_ops_max: 20, ..ample() })
}

async fn log(admin: &Admin) -> Vec<String> {
    let request = HandlersReadLogsRequest { name: "b".to_owned(), last: 1000, ..Default::default() };
    let mut lines = admin.handlers().read_logs(request).await.expect("logs").into_inner();
    let mut told = Vec::new();
    while let Some(line) = lines.message().await.expect("a line") {
        told.push(line.text);
    }
    told
}

#[tokio::test]
async fn floods_of_a_stream_are_dead_letters_with_their_reason_and_cost_nobody_else_anything() {
    let node = node().start();
    let admin = admin(&node).await;
    prepare(&admin, 1).await;
    bind(&admin, "b", HandlerBindingSpec { limits: limits(), ..from_in() }).await.expect("bound");
    publish(&admin, "in/a", r#"{"to": "first/a", "events": 1000}"#).await;
    publish(&admin, "in/b", r#"{"seq": 2, "values": 1000}"#).await;
    publish(&admin, "in/c", r#"{"seq": 3, "lines": 1000}"#).await;
    publish(&admin, "in/d", r#"{"seq": 4}"#).await;
    let dead = records(&admin, "dead", 2).await;
    let why = |topic: &str| {
        let record = dead.iter().find(|record| record.topic == topic).expect("a dead letter");
        let said = said(record);
        (said["reason"].to_owned(), said["deliveries"].to_owned(), said["error"].to_owned())
    };
    let (reason, deliveries, error) = why("in/a");
    assert_eq!((reason.as_str(), deliveries.as_str()), ("nacked", "3"));
    assert!(error.starts_with("too much output: "), "{error}");
    let (reason, deliveries, error) = why("in/b");
    assert_eq!((reason.as_str(), deliveries.as_str()), ("rejected", "1"));
    assert_eq!(error, "kv: more than one call may read or write");
    let mut told: Vec<_> = records(&admin, "first", 2).await.iter().map(Told::of).map(|t| t.seq).collect();
    told.sort_unstable();
    assert_eq!(told, [3, 4]);
    let lines = log(&admin).await;
    assert_eq!(lines.iter().filter(|line| line.starts_with("line ")).count(), 5);
    assert!(lines.iter().any(|line| line == "995 lines more were dropped"), "{lines:?}");
    assert_eq!((calls(&admin, "b", "rejected").await, calls(&admin, "b", "done").await), (1, 2));
    assert_eq!(calls(&admin, "b", "bad_output").await, 3);
}

#[tokio::test]
async fn floods_of_a_live_binding_are_counted_and_cost_nobody_else_anything() {
    let node = node().start();
    let admin = admin(&node).await;
    prepare(&admin, 1).await;
    let spec =
        HandlerBindingSpec { limits: limits(), ..from_topics("probe", "say/+", &["first/+", "second/+"]) };
    bind(&admin, "b", spec).await.expect("bound");
    let mut device = client(&node).await;
    until("the binding to work", async || {
        send(&mut device, "say/x", r#"{"seq": 0}"#).await;
        (calls(&admin, "b", "done").await > 0).then_some(())
    })
    .await;
    send(&mut device, "say/a", r#"{"to": "first/a", "events": 11}"#).await;
    send(&mut device, "say/a", r#"{"values": 21}"#).await;
    send(&mut device, "say/a", r#"{"seq": 7, "lines": 100}"#).await;
    until("its events", async || {
        let found = records(&admin, "first", 1).await;
        found.iter().map(Told::of).any(|told| told.seq == 7).then_some(())
    })
    .await;
    assert_eq!((calls(&admin, "b", "bad_output").await, calls(&admin, "b", "rejected").await), (1, 1));
    assert!(log(&admin).await.iter().any(|line| line == "95 lines more were dropped"));
}
