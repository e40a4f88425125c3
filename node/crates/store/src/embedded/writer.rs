//! The writer: one thread that decides, logs, syncs, shows and answers, a group of submits at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use weir_model::UnixMillis;

use super::checkpoint::{Checkpoints, Order};
use super::intake::Job;
use super::log::{AppendError, Log};
use super::mark::{Mark, Marked};
use super::recover::load;
use super::space::Space;
use super::{Shared, answer_all};
use crate::canary;
use crate::clock::{Clock, Times};
use crate::config::Config;
use crate::fault;
use crate::row::{Applied, Change, Key, Write};
use crate::state::{Batch, Effects, State};
use crate::{Account, Answer, Done, Refusal};

/// How often a checkpoint may try to free room although there is little log to let go.
const FREE_EVERY: Duration = Duration::from_secs(1);

/// Below this the log is not worth a checkpoint, even when the disk is full.
const LOG_WORTH_FREEING_BYTES: u64 = 64 << 10;

pub(crate) struct Writer {
    pub shared: Arc<Shared>,
    pub config: Config,
    pub log: Log,
    pub mark: Mark,
    pub salt: u32,
    pub clock: Clock,
    pub space: Arc<Space>,
    /// When a checkpoint last tried to free room on a full disk.
    pub freed_at: Option<Instant>,
    /// Growth was refused when it was last asked for.
    pub is_full: bool,
    pub checkpoints: Checkpoints,
    pub sync: bool,
}

/// A submit that was decided and is not answered yet.
struct Decided {
    answer: Answer,
    done: Done,
    /// See [`Job::synced`].
    synced: bool,
}

/// What a group did.
enum Committed {
    Nothing,
    Writes,
}

/// Why a group was not committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error("cannot write the mark: {0}")]
    Mark(std::io::Error),
}

impl Writer {
    /// Until the intake is closed and drained.
    pub fn run(mut self, garbage: Vec<Key>) {
        self.clear(garbage);
        let mut jobs = Vec::new();
        self.look_for_room();
        while self.take(&mut jobs) {
            if jobs.is_empty() {
                self.look_for_room();
                continue;
            }
            if self.shared.failed.load(Ordering::Acquire) {
                jobs.drain(..).for_each(|job| answer_all(job, Refusal::Unavailable, &self.shared.counters));
                continue;
            }
            if catch_unwind(AssertUnwindSafe(|| self.commit_group(&mut jobs))).is_err() {
                tracing::error!("the store's writer has panicked: nothing more is taken in");
                self.shared.failed.store(true, Ordering::Release);
            }
        }
        self.checkpoints.stop();
        if let Err(cause) = self.log.sync() {
            tracing::error!(%cause, "the end of the log could not be synced");
        }
        self.shared.closed.send_replace(true);
    }

    /// The next group; an empty one when the disk is full and it is time to look whether it still is.
    fn take(&self, jobs: &mut Vec<Job>) -> bool {
        let until = self.is_full.then(|| Instant::now() + FREE_EVERY);
        let (records_max, bytes_max) = (self.config.commit_records_max, self.config.commit_bytes_max);
        self.shared.intake.take(jobs, records_max, bytes_max, until)
    }

    /// Room comes back although nobody asks for it.
    fn look_for_room(&mut self) {
        let has_failed = self.shared.failed.load(Ordering::Acquire);
        if !has_failed && !self.may_grow(0) {
            self.checkpoint_if_due(true);
        }
    }

    fn commit_group(&mut self, jobs: &mut Vec<Job>) {
        let begun = Instant::now();
        let records = jobs.iter().map(|job| job.steps.len()).sum();
        let times = self.clock.times();
        let may_grow = self.may_grow(jobs.iter().map(|job| job.bytes()).sum::<usize>() as u64);
        let mut effects = Effects::default();
        let (mut answers, account) = self.decide(jobs, times, may_grow, &mut effects);
        let committed = match effects.writes.is_empty() {
            true => self.settle(&mut answers),
            false => self.commit_answers(times.now, effects, account, &mut answers),
        };
        match committed {
            Ok(Committed::Nothing) => self.shared.counters.note(account),
            Ok(Committed::Writes) => self.shared.counters.committed(records, begun.elapsed(), account),
            Err(error) => self.take_back(&error, &mut answers),
        }
        self.answer(answers);
        self.checkpoint_if_due(!may_grow);
    }

    /// Writes what the group did. Answers that are to be synced are left; without any, nothing is. Where some do not wait
    /// for the disk, all that the group did is shown before it is there: a later record is never there without it.
    fn commit_answers(
        &mut self,
        at: UnixMillis,
        effects: Effects,
        account: Account,
        answers: &mut Vec<Decided>,
    ) -> Result<Committed, CommitError> {
        self.log.append(at, &effects.writes)?;
        if answers.iter().all(|answer| answer.synced) {
            self.make_durable(at)?;
            self.show(effects);
            return Ok(Committed::Writes);
        }
        // At the level `stored` a commit is known to be acknowledged, but not made to last.
        if !self.sync {
            self.note_acknowledged(at, false)?;
        }
        self.show(effects);
        self.shared.counters.note(account);
        let (waiting, at_once): (Vec<_>, Vec<_>) = answers.drain(..).partition(|answer| answer.synced);
        self.answer(at_once);
        *answers = waiting;
        if !answers.is_empty() {
            self.make_durable(at)?;
        }
        Ok(Committed::Writes)
    }

    /// A group that changed nothing may rest on records that are not durable yet.
    fn settle(&mut self, answers: &mut Vec<Decided>) -> Result<Committed, CommitError> {
        if self.log.is_dirty() && answers.iter().any(|answer| answer.synced) {
            let (waiting, at_once): (Vec<_>, Vec<_>) = answers.drain(..).partition(|answer| answer.synced);
            self.answer(at_once);
            *answers = waiting;
            let now = self.clock.now();
            self.make_durable(now)?;
        }
        Ok(Committed::Nothing)
    }

    fn decide(
        &self,
        jobs: &mut Vec<Job>,
        times: Times,
        may_grow: bool,
        effects: &mut Effects,
    ) -> (Vec<Decided>, Account) {
        let mut state = self.shared.state.lock();
        let fanout = state.rules().inline_fanout_max;
        let mut answers = Vec::with_capacity(jobs.len());
        canary::reorder(jobs);
        for Job { steps, done, synced, .. } in jobs.drain(..) {
            let mut batch = Batch::new(&steps, times, may_grow, fanout);
            let answer = steps.into_iter().map(|step| state.apply(step, &mut batch, effects)).collect();
            answers.push(Decided { answer, done, synced });
            MutexGuard::bump(&mut state);
        }
        state.settle(effects);
        (answers, state.account())
    }

    /// One group without submits: what `weir bench store` measures.
    pub fn commit_rows(&mut self, writes: Vec<Write>) -> Result<(), CommitError> {
        let now = self.clock.now();
        self.commit(now, &writes)?;
        self.shared.shelf.apply(writes);
        self.checkpoint_if_due(false);
        Ok(())
    }

    /// Writes a record at the store's own level.
    fn commit(&mut self, at: UnixMillis, writes: &[Write]) -> Result<(), CommitError> {
        self.log.append(at, writes)?;
        match self.sync {
            true => self.make_durable(at),
            false => self.note_acknowledged(at, false),
        }
    }

    /// Syncs every record, then the mark that says they are acknowledged.
    fn make_durable(&mut self, at: UnixMillis) -> Result<(), CommitError> {
        self.log.sync().map_err(|source| self.log.failed("sync", source))?;
        self.shared.counters.synced();
        self.note_acknowledged(at, true)
    }

    /// Records up to the newest must be there when the store is opened again. Where the level asks for the disk, those
    /// that were answered without it are not counted on.
    fn note_acknowledged(&mut self, at: UnixMillis, sync: bool) -> Result<(), CommitError> {
        let marked = Marked { sequence: self.log.sequence(), at, salt: self.salt };
        self.mark.write(marked, sync).map_err(CommitError::Mark)
    }

    /// Lets readers and the mirror see what is durable now.
    fn show(&self, mut effects: Effects) {
        self.shared.shelf.apply(std::mem::take(&mut effects.writes));
        fault::reach("tables.after_apply");
        if !effects.is_heard() {
            return;
        }
        if let Some(mirror) = self.shared.mirror.lock().as_ref() {
            effects.tell(&**mirror);
        }
    }

    /// What was not written was not shown either: the state goes back to what the tables say. What was shown and is not
    /// durable ends the store.
    fn take_back(&mut self, error: &CommitError, answers: &mut [Decided]) {
        let refusal = match error {
            CommitError::Append(AppendError::Full) => Refusal::DiskFull,
            _ => Refusal::Unknown,
        };
        tracing::error!(cause = %error, "a group commit failed");
        let results = answers.iter_mut().flat_map(|decided| decided.answer.iter_mut());
        results.filter(|result| result.is_ok()).for_each(|result| *result = Err(refusal));
        let reloaded = match refusal {
            Refusal::DiskFull => self.reload(),
            _ => false,
        };
        if !reloaded {
            tracing::error!("the store takes nothing more until it is opened again");
            self.shared.failed.store(true, Ordering::Release);
        }
    }

    fn reload(&mut self) -> bool {
        let mut state = self.shared.state.lock();
        match load(&self.shared.shelf, state.rules().clone(), self.clock.next()) {
            Ok((loaded, _)) => {
                let old: State = std::mem::replace(&mut state, loaded);
                state.carry_over(old, self.shared.counters.account());
                true
            }
            Err(cause) => {
                tracing::error!(%cause, "the tables cannot be read back");
                false
            }
        }
    }

    fn answer(&self, answers: Vec<Decided>) {
        fault::reach("answer.before");
        for Decided { answer, done, .. } in answers {
            for refusal in answer.iter().filter_map(|result| result.as_ref().err()) {
                self.shared.counters.refused(*refusal, 1);
            }
            if catch_unwind(AssertUnwindSafe(|| done(answer))).is_err() {
                tracing::error!("an answer of the store was taken by a panic");
            }
        }
    }

    /// Whether the disk and the log have room for what grows.
    fn may_grow(&mut self, bytes: u64) -> bool {
        let log_is_stuck = self.checkpoints.is_failing()
            && self.log.bytes() + self.checkpoints.log_bytes() > 2 * self.config.log_bytes_max;
        let (_, unmoved) = self.shared.shelf.rows_bytes();
        self.is_full = !self.space.has_room_to_grow(bytes, unmoved);
        !self.is_full && !log_is_stuck
    }

    /// A checkpoint begins when log or memory are large, and on a full disk as soon as there is
    /// something to move. There the log is kept small, too: acknowledgements wait for a checkpoint
    /// rather than use up the reserve while tables are merged.
    fn checkpoint_if_due(&mut self, disk_is_full: bool) {
        let (rows_bytes, _) = self.shared.shelf.rows_bytes();
        let log_bytes_max = match disk_is_full {
            true => self.config.log_bytes_max.min((self.space.reserve() / 4).max(LOG_WORTH_FREEING_BYTES)),
            false => self.config.log_bytes_max,
        };
        let large = self.log.bytes().max(rows_bytes) > log_bytes_max;
        let freeing = disk_is_full && self.may_free();
        if !large && !freeing {
            return;
        }
        if large && self.checkpoints.is_busy() {
            self.checkpoints.wait();
        }
        if !self.checkpoints.is_busy() && self.space.has_room_to_move(rows_bytes) {
            self.freed_at = Some(Instant::now());
            self.begin_checkpoint();
        }
    }

    fn may_free(&self) -> bool {
        let lately = self.freed_at.is_some_and(|at| at.elapsed() < FREE_EVERY);
        self.log.bytes() > LOG_WORTH_FREEING_BYTES || !lately
    }

    fn begin_checkpoint(&mut self) {
        let segments = match self.log.seal() {
            Ok(segments) => segments,
            Err(cause) => return tracing::warn!(%cause, "no checkpoint for now"),
        };
        let applied = Applied { sequence: self.log.sequence(), at: self.clock.now() };
        if let Some(overlay) = self.shared.shelf.freeze() {
            self.checkpoints.begin(Order { applied, overlay, segments });
        }
    }

    /// Removes rows that belong to nothing any more. What cannot be removed now is found again.
    fn clear(&mut self, garbage: Vec<Key>) {
        if garbage.is_empty() {
            return;
        }
        let writes: Vec<Write> =
            garbage.into_iter().map(|key| Write { key, change: Change::Delete }).collect();
        let now = self.clock.now();
        match self.commit(now, &writes) {
            Ok(()) => self.shared.shelf.apply(writes),
            Err(CommitError::Append(AppendError::Full)) => {}
            Err(cause) => {
                tracing::error!(%cause, "the store cannot be written");
                self.shared.failed.store(true, Ordering::Release);
            }
        }
    }
}
