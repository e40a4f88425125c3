//! Timers: what becomes due when.

use std::collections::{BTreeSet, HashMap};

use weir_model::UnixMillis;

use crate::SessionKey;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    Will(SessionKey),
    Expiry(SessionKey),
    /// A delayed message, by its entry.
    Delayed(u64),
}

/// One timer per detached session's will and expiry and per delayed message, the next one first.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeSet<(UnixMillis, Timer)>,
    /// When each delayed message is due (its row lies under that time) and its bytes.
    delayed: HashMap<u64, (UnixMillis, u32)>,
}

impl Timers {
    pub fn start(&mut self, at: UnixMillis, timer: Timer) {
        self.by_time.insert((at, timer));
    }

    /// Starts the timer of a delayed message of so many bytes.
    pub fn start_delayed(&mut self, at: UnixMillis, entry: u64, bytes: u32) {
        self.delayed.insert(entry, (at, bytes));
        self.start(at, Timer::Delayed(entry));
    }

    pub fn stop(&mut self, at: UnixMillis, timer: Timer) {
        self.by_time.remove(&(at, timer));
    }

    /// Stops the timer of a delayed message and says when it was due, and its bytes.
    pub fn stop_delayed(&mut self, entry: u64) -> Option<(UnixMillis, u32)> {
        let (at, bytes) = self.delayed.remove(&entry)?;
        self.stop(at, Timer::Delayed(entry));
        Some((at, bytes))
    }

    pub fn due(&self, now: UnixMillis) -> impl Iterator<Item = (UnixMillis, &Timer)> {
        let begun = self.by_time.iter().take_while(move |(at, _)| *at <= now);
        begun.map(|(at, timer)| (*at, timer))
    }
}
