//! Earlier generations of a stream: read to their end by every group, then let go.

use std::time::Duration;

use smallvec::smallvec;
use weir_broker::Broker;
use weir_broker::stream::Spec;
use weir_broker::stream::group::GroupDefinition;
use weir_model::Filter;
use weir_store::{PartitionOp, Retention, Step};

use super::bed::*;

fn spec(partitions: u32, age_max: Duration) -> Spec {
    let age_max_ms = u64::try_from(age_max.as_millis()).unwrap();
    let retention = Retention { age_max_ms, ..Retention::default() };
    Spec { filters: vec![Filter::new("t/#").unwrap()], partitions, retention, ..Spec::default() }
}

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(1);

async fn alter(broker: &Broker, spec: Spec) {
    broker.alter_stream(&realm(), "s", spec, 0).await.unwrap();
}

async fn generations(broker: &Broker) -> usize {
    broker.stream_info(&realm(), "s").await.unwrap().generations.len()
}

#[tokio::test]
async fn an_earlier_generation_goes_when_its_records_are_too_old_and_every_group_is_through() {
    let broker = node().await;
    broker.create_stream(&realm(), "s", spec(1, LONG)).await.unwrap();
    group(&broker, GroupDefinition::default()).await;
    publish(&broker, 4, 0..8).await;
    alter(&broker, spec(3, LONG)).await;
    publish(&broker, 4, 8..12).await;
    let mut member = join(&broker).await;
    let held = take(&mut member, 8).await;
    broker.tidy_streams(true).await;
    assert_eq!(generations(&broker).await, 2, "a group is not through, and others may read it");
    assert_eq!(member.ack_sync(&receipts(&held)).await, []);
    finish(&mut member, 4).await;
    broker.tidy_streams(true).await;
    assert_eq!(generations(&broker).await, 2, "others may read it as long as its stream keeps it");
    alter(&broker, spec(3, SHORT)).await;
    until("it is let go", async || {
        broker.tidy_streams(true).await;
        generations(&broker).await == 1
    })
    .await;
    alter(&broker, spec(3, LONG)).await;
    publish(&broker, 4, 12..16).await;
    let mut seen = finish(&mut member, 4).await;
    seen.sort_unstable();
    assert_eq!(seen, (12..16).collect::<Vec<_>>());
    assert_eq!(info(&broker).await.lost, 0);
    broker.shutdown().await;
}

#[tokio::test]
async fn a_generation_that_emptied_before_a_group_had_read_it_stays_until_the_loss_is_counted() {
    let broker = node().await;
    broker.create_stream(&realm(), "s", spec(1, LONG)).await.unwrap();
    group(&broker, GroupDefinition::default()).await;
    publish(&broker, 4, 0..8).await;
    alter(&broker, spec(2, SHORT)).await;
    let records = async || {
        let generations = broker.stream_info(&realm(), "s").await.unwrap().generations;
        generations.iter().flat_map(|(_, partitions)| partitions).map(|one| one.ends.records).sum::<u64>()
    };
    until("the records to go", async || {
        broker.tidy_streams(true).await;
        records().await == 0
    })
    .await;
    assert_eq!(generations(&broker).await, 2, "the group does not know of its loss yet");
    alter(&broker, spec(2, LONG)).await;
    publish(&broker, 4, 8..12).await;
    let mut member = join(&broker).await;
    let mut seen = finish(&mut member, 4).await;
    seen.sort_unstable();
    assert_eq!(seen, (8..12).collect::<Vec<_>>());
    assert_eq!(info(&broker).await.lost, 8);
    until("it is let go", async || {
        broker.tidy_streams(true).await;
        generations(&broker).await == 1
    })
    .await;
    broker.shutdown().await;
}

#[tokio::test]
async fn a_generation_whose_end_was_never_stored_is_ended_by_the_janitor_and_groups_go_on() {
    let broker = node().await;
    broker.create_stream(&realm(), "s", spec(1, LONG)).await.unwrap();
    group(&broker, GroupDefinition::default()).await;
    let before = broker.stream(&realm(), "s").unwrap();
    alter(&broker, spec(2, LONG)).await;
    // As when the node that altered it had died before it could seal what there was.
    let retention = before.definition.retention;
    let ops = smallvec![PartitionOp::Drop, PartitionOp::Configure { retention }];
    broker.submit(vec![Step::Partition { key: before.partition(0), ops }]).await.pop().unwrap().unwrap();
    let now = broker.stream(&realm(), "s").unwrap();
    assert!(!broker.groups_have_finished(&now, before.generation()).await.unwrap());
    publish(&broker, 4, 0..4).await;
    let mut member = join(&broker).await;
    broker.tidy_streams(true).await;
    assert_eq!(finish(&mut member, 4).await.len(), 4);
    broker.shutdown().await;
}
