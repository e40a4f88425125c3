//! One primary: what it proves, how full it is, and the lines to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use super::connection::Connection;
use super::line::{BackOff, Line};
use super::target::Address;
use crate::Level;
use crate::redis::level::{Confirm, Facts, Unproved};

/// One primary as long as it is one.
pub(super) struct Primary {
    pub address: Address,
    /// Commands; each shard always takes the same one.
    pub lines: Vec<Line<Connection>>,
    /// Set when another one has taken its place: what is still connected to it must write nothing more.
    retired: AtomicBool,
    memory_high: AtomicBool,
    seen: RwLock<Seen>,
}

#[derive(Debug, Clone)]
struct Seen {
    facts: Facts,
    confirm: Result<Confirm, Unproved>,
}

impl Primary {
    pub fn new(address: Address, lines: usize, back_off: BackOff) -> Arc<Primary> {
        Arc::new(Primary {
            address,
            lines: (0..lines.max(1)).map(|_| Line::new(back_off)).collect(),
            retired: AtomicBool::new(false),
            memory_high: AtomicBool::new(false),
            seen: RwLock::new(Seen { facts: Facts::default(), confirm: Ok(Confirm::Answer) }),
        })
    }

    /// The line that a shard of this number takes.
    pub fn line(&self, number: usize) -> &Line<Connection> {
        &self.lines[number % self.lines.len()]
    }

    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    pub fn is_memory_high(&self) -> bool {
        self.memory_high.load(Ordering::Relaxed)
    }

    /// Notes what the server says of itself now. `Err` = it does not prove the level (any more), or is no primary.
    pub fn note(&self, facts: Facts, level: Option<Level>, high_percent: u8) -> Result<(), Unproved> {
        self.memory_high.store(facts.is_above(high_percent), Ordering::Relaxed);
        let confirm = level.map_or(Ok(Confirm::Answer), |level| facts.proves(level));
        let outcome = confirm.clone().map(|_| ());
        *self.seen.write() = Seen { facts, confirm };
        outcome
    }

    pub fn facts(&self) -> Facts {
        self.seen.read().facts.clone()
    }

    /// How an answer becomes an acknowledgement of another level than that of all.
    pub fn proves(&self, level: Level) -> Result<Confirm, Unproved> {
        self.seen.read().facts.proves(level)
    }

    /// How an answer becomes an acknowledgement.
    pub fn confirm(&self) -> Result<Confirm, Unproved> {
        self.seen.read().confirm.clone()
    }
}
