//! The state machine over rows in maps, applied at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_model::UnixMillis;

use crate::clock::{Clock, WallClock};
use crate::config::Config;
use crate::page::{Paged, queue_range};
use crate::row::{Change, Key, Kind, Row, Write, number_key, retained_of};
use crate::state::{Batch, Effects, Rules, State, Timer};
use crate::{Answer, Due, Fence, Incarnation, Mirror, OutboxEntry, Page, Queued, Restored, SessionKey, Step};

pub(super) struct Tables {
    pub state: State,
    pub clock: Clock,
    rows: BTreeMap<Key, Row>,
}

impl Tables {
    pub fn new(config: &Config, wall: WallClock) -> Tables {
        let epoch = wall();
        let state = State::new(Rules::from(config), epoch.0);
        Tables { state, clock: Clock::above(epoch, wall), rows: BTreeMap::new() }
    }

    /// Decides one submit of a node and writes it; what mirrors are to hear is left.
    pub fn apply(&mut self, steps: Vec<Step>, node: Incarnation) -> (Answer, Effects) {
        let fanout = self.state.rules().inline_fanout_max;
        let mut effects = Effects::default();
        let mut batch = Batch::new(&steps, self.clock.times(), true, fanout);
        batch.node = node;
        let apply = |step| self.state.apply(step, &mut batch, &mut effects);
        let answer = steps.into_iter().map(apply).collect();
        self.state.settle(&mut effects);
        self.write(std::mem::take(&mut effects.writes));
        (answer, effects)
    }

    fn write(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write.change {
                Change::Fresh(row) | Change::Put(row) => drop(self.rows.insert(write.key, row)),
                Change::Delete => drop(self.rows.remove(&write.key)),
            }
        }
    }

    pub fn read_queue(&self, key: &SessionKey, after: u64, page: Page) -> Vec<Queued> {
        let mut paged = Paged::new(page);
        if let Some(generation) = self.state.generation(key) {
            for (key, row) in self.rows.range(queue_range(generation, after)) {
                if !paged.add(key, row) {
                    break;
                }
            }
        }
        paged.rows
    }

    /// What a timer that has run out asks for.
    pub fn due(&self, at: UnixMillis, timer: Timer, fence: Option<Fence>) -> Option<Due> {
        match (timer, fence) {
            (Timer::Will(key), Some(Fence { generation, .. })) => Some(Due::Will { key, generation }),
            (Timer::Expiry(key), Some(fence)) => Some(Due::Expiry { key, fence }),
            (Timer::Delayed(entry), _) => self.delayed(at, entry),
            (Timer::Will(_) | Timer::Expiry(_), None) => None,
        }
    }

    fn delayed(&self, at: UnixMillis, entry: u64) -> Option<Due> {
        let Some(Row::Delayed { realm, message }) = self.rows.get(&number_key(Kind::Delayed, at.0, entry))
        else {
            return None;
        };
        let id = self.state.outbox_id(entry);
        let entry = OutboxEntry { entry, id, message: message.clone(), owner: None };
        Some(Due::Delayed { realm: realm.clone(), entry })
    }

    /// Everything that a node must know at start.
    pub fn restore(&self, mirror: &dyn Mirror, session: &mut dyn FnMut(Restored)) {
        for (key, row) in &self.rows {
            if let Row::Retained { position, message } = row
                && let Some((realm, _)) = retained_of(key)
            {
                mirror.retained(&Arc::from(realm), &message.topic, *position, Some(message));
            }
        }
        self.state.restored().for_each(session);
    }
}
