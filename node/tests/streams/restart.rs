//! A node ends, however, and starts again: each of its groups is where it was.

use std::time::{Duration, Instant};

use weir_admin::client::Client as Admin;
use weir_admin::proto::{ConsumeRecord, GroupSpec, GroupState, StreamRecord, StreamsGetRequest};
use weir_testkit::Node;

use crate::administered::{
    Member, PROGRAM, admin, group, payload, publish, read, reading, reasons, stream, text_of, until,
};

/// How long a record waits that is given back and comes again while the test looks on.
const DELAY: Duration = Duration::from_millis(2500);

/// Longer than the test.
const HOUR_MS: u64 = 3_600_000;

/// Nothing more comes if nothing has come by then.
const QUIET: Duration = Duration::from_millis(300);

async fn state(admin: &Admin) -> GroupState {
    let get = StreamsGetRequest { name: "s".to_owned(), ..Default::default() };
    admin.streams().get(get).await.expect("found").into_inner().groups.remove(0)
}

fn find<'a>(records: &'a [ConsumeRecord], wanted: &str) -> &'a ConsumeRecord {
    let is = |record: &&ConsumeRecord| payload(record.record.as_ref().expect("a record")) == wanted;
    records.iter().find(is).expect("it is among them")
}

/// What a dead letter says of itself: payload, reason, deliveries.
fn said(letter: &StreamRecord) -> (String, String, String) {
    let value = |name: &str| {
        let property = letter.user_properties.iter().find(|property| property.name == name);
        property.map(|property| property.value.clone()).unwrap_or_default()
    };
    (payload(letter).to_owned(), value("weir-dead-reason"), value("weir-dead-deliveries"))
}

async fn letters(admin: &Admin, count: usize) -> Vec<(String, String, String)> {
    until("dead letters", async || {
        let letters = read(admin, reading("dead")).await;
        (letters.len() == count).then(|| letters.iter().map(said).collect())
    })
    .await
}

fn dead(payload: &str) -> (String, String, String) {
    (payload.to_owned(), "nacked".to_owned(), "2".to_owned())
}

async fn restarted(end: impl FnOnce(&mut Node)) {
    let mut node = Node::of(PROGRAM).store("embedded").listen("admin").listen("http").start();
    let before = admin(&node).await;
    stream(&before, "s", &["a/#"]).await;
    stream(&before, "dead", &[]).await;
    let spec = GroupSpec {
        ack_wait_ms: Some(HOUR_MS),
        deliveries_max: Some(2),
        dead_letter: "dead".to_owned(),
        ..GroupSpec::default()
    };
    group(&before, "s", "g", spec).await;
    for number in ["acked", "waits long", "waits", "held", "failed", "new"] {
        publish(&before, &format!("a/{number}"), number).await;
    }
    let mut member = Member::join_with(&before, "s", "g", 5).await;
    let held = member.take(5).await;
    assert!(member.nack(find(&held, "waits long"), Some(HOUR_MS)).await.refused.is_empty());
    let nacked_at = Instant::now();
    let delay_ms = u64::try_from(DELAY.as_millis()).expect("small");
    assert!(member.nack(find(&held, "waits"), Some(delay_ms)).await.refused.is_empty());
    assert!(member.nack(find(&held, "failed"), Some(0)).await.refused.is_empty());
    let more = member.take(2).await;
    assert!(member.nack(find(&more, "failed"), None).await.refused.is_empty());
    assert!(member.ack(&[find(&held, "acked").clone()]).await.refused.is_empty());
    assert_eq!(letters(&before, 1).await, [dead("failed")]);
    // What was given back is stored a moment after it was.
    until("it is stored", async || (state(&before).await.failed == 2).then_some(())).await;

    end(&mut node);
    drop((member, before));
    let node = node.restart();
    let after = admin(&node).await;
    assert_eq!(letters(&after, 1).await, [dead("failed")], "it keeps why, and after how many tries");
    // A node that is told to end takes back what its members have, which counts as a delivery that failed.
    let now = state(&after).await;
    assert!(now.lag == 4 && now.failed >= 2, "{now:?}");
    let mut member = Member::join(&after, "s", "g").await;
    let again = member.take(3).await;
    assert!(nacked_at.elapsed() + Duration::from_millis(50) >= DELAY, "one of them came before its time");
    assert_eq!(text_of(&again), ["held", "new", "waits"]);
    assert_eq!(find(&again, "waits").deliveries, 2);
    assert!(member.ack(&again[..2]).await.refused.is_empty());
    // The second delivery that failed is the last one, though the first was before the restart.
    assert!(member.nack(find(&again, "waits"), None).await.refused.is_empty());
    assert_eq!(letters(&after, 2).await, [dead("failed"), dead("waits")]);
    assert!(tokio::time::timeout(QUIET, member.take(1)).await.is_err(), "the last one waits for an hour");
    assert_eq!(reasons(&member.ack(&held[..1]).await), ["finished"], "nobody acknowledges it twice");
    until("the last one alone", async || (state(&after).await.lag == 1).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_goes_on_with_its_groups_where_they_were() {
    restarted(Node::kill9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_told_to_end_goes_on_with_its_groups_where_they_were() {
    restarted(|node| assert!(node.sigterm_and_wait().success())).await;
}
