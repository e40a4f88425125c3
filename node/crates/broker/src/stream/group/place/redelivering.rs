//! Deliveries that are over without success: their records come again, at once or after a while.

use super::window::{Seat, State};
use super::{Failure, Place, Rules, Taken};

/// What a refused delivery leads to.
pub(super) enum Back {
    At(u64),
    After(Option<u64>),
}

impl Place {
    /// Everything that `is_meant` of what is out comes back at once, and is told to whoever had it.
    pub fn recall(&mut self, now: u64, is_meant: impl Fn(u32) -> bool, taken: &mut Vec<Taken>) {
        let back = |_: u64, member: u32| is_meant(member).then_some(Back::At(now));
        self.take_back(back, Failure::Left, now, taken);
    }

    /// Records whose ack wait is over come back. True when something can be delivered.
    pub fn tick(&mut self, now: u64, taken: &mut Vec<Taken>) -> bool {
        if now >= self.earliest {
            let back = |until: u64, _: u32| (until <= now).then_some(Back::After(None));
            self.take_back(back, Failure::Unanswered, now, taken);
        }
        self.wake(now);
        self.has_ready()
    }

    fn take_back(
        &mut self,
        back: impl Fn(u64, u32) -> Option<Back>,
        failure: Failure,
        now: u64,
        taken: &mut Vec<Taken>,
    ) {
        let mut over = Vec::new();
        let mut earliest = u64::MAX;
        for (seat, entry) in self.window.up_to(self.cursor) {
            let State::Out { member, until } = entry.state else { continue };
            match back(until, member) {
                Some(back) => {
                    let (mark, attempt, bytes) = (entry.mark, entry.deliveries, entry.bytes);
                    taken.push(Taken { member, mark, attempt, bytes });
                    over.push((seat, back));
                }
                None => earliest = earliest.min(until),
            }
        }
        self.earliest = earliest;
        over.into_iter().for_each(|(seat, back)| self.give_back(seat, back, failure, now));
    }

    /// A record that was out comes again, unless it was delivered as often as may be.
    pub(super) fn give_back(&mut self, seat: Seat, back: Back, failure: Failure, now: u64) {
        let Some(entry) = self.window.get_mut(seat) else { return };
        let (hash, deliveries) = (entry.hash, entry.deliveries);
        self.out -= 1;
        if self.rules.deliveries_max > 0 && deliveries >= self.rules.deliveries_max {
            return self.die(seat, failure);
        }
        self.failed += u32::from(!std::mem::replace(&mut entry.failed, true));
        self.changes += 1;
        let retry_at = match back {
            Back::At(at) => at,
            Back::After(delay) => now.saturating_add(delay.unwrap_or_else(|| self.rules.backoff(deliveries))),
        };
        if retry_at > now {
            entry.state = State::Waiting { retry_at };
            self.waiting.insert((retry_at, seat));
            self.keys.wait(hash);
        } else {
            entry.state = State::Ready;
            self.keys.hold(hash, seat);
        }
        self.keys.back(hash);
    }

    /// Records whose time has come can be delivered.
    pub(super) fn wake(&mut self, now: u64) {
        while let Some((_, seat)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            self.waiting.pop_first();
            let Some(entry) = self.window.get_mut(seat) else { continue };
            entry.state = State::Ready;
            let hash = entry.hash;
            self.keys.hold(hash, seat);
            self.keys.waited(hash);
        }
    }
}

impl Rules {
    /// How long (milliseconds) waits what was tried so often.
    pub(in crate::stream::group) fn backoff(&self, deliveries: u32) -> u64 {
        let nth = (deliveries.max(1) as usize - 1).min(self.backoff_ms.len().saturating_sub(1));
        self.backoff_ms.get(nth).copied().unwrap_or(0)
    }
}
