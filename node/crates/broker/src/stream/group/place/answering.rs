//! Answers of members: each means one delivery, and has an effect only as long as that is the member's.

use std::sync::Arc;

use weir_store::Mark;

use super::redelivering::Back;
use super::window::{Seat, State};
use super::{Failure, NotYours, Place};

impl Place {
    /// A member has finished a record. Says how large it was.
    pub fn ack(&mut self, member: u32, mark: Mark, attempt: u32) -> Result<u32, NotYours> {
        let seat = self.find(member, mark, attempt)?;
        let Some(entry) = self.window.get_mut(seat) else { return Err(NotYours::Finished) };
        let (hash, bytes) = (entry.hash, entry.bytes);
        self.out -= 1;
        self.keys.back(hash);
        self.finish(seat);
        Ok(bytes)
    }

    /// A member has not managed a record: it comes again after `delay_ms`, or as the backoff says.
    pub fn nack(
        &mut self,
        member: u32,
        mark: Mark,
        attempt: u32,
        delay_ms: Option<u64>,
        now: u64,
    ) -> Result<u32, NotYours> {
        let seat = self.find(member, mark, attempt)?;
        let bytes = self.window.get(seat).map_or(0, |entry| entry.bytes);
        self.give_back(seat, Back::After(delay_ms), Failure::Nacked, now);
        Ok(bytes)
    }

    /// A member will never manage a record: it is a dead letter, however often it was delivered. Says how large it was.
    pub fn reject(&mut self, member: u32, mark: Mark, attempt: u32) -> Result<u32, NotYours> {
        let seat = self.find(member, mark, attempt)?;
        let bytes = self.window.get(seat).map_or(0, |entry| entry.bytes);
        self.out -= 1;
        self.die(seat, Failure::Rejected);
        Ok(bytes)
    }

    /// What a member says of why it has not managed a record; the last word counts.
    pub fn say(&mut self, mark: Mark, reason: Arc<str>) {
        if let Some(entry) = self.window.find(mark).and_then(|seat| self.window.get_mut(seat)) {
            entry.reason = Some(reason);
        }
    }

    /// A member gives a record back that it has not looked at: that was no delivery. Says how large it was.
    pub fn put_back(&mut self, member: u32, mark: Mark, attempt: u32) -> Result<u32, NotYours> {
        let seat = self.find(member, mark, attempt)?;
        let Some(entry) = self.window.get_mut(seat) else { return Err(NotYours::Finished) };
        entry.deliveries -= 1;
        entry.state = State::Ready;
        let (hash, bytes, deliveries) = (entry.hash, entry.bytes, entry.deliveries);
        self.pending -= u32::from(deliveries == 0);
        self.out -= 1;
        self.keys.hold(hash, seat);
        self.keys.back(hash);
        Ok(bytes)
    }

    /// A member is still at a record: its ack wait begins anew.
    pub fn in_progress(&mut self, member: u32, mark: Mark, attempt: u32, now: u64) -> Result<(), NotYours> {
        let seat = self.find(member, mark, attempt)?;
        if let Some(entry) = self.window.get_mut(seat) {
            entry.state = State::Out { member, until: now.saturating_add(self.rules.ack_wait_ms) };
        }
        Ok(())
    }

    /// The record that an answer means, if it is the member's to answer.
    fn find(&self, member: u32, mark: Mark, attempt: u32) -> Result<Seat, NotYours> {
        let seat = self.window.find(mark).ok_or(NotYours::Finished)?;
        let entry = self.window.get(seat).ok_or(NotYours::Finished)?;
        match entry.state {
            State::Out { member: other, .. } if other != member => Err(NotYours::Others),
            State::Out { .. } if entry.deliveries == attempt => Ok(seat),
            State::Done => Err(NotYours::Finished),
            State::New { .. } if entry.deliveries == 0 => Err(NotYours::Finished),
            _ => Err(NotYours::TakenBack),
        }
    }
}
