//! Groups whose actor fails, and nodes that start again.

use weir_broker::stream::group::{Ended, GroupDefinition};

use super::bed::*;

#[tokio::test]
async fn a_group_whose_actor_fails_goes_on_with_what_is_stored() {
    let broker = node().await;
    stream(&broker, 2).await;
    group(&broker, GroupDefinition::default()).await;
    publish(&broker, 8, 0..20).await;
    let mut member = join(&broker).await;
    let held = take(&mut member, 20).await;
    assert_eq!(member.ack_sync(&receipts(&held[..10])).await, []);
    broker.panic_group(&realm(), "s", "g");
    let told = next(&mut member).await.unwrap();
    assert_eq!((told.taken.len(), told.records.len()), (10, 0), "what it held is taken anew");
    let mut again = finish(&mut member, 10).await;
    let mut kept = payloads(&held[10..]);
    again.sort_unstable();
    kept.sort_unstable();
    assert_eq!(again, kept);
    broker.shutdown().await;
}

#[tokio::test]
async fn a_node_that_stops_ends_its_members_and_keeps_what_they_acked() {
    let broker = node().await;
    stream(&broker, 1).await;
    group(&broker, GroupDefinition::default()).await;
    publish(&broker, 1, 0..10).await;
    let mut member = join(&broker).await;
    let held = take(&mut member, 10).await;
    assert_eq!(member.ack(&receipts(&held[..7])), []);
    broker.shutdown().await;
    assert_eq!(next(&mut member).await, Err(Ended::ShuttingDown));
    let progress = info(&broker).await.partitions.remove(0);
    assert_eq!(progress.lag(), 3);
}
