//! What another owner has taken: progress under an old fence is refused, and counts for nobody.

use smallvec::smallvec;
use weir_broker::Broker;
use weir_broker::stream::group::{GroupDefinition, NotYours};
use weir_store::{Mark, Outcome, PartitionOp, Progress, Start, Step};

use super::bed::*;

/// Does something with the group's place in the only partition, as this node; the last outcome.
async fn with_place(broker: &Broker, ops: impl IntoIterator<Item = PartitionOp>) -> Outcome {
    let key = broker.stream(&realm(), "s").unwrap().partition(0);
    let step = Step::Partition { key, ops: ops.into_iter().collect() };
    broker.submit(vec![step]).await.pop().unwrap().unwrap().pop().unwrap()
}

/// The place is another's, who has finished everything up to a mark; returns its fence.
async fn take_over(broker: &Broker, low: Mark) -> u64 {
    let forget = PartitionOp::Forget { group: "g".into() };
    let acquire = PartitionOp::Acquire { group: "g".into(), start: Start::After(low.position) };
    match with_place(broker, [forget, acquire]).await {
        Outcome::Acquired { fence, .. } => fence,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_ack_that_the_store_refuses_as_fenced_is_told_and_what_the_other_has_done_counts() {
    let mut shared = Shared::new();
    let (a, b) = (shared.node().await, shared.node().await);
    stream(&a, 1).await;
    group(&a, GroupDefinition::default()).await;
    publish(&a, 1, 0..10).await;
    let mut member = join(&a).await;
    let held = take(&mut member, 10).await;
    assert_eq!(member.ack_sync(&receipts(&held[..2])).await, []);
    // As when the lease of this node was over for a moment, which it has not noticed.
    let low = held[3].record.mark;
    let fence = take_over(&b, low).await;
    let refused = member.ack_sync(&receipts(&held[2..6])).await;
    let expected: Vec<_> = receipts(&held[2..6]).into_iter().map(|one| (one, NotYours::Elsewhere)).collect();
    assert_eq!(refused.iter().map(|one| (one.receipt, one.why)).collect::<Vec<_>>(), expected);
    assert_eq!(next(&mut member).await.unwrap().taken, receipts(&held[6..]), "it has none of them any more");
    assert_eq!(member.ack(&receipts(&held[6..7]))[0].why, NotYours::Elsewhere);
    assert_eq!(info(&a).await.fenced, 1);
    assert!(is_given_nothing(&mut member).await, "it is the other's");
    let progress = Progress { low, ..Progress::default() };
    with_place(&b, [PartitionOp::Release { group: "g".into(), fence, progress }]).await;
    assert_eq!(finish(&mut member, 6).await, [4, 5, 6, 7, 8, 9]);
    assert_eq!(lag(&b).await, 0);
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test]
async fn nobody_commits_under_a_fence_that_was_never_given_or_is_over() {
    let mut shared = Shared::new();
    let (a, b) = (shared.node().await, shared.node().await);
    stream(&a, 1).await;
    group(&a, GroupDefinition::default()).await;
    publish(&a, 1, 0..4).await;
    let first = take_over(&b, Mark::default()).await;
    let second = take_over(&a, Mark::default()).await;
    assert!(second > first, "a fence is never given twice");
    let key = a.stream(&realm(), "s").unwrap().partition(0);
    for fence in [first, second + 1] {
        let op = PartitionOp::Commit { group: "g".into(), fence, progress: Progress::default() };
        let step = Step::Partition { key: key.clone(), ops: smallvec![op] };
        assert_eq!(b.submit(vec![step]).await[0], Err(weir_store::Refusal::Fenced));
    }
    a.shutdown().await;
    b.shutdown().await;
}
