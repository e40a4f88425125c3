//! Memory pressure: how close the node is to the memory it may use, in four levels.
//!
//! The timers actor samples every tick, and whoever takes in or copies much does in between. From [`Level::StopAccepting`] nobody new is let in,
//! receivers that take nothing lose the QoS 0 that waits for them, and who has sent half a packet must
//! send the rest. From [`Level::StopReading`] connections leave PUBLISH packets in their sockets, from
//! [`Level::Shed`] all receivers lose waiting QoS 0, largest outbox first. A level is left only some way below where it began, so that it does not flap.

pub mod meter;
mod shed;

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use metrics::gauge;
use tokio::sync::watch;

use crate::config::Config;
use meter::{Bound, Meter};
pub(crate) use shed::shed;

/// Between two samples a thread takes in at most this part of what may be used.
const SAMPLE_PART: u64 = 128;

/// How far below its beginning a level ends, in percent of the whole.
const SLACK_PERCENT: u64 = 3;

/// What the node has stopped doing for lack of memory; each level includes the ones before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    #[default]
    Normal = 0,
    /// No new connection is accepted, and a CONNECT that arrives is answered "server busy".
    StopAccepting = 1,
    /// No PUBLISH is taken.
    StopReading = 2,
    /// Waiting QoS 0 is dropped.
    Shed = 3,
}

impl Level {
    const ABOVE_NORMAL: [Level; 3] = [Level::StopAccepting, Level::StopReading, Level::Shed];

    /// The word in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Normal => "normal",
            Level::StopAccepting => "stop_accepting",
            Level::StopReading => "stop_reading",
            Level::Shed => "shed",
        }
    }

    fn of(byte: u8) -> Level {
        Level::ABOVE_NORMAL.into_iter().find(|level| *level as u8 == byte).unwrap_or_default()
    }
}

/// Where each level begins, in bytes; `u64::MAX` = never.
#[derive(Debug, Clone, Copy)]
struct Marks {
    from: [u64; 3],
    slack: u64,
}

impl Marks {
    fn new(config: &Config, max_bytes: u64) -> Marks {
        let percents = [
            config.memory_stop_accepting_percent,
            config.memory_stop_reading_percent,
            config.memory_shed_percent,
        ];
        let from = percents.map(|percent| match percent {
            0 => u64::MAX,
            percent => max_bytes / 100 * u64::from(percent),
        });
        Marks { from, slack: max_bytes / 100 * SLACK_PERCENT }
    }

    /// The level that follows `old` at so many bytes.
    fn next(&self, old: Level, used: u64) -> Level {
        let holds = |level: &Level| {
            let slack = if *level <= old { self.slack } else { 0 };
            used >= self.from[*level as usize - 1].saturating_sub(slack)
        };
        Level::ABOVE_NORMAL.into_iter().filter(holds).max().unwrap_or_default()
    }
}

thread_local! {
    /// What this thread has taken in since it last looked.
    static GROWN: Cell<u64> = const { Cell::new(0) };
}

/// The node's memory and what is done about it.
pub struct Pressure {
    level: AtomicU8,
    used_bytes: AtomicU64,
    bound: Bound,
    marks: Marks,
    /// `None` where the system does not say how much is used: the level stays normal.
    meter: Option<Meter>,
    /// A thread that has taken in so much looks.
    sample_bytes: u64,
    changes: watch::Sender<Level>,
    give_back: OnceLock<fn()>,
}

impl Pressure {
    pub fn new(config: &Config) -> Pressure {
        let bound = Bound::of(config);
        gauge!("weir_broker_memory_max_bytes").set(bound.bytes as f64);
        gauge!("weir_broker_memory_pressure_level").set(0.0);
        Pressure {
            level: AtomicU8::new(0),
            used_bytes: AtomicU64::new(0),
            marks: Marks::new(config, bound.bytes),
            meter: Meter::open(&bound).inspect_err(unwatched).ok(),
            sample_bytes: bound.bytes / SAMPLE_PART,
            bound,
            changes: watch::Sender::new(Level::Normal),
            give_back: OnceLock::new(),
        }
    }

    /// One relaxed load.
    pub fn level(&self) -> Level {
        Level::of(self.level.load(Ordering::Relaxed))
    }

    pub fn stops_accepting(&self) -> bool {
        self.level() >= Level::StopAccepting
    }

    /// Whether PUBLISH packets are left where they are.
    pub fn stops_reading(&self) -> bool {
        self.level.load(Ordering::Relaxed) >= Level::StopReading as u8
    }

    /// Bytes in use at the last sample.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// What may be used, and who says so.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Hears of every new level; begins with the present one.
    pub fn changes(&self) -> watch::Receiver<Level> {
        self.changes.subscribe()
    }

    /// Called in each tick above normal, so that freed memory goes back to the system: allocators keep
    /// it otherwise, and the level would not fall. The first one given counts.
    pub fn on_pressure(&self, give_back: fn()) {
        let _ = self.give_back.set(give_back);
    }

    /// So much was read from a socket or copied for receivers, and may be more memory in use than at the
    /// last sample. A second at full speed would otherwise be too long.
    pub fn grew(&self, bytes: usize) {
        let grown = GROWN.get() + bytes as u64;
        if grown < self.sample_bytes {
            GROWN.set(grown);
        } else {
            GROWN.set(0);
            self.sample();
        }
    }

    /// Has the allocator give freed memory back to the system.
    pub(crate) fn give_back(&self) {
        if let Some(give_back) = self.give_back.get() {
            give_back();
        }
    }

    /// Looks how much is used now.
    pub(crate) fn sample(&self) -> Level {
        let Some(used) = self.meter.as_ref().and_then(Meter::used_bytes) else { return self.level() };
        self.take(used)
    }

    fn take(&self, used: u64) -> Level {
        self.used_bytes.store(used, Ordering::Relaxed);
        gauge!("weir_broker_memory_bytes").set(used as f64);
        let old = self.level();
        let level = self.marks.next(old, used);
        // Of two threads that look at once one reports.
        if level != old && self.level.swap(level as u8, Ordering::Relaxed) != level as u8 {
            gauge!("weir_broker_memory_pressure_level").set(f64::from(level as u8));
            self.report(level, old, used);
            self.changes.send_replace(level);
        }
        level
    }

    /// Bytes that must go before new connections are let in again, and those that must go before
    /// PUBLISH packets are taken again.
    pub(crate) fn excess_bytes(&self) -> (u64, u64) {
        let [accepting, reading, shed] = self.marks.from;
        let above = |mark: u64| self.used_bytes().saturating_sub(mark.saturating_sub(self.marks.slack));
        (above(accepting.min(reading).min(shed)), above(reading.min(shed)))
    }

    fn report(&self, level: Level, old: Level, used: u64) {
        let (max, level, is_worse) = (self.bound.bytes, level.as_str(), level > old);
        match is_worse {
            true => tracing::warn!(level, used_bytes = used, max_bytes = max, "short of memory"),
            false => tracing::info!(level, used_bytes = used, max_bytes = max, "memory is free again"),
        }
    }
}

fn unwatched(error: &std::io::Error) {
    tracing::warn!(%error, "memory in use cannot be read: its limits do not hold");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressure(max_bytes: u64) -> Pressure {
        Pressure::new(&Config { memory_max_bytes: max_bytes, ..Config::default() })
    }

    #[test]
    fn levels_rise_at_their_percents() {
        let pressure = pressure(1000);
        let at = |used| (pressure.take(used), pressure.level());
        assert_eq!(at(790), (Level::Normal, Level::Normal));
        assert_eq!(at(800), (Level::StopAccepting, Level::StopAccepting));
        assert_eq!(at(949), (Level::StopReading, Level::StopReading));
        assert_eq!(at(2000), (Level::Shed, Level::Shed));
    }

    #[test]
    fn a_level_is_left_only_some_way_below_where_it_began() {
        let pressure = pressure(1000);
        pressure.take(880);
        assert_eq!(pressure.take(860), Level::StopReading);
        assert_eq!(pressure.take(849), Level::StopAccepting);
        assert_eq!(pressure.take(875), Level::StopAccepting);
        assert_eq!(pressure.take(769), Level::Normal);
    }

    #[test]
    fn a_level_of_0_percent_is_never_reached() {
        let config = Config { memory_max_bytes: 1000, memory_shed_percent: 0, ..Config::default() };
        let pressure = Pressure::new(&config);
        assert_eq!(pressure.take(u64::MAX - 1), Level::StopReading);
    }

    #[test]
    fn who_listens_hears_of_each_change_once() {
        let pressure = pressure(1000);
        let mut changes = pressure.changes();
        pressure.take(810);
        assert!(changes.has_changed().unwrap());
        assert_eq!(*changes.borrow_and_update(), Level::StopAccepting);
        pressure.take(815);
        assert!(!changes.has_changed().unwrap());
    }

    #[test]
    fn this_process_says_how_much_it_uses() {
        let pressure = pressure(1 << 40);
        assert_eq!(pressure.sample(), Level::Normal);
        assert!(pressure.used_bytes() > 1 << 20, "{}", pressure.used_bytes());
    }
}
