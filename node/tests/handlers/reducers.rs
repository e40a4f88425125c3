//! Map-reduce: a reducer folds a stream into a view, whose rows are exact whatever dies, and the same when built anew.

use std::collections::BTreeMap;

use weir_admin::client::Client as Admin;
use weir_admin::proto::handler_binding_spec::Source;
use weir_admin::proto::{
    HandlerBindingSpec, HandlerStream, HandlersReplayRequest, HandlersUnbindRequest, StreamsDeleteRequest,
    StreamsGetRequest, TopicsListRetainedRequest,
};
use weir_admin::tonic::Code;
use weir_testkit::{Cluster, Redis};

use crate::foreign::mqttjs;
use crate::scene::{
    PROGRAM, admin, bind, binding, calls, example, from_stream, from_topics, node, publish, read, refusal,
    stream, until, upload,
};

/// Texts that the streams of these tests are of.
const TEXTS: [&str; 4] = ["red red blue", "blue green", "red", "to be or not to be"];

fn changelog(handler: &str, stream: &str) -> HandlerBindingSpec {
    let source = HandlerStream { stream: stream.to_owned(), start: None, changelog: true };
    HandlerBindingSpec { source: Some(Source::Stream(source)), ..from_stream(handler, stream, &[]) }
}

/// The rows of a view, by key.
async fn view(admin: &Admin, name: &str) -> BTreeMap<String, String> {
    let filter = format!("$view/{name}/#");
    let request = TopicsListRetainedRequest { filter, with_payloads: true, ..Default::default() };
    let page = admin.topics().list_retained(request).await.expect("a view").into_inner();
    let row = |row: weir_admin::proto::RetainedMessage| {
        let key = row.topic.rsplit('/').next().unwrap_or_default().to_owned();
        (key, String::from_utf8(row.payload.to_vec()).expect("text"))
    };
    page.messages.into_iter().map(row).collect()
}

/// Waits until a view is this.
async fn shows(admin: &Admin, name: &str, expected: &BTreeMap<String, String>) {
    let what = format!("{expected:?}, and it is {:?}", view(admin, name).await);
    until(&what, async || (view(admin, name).await == *expected).then_some(())).await;
}

fn rows(pairs: &[(&str, u64)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, count)| ((*key).to_owned(), count.to_string())).collect()
}

/// How often each word is in the texts.
fn words<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    let mut counts = BTreeMap::<String, u64>::new();
    texts.flat_map(str::split_whitespace).for_each(|word| *counts.entry(word.to_owned()).or_default() += 1);
    counts.into_iter().map(|(word, count)| (word, count.to_string())).collect()
}

#[tokio::test]
async fn what_messages_give_is_counted_over_all_partitions_and_a_replaced_one_takes_its_own_back() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "words", example("word-count")).await.expect("kept");
    stream(&admin, "talk", "talk/+", 4).await;
    bind(&admin, "words", changelog("words", "talk")).await.expect("bound");
    for (nth, text) in TEXTS.iter().enumerate() {
        publish(&admin, &format!("talk/{nth}"), text).await;
    }
    shows(&admin, "words", &words(TEXTS.into_iter())).await;
    // Another text in its place, and one that is taken away.
    publish(&admin, "talk/0", "red yellow").await;
    publish(&admin, "talk/3", "").await;
    shows(&admin, "words", &rows(&[("blue", 1), ("green", 1), ("red", 2), ("yellow", 1)])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_sees_a_view_as_it_is_and_as_it_changes() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "words", example("word-count")).await.expect("kept");
    stream(&admin, "talk", "talk/+", 4).await;
    bind(&admin, "words", changelog("words", "talk")).await.expect("bound");
    tokio::task::block_in_place(|| mqttjs(&node, "a_view_is_seen_as_it_is_and_as_it_changes"));
}

#[tokio::test]
async fn without_a_changelog_every_message_counts() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "words", example("word-count")).await.expect("kept");
    stream(&admin, "talk", "talk/+", 2).await;
    bind(&admin, "words", from_stream("words", "talk", &[])).await.expect("bound");
    for _ in 0..3 {
        publish(&admin, "talk/0", "red").await;
    }
    shows(&admin, "words", &rows(&[("red", 3)])).await;
}

#[tokio::test]
async fn states_that_are_built_anew_are_the_same_to_the_byte() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "words", example("word-count")).await.expect("kept");
    stream(&admin, "talk", "talk/+", 4).await;
    bind(&admin, "words", changelog("words", "talk")).await.expect("bound");
    let said: Vec<&str> = (0..200).map(|nth| TEXTS[nth % 4]).collect();
    for (nth, text) in said.iter().enumerate() {
        publish(&admin, &format!("talk/{}", nth % 50), text).await;
    }
    let last = said[150..].iter().copied();
    let expected = words(last);
    shows(&admin, "words", &expected).await;
    for round in 1..=2 {
        let done = calls(&admin, "words", "done").await;
        let request = HandlersReplayRequest { name: "words".to_owned(), ..Default::default() };
        admin.handlers().replay(request).await.expect("replayed");
        until("all is mapped again", async || {
            (calls(&admin, "words", "done").await >= done + 200).then_some(())
        })
        .await;
        shows(&admin, "words", &expected).await;
        let own = StreamsGetRequest { name: format!("$reduce.{}.words", round - 1), ..Default::default() };
        assert_eq!(admin.streams().get(own).await.expect_err("gone").code(), Code::NotFound);
    }
}

#[tokio::test]
async fn a_node_that_is_killed_again_and_again_counts_each_message_once() {
    let mut node = node().start();
    let before = admin(&node).await;
    upload(&before, "words", example("word-count")).await.expect("kept");
    stream(&before, "talk", "talk/+", 4).await;
    for nth in 0..1000 {
        publish(&before, &format!("talk/{nth}"), TEXTS[nth % 4]).await;
    }
    bind(&before, "words", changelog("words", "talk")).await.expect("bound");
    for wanted in [1, 4, 7] {
        let now = admin(&node).await;
        until("some rows", async || (view(&now, "words").await.len() >= wanted).then_some(())).await;
        node.kill9();
        node = node.restart();
    }
    let after = admin(&node).await;
    shows(&after, "words", &words((0..1000).map(|nth| TEXTS[nth % 4]))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_goes_on_counting_where_a_killed_one_was() {
    const COUNT: usize = 400;
    let redis = Redis::start();
    let mut cluster =
        Cluster::of(PROGRAM, &redis.url()).nodes(2).each(|_, node| node.listen("admin")).start();
    let near = admin(cluster.node(0)).await;
    upload(&near, "words", example("word-count")).await.expect("kept");
    stream(&near, "talk", "talk/+", 4).await;
    bind(&near, "words", changelog("words", "talk")).await.expect("bound");
    let far = admin(cluster.node(1)).await;
    for nth in 0..COUNT {
        publish(&far, &format!("talk/{}", nth % 100), TEXTS[nth % 4]).await;
        if nth == COUNT / 2 {
            cluster.kill9(0);
        }
    }
    shows(&far, "words", &words((0..100).map(|nth| TEXTS[nth % 4]))).await;
}

#[tokio::test]
async fn a_message_that_cannot_be_mapped_is_a_dead_letter_and_the_rest_is_counted() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "words", example("word-count")).await.expect("kept");
    stream(&admin, "talk", "talk/+", 1).await;
    stream(&admin, "dead", "dead/+", 1).await;
    let dead_letter = "dead".to_owned();
    let spec = HandlerBindingSpec { dead_letter, ..from_stream("words", "talk", &[]) };
    bind(&admin, "words", spec).await.expect("bound");
    let request = weir_admin::proto::StreamsPublishRequest {
        topic: "talk/1".to_owned(),
        payload: vec![0xff, 0xfe].into(),
        ..Default::default()
    };
    admin.streams().publish(request).await.expect("published");
    publish(&admin, "talk/1", "red").await;
    shows(&admin, "words", &rows(&[("red", 1)])).await;
    until("a dead letter", async || (read(&admin, "dead").await.len() == 1).then_some(())).await;
}

#[tokio::test]
async fn what_is_mapped_is_let_go_once_it_is_reduced() {
    let node = node().set("broker.stream_trim_ms", 50).start();
    let admin = admin(&node).await;
    upload(&admin, "words", example("word-count")).await.expect("kept");
    stream(&admin, "talk", "talk/+", 2).await;
    bind(&admin, "words", from_stream("words", "talk", &[])).await.expect("bound");
    for nth in 0..20 {
        publish(&admin, &format!("talk/{nth}"), "red").await;
    }
    shows(&admin, "words", &rows(&[("red", 20)])).await;
    until("nothing is left of what was mapped", async || {
        read(&admin, "$reduce.0.words").await.is_empty().then_some(())
    })
    .await;
    let found = binding(&admin, "words").await;
    assert_eq!(found.reducing.expect("it reduces").lag, 0);
}

#[tokio::test]
async fn what_belongs_to_a_binding_ends_with_it_and_is_nobody_elses_to_change() {
    let node = node().start();
    let admin = admin(&node).await;
    upload(&admin, "words", example("word-count")).await.expect("kept");
    upload(&admin, "pp", example("ping-pong")).await.expect("kept");
    stream(&admin, "talk", "talk/+", 1).await;
    let (code, detail) = refusal(bind(&admin, "c", changelog("pp", "talk")).await);
    assert_eq!((code, &*detail.field), (Code::FailedPrecondition, "spec.stream.changelog"));
    let (code, detail) = refusal(bind(&admin, "c", from_stream("words", "talk", &["a/#"])).await);
    assert_eq!((code, &*detail.field), (Code::FailedPrecondition, "spec.outputs"));
    let (code, _) = refusal(bind(&admin, "c", from_topics("words", "talk/+", &[])).await);
    assert_eq!(code, Code::FailedPrecondition);

    bind(&admin, "words", from_stream("words", "talk", &[])).await.expect("bound");
    bind(&admin, "words", from_stream("words", "talk", &[])).await.expect("bound already");
    publish(&admin, "talk/1", "red").await;
    shows(&admin, "words", &rows(&[("red", 1)])).await;
    let own = StreamsDeleteRequest { name: "$reduce.0.words".to_owned(), ..Default::default() };
    let (code, detail) = refusal(admin.streams().delete(own).await);
    assert!(code == Code::FailedPrecondition || code == Code::InvalidArgument, "{code} {detail:?}");
    for topic in ["$view/words/red", "$reduce/words/0/0/red"] {
        let request = weir_admin::proto::StreamsPublishRequest {
            topic: topic.to_owned(),
            payload: b"9".to_vec().into(),
            retain: true,
            ..Default::default()
        };
        admin.streams().publish(request).await.expect_err("refused");
    }
    shows(&admin, "words", &rows(&[("red", 1)])).await;

    let request = HandlersUnbindRequest { name: "words".to_owned(), ..Default::default() };
    admin.handlers().unbind(request).await.expect("unbound");
    assert_eq!(view(&admin, "words").await, BTreeMap::new());
}
