//! The shelf: all rows of an embedded store, the newest layer in front of the older ones.
//!
//! Group commits go into the active overlay. A checkpoint freezes it, moves it into the tables and
//! lets it go; meanwhile a new one is in front.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock, RwLockWriteGuard};
use weir_model::Message;

use super::overlay::{Entry, Overlay, note_record};
use super::tables::{Tables, TablesError};
use crate::page::{Paged, queue_range};
use crate::row::codec::{self, DecodeError};
use crate::row::{Change, Key, Kind, Row, Write, id_key, kind_key, numbers_of};
use crate::sweep::{SWEPT_MIN, SWEPT_PER_WRITE};
use crate::{Page, PartitionEnds, Queued};

mod stream;

pub(crate) use stream::Reading;

pub(crate) mod walk;

/// Writes carried out before waiting readers get their turn.
const WRITES_PER_TURN: usize = 256;

/// Records of which one checkpoint removes the rows; the next ones go on.
const BURIED_PER_CHECKPOINT: u64 = 1 << 20;

/// How long a reader waits for tables that are being opened again.
const AWAY_MAX: Duration = Duration::from_secs(10);

pub(crate) struct Shelf {
    layers: RwLock<Layers>,
    /// `None` while they are opened again.
    tables: Mutex<Option<Arc<Tables>>>,
    opened: Condvar,
}

struct Layers {
    active: Overlay,
    frozen: Option<Arc<Overlay>>,
    /// The highest queue number per generation in the tables: above it they need not be asked.
    settled: HashMap<u64, u64>,
    /// First and last number of the records in the tables, by partition.
    stored: HashMap<u64, RangeInclusive<u64>>,
    /// Where each partition begins and ends: readers look at nothing outside.
    ends: HashMap<u64, PartitionEnds>,
}

/// What is in the tables, found by reading all of them.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    queues: HashMap<u64, u64>,
    records: HashMap<u64, RangeInclusive<u64>>,
}

/// What the overlays hold of a queue, in order; `None` hides a row of the tables.
pub(crate) struct Front {
    rows: Vec<(Key, Option<Row>)>,
    range: RangeInclusive<Key>,
    page: Page,
    /// Whether the tables may hold rows of the range, too.
    in_tables: bool,
}

impl Shelf {
    pub fn new(tables: Tables, active: Overlay) -> Shelf {
        let (settled, stored, ends) = (HashMap::new(), HashMap::new(), HashMap::new());
        let layers = RwLock::new(Layers { active, frozen: None, settled, stored, ends });
        Shelf { layers, tables: Mutex::new(Some(Arc::new(tables))), opened: Condvar::new() }
    }

    pub fn apply(&self, writes: Vec<Write>) {
        let swept_max = SWEPT_MIN.max(writes.len() * SWEPT_PER_WRITE);
        let mut layers = self.layers.write();
        for (count, write) in writes.into_iter().enumerate() {
            if count % WRITES_PER_TURN == WRITES_PER_TURN - 1 {
                RwLockWriteGuard::bump(&mut layers);
            }
            if write.key[0] == Kind::Ends as u8 && matches!(write.change, Change::Delete) {
                let generation = numbers_of(&write.key).map(|(generation, _)| generation);
                generation.map(|generation| layers.settled.remove(&generation));
            }
            layers.note_ends(&write);
            layers.active.apply(write);
        }
        layers.active.sweep(swept_max);
    }

    /// About what the newest layer takes, and it together with the one that is being moved.
    pub fn rows_bytes(&self) -> (u64, u64) {
        let layers = self.layers.read();
        let active = layers.active.bytes() as u64;
        (active, active + layers.frozen.as_ref().map_or(0, |frozen| frozen.bytes() as u64))
    }

    /// Takes the active overlay for a checkpoint. `None` when the one before is not done.
    pub fn freeze(&self) -> Option<Arc<Overlay>> {
        let mut layers = self.layers.write();
        if layers.frozen.is_some() {
            return None;
        }
        let mut frozen = std::mem::take(&mut layers.active);
        frozen.bury(layers.dead(BURIED_PER_CHECKPOINT));
        let frozen = Arc::new(frozen);
        layers.frozen = Some(frozen.clone());
        Some(frozen)
    }

    /// The frozen overlay is in the tables now.
    pub fn thaw(&self) {
        let Some(frozen) = self.layers.read().frozen.clone() else { return };
        let records = frozen.records();
        let mut layers = self.layers.write();
        layers.frozen = None;
        layers.note_stored(frozen.dead(), records);
        for (key, entry) in frozen.range(kind_key(Kind::Queue)..=kind_key(Kind::Outbox)) {
            if let (Entry::Row { .. }, Some((generation, number))) = (entry, numbers_of(key)) {
                let settled = layers.settled.entry(generation).or_default();
                *settled = number.max(*settled);
            }
        }
        drop(layers);
        drop(frozen);
    }

    /// What [`Shelf::scan`] found in the tables, and where the partitions begin and end.
    pub fn set_settled(&self, settled: Settled, ends: HashMap<u64, PartitionEnds>) {
        let mut layers = self.layers.write();
        (layers.settled, layers.stored, layers.ends) = (settled.queues, settled.records, ends);
    }

    /// The tables, when they are there: while they are opened again, waits a while.
    pub fn tables(&self) -> Result<Arc<Tables>, TablesError> {
        let mut tables = self.tables.lock();
        let until = Instant::now() + AWAY_MAX;
        while tables.is_none() {
            if self.opened.wait_until(&mut tables, until).timed_out() {
                break;
            }
        }
        tables.clone().ok_or(TablesError::Away)
    }

    /// Closes the tables and opens them anew: the way out of a poisoned engine.
    pub fn reopen_tables(&self, dir: &Path) -> Result<(), TablesError> {
        let mut old = self.tables.lock().take();
        while let Some(tables) = old.take() {
            old = Arc::try_unwrap(tables).err();
            std::thread::yield_now();
        }
        let tables = Tables::open(dir)?;
        *self.tables.lock() = Some(Arc::new(tables));
        self.opened.notify_all();
        Ok(())
    }

    pub fn get(&self, key: &Key) -> Result<Option<Row>, TablesError> {
        let entry = self.layers.read().front(key).cloned();
        match entry {
            Some(Entry::Row { row, .. }) => Ok(Some(row)),
            Some(Entry::Gone) => Ok(None),
            None => {
                let Some(bytes) = self.tables()?.get(key)? else { return Ok(None) };
                Ok(Some(codec::decode(key, &bytes, &mut |body| self.body(body))?))
            }
        }
    }

    /// Rows under these keys, `None` for no key and for no row; the answer is `None` if one may be in the tables. Does
    /// not touch the disk.
    pub fn rows_front(&self, keys: &[Option<Key>]) -> Option<Vec<Option<Row>>> {
        let layers = self.layers.read();
        let row = |key: &Option<Key>| match key {
            Some(key) => Some(layers.front(key)?.row().cloned()),
            None => Some(None),
        };
        keys.iter().map(row).collect()
    }

    /// The same wherever they lie. Blocking.
    pub fn rows(&self, keys: &[Option<Key>]) -> Result<Vec<Option<Row>>, TablesError> {
        let row = |key: &Option<Key>| key.as_ref().map_or(Ok(None), |key| self.get(key));
        keys.iter().map(row).collect()
    }

    pub fn body(&self, body: u64) -> Option<Arc<Message>> {
        match self.get(&id_key(Kind::Body, body)) {
            Ok(Some(Row::Body(message))) => Some(message),
            _ => None,
        }
    }

    /// A page of a queue as far as the overlays know it. Does not touch the disk.
    pub fn queue_front(&self, generation: u64, after: u64, page: Page) -> Front {
        let layers = self.layers.read();
        let range = queue_range(generation, after);
        let in_tables = layers.settled.get(&generation).is_some_and(|settled| *settled > after);
        let (mut rows, mut visible) = (Vec::new(), 0);
        let mut last = range.end().clone();
        for (key, entry) in layers.merged(range.clone()) {
            rows.push((key.clone(), entry.row().cloned()));
            visible += usize::from(entry.row().is_some());
            if visible >= page.rows_max.max(1) {
                last = key.clone();
                break;
            }
        }
        let range = range.start().clone()..=last;
        Front { rows, range, page, in_tables }
    }

    /// The page, with what the tables have of it. Blocking if [`Front::needs_tables`].
    pub fn queue_page(&self, front: Front) -> Result<Vec<Queued>, TablesError> {
        let mut paged = Paged::new(front.page);
        let mut rows = front.rows.into_iter().peekable();
        if front.in_tables {
            for stored in self.tables()?.range(front.range) {
                let (key, value) = stored?;
                let key = Key::from_slice(&key);
                while let Some((before, row)) = rows.next_if(|(front, _)| *front < key) {
                    if row.is_some_and(|row| !paged.add(&before, &row)) {
                        return Ok(paged.rows);
                    }
                }
                if rows.peek().is_some_and(|(front, _)| *front == key) {
                    continue;
                }
                let row = codec::decode(&key, &value, &mut |body| self.body(body))?;
                if !paged.add(&key, &row) {
                    return Ok(paged.rows);
                }
            }
        }
        for (key, row) in rows {
            if row.is_some_and(|row| !paged.add(&key, &row)) {
                break;
            }
        }
        Ok(paged.rows)
    }

    /// Every row in key order, and what of them is in the tables. Writers wait meanwhile.
    pub fn scan(&self, row: &mut dyn FnMut(&Key, &Row)) -> Result<Settled, TablesError> {
        self.scan_range(kind_key(Kind::Applied)..=last_key(), row)
    }

    /// The same for the rows of one kind, but no queue rows, which may need others.
    pub fn scan_kind(&self, kind: Kind, row: &mut dyn FnMut(&Key, &Row)) -> Result<(), TablesError> {
        let next = Key::from_slice(&[kind as u8 + 1]);
        self.scan_range(kind_key(kind)..=next, row).map(drop)
    }

    fn scan_range(
        &self,
        range: RangeInclusive<Key>,
        row: &mut dyn FnMut(&Key, &Row),
    ) -> Result<Settled, TablesError> {
        let layers = self.layers.read();
        let mut front = layers.merged(range.clone()).peekable();
        let (mut settled, mut bodies) = (Settled::default(), Bodies::default());
        for stored in self.tables()?.range(range) {
            let (key, value) = stored?;
            let key = Key::from_slice(&key);
            settled.note(&key);
            while let Some((before, entry)) = front.next_if(|(front, _)| **front < key) {
                bodies.pass(before, entry, row);
            }
            if front.peek().is_none_or(|(front, _)| **front != key) {
                bodies.pass_stored(&key, &value, row)?;
            }
        }
        for (key, entry) in front {
            bodies.pass(key, entry, row);
        }
        Ok(settled)
    }
}

impl Settled {
    fn note(&mut self, key: &Key) {
        let Some((id, number)) = numbers_of(key) else { return };
        if key[0] == Kind::Queue as u8 {
            self.queues.insert(id, number);
        } else if key[0] == Kind::Record as u8 {
            note_record(&mut self.records, id, number);
        }
    }
}

/// Above every key.
fn last_key() -> Key {
    Key::from_slice(&[u8::MAX])
}

impl Front {
    pub fn needs_tables(&self) -> bool {
        self.in_tables
    }
}

impl Layers {
    /// A partition begins or ends elsewhere from now on.
    fn note_ends(&mut self, write: &Write) {
        if write.key[0] != Kind::PartitionEnds as u8 {
            return;
        }
        let Some((id, _)) = numbers_of(&write.key) else { return };
        match &write.change {
            Change::Fresh(Row::PartitionEnds(ends)) | Change::Put(Row::PartitionEnds(ends)) => {
                self.ends.insert(id, **ends);
            }
            _ => drop(self.ends.remove(&id)),
        }
    }

    /// Records in the tables that no partition has any more, at most so many.
    fn dead(&self, records_max: u64) -> BTreeMap<u64, RangeInclusive<u64>> {
        let (mut dead, mut room) = (BTreeMap::new(), records_max);
        for (id, stored) in &self.stored {
            let floor = self.ends.get(id).map_or(u64::MAX, |ends| ends.trimmed.number);
            let (first, last) = (*stored.start(), floor.min(*stored.end()));
            if first > last || room == 0 {
                continue;
            }
            let last = last.min(first.saturating_add(room - 1));
            room -= last - first + 1;
            dead.insert(*id, first..=last);
        }
        dead
    }

    /// The frozen overlay is in the tables: the dead have no rows there any more, and its records do.
    fn note_stored(
        &mut self,
        dead: &BTreeMap<u64, RangeInclusive<u64>>,
        records: HashMap<u64, RangeInclusive<u64>>,
    ) {
        for (id, dead) in dead {
            match self.stored.get(id).map(|stored| *dead.end() + 1..=*stored.end()) {
                Some(left) if !left.is_empty() => drop(self.stored.insert(*id, left)),
                _ => drop(self.stored.remove(id)),
            }
        }
        for (id, added) in records {
            let stored = self.stored.entry(id).or_insert_with(|| added.clone());
            *stored = *stored.start().min(added.start())..=*stored.end().max(added.end());
        }
    }

    fn front(&self, key: &Key) -> Option<&Entry> {
        self.active.get(key).or_else(|| self.frozen.as_ref()?.get(key))
    }

    /// What the overlays hold of a range, in order.
    fn merged(&self, range: RangeInclusive<Key>) -> impl Iterator<Item = (&Key, &Entry)> {
        let frozen = self.frozen.as_ref().map(|frozen| frozen.range(range.clone()));
        let mut old = frozen.into_iter().flatten().peekable();
        let mut new = self.active.range(range).peekable();
        std::iter::from_fn(move || match (old.peek(), new.peek()) {
            (Some((before, _)), Some((after, _))) if before < after => old.next(),
            (Some((before, _)), Some((after, _))) => {
                if before == after {
                    old.next();
                }
                new.next()
            }
            (Some(_), None) => old.next(),
            (None, _) => new.next(),
        })
    }
}

/// The shared bodies passed so far: they come before the queue rows that refer to them.
#[derive(Default)]
pub(crate) struct Bodies(HashMap<u64, Arc<Message>>);

impl Bodies {
    fn pass(&mut self, key: &Key, entry: &Entry, to: &mut dyn FnMut(&Key, &Row)) {
        if let Entry::Row { row, .. } = entry {
            self.note(key, row);
            to(key, row);
        }
    }

    pub fn pass_stored(
        &mut self,
        key: &Key,
        value: &[u8],
        to: &mut dyn FnMut(&Key, &Row),
    ) -> Result<(), DecodeError> {
        let row = codec::decode(key, value, &mut |body| self.0.get(&body).cloned())?;
        self.note(key, &row);
        to(key, &row);
        Ok(())
    }

    fn note(&mut self, key: &Key, row: &Row) {
        if let (Row::Body(message), Some((body, _))) = (row, numbers_of(key)) {
            self.0.insert(body, message.clone());
        }
    }
}
