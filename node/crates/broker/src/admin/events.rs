//! What happens to sessions and nodes, for whoever watches; nothing is made while nobody does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::broker::Broker;
use crate::clock;
use crate::ledger::drops::Dropped;

/// Events that wait for the slowest watcher; beyond, it misses the oldest and is told how many.
const WAITING_MAX: usize = 1024;

/// One event and when it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub kind: EventKind,
}

/// What happened. It travels between nodes: new kinds come last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// A connection was given a session.
    Connected {
        realm: Arc<str>,
        client_id: Arc<str>,
    },
    /// A connection has its session no more.
    Disconnected {
        realm: Arc<str>,
        client_id: Arc<str>,
    },
    /// An administrator ended a connection.
    Kicked {
        realm: Arc<str>,
        client_id: Arc<str>,
        reason: Arc<str>,
    },
    /// An administrator ended a session.
    Deleted {
        realm: Arc<str>,
        client_id: Arc<str>,
        reason: Arc<str>,
    },
    /// The node sends its clients away.
    Draining,
    MemberJoined {
        node: Arc<str>,
    },
    MemberLeft {
        node: Arc<str>,
    },
    /// The shared store has forgotten what it had acknowledged.
    RolledBack,
    /// Copies were lost; gathered.
    Dropped(Lost),
}

/// Copies lost for one reason, by one client as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// As in metrics.
    pub reason: Arc<str>,
    pub count: u64,
    pub client: Option<Arc<str>>,
    /// The topic of one of them, or of what took their place.
    pub topic: Option<Box<str>>,
}

impl From<&Dropped> for Lost {
    fn from(dropped: &Dropped) -> Lost {
        let Dropped { reason, count, client, topic } = dropped.clone();
        Lost { reason: reason.into(), count, client, topic }
    }
}

impl EventKind {
    /// The client it is about, if it is about one.
    pub(super) fn client(&self) -> Option<&str> {
        match self {
            EventKind::Connected { client_id, .. }
            | EventKind::Disconnected { client_id, .. }
            | EventKind::Kicked { client_id, .. }
            | EventKind::Deleted { client_id, .. } => Some(client_id),
            EventKind::Dropped(lost) => lost.client.as_deref(),
            EventKind::Draining
            | EventKind::MemberJoined { .. }
            | EventKind::MemberLeft { .. }
            | EventKind::RolledBack => None,
        }
    }
}

/// Where events go.
pub struct Events {
    sender: broadcast::Sender<Event>,
    watchers: AtomicUsize,
    watchers_of_drops: AtomicUsize,
}

/// One who watches, until it is dropped.
pub struct Watcher {
    receiver: broadcast::Receiver<Event>,
    broker: Broker,
    drops: bool,
}

/// What a watcher hears next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Event(Event),
    /// It was too slow for so many.
    Missed(u64),
    /// Of another node: it tells nothing.
    Unheard,
}

impl Default for Events {
    fn default() -> Events {
        let (sender, _) = broadcast::channel(WAITING_MAX);
        Events { sender, watchers: AtomicUsize::new(0), watchers_of_drops: AtomicUsize::new(0) }
    }
}

impl Events {
    /// Tells what happened, if anybody watches.
    pub fn tell(&self, kind: impl FnOnce() -> EventKind) {
        if self.watchers.load(Ordering::Relaxed) > 0 {
            // Fails when the last watcher has just gone.
            let _ = self.sender.send(Event { at_ms: clock::unix().0, kind: kind() });
        }
    }

    /// Whether somebody wants to hear of losses.
    pub(crate) fn wants_drops(&self) -> bool {
        self.watchers_of_drops.load(Ordering::Relaxed) > 0
    }
}

impl Broker {
    /// Watches from now on; with `drops`, losses are gathered for it.
    #[must_use]
    pub fn watch_events(&self, drops: bool) -> Watcher {
        let events = &self.admin().events;
        let receiver = events.sender.subscribe();
        events.watchers.fetch_add(1, Ordering::Relaxed);
        events.watchers_of_drops.fetch_add(usize::from(drops), Ordering::Relaxed);
        Watcher { receiver, broker: self.clone(), drops }
    }
}

impl Watcher {
    /// The next event; `None` = the node is over. Cancel safe.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.receiver.recv().await {
            Ok(event) => Some(Heard::Event(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let events = &self.broker.admin().events;
        events.watchers.fetch_sub(1, Ordering::Relaxed);
        events.watchers_of_drops.fetch_sub(usize::from(self.drops), Ordering::Relaxed);
    }
}
