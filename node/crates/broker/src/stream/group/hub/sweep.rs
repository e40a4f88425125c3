//! What is this node's to do for a group: which generation is read, which partitions it serves, whether it is over.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use weir_store::{Expect, Incarnation, PartitionKey, ReadError, Step, Table, TableOp};

use super::{Hub, State};
use crate::broker::Broker;
use crate::clock;
use crate::stream::Stream;
use crate::stream::group::catalog::Seen;
use crate::stream::group::member::Ended;
use crate::stream::group::spread;

/// Milliseconds after which the row of a node without a lease is taken out.
const ABSENT_MAX_MS: u64 = 10_000;

/// Milliseconds after which a move of the group's places that nobody has finished is taken over.
const MOVE_MAX_MS: u64 = 5000;

impl Hub {
    /// Looks at everything that may have changed. True when the hub is done with.
    pub fn sweep(self: &Arc<Self>, broker: &Broker, now: u64) -> bool {
        let stream = broker.streams().get(&self.key.realm, &self.key.stream);
        let seen = broker.groups_known().seen(&self.key);
        let (nodes, stands) = (standing(broker, &seen), broker.store().stands());
        let lease_holders: BTreeSet<_> = broker.store().nodes().iter().map(|node| node.incarnation).collect();
        let mut state = self.state.lock();
        if let Some(over) = state.is_over(broker, stream.as_deref(), &seen, now) {
            state.end_all(over, now);
            let partitions: Vec<_> = state.posts.keys().copied().collect();
            // Who shuts down gives its places back; otherwise they are gone, or another's.
            let is_given_back = over == Ended::ShuttingDown && stands;
            if over == Ended::LeaseLost {
                // Unless the lease is over for good, nobody else can take them.
                self.return_later(broker, state.posts.values().map(|post| post.key.clone()).collect());
            }
            for partition in partitions.into_iter().filter(|_| !is_given_back) {
                state.drop_post(partition, now);
            }
            self.moved.notify_waiters();
        }
        let undone = state.tidy(broker, self, (&seen, &lease_holders), now);
        let is_used = state.live_seats() > 0 && state.over.is_none();
        let me = broker.incarnation();
        let is_enrolled = !broker.store().is_shared() || seen.nodes.contains_key(&me);
        if is_enrolled != is_used && broker.store().is_shared() && !state.upkeep.is_enrolling {
            let is_idle = state.posts.is_empty() && state.acquiring.is_empty();
            if is_used || is_idle {
                state.upkeep.is_enrolling = true;
                self.enrol(broker, is_used);
            }
        }
        let serves = is_used && is_enrolled && stands && state.row.moving.is_none();
        let wanted = match (&stream, serves) {
            (Some(stream), true) => {
                self.choose_generation(broker, &mut state, stream);
                state.wanted(stream, &nodes, me)
            }
            _ => BTreeSet::new(),
        };
        let acquire = state.post_all(&wanted, stands, now);
        let is_idle = state.posts.is_empty() && state.acquiring.is_empty() && !state.upkeep.is_enrolling;
        let is_out = !broker.store().is_shared() || !seen.nodes.contains_key(&me) || !stands;
        if !is_used && is_idle && is_out && state.live_seats() == 0 {
            state.is_gone = true;
            drop(state);
            broker.groups_known().forget(self);
            return true;
        }
        drop(state);
        self.acquire(broker, acquire);
        if !undone.is_empty() {
            broker.store().submit(undone, Box::new(|_| {}));
        }
        false
    }

    /// Says in the table whether this node has members.
    fn enrol(self: &Arc<Self>, broker: &Broker, is_member: bool) {
        let (hub, broker) = (self.clone(), broker.clone());
        let runtime = broker.runtime().clone();
        runtime.spawn(async move {
            let key = hub.key.member_key(broker.incarnation());
            let name =
                broker.store().node().map_or_else(Bytes::new, |node| Bytes::from(node.node_id.to_string()));
            let op = match is_member {
                true => TableOp::Put { value: name, expect: Expect::Anything },
                false => TableOp::Delete { expect: Expect::Anything },
            };
            broker.submit(vec![Step::Table { table: Table::Members, key, op }]).await;
            hub.state.lock().upkeep.is_enrolling = false;
            hub.ring();
        });
    }

    /// Reads the oldest generation that the group has not finished. Only while there are several does that take
    /// looking them up.
    fn choose_generation(self: &Arc<Self>, broker: &Broker, state: &mut State, stream: &Arc<Stream>) {
        let newest = stream.generation();
        let is_there = |known: u64| stream.generations().any(|(generation, _)| generation == known);
        state.generation = state.generation.filter(|known| is_there(*known));
        if stream.definition.earlier.is_empty() {
            state.generation = Some(newest);
        }
        if state.generation != Some(newest) {
            // Whether more comes is only known from the store.
            let open = state.posts.values_mut().filter(|post| !post.place.is_sealed());
            open.for_each(|post| post.place.look_again());
        }
        let is_finished_here = state.posts.values().all(|post| post.place.is_at_end());
        let is_settled = state.generation == Some(newest);
        if is_settled || state.upkeep.is_surveying || (state.generation.is_some() && !is_finished_here) {
            return;
        }
        state.upkeep.is_surveying = true;
        let (hub, broker, stream) = (self.clone(), broker.clone(), stream.clone());
        let runtime = broker.runtime().clone();
        runtime.spawn(async move {
            let found = survey(&broker, &stream, &hub.key.group).await;
            let mut state = hub.state.lock();
            state.upkeep.is_surveying = false;
            match found {
                Ok(generation) if state.row.moving.is_none() => state.generation = Some(generation),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(group = %hub.key.group, stream = %hub.key.stream, %error,
                        "how far a group has come cannot be read");
                }
            }
        });
    }
}

impl State {
    /// Whether it is over for all members here, and why.
    fn is_over(&mut self, broker: &Broker, stream: Option<&Stream>, seen: &Seen, now: u64) -> Option<Ended> {
        let cut_off = &mut self.upkeep.cut_off_since;
        *cut_off = if broker.store().stands() { None } else { Some(cut_off.unwrap_or(now)) };
        let cut_off_ms = cut_off.map_or(0, |since| now.saturating_sub(since));
        if self.over.is_some() {
            return self.over;
        }
        if broker.groups_known().is_leaving() {
            return Some(Ended::ShuttingDown);
        }
        if stream.is_none() {
            return Some(Ended::StreamDeleted);
        }
        if seen.row.is_none() {
            return Some(Ended::GroupDeleted);
        }
        (cut_off_ms > broker.config().group_lease_wait_ms).then_some(Ended::LeaseLost)
    }

    /// Sees to what others have left undone: moves that were begun, and rows of dead nodes, which are returned.
    fn tidy(
        &mut self,
        broker: &Broker,
        hub: &Arc<Hub>,
        (seen, standing): (&Seen, &BTreeSet<Incarnation>),
        now: u64,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        if !broker.store().stands() {
            return steps;
        }
        let absent = &mut self.upkeep.absent;
        absent.retain(|node, _| seen.nodes.contains_key(node) && !standing.contains(node));
        for (node, version) in seen.nodes.iter().filter(|(node, _)| !standing.contains(*node)) {
            let since = *absent.entry(*node).or_insert(now);
            if now.saturating_sub(since) >= ABSENT_MAX_MS && broker.store().is_shared() {
                absent.insert(*node, now);
                let op = TableOp::Delete { expect: Expect::Version(*version) };
                steps.push(Step::Table { table: Table::Members, key: hub.key.member_key(*node), op });
            }
        }
        self.take_over_move(broker, hub, seen);
        steps
    }

    /// Finishes a move that somebody began and left.
    fn take_over_move(&mut self, broker: &Broker, hub: &Arc<Hub>, seen: &Seen) {
        let Some((_, row)) = &seen.row else { return };
        let is_late = |since: u64| clock::unix().0.saturating_sub(since) >= MOVE_MAX_MS;
        if row.moving.is_some_and(|moving| is_late(moving.since.0)) && !self.upkeep.is_moving {
            self.upkeep.is_moving = true;
            let (hub, broker) = (hub.clone(), broker.clone());
            let runtime = broker.runtime().clone();
            runtime.spawn(async move {
                if let Err(error) = broker.finish_move(&hub.key).await {
                    tracing::warn!(group = %hub.key.group, stream = %hub.key.stream, %error,
                        "the places of a group are not moved");
                }
                hub.state.lock().upkeep.is_moving = false;
            });
        }
    }

    /// The partitions that are this node's.
    fn wanted(&self, stream: &Stream, nodes: &[Incarnation], me: Incarnation) -> BTreeSet<PartitionKey> {
        let Some(chosen) = self.generation else { return BTreeSet::new() };
        let partitions = stream.generations().find(|(generation, _)| *generation == chosen);
        let all = (0..partitions.map_or(0, |(_, partitions)| partitions))
            .map(|partition| stream.partition_of(chosen, partition));
        all.filter(|key| spread::server(nodes, key) == Some(me)).collect()
    }

    /// Begins to give back what is not wanted; returns what is to be asked for.
    fn post_all(&mut self, wanted: &BTreeSet<PartitionKey>, stands: bool, now: u64) -> Vec<PartitionKey> {
        for post in self.posts.values_mut() {
            let is_wanted = wanted.contains(&post.key);
            // Who is cut off for a moment keeps what it has, and delivers nothing.
            if is_wanted && !post.is_writing {
                post.leaving = None;
            } else if !is_wanted && stands {
                post.leaving.get_or_insert(now);
            }
        }
        let is_free = |key: &&PartitionKey| {
            !self.posts.contains_key(&key.partition) && !self.acquiring.contains(&key.partition)
        };
        let missing: Vec<_> = wanted.iter().filter(is_free).cloned().collect();
        self.acquiring.extend(missing.iter().map(|key| key.partition));
        missing
    }
}

/// The nodes with members that hold a lease.
fn standing(broker: &Broker, seen: &Seen) -> Vec<Incarnation> {
    if !broker.store().is_shared() {
        return vec![broker.incarnation()];
    }
    let nodes = broker.store().nodes();
    let standing = nodes.iter().map(|node| node.incarnation);
    standing.filter(|incarnation| seen.nodes.contains_key(incarnation)).collect()
}

/// The oldest generation that a group has not finished.
pub(in super::super) async fn survey(
    broker: &Broker,
    stream: &Stream,
    group: &str,
) -> Result<u64, ReadError> {
    for earlier in &stream.definition.earlier {
        if !has_finished(broker, stream, earlier.generation, group).await? {
            return Ok(earlier.generation);
        }
    }
    Ok(stream.generation())
}

/// Whether a group has finished every record of a generation, and no more come.
pub(in super::super) async fn has_finished(
    broker: &Broker,
    stream: &Stream,
    generation: u64,
    group: &str,
) -> Result<bool, ReadError> {
    let partitions =
        stream.generations().find(|(known, _)| *known == generation).map_or(0, |(_, count)| count);
    for partition in 0..partitions {
        let Some(info) = broker.store().partition(stream.partition_of(generation, partition)).await? else {
            continue;
        };
        let place = info.groups.iter().find(|place| *place.group == *group);
        let is_read = match place {
            Some(place) => place.progress.low.position >= info.ends.tail.position,
            None => info.ends.records == 0,
        };
        if !info.ends.is_sealed || !is_read {
            return Ok(false);
        }
    }
    Ok(true)
}
