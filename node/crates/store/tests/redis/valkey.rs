//! A server that knows WAITAOF proves `fsynced` although it syncs its file only now and then.

use weir_store::redis::{Servers, Shard};
use weir_store::{Level, Outcome, suite};
use weir_testkit::Redis;

use crate::connect::{config, connected};
use crate::flow;

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_fsynced_waits_for_the_file_of_a_server_that_syncs_every_second() {
    let server = Redis::build().valkey().start();
    let servers = Servers::connect(&server.url(), Level::Fsynced.into(), &config()).await.expect("proved");
    assert_eq!(servers.level(), Level::Fsynced);
    let mut connection = connected(&servers, Shard::Topic(0)).await;
    let wait = connection.wait().expect("proved").expect("the file is waited for");
    let mut batch = redis::pipe();
    batch.cmd("SET").arg("{weir:t0}:x").arg(1).ignore().add_command(wait.command());
    let answers: Vec<redis::Value> = batch.query_async(&mut connection).await.expect("answered");
    if !wait.enough(&answers[0]) {
        connection.confirm("weir", Shard::Topic(0), weir_testkit::PATIENCE).await.expect("synced");
    }
}

#[test]
fn an_answer_raised_to_fsynced_waits_for_the_file_and_holds_up_nobody_else() {
    let server = Redis::build().valkey().start();
    let store = flow::store(&server.url(), |config| config.level = Level::Stored.into());
    let key = suite::client("a");
    let generation = suite::open(&*store, &key, suite::resuming()).fence.generation;
    let put = |text: &str| vec![suite::step(&key, [suite::enqueue(generation, suite::message(text, 20))])];
    assert!(is_kept(&suite::ask_at(&*store, Some(Level::Fsynced), put("1"))), "as soon as it is synced");
    // Now it syncs nothing by itself.
    server.config_set("appendfsync", "no");
    let raised = suite::submitted_at(&*store, Some(Level::Fsynced), put("2"));
    for text in ["3", "4"] {
        assert!(is_kept(&suite::ask_at(&*store, None, put(text))), "who has not asked for it does not wait");
    }
    assert!(raised.try_recv().is_err(), "it was acknowledged although the file is not synced");
    server.config_set("appendfsync", "everysec");
    assert!(is_kept(&raised.recv_timeout(weir_testkit::PATIENCE).expect("an answer")));
    let texts: Vec<String> = suite::texts(&*store, &key).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["1", "2", "3", "4"]);
}

#[test]
fn what_was_acknowledged_as_fsynced_is_there_after_a_kill() {
    let mut server = Redis::build().valkey().start();
    let store = flow::store(&server.url(), |config| config.level = Level::Fsynced.into());
    let flow = flow::Flow::start(&store);
    for _ in 0..2 {
        flow.until_more(500);
        server.kill9();
        server.restart();
    }
    flow.until_more(500);
    assert!(flow.end().is_empty());
}

fn is_kept(answer: &weir_store::Answer) -> bool {
    matches!(answer[0].as_deref(), Ok([Outcome::Enqueued { .. }]))
}
