//! The state machine over rows in maps, applied at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use weir_model::UnixMillis;

use crate::clock::{Clock, WallClock};
use crate::config::Config;
use crate::page::{Paged, PagedRecords, queue_range, record_range};
use crate::row::{Change, Key, Kind, Row, Write, number_key, numbers_of, retained_of};
use crate::state::{Batch, Effects, Rules, State, Timer};
use crate::sweep::{SWEPT_MIN, SWEPT_PER_WRITE, Sweep};
use crate::{
    Answer, Due, Fence, Incarnation, Mirror, OutboxEntry, OwedMessage, Page, PartitionKey, Queued, Restored,
    SessionKey, Start, Step, StreamPage, TableRow,
};

pub(super) struct Tables {
    pub state: State,
    pub clock: Clock,
    rows: BTreeMap<Key, Row>,
    sweep: Sweep,
}

/// Who submits, to a store that is shared.
pub(super) struct Submitter {
    pub node: Incarnation,
    /// The nodes whose lease stands.
    pub standing: SmallVec<[Incarnation; 4]>,
}

impl Tables {
    pub fn new(config: &Config, wall: WallClock) -> Tables {
        let epoch = wall();
        let state = State::new(Rules::from(config), epoch.0);
        Tables { state, clock: Clock::above(epoch, wall), rows: BTreeMap::new(), sweep: Sweep::default() }
    }

    /// Decides one submit and writes it; what mirrors are to hear is left.
    pub fn apply(&mut self, steps: Vec<Step>, by: Option<Submitter>) -> (Answer, Effects) {
        let fanout = self.state.rules().inline_fanout_max;
        let mut effects = Effects::default();
        let mut batch = Batch::new(&steps, self.clock.times(), true, fanout);
        if let Some(Submitter { node, standing }) = by {
            (batch.node, batch.is_shared, batch.standing) = (node, true, standing);
        }
        let apply = |step| self.state.apply(step, &mut batch, &mut effects);
        let answer = steps.into_iter().map(apply).collect();
        self.state.settle(&mut effects);
        self.write(std::mem::take(&mut effects.writes));
        (answer, effects)
    }

    fn write(&mut self, writes: Vec<Write>) {
        let swept_max = SWEPT_MIN.max(writes.len() * SWEPT_PER_WRITE);
        for write in writes {
            self.sweep.note(&write);
            match write.change {
                Change::Fresh(row) | Change::Put(row) => drop(self.rows.insert(write.key, row)),
                Change::Delete => drop(self.rows.remove(&write.key)),
            }
        }
        for _ in 0..swept_max {
            let Some(dead) = self.sweep.next(&self.rows) else { break };
            self.rows.remove(&dead);
        }
    }

    pub fn read_stream(&self, key: &PartitionKey, start: Start, page: Page) -> StreamPage {
        let Some((id, first)) = self.state.stream_from(key, start) else { return StreamPage::default() };
        let ends = self.state.partition(key).map(|partition| partition.ends).unwrap_or_default();
        let mut paged = PagedRecords::new(start, page);
        let first = first.max(ends.trimmed.number + 1);
        for (key, row) in self.rows.range(record_range(id, first, u64::MAX)) {
            let (Row::Record(row), Some((_, number))) = (row, numbers_of(key)) else { continue };
            if !paged.add(number, row.clone()) {
                break;
            }
        }
        StreamPage { records: paged.records, ends }
    }

    pub fn kept(&self, key: &PartitionKey, group: &str, names: &[Bytes]) -> Vec<Option<Bytes>> {
        let rows = self.state.kept_rows(key, group, names).into_iter();
        rows.map(|row| self.kept_value(&row?)).collect()
    }

    pub fn kept_page(
        &self,
        key: &PartitionKey,
        group: &str,
        after: Option<&Bytes>,
        limit: usize,
    ) -> Vec<(Bytes, Bytes)> {
        let names = self.state.kept_names(key, group, after, limit);
        let values = self.kept(key, group, &names);
        names.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?))).collect()
    }

    fn kept_value(&self, row: &Key) -> Option<Bytes> {
        match self.rows.get(row)? {
            Row::Kept(value) => Some(value.clone()),
            _ => None,
        }
    }

    pub fn owed(&self, key: &PartitionKey, group: &str, after: u64, limit: usize) -> Vec<OwedMessage> {
        let entries = self.state.owed_rows(key, group, after, limit).into_iter();
        let found = entries.filter_map(|(entry, row)| match self.rows.get(&row)? {
            Row::Owed(row) => Some((entry, row.id, row.message.clone())),
            _ => None,
        });
        found.collect()
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
            (Timer::Will(key), Some(fence)) => Some(Due::Will { key, fence }),
            (Timer::Expiry(key), Some(fence)) => Some(Due::Expiry { key, fence }),
            (Timer::Delayed(entry), _) => self.delayed(at, entry),
            (Timer::Will(_) | Timer::Expiry(_), None) => None,
        }
    }

    fn delayed(&self, at: UnixMillis, entry: u64) -> Option<Due> {
        let Some(Row::Delayed { realm, message, epoch }) =
            self.rows.get(&number_key(Kind::Delayed, at.0, entry))
        else {
            return None;
        };
        let id = self.state.outbox_id(*epoch, entry);
        let entry = OutboxEntry { entry, id, message: message.clone(), owner: None };
        Some(Due::Delayed { realm: realm.clone(), entry })
    }

    /// Everything that a node must know at start.
    pub fn restore(&self, mirror: &dyn Mirror, session: &mut dyn FnMut(Restored)) {
        for (key, row) in &self.rows {
            match row {
                Row::Retained { position, message } => {
                    let Some((realm, _)) = retained_of(key) else { continue };
                    mirror.retained(&Arc::from(realm), &message.topic, *position, Some(message));
                }
                Row::Cell(row) => mirror.table(TableRow::from(&**row)),
                _ => {}
            }
        }
        self.state.restored().for_each(session);
    }
}
