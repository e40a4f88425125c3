//! A lane whose shard has forgotten what it had applied: raises the epoch, and applies again what is kept before
//! anything new. Batches keep their numbers: one that comes twice is still applied once.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tracing::warn;

use super::window::{ChangedAt, Kept};
use super::{Batch, Failure, OPS_MAX, Policy, Reply, Runner};
use crate::Refusal;
use crate::redis::library;
use crate::redis::rollback::{lost_of, raise};

impl Runner {
    /// Somebody suspects that the shard went back: asks it, for no batch is under way that would find out.
    pub(super) async fn look(&mut self) {
        let mut connection = match self.context.servers.commands(self.lane.shard).await {
            Ok(connection) => connection,
            // Whoever suspects comes again.
            Err(_) => return,
        };
        let key = format!("batch:{}", self.context.node.incarnation);
        let mut question = redis::cmd("HGET");
        question.arg(self.context.layout.key(self.lane.shard, &key)).arg("number");
        let known = question.query_async::<Option<u64>>(&mut connection).await;
        self.connection = Some(connection);
        match known {
            Ok(known) if known.unwrap_or(0) < self.last => {
                self.roll_back(known.unwrap_or(0), Instant::now()).await;
            }
            Ok(_) => {}
            Err(error) => {
                self.note(&error.into());
                self.connection = None;
            }
        }
    }

    /// The shard knows less than it had applied. When its epoch cannot be raised now, the next batch finds that again.
    pub(super) async fn roll_back(&mut self, known: u64, failing_since: Instant) {
        let Some(connection) = &mut self.connection else { return };
        let row = match raise(&self.context, connection, self.lane.shard, &self.row).await {
            Ok((row, _)) => row,
            Err(error) => return self.not_raised(&error.into(), failing_since).await,
        };
        let (kept, lost) = self.lane.window.lock().take_behind(known);
        let from_epoch = self.row.epoch;
        metrics::counter!("weir_store_redis_batches_lost_total").increment(kept.len() as u64 + lost);
        warn!(shard = %self.lane.shard, last = self.last, found = known, "redis_lost_acknowledged_batches");
        self.context.rollbacks.begin(self.lane.shard, from_epoch, known, lost);
        if !std::mem::replace(&mut self.is_healing, true) {
            self.context.rollbacks.enter();
        }
        (self.row, self.epoch) = (row, row.epoch);
        self.reached(known);
        let again = kept.into_iter().map(Batch::again);
        let unanswered = std::mem::take(&mut self.sent);
        let later = std::mem::take(&mut self.pending);
        self.pending = again.chain(unanswered).chain(later).collect::<VecDeque<_>>();
        self.end_healing();
    }

    async fn not_raised(&mut self, failure: &Failure, failing_since: Instant) {
        self.note(failure);
        if failure.kind().policy() == Policy::Load
            && let Some(connection) = &mut self.connection
            && library::load(connection).await.is_ok()
        {
            return;
        }
        self.connection = None;
        self.wait(failing_since).await;
    }

    /// A batch was applied again.
    pub(super) fn healed(&mut self, batch: Batch, reply: &Reply) {
        let lost = lost_of(&reply.answers).unwrap_or_else(|error| {
            warn!(shard = %self.lane.shard, %error, "redis_answer_garbled");
            batch.steps
        });
        self.context.rollbacks.replayed(self.lane.shard, batch.steps.saturating_sub(lost), lost);
        self.keep(batch, None);
        self.end_healing();
    }

    /// Nothing is to be had from a batch that was to be applied again, unless that has happened already.
    pub(super) fn not_healed(&mut self, batch: &Batch, is_applied: bool) {
        let (done, lost) = if is_applied { (batch.steps, 0) } else { (0, batch.steps) };
        self.context.rollbacks.replayed(self.lane.shard, done, lost);
        self.end_healing();
    }

    fn end_healing(&mut self) {
        if self.is_healing && !self.sent.iter().chain(&self.pending).any(|batch| batch.again.is_some()) {
            self.is_healing = false;
            self.context.rollbacks.end();
        }
    }

    /// While the server is away in the middle of that, what waits behind is refused like everything else.
    pub(super) fn refuse_behind(&mut self) {
        let waiting = std::mem::take(&mut self.pending);
        for batch in waiting {
            if batch.again.is_some() {
                self.pending.push_back(batch);
            } else {
                let refusal = if batch.may_be_done { Refusal::Unknown } else { Refusal::Unavailable };
                self.refuse(batch, refusal);
            }
        }
        loop {
            let works = self.lane.intake.take(OPS_MAX, self.context.batch_bytes_max);
            if works.is_empty() {
                return;
            }
            for work in works {
                self.context.counters.refused(Refusal::Unavailable, work.steps().count());
                work.refuse(Refusal::Unavailable);
            }
        }
    }

    /// Keeps what was acknowledged for the time being. `changed_at`: see [`Kept`]; `None` = as it was.
    pub(super) fn keep(&mut self, batch: Batch, changed_at: Option<ChangedAt>) {
        self.lane.window.lock().keep(Kept {
            number: batch.number,
            steps: batch.steps,
            changed_at: changed_at.or(batch.again).unwrap_or_default(),
            packed: batch.packed,
            acknowledged: Instant::now(),
        });
    }

    /// The newest batch that the shard has applied.
    pub(super) fn reached(&mut self, number: u64) {
        self.last = number;
        self.lane.last.store(number, Ordering::Release);
    }
}

impl Batch {
    fn again(kept: Kept) -> Batch {
        Batch {
            number: kept.number,
            works: Vec::new(),
            packed: kept.packed,
            steps: kept.steps,
            free: false,
            born: Instant::now(),
            may_be_done: false,
            is_taken_back: false,
            again: Some(kept.changed_at),
        }
    }
}
