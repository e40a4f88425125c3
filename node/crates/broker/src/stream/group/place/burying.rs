//! Records that are never delivered again: dead letters, until they are kept as such.

use weir_store::{Mark, Record};

use super::window::{Seat, State};
use super::{DeadRecord, Failure, Place};

impl Place {
    /// A record that is out no more is never delivered again.
    pub(super) fn die(&mut self, seat: Seat, failure: Failure) {
        let Some(entry) = self.window.get_mut(seat) else { return };
        let hash = entry.hash;
        self.failed += u32::from(!std::mem::replace(&mut entry.failed, true));
        self.changes += 1;
        entry.state = State::Dead(failure);
        self.keys.back(hash);
        if self.rules.has_dead_letters {
            self.dead.insert(seat);
        } else {
            self.dropped += 1;
            self.finish(seat);
        }
    }

    /// Whether records want to be kept as dead letters.
    pub fn has_dead(&self) -> bool {
        !self.dead.is_empty()
    }

    /// Records that want to be kept as dead letters, at most `max`; each is told once, until [`Place::buried`] or
    /// [`Place::unburied`].
    pub fn take_dead(&mut self, max: usize) -> Vec<DeadRecord> {
        let rest = self.dead.iter().nth(max).copied().unwrap_or(Seat::MAX);
        let later = self.dead.split_off(&rest);
        let seats = std::mem::replace(&mut self.dead, later);
        let dead = |seat: Seat| {
            let entry = self.window.get(seat)?;
            let State::Dead(failure) = entry.state else { return None };
            let record = Record { mark: entry.mark, key: entry.key.clone(), message: entry.message.clone()? };
            let (deliveries, reason) = (entry.deliveries, entry.reason.clone());
            Some(DeadRecord { record, deliveries, failure, reason })
        };
        seats.into_iter().filter_map(dead).collect()
    }

    /// The record is kept as a dead letter.
    pub fn buried(&mut self, mark: Mark) {
        if let Some(seat) = self.dead_at(mark) {
            self.finish(seat);
        }
    }

    /// The record could not be kept as a dead letter: it is told again.
    pub fn unburied(&mut self, mark: Mark) {
        if let Some(seat) = self.dead_at(mark) {
            self.dead.insert(seat);
        }
    }

    fn dead_at(&self, mark: Mark) -> Option<Seat> {
        let seat = self.window.find(mark)?;
        self.window.get(seat).filter(|entry| matches!(entry.state, State::Dead(_))).map(|_| seat)
    }
}
