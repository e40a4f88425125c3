//! Answers that wait for more than the store's own level: their batch is through, and the lane goes on without them.
//!
//! They are confirmed over a connection of their own, so that a replica that is slow holds up nobody who has not asked
//! for it. Replication keeps the order: who has a mark that was set after a batch was seen to be there has the batch.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use parking_lot::Mutex;
use redis::{Pipeline, Value};
use tokio::sync::Notify;

use super::Lane;
use crate::redis::level::{Confirm, Wait};
use crate::redis::servers::Connection;
use crate::redis::store::Context;
use crate::redis::submit::Work;
use crate::{Answer, Level, Refusal};

/// How long one wait for replicas or the disk lasts: those who came meanwhile join the next one.
const ROUND: Duration = Duration::from_millis(100);

/// How long the connection is kept while nobody waits.
const IDLE: Duration = Duration::from_secs(60);

/// Bounded by the room for messages, which each keeps until it is answered.
#[derive(Default)]
pub(in crate::redis) struct Raised {
    waiting: Mutex<Waiting>,
    bell: Notify,
}

#[derive(Default)]
struct Waiting {
    works: Vec<Raising>,
    is_attended: bool,
    is_closed: bool,
}

/// Work that is done and not answered.
pub(super) struct Raising {
    pub work: Work,
    pub answer: Answer,
    /// The number of its batch.
    pub number: u64,
    pub level: Level,
}

impl Raised {
    /// Puts work in line. True when nobody attends to the line: [`attend`] is to be started.
    pub(super) fn push(&self, raising: Raising) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.works.push(raising);
        let is_first = !std::mem::replace(&mut waiting.is_attended, true);
        drop(waiting);
        self.bell.notify_one();
        is_first
    }

    /// What waits is seen to, and then nobody attends any more.
    pub(super) fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.bell.notify_one();
    }

    fn take(&self) -> Vec<Raising> {
        std::mem::take(&mut self.waiting.lock().works)
    }

    /// Whether whoever attends may go.
    fn leave(&self, is_idle: bool) -> bool {
        let mut waiting = self.waiting.lock();
        let leaves = waiting.works.is_empty() && (is_idle || waiting.is_closed);
        waiting.is_attended = !leaves;
        leaves
    }
}

/// Sees to the line of a lane until nobody has come to it for a while, or it is closed.
pub(super) async fn attend(lane: Arc<Lane>, context: Arc<Context>) {
    let mut attendant = Attendant { lane, context, connection: None, works: Vec::new() };
    let mut is_idle = false;
    loop {
        attendant.works.extend(attendant.lane.raised.take());
        if attendant.works.is_empty() {
            if attendant.lane.raised.leave(is_idle) {
                return;
            }
            is_idle = tokio::time::timeout(IDLE, attendant.lane.raised.bell.notified()).await.is_err();
            continue;
        }
        attendant.round().await;
    }
}

struct Attendant {
    lane: Arc<Lane>,
    context: Arc<Context>,
    connection: Option<Connection>,
    works: Vec<Raising>,
}

/// What one round has found.
struct Found {
    /// The newest batch that the shard has.
    batch: u64,
    confirmed: BTreeSet<Confirm>,
}

impl Attendant {
    /// Asks once for everything that waits, and answers what is confirmed, or has waited for too long.
    async fn round(&mut self) {
        let found = self.ask().await;
        if found.is_none() {
            self.connection = None;
        }
        let until = self.context.unknown_wait;
        let mut pause = found.is_none();
        for raising in std::mem::take(&mut self.works) {
            let is_late = raising.work.born.elapsed() > until;
            match &found {
                Some(found) if raising.number > found.batch => {
                    // The server went back. The lane puts it there again, but who asked for more cannot know.
                    self.lane.suspect();
                    self.refuse(raising);
                }
                Some(found)
                    if self.confirm(raising.level).is_some_and(|one| found.confirmed.contains(&one)) =>
                {
                    raising.work.answer(raising.answer);
                }
                _ if is_late => self.refuse(raising),
                _ => {
                    pause |= self.confirm(raising.level).is_none();
                    self.works.push(raising);
                }
            }
        }
        if pause && !self.works.is_empty() {
            tokio::time::sleep(ROUND).await;
        }
    }

    fn refuse(&self, raising: Raising) {
        counter!("weir_store_redis_raises_missed_total").increment(1);
        self.context.counters.refused(Refusal::Unknown, raising.answer.len());
        raising.work.refuse(Refusal::Unknown);
    }

    /// How the level is confirmed; `None` = it is not proved now.
    fn confirm(&self, level: Level) -> Option<Confirm> {
        self.connection.as_ref()?.proves(level).ok()
    }

    /// Which batch is there, and who has it. `None` = there is no answer.
    async fn ask(&mut self) -> Option<Found> {
        let shard = self.lane.shard;
        let mut connection = match self.connection.take().filter(Connection::is_good) {
            Some(connection) => connection,
            None => self.context.servers.reader(shard).await.ok()?,
        };
        let wanted: BTreeSet<Confirm> =
            self.works.iter().filter_map(|raising| connection.proves(raising.level).ok()).collect();
        let (question, waits) = self.question(&wanted);
        let within = ROUND * 4 + self.context.servers.config().response_timeout();
        let answers = tokio::time::timeout(within, question.query_async::<Vec<Value>>(&mut connection)).await;
        let mut answers =
            answers.ok()?.inspect_err(|error| self.context.servers.lost(&connection, error)).ok()?;
        let batch = redis::from_redis_value::<Option<u64>>(answers.first()?.clone()).ok()?.unwrap_or(0);
        let confirmations: Vec<Value> = answers.drain(1..).collect();
        let is_confirmed = |one: &Confirm| {
            let asked = waits.iter().zip(&confirmations);
            *one == Confirm::Answer || asked.into_iter().any(|(wait, answer)| wait.reaches(*one, answer))
        };
        let confirmed = wanted.into_iter().filter(is_confirmed).collect();
        self.connection = Some(connection);
        Some(Found { batch, confirmed })
    }

    /// Looks for the newest batch, then sets the mark, then waits for who has it: for each number of replicas that
    /// anybody wants, of which there are no more than replicas, and for the disk.
    fn question(&self, wanted: &BTreeSet<Confirm>) -> (Pipeline, Vec<Wait>) {
        let Context { layout, node, .. } = &*self.context;
        let mut question = redis::pipe();
        let key = layout.key(self.lane.shard, &format!("batch:{}", node.incarnation));
        question.cmd("HGET").arg(key).arg("number");
        question.add_command(Connection::mark(&layout.prefix, self.lane.shard)).ignore();
        let waits: Vec<Wait> = wanted.iter().filter_map(|confirm| confirm.wait(ROUND)).collect();
        waits.iter().for_each(|wait| {
            question.add_command(wait.command());
        });
        (question, waits)
    }
}
