//! What time brings: ack waits that are over, progress to store, dead letters, members that have stopped.

use std::sync::Arc;

use weir_store::PartitionKey;

use super::{Hub, State};
use crate::broker::Broker;
use crate::limited::Limit;
use crate::stream::group::catalog::Counts;
use crate::stream::group::dead;
use crate::stream::group::member::Ended;

/// Milliseconds after which a place is taken anew that can neither be read nor stored.
const TROUBLE_MAX_MS: u64 = 10_000;

/// Dead letters of one partition that are stored at a time.
const BURIED_AT_ONCE: usize = 64;

/// How often (milliseconds) members are looked at that do nothing.
const STALLS_EVERY_MS: u64 = 500;

impl Hub {
    /// Called every few milliseconds, and when somebody rang.
    pub fn tick(self: &Arc<Self>, broker: &Broker, now: u64) {
        let config = broker.config();
        let mut state = self.state.lock();
        state.take_back(config.group_release_wait_ms, now);
        let broken = state.give_up(config.queue_look_ms, now);
        let anew = broken.len() as u64;
        let dropped = state.dropped();
        (0..state.newly_full()).for_each(|_| broker.limited(Limit::GroupPending));
        let stalled = state.end_stalled(now);
        let letters = state.letters(now);
        let dead_letter = state.row.definition.dead_letter.clone();
        let (steps, writes) = state.writes(&self.key.group, config.group_commit_ms, now);
        state.wake_members();
        let (reads, payments) = (state.reads(now), state.payments(now));
        drop(state);
        self.pay(broker, payments);
        Counts::add(&self.counts.reacquired, "reacquired", anew);
        Counts::add(&self.counts.dropped, "dropped", dropped);
        Counts::add(&self.counts.stalled, "stalled", stalled);
        if anew > 0 {
            self.moved.notify_waiters();
            self.return_later(broker, broken);
        }
        self.store(broker, steps, writes);
        self.read(broker, reads);
        for letters in letters {
            dead::bury(self, broker, dead_letter.clone(), letters);
        }
    }

    /// Dead letters were stored, or were not.
    pub(in super::super) fn buried(&self, letters: &dead::Letters, kept: &[bool], now: u64) {
        let mut state = self.state.lock();
        let post = state.posts.get_mut(&letters.key.partition);
        let Some(post) = post.filter(|post| post.fence == letters.fence && post.key == letters.key) else {
            return;
        };
        post.is_burying = false;
        for (record, kept) in letters.records.iter().zip(kept) {
            match kept {
                true => post.place.buried(record.record.mark),
                false => {
                    post.place.unburied(record.record.mark);
                    post.bury_at = now + dead::AGAIN_MS;
                }
            }
        }
        post.touched(now);
        drop(state);
        self.ring();
    }
}

impl State {
    fn take_back(&mut self, release_wait_ms: u64, now: u64) {
        let mut all = Vec::new();
        for (partition, post) in &mut self.posts {
            let mut taken = Vec::new();
            post.place.tick(now, &mut taken);
            if post.leaving.is_some_and(|since| now.saturating_sub(since) >= release_wait_ms) {
                post.place.recall(now, |_| true, &mut taken);
                post.debts.is_late = true;
            }
            post.touched(now);
            all.extend(taken.into_iter().map(|taken| (*partition, taken)));
        }
        self.tell(all);
    }

    /// Lets go places that do not work; says which. Others are looked at now and then unasked.
    fn give_up(&mut self, look_ms: u64, now: u64) -> Vec<PartitionKey> {
        let mut broken = Vec::new();
        for (partition, post) in &mut self.posts {
            if post.trouble_since.is_some_and(|since| now.saturating_sub(since) >= TROUBLE_MAX_MS) {
                broken.push((*partition, post.key.clone()));
            }
            if now.saturating_sub(post.looked_at) >= look_ms {
                post.looked_at = now;
                post.place.look_again();
            }
        }
        broken
            .into_iter()
            .map(|(partition, key)| {
                self.drop_post(partition, now);
                key
            })
            .collect()
    }

    /// Places in which no more may be pending, since now.
    fn newly_full(&mut self) -> usize {
        let is_new = |post: &mut super::Post| {
            let was_full = std::mem::replace(&mut post.is_full, post.place.is_full());
            post.is_full && !was_full
        };
        self.posts.values_mut().map(is_new).filter(|is_new| *is_new).count()
    }

    fn dropped(&mut self) -> u64 {
        self.posts.values_mut().map(|post| post.place.take_dropped()).sum()
    }

    /// Ends members that do nothing although there is something to do; says how many.
    fn end_stalled(&mut self, now: u64) -> u64 {
        let stall_ms = self.row.definition.lag_stall_ms;
        let is_time = now.saturating_sub(self.upkeep.stalls_looked_at) >= STALLS_EVERY_MS.min(stall_ms);
        if stall_ms == 0 || !is_time || !self.delivers() {
            return 0;
        }
        self.upkeep.stalls_looked_at = now;
        if !self.posts.values().any(|post| post.place.lag() > 0) {
            // What comes next is new to all of them.
            self.seats.values_mut().for_each(|seat| seat.moved_at = now);
            return 0;
        }
        let is_stalled = |seat: &super::Seat| {
            let is_idle = seat.is_waiting && seat.in_flight == 0;
            seat.ended.is_none() && !is_idle && now.saturating_sub(seat.moved_at) >= stall_ms
        };
        let stalled: Vec<_> =
            self.seats.iter().filter(|(_, seat)| is_stalled(seat)).map(|(id, _)| *id).collect();
        for id in &stalled {
            tracing::warn!(member = *id, "a member of a group has something to do and does nothing");
            self.end(*id, Ended::Stalled, now);
        }
        stalled.len() as u64
    }

    /// Records that want to be kept as dead letters; they are being stored from now on.
    fn letters(&mut self, now: u64) -> Vec<dead::Letters> {
        let mut letters = Vec::new();
        for post in self.posts.values_mut().filter(|post| !post.is_burying && post.bury_at <= now) {
            if post.place.has_dead() {
                post.is_burying = true;
                let records = post.place.take_dead(BURIED_AT_ONCE);
                letters.push(dead::Letters { key: post.key.clone(), fence: post.fence, records });
            }
        }
        letters
    }
}
