//! A live binding: messages are handled as they pass the node they enter, at most once.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use metrics::{Counter, counter};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use weir_model::{Filter, Message};
use weir_runtime::{Away, Host};
use xxhash_rust::xxh3::xxh3_64;

use super::definition::Source;
use super::outlet::Outlet;
use super::work::{Outcome, Task, Work};
use crate::clock;
use crate::realm::Realm;

/// Messages of a lane that are handled before their events are with their receivers; sooner if a call has to wait.
const PUBLISHED_AT_ONCE: usize = 64;

/// Messages of a live binding on their way to its calls. Those of one topic are handled in order.
pub struct Live {
    lanes: Box<[mpsc::Sender<Arc<Message>>]>,
    work: Arc<Work>,
    dropped: Counter,
}

impl Live {
    /// Gives it a message; one that finds the queue full is dropped and counted.
    pub fn offer(&self, message: &Arc<Message>) {
        let at = match self.lanes.len() {
            1 => 0,
            lanes => (xxh3_64(message.topic.as_bytes()) % lanes as u64) as usize,
        };
        if self.lanes[at].try_send(message.clone()).is_err() {
            self.work.journal.counts.dropped.fetch_add(1, Ordering::Relaxed);
            self.dropped.increment(1);
        }
    }
}

/// Begins; ends when `stop` is true, with what is in the queue handled.
pub(super) async fn run(work: Arc<Work>, mut stop: watch::Receiver<bool>) {
    let Source::Live { filters } = &work.binding.source else { return };
    let count = work.binding.concurrency;
    let room = (work.binding.queue_max / count).max(1) as usize;
    let (mut tasks, mut lanes) = (JoinSet::new(), Vec::new());
    let ids = Arc::new(AtomicU64::new(clock::unix().0 << 20));
    for _ in 0..count {
        let (sender, receiver) = mpsc::channel(room);
        lanes.push(sender);
        tasks.spawn(lane(work.clone(), receiver, ids.clone()));
    }
    let dropped = counter!("weir_broker_binding_dropped_total");
    let live = Arc::new(Live { lanes: lanes.into(), work: work.clone(), dropped });
    let bound = (!work.binding.is_paused).then(|| Bound::new(&work, filters, live.clone()));
    drop(live);
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        // A lane has panicked: whoever keeps this alive begins it anew.
        _ = tasks.join_next(), if bound.is_some() => {}
    }
    drop(bound);
    while tasks.join_next().await.is_some() {}
}

/// Topics lead to the binding as long as this lives.
struct Bound<'a> {
    realm: Arc<Realm>,
    filters: &'a [Filter],
    live: Arc<Live>,
}

impl<'a> Bound<'a> {
    fn new(work: &Work, filters: &'a [Filter], live: Arc<Live>) -> Bound<'a> {
        let realm = work.broker.realm_or_new(&work.name.0);
        realm.routes.bind_live(filters, &live, true);
        Bound { realm, filters, live }
    }
}

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        self.realm.routes.bind_live(self.filters, &self.live, false);
    }
}

async fn lane(work: Arc<Work>, mut waiting: mpsc::Receiver<Arc<Message>>, ids: Arc<AtomicU64>) {
    let host: Arc<dyn Host> = Arc::new(NoKv);
    let mut outlet = Outlet::new(&work.broker, work.broker.realm_or_new(&work.name.0));
    let mut messages = Vec::with_capacity(PUBLISHED_AT_ONCE);
    while waiting.recv_many(&mut messages, PUBLISHED_AT_ONCE).await > 0 {
        for message in messages.drain(..) {
            let task = Task {
                message: &message,
                key: message.topic.as_bytes(),
                position: None,
                id: (0, ids.fetch_add(1, Ordering::Relaxed)),
                published_at: clock::unix(),
                attempt: 1,
            };
            let mut call = pin!(work.call(&task, &host));
            let outcome = match poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => {
                    // It takes more than a tick, or waits: what was gathered does not wait for it.
                    outlet.push();
                    call.await
                }
            };
            if let Outcome::Finished(effects) = outcome {
                for output in &effects.owed {
                    outlet.publish(output).await;
                }
            }
        }
        outlet.push();
    }
}

/// What is handled at most once has no state: there is no step to keep it with.
struct NoKv;

impl Host for NoKv {
    fn read<'a>(&'a self, _: &'a [u8], _: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Away>> {
        Box::pin(std::future::ready(Err(Away)))
    }
}
