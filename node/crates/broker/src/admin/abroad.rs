//! What happens at all other nodes, for a watcher at this one.
//!
//! Who watches asks every node it has a link to, again every [`RENEW`]; a node that is not asked any more for
//! [`LEASE`] stops telling. Events travel as notes: what a full link or a full queue has no room for is counted as missed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use weir_cluster::Link;

use super::asking::EVENTS;
use super::events::{Event, Heard, Watcher};
use crate::broker::Broker;

/// How often every node is asked.
const RENEW: Duration = Duration::from_secs(2);
const LEASE: Duration = Duration::from_secs(7);

/// A node that comes is asked before its link is up.
const SILENT_MAX: u32 = 2;

/// Watches of other nodes that this one serves; of further ones it says that it does not.
const SERVED_MAX: usize = 64;

/// Events of one note, and how long the first of them waits for others.
const BATCH_MAX: usize = 64;
const BATCH_WAIT: Duration = Duration::from_millis(20);

/// Events of other nodes that wait for a watcher; further ones it misses, and is told how many.
const WAITING_MAX: usize = 1024;

/// What is to be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Wish {
    /// Of the watcher, at the node that asks.
    watch: u64,
    drops: bool,
    /// Only of clients whose id begins with this; events without a client are told all the same.
    client_id_prefix: String,
}

/// What a node tells.
#[derive(Serialize, Deserialize)]
struct Told {
    watch: u64,
    events: Vec<Event>,
    missed: u64,
}

/// Who watches here, and for whom this node watches.
#[derive(Default)]
pub(super) struct Abroad {
    next: AtomicU64,
    watchers: Mutex<HashMap<u64, Ear>>,
    /// By the incarnation of who asks: when it last did.
    served: Mutex<HashMap<(u64, u64), Instant>>,
}

/// Where events of other nodes go.
struct Ear {
    sender: mpsc::Sender<(Arc<str>, Heard)>,
    missed: Arc<AtomicU64>,
}

/// One who watches all other nodes, until it is dropped.
pub struct Everywhere {
    broker: Broker,
    watch: u64,
    receiver: mpsc::Receiver<(Arc<str>, Heard)>,
    missed: Arc<AtomicU64>,
    renews: AbortHandle,
}

impl Broker {
    /// Watches every other node from now on, also those that come; with `drops`, losses are gathered for it.
    #[must_use]
    pub fn watch_others(&self, drops: bool, client_id_prefix: &str) -> Everywhere {
        let abroad = &self.admin().abroad;
        let watch = abroad.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let missed = Arc::new(AtomicU64::new(0));
        abroad.watchers.lock().insert(watch, Ear { sender: sender.clone(), missed: missed.clone() });
        let wish = Wish { watch, drops, client_id_prefix: client_id_prefix.to_owned() };
        let renews = self.runtime().clone().spawn(renew(self.clone(), wish, sender)).abort_handle();
        Everywhere { broker: self.clone(), watch, receiver, missed, renews }
    }

    /// Tells a peer what happens here as long as it goes on asking; false when too many are told already.
    pub(super) fn watch_for(&self, link: &Arc<Link>, wish: Wish) -> bool {
        let key = (link.incarnation(), wish.watch);
        let mut served = self.admin().abroad.served.lock();
        if let Some(asked) = served.get_mut(&key) {
            *asked = Instant::now();
            return true;
        }
        if served.len() >= SERVED_MAX {
            return false;
        }
        served.insert(key, Instant::now());
        drop(served);
        let watcher = self.watch_events(wish.drops);
        self.runtime().clone().spawn(tell(self.clone(), link.clone(), watcher, wish));
        true
    }

    /// Another node tells what has happened there.
    pub(super) fn heard_events(&self, link: &Link, body: &[u8]) -> Result<(), postcard::Error> {
        let Told { watch, events, missed } = postcard::from_bytes(body)?;
        let watchers = self.admin().abroad.watchers.lock();
        // It may not watch any more.
        let Some(ear) = watchers.get(&watch) else { return Ok(()) };
        let node: Arc<str> = Arc::from(link.node_id().as_str());
        let all = events.into_iter().map(Heard::Event).chain((missed > 0).then_some(Heard::Missed(missed)));
        for heard in all {
            let count = if let Heard::Missed(count) = heard { count } else { 1 };
            if ear.sender.try_send((node.clone(), heard)).is_err() {
                ear.missed.fetch_add(count, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// Asks all nodes again and again, and says once of which nothing is heard [`SILENT_MAX`] times in a row.
async fn renew(broker: Broker, wish: Wish, sender: mpsc::Sender<(Arc<str>, Heard)>) {
    let mut silent: HashMap<Arc<str>, u32> = HashMap::new();
    loop {
        let links = broker.links();
        let answers = join_all(links.iter().map(|link| broker.ask_to_watch(link, wish.clone()))).await;
        for (link, tells) in links.iter().zip(answers) {
            let node: Arc<str> = Arc::from(link.node_id().as_str());
            if tells {
                silent.remove(&node);
                continue;
            }
            let times = silent.entry(node.clone()).or_insert(0);
            *times = times.saturating_add(1);
            if *times == SILENT_MAX && sender.send((node, Heard::Unheard)).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(RENEW).await;
    }
}

/// Until nobody asks any more, or the link is down.
async fn tell(broker: Broker, link: Arc<Link>, mut watcher: Watcher, wish: Wish) {
    let key = (link.incarnation(), wish.watch);
    let mut unsent = 0;
    loop {
        let asked = broker.admin().abroad.served.lock().get(&key).copied();
        if asked.is_none_or(|asked| asked.elapsed() > LEASE) || !link.is_up() {
            broker.admin().abroad.served.lock().remove(&key);
            return;
        }
        let mut told = Told { watch: wish.watch, events: Vec::new(), missed: std::mem::take(&mut unsent) };
        let mut wait = RENEW;
        while told.events.len() < BATCH_MAX {
            match tokio::time::timeout(wait, watcher.next()).await {
                Ok(Some(Heard::Event(event))) if wish.wants(&event) => told.events.push(event),
                Ok(Some(Heard::Missed(missed))) => told.missed += missed,
                Ok(Some(_)) => continue,
                Ok(None) | Err(_) => break,
            }
            wait = BATCH_WAIT;
        }
        let count = told.events.len() as u64 + told.missed;
        if count == 0 {
            continue;
        }
        let sent =
            postcard::to_allocvec(&told).is_ok_and(|body| link.note(EVENTS, Bytes::from(body)).is_ok());
        unsent = if sent { 0 } else { count };
    }
}

impl Wish {
    fn wants(&self, event: &Event) -> bool {
        event.kind.client().is_none_or(|client| client.starts_with(&self.client_id_prefix))
    }
}

impl Everywhere {
    /// What is heard next, and of which node; never returns when there is nothing. Cancel safe.
    pub async fn next(&mut self) -> (Arc<str>, Heard) {
        let missed = self.missed.swap(0, Ordering::Relaxed);
        if missed > 0 {
            return (Arc::from(""), Heard::Missed(missed));
        }
        match self.receiver.recv().await {
            Some(told) => told,
            // The ear is in the list as long as this lives.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Everywhere {
    fn drop(&mut self) {
        self.renews.abort();
        self.broker.admin().abroad.watchers.lock().remove(&self.watch);
    }
}
