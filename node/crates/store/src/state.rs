//! The state machine of a store: every rule of the contract, in code without IO or clock.
//!
//! [`State::apply`] decides one step and says what is to be written; the backends carry the writes
//! out. It holds everything but messages in queues and retained ones, so no decision reads a table.
//! When writes could not be carried out, the state is loaded anew from the tables.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;

use smallvec::SmallVec;
use weir_model::{Message, Position, Topic, UnixMillis};

use crate::account::{Account, RetainedSizes};
use crate::clock::Times;
use crate::config::{Config, QueueFull};
use crate::row::{Change, Key, Kind, Meta, Row, Write, id_key, kind_key, session_key};
use crate::{
    Fence, Incarnation, Mark, Mirror, Outcome, PartitionKey, Refusal, SessionChange, SessionKey, SessionKind,
    SessionOp, Step, Table, TableRow,
};

mod cell;
mod check;
mod claim;
mod effects;
mod enqueue;
mod guard;
mod load;
mod nodes;
mod open;
mod partition;
mod place;
mod queue;
mod runs;
mod session;
mod stream;
mod timers;
mod topic;
mod window;

use cell::Cell;
use claim::{Claims, Scoped};
pub(crate) use load::Loader;
use nodes::Nodes;
pub(crate) use partition::LetGo;
use partition::Partition;
use queue::Slot;
use session::{Family, Session};
pub(crate) use timers::Timer;
use timers::Timers;
use window::Window;

/// Numbers reserved by one write of the meta row, and packet id uses by one of a session's ends.
const RESERVE: u64 = 4096;
const USES_RESERVE: u64 = 1024;

/// Share groups kept although empty, so that a lively one is not made and forgotten per message.
const IDLE_GROUPS_MAX: usize = 1024;

/// The part of the config that decides.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub queue_messages_max: u64,
    pub queue_bytes_max: u64,
    pub queue_full: QueueFull,
    pub queued_messages_total_max: u64,
    pub queued_bytes_total_max: u64,
    pub retained_messages_max: u64,
    pub retained_bytes_max: u64,
    pub inline_fanout_max: usize,
    pub dedup_ids_max: usize,
    pub delay_ids_max: usize,
    pub idempotency_keys_max: usize,
}

impl From<&Config> for Rules {
    fn from(config: &Config) -> Rules {
        let or_none = |limit: u64| if limit == 0 { u64::MAX } else { limit };
        Rules {
            queue_messages_max: config.queue_messages_max.max(1),
            queue_bytes_max: config.queue_bytes_max,
            queue_full: config.queue_full,
            queued_messages_total_max: or_none(config.queued_messages_total_max),
            queued_bytes_total_max: or_none(config.queued_bytes_total_max),
            retained_messages_max: or_none(config.retained_messages_max),
            retained_bytes_max: or_none(config.retained_bytes_max),
            inline_fanout_max: config.inline_fanout_max,
            dedup_ids_max: config.dedup_ids_max.max(1),
            delay_ids_max: config.delay_ids_max.max(1),
            idempotency_keys_max: config.idempotency_keys_max.max(1),
        }
    }
}

/// The outcomes of one step's ops.
pub(crate) type Outcomes = SmallVec<[Outcome; 1]>;

/// What is to be done because of the steps applied.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub writes: Vec<Write>,
    pub retained: Vec<RetainedChange>,
    pub tables: Vec<TableRow>,
    /// Partitions that were touched, with their newest record; `None` = gone.
    pub appended: Vec<(PartitionKey, Option<Mark>)>,
    /// Only of a state that nodes share.
    pub sessions: Vec<(SessionKey, SessionChange)>,
}

/// What the mirror hears.
#[derive(Debug, Clone)]
pub(crate) struct RetainedChange {
    pub realm: Arc<str>,
    pub topic: Topic,
    pub position: Position,
    pub message: Option<Arc<Message>>,
}

impl Effects {
    pub fn put(&mut self, key: Key, row: Row) {
        self.writes.push(Write { key, change: Change::Put(row) });
    }

    /// Whether a mirror has anything to hear.
    pub fn is_heard(&self) -> bool {
        !(self.retained.is_empty() && self.tables.is_empty() && self.appended.is_empty())
    }

    /// Lets the mirror of a store that is not shared hear.
    pub fn tell(self, mirror: &dyn Mirror) {
        for RetainedChange { realm, topic, position, message } in &self.retained {
            mirror.retained(realm, topic, *position, message.as_ref());
        }
        self.tables.into_iter().for_each(|row| mirror.table(row));
        self.appended.iter().for_each(|(key, tail)| mirror.appended(key, *tail));
    }

    /// Writes a row under a key that never had one.
    pub fn fresh(&mut self, key: Key, row: Row) {
        self.writes.push(Write { key, change: Change::Fresh(row) });
    }

    pub fn delete(&mut self, key: Key) {
        self.writes.push(Write { key, change: Change::Delete });
    }
}

/// What holds for all steps of one submit.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Never goes back: what positions are made of.
    pub now: UnixMillis,
    /// What the wall clock says, to which expiries are compared: it may be set back or forth.
    pub wall: UnixMillis,
    /// Whether steps that grow the store are let through (disk space).
    pub may_grow: bool,
    /// Which node submits; 0 in a store that is not shared.
    pub node: Incarnation,
    pub is_shared: bool,
    /// The nodes whose lease stands.
    pub standing: SmallVec<[Incarnation; 4]>,
    /// A retained message of this submit was refused: so is every copy that follows.
    refused: Option<Refusal>,
    /// Messages with more copies than are stored in the rows, and the body they got.
    bodies: HashMap<*const Message, u64>,
}

impl Batch {
    pub fn new(steps: &[Step], times: Times, may_grow: bool, inline_fanout_max: usize) -> Batch {
        let mut bodies = HashMap::new();
        if steps.len() > inline_fanout_max {
            let mut copies: HashMap<*const Message, usize> = HashMap::new();
            for message in steps.iter().flat_map(enqueued) {
                *copies.entry(Arc::as_ptr(message)).or_default() += 1;
            }
            bodies =
                copies.into_iter().filter(|(_, n)| *n > inline_fanout_max).map(|(m, _)| (m, 0)).collect();
        }
        Batch {
            now: times.now,
            wall: times.wall,
            may_grow,
            node: 0,
            is_shared: false,
            standing: SmallVec::new(),
            refused: None,
            bodies,
        }
    }
}

fn enqueued(step: &Step) -> impl Iterator<Item = &Arc<Message>> {
    let ops = match step {
        Step::Session { ops, .. } => ops.as_slice(),
        Step::Topic { .. } | Step::Partition { .. } | Step::Table { .. } => &[],
    };
    ops.iter().filter_map(|op| match op {
        SessionOp::Enqueue(enqueue) => Some(&enqueue.delivery.message),
        _ => None,
    })
}

#[derive(Debug)]
pub(crate) struct State {
    rules: Rules,
    meta: Meta,
    meta_changed: bool,
    /// The newest generation, fence or entry given.
    counter: u64,
    /// The newest position given.
    position: Position,
    families: hashbrown::HashMap<SessionKey, Family>,
    /// How many rows refer to each shared body.
    bodies: HashMap<u64, u32>,
    account: Account,
    retained: RetainedSizes,
    timers: Timers,
    delay_seen: Window,
    partitions: hashbrown::HashMap<PartitionKey, Box<Partition>>,
    /// Partitions of which rows are to be written with this group commit.
    changed_partitions: Vec<PartitionKey>,
    cells: hashbrown::HashMap<(Table, Arc<str>), Cell>,
    /// How many rows of [`Table::Guards`] there are.
    guards: usize,
    claims: Claims,
    /// What hashes of clients' keys begin with.
    seed: u64,
    /// Sessions whose row of ends is to be written with this group commit.
    changed: Vec<SessionKey>,
    /// Share groups that became empty, longest ago first; bounded by [`IDLE_GROUPS_MAX`].
    idle_groups: VecDeque<SessionKey>,
    /// Of a store that several nodes work on.
    nodes: Option<Nodes>,
}

impl State {
    /// The state of a store that has just been made.
    pub fn new(rules: Rules, epoch: u64) -> State {
        let meta = Meta { epoch, reserved: 0, group_base: 0 };
        State {
            rules,
            meta,
            meta_changed: true,
            counter: 0,
            position: Position { epoch, ..Position::default() },
            families: hashbrown::HashMap::new(),
            bodies: HashMap::new(),
            account: Account::default(),
            retained: RetainedSizes::default(),
            timers: Timers::default(),
            delay_seen: Window::default(),
            partitions: hashbrown::HashMap::new(),
            changed_partitions: Vec::new(),
            cells: hashbrown::HashMap::new(),
            guards: 0,
            claims: Claims::default(),
            seed: RandomState::new().hash_one(0u8),
            changed: Vec::new(),
            idle_groups: VecDeque::new(),
            nodes: None,
        }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub fn account(&self) -> Account {
        self.account
    }

    /// Decides one step. Refused steps leave nothing behind.
    pub fn apply(&mut self, step: Step, batch: &mut Batch, out: &mut Effects) -> Result<Outcomes, Refusal> {
        match step {
            Step::Topic { realm, topic, op } => {
                let outcome = self.apply_topic(realm, topic, op, batch, out);
                let outcome = outcome.inspect_err(|refusal| batch.refused = Some(*refusal))?;
                Ok(SmallVec::from_iter([outcome]))
            }
            Step::Session { key, ops } => {
                self.check(&key, &ops, batch)?;
                let outcomes = ops.into_iter().map(|op| self.apply_session(&key, op, batch, out)).collect();
                self.forget_family_if_empty(&key);
                Ok(outcomes)
            }
            Step::Partition { key, ops } => self.apply_partition(&key, ops, batch, out),
            Step::Table { table, key, op } => {
                Ok(SmallVec::from_iter([self.apply_table(table, key, op, batch, out)?]))
            }
        }
    }

    /// Writes what was put off to once per group commit. Call it after the last step of a group.
    pub fn settle(&mut self, out: &mut Effects) {
        self.forget_idle_groups(out);
        for key in std::mem::take(&mut self.changed) {
            let Some(session) = self.session_mut(&key) else { continue };
            let (generation, recorded) = (session.generation, session.recorded);
            let kept = session.kept_mut();
            if std::mem::take(&mut kept.ends_changed) && recorded {
                let ends = crate::row::Ends { tail: kept.queue.tail(), uses_reserved: kept.uses_reserved };
                out.put(id_key(Kind::Ends, generation), Row::Ends(ends));
            }
        }
        self.settle_partitions(out);
        if std::mem::take(&mut self.meta_changed) {
            out.put(kind_key(Kind::Meta), Row::Meta(self.meta));
        }
    }

    /// What is due by `now`, oldest first, with what the session is now.
    pub fn due(&self, now: UnixMillis, max: usize) -> Vec<(UnixMillis, Timer, Option<Fence>)> {
        self.all_due(now).take(max).collect()
    }

    pub fn all_due(&self, now: UnixMillis) -> impl Iterator<Item = (UnixMillis, Timer, Option<Fence>)> {
        let fence = |key: &SessionKey| Some(self.session(key)?.fence());
        self.timers.due(now).map(move |(at, timer)| match timer {
            Timer::Will(key) | Timer::Expiry(key) => (at, timer.clone(), fence(key)),
            Timer::Delayed(_) => (at, timer.clone(), None),
        })
    }

    fn apply_session(
        &mut self,
        key: &SessionKey,
        op: SessionOp,
        batch: &mut Batch,
        out: &mut Effects,
    ) -> Outcome {
        match op {
            SessionOp::Open(open) => self.open(key, open, batch, out),
            SessionOp::Enqueue(enqueue) => self.enqueue(key, enqueue, batch, out),
            SessionOp::Subscribe { filter, options, .. } => self.subscribe(key, filter, Some(options), out),
            SessionOp::Unsubscribe { filter, .. } => self.subscribe(key, filter, None, out),
            SessionOp::Ack { number, .. } | SessionOp::GroupAck { number } => self.ack(key, number, out),
            SessionOp::Pubrec { number, .. } => self.pubrec(key, number, out),
            SessionOp::Receive { packet_id, .. } => self.receive(key, packet_id, out),
            SessionOp::Release { packet_id, .. } => self.release(key, packet_id, out),
            SessionOp::Renew { owner, .. } => self.renew(key, owner, out),
            SessionOp::ClearWill { .. } => self.clear_will(key, out),
            SessionOp::Detach { detach, .. } => self.detach(key, detach, out),
            SessionOp::FireWill { generation, fence } => {
                Outcome::Fired(self.fire_will(key, generation, fence, batch, out))
            }
            SessionOp::OutboxDone { entry } => self.outbox_done(key, entry, out),
            SessionOp::End { generation, .. } => self.end(key, generation, out),
        }
    }

    /// Under which number the rows of a session lie.
    pub fn generation(&self, key: &SessionKey) -> Option<u64> {
        Some(self.session(key)?.generation)
    }

    fn session(&self, key: &SessionKey) -> Option<&Session> {
        self.families.get(key)?.session.as_ref()
    }

    fn session_mut(&mut self, key: &SessionKey) -> Option<&mut Session> {
        self.families.get_mut(key)?.session.as_mut()
    }

    /// The next generation, fence or entry: never given before in this store.
    fn next_number(&mut self) -> u64 {
        self.counter += 1;
        if self.counter >= self.meta.reserved {
            self.meta.reserved = self.counter + RESERVE;
            self.meta_changed = true;
        }
        self.counter
    }

    fn write_session(&mut self, key: &SessionKey, out: &mut Effects) {
        if let Some(session) = self.session(key).filter(|session| session.recorded) {
            out.put(session_key(key), Row::Session(Box::new(session.row())));
        }
    }

    fn note_ends(&mut self, key: &SessionKey) {
        let Some(session) = self.session_mut(key) else { return };
        if !std::mem::replace(&mut session.kept_mut().ends_changed, true) {
            self.changed.push(key.clone());
        }
    }

    /// One row less refers to a body; the last one takes the body along.
    fn drop_reference(&mut self, slot: Slot, out: &mut Effects) {
        let Slot::Waiting { body, .. } = slot else { return };
        if body == 0 {
            return;
        }
        if let Some(references) = self.bodies.get_mut(&body) {
            *references -= 1;
            if *references == 0 {
                self.bodies.remove(&body);
                out.delete(id_key(Kind::Body, body));
            }
        }
    }

    fn forget_family_if_empty(&mut self, key: &SessionKey) {
        if self.families.get(key).is_some_and(|family| family.session.is_none() && family.owed.is_empty()) {
            self.families.remove(key);
        }
    }

    /// Puts an empty share group into the line of those that may be forgotten.
    fn note_if_idle(&mut self, key: &SessionKey) {
        if key.kind != SessionKind::Group {
            return;
        }
        let Some(session) = self.session_mut(key) else { return };
        let kept = session.kept_mut();
        if kept.queue.is_empty() && !std::mem::replace(&mut kept.idle, true) {
            self.idle_groups.push_back(key.clone());
        }
    }

    /// Forgets share groups that are empty when many others became empty after them.
    fn forget_idle_groups(&mut self, out: &mut Effects) {
        while self.idle_groups.len() > IDLE_GROUPS_MAX {
            let Some(oldest) = self.idle_groups.pop_front() else { return };
            let Some(session) = self.session_mut(&oldest) else { continue };
            let (generation, kept) = (session.generation, session.kept_mut());
            kept.idle = false;
            if kept.queue.is_empty() {
                self.end(&oldest, generation, out);
                self.forget_family_if_empty(&oldest);
            }
        }
    }
}
