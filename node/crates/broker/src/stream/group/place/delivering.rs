//! Delivering: what a member may take of what there is, in order of each key.

use weir_store::Record;

use super::window::{Seat, State};
use super::{Handed, Place, Room};

/// Records that wait for others of their key; beyond, nothing new is looked at.
const HELD_MAX: usize = 1000;

impl Place {
    /// Delivers to a member what there is and what it may take.
    pub fn deliver(&mut self, member: u32, room: &mut Room, now: u64, out: &mut Vec<Handed>) {
        self.wake(now);
        loop {
            let (window, keys) = (&self.window, &mut self.keys);
            let hash_of = |seat| window.get(seat).map_or(0, |entry| entry.hash);
            let Some(seat) = keys.first_for(member, hash_of) else { break };
            let Some(entry) = self.window.get(seat) else { break };
            let hash = entry.hash;
            let is_one_too_many = entry.deliveries == 0 && self.is_full() && self.out > 0;
            if is_one_too_many || !room.takes(entry.bytes) {
                return;
            }
            self.keys.take(hash, seat, member);
            self.hand(seat, member, now, out);
        }
        self.deliver_new(member, room, now, out);
    }

    /// The same of what nobody has looked at yet.
    fn deliver_new(&mut self, member: u32, room: &mut Room, now: u64, out: &mut Vec<Handed>) {
        while self.pending < self.rules.ack_pending_max && self.keys.held() < HELD_MAX {
            let seat = self.cursor;
            let Some(entry) = self.window.get_mut(seat) else { return };
            let State::New { retry_at } = entry.state else {
                self.cursor += 1;
                continue;
            };
            let hash = entry.hash;
            if retry_at > now {
                entry.state = State::Waiting { retry_at };
                self.pending += 1;
                self.waiting.insert((retry_at, seat));
                self.keys.wait(hash);
            } else if !room.would_take(entry.bytes) {
                return;
            } else if self.keys.admit(hash, member) {
                room.takes(entry.bytes);
                self.pending += u32::from(entry.deliveries > 0);
                self.hand(seat, member, now, out);
            } else {
                entry.state = State::Ready;
                self.pending += u32::from(entry.deliveries > 0);
                self.keys.hold(hash, seat);
            }
            self.cursor += 1;
        }
    }

    fn hand(&mut self, seat: Seat, member: u32, now: u64, out: &mut Vec<Handed>) {
        let Some(entry) = self.window.get_mut(seat) else { return };
        let Some(message) = entry.message.clone() else { return };
        self.pending += u32::from(entry.deliveries == 0);
        entry.deliveries = entry.deliveries.saturating_add(1);
        let until = now.saturating_add(self.rules.ack_wait_ms);
        entry.state = State::Out { member, until };
        self.earliest = self.earliest.min(until);
        self.out += 1;
        let record = Record { mark: entry.mark, key: entry.key.clone(), message };
        out.push(Handed { record, deliveries: entry.deliveries, bytes: entry.bytes });
    }

    /// Whether anybody could be given something, if it may take it.
    pub fn has_ready(&self) -> bool {
        let is_new = self.cursor < self.window.end()
            && self.pending < self.rules.ack_pending_max
            && self.keys.held() < HELD_MAX;
        is_new || self.keys.has_open()
    }

    /// Members for whom alone something is ready.
    pub fn ready_for(&self) -> impl Iterator<Item = u32> {
        self.keys.members()
    }

    /// Whether the bound of what may be pending holds it back.
    pub fn is_full(&self) -> bool {
        self.pending >= self.rules.ack_pending_max
    }
}

impl Room {
    fn would_take(&self, bytes: u32) -> bool {
        self.records > 0 && (self.is_empty || u64::from(bytes) <= self.bytes)
    }

    /// Takes the room of one record, if there is any.
    fn takes(&mut self, bytes: u32) -> bool {
        let takes = self.would_take(bytes);
        if takes {
            self.records -= 1;
            self.bytes = self.bytes.saturating_sub(u64::from(bytes));
            self.is_empty = false;
        }
        takes
    }
}
