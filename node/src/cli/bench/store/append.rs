//! Appends to one queue of a store by many callers, through the store contract.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::sync::oneshot;
use weir_model::{Message, Position, Qos, Topic};
use weir_store::{
    Answer, Delivery, Enqueue, Mirror, Open, Outcome, SessionChange, SessionKey, SessionKind, SessionOp,
    Step, Store,
};

use super::{Measured, StoreArgs};
use crate::config::Config;

/// More than a queue can hold, and a number that Redis' scripts can count with.
const NO_LIMIT: u64 = 1 << 50;

/// How long the store may take to open.
const OPEN_MAX: Duration = Duration::from_secs(10);

/// The session whose queue is appended to, made for it and ended again.
struct Queue {
    key: SessionKey,
    generation: u64,
}

/// What one caller, or all of them, got done.
#[derive(Default)]
struct Done {
    appended: u64,
    refused: u64,
}

/// Appends for the duration and removes what was appended.
pub fn run(url: &str, args: &StoreArgs, directory: &Path) -> anyhow::Result<Measured> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let measured = runtime.block_on(measure(url, args, directory));
    runtime.shutdown_timeout(Duration::from_secs(1));
    measured
}

async fn measure(url: &str, args: &StoreArgs, directory: &Path) -> anyhow::Result<Measured> {
    let store = open_store(url, directory).await?;
    let queue = Arc::new(open(&*store).await?);
    let begun = Instant::now();
    let done = append(&store, &queue, args, begun + Duration::from_secs_f64(args.duration)).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let (end, level) = (SessionOp::End { generation: queue.generation, fence: None }, store.level());
    let ended = submit(&*store, vec![queue.step(end)]).await;
    store.leave().await;
    store.close().await;
    for outcome in ended? {
        outcome.context("the queue cannot be removed")?;
    }
    Ok(Measured {
        records_per_second: done.appended as f64 / seconds,
        level,
        refused: done.refused,
        records_per_cpu_second: None,
        bare: None,
    })
}

/// The store, ready to be submitted to, with queues that have no bounds.
pub async fn open_store(url: &str, directory: &Path) -> anyhow::Result<Arc<dyn Store>> {
    let mut config = Config::default();
    config.store.url = url.to_owned();
    config.store.queue_messages_max = NO_LIMIT;
    config.store.queue_bytes_max = NO_LIMIT;
    config.store.queued_bytes_total_max = 0;
    config.node.data_dir = directory.to_owned();
    config.node.id = Some(format!("bench-{}", std::process::id()));
    let Ok(opened) = tokio::time::timeout(OPEN_MAX, crate::store::open(&config)).await else {
        bail!("it did not answer within {} s", OPEN_MAX.as_secs());
    };
    let store = opened?.store;
    let restored = Arc::clone(&store);
    tokio::task::spawn_blocking(move || restored.restore(Arc::new(Deaf), &mut |_| ())).await??;
    Ok(store)
}

/// A new session that is never opened again.
async fn open(store: &dyn Store) -> anyhow::Result<Queue> {
    let key = SessionKey {
        realm: "bench".into(),
        kind: SessionKind::Client,
        name: format!("bench-{}", std::process::id()).into(),
    };
    let open =
        Open { owner: None, clean_start: true, persistent: true, expiry_seconds: u32::MAX, will: None };
    let step = Step::Session { key: key.clone(), ops: [SessionOp::Open(open)].into_iter().collect() };
    let answer = submit(store, vec![step]).await?.pop().context("no answer")?;
    match answer.context("no session to append to")?.pop() {
        Some(Outcome::Opened(opened)) => Ok(Queue { key, generation: opened.fence.generation }),
        _ => bail!("the session was not opened"),
    }
}

/// All callers at once, until the deadline.
async fn append(
    store: &Arc<dyn Store>,
    queue: &Arc<Queue>,
    args: &StoreArgs,
    deadline: Instant,
) -> anyhow::Result<Done> {
    let payload = bytes::Bytes::from(vec![b'x'; args.size]);
    let callers: Vec<_> = (0..args.callers)
        .map(|_| {
            let (store, queue, payload) = (Arc::clone(store), Arc::clone(queue), payload.clone());
            let batch = args.batch();
            tokio::spawn(async move {
                let mut done = Done::default();
                while Instant::now() < deadline {
                    let steps = (0..batch).map(|_| queue.enqueue(&payload)).collect();
                    done.take(&submit(&*store, steps).await?);
                }
                anyhow::Ok(done)
            })
        })
        .collect();
    let mut all = Done::default();
    for caller in callers {
        let one = caller.await.context("a caller panicked")??;
        all.appended += one.appended;
        all.refused += one.refused;
    }
    Ok(all)
}

impl Queue {
    fn step(&self, op: SessionOp) -> Step {
        Step::Session { key: self.key.clone(), ops: [op].into_iter().collect() }
    }

    /// A message of its own: the same one in several steps might be stored once.
    fn enqueue(&self, payload: &bytes::Bytes) -> Step {
        let message = Message {
            topic: topic(),
            payload: payload.clone(),
            qos: Qos::AtLeastOnce,
            retain: false,
            expires_at: None,
            properties: None,
        };
        let delivery = Delivery {
            message: Arc::new(message),
            qos: Qos::AtLeastOnce,
            retain: false,
            subscription_ids: Default::default(),
            group: None,
        };
        self.step(SessionOp::Enqueue(Enqueue { generation: self.generation, id: None, delivery }))
    }
}

impl Done {
    fn take(&mut self, answer: &Answer) {
        for outcomes in answer {
            let is_appended = outcomes.as_ref().is_ok_and(|outcomes| {
                outcomes.iter().all(|outcome| matches!(outcome, Outcome::Enqueued { .. }))
            });
            if is_appended { self.appended += 1 } else { self.refused += 1 }
        }
    }
}

pub async fn submit(store: &dyn Store, steps: Vec<Step>) -> anyhow::Result<Answer> {
    let (answer, answered) = oneshot::channel();
    // Whoever asked is gone only when the program ends.
    store.submit(steps, Box::new(move |given| drop(answer.send(given))));
    answered.await.context("the store gave no answer")
}

pub fn topic() -> Topic {
    match Topic::new("bench/store") {
        Ok(topic) => topic,
        Err(_) => unreachable!("a literal topic without wildcards is valid"),
    }
}

/// Needs to know of nothing that is kept.
struct Deaf;

impl Mirror for Deaf {
    fn retained(&self, _: &Arc<str>, _: &Topic, _: Position, _: Option<&Arc<Message>>) {}

    fn session(&self, _: &SessionKey, _: SessionChange) {}
}
