//! Giving back what was let go without a word: a place whose owner's lease stands is nobody else's to take.

use std::sync::Arc;
use std::time::Duration;

use smallvec::smallvec;
use weir_store::{Outcome, PartitionKey, PartitionOp, ReadError, Start, Step};

use super::{Hub, State};
use crate::broker::Broker;
use crate::stream::group::catalog::GroupKey;

/// Until it is looked whether a place was taken again, and whether the store takes it back.
const LOOK: Duration = Duration::from_millis(500);

impl State {
    /// Whether this node works on a partition, or is about to.
    fn serves(&self, partition: u32) -> bool {
        self.posts.contains_key(&partition) || self.acquiring.contains(&partition)
    }
}

impl Hub {
    /// Partitions that this node has let go while it was cut off from the store, or without knowing what that has.
    /// Unless its lease is over by then, or it serves them again, it gives them back as soon as it can.
    pub(super) fn return_later(&self, broker: &Broker, partitions: Vec<PartitionKey>) {
        if !broker.store().is_shared() {
            return;
        }
        for partition in partitions {
            let (broker, group) = (broker.clone(), self.key.clone());
            let runtime = broker.runtime().clone();
            runtime.spawn(async move { while !is_returned(&broker, &group, &partition).await {} });
        }
    }
}

impl Broker {
    /// After a rollback the store may have this node as the owner of places that it has given back since: nobody else
    /// could take them.
    pub(crate) fn return_forgotten(&self) {
        let broker = self.clone();
        self.runtime().spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                if broker.groups_known().is_leaving() || broker.return_all_forgotten().await.is_ok() {
                    return;
                }
            }
        });
    }

    async fn return_all_forgotten(&self) -> Result<(), ReadError> {
        let me = self.incarnation();
        for realm in self.realms() {
            for stream in self.streams().all(&realm.name) {
                let groups = self.groups_known().of_stream(&stream.realm, &stream.name);
                for partition in stream.partitions().filter(|_| !groups.is_empty()) {
                    let Some(info) = self.store().partition(partition.clone()).await? else { continue };
                    let mine = info.groups.iter().filter(|place| place.owner == Some(me));
                    for place in mine {
                        let Some(key) = groups.iter().find(|key| key.group == place.group) else { continue };
                        while !is_returned(self, key, &partition).await {}
                    }
                }
            }
        }
        Ok(())
    }
}

async fn is_returned(broker: &Broker, key: &GroupKey, partition: &PartitionKey) -> bool {
    tokio::time::sleep(LOOK).await;
    let hub = broker.groups_known().hub(key);
    if broker.groups_known().is_leaving()
        || hub.is_some_and(|hub| hub.state.lock().serves(partition.partition))
    {
        return true;
    }
    if !broker.store().stands() {
        return false;
    }
    let step = |op| vec![Step::Partition { key: partition.clone(), ops: smallvec![op] }];
    // Taken anew under the lease that still stands, and let go in the state in which it is.
    let group: &Arc<str> = &key.group;
    let acquire = PartitionOp::Acquire { group: group.clone(), start: Start::Earliest };
    let mut answer = broker.submit(step(acquire)).await;
    let Some(Ok(mut outcomes)) = answer.pop() else { return false };
    let Some(Outcome::Acquired { fence, progress }) = outcomes.pop() else { return true };
    let release = PartitionOp::Release { group: group.clone(), fence, progress };
    let answer = broker.submit(step(release)).await;
    answer.first().is_some_and(Result::is_ok)
}
