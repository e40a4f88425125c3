//! The place of a group in one partition: what was read, who has it, what comes next, what is finished.
//!
//! A pure machine: pages, answers and the time go in, deliveries and progress come out. Records of one key are with one
//! member at a time, and a later one is never delivered while an earlier one waits to be delivered again.

mod answering;
mod burying;
mod delivering;
mod keys;
mod reading;
mod redelivering;
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
    /// What has no key has one in common: the records of a partition without a key are delivered in order, too.
    pub keyless_in_order: bool,
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
    /// A member said that it will never manage it.
    Rejected,
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
    /// What its member said of that.
    pub reason: Option<Arc<str>>,
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

impl Failure {
    /// As a dead letter says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::Nacked => "nacked",
            Failure::Rejected => "rejected",
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

    fn finish(&mut self, seat: Seat) {
        if let Some(entry) = self.window.get(seat) {
            self.pending -= u32::from(entry.deliveries > 0);
            self.failed -= u32::from(entry.failed);
            self.window.finish(seat);
            self.changes += 1;
            self.cursor = self.cursor.max(self.window.base());
        }
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
