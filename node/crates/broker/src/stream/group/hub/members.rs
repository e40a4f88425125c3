//! Members of a group on this node: they come, have a seat as long as they stay, and are ended.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{Hub, State};
use crate::broker::Broker;
use crate::clock;
use crate::stream::group::member::{BATCH_RECORDS_MAX, Ended, MemberOptions, Receipt};
use crate::stream::group::place::{Room, Taken};

/// A member's place at the hub.
pub(super) struct Seat {
    pub options: MemberOptions,
    pub in_flight: u32,
    pub bytes: u64,
    /// At most as many as it held.
    pub taken: Vec<Receipt>,
    pub bell: Arc<Notify>,
    pub ended: Option<Ended>,
    /// When it last took or answered something.
    pub moved_at: u64,
    pub is_waiting: bool,
}

/// A member is in [`super::super::Member::next`] as long as this lives.
pub(crate) struct Waiting<'a>(&'a Hub, u32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(seat) = self.0.state.lock().seats.get_mut(&self.1) {
            seat.is_waiting = false;
        }
    }
}

impl Hub {
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
}

impl State {
    pub(super) fn live_seats(&self) -> usize {
        self.seats.values().filter(|seat| seat.ended.is_none()).count()
    }

    /// A member is one no more: what it holds comes back at once.
    pub(super) fn end(&mut self, member: u32, why: Ended, now: u64) {
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
    pub(super) fn end_all(&mut self, why: Ended, now: u64) {
        self.over.get_or_insert(why);
        let ids: Vec<_> = self.seats.keys().copied().collect();
        ids.into_iter().for_each(|id| self.end(id, why, now));
    }

    /// Tells members what is theirs no more.
    pub(super) fn tell(&mut self, taken: impl IntoIterator<Item = (u32, Taken)>) {
        for (partition, Taken { member, mark, attempt, bytes }) in taken {
            if let Some(seat) = self.seats.get_mut(&member) {
                seat.free(bytes);
                seat.taken.push(Receipt { partition, mark, attempt });
                seat.bell.notify_one();
            }
        }
    }
}

impl Seat {
    pub fn new(options: MemberOptions, bell: Arc<Notify>, now: u64) -> Seat {
        let (in_flight, bytes, taken, ended) = (0, 0, Vec::new(), None);
        Seat { options, in_flight, bytes, taken, bell, ended, moved_at: now, is_waiting: false }
    }

    pub fn room(&self) -> Room {
        let records = self.options.in_flight_max.saturating_sub(self.in_flight).min(BATCH_RECORDS_MAX);
        let bytes = self.options.bytes_max.saturating_sub(self.bytes);
        Room { records, bytes, is_empty: self.in_flight == 0 }
    }

    pub fn has_room(&self) -> bool {
        self.ended.is_none() && self.in_flight < self.options.in_flight_max
    }

    pub fn free(&mut self, bytes: u32) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(bytes));
    }
}
