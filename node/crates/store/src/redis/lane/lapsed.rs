//! Messages that were to be kept in a term of the node's lease that is over. Their publishers may have gone on at another
//! node since: kept now, they would stand behind what they were sent before (`guarantees.md` 3). They are refused. A
//! batch that may have been applied already is sent once more without its steps, under its number: if it was, the
//! answers are those of the first time; if not, it never will be.

use metrics::counter;

use super::{Batch, Runner};
use crate::Refusal;
use crate::redis::submit::Work;

impl Runner {
    fn has_lapsed(&self, work: &Work) -> bool {
        let is_over = work.term.is_some_and(|term| self.context.term() != Some(term));
        is_over && work.brings_message()
    }

    /// What is left of works that have not been sent.
    pub(super) fn refuse_lapsed(&self, works: Vec<Work>) -> Vec<Work> {
        let (lapsed, works): (Vec<Work>, Vec<Work>) =
            works.into_iter().partition(|work| self.has_lapsed(work));
        lapsed.into_iter().for_each(|work| self.refuse_work(work));
        works
    }

    /// Before one of the batches is sent: it is taken back for one such work, and behind one that is taken back, for
    /// what is given to the lane again keeps its order.
    pub(super) fn take_back_lapsed(&mut self, index: usize) {
        let is_behind = index > 0 && self.sent[index - 1].is_taken_back;
        let batch = &self.sent[index];
        let lapsed = batch.works.iter().any(|work| !work.is_answered() && self.has_lapsed(work));
        self.sent[index].is_taken_back |= (lapsed || is_behind) && batch.again.is_none();
    }

    /// It was not applied, and will not be.
    pub(super) fn taken_back(&mut self, batch: Batch) {
        counter!("weir_store_redis_batches_taken_back_total").increment(1);
        let works = self.refuse_lapsed(batch.works);
        self.returned.extend(works);
    }

    /// What was taken back and is still to be done comes before all that is new, once nothing more is taken back.
    pub(super) fn return_works(&mut self) {
        let is_over = !self.sent.iter().chain(&self.pending).any(|batch| batch.is_taken_back);
        if is_over && !self.returned.is_empty() {
            self.lane.intake.give_back(std::mem::take(&mut self.returned));
        }
    }

    fn refuse_work(&self, work: Work) {
        self.context.counters.refused(Refusal::Unavailable, work.steps().count());
        work.refuse(Refusal::Unavailable);
    }
}
