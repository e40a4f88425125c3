//! A lane: the one way into a shard. It makes batches of what is submitted, keeps some in flight, and sees each
//! through to its answer, whatever happens to the connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::FuturesOrdered;
use metrics::counter;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tracing::warn;

use super::account::ShardRow;
use super::decode::answers;
use super::encode::Steps;
use super::errors::Policy;
use super::library;
use super::servers::Connection;
use super::shard::Shard;
use super::store::Context;
use super::submit::Work;
use crate::{Answer, Outcome, Refusal};

mod call;
mod command;
mod heal;
mod intake;
mod lapsed;
mod levels;
mod raise;
mod tell;
mod window;

use call::{Failure, Heard, Reply, call};
use command::command;
pub(super) use intake::Intake;
use raise::Raised;
pub(super) use window::Budget;
use window::{ChangedAt, Window};

/// Batches that may be unanswered; the library keeps as many answers.
const WINDOW: usize = 4;

/// Ops in one batch: a server does nothing else while it runs.
const OPS_MAX: usize = 500;

/// Works in line above which a batch is sent although others are in flight. Below, it waits and grows.
const EAGER: usize = 64;

/// Where steps for one shard go.
pub(super) struct Lane {
    pub shard: Shard,
    pub intake: Intake,
    /// The newest batch that the shard has applied.
    pub last: AtomicU64,
    /// What was acknowledged lately.
    pub window: Mutex<Window>,
    /// What waits for more than the store's own level.
    raised: Raised,
    /// The shard was seen to know less than that.
    is_suspect: AtomicBool,
}

impl Lane {
    pub fn new(shard: Shard, budget: Arc<Budget>) -> Arc<Lane> {
        let (last, is_suspect) = (AtomicU64::new(0), AtomicBool::new(false));
        let window = Mutex::new(Window::new(budget));
        let raised = Raised::default();
        Arc::new(Lane { shard, intake: Intake::default(), last, window, raised, is_suspect })
    }

    /// The shard was seen to know less than it had applied: the lane looks for itself.
    pub fn suspect(&self) {
        self.is_suspect.store(true, Ordering::Release);
        self.intake.ring();
    }

    /// Runs until the intake is closed and everything is answered.
    pub async fn run(self: Arc<Lane>, context: Arc<Context>) {
        let row = context.accounts.row(self.shard);
        let mut runner = Runner {
            lane: self,
            context,
            pending: VecDeque::new(),
            returned: Vec::new(),
            is_healing: false,
            row,
            sent: VecDeque::new(),
            calls: FuturesOrdered::new(),
            connection: None,
            attendant: None,
            newest: 0,
            last: 0,
            epoch: row.epoch,
            failing_since: None,
            pause: Duration::ZERO,
        };
        while runner.turn().await {}
        runner.lane.raised.close();
        if let Some(attendant) = runner.attendant {
            // An error says that the runtime has ended, and whoever waits with it.
            let _ = attendant.await;
        }
    }
}

/// Steps that are applied together.
struct Batch {
    number: u64,
    works: Vec<Work>,
    /// The packed steps, kept until they are answered.
    packed: Vec<u8>,
    steps: u64,
    /// Only what frees memory.
    free: bool,
    born: Instant,
    /// Whether an attempt ended without saying that it did nothing.
    may_be_done: bool,
    /// It is not to be applied any more: its number is sent without its steps.
    is_taken_back: bool,
    /// A rollback has undone it, and nobody waits for its answer.
    again: Option<ChangedAt>,
}

struct Runner {
    lane: Arc<Lane>,
    context: Arc<Context>,
    /// Sent and not answered, in order; as many as there are calls.
    sent: VecDeque<Batch>,
    /// To be sent before anything new, after a rollback.
    pending: VecDeque<Batch>,
    /// Whether some of them were undone by it.
    is_healing: bool,
    /// Taken back with their batches, and to be done all the same.
    returned: Vec<Work>,
    /// As it was answered last.
    row: ShardRow,
    calls: FuturesOrdered<BoxFuture<'static, Result<Heard, Failure>>>,
    connection: Option<Connection>,
    /// Who sees to [`Lane::raised`].
    attendant: Option<JoinHandle<()>>,
    /// The newest number given.
    newest: u64,
    /// The newest number known to be applied.
    last: u64,
    epoch: u64,
    failing_since: Option<Instant>,
    pause: Duration,
}

impl Runner {
    /// False when there is nothing left to do.
    async fn turn(&mut self) -> bool {
        let lane = self.lane.clone();
        self.return_works();
        while self.sent.len() < WINDOW
            && let Some(batch) = self.pending.pop_front()
        {
            self.sent.push_back(batch);
            self.send(self.sent.len() - 1).await;
        }
        while self.pending.is_empty()
            && self.sent.len() < WINDOW
            && (self.sent.is_empty() || lane.intake.len() >= EAGER)
        {
            let works = lane.intake.take(OPS_MAX, self.context.batch_bytes_max);
            if works.is_empty() {
                break;
            }
            let works = self.refuse_lapsed(works);
            if !works.is_empty() {
                self.add(works).await;
            }
        }
        if self.sent.is_empty() {
            if lane.is_suspect.swap(false, Ordering::AcqRel) {
                self.look().await;
                return true;
            }
            if lane.intake.is_drained() {
                return false;
            }
            lane.intake.rung().await;
            return true;
        }
        tokio::select! {
            biased;
            Some(answer) = self.calls.next() => self.settle(answer).await,
            () = lane.intake.rung(), if self.sent.len() < WINDOW && lane.intake.len() < EAGER => {}
        }
        true
    }

    async fn add(&mut self, works: Vec<Work>) {
        let mut steps = Steps::default();
        let mut count = 0;
        for step in works.iter().flat_map(Work::steps) {
            steps.add(step);
            count += 1;
        }
        self.newest += 1;
        let born = works.first().map_or_else(Instant::now, |work| work.born);
        let free = self.context.servers.is_memory_high(self.lane.shard);
        let packed = steps.into_bytes();
        let (number, steps) = (self.newest, count);
        let (may_be_done, is_taken_back, again) = (false, false, None);
        let batch = Batch { number, works, packed, steps, free, born, may_be_done, is_taken_back, again };
        self.sent.push_back(batch);
        self.send(self.sent.len() - 1).await;
    }

    /// Starts the call of one of the batches; those before it are under way.
    async fn send(&mut self, index: usize) {
        if self.connection.is_none() {
            match self.context.servers.commands(self.lane.shard).await {
                Ok(connection) => self.connection = Some(connection),
                Err(away) => return self.calls.push_back(ready(Err(away.into())).boxed()),
            }
        }
        let Some(connection) = self.connection.clone() else { return };
        self.take_back_lapsed(index);
        let before = index.checked_sub(1).map_or(self.last, |before| self.sent[before].number);
        let batch = &self.sent[index];
        let command = command(&self.context, self.lane.shard, batch, before, self.epoch);
        let prefix = self.context.layout.prefix.clone();
        let confirming = self.confirming(&connection, batch);
        self.calls.push_back(call(connection, command, prefix, self.lane.shard, confirming).boxed());
    }

    async fn settle(&mut self, answer: Result<Heard, Failure>) {
        match answer {
            Ok(Heard::Confirmed(reply)) => self.answered(reply),
            Ok(Heard::Applied { answers, confirming }) => {
                self.answer_early(&answers);
                self.calls.push_front(confirming);
            }
            Err(failure) => self.recover(failure).await,
        }
    }

    fn answered(&mut self, reply: Reply) {
        let Some(batch) = self.sent.pop_front() else { return };
        self.reached(batch.number);
        (self.row, self.epoch) = (reply.row, reply.row.epoch);
        self.failing_since = None;
        self.pause = Duration::ZERO;
        if reply.repeated {
            counter!("weir_store_redis_batches_repeated_total").increment(1);
        }
        if batch.again.is_some() {
            self.context.accounts.note(self.lane.shard, reply.row);
            return self.healed(batch, &reply);
        }
        if batch.is_taken_back && reply.is_empty() {
            self.context.accounts.note(self.lane.shard, reply.row);
            return self.taken_back(batch);
        }
        let steps = batch.works.iter().flat_map(Work::steps);
        let answers = answers(steps, &reply.answers);
        let account = self.context.accounts.note(self.lane.shard, reply.row);
        let records = batch.works.iter().map(|work| work.steps().count()).sum();
        self.context.counters.committed(records, batch.born.elapsed(), account);
        match answers {
            Ok(answers) => self.hand_out(batch, answers),
            Err(error) => {
                warn!(shard = %self.lane.shard, %error, "redis_answer_garbled");
                Failure::from(error).kind().count();
                self.refuse(batch, Refusal::Unknown);
            }
        }
    }

    fn hand_out(&mut self, mut batch: Batch, answers: Answer) {
        let (number, works) = (batch.number, std::mem::take(&mut batch.works));
        self.tell_mirror(works.iter().flat_map(Work::steps).zip(&answers));
        self.keep(batch, Some(last_change(&answers)));
        let mut answers = answers.into_iter();
        for work in works {
            let own: Answer = work.steps().zip(&mut answers).map(|(_, answer)| answer).collect();
            if work.is_answered() {
                continue;
            }
            self.count_refused(&own);
            match self.raise(&work, &own) {
                Some(level) => self.wait_for(level, number, work, own),
                None => work.answer(own),
            }
        }
    }

    fn count_refused(&self, answers: &Answer) {
        for refusal in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            self.context.counters.refused(*refusal, 1);
        }
    }

    fn refuse(&self, batch: Batch, refusal: Refusal) {
        for work in batch.works.into_iter().filter(|work| !work.is_answered()) {
            self.context.counters.refused(refusal, work.steps().count());
            work.refuse(refusal);
        }
    }

    /// The oldest batch has failed; those behind it have been refused for that, or their answers are lost, too. All
    /// are sent again, in order.
    async fn recover(&mut self, failure: Failure) {
        let mut failures = vec![failure];
        while let Some(answer) = self.calls.next().await {
            failures.extend(answer.err());
        }
        for (batch, failure) in self.sent.iter_mut().zip(&failures) {
            batch.may_be_done |= failure.may_be_done();
        }
        for failure in &failures {
            self.note(failure);
        }
        self.follow(&failures[0]).await;
        for index in 0..self.sent.len() {
            self.send(index).await;
        }
    }

    fn note(&mut self, failure: &Failure) {
        failure.kind().count();
        if let (Failure::Redis(error), Some(connection)) = (failure, &self.connection) {
            self.context.servers.lost(connection, error);
        }
    }

    async fn follow(&mut self, failure: &Failure) {
        let failing_since = *self.failing_since.get_or_insert_with(Instant::now);
        match failure.kind().policy() {
            Policy::Load => {
                if let Some(connection) = &mut self.connection
                    && let Err(error) = library::load(connection).await
                {
                    self.note(&error.into());
                    self.wait(failing_since).await;
                }
            }
            Policy::Free => {
                if let Some(batch) = self.sent.front_mut() {
                    batch.free = true;
                }
            }
            Policy::Chain => self.chain(failure, failing_since).await,
            Policy::Adopt => self.epoch = failure.told().unwrap_or(0),
            Policy::Again | Policy::AskAgain => {
                self.connection = None;
                self.wait(failing_since).await;
            }
            Policy::GiveUp => {
                warn!(shard = %self.lane.shard, error = %failure, "redis_batch_failed");
                self.give_up();
            }
        }
    }

    /// The shard names another batch as its last one.
    async fn chain(&mut self, failure: &Failure, failing_since: Instant) {
        let Some(told) = failure.told() else { return self.give_up() };
        if told < self.last {
            return self.roll_back(told, failing_since).await;
        }
        if let Some(batch) = self.sent.pop_front_if(|batch| batch.number <= told) {
            self.drop_batch(batch, true);
        }
        self.reached(told);
    }

    /// Gives up what has waited for too long, or lets a while pass.
    async fn wait(&mut self, failing_since: Instant) {
        let limit = self.context.unknown_wait;
        let lasts = failing_since.elapsed() > limit;
        let mut gave_up = false;
        while let Some(batch) = self.sent.front()
            && batch.again.is_none()
            && (batch.born.elapsed() > limit || (lasts && !batch.may_be_done))
        {
            self.give_up();
            gave_up = true;
        }
        if lasts && self.is_healing {
            self.refuse_behind();
        }
        if gave_up && self.sent.is_empty() {
            return;
        }
        let config = self.context.servers.config();
        let longest = Duration::from_millis(config.back_off_max_ms.max(1));
        self.pause = (self.pause * 2).clamp(Duration::from_millis(config.back_off_ms.max(1)), longest);
        tokio::time::sleep(self.pause).await;
    }

    fn give_up(&mut self) {
        if let Some(batch) = self.sent.pop_front() {
            self.drop_batch(batch, false);
        }
    }

    fn drop_batch(&mut self, batch: Batch, is_applied: bool) {
        if batch.again.is_some() {
            return self.not_healed(&batch, is_applied);
        }
        let refusal = if batch.may_be_done { Refusal::Unknown } else { Refusal::Unavailable };
        self.refuse(batch, refusal);
    }
}

/// What a batch has changed last.
fn last_change(answers: &Answer) -> ChangedAt {
    let mut last = ChangedAt::default();
    for outcome in answers.iter().flatten().flatten() {
        match outcome {
            Outcome::Retained(position) => last.ms = last.ms.max(position.ms),
            Outcome::Exchanged { positions, version } => {
                last.ms = positions.iter().map(|position| position.ms).fold(last.ms, u64::max);
                last.guard = last.guard.max(*version);
            }
            _ => {}
        }
    }
    last
}
