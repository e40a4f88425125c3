//! Delivering: what the places of this node have, handed to members that ask, who are woken when there is something.

use std::sync::Arc;

use super::post::Post;
use super::{Hub, State};
use crate::broker::Broker;
use crate::clock;
use crate::stream::group::member::{Batch, Delivered, Ended, Receipt};
use crate::stream::group::place::Handed;

/// Members that are woken at once when there are records for anybody; each that takes some wakes further ones.
const WOKEN_AT_ONCE: usize = 8;

impl Hub {
    /// What there is for a member.
    pub fn take(self: &Arc<Self>, broker: &Broker, member: u32) -> Result<Option<Batch>, Ended> {
        let (now, stands) = (clock::now_ms(), broker.store().stands());
        let mut state = self.state.lock();
        let seat = state.seats.get_mut(&member).ok_or(Ended::Left)?;
        if let Some(ended) = seat.ended {
            return Err(ended);
        }
        let taken = std::mem::take(&mut seat.taken);
        state.batches += 1;
        let mut batch = Batch { number: state.batches, records: Vec::new(), taken };
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
}

impl State {
    pub(super) fn delivers(&self) -> bool {
        !self.row.definition.is_paused && self.row.moving.is_none() && self.over.is_none()
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
            let serves = |post: &&mut Post| post.leaving.is_none() && post.debts.has_room();
            let Some(post) = posts.get_mut(&partition).filter(serves) else { continue };
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
                records.push(Delivered { receipt, fence: post.fence, record, deliveries });
            }
        }
    }

    /// Wakes members that can take something, if there is something to take.
    pub(super) fn wake_members(&mut self) {
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
