//! Progress on its way to the store, and places taken and given back there.

use std::sync::Arc;

use smallvec::smallvec;
use weir_store::{Answer, Outcome, PartitionKey, PartitionOp, Refusal, Start, Step};

use super::post::Post;
use super::{Hub, State, Unstored};
use crate::broker::Broker;
use crate::clock;
use crate::stream::Stream;
use crate::stream::definition::PARTITIONS_MAX;
use crate::stream::group::catalog::Counts;
use crate::stream::group::definition::is_reducers;
use crate::stream::group::fault;
use crate::stream::group::place::Place;

/// Milliseconds until something is stored again that was refused.
const AGAIN_MS: u64 = 200;

/// Progress of one place that is being stored.
pub(in super::super) struct Write {
    partition: u32,
    fence: u64,
    changes: u64,
    is_release: bool,
    /// It brings effects along, and it says what of them is published.
    brings: bool,
    tells: bool,
}

impl State {
    /// What is to be stored now; places that are given back are, with what they have come to.
    pub(super) fn writes(&mut self, group: &Arc<str>, commit_ms: u64, now: u64) -> (Vec<Step>, Vec<Write>) {
        let (mut steps, mut writes) = (Vec::new(), Vec::new());
        for (partition, post) in &mut self.posts {
            let is_release = post.wants_release(self.row.definition.is_handler);
            if !is_release && !post.wants_storing(now, commit_ms) {
                continue;
            }
            let (fence, changes) = (post.fence, post.place.changes());
            let progress = post.place.progress(now, clock::unix());
            let op = match is_release {
                true => PartitionOp::Release { group: group.clone(), fence, progress },
                false => PartitionOp::Commit { group: group.clone(), fence, progress },
            };
            let mut ops = smallvec![op];
            post.debts.store(group, fence, &mut ops);
            post.is_writing = true;
            post.is_awaited = false;
            steps.push(Step::Partition { key: post.key.clone(), ops });
            let (brings, tells) = (post.debts.is_storing(), post.debts.is_telling());
            writes.push(Write { partition: *partition, fence, changes, is_release, brings, tells });
        }
        (steps, writes)
    }

    fn written(&mut self, write: &Write, result: Result<&[Outcome], Refusal>, now: u64) -> Option<Refusal> {
        let partition = write.partition;
        let post = self.posts.get_mut(&partition).filter(|post| post.fence == write.fence)?;
        post.is_writing = false;
        match result {
            Ok(outcomes) => {
                post.stored = write.changes;
                post.debts.stored(outcomes.get(1..).unwrap_or_default());
                post.trouble_since = None;
                post.dirty_since = (post.place.changes() > post.stored).then_some(now);
                post.touched(now);
                if write.is_release {
                    self.past.insert(partition, (write.fence, write.changes));
                    self.drop_post(partition, now);
                }
                None
            }
            Err(refusal) => {
                post.failed(now);
                post.dirty_since = post.dirty_since.map(|_| now + AGAIN_MS);
                // Whether its effects are stored is not known: only who takes the place anew finds out.
                let is_open = refusal == Refusal::Unknown && post.debts.is_storing();
                post.debts.not_stored();
                if refusal == Refusal::Fenced || is_open {
                    self.drop_post(partition, now);
                }
                Some(refusal)
            }
        }
    }

    fn acquired(&mut self, key: PartitionKey, partitions: u32, outcome: Option<&Outcome>, now: u64) {
        self.acquiring.remove(&key.partition);
        if let Some(Outcome::Acquired { fence, progress }) = outcome {
            let place = Place::new(progress.clone(), self.row.definition.rules());
            self.drop_post(key.partition, now);
            self.posts.insert(key.partition, Post::new(key, partitions, *fence, place, now));
        }
    }
}

impl Post {
    /// Whether it is to be given back now.
    fn wants_release(&self, has_debts: bool) -> bool {
        let is_settled = !has_debts || self.debts.is_settled() || self.debts.is_late;
        self.leaving.is_some() && !self.is_writing && !self.is_burying && self.place.out() == 0 && is_settled
    }
}

impl Hub {
    /// Stores what wants storing.
    pub(super) fn store(self: &Arc<Self>, broker: &Broker, steps: Vec<Step>, writes: Vec<Write>) {
        if steps.is_empty() {
            return;
        }
        let (hub, broker) = (self.clone(), broker.clone());
        let runtime = broker.runtime().clone();
        runtime.spawn(async move {
            let (brings, tells) =
                (writes.iter().any(|write| write.brings), writes.iter().any(|write| write.tells));
            fault::reach_if(brings, "effects.before_commit");
            fault::reach_if(tells, "outputs.before_paid");
            let answer = broker.submit(steps).await;
            fault::reach_if(brings, "effects.stored");
            fault::reach_if(tells, "outputs.paid");
            let now = clock::now_ms();
            let mut state = hub.state.lock();
            for (place, write) in writes.iter().enumerate() {
                let key = state.posts.get(&write.partition).map(|post| post.key.clone());
                if let Some(refusal) = state.written(write, result(&answer, place), now) {
                    hub.refused(write.partition, refusal);
                    if refusal == Refusal::Unknown && !state.posts.contains_key(&write.partition) {
                        hub.return_later(&broker, key.into_iter().collect());
                    }
                }
            }
            let payments = state.payments(now);
            drop(state);
            fault::reach_if(brings, "effects.known");
            hub.pay(&broker, payments);
            hub.moved.notify_waiters();
            hub.ring();
        });
    }

    fn refused(&self, partition: u32, refusal: Refusal) {
        if refusal == Refusal::Fenced {
            Counts::add(&self.counts.fenced, "fenced", 1);
            tracing::warn!(group = %self.key.group, stream = %self.key.stream, partition,
                "another node serves this partition of a group now: what was not stored is delivered there");
        } else {
            tracing::warn!(group = %self.key.group, stream = %self.key.stream, partition, %refusal,
                "the progress of a group is not stored");
        }
    }

    /// Asks for partitions that this node is to serve.
    pub(super) fn acquire(self: &Arc<Self>, broker: &Broker, keys: Vec<PartitionKey>) {
        if keys.is_empty() {
            return;
        }
        let (hub, broker, group) = (self.clone(), broker.clone(), self.key.group.clone());
        let runtime = broker.runtime().clone();
        runtime.spawn(async move {
            let acquire = |key: &PartitionKey| {
                let op = PartitionOp::Acquire { group: group.clone(), start: Start::Earliest };
                Step::Partition { key: key.clone(), ops: smallvec![op] }
            };
            let answer = broker.submit(keys.iter().map(acquire).collect()).await;
            let now = clock::now_ms();
            let stream = broker.streams().get(&hub.key.realm, &hub.key.stream);
            let mut state = hub.state.lock();
            for (place, key) in keys.into_iter().enumerate() {
                let outcomes = answer.get(place).and_then(|step| step.as_ref().ok());
                let partitions = partitions_beside(stream.as_deref(), &key) * feeders(&hub.key.group);
                state.acquired(key, partitions, outcomes.and_then(|outcomes| outcomes.first()), now);
            }
            let reads = state.reads(now);
            drop(state);
            hub.read(&broker, reads);
            hub.ring();
        });
    }

    /// What every place has come to that is not stored yet; it is stored at once.
    pub(in super::super) fn unstored(&self) -> Vec<Unstored> {
        let mut state = self.state.lock();
        let mut marks = Vec::new();
        for (partition, post) in &mut state.posts {
            let changes = post.place.changes();
            if changes > post.stored {
                post.is_awaited = true;
                marks.push(Unstored { partition: *partition, fence: post.fence, changes });
            }
        }
        drop(state);
        self.ring();
        marks
    }

    /// Waits until what was not stored is. Returns the partitions that were lost before.
    pub(in super::super) async fn stored(&self, marks: &[Unstored]) -> Vec<u32> {
        let mut lost = Vec::new();
        for mark in marks {
            loop {
                let moved = self.moved.notified();
                tokio::pin!(moved);
                moved.as_mut().enable();
                match self.is_stored(mark) {
                    Some(true) => break,
                    Some(false) => moved.await,
                    None => {
                        lost.push(mark.partition);
                        break;
                    }
                }
            }
        }
        lost
    }

    /// `None` = it cannot be any more.
    fn is_stored(&self, mark: &Unstored) -> Option<bool> {
        let mut state = self.state.lock();
        let post = state.posts.get_mut(&mark.partition).filter(|post| post.fence == mark.fence);
        if let Some(post) = post {
            let is_stored = post.stored >= mark.changes;
            post.is_awaited |= !is_stored && !post.is_writing;
            return Some(is_stored);
        }
        let past = state.past.get(&mark.partition).filter(|(fence, _)| *fence == mark.fence);
        past.filter(|(_, changes)| *changes >= mark.changes).map(|_| true)
    }
}

/// Groups that publish into the same streams: both steps of a reducer do.
fn feeders(group: &str) -> u32 {
    if is_reducers(group) { 2 } else { 1 }
}

/// How many partitions the generation of a partition has.
fn partitions_beside(stream: Option<&Stream>, key: &PartitionKey) -> u32 {
    let mut generations = stream.into_iter().flat_map(Stream::generations);
    let found = generations.find(|(generation, _)| *generation == key.generation);
    found.map_or(PARTITIONS_MAX, |(_, partitions)| partitions)
}

/// What became of one step.
fn result(answer: &Answer, place: usize) -> Result<&[Outcome], Refusal> {
    match answer.get(place) {
        Some(Ok(outcomes)) => Ok(outcomes),
        Some(Err(refusal)) => Err(*refusal),
        None => Err(Refusal::Unknown),
    }
}
