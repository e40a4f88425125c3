//! Versions beside each other: shares by key, a guard that goes back, a shadow that is only compared, and changes while
//! messages flow.

use std::collections::BTreeMap;

use weir_admin::client::Client as Admin;
use weir_admin::proto::{
    HandlerAlias, HandlerBindingSpec, HandlerShare, HandlersGetRequest, HandlersReadLogsRequest,
    HandlersSetAliasRequest, StreamRecord,
};
use weir_admin::tonic::Status;
use weir_testkit::{Cluster, Redis};

use crate::probe::{Load, Told, assert_each_once, bound, client, from_in, prepare, program, send};
use crate::scene::{
    PROGRAM, admin, bind, binding, calls, from_topics, node, publish, read, records, until, upload,
};

/// All keys to one version.
pub fn whole(digest: &str) -> [HandlerShare; 1] {
    [HandlerShare { digest: digest.to_owned(), percent: 100 }]
}

/// Points an alias of `probe` at these versions, with a guard of so many percent of so many calls.
pub async fn set_alias(
    admin: &Admin,
    alias: &str,
    shares: &[HandlerShare],
    (guard_percent, guard_calls_min): (u32, u32),
) -> Result<(), Status> {
    let request = HandlersSetAliasRequest {
        name: "probe".to_owned(),
        alias: alias.to_owned(),
        shares: shares.to_vec(),
        guard_percent,
        guard_calls_min,
        ..HandlersSetAliasRequest::default()
    };
    admin.handlers().set_alias(request).await.map(drop)
}

/// What `live` of `probe` is.
async fn live(admin: &Admin) -> HandlerAlias {
    let request = HandlersGetRequest { name: "probe".to_owned(), ..Default::default() };
    let handler =
        admin.handlers().get(request).await.expect("found").into_inner().handler.expect("a handler");
    handler.aliases.into_iter().find(|alias| alias.name == "live").expect("it is there")
}

/// By topic: the versions that were called for it.
fn versions(found: &[StreamRecord]) -> BTreeMap<String, Vec<String>> {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in found {
        let called = versions.entry(record.topic.clone()).or_default();
        called.push(Told::of(record).version);
        called.dedup();
    }
    versions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_stays_with_its_version_on_another_node_and_after_a_restart() {
    const KEYS: usize = 200;
    let redis = Redis::start();
    let mut cluster =
        Cluster::of(PROGRAM, &redis.url()).nodes(2).each(|_, node| node.listen("admin")).start();
    let near = admin(cluster.node(0)).await;
    let first = prepare(&near, 4).await;
    let second = upload(&near, "probe", program("02")).await.expect("kept").digest;
    let half = |digest: &str| HandlerShare { digest: digest.to_owned(), percent: 50 };
    set_alias(&near, "live", &[half(&first), half(&second)], (0, 0)).await.expect("shared");
    bind(&near, "b", from_in()).await.expect("bound");
    let far = admin(cluster.node(1)).await;
    let round = async |admin: &Admin, nth: usize| {
        for key in 0..KEYS {
            publish(admin, &format!("in/{key}"), &format!(r#"{{"seq": {nth}}}"#)).await;
        }
        records(admin, "first", KEYS * nth).await
    };
    let found = versions(&round(&far, 1).await);
    let is_new = found.values().filter(|called| **called == ["02"]).count();
    assert!((60..=140).contains(&is_new), "{is_new} of {KEYS} keys are the second version's");
    tokio::task::block_in_place(|| cluster.kill9(0));
    assert_eq!(versions(&round(&far, 2).await), found, "with one node less");
    tokio::task::block_in_place(|| {
        cluster.restart(0);
        cluster.kill9(1);
    });
    let near = admin(cluster.node(0)).await;
    assert_eq!(versions(&round(&near, 3).await), found, "after a restart");
    assert_eq!(read(&near, "first").await.len(), 3 * KEYS);
}

#[tokio::test]
async fn a_version_that_fails_too_often_is_gone_back_from_by_itself() {
    const COUNT: usize = 300;
    let node = node().start();
    let admin = admin(&node).await;
    let first = prepare(&admin, 1).await;
    bind(&admin, "b", from_in()).await.expect("bound");
    let second = upload(&admin, "probe", program("02")).await.expect("kept").digest;
    set_alias(&admin, "live", &whole(&second), (20, 50)).await.expect("promoted");
    for seq in 0..COUNT {
        publish(&admin, &format!("in/{}", seq % 20), &format!(r#"{{"seq": {seq}, "reject": ["02"]}}"#)).await;
    }
    until("the old version to count", async || {
        Some(live(&admin).await).filter(|live| live.shares == whole(&first) && live.guard_percent == 0)
    })
    .await;
    publish(&admin, "in/last", r#"{"seq": 1, "reject": ["02"]}"#).await;
    let handled = until("all of them", async || {
        let (done, dead) = (read(&admin, "first").await.len(), read(&admin, "dead").await.len());
        (done + dead == COUNT + 1).then_some(done)
    })
    .await;
    let failed = COUNT + 1 - handled;
    assert!(failed >= 50, "it went back after {failed} failures");
    let request = HandlersReadLogsRequest { name: "b".to_owned(), last: 1000, ..Default::default() };
    let mut lines = admin.handlers().read_logs(request).await.expect("logs").into_inner();
    let mut told = 0;
    while let Some(line) = lines.message().await.expect("a line") {
        told += usize::from(line.text.contains("`live` goes back to what it was before"));
    }
    assert_eq!(told, 1);
}

#[tokio::test]
async fn a_shadow_is_compared_and_neither_published_nor_kept() {
    let node = node().start();
    let admin = admin(&node).await;
    prepare(&admin, 1).await;
    let second = upload(&admin, "probe", program("02")).await.expect("kept").digest;
    set_alias(&admin, "next", &whole(&second), (0, 0)).await.expect("named");
    bind(&admin, "b", HandlerBindingSpec { shadow: "next".to_owned(), ..from_in() }).await.expect("bound");
    for seq in 0..20 {
        publish(&admin, "in/a", &format!(r#"{{"seq": {seq}}}"#)).await;
    }
    for _ in 0..10 {
        publish(&admin, "in/a", r#"{"to": "second/same"}"#).await;
    }
    publish(&admin, "in/a", r#"{"seq": 20, "trap": ["02"]}"#).await;
    let told: Vec<_> = records(&admin, "first", 21).await.iter().map(Told::of).collect();
    let expected: Vec<_> = (0..=20).map(|seq| (seq, seq + 1, "01".to_owned())).collect();
    assert_eq!(told.into_iter().map(|t| (t.seq, t.count, t.version)).collect::<Vec<_>>(), expected);
    assert_eq!(records(&admin, "second", 31).await.len(), 31);
    let compared = binding(&admin, "b").await;
    assert_eq!((compared.shadow_same, compared.shadow_differs), (10, 21));
    assert_eq!((calls(&admin, "b", "done").await, calls(&admin, "b", "trapped").await), (31, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alias_that_changes_again_and_again_while_messages_flow_loses_none() {
    let node = node().start();
    let admin = admin(&node).await;
    bound(&admin, 3).await;
    let first = live(&admin).await.shares[0].digest.clone();
    let second = upload(&admin, "probe", program("02")).await.expect("kept").digest;
    let load = Load::start(&node);
    for round in 0..20 {
        load.more(10).await;
        set_alias(&admin, "live", &whole(if round % 2 == 0 { &second } else { &first }), (0, 0))
            .await
            .expect("promoted");
    }
    let sent = load.finish().await;
    assert_each_once(&admin, sent).await;
    let called: Vec<_> = versions(&read(&admin, "first").await).into_values().flatten().collect();
    assert!(called.contains(&"01".to_owned()) && called.contains(&"02".to_owned()));
}

#[tokio::test]
async fn a_live_binding_misses_nothing_when_its_alias_changes() {
    let node = node().start();
    let admin = admin(&node).await;
    let first = prepare(&admin, 1).await;
    let second = upload(&admin, "probe", program("02")).await.expect("kept").digest;
    bind(&admin, "b", from_topics("probe", "say/+", &["first/+", "second/+"])).await.expect("bound");
    let mut device = client(&node).await;
    until("the binding to work", async || {
        send(&mut device, "say/x", r#"{"seq": 0}"#).await;
        (calls(&admin, "b", "done").await > 0).then_some(())
    })
    .await;
    for round in 0..20 {
        let digest = if round % 2 == 0 { &second } else { &first };
        set_alias(&admin, "live", &whole(digest), (0, 0)).await.expect("promoted");
        for seq in 0..10 {
            send(&mut device, "say/a", format!(r#"{{"seq": {}}}"#, round * 10 + seq)).await;
        }
    }
    let found = until("all events", async || {
        let found = read(&admin, "second").await;
        let of_a = found.iter().filter(|record| record.topic == "second/a");
        Some(of_a.map(|record| Told::of(record).seq).collect::<Vec<_>>()).filter(|told| told.len() >= 200)
    })
    .await;
    assert_eq!(found, (0..200).collect::<Vec<_>>());
    assert_eq!(binding(&admin, "b").await.dropped, 0);
}
