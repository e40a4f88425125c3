//! Places: how far a session has come in each partition it reads, kept in the store like a group's.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use smallvec::smallvec;
use weir_store::{Answer, Mark, Outcome, PartitionKey, PartitionOp, Progress, Refusal, Start, Step};

use crate::broker::Broker;
use crate::stream::Stream;

/// What the names of sessions' places begin with; groups of consumers have other names.
pub const SESSION_PREFIX: &str = "$session/";

/// Who a session's places belong to. Its name has the session's generation in it: one that is made anew begins anew.
pub fn session_group(client_id: &str, generation: u64) -> Arc<str> {
    format!("{SESSION_PREFIX}{generation}/{client_id}").into()
}

/// The client id and the generation in the name of a session's place.
pub fn session_of(group: &str) -> Option<(&str, u64)> {
    let (generation, client_id) = group.strip_prefix(SESSION_PREFIX)?.split_once('/')?;
    Some((client_id, generation.parse().ok()?))
}

/// One partition's.
struct Place {
    key: PartitionKey,
    fence: u64,
    /// Everything up to here is finished.
    low: Mark,
    /// How far the store knows, or is being told.
    told: Mark,
}

/// The places one connection holds. Dropped, it gives them back as far as it has come.
pub struct Places {
    broker: Broker,
    group: Arc<str>,
    held: Vec<Place>,
}

/// Why there are no places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPlaces {
    #[error("another node holds them")]
    Held,
    #[error("the partitions are gone")]
    Gone,
    #[error("the store did not give them: {0}")]
    Store(#[from] Refusal),
}

impl Places {
    /// Takes the places in all partitions of one generation. `anew`: whatever was there is forgotten.
    pub async fn take(
        broker: &Broker,
        stream: &Stream,
        (generation, partitions): (u64, u32),
        group: &Arc<str>,
        starts: impl Fn(u32) -> Start,
        anew: bool,
    ) -> Result<Places, NoPlaces> {
        let mut steps = Vec::new();
        for partition in 0..partitions {
            let acquire = PartitionOp::Acquire { group: group.clone(), start: starts(partition) };
            let forget = PartitionOp::Forget { group: group.clone() };
            let ops = if anew { smallvec![forget, acquire] } else { smallvec![acquire] };
            steps.push(Step::Partition { key: stream.partition_of(generation, partition), ops });
        }
        let keys: Vec<_> = (0..partitions).map(|n| stream.partition_of(generation, n)).collect();
        let mut places = Places { broker: broker.clone(), group: group.clone(), held: Vec::new() };
        // Whatever becomes of the caller: what the store gives is given back.
        let taking = broker.runtime().spawn(async move {
            let answer = places.broker.submit(steps).await;
            places.taken(keys, answer).map(|()| places)
        });
        taking.await.unwrap_or(Err(NoPlaces::Store(Refusal::Unknown)))
    }

    fn taken(&mut self, keys: Vec<PartitionKey>, answer: Answer) -> Result<(), NoPlaces> {
        let mut result = if answer.len() == keys.len() { Ok(()) } else { Err(Refusal::Unknown.into()) };
        for (key, step) in keys.into_iter().zip(answer) {
            match step.map(|outcomes| outcomes.into_iter().next_back()) {
                Ok(Some(Outcome::Acquired { fence, progress })) => {
                    let low = progress.low;
                    self.held.push(Place { key, fence, low, told: low });
                }
                Ok(Some(Outcome::Held { .. })) => result = Err(NoPlaces::Held),
                Ok(Some(Outcome::Gone)) => result = Err(NoPlaces::Gone),
                Ok(_) => result = Err(Refusal::Unknown.into()),
                Err(refusal) => result = Err(refusal.into()),
            }
        }
        result
    }

    /// How far they are, in the order of the partitions.
    pub fn marks(&self) -> Vec<Mark> {
        self.held.iter().map(|place| place.low).collect()
    }

    /// How far one is; the beginning where it is not held.
    pub fn low(&self, generation: u64, partition: u32) -> Mark {
        self.index(generation, partition).map_or_else(Mark::default, |at| self.held[at].low)
    }

    fn index(&self, generation: u64, partition: u32) -> Option<usize> {
        let is_it = |place: &Place| place.key.generation == generation && place.key.partition == partition;
        // With one generation they stand in the order of the partitions.
        let likely = partition as usize;
        let there = self.held.get(likely).is_some_and(is_it);
        if there { Some(likely) } else { self.held.iter().position(is_it) }
    }

    /// Everything up to and with `mark` is finished.
    pub fn finish(&mut self, generation: u64, partition: u32, mark: Mark) {
        if let Some(at) = self.index(generation, partition) {
            self.held[at].low = self.held[at].low.max(mark);
        }
    }

    /// Joins those of another generation.
    pub fn join(&mut self, mut more: Places) {
        self.held.append(&mut more.held);
    }

    /// Whether the store knows less than it should.
    pub fn are_behind(&self) -> bool {
        self.held.iter().any(|place| place.low > place.told)
    }

    /// Tells the store how far they are, where it has changed.
    pub fn commit(&mut self) -> BoxFuture<'static, Answer> {
        let mut steps = Vec::new();
        for place in self.held.iter_mut().filter(|place| place.low > place.told) {
            place.told = place.low;
            let (fence, progress) = (place.fence, place.progress());
            let op = PartitionOp::Commit { group: self.group.clone(), fence, progress };
            steps.push(Step::Partition { key: place.key.clone(), ops: smallvec![op] });
        }
        let broker = self.broker.clone();
        async move { broker.submit(steps).await }.boxed()
    }

    /// What was told did not arrive: it is told again.
    pub fn tell_again(&mut self) {
        self.held.iter_mut().for_each(|place| place.told = Mark::default());
    }

    /// Earlier generations are read, and everything in them is finished: nobody comes back there.
    pub fn forget_before(&mut self, generation: u64) {
        let (over, held) =
            std::mem::take(&mut self.held).into_iter().partition(|p| p.key.generation < generation);
        self.held = held;
        self.forget(over);
    }

    fn forget(&self, over: Vec<Place>) {
        forget(&self.broker, over.into_iter().map(|place| place.key), &self.group);
    }
}

/// The places of a group in these partitions are no more; whoever holds one is refused from then on.
pub fn forget(broker: &Broker, keys: impl Iterator<Item = PartitionKey>, group: &Arc<str>) {
    let forget = || smallvec![PartitionOp::Forget { group: group.clone() }];
    let steps: Vec<_> = keys.map(|key| Step::Partition { key, ops: forget() }).collect();
    if !steps.is_empty() {
        broker.store().submit(steps, Box::new(|_| {}));
    }
}

impl Place {
    fn progress(&self) -> Progress {
        Progress { low: self.low, ..Progress::default() }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let release = |place: Place| {
            let (fence, progress) = (place.fence, place.progress());
            let op = PartitionOp::Release { group: self.group.clone(), fence, progress };
            Step::Partition { key: place.key, ops: smallvec![op] }
        };
        let steps: Vec<_> = std::mem::take(&mut self.held).into_iter().map(release).collect();
        if !steps.is_empty() {
            self.broker.store().submit(steps, Box::new(|_| {}));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_place_tells_its_session_whatever_the_client_id() {
        for client_id in ["c1", "", "a/b", "$session/3/x", "\u{1f600}"] {
            assert_eq!(session_of(&session_group(client_id, 7)), Some((client_id, 7)));
        }
        for other in ["workers", "$session/", "$session/x/c", "$session/7"] {
            assert_eq!(session_of(other), None, "{other}");
        }
    }
}
