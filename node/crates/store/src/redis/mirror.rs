//! Feeds the node's mirror: loads what is there, then hears of every change of any node by the `changes` streams.
//!
//! A load notes the tail of each stream, reads the rows, and lets the stream tell again what happened since the tail:
//! what is handed on twice or late is told apart by its entry id, fence or generation. One reader hears all streams of
//! a server; in a cluster, where a command reaches the keys of one slot only, each stream has its own.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc, watch};

use super::layout::Layout;
use super::servers::{Away, Servers};
use super::shard::Shard;
use crate::{Incarnation, Mirror, ReadError, Restored};

mod ahead;
mod entry;
mod reader;
mod rows;
mod tail;

pub(super) use entry::{Entry, EntryId};
pub(super) use rows::Rows;

use ahead::Ahead;

/// The readers of all streams, and how far they are.
pub(super) struct Feed {
    servers: Arc<Servers>,
    layout: Layout,
    rows: Rows,
    /// By the layout's index; `None` = not loaded (any more).
    heard: parking_lot::Mutex<Vec<Option<Heard>>>,
    /// Whether all are loaded and past what happened meanwhile: nothing that is mirrored is in between.
    is_whole: AtomicBool,
    /// Counts up whenever `heard` has changed.
    progress: watch::Sender<u64>,
    /// Calls of `caught_up` so far.
    asked: AtomicU64,
    catching_up: Mutex<CatchingUp>,
    closed: watch::Sender<bool>,
}

/// How far the stream of a shard was handed on.
#[derive(Debug, Clone, Copy)]
struct Heard {
    id: EntryId,
    /// What happened while it was loaded ends here.
    whole_from: EntryId,
}

/// The last run of [`Feed::caught_up`] and the calls it was for.
#[derive(Default)]
struct CatchingUp {
    covers: u64,
    is_good: bool,
}

/// Sessions on their way to whoever restores; loading waits while they are many.
const RESTORING_MAX: usize = 256;

/// How long one blocking read waits; a reader notices within it that it is not wanted any more.
const BLOCK: Duration = Duration::from_millis(1000);

impl Feed {
    pub fn new(servers: Arc<Servers>, layout: Layout, node: Incarnation) -> Arc<Feed> {
        let shards = layout.all().count();
        Arc::new(Feed {
            servers,
            rows: Rows::new(layout.clone(), node),
            layout,
            heard: parking_lot::Mutex::new(vec![None; shards]),
            is_whole: AtomicBool::new(false),
            progress: watch::Sender::new(0),
            asked: AtomicU64::new(0),
            catching_up: Mutex::default(),
            closed: watch::Sender::new(false),
        })
    }

    /// Whether the mirror is complete. It is not while it is loaded anew because changes were missed.
    pub fn is_whole(&self) -> bool {
        self.is_whole.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Loads everything: retained messages go to the mirror, sessions to the callback; from then on the mirror hears
    /// of every change. Blocks, however long the servers are away. `Err` when it was closed meanwhile.
    pub fn restore(
        self: &Arc<Feed>,
        runtime: &Handle,
        mirror: Arc<dyn Mirror>,
        session: &mut dyn FnMut(Restored),
    ) -> Result<(), ReadError> {
        let (sender, mut receiver) = mpsc::channel(RESTORING_MAX);
        self.rows.restore(mirror, sender);
        let feed = self.clone();
        let (outcome, loaded) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            // An error says that nobody waits any more.
            let _ = outcome.send(feed.start().await);
            feed.rows.restored();
        });
        while let Some(restored) = receiver.blocking_recv() {
            session(restored);
        }
        loaded.recv().unwrap_or(Err(ReadError::Unavailable))
    }

    /// Where the answers to steps of this node go before the steps' callers hear of them.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Starts the readers and waits until everything is loaded once.
    async fn start(self: &Arc<Feed>) -> Result<(), ReadError> {
        for shards in self.streams() {
            tokio::spawn(reader::read(self.clone(), shards));
        }
        self.wait_until(|heard| heard.iter().all(is_whole)).await
    }

    /// The shards that one reader hears.
    fn streams(&self) -> Vec<Vec<Shard>> {
        if self.servers.is_cluster() {
            self.layout.all().map(|shard| vec![shard]).collect()
        } else {
            // Sessions last: who is told of one may want to know the tables.
            let mut shards: Vec<Shard> = self.layout.all().collect();
            shards.sort_by_key(|shard| matches!(shard, Shard::Session(_)));
            vec![shards]
        }
    }

    /// Waits until the mirror has been handed everything that any node was answered before this call. Calls that come
    /// while others wait share one question to each server.
    pub async fn caught_up(&self) -> Result<(), ReadError> {
        let mine = self.asked.fetch_add(1, Relaxed) + 1;
        let mut last = self.catching_up.lock().await;
        if last.covers < mine {
            // Begins now, after everybody who waits here had asked.
            let covers = self.asked.load(Relaxed);
            let is_good = self.catch_up().await;
            *last = CatchingUp { covers, is_good };
        }
        if last.is_good { Ok(()) } else { Err(ReadError::Unavailable) }
    }

    async fn catch_up(&self) -> bool {
        let begun = std::time::Instant::now();
        let before = self.heard.lock().clone();
        let Ok(tails) = self.tails().await else { return false };
        for (shard, tail) in &tails {
            // A stream that is shorter than it was is another one: the store went back.
            if before[self.layout.index(*shard)].is_some_and(|heard| heard.id > *tail) {
                self.forget(*shard);
            }
        }
        let have_passed = |all: &[Option<Heard>]| {
            let has_passed =
                |heard: &Option<Heard>, tail: EntryId| heard.is_some_and(|heard| heard.id >= tail);
            all.iter().all(is_whole)
                && tails.iter().all(|(shard, tail)| has_passed(&all[self.layout.index(*shard)], *tail))
        };
        let caught_up = self.wait_until(have_passed).await.is_ok();
        metrics::histogram!("weir_store_redis_caught_up_seconds").record(begun.elapsed());
        caught_up
    }

    /// The last entry of every stream, in one round trip per primary.
    async fn tails(&self) -> Result<Vec<(Shard, EntryId)>, Away> {
        let asking = self.servers.groups().into_iter().map(|mut shards| {
            shards.retain(|shard| *shard != Shard::Nodes);
            tail::tails(&self.servers, &self.layout, shards)
        });
        let answers = futures_util::future::try_join_all(asking).await?;
        let tails: Vec<_> = answers.into_iter().flatten().collect();
        if let Some(shard) = self.layout.all().find(|shard| !tails.iter().any(|(known, _)| known == shard)) {
            return Err(Away { shard, cause: "no primary has its slot".into(), retry_in: BLOCK });
        }
        Ok(tails)
    }

    async fn wait_until(&self, reached: impl Fn(&[Option<Heard>]) -> bool) -> Result<(), ReadError> {
        let mut closed = self.closed.subscribe();
        let mut progress = self.progress.subscribe();
        let reaching = async {
            while !reached(&self.heard.lock()) {
                // The sender lives as long as this feed.
                let _ = progress.changed().await;
            }
        };
        tokio::select! {
            () = reaching => Ok(()),
            _ = async { closed.wait_for(|closed| *closed).await.map(|_| ()) } => Err(ReadError::Unavailable),
        }
    }

    /// In a cluster, where each shard has a reader: waits until those before it in [`Feed::streams`] are loaded once.
    async fn wait_for_turn(&self, shard: Shard) {
        let topics: Vec<usize> = self.layout.topics().map(|topic| self.layout.index(topic)).collect();
        let are_loaded = |heard: &[Option<Heard>]| topics.iter().all(|topic| heard[*topic].is_some());
        if self.servers.is_cluster() && matches!(shard, Shard::Session(_)) && self.rows.is_restoring() {
            // An error says that the feed is closed, and its readers with it.
            let _ = self.wait_until(are_loaded).await;
        }
    }

    /// What was heard of this shard is not to be relied on: it is loaded again.
    fn forget(&self, shard: Shard) {
        self.change(|all| all[self.layout.index(shard)] = None);
    }

    /// The shard was loaded when its stream's tail was between these two.
    fn loaded(&self, shard: Shard, before: EntryId, after: EntryId) {
        self.change(|all| all[self.layout.index(shard)] = Some(Heard { id: before, whole_from: after }));
    }

    /// The stream of the shard was handed on up to here.
    fn reached(&self, shard: Shard, id: EntryId) {
        self.change(|all| {
            if let Some(heard) = &mut all[self.layout.index(shard)] {
                heard.id = id;
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut [Option<Heard>])) {
        let mut all = self.heard.lock();
        change(&mut all);
        self.is_whole.store(all.iter().all(is_whole), std::sync::atomic::Ordering::Release);
        drop(all);
        self.progress.send_modify(|count| *count += 1);
    }

    fn heard(&self, shard: Shard) -> Option<EntryId> {
        self.heard.lock()[self.layout.index(shard)].map(|heard| heard.id)
    }

    /// Ends the readers, and everybody who waits for them.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }
}

fn is_whole(heard: &Option<Heard>) -> bool {
    heard.is_some_and(|heard| heard.id >= heard.whole_from)
}
