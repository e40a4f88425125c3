//! A slot of a Redis Cluster that moves from one primary to another while it is written: half of it here, half there.

use std::sync::Arc;

use weir_store::redis::Shard;
use weir_store::{Page, Refusal, Store, suite};
use weir_testkit::redis::Builder;
use weir_testkit::{RedisCluster, eventually};

use crate::flow::{Flow, counted, seen, store};

/// Messages answered between two faults.
const SOME: u64 = 500;

/// A store on three primaries, with one shard of each kind; and the slot of this one.
fn store_and_slot(cluster: &RedisCluster, shard: Shard, lease_ms: u64) -> (Arc<dyn Store>, u16) {
    let mut slot = 0;
    let store = store(&cluster.url(), |config| {
        config.redis.shards = 1;
        config.redis.lease_ms = lease_ms;
        // Whatever the slot's way takes, nothing is given up.
        config.redis.unknown_wait_ms = 60_000;
        slot = shard.slot(&config.redis.key_prefix);
    });
    (store, slot)
}

/// Waits until Redis has answered once more with an error of this kind.
fn once_more(kind: &str) {
    let before = counted(kind);
    eventually(kind, || (counted(kind) > before).then_some(()));
}

#[test]
fn a_slot_that_is_half_moved_takes_nothing_in_and_loses_and_doubles_nothing() {
    let cluster = RedisCluster::start_with(0, |builder| builder);
    // No renewal of the lease is due meanwhile: it waits for the mirror, which waits for the slot.
    let (store, slot) = store_and_slot(&cluster, Shard::Session(0), 300_000);
    let flow = Flow::start(&store);
    for _ in 0..3 {
        flow.until_more(SOME);
        let moving = cluster.begin_to_move(slot, (cluster.owner(slot) + 1) % 3);
        once_more("ask");
        assert_eq!(moving.move_keys(3), 3);
        once_more("ask");
        // What is read of one half alone would be wrong.
        let page = Page { rows_max: 10, bytes_max: usize::MAX };
        if let Ok(rows) = suite::wait(store.read_queue(suite::client("flow"), 0, page)) {
            assert_eq!(rows.first().map(|row| row.number), Some(1));
        }
        assert!(moving.move_keys(100) > 0, "it was half of them");
        assert_eq!(moving.move_keys(100), 0);
        moving.end();
    }
    flow.until_more(SOME);
    assert!(flow.end().is_empty());
    assert!(seen("ask") > 0);
    seen("moved");
}

/// The steps of leases name several keys: as long as some are there and some are not, the answer is TRYAGAIN.
fn leases_are_renewed(cluster: &RedisCluster) {
    let (store, slot) = store_and_slot(cluster, Shard::Nodes, 3_000);
    // The lease is taken up.
    suite::restore(&*store);
    let flow = Flow::start(&store);
    for _ in 0..2 {
        flow.until_more(SOME);
        let moving = cluster.begin_to_move(slot, (cluster.owner(slot) + 1) % 3);
        once_more("tryagain");
        while moving.move_keys(100) > 0 {}
        moving.end();
        eventually("the lease to stand", || store.stands().then_some(()));
    }
    flow.until_more(SOME);
    // While no lease stood nothing was taken.
    let refused = flow.end();
    assert!(refused.iter().all(|refusal| *refusal == Refusal::Unavailable), "{refused:?}");
    assert!(seen("tryagain") > 0);
}

#[test]
fn leases_are_renewed_when_the_slot_of_the_nodes_has_moved() {
    leases_are_renewed(&RedisCluster::start_with(0, |builder| builder));
}

#[test]
fn leases_are_renewed_when_the_slot_of_the_nodes_has_moved_on_valkey() {
    leases_are_renewed(&RedisCluster::start_with(0, Builder::valkey));
}
