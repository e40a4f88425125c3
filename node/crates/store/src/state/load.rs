//! A state loaded from the rows of a store, read in the order of their keys.

use std::collections::{BTreeMap, HashMap};

use weir_model::{Filter, MessageId, Position, UnixMillis};

use super::cell::Cell;
use super::queue::{Queue, Slot};
use super::session::{Family, Owed, Session};
use super::{Rules, State, Window};
use crate::account::Account;
use crate::row::{Ends, Key, Kind, Row, SessionRow, numbers_of, retained_of, session_of, text_of};
use crate::{Restored, SessionKey, SessionKind};

mod stream;

use stream::Partitions;

/// Takes rows one by one and builds the state from them.
pub(crate) struct Loader {
    state: State,
    by_generation: HashMap<u64, SessionKey>,
    seen: HashMap<u64, Vec<(u64, MessageId)>>,
    delay_seen: Vec<(u64, MessageId)>,
    bodies_found: Vec<u64>,
    partitions: Partitions,
    garbage: Vec<Key>,
}

impl Loader {
    pub fn new(rules: Rules, epoch: u64) -> Loader {
        Loader {
            state: State::new(rules, epoch),
            by_generation: HashMap::new(),
            seen: HashMap::new(),
            delay_seen: Vec::new(),
            bodies_found: Vec::new(),
            partitions: Partitions::default(),
            garbage: Vec::new(),
        }
    }

    /// Rows must come in key order, so that sessions are known before what belongs to them.
    pub fn add(&mut self, key: &Key, row: &Row) {
        if self.add_row(key, row).is_none() {
            self.garbage.push(key.clone());
        }
    }

    /// The state, and the keys of rows that belong to nothing any more. `now` is above every time
    /// the store has ever used, so that positions go on above all it gave.
    pub fn finish(mut self, now: UnixMillis) -> (State, Vec<Key>) {
        for (generation, seen) in std::mem::take(&mut self.seen) {
            let capacity = self.state.rules.dedup_ids_max;
            if let Some(session) = self.session(generation) {
                session.kept_mut().seen = Window::restore(seen, capacity);
            }
        }
        let capacity = self.state.rules.delay_ids_max;
        self.state.delay_seen = Window::restore(self.delay_seen, capacity);
        for body in self.bodies_found {
            if !self.state.bodies.contains_key(&body) {
                self.garbage.push(crate::row::id_key(Kind::Body, body));
            }
        }
        self.partitions.finish(&mut self.state);
        let ms = self.state.position.ms.max(now.0);
        self.state.position = Position { epoch: self.state.meta.epoch, ms, seq: 0 };
        for key in self.by_generation.into_values() {
            self.state.start_timers(&key);
            self.state.note_if_idle(&key);
        }
        (self.state, self.garbage)
    }

    /// `None` when the row belongs to nothing.
    fn add_row(&mut self, key: &Key, row: &Row) -> Option<()> {
        match row {
            Row::Applied(_) => {}
            Row::Meta(meta) => {
                self.state.meta = *meta;
                self.state.meta_changed = false;
                self.state.counter = meta.reserved;
            }
            Row::Session(row) => self.add_session(session_of(key)?, (**row).clone()),
            Row::Subscription(options) => {
                let (generation, _) = numbers_of(&key[..9])?;
                let filter = Filter::new(text_of(key)?).ok()?;
                self.session(generation)?.kept_mut().subscriptions.insert(filter, *options);
            }
            Row::Ends(ends) => self.add_ends(numbers_of(key)?.0, *ends)?,
            Row::Received(count) => {
                let (generation, packet_id) = numbers_of(key)?;
                let kept = self.session(generation)?.kept_mut();
                kept.received.insert(u16::try_from(packet_id).ok()?, *count);
                kept.uses = kept.uses.max(*count);
            }
            Row::Seen(seen) => self.add_seen(key, seen.at, seen.id)?,
            Row::Body(_) => self.bodies_found.push(numbers_of(key)?.0),
            Row::Waiting { delivery, body } => {
                let bytes = u32::try_from(delivery.message.size_bytes()).unwrap_or(u32::MAX);
                self.add_queued(key, Slot::Waiting { bytes, body: *body })?;
            }
            Row::Released => self.add_queued(key, Slot::Released)?,
            Row::Outbox(row) => {
                let owed = Owed {
                    entry: numbers_of(key)?.0,
                    generation: row.generation,
                    id: row.id,
                    message: row.message.clone(),
                    owner: row.owner.clone(),
                };
                self.state.families.entry(row.key.clone()).or_default().owed.push(owed);
            }
            Row::Delayed { message, .. } => {
                let (due, entry) = numbers_of(key)?;
                self.state.note_delayed(UnixMillis(due), entry, message);
            }
            Row::Retained { position, message } => {
                retained_of(key)?;
                self.state.note_retained(key, Some((message, *position)));
                self.state.position.ms = self.state.position.ms.max(position.ms);
            }
            Row::Partition(_)
            | Row::PartitionEnds(_)
            | Row::Place(_)
            | Row::RecordSeen(_)
            | Row::Record(_)
            | Row::Kept(_)
            | Row::Owed(_)
            | Row::OwedTail(_) => self.add_of_partition(key, row)?,
            Row::Cell(row) => {
                let cell = Cell { entry: numbers_of(key)?.0, version: row.version };
                self.state.cells.insert((row.table, row.key.clone()), cell);
                self.state.guards += usize::from(row.table == crate::Table::Guards);
            }
            Row::Claim(row) => self.state.restore_claim(numbers_of(key)?.0, row),
        }
        Some(())
    }

    fn add_of_partition(&mut self, key: &Key, row: &Row) -> Option<()> {
        let partitions = &mut self.partitions;
        match row {
            Row::Partition(row) => partitions.add(key, row),
            Row::PartitionEnds(ends) => partitions.add_ends(key, ends),
            Row::Place(row) => partitions.add_place(key, row),
            Row::RecordSeen(row) => partitions.add_seen(key, row, self.state.rules.dedup_ids_max),
            Row::Record(row) => partitions.add_record(key, row, self.state.seed, &mut self.garbage),
            Row::Kept(_) => partitions.add_kept(key),
            Row::Owed(row) => partitions.add_owed(key, row),
            Row::OwedTail(tail) => partitions.add_owed_tail(key, *tail),
            _ => None,
        }
    }

    fn add_session(&mut self, key: SessionKey, row: SessionRow) {
        self.by_generation.insert(row.generation, key.clone());
        let session = Session::new(row, true);
        self.state.families.insert(key, Family { session: Some(session), owed: Vec::new() });
    }

    fn add_ends(&mut self, generation: u64, ends: Ends) -> Option<()> {
        let kept = self.session(generation)?.kept_mut();
        kept.queue = Queue::after(ends.tail);
        kept.uses = ends.uses_reserved;
        kept.uses_reserved = ends.uses_reserved;
        Some(())
    }

    fn add_seen(&mut self, key: &Key, at: u64, id: MessageId) -> Option<()> {
        let (generation, place) = numbers_of(key)?;
        if key[0] == Kind::DelaySeen as u8 {
            self.delay_seen.push((at, id));
            return Some(());
        }
        let within = place < self.state.rules.dedup_ids_max as u64;
        self.session(generation).filter(|_| within)?;
        self.seen.entry(generation).or_default().push((at, id));
        Some(())
    }

    fn add_queued(&mut self, key: &Key, slot: Slot) -> Option<()> {
        let (generation, number) = numbers_of(key).filter(|(_, number)| *number > 0)?;
        self.session(generation)?.kept_mut().queue.restore(number, slot);
        let account = &mut self.state.account;
        account.restored += 1;
        account.queued_messages += 1;
        account.queued_bytes += slot.bytes();
        if let Slot::Waiting { body, .. } = slot
            && body != 0
        {
            *self.state.bodies.entry(body).or_default() += 1;
        }
        Some(())
    }

    fn session(&mut self, generation: u64) -> Option<&mut Session> {
        self.state.session_mut(self.by_generation.get(&generation)?)
    }
}

impl State {
    /// Takes over the sessions that have no rows from a state that this one replaces, and what came and
    /// went as far as it was answered.
    pub fn carry_over(&mut self, old: State, answered: Account) {
        let Account { queued_messages, queued_bytes, .. } = self.account;
        let Account { delayed_messages, delayed_bytes, retained_messages, retained_bytes, .. } = self.account;
        let Account { stream_records, stream_bytes, idempotency_keys, .. } = self.account;
        self.account = Account {
            queued_messages,
            queued_bytes,
            delayed_messages,
            delayed_bytes,
            retained_messages,
            retained_bytes,
            stream_records,
            stream_bytes,
            idempotency_keys,
            ..answered
        };
        self.counter = self.counter.max(old.counter);
        for (key, family) in old.families {
            if let Some(session) = family.session.as_ref().filter(|session| !session.recorded) {
                let queue = session.kept().map(|kept| &kept.queue);
                self.account.queued_messages += queue.map_or(0, Queue::messages);
                self.account.queued_bytes += queue.map_or(0, Queue::bytes);
                self.families.entry(key).or_insert(family);
            }
        }
    }

    /// Everything a node must know at start: sessions, groups, and what ended sessions still owe.
    pub fn restored(&self) -> impl Iterator<Item = Restored> + '_ {
        let sorted: BTreeMap<&SessionKey, &Family> = self.families.iter().collect();
        sorted.into_iter().map(|(key, family)| restored(key, family))
    }
}

pub(super) fn restored(key: &SessionKey, family: &Family) -> Restored {
    let outbox = family.owed.iter().map(Owed::entry).collect();
    let Some(session) = &family.session else {
        return Restored {
            key: key.clone(),
            fence: crate::Fence { generation: 0, fence: 0 },
            owner: None,
            persistent: false,
            subscriptions: Vec::new(),
            queue: crate::QueueEnds { head: 1, ..Default::default() },
            detached_at: Some(UnixMillis::default()),
            home: None,
            expiry_seconds: 0,
            has_will: false,
            will_delay_seconds: 0,
            outbox,
        };
    };
    let kept = session.kept();
    let empty = Queue::default();
    let is_group = key.kind == SessionKind::Group;
    let detached_at = session.detached.as_ref().map(|detached| detached.at);
    Restored {
        key: key.clone(),
        fence: session.fence(),
        owner: session.owner.clone(),
        persistent: session.persistent,
        subscriptions: kept
            .map(|kept| kept.subscriptions.iter().map(|(f, o)| (f.clone(), *o)).collect())
            .unwrap_or_default(),
        queue: kept.map_or(&empty, |kept| &kept.queue).ends(session.sent()),
        detached_at: if is_group { Some(UnixMillis::default()) } else { detached_at },
        home: (session.home != 0).then_some(session.home),
        expiry_seconds: session.expiry_seconds,
        has_will: session.will.is_some(),
        will_delay_seconds: session.will.as_ref().map_or(0, |will| will.delay_seconds),
        outbox,
    }
}
