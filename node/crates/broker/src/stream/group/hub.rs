//! The hub of one group on one node: its members here, and the places of the partitions that this node serves.
//!
//! Members work on it directly, under one lock; reading, storing and time come from tasks and from the group's actor
//! ([`super::life`]), which also decides which partitions are this node's.

pub(super) mod post;
pub(super) mod reading;
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
use super::member::{BATCH_RECORDS_MAX, Batch, Delivered, Ended, MemberOptions, Receipt, Refused};
use super::place::{Handed, NotYours, Room, Taken};
use crate::broker::Broker;
use crate::clock;
use crate::supervisor::Slot;
use post::Post;

/// Changes of a place that are stored without waiting for more.
const COMMIT_CHANGES: u64 = 500;

/// Members that are woken at once when there are records for anybody; each that takes some wakes further ones.
const WOKEN_AT_ONCE: usize = 8;

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

/// A member's place at the hub.
struct Seat {
    options: MemberOptions,
    in_flight: u32,
    bytes: u64,
    /// At most as many as it held.
    taken: Vec<Receipt>,
    bell: Arc<Notify>,
    ended: Option<Ended>,
    /// When it last took or answered something.
    moved_at: u64,
    is_waiting: bool,
}

/// An answer of a member.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verb {
    Ack,
    Nack { delay_ms: Option<u64> },
    InProgress,
}

/// What a place has come to; see [`Hub::unstored`].
pub(super) struct Unstored {
    partition: u32,
    fence: u64,
    changes: u64,
}

/// A member is in [`super::Member::next`] as long as this lives.
pub(crate) struct Waiting<'a>(&'a Hub, u32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(seat) = self.0.state.lock().seats.get_mut(&self.1) {
            seat.is_waiting = false;
        }
    }
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

    /// A new member, if the hub is not over; one of the same name is one no more.
    pub fn join(&self, options: MemberOptions) -> Option<(u32, Arc<Notify>)> {
        let now = clock::now_ms();
        let mut state = self.state.lock();
        if state.over.is_some() || state.is_gone {
            return None;
        }
        let same = |seat: &Seat| seat.ended.is_none() && !seat.options.name.is_empty();
        let same = |seat: &Seat| same(seat) && seat.options.name == options.name;
        let older = state.seats.iter().find(|(_, seat)| same(seat)).map(|(id, _)| *id);
        if let Some(older) = older {
            state.end(older, Ended::Superseded, now);
        }
        state.next_seat += 1;
        let (id, bell) = (state.next_seat, Arc::new(Notify::new()));
        state.seats.insert(id, Seat::new(options, bell.clone(), now));
        drop(state);
        self.look();
        Some((id, bell))
    }

    /// A member is one no more.
    pub fn leave(self: &Arc<Self>, broker: &Broker, member: u32) {
        let mut state = self.state.lock();
        if !state.seats.contains_key(&member) {
            return;
        }
        state.end(member, Ended::Left, clock::now_ms());
        state.seats.remove(&member);
        state.wake_members();
        drop(state);
        broker.groups_known().left();
        self.look();
    }

    /// Notes that a member waits for something to do.
    pub fn waits(&self, member: u32) -> Waiting<'_> {
        if let Some(seat) = self.state.lock().seats.get_mut(&member) {
            seat.is_waiting = true;
        }
        Waiting(self, member)
    }

    /// What there is for a member.
    pub fn take(self: &Arc<Self>, broker: &Broker, member: u32) -> Result<Option<Batch>, Ended> {
        let (now, stands) = (clock::now_ms(), broker.store().stands());
        let mut state = self.state.lock();
        let seat = state.seats.get_mut(&member).ok_or(Ended::Left)?;
        if let Some(ended) = seat.ended {
            return Err(ended);
        }
        let mut batch = Batch { records: Vec::new(), taken: std::mem::take(&mut seat.taken) };
        if stands && state.delivers() {
            state.deliver(member, now, &mut batch.records);
        }
        if !batch.records.is_empty() {
            state.wake_members();
        }
        let reads = state.reads(now);
        drop(state);
        self.read(broker, reads);
        Ok((!batch.records.is_empty() || !batch.taken.is_empty()).then_some(batch))
    }

    /// A member answers for records. Returns the receipts that were not its own any more.
    pub fn answer(
        self: &Arc<Self>,
        broker: &Broker,
        member: u32,
        receipts: &[Receipt],
        verb: Verb,
    ) -> Vec<Refused> {
        if !broker.store().stands() {
            return all(receipts, NotYours::CutOff).collect();
        }
        let now = clock::now_ms();
        let mut state = self.state.lock();
        let (refused, is_much) = state.answer(member, receipts, verb, now);
        state.wake_members();
        let reads = state.reads(now);
        drop(state);
        self.read(broker, reads);
        if is_much {
            self.ring();
        }
        refused
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
    fn delivers(&self) -> bool {
        !self.row.definition.is_paused && self.row.moving.is_none() && self.over.is_none()
    }

    fn live_seats(&self) -> usize {
        self.seats.values().filter(|seat| seat.ended.is_none()).count()
    }

    fn deliver(&mut self, member: u32, now: u64, records: &mut Vec<Delivered>) {
        let State { posts, seats, handed, turn, .. } = self;
        let Some(seat) = seats.get_mut(&member) else { return };
        let mut room = seat.room();
        let first = *turn;
        let places = posts.range(first..).chain(posts.range(..first)).map(|(partition, _)| *partition);
        let places: smallvec::SmallVec<[u32; 16]> = places.collect();
        for partition in places {
            if room.records == 0 {
                break;
            }
            let Some(post) = posts.get_mut(&partition).filter(|post| post.leaving.is_none()) else {
                continue;
            };
            post.place.deliver(member, &mut room, now, handed);
            if handed.is_empty() {
                continue;
            }
            *turn = partition + 1;
            seat.moved_at = now;
            seat.in_flight += handed.len() as u32;
            records.reserve(handed.len());
            for Handed { record, deliveries, bytes } in handed.drain(..) {
                seat.bytes += u64::from(bytes);
                let receipt = Receipt { partition, mark: record.mark, attempt: deliveries };
                records.push(Delivered { receipt, record, deliveries });
            }
        }
    }

    /// Also says whether the actor should store what changed without waiting for more.
    fn answer(&mut self, member: u32, receipts: &[Receipt], verb: Verb, now: u64) -> (Vec<Refused>, bool) {
        let State { seats, posts, .. } = self;
        let Some(seat) = seats.get_mut(&member).filter(|seat| seat.ended.is_none()) else {
            return (all(receipts, NotYours::TakenBack).collect(), false);
        };
        let (mut refused, mut is_much) = (Vec::new(), false);
        for run in receipts.chunk_by(|a, b| a.partition == b.partition) {
            let Some(post) = run.first().and_then(|first| posts.get_mut(&first.partition)) else {
                refused.extend(all(run, NotYours::Elsewhere));
                continue;
            };
            for receipt in run {
                let (mark, attempt) = (receipt.mark, receipt.attempt);
                let freed = match verb {
                    Verb::Ack => post.place.ack(member, mark, attempt).map(Some),
                    Verb::Nack { delay_ms } => {
                        post.place.nack(member, mark, attempt, delay_ms, now).map(Some)
                    }
                    Verb::InProgress => post.place.in_progress(member, mark, attempt, now).map(|()| None),
                };
                match freed {
                    Ok(Some(bytes)) => seat.free(bytes),
                    Ok(None) => {}
                    Err(why) => refused.push(Refused { receipt: *receipt, why }),
                }
            }
            seat.moved_at = now;
            is_much |= post.touched(now);
        }
        (refused, is_much)
    }

    /// A member is one no more: what it holds comes back at once.
    fn end(&mut self, member: u32, why: Ended, now: u64) {
        let mut all = Vec::new();
        for (partition, post) in &mut self.posts {
            let mut taken = Vec::new();
            post.place.recall(now, |held| held == member, &mut taken);
            post.touched(now);
            all.extend(taken.into_iter().map(|taken| (*partition, taken)));
        }
        self.tell(all);
        if let Some(seat) = self.seats.get_mut(&member) {
            seat.ended.get_or_insert(why);
            seat.bell.notify_one();
        }
    }

    /// Everything is over: places are left as they are.
    fn end_all(&mut self, why: Ended, now: u64) {
        self.over.get_or_insert(why);
        let ids: Vec<_> = self.seats.keys().copied().collect();
        ids.into_iter().for_each(|id| self.end(id, why, now));
    }

    /// Tells members what is theirs no more.
    fn tell(&mut self, taken: impl IntoIterator<Item = (u32, Taken)>) {
        for (partition, Taken { member, mark, attempt, bytes }) in taken {
            if let Some(seat) = self.seats.get_mut(&member) {
                seat.free(bytes);
                seat.taken.push(Receipt { partition, mark, attempt });
                seat.bell.notify_one();
            }
        }
    }

    /// This node serves a partition no more: members hear it.
    fn drop_post(&mut self, partition: u32, now: u64) {
        let Some(mut post) = self.posts.remove(&partition) else { return };
        let mut taken = Vec::new();
        post.place.recall(now, |_| true, &mut taken);
        self.tell(taken.into_iter().map(|taken| (partition, taken)));
    }

    /// Wakes members that can take something, if there is something to take.
    fn wake_members(&mut self) {
        if !self.delivers() {
            return;
        }
        let serving = || self.posts.values().filter(|post| post.leaving.is_none());
        for member in serving().flat_map(|post| post.place.ready_for()) {
            self.seats.get(&member).inspect(|seat| seat.bell.notify_one());
        }
        if !serving().any(|post| post.place.has_ready()) {
            return;
        }
        let idle = self.seats.values().filter(|seat| seat.is_waiting && seat.has_room());
        idle.take(WOKEN_AT_ONCE).for_each(|seat| seat.bell.notify_one());
    }
}

impl Seat {
    fn new(options: MemberOptions, bell: Arc<Notify>, now: u64) -> Seat {
        let (in_flight, bytes, taken, ended) = (0, 0, Vec::new(), None);
        Seat { options, in_flight, bytes, taken, bell, ended, moved_at: now, is_waiting: false }
    }

    fn room(&self) -> Room {
        let records = self.options.in_flight_max.saturating_sub(self.in_flight).min(BATCH_RECORDS_MAX);
        let bytes = self.options.bytes_max.saturating_sub(self.bytes);
        Room { records, bytes, is_empty: self.in_flight == 0 }
    }

    fn has_room(&self) -> bool {
        self.ended.is_none() && self.in_flight < self.options.in_flight_max
    }

    fn free(&mut self, bytes: u32) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(bytes));
    }
}

fn all(receipts: &[Receipt], why: NotYours) -> impl Iterator<Item = Refused> {
    receipts.iter().map(move |receipt| Refused { receipt: *receipt, why })
}
