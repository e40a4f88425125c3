//! Members on several nodes: every partition is served by one of them.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_broker::Broker;
use weir_broker::stream::group::{Delivered, Ended, GroupDefinition, Member, NotYours};
use weir_store::Start;

use super::bed::*;

/// What both are given until so many different records have been seen; all is acked.
async fn finish_with(members: &mut [&mut Member], count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    let finishing = async {
        while seen.iter().collect::<BTreeSet<_>>().len() < count {
            for member in members.iter_mut() {
                if let Ok(batch) = tokio::time::timeout(Duration::from_millis(20), member.next()).await {
                    let records = batch.unwrap().records;
                    let refused = member.ack_sync(&receipts(&records)).await;
                    let kept =
                        |one: &&Delivered| !refused.iter().any(|refused| refused.receipt == one.receipt);
                    seen.extend(records.iter().filter(kept).map(payload));
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, finishing).await.expect("all records");
    seen
}

async fn owners(broker: &Broker) -> BTreeSet<u64> {
    info(broker).await.partitions.iter().filter_map(|partition| partition.owner).collect()
}

async fn owned(broker: &Broker) -> usize {
    info(broker).await.partitions.iter().filter(|partition| partition.owner.is_some()).count()
}

async fn two_nodes() -> (Shared, Broker, Broker) {
    let mut shared = Shared::new();
    let (a, b) = (shared.node().await, shared.node().await);
    stream(&a, 8).await;
    group(&a, GroupDefinition::default()).await;
    (shared, a, b)
}

#[tokio::test]
async fn nodes_with_members_share_the_partitions_and_each_record_is_finished_once() {
    let (_shared, a, b) = two_nodes().await;
    let (mut on_a, mut on_b) = (join(&a).await, join(&b).await);
    until("all partitions are served", async || owned(&a).await == 8 && owners(&a).await.len() == 2).await;
    publish(&a, 64, 0..200).await;
    publish(&b, 64, 200..400).await;
    let mut seen = finish_with(&mut [&mut on_a, &mut on_b], 400).await;
    seen.sort_unstable();
    assert_eq!(seen, (0..400).collect::<Vec<_>>());
    assert_eq!(lag(&b).await, 0);
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test]
async fn members_come_and_go_and_what_was_acked_never_comes_again() {
    let (_shared, a, b) = two_nodes().await;
    publish(&a, 64, 0..100).await;
    let mut on_a = join(&a).await;
    let mut seen = finish_with(&mut [&mut on_a], 100).await;
    let mut on_b = join(&b).await;
    until("the new one has its share", async || owners(&a).await.len() == 2).await;
    publish(&a, 64, 100..200).await;
    seen.extend(finish_with(&mut [&mut on_a, &mut on_b], 100).await);
    on_a.close().await;
    publish(&a, 64, 200..300).await;
    seen.extend(finish_with(&mut [&mut on_b], 100).await);
    assert_eq!(owners(&b).await, BTreeSet::from([b.incarnation()]));
    seen.sort_unstable();
    assert_eq!(seen, (0..300).collect::<Vec<_>>());
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test]
async fn the_partitions_of_a_node_that_dies_are_served_by_the_others() {
    let (shared, a, b) = two_nodes().await;
    let (mut on_a, mut on_b) = (join(&a).await, join(&b).await);
    until("all partitions are served", async || owned(&b).await == 8 && owners(&b).await.len() == 2).await;
    publish(&b, 64, 0..200).await;
    let batch = next(&mut on_a).await.unwrap().records;
    let (done, left) = batch.split_at(batch.len() / 2);
    assert_eq!(on_a.ack_sync(&receipts(done)).await, []);
    assert!(!left.is_empty());
    shared.kill(a).await;
    let mut seen = finish_with(&mut [&mut on_b], 200 - done.len()).await;
    seen.extend(payloads(done));
    seen.sort_unstable();
    assert_eq!(seen, (0..200).collect::<Vec<_>>());
    drop(on_a);
    b.shutdown().await;
}

#[tokio::test]
async fn a_node_that_slept_past_its_lease_is_refused_and_its_members_told() {
    let (shared, a, b) = two_nodes().await;
    let mut on_a = join(&a).await;
    until("all partitions are served", async || owned(&b).await == 8).await;
    publish(&b, 64, 0..50).await;
    let held = take(&mut on_a, 50).await;
    assert_eq!(on_a.ack(&receipts(&held[..10])), []);
    until("they are stored", async || lag(&b).await == 40).await;
    let mut on_b = join(&b).await;
    shared.store.cut(a.incarnation());
    let refused = on_a.ack(&receipts(&held[10..]));
    assert!(refused.len() == 40 && refused.iter().all(|refused| refused.why == NotYours::CutOff));
    let mut seen = finish_with(&mut [&mut on_b], 40).await;
    seen.sort_unstable();
    let mut kept = payloads(&held[10..]);
    kept.sort_unstable();
    assert_eq!(seen, kept);
    let ended = loop {
        if let Err(ended) = next(&mut on_a).await {
            break ended;
        }
    };
    assert_eq!(ended, Ended::LeaseLost);
    assert_eq!(lag(&b).await, 0);
    a.shutdown().await;
    b.shutdown().await;
}

/// Its lease has held all the time, so nobody else could take what it did not serve any more.
#[tokio::test]
async fn a_node_that_was_cut_off_for_a_while_gives_back_what_it_has_let_go() {
    let (shared, a, b) = two_nodes().await;
    let mut on_a = join(&a).await;
    until("all partitions are served", async || owned(&b).await == 8).await;
    shared.store.hold_mirror(a.incarnation());
    let ended = loop {
        if let Err(ended) = next(&mut on_a).await {
            break ended;
        }
    };
    assert_eq!(ended, Ended::LeaseLost);
    drop(on_a);
    let mut on_b = join(&b).await;
    shared.store.let_mirror_go(a.incarnation());
    publish(&b, 64, 0..50).await;
    finish_with(&mut [&mut on_b], 50).await;
    assert_eq!(owners(&b).await, BTreeSet::from([b.incarnation()]));
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test]
async fn a_group_with_members_on_two_nodes_is_moved_as_one() {
    let (_shared, a, b) = two_nodes().await;
    let (mut on_a, mut on_b) = (join(&a).await, join(&b).await);
    publish(&a, 64, 0..100).await;
    finish_with(&mut [&mut on_a, &mut on_b], 100).await;
    b.seek_group(&realm(), "s", "g", Start::Earliest).await.unwrap();
    let mut again = finish_with(&mut [&mut on_a, &mut on_b], 100).await;
    again.sort_unstable();
    assert_eq!(again, (0..100).collect::<Vec<_>>());
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test]
async fn what_one_node_makes_and_ends_all_know() {
    let (_shared, a, b) = two_nodes().await;
    let mut on_b = join(&b).await;
    a.delete_group(&realm(), "s", "g").await.unwrap();
    assert_eq!(next(&mut on_b).await, Err(Ended::GroupDeleted));
    assert!(b.groups(&realm(), "s").await.unwrap().is_empty());
    a.shutdown().await;
    b.shutdown().await;
}
