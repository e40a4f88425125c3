//! The place of a group in one partition: what was read, who has it, what comes next, what is finished.
//!
//! A pure machine: pages, answers and the time go in, deliveries and progress come out. Records of one key are with one
//! member at a time, and a later one is never delivered while an earlier one waits to be delivered again.

mod keys;
mod reading;
mod restored;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_model::UnixMillis;
use weir_store::{Attempt, Mark, Progress, Record};

use keys::Keys;
use restored::Restored;
use window::{Entry, Seat, State, Window};

/// Records that wait for others of their key; beyond, nothing new is looked at.
const HELD_MAX: usize = 1000;

/// How a place treats its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub ack_wait_ms: u64,
    /// 0 = no limit.
    pub deliveries_max: u32,
    pub ack_pending_max: u32,
    /// Before the n-th redelivery; the last one repeats.
    pub backoff_ms: Arc<[u64]>,
    /// Whether what was delivered too often is kept elsewhere; if not, it is finished.
    pub has_dead_letters: bool,
}

/// Why an answer has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotYours {
    #[error("it is finished, or was never delivered")]
    Finished,
    #[error("it was taken back: its time was over, or it was given back")]
    TakenBack,
    #[error("another member has it")]
    Others,
    #[error("this node has its partition no more")]
    Elsewhere,
    #[error("the node is cut off from its store: nothing was done, it may be tried again")]
    CutOff,
}

/// Why a delivery is over without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    Nacked,
    /// No answer within the ack wait.
    Unanswered,
    /// Its member has left.
    Left,
}

/// One record on its way to a member.
#[derive(Debug, Clone, PartialEq)]
pub struct Handed {
    pub record: Record,
    /// How often it was delivered, this time included.
    pub deliveries: u32,
    pub bytes: u32,
}

/// A record that is with its member no more, without an answer of that member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub member: u32,
    pub mark: Mark,
    pub attempt: u32,
    pub bytes: u32,
}

/// A record that was delivered as often as may be.
#[derive(Debug, Clone)]
pub struct DeadRecord {
    pub record: Record,
    pub deliveries: u32,
    /// What became of the last one.
    pub failure: Failure,
}

/// What a member may take.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub records: u32,
    pub bytes: u64,
    /// It has nothing yet: one record is given whatever its size.
    pub is_empty: bool,
}

/// What a page brought beside records.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Records, by their numbers, that were let go before they were read.
    pub lost: u64,
    /// The partition has forgotten what it had, and gives numbers a second time.
    pub went_back: bool,
    /// It ends below what was read: the place has to begin anew from there.
    pub ends_at: Option<Mark>,
    /// There is no such partition.
    pub is_gone: bool,
}

pub struct Place {
    rules: Rules,
    window: Window,
    keys: Keys,
    restored: Restored,
    /// Looked at: out, waiting, held or done.
    cursor: Seat,
    /// Read up to here.
    read: Mark,
    /// The newest record known of.
    tail: Mark,
    sealed: bool,
    /// It may have grown.
    stale: bool,
    /// The tail that a page showed that had no records.
    empty_up_to: Option<Mark>,
    waiting: BTreeSet<(u64, Seat)>,
    dead: BTreeSet<Seat>,
    out: u32,
    /// Delivered before, and not finished.
    pending: u32,
    /// Unfinished ones of which a delivery failed.
    failed: u32,
    /// No record's ack wait is over before.
    earliest: u64,
    /// Records finished since the start: tells commits apart.
    changes: u64,
    /// Records finished without success, with no dead letters to go to.
    dropped: u64,
}

/// What a refused delivery leads to.
enum Back {
    At(u64),
    After(Option<u64>),
}

impl Failure {
    /// As a dead letter says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::Nacked => "nacked",
            Failure::Unanswered => "unanswered",
            Failure::Left => "member_left",
        }
    }
}

impl Place {
    /// The place as it was stored.
    pub fn new(progress: Progress, rules: Rules) -> Place {
        let low = progress.low;
        Place {
            rules,
            window: Window::new(low),
            keys: Keys::default(),
            restored: Restored::new(progress),
            cursor: 0,
            read: low,
            tail: low,
            sealed: false,
            stale: true,
            empty_up_to: None,
            waiting: BTreeSet::new(),
            dead: BTreeSet::new(),
            out: 0,
            pending: 0,
            failed: 0,
            earliest: u64::MAX,
            changes: 0,
            dropped: 0,
        }
    }

    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

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
    fn give_back(&mut self, seat: Seat, back: Back, failure: Failure, now: u64) {
        let Some(entry) = self.window.get_mut(seat) else { return };
        let (hash, deliveries) = (entry.hash, entry.deliveries);
        self.failed += u32::from(!std::mem::replace(&mut entry.failed, true));
        self.out -= 1;
        self.changes += 1;
        if self.rules.deliveries_max > 0 && deliveries >= self.rules.deliveries_max {
            entry.state = State::Dead(failure);
            self.keys.back(hash);
            if self.rules.has_dead_letters {
                self.dead.insert(seat);
            } else {
                self.dropped += 1;
                self.finish(seat);
            }
            return;
        }
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
    fn wake(&mut self, now: u64) {
        while let Some((_, seat)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            self.waiting.pop_first();
            let Some(entry) = self.window.get_mut(seat) else { continue };
            entry.state = State::Ready;
            let hash = entry.hash;
            self.keys.hold(hash, seat);
            self.keys.waited(hash);
        }
    }

    fn finish(&mut self, seat: Seat) {
        if let Some(entry) = self.window.get(seat) {
            self.pending -= u32::from(entry.deliveries > 0);
            self.failed -= u32::from(entry.failed);
            self.window.finish(seat);
            self.changes += 1;
            self.cursor = self.cursor.max(self.window.base());
        }
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
            Some(DeadRecord { record, deliveries: entry.deliveries, failure })
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

    /// How far it has come, to be stored.
    pub fn progress(&self, now: u64, unix: UnixMillis) -> Progress {
        let mut progress =
            Progress { low: self.window.low(), done: self.window.done_above(), attempts: Vec::new() };
        if self.failed > 0 {
            let attempts = self.window.up_to(self.window.end()).filter(|(_, entry)| entry.failed);
            progress.attempts.extend(attempts.filter_map(|(_, entry)| entry.attempt(now, unix)));
        }
        self.restored.complete(&mut progress);
        progress
    }

    /// Goes up with everything that wants storing.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Records given up, with no dead letters to go to, since this was asked last.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Records that are with members.
    pub fn out(&self) -> u32 {
        self.out
    }

    /// Whether records want to be kept as dead letters.
    pub fn has_dead(&self) -> bool {
        !self.dead.is_empty()
    }

    pub fn low(&self) -> Mark {
        self.window.low()
    }

    pub fn tail(&self) -> Mark {
        self.tail
    }

    /// Records, by their numbers, that are not below the low mark.
    pub fn lag(&self) -> u64 {
        self.tail.number.saturating_sub(self.window.low().number)
    }

    /// Its partition takes no more records, and all it had are finished.
    pub fn is_at_end(&self) -> bool {
        self.sealed && !self.stale && self.read.position >= self.tail.position && self.window.is_empty()
    }

    /// Whether its partition takes no more records, as far as a page has shown.
    pub fn is_sealed(&self) -> bool {
        self.sealed
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

impl Entry {
    fn attempt(&self, now: u64, unix: UnixMillis) -> Option<Attempt> {
        let wall = |at: u64| UnixMillis(unix.0.saturating_add(at.saturating_sub(now)));
        let (deliveries, retry_at) = match self.state {
            State::Done => return None,
            State::Out { .. } => (self.deliveries.saturating_sub(1), None),
            State::Waiting { retry_at } => (self.deliveries, Some(wall(retry_at))),
            State::New { retry_at } if retry_at > now => (self.deliveries, Some(wall(retry_at))),
            State::New { .. } | State::Ready | State::Dead(_) => (self.deliveries, None),
        };
        (deliveries > 0).then_some(Attempt { at: self.mark, deliveries, retry_at })
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

impl Rules {
    /// How long a record waits that was delivered so often.
    fn backoff(&self, deliveries: u32) -> u64 {
        let nth = (deliveries.max(1) as usize - 1).min(self.backoff_ms.len().saturating_sub(1));
        self.backoff_ms.get(nth).copied().unwrap_or(0)
    }
}
