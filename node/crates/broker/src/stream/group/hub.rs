//! The hub of one group on one node: its members here, and the places of the partitions that this node serves.
//!
//! Members work on it directly, under one lock; reading, storing and time come from tasks and from the group's actor
//! ([`super::life`]), which also decides which partitions are this node's.

mod answering;
pub(super) mod debts;
mod delivering;
mod members;
pub(super) mod paying;
pub(super) mod post;
pub(super) mod reading;
pub(super) mod returning;
pub(super) mod storing;
pub(super) mod sweep;
pub(super) mod tick;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use weir_store::{Incarnation, Mark, PartitionKey};

use super::catalog::{Counts, GroupKey};
use super::definition::Row;
use super::life::LifeMsg;
use super::member::Ended;
use super::place::Handed;
use crate::broker::Broker;
use crate::clock;
use crate::supervisor::Slot;
use members::Seat;
use post::Post;

pub(crate) use answering::Verb;

/// Changes of a place that are stored without waiting for more.
const COMMIT_CHANGES: u64 = 500;

pub(crate) struct Hub {
    pub(super) key: GroupKey,
    state: Mutex<State>,
    pub(super) slot: Slot<LifeMsg>,
    pub(super) counts: Arc<Counts>,
    /// A place was stored, or is this node's no more.
    moved: Notify,
    /// The actor has been rung and has not looked yet.
    rung: AtomicBool,
    /// What is this node's may have changed.
    changed: AtomicBool,
}

struct State {
    row: Arc<Row>,
    /// The generation that is read now; `None` = not known yet.
    generation: Option<u64>,
    posts: BTreeMap<u32, Post>,
    /// Partitions that were asked for.
    acquiring: BTreeSet<u32>,
    seats: BTreeMap<u32, Seat>,
    next_seat: u32,
    /// The partition that is asked first next time.
    turn: u32,
    /// Batches handed out so far.
    batches: u64,
    over: Option<Ended>,
    /// Nobody joins here any more.
    is_gone: bool,
    /// Of places given back: fence, and what was stored.
    past: BTreeMap<u32, (u64, u64)>,
    upkeep: Upkeep,
    handed: Vec<Handed>,
}

/// What the actor keeps track of.
#[derive(Default)]
struct Upkeep {
    is_enrolling: bool,
    is_surveying: bool,
    is_moving: bool,
    cut_off_since: Option<u64>,
    /// Nodes with a row and no lease, and since when.
    absent: BTreeMap<Incarnation, u64>,
    stalls_looked_at: u64,
}

/// What a place has come to; see [`Hub::unstored`].
pub(super) struct Unstored {
    partition: u32,
    fence: u64,
    changes: u64,
}

impl Hub {
    pub fn new(key: GroupKey, row: Arc<Row>, counts: Arc<Counts>) -> Arc<Hub> {
        let state = State {
            row,
            generation: None,
            posts: BTreeMap::new(),
            acquiring: BTreeSet::new(),
            seats: BTreeMap::new(),
            next_seat: 0,
            turn: 0,
            batches: 0,
            over: None,
            is_gone: false,
            past: BTreeMap::new(),
            upkeep: Upkeep::default(),
            handed: Vec::new(),
        };
        let (rung, changed) = (AtomicBool::new(false), AtomicBool::new(true));
        let (state, slot, moved) = (Mutex::new(state), Slot::default(), Notify::new());
        Arc::new(Hub { key, state, slot, counts, moved, rung, changed })
    }

    /// Wakes the actor, unless it was already.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.slot.cast(LifeMsg::Wake);
        }
    }

    pub(super) fn was_rung(&self) {
        self.rung.store(false, Ordering::Release);
    }

    /// Lets the actor look at everything.
    pub fn look(&self) {
        self.changed.store(true, Ordering::Release);
        self.ring();
    }

    pub(super) fn wants_look(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }

    /// The actor has failed: what it was at may be left undone, so every place is taken anew.
    pub(super) fn begin_anew(&self) {
        let mut state = self.state.lock();
        let partitions: Vec<_> = state.posts.keys().copied().collect();
        partitions.into_iter().for_each(|partition| state.drop_post(partition, clock::now_ms()));
        drop(state);
        self.moved.notify_waiters();
        self.look();
    }

    /// The partition has grown, or is gone.
    pub fn appended(self: &Arc<Self>, broker: &Broker, key: &PartitionKey, tail: Option<Mark>) {
        let mut state = self.state.lock();
        let Some(post) = state.posts.get_mut(&key.partition).filter(|post| post.key == *key) else { return };
        match tail {
            Some(tail) => post.place.grown(tail),
            None => post.place.look_again(),
        }
        let reads = state.reads(clock::now_ms());
        drop(state);
        self.read(broker, reads);
    }

    /// The group's row has changed.
    pub fn redefine(&self, row: &Arc<Row>) {
        let mut state = self.state.lock();
        let rules = row.definition.rules();
        state.posts.values_mut().for_each(|post| post.place.set_rules(rules.clone()));
        if row.moving.is_some() {
            state.generation = None;
        }
        state.row = row.clone();
        state.wake_members();
        drop(state);
        self.look();
    }
}

impl State {
    /// This node serves a partition no more: members hear it.
    fn drop_post(&mut self, partition: u32, now: u64) {
        let Some(mut post) = self.posts.remove(&partition) else { return };
        let mut taken = Vec::new();
        post.place.recall(now, |_| true, &mut taken);
        self.tell(taken.into_iter().map(|taken| (partition, taken)));
    }
}
