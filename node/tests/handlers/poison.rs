//! What cannot be handled is put aside with its reason, what goes round in a loop is cut, and the rest goes on.

use std::collections::BTreeMap;

use weir_admin::proto::{HandlerBindingSpec, StreamRecord, StreamsRedriveGroupRequest};
use weir_testkit::PATIENCE;

use crate::probe::{Told, bound, client, from_in, next, prepare, program, send, subscribe};
use crate::scene::{
    admin, bind, calls, from_stream, from_topics, node, publish, read, records, stream, text, until, upload,
};
use crate::shares::{set_alias, whole};

/// What a dead letter says of itself, by the last word of the property's name.
pub fn said(record: &StreamRecord) -> BTreeMap<&str, &str> {
    let dead = record
        .user_properties
        .iter()
        .filter_map(|said| Some((said.name.strip_prefix("weir-dead-")?, said.value.as_str())));
    dead.collect()
}

#[tokio::test]
async fn a_message_that_always_traps_is_put_aside_and_handled_when_the_handler_is_mended() {
    let node = node().start();
    let admin = admin(&node).await;
    bound(&admin, 1).await;
    let mut device = client(&node).await;
    send(&mut device, "in/a", r#"{"seq": 1}"#).await;
    send(&mut device, "in/a", r#"{"seq": 2, "trap": ["01"]}"#).await;
    send(&mut device, "in/a", r#"{"seq": 3}"#).await;
    send(&mut device, "in/b", r#"{"seq": 4}"#).await;
    let dead = records(&admin, "dead", 1).await;
    let said = said(&dead[0]);
    assert_eq!(text(&dead[0]), ("in/a", r#"{"seq": 2, "trap": ["01"]}"#));
    assert_eq!((said["reason"], said["deliveries"], said["group"]), ("nacked", "3", "$handler.b"));
    assert!(said["error"].starts_with("trapped (unreachable)"), "{}", said["error"]);
    assert_eq!(calls(&admin, "b", "trapped").await, 3);
    let of_a = |found: Vec<StreamRecord>| {
        let told = found.iter().filter(|record| record.topic == "first/a").map(Told::of);
        told.map(|told| (told.seq, told.count, told.version)).collect::<Vec<_>>()
    };
    let old = |seq, count| (seq, count, "01".to_owned());
    assert_eq!(of_a(records(&admin, "first", 3).await), [old(1, 1), old(3, 2)]);

    let mended = upload(&admin, "probe", program("02")).await.expect("kept").digest;
    set_alias(&admin, "live", &whole(&mended), (0, 0)).await.expect("promoted");
    let again = StreamsRedriveGroupRequest {
        stream: "in".to_owned(),
        group: "$handler.b".to_owned(),
        ..Default::default()
    };
    let done = admin.streams().redrive_group(again).await.expect("redriven").into_inner();
    assert_eq!(done.redriven, 1);
    let found = of_a(records(&admin, "first", 4).await);
    assert_eq!(found, [old(1, 1), old(3, 2), (2, 3, "02".to_owned())]);
}

#[tokio::test]
async fn a_stream_that_is_fed_by_its_own_handler_is_cut_after_sixteen_rounds() {
    let node = node().start();
    let admin = admin(&node).await;
    prepare(&admin, 1).await;
    stream(&admin, "round", "round/+", 2).await;
    let spec =
        HandlerBindingSpec { dead_letter: "dead".to_owned(), ..from_stream("probe", "round", &["round/+"]) };
    bind(&admin, "b", spec).await.expect("bound");
    publish(&admin, "round/a", r#"{"to": "round/b"}"#).await;
    let dead = records(&admin, "dead", 1).await;
    let said = said(&dead[0]);
    assert_eq!(said["reason"], "rejected");
    assert!(said["error"].contains("goes round in a loop"), "{}", said["error"]);
    assert_eq!(read(&admin, "round").await.len(), 17);
    assert_eq!((calls(&admin, "b", "done").await, calls(&admin, "b", "looped").await), (16, 1));
}

#[tokio::test]
async fn a_live_binding_that_feeds_itself_is_cut_after_sixteen_rounds_and_serves_others() {
    let node = node().start();
    let admin = admin(&node).await;
    prepare(&admin, 1).await;
    stream(&admin, "round", "round/+", 1).await;
    bind(&admin, "b", from_topics("probe", "round/+", &["round/+", "first/+", "second/+"]))
        .await
        .expect("bound");
    let mut device = client(&node).await;
    subscribe(&mut device, "first/+").await;
    until("the binding to work", async || {
        send(&mut device, "round/x", r#"{"seq": 9}"#).await;
        tokio::time::timeout(PATIENCE / 100, device.next()).await.ok()
    })
    .await
    .expect("an event");
    let before = read(&admin, "round").await.len();
    send(&mut device, "round/a", r#"{"to": "round/b"}"#).await;
    until("the cut", async || (calls(&admin, "b", "looped").await == 1).then_some(())).await;
    assert_eq!(read(&admin, "round").await.len(), before + 17);
    send(&mut device, "round/y", r#"{"seq": 10}"#).await;
    while next(&mut device).await.0 != "first/y" {}
}

#[tokio::test]
async fn what_is_said_to_sys_is_refused_even_where_the_outputs_name_it() {
    let node = node().start();
    let admin = admin(&node).await;
    prepare(&admin, 1).await;
    let mut spec = from_in();
    spec.outputs = vec!["first/+".to_owned(), "second/+".to_owned(), "$SYS/#".to_owned(), "#".to_owned()];
    bind(&admin, "b", spec).await.expect("bound");
    publish(&admin, "in/a", r#"{"to": "$SYS/broker/uptime"}"#).await;
    publish(&admin, "in/a", r#"{"seq": 2}"#).await;
    let dead = records(&admin, "dead", 1).await;
    let said = said(&dead[0]);
    assert_eq!((said["reason"], said["deliveries"]), ("rejected", "1"));
    assert!(said["error"].contains("may not publish to `$SYS/broker/uptime`"), "{}", said["error"]);
    assert_eq!(Told::of(&records(&admin, "first", 1).await[0]).seq, 2);
    assert_eq!(calls(&admin, "b", "forbidden").await, 1);
}
