//! A binding to a stream: a member of a consumer group on each node, whose records are handled, each effectively once.
//!
//! The group gives a key to one node, and its [`queue`] to one [`lane`] at a time (`guarantees.md` 6, 11). What a call
//! brings about is handed back with the end of its record, and stored in one step with it. A reducer is two such members:
//! see [`super::reduce`].

mod kv;
mod lane;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use weir_model::Position;
use weir_store::Start;

use super::definition::{Binding, Reduction, Source};
use super::reduce;
use super::work::Work;
use crate::stream::group::definition::HANDLER_PREFIX;
use crate::stream::group::{
    Answers, Ended, GroupDefinition, GroupError, Member, MemberOptions, NotYours, Receipt,
};
pub(super) use kv::Kv;
use lane::Lane;
use queue::Queue;

/// Between tries to join.
const AGAIN: Duration = Duration::from_millis(500);

/// How often it is looked whether a node that was cut off from its store still is.
const CUT_OFF_LOOK: Duration = Duration::from_millis(50);

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
        lanes.spawn(Lane::new(work.clone(), job.clone(), member.answers(), queue.clone()).run());
    }
    let answers = member.answers();
    let ended = loop {
        let batch = tokio::select! {
            batch = member.next() => batch,
            // A lane has panicked: everything is taken back and begun anew.
            _ = lanes.join_next() => break Ended::Stalled,
            _ = stop.wait_for(|stop| *stop) => break Ended::Left,
        };
        match batch {
            Ok(batch) => {
                let back = queue.put(batch.number, batch.records);
                put_back(&answers, &back).await;
            }
            Err(ended) => break ended,
        }
    };
    // What is not this node's any more is given back already.
    answers.put_back(&queue.close());
    if ended == Ended::Left {
        while lanes.join_next().await.is_some() {}
        member.close().await;
    }
    ended
}

/// Gives records back that were not looked at. While the node is cut off from its store nothing is done, and it is tried
/// again; what is refused otherwise is another's by now.
async fn put_back(answers: &Answers, receipts: &[Receipt]) {
    while !receipts.is_empty()
        && answers.put_back(receipts).iter().any(|refused| refused.why == NotYours::CutOff)
    {
        tokio::time::sleep(CUT_OFF_LOOK).await;
    }
}

/// The same for every delivery of a record, and of no other one of its stream.
fn id_of(receipt: &Receipt) -> (u64, u64) {
    let Position { epoch, ms, seq } = receipt.mark.position;
    (epoch << 32 | u64::from(receipt.partition), ms << 20 | (seq & 0xf_ffff))
}
