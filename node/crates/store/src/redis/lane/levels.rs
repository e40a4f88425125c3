//! Which answers of a batch leave before it is confirmed, and which wait for more.

use super::call::Confirming;
use super::raise::{Raising, attend};
use super::{Batch, Runner};
use crate::redis::decode::answers;
use crate::redis::level::Confirm;
use crate::redis::servers::Connection;
use crate::redis::submit::Work;
use crate::{Answer, Level};

impl Runner {
    /// What of a batch is to be confirmed.
    pub(super) fn confirming(&self, connection: &Connection, batch: &Batch) -> Confirming {
        // The usual batch is through with this.
        if batch.is_taken_back || batch.works.iter().all(|work| work.level.is_none()) {
            return Confirming::All;
        }
        let at_once = batch.works.iter().filter(|work| self.is_enough(connection, work)).count();
        match at_once {
            0 => Confirming::All,
            all if all == batch.works.len() => Confirming::Nothing,
            _ => Confirming::Rest,
        }
    }

    /// Whether the answer of the server is already as much as was asked for, and the store's own level is more.
    fn is_enough(&self, connection: &Connection, work: &Work) -> bool {
        let lower = work.level.filter(|level| *level < self.context.servers.level());
        lower.is_some_and(|level| connection.proves(level) == Ok(Confirm::Answer))
    }

    /// The oldest batch is applied: who has asked for no more hears.
    pub(super) fn answer_early(&mut self, packed: &[u8]) {
        let (Some(connection), Some(mut batch)) = (self.connection.clone(), self.sent.pop_front()) else {
            return;
        };
        // An answer that makes no sense is reported when all is confirmed.
        if let Ok(answers) = answers(batch.works.iter().flat_map(Work::steps), packed) {
            let mut answers = answers.into_iter();
            for work in &mut batch.works {
                let own: Answer = work.steps().zip(&mut answers).map(|(_, answer)| answer).collect();
                if self.is_enough(&connection, work) && !work.is_answered() {
                    self.tell_mirror(work.steps().zip(&own));
                    self.count_refused(&own);
                    work.answer_early(own);
                }
            }
        }
        self.sent.push_front(batch);
    }

    /// The level that work of a batch that is through waits for beyond that.
    pub(super) fn raise(&self, work: &Work, answers: &Answer) -> Option<Level> {
        let level = work.level.filter(|level| *level > self.context.servers.level())?;
        let is_kept = answers.iter().any(Result::is_ok);
        let is_enough =
            || self.connection.as_ref().is_some_and(|one| one.proves(level) == Ok(Confirm::Answer));
        (is_kept && !is_enough()).then_some(level)
    }

    pub(super) fn wait_for(&mut self, level: Level, number: u64, mut work: Work, answer: Answer) {
        work.open_gate(&answer);
        if self.lane.raised.push(Raising { work, answer, number, level }) {
            self.attendant = Some(tokio::spawn(attend(self.lane.clone(), self.context.clone())));
        }
    }
}
