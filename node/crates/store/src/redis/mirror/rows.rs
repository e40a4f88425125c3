//! The rows that are mirrored, sessions with their subscriptions, retained messages, tables, ends of partitions: handed to the node's mirror by a
//! load, by the streams of changes and by the answers to this node's own steps, never an older one after a newer one.

use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use metrics::counter;
use parking_lot::Mutex;
use redis::RedisError;
use tokio::sync::mpsc;
use weir_model::{Message, Position, Topic};

use super::{Ahead, Entry, EntryId};
use crate::redis::decode::{self, Change, DecodeError};
use crate::redis::layout::{Layout, row_of, session_id, session_of, topic_id, topic_of};
use crate::redis::servers::Connection;
use crate::redis::shard::Shard;
use crate::{Fence, Incarnation, Mark, Mirror, Restored, Rollback, SessionChange, SessionKey, SessionKind};

mod load;
mod partitions;
mod tables;

use tables::TableRows;

pub(in crate::redis) struct Rows {
    layout: Layout,
    /// Of this node, which knows its own sessions better than the store does.
    node: Incarnation,
    mirror: OnceLock<Arc<dyn Mirror>>,
    /// While everything is loaded for the first time, sessions go here instead.
    restoring: Mutex<Option<mpsc::Sender<Restored>>>,
    shards: Vec<Mutex<ShardRows>>,
}

/// What is known of one shard.
#[derive(Default)]
struct ShardRows {
    /// The first part of the positions in this shard; 0 = not known (yet).
    epoch: u64,
    ahead: Ahead,
    /// By the text that names it, what was handed on and not taken back: for a load to see what is no more. The number
    /// of a session is its generation, of a retained message the milliseconds of its position.
    known: HashMap<Box<str>, u64>,
    tables: TableRows,
    /// By the text that names it, how far a partition has come, as was handed on; `None` = an answer said that it is
    /// gone, and the stream has yet to.
    tails: HashMap<Box<str>, Option<Mark>>,
}

/// The entry cannot be handed on before its shard has been loaded again.
pub(super) struct MustLoad;

/// A retained message, or that there is none.
struct Retained<'a> {
    realm: &'a Arc<str>,
    topic: &'a Topic,
    position: Position,
    message: Option<&'a Arc<Message>>,
}

impl Rows {
    pub fn new(layout: Layout, node: Incarnation) -> Rows {
        let shards = layout.all().map(|_| Mutex::default()).collect();
        Rows { layout, node, mirror: OnceLock::new(), restoring: Mutex::default(), shards }
    }

    /// From now on this mirror is told; sessions of the first load go to `restoring` until [`Rows::restored`]. To be
    /// called once.
    pub(super) fn restore(&self, mirror: Arc<dyn Mirror>, restoring: mpsc::Sender<Restored>) {
        *self.restoring.lock() = Some(restoring);
        // A second mirror hears nothing.
        let _ = self.mirror.set(mirror);
    }

    pub(super) fn is_restoring(&self) -> bool {
        self.restoring.lock().is_some()
    }

    /// The first load is over.
    pub(super) fn restored(&self) {
        *self.restoring.lock() = None;
    }

    /// A step of this node was answered that a topic's retained message is now this, or gone; to be called before the
    /// step's caller hears of it.
    pub fn retained(
        &self,
        realm: &Arc<str>,
        topic: &Topic,
        position: Position,
        message: Option<&Arc<Message>>,
    ) {
        let name = topic_id(realm, topic);
        let mut rows = self.shards[self.layout.index(self.layout.of_topic(&name))].lock();
        if rows.ahead.note(&name, entry_id(position)) {
            self.hand_on_retained(&mut rows, &name, &Retained { realm, topic, position, message });
        }
    }

    /// The store went back.
    pub fn rolled_back(&self, rollback: &Rollback) {
        if let Some(mirror) = self.mirror.get() {
            mirror.rolled_back(rollback);
        }
    }

    /// Hands on one entry of the shard's stream.
    pub(super) fn apply(&self, shard: Shard, entry: &Entry) -> Result<(), MustLoad> {
        let mut rows = self.shards[self.layout.index(shard)].lock();
        if rows.epoch == 0 && matches!(shard, Shard::Topic(_)) {
            return Err(MustLoad);
        }
        match decode::change(rows.epoch, entry) {
            Ok(Change::Raised) => {
                rows.tables.forget_ahead();
                return Err(MustLoad);
            }
            Ok(Change::Table(row)) => self.hear_table(&mut rows, row),
            Ok(Change::Appended { key, tail, seals }) => self.hear_tail(&mut rows, &key, tail, seals),
            Ok(Change::Dropped { key }) => self.hear_end(&mut rows, &key),
            Ok(Change::Session { key, change }) => self.hand_on_session(&mut rows, &key, change),
            Ok(Change::Retained { realm, topic, position, message }) => {
                let name = topic_id(&realm, &topic);
                if rows.ahead.is_news(&name, entry.id) {
                    let retained =
                        Retained { realm: &realm, topic: &topic, position, message: message.as_ref() };
                    self.hand_on_retained(&mut rows, &name, &retained);
                }
            }
            Err(error) => unreadable(shard, &error),
        }
        Ok(())
    }

    fn hand_on_session(&self, rows: &mut ShardRows, key: &SessionKey, change: SessionChange) {
        match &change {
            SessionChange::Opened { fence, .. } => {
                rows.known.insert(session_id(key).into(), fence.generation);
            }
            SessionChange::Ended { generation } => {
                let name = session_id(key);
                if rows.known.get(&*name) == Some(generation) {
                    rows.known.remove(&*name);
                }
            }
            _ => {}
        }
        if let Some(mirror) = self.mirror.get() {
            mirror.session(key, change);
        }
    }

    fn hand_on_retained(&self, rows: &mut ShardRows, name: &str, retained: &Retained) {
        let Retained { realm, topic, position, message } = retained;
        match rows.known.get_mut(name) {
            _ if message.is_none() => drop(rows.known.remove(name)),
            Some(written) => *written = position.ms,
            None => drop(rows.known.insert(name.into(), position.ms)),
        }
        if let Some(mirror) = self.mirror.get() {
            mirror.retained(realm, topic, *position, *message);
        }
    }
}

impl ShardRows {
    /// A load begins: what is known of changes up to the tail will not be told again.
    fn begin(&mut self, epoch: u64, tail: EntryId) {
        self.epoch = epoch;
        self.ahead.reached(tail);
    }
}

fn entry_id(position: Position) -> EntryId {
    EntryId { ms: position.ms, seq: position.seq }
}

fn unreadable(shard: Shard, error: &DecodeError) {
    counter!("weir_store_redis_unreadable_total").increment(1);
    tracing::error!(%shard, %error, "a row or change in Redis cannot be read: left out");
}
