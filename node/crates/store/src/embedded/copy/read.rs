//! Rows of an embedded store, in the order of their keys, as rows of a copy.

use std::collections::{BTreeMap, HashMap};

use weir_model::{Filter, MessageId, Topic, UnixMillis};

use crate::copy::{ClaimCopy, CopyError, CopyRow, Pages, QueueCopy, SessionCopy, Sink};
use crate::row::{ClaimRow, Key, Kind, Row, SessionRow, numbers_of, retained_of, session_of, text_of};
use crate::{Detach, Fence, OutboxEntry, RowState, SessionKey, SessionKind, Table};

mod stream;

use stream::Partitions;

/// Rows that lie under the id of a partition, beside its records.
const OF_PARTITIONS: [Kind; 7] = [
    Kind::Partition,
    Kind::PartitionEnds,
    Kind::Place,
    Kind::RecordSeen,
    Kind::Kept,
    Kind::Owed,
    Kind::OwedTail,
];

/// Gathers what belongs to one session: its rows lie apart, all before those of queues; and what says where a partition
/// begins and ends. Rows that belong to nothing are left out, as they are when a node starts.
pub(super) struct Reader<'a> {
    tails: &'a HashMap<u64, u64>,
    pages: Pages<'a>,
    epoch: u64,
    /// By generation.
    sessions: BTreeMap<u64, Gathered>,
    /// Those that were handed on.
    names: HashMap<u64, SessionKey>,
    /// By when they came.
    delay_seen: Vec<(u64, MessageId)>,
    partitions: Partitions,
}

struct Gathered {
    session: SessionCopy,
    /// By when they came.
    seen: Vec<(u64, MessageId)>,
}

impl<'a> Reader<'a> {
    pub fn new(tails: &'a HashMap<u64, u64>, sink: Sink<'a>) -> Reader<'a> {
        Reader {
            tails,
            pages: Pages::new(sink),
            epoch: 0,
            sessions: BTreeMap::new(),
            names: HashMap::new(),
            delay_seen: Vec::new(),
            partitions: Partitions::default(),
        }
    }

    pub fn add(&mut self, key: &Key, row: &Row) -> Result<(), CopyError> {
        if key.first().is_some_and(|kind| *kind >= Kind::Body as u8) {
            self.hand_on_sessions()?;
        }
        let numbers = numbers_of(key).unwrap_or_default();
        match row {
            Row::Applied(_) | Row::Body(_) => {}
            Row::Meta(meta) => self.epoch = meta.epoch,
            Row::Session(row) => self.add_session(key, row),
            Row::Subscription(_) | Row::Ends(_) | Row::Received(_) => self.add_to_session(key, row),
            Row::Seen(seen) if key[0] == Kind::DelaySeen as u8 => self.delay_seen.push((seen.at, seen.id)),
            Row::Seen(seen) => {
                if let Some(gathered) = self.sessions.get_mut(&numbers.0) {
                    gathered.seen.push((seen.at, seen.id));
                }
            }
            Row::Waiting { delivery, body } => {
                return self.add_queued(numbers, RowState::Waiting(delivery.clone()), *body);
            }
            Row::Released => return self.add_queued(numbers, RowState::Released, 0),
            Row::Outbox(row) => {
                let (id, message, owner) = (row.id, row.message.clone(), row.owner.clone());
                let entry = OutboxEntry { entry: numbers.0, id, message, owner };
                let (key, generation) = (row.key.clone(), row.generation);
                return self.pages.add(CopyRow::Owed { key, generation, entry });
            }
            Row::Delayed { realm, message, epoch } => {
                let (due, entry) = numbers;
                let id = MessageId::outbox(epoch.unwrap_or(self.epoch), entry);
                let entry = OutboxEntry { entry, id, message: message.clone(), owner: None };
                let (realm, due) = (realm.clone(), UnixMillis(due));
                return self.pages.add(CopyRow::Delayed { realm, due, entry });
            }
            Row::Retained { position, message } => {
                let Some((realm, topic)) = retained_of(key) else { return Ok(()) };
                let Ok(topic) = Topic::new(topic) else { return Ok(()) };
                let (realm, position, message) = (realm.into(), *position, message.clone());
                return self.pages.add(CopyRow::Retained { realm, topic, position, message });
            }
            Row::Partition(_)
            | Row::PartitionEnds(_)
            | Row::Place(_)
            | Row::RecordSeen(_)
            | Row::Record(_)
            | Row::Kept(_)
            | Row::Owed(_)
            | Row::OwedTail(_) => return self.partitions.add(key, row, &mut self.pages),
            Row::Cell(row) if row.table == Table::Members => {}
            Row::Cell(row) => {
                self.partitions.hand_on(&mut self.pages)?;
                return self.pages.add(CopyRow::Table((&**row).into()));
            }
            Row::Claim(row) => {
                self.partitions.hand_on(&mut self.pages)?;
                return self.pages.add(CopyRow::Claim(Box::new(claim_copy(row))));
            }
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<(), CopyError> {
        self.hand_on_sessions()?;
        self.partitions.hand_on(&mut self.pages)?;
        if !self.delay_seen.is_empty() {
            self.delay_seen.sort_unstable();
            let ids = self.delay_seen.iter().map(|(_, id)| *id).collect();
            self.pages.add(CopyRow::DelaySeen(ids))?;
        }
        self.pages.finish()
    }

    /// What a row is, for who has to find it.
    pub fn describe(&self, key: &Key) -> String {
        let (id, number) = numbers_of(key).unwrap_or_default();
        let known = |id: u64| {
            let gathered = self.sessions.get(&id).map(|gathered| &gathered.session.key);
            match gathered.or_else(|| self.names.get(&id)) {
                Some(key) => format!("`{}` in realm `{}`", key.name, key.realm),
                None => format!("generation {id}"),
            }
        };
        let is = |kind: Kind| key.first() == Some(&(kind as u8));
        if is(Kind::Queue) {
            format!("row {number} in the queue of {}", known(id))
        } else if let Some(session) = session_of(key).filter(|_| is(Kind::Session)) {
            format!("the session `{}` in realm `{}`", session.name, session.realm)
        } else if let Some((realm, topic)) = retained_of(key).filter(|_| is(Kind::Retained)) {
            format!("what is retained for `{topic}` in realm `{realm}`")
        } else if is(Kind::Delayed) {
            format!("delayed message {number}")
        } else if is(Kind::Outbox) || is(Kind::Body) {
            format!("entry {id}")
        } else if [Kind::Subscription, Kind::Ends, Kind::Received, Kind::Seen].into_iter().any(is) {
            format!("a row of {}", known(id))
        } else if is(Kind::Record) {
            format!("record {number} of {}", self.partitions.describe(id))
        } else if OF_PARTITIONS.into_iter().any(is) {
            format!("a row of {}", self.partitions.describe(id))
        } else if is(Kind::Cell) {
            format!("row {id} of the tables")
        } else if is(Kind::Claim) {
            format!("idempotency key {id}")
        } else {
            format!("a row of kind {}", key.first().copied().unwrap_or_default())
        }
    }

    fn add_session(&mut self, key: &Key, row: &SessionRow) {
        let Some(key) = session_of(key) else { return };
        let SessionRow { generation, fence, owner, persistent, expiry_seconds, will, detached } = row.clone();
        let left = detached.filter(|_| key.kind == SessionKind::Client).map(|detached| Detach {
            at: detached.at,
            sent: detached.sent,
            expires_at: detached.expires_at,
            will_at: detached.will_at,
        });
        let session = SessionCopy {
            key,
            fence: Fence { generation, fence },
            owner,
            persistent,
            expiry_seconds,
            will,
            left,
            tail: self.tails.get(&generation).copied().unwrap_or(0),
            uses: 0,
            subscriptions: Vec::new(),
            received: Vec::new(),
            seen: Vec::new(),
        };
        self.sessions.insert(generation, Gathered { session, seen: Vec::new() });
    }

    fn add_to_session(&mut self, key: &Key, row: &Row) {
        let Some((generation, number)) = numbers_of(&key[..key.len().min(17)]) else { return };
        let Some(Gathered { session, .. }) = self.sessions.get_mut(&generation) else { return };
        match row {
            Row::Subscription(options) => {
                let filter = text_of(key).and_then(|text| Filter::new(text).ok());
                session.subscriptions.extend(filter.map(|filter| (filter, *options)));
            }
            Row::Ends(ends) => {
                session.tail = session.tail.max(ends.tail);
                session.uses = session.uses.max(ends.uses_reserved);
            }
            Row::Received(count) => {
                session.received.extend(u16::try_from(number).ok().map(|packet_id| (packet_id, *count)));
                session.uses = session.uses.max(*count);
            }
            _ => {}
        }
    }

    fn add_queued(
        &mut self,
        (generation, number): (u64, u64),
        state: RowState,
        body: u64,
    ) -> Result<(), CopyError> {
        let Some(key) = self.names.get(&generation).filter(|_| number > 0) else { return Ok(()) };
        self.pages.add_queued(key, generation, QueueCopy { number, state, body })
    }

    fn hand_on_sessions(&mut self) -> Result<(), CopyError> {
        for (generation, Gathered { mut session, mut seen }) in std::mem::take(&mut self.sessions) {
            seen.sort_unstable();
            session.seen = seen.into_iter().map(|(_, id)| id).collect();
            self.names.insert(generation, session.key.clone());
            self.pages.add(CopyRow::Session(Box::new(session)))?;
        }
        Ok(())
    }
}

fn claim_copy(row: &ClaimRow) -> ClaimCopy {
    let ClaimRow { realm, topic, key, id, position, until, settled } = row.clone();
    ClaimCopy { realm, topic, key, id, position, until, settled }
}
