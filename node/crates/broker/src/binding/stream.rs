//! A binding to a stream: a member of a consumer group on each node, whose records are handled, each effectively once.
//!
//! The group gives a key to one node and one call at a time (`guarantees.md` 6, 11). What a call brings about is handed
//! back with the end of its record, and stored in one step with it. A reducer is two such members: see [`super::reduce`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use weir_model::{Position, UnixMillis};
use weir_runtime::{Away, Host};
use weir_store::Start;

use super::definition::{Binding, Reduction, Source};
use super::reduce;
use super::work::{Outcome, Task, Work, kept_key};
use crate::stream::group::definition::HANDLER_PREFIX;
use crate::stream::group::{
    Answers, Delivered, Effects, Ended, GroupDefinition, GroupError, Member, MemberOptions, Receipt,
};

/// Between tries to join.
const AGAIN: Duration = Duration::from_millis(500);

/// Records finished together.
const FINISHED_AT_ONCE: usize = 64;

/// Records that a node holds for each call at a time.
const HELD_PER_CALL: u32 = 128;

/// How long a call's record may take before somebody else is given it; the call's own limits end it long before.
const ACK_WAIT_MS: u64 = 3_600_000;

/// The name of the group that a binding's workers are members of.
pub(super) fn group_name(name: &str, binding: &Binding) -> String {
    match &binding.reduction {
        Some(reduction) => reduce::own_group(name, reduction.run),
        None => format!("{HANDLER_PREFIX}{name}"),
    }
}

/// What is done with the records of a stream.
#[derive(Clone)]
enum Job {
    Handle,
    Map(Reduction),
    Fold(Reduction),
}

/// The group as its binding wants it.
pub(super) fn group_definition(binding: &Binding, start: Start) -> GroupDefinition {
    GroupDefinition {
        start,
        ack_wait_ms: ACK_WAIT_MS,
        deliveries_max: binding.attempts_max,
        ack_pending_max: 10_000,
        backoff_ms: binding.backoff_ms.clone(),
        dead_letter: binding.dead_letter.clone(),
        is_paused: binding.is_paused,
        lag_stall_ms: 0,
        is_handler: true,
    }
}

/// Works until it is stopped, or the group is over.
pub(super) async fn run(work: Arc<Work>, stop: watch::Receiver<bool>) -> Ended {
    let Source::Stream { stream, .. } = &work.binding.source else { return Ended::Left };
    let Some(reduction) = work.binding.reduction.clone() else {
        return work_on(&work, stream, &Job::Handle, stop).await;
    };
    let own = reduce::own_stream(&work.name.1, reduction.run);
    let (map, fold) = (Job::Map(reduction.clone()), Job::Fold(reduction));
    let mapping = work_on(&work, stream, &map, stop.clone());
    let folding = work_on(&work, &own, &fold, stop);
    match tokio::join!(mapping, folding) {
        (Ended::ShuttingDown, _) | (_, Ended::ShuttingDown) => Ended::ShuttingDown,
        (ended, _) => ended,
    }
}

async fn work_on(work: &Arc<Work>, stream: &str, job: &Job, mut stop: watch::Receiver<bool>) -> Ended {
    let group = group_name(&work.name.1, &work.binding);
    let mut is_told = false;
    loop {
        let options = MemberOptions {
            name: "".into(),
            in_flight_max: (work.binding.concurrency * HELD_PER_CALL).min(10_000),
            ..MemberOptions::default()
        };
        match work.broker.join_handler_group(&work.name.0, stream, &group, options).await {
            Ok(member) => match serve(work, job, member, &mut stop).await {
                ended @ (Ended::Left | Ended::ShuttingDown) => return ended,
                // What is left of it here may be another node's by now: it is asked for anew.
                _ => is_told = false,
            },
            Err(GroupError::ShuttingDown) => return Ended::ShuttingDown,
            Err(_) if std::mem::replace(&mut is_told, true) => {}
            Err(error) => tracing::warn!(binding = %work.name.1, %error, "a binding cannot read its stream"),
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            _ = stop.wait_for(|stop| *stop) => return Ended::Left,
        }
    }
}

/// Takes records and has them handled.
async fn serve(work: &Arc<Work>, job: &Job, mut member: Member, stop: &mut watch::Receiver<bool>) -> Ended {
    let queue = Arc::new(Queue::default());
    let mut lanes = JoinSet::new();
    for _ in 0..work.binding.concurrency {
        let (work, job) = (work.clone(), job.clone());
        let lane = Lane { work, job, answers: member.answers(), queue: queue.clone() };
        lanes.spawn(lane.run());
    }
    let ended = loop {
        tokio::select! {
            batch = member.next() => match batch {
                Ok(batch) => queue.put(batch.records),
                Err(ended) => break ended,
            },
            // A lane has panicked: everything is taken back and begun anew.
            _ = lanes.join_next() => break Ended::Stalled,
            _ = stop.wait_for(|stop| *stop) => break Ended::Left,
        }
    };
    let answers = member.answers();
    for record in queue.close() {
        // One that is not this node's any more is given back already.
        let _ = answers.put_back(record.receipt);
    }
    if ended == Ended::Left {
        while lanes.join_next().await.is_some() {}
        member.close().await;
    }
    ended
}

/// Records that wait for a call; at most as many as the member may hold.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    bell: Notify,
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<Delivered>,
    is_closed: bool,
}

impl Queue {
    fn put(&self, records: Vec<Delivered>) {
        let count = records.len();
        self.waiting.lock().records.extend(records);
        // Who was rung and finds more rings the next.
        if count > 0 {
            self.bell.notify_one();
        }
    }

    /// `Some(None)` = there is none now; `None` = there will be none.
    fn take(&self) -> Option<Option<Delivered>> {
        let mut waiting = self.waiting.lock();
        let record = waiting.records.pop_front();
        let (has_more, is_over) = (!waiting.records.is_empty(), record.is_none() && waiting.is_closed);
        drop(waiting);
        if has_more {
            self.bell.notify_one();
        }
        (!is_over).then_some(record)
    }

    fn close(&self) -> VecDeque<Delivered> {
        let mut waiting = self.waiting.lock();
        waiting.is_closed = true;
        let left = std::mem::take(&mut waiting.records);
        drop(waiting);
        self.bell.notify_waiters();
        left
    }
}

/// Calls one after the other.
struct Lane {
    work: Arc<Work>,
    job: Job,
    answers: Answers,
    queue: Arc<Queue>,
}

impl Lane {
    async fn run(self) {
        let mut finished = Vec::with_capacity(FINISHED_AT_ONCE);
        loop {
            let rung = self.queue.bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            match self.queue.take() {
                Some(Some(record)) => self.handle(record, &mut finished).await,
                Some(None) => {
                    self.finish(&mut finished).await;
                    rung.await;
                }
                None => return self.finish(&mut finished).await,
            }
            if finished.len() >= FINISHED_AT_ONCE {
                self.finish(&mut finished).await;
            }
        }
    }

    async fn finish(&self, finished: &mut Vec<(Receipt, Effects)>) {
        if !finished.is_empty() {
            // What was refused is another's by now, and its effects are nobody's.
            self.answers.finish(std::mem::take(finished)).await;
        }
    }

    async fn handle(&self, delivered: Delivered, finished: &mut Vec<(Receipt, Effects)>) {
        let Delivered { receipt, record, deliveries } = delivered;
        let position = record.mark.position;
        let text = position.to_string();
        let kv = Kv { answers: self.answers.clone(), partition: receipt.partition };
        let task = Task {
            message: &record.message,
            key: &record.key,
            position: Some(&text),
            id: id_of(&receipt),
            published_at: UnixMillis(position.ms),
            attempt: deliveries,
        };
        let outcome = match &self.job {
            Job::Handle => {
                let host: Arc<dyn Host> = Arc::new(kv);
                self.work.call(&task, &host).await
            }
            Job::Map(reduction) => reduce::map(&self.work, reduction, &task, &kv).await,
            Job::Fold(reduction) => reduce::fold(&self.work, reduction, &task, &kv).await,
        };
        match outcome {
            Outcome::Finished(effects) => finished.push((receipt, effects)),
            // An answer that is refused is about a record that is another's by now.
            Outcome::Again { after, reason } => {
                let _ = self.answers.fail(receipt, after, &reason);
            }
            Outcome::Rejected(reason) => {
                let _ = self.answers.reject(receipt, &reason);
            }
        }
    }
}

/// The same for every delivery of a record, and of no other one of its stream.
fn id_of(receipt: &Receipt) -> (u64, u64) {
    let Position { epoch, ms, seq } = receipt.mark.position;
    (epoch << 32 | u64::from(receipt.partition), ms << 20 | (seq & 0xf_ffff))
}

/// The state of a key, as its group keeps it.
pub(super) struct Kv {
    answers: Answers,
    pub partition: u32,
}

impl Kv {
    /// A value by its whole key; without an answer of the store the record is to be tried again.
    pub async fn kept(&self, key: &Bytes) -> Result<Option<Bytes>, Outcome> {
        let kept = self.answers.kept(self.partition, key).await;
        kept.map_err(|error| Outcome::Again { after: None, reason: error.to_string().into() })
    }
}

impl Host for Kv {
    fn read<'a>(&'a self, key: &'a [u8], name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Away>> {
        Box::pin(async move {
            let kept = self.answers.kept(self.partition, &kept_key(key, name)).await;
            kept.map_err(|error| {
                tracing::debug!(%error, "the state of a handler cannot be read");
                Away
            })
        })
    }
}
