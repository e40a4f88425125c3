//! A lane: takes the records of one key after the other and has them handled, one call at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_model::UnixMillis;
use weir_runtime::Host;

use super::kv::Kv;
use super::queue::{LineId, Queue, Taken};
use super::{CUT_OFF_LOOK, Job, id_of, put_back};
use crate::binding::reduce;
use crate::binding::work::{Outcome, Task, Work};
use crate::stream::group::{Answers, Delivered, Finished, NotYours, Receipt, Refused};

/// Records finished together.
const FINISHED_AT_ONCE: usize = 64;

/// What is finished waits no longer than this for more; other lanes may wait for its keys.
const FINISHED_WITHIN: Duration = Duration::from_millis(2);

pub(super) struct Lane {
    work: Arc<Work>,
    job: Job,
    answers: Answers,
    queue: Arc<Queue>,
    kv: Arc<Kv>,
    host: Arc<dyn Host>,
    /// Handled and not handed back: at most [`FINISHED_AT_ONCE`].
    finished: Vec<Finished>,
    /// The lines that this lane has: those of what is finished, and of the run it is at.
    lines: Vec<LineId>,
    /// Since when it has the first of them.
    begun: Instant,
}

impl Lane {
    pub fn new(work: Arc<Work>, job: Job, answers: Answers, queue: Arc<Queue>) -> Lane {
        let kv = Arc::new(Kv::new(answers.clone()));
        let (host, finished) = (kv.clone() as Arc<dyn Host>, Vec::with_capacity(FINISHED_AT_ONCE));
        Lane { work, job, answers, queue, kv, host, finished, lines: Vec::new(), begun: Instant::now() }
    }

    /// Until there will be nothing more.
    pub async fn run(mut self) {
        let (queue, mut run) = (self.queue.clone(), VecDeque::new());
        loop {
            let rung = queue.bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            match queue.take(&mut run) {
                Taken::Line(line) => self.handle_run(line, &mut run).await,
                // What this lane gives free may be what comes next.
                Taken::Nothing if !self.lines.is_empty() => self.hand_back().await,
                Taken::Nothing => rung.await,
                Taken::Over => return self.hand_back().await,
            }
        }
    }

    async fn handle_run(&mut self, line: LineId, run: &mut VecDeque<Delivered>) {
        if self.lines.is_empty() {
            self.begun = Instant::now();
        }
        self.lines.push(line);
        while let Some(record) = run.pop_front() {
            let is_in_order = self.handle(record).await;
            if !is_in_order || self.queue.is_closed() {
                self.give_up(&[line], run).await;
            }
            if self.finished.len() >= FINISHED_AT_ONCE {
                self.finish(run).await;
            }
        }
        if self.finished.len() >= FINISHED_AT_ONCE || self.begun.elapsed() >= FINISHED_WITHIN {
            self.hand_back().await;
        }
    }

    /// Handles a record. False when it comes again: what is behind it is not to overtake it.
    async fn handle(&mut self, delivered: Delivered) -> bool {
        let Delivered { receipt, fence, record, deliveries } = delivered;
        let position = record.mark.position;
        let text = position.to_string();
        self.kv.begin(receipt.partition);
        let task = Task {
            message: &record.message,
            key: &record.key,
            position: Some(&text),
            id: id_of(&receipt),
            published_at: UnixMillis(position.ms),
            attempt: deliveries,
        };
        let outcome = match &self.job {
            Job::Handle => self.work.call(&task, &self.host).await,
            Job::Map(reduction) => reduce::map(&self.work, reduction, &task, &self.kv).await,
            Job::Fold(reduction) => reduce::fold(&self.work, reduction, &task, &self.kv).await,
        };
        match outcome {
            Outcome::Finished(effects) => {
                self.kv.changed(&effects.kept);
                self.finished.push(Finished { receipt, fence, effects });
            }
            Outcome::Again { after, reason } => {
                answered(|| self.answers.fail(receipt, after, &reason)).await;
                return false;
            }
            Outcome::Rejected(reason) => answered(|| self.answers.reject(receipt, &reason)).await,
        }
        true
    }

    /// Gives back what is left of a run, and everything of these lines that was delivered by now.
    async fn give_up(&self, lines: &[LineId], run: &mut VecDeque<Delivered>) {
        let newest = self.answers.newest_batch();
        let mut back: Vec<Receipt> = run.drain(..).map(|record| record.receipt).collect();
        for line in lines {
            back.extend(self.queue.stop(*line, newest));
        }
        put_back(&self.answers, &back).await;
    }

    /// Hands back what is finished. If something of it was refused, nothing that may rest on it is handled.
    async fn finish(&mut self, run: &mut VecDeque<Delivered>) {
        if self.finished.is_empty() {
            return;
        }
        let refused = self.answers.finish(std::mem::take(&mut self.finished)).await;
        self.kv.handed_back();
        if !refused.is_empty() {
            self.give_up(&self.lines, run).await;
        }
    }

    /// The same, and gives free all lines.
    async fn hand_back(&mut self) {
        self.finish(&mut VecDeque::new()).await;
        self.queue.free(&mut self.lines);
    }
}

/// An answer, as soon as the node is not cut off from its store; one that is refused otherwise is about a record that is
/// another's by now.
async fn answered(answer: impl Fn() -> Result<(), Refused>) {
    while answer().is_err_and(|refused| refused.why == NotYours::CutOff) {
        tokio::time::sleep(CUT_OFF_LOOK).await;
    }
}
