//! A session as the writer sees it: all but its messages, small while it keeps nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_model::{Filter, Message, MessageId, UnixMillis};

use super::queue::Queue;
use super::window::Window;
use crate::row::{Detached, SessionRow};
use crate::{Fence, Incarnation, OutboxEntry, Owner, SubscriptionOptions, Will};

/// What stands under one [`crate::SessionKey`]: the living session, and what ended ones still owe.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub session: Option<Session>,
    pub owed: Vec<Owed>,
}

/// A will that was moved to the outbox.
#[derive(Debug, Clone)]
pub(crate) struct Owed {
    pub entry: u64,
    pub generation: u64,
    pub id: MessageId,
    pub message: Arc<Message>,
    pub owner: Option<Arc<Owner>>,
}

impl Owed {
    pub fn entry(&self) -> OutboxEntry {
        let Owed { entry, id, message, owner, .. } = self;
        OutboxEntry { entry: *entry, id: *id, message: message.clone(), owner: owner.clone() }
    }
}

#[derive(Debug)]
pub(crate) struct Session {
    pub generation: u64,
    pub fence: u64,
    pub owner: Option<Arc<Owner>>,
    pub persistent: bool,
    pub expiry_seconds: u32,
    /// Whether its rows are written. One that is neither persistent nor has a will lives here only.
    pub recorded: bool,
    pub will: Option<Box<Will>>,
    pub detached: Option<Box<Detached>>,
    /// The node whose connection has it; 0 = detached, or the store is not shared.
    pub home: Incarnation,
    kept: Option<Box<Kept>>,
}

/// What most sessions that end with their connection never have.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub subscriptions: BTreeMap<Filter, SubscriptionOptions>,
    pub queue: Queue,
    /// Packet ids of QoS 2 messages taken over and not yet released, with the use they stand for.
    pub received: BTreeMap<u16, u64>,
    pub uses: u64,
    pub uses_reserved: u64,
    pub seen: Window,
    /// The row of the ends is to be written with this group commit.
    pub ends_changed: bool,
    /// An empty share group that stands in the line of those to be forgotten.
    pub idle: bool,
}

impl Session {
    pub fn new(row: SessionRow, recorded: bool) -> Session {
        Session {
            generation: row.generation,
            fence: row.fence,
            owner: row.owner,
            persistent: row.persistent,
            expiry_seconds: row.expiry_seconds,
            recorded,
            will: row.will.map(Box::new),
            detached: row.detached.map(Box::new),
            home: 0,
            kept: None,
        }
    }

    pub fn row(&self) -> SessionRow {
        SessionRow {
            generation: self.generation,
            fence: self.fence,
            owner: self.owner.clone(),
            persistent: self.persistent,
            expiry_seconds: self.expiry_seconds,
            will: self.will.as_deref().cloned(),
            detached: self.detached.as_deref().copied(),
        }
    }

    pub fn fence(&self) -> Fence {
        Fence { generation: self.generation, fence: self.fence }
    }

    pub fn kept(&self) -> Option<&Kept> {
        self.kept.as_deref()
    }

    pub fn kept_mut(&mut self) -> &mut Kept {
        self.kept.get_or_insert_default()
    }

    pub fn take_kept(&mut self) -> Option<Box<Kept>> {
        self.kept.take()
    }

    /// Rows up to here may have been sent: what the last detach said, else everything.
    pub fn sent(&self) -> u64 {
        let tail = self.kept().map_or(0, |kept| kept.queue.tail());
        self.detached.as_ref().map_or(tail, |detached| detached.sent.min(tail))
    }

    pub fn has_expired(&self, now: UnixMillis) -> bool {
        self.detached.as_ref().and_then(|d| d.expires_at).is_some_and(|at| at <= now)
    }

    /// Whether its will is already late when a new connection takes the session: the will's delay is
    /// over, or it has none (MQTT-3.1.3.2.2).
    pub fn will_is_due(&self, now: UnixMillis) -> bool {
        match (&self.will, &self.detached) {
            (None, _) => false,
            (Some(will), None) => will.delay_seconds == 0,
            (Some(_), Some(detached)) => detached.will_at.is_some_and(|at| at <= now),
        }
    }
}
