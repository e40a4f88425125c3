//! Answers of members, on their way to the places of the partitions they are about.

use std::sync::Arc;

use smallvec::SmallVec;

use super::post::Post;
use super::{Hub, State};
use crate::broker::Broker;
use crate::clock;
use crate::stream::group::catalog::GroupKey;
use crate::stream::group::effects::Effects;
use crate::stream::group::member::{Finished, Receipt, Refused};
use crate::stream::group::place::NotYours;

/// An answer of a member.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verb {
    Ack,
    Nack {
        delay_ms: Option<u64>,
    },
    /// It will never be managed.
    Reject,
    /// It was not looked at.
    PutBack,
    InProgress,
}

impl Hub {
    /// A member answers for records. Returns the receipts that were not its own any more.
    pub fn answer(
        self: &Arc<Self>,
        broker: &Broker,
        member: u32,
        receipts: &[Receipt],
        verb: Verb,
    ) -> Vec<Refused> {
        if !broker.store().stands() {
            return all(receipts, NotYours::CutOff).collect();
        }
        let now = clock::now_ms();
        let mut state = self.state.lock();
        let (refused, is_much) = state.answer(member, receipts, verb, now);
        state.wake_members();
        let reads = state.reads(now);
        drop(state);
        self.read(broker, reads);
        if is_much {
            self.ring();
        }
        refused
    }

    /// A member has finished records, which brings about their effects. Returns the receipts that had no effect; all of
    /// them back if the node is cut off from its store. See [`super::super::Answers::finish`].
    pub fn finish(
        self: &Arc<Self>,
        broker: &Broker,
        member: u32,
        finished: Vec<Finished>,
    ) -> Result<Vec<Refused>, Vec<Finished>> {
        let now = clock::now_ms();
        let mut state = self.state.lock();
        if !broker.store().stands() && state.has_seat(member) {
            return Err(finished);
        }
        let (refused, is_much) = state.finish(&self.key, member, finished, now);
        state.wake_members();
        let reads = state.reads(now);
        drop(state);
        self.read(broker, reads);
        if is_much {
            self.ring();
        }
        Ok(refused)
    }

    /// The number of the newest batch.
    pub fn newest_batch(&self) -> u64 {
        self.state.lock().batches
    }

    /// Why a member has not managed a record, for its dead letter.
    pub fn say(&self, receipt: &Receipt, reason: &Arc<str>) {
        if let Some(post) = self.state.lock().posts.get_mut(&receipt.partition) {
            post.place.say(receipt.mark, reason.clone());
        }
    }
}

impl State {
    fn has_seat(&self, member: u32) -> bool {
        self.seats.get(&member).is_some_and(|seat| seat.ended.is_none())
    }

    /// Also says whether there is something to be stored that waits for nothing.
    fn finish(
        &mut self,
        group: &GroupKey,
        member: u32,
        finished: Vec<Finished>,
        now: u64,
    ) -> (Vec<Refused>, bool) {
        let (mut refused, mut is_much) = (Vec::new(), false);
        let State { seats, posts, .. } = self;
        let Some(seat) = seats.get_mut(&member).filter(|seat| seat.ended.is_none()) else {
            let receipts: Vec<_> = finished.iter().map(|finished| finished.receipt).collect();
            return (all(&receipts, NotYours::TakenBack).collect(), false);
        };
        seat.moved_at = now;
        // Partitions of which a record was refused.
        let mut broken: SmallVec<[u32; 4]> = SmallVec::new();
        for Finished { receipt, fence, effects } in finished {
            let Receipt { partition, mark, attempt } = receipt;
            let Some(post) = posts.get_mut(&partition).filter(|post| post.fence == fence) else {
                refused.push(Refused { receipt, why: NotYours::Elsewhere });
                continue;
            };
            let freed = match broken.contains(&partition) {
                true => post.place.put_back(member, mark, attempt),
                false => post.place.ack(member, mark, attempt),
            };
            freed.iter().for_each(|bytes| seat.free(*bytes));
            match freed {
                Ok(_) if broken.contains(&partition) => {
                    refused.push(Refused { receipt, why: NotYours::TakenBack });
                }
                Ok(_) => is_much |= post.finished(group, &receipt, effects, now),
                Err(why) => {
                    broken.push(partition);
                    refused.push(Refused { receipt, why });
                }
            }
        }
        (refused, is_much)
    }

    /// Also says whether the actor should store what changed without waiting for more.
    fn answer(&mut self, member: u32, receipts: &[Receipt], verb: Verb, now: u64) -> (Vec<Refused>, bool) {
        let State { seats, posts, .. } = self;
        let Some(seat) = seats.get_mut(&member).filter(|seat| seat.ended.is_none()) else {
            return (all(receipts, NotYours::TakenBack).collect(), false);
        };
        let (mut refused, mut is_much) = (Vec::new(), false);
        for run in receipts.chunk_by(|a, b| a.partition == b.partition) {
            let Some(post) = run.first().and_then(|first| posts.get_mut(&first.partition)) else {
                refused.extend(all(run, NotYours::Elsewhere));
                continue;
            };
            for receipt in run {
                let (mark, attempt) = (receipt.mark, receipt.attempt);
                let freed = match verb {
                    Verb::Ack => post.place.ack(member, mark, attempt).map(Some),
                    Verb::Nack { delay_ms } => {
                        post.place.nack(member, mark, attempt, delay_ms, now).map(Some)
                    }
                    Verb::Reject => post.place.reject(member, mark, attempt).map(Some),
                    Verb::PutBack => post.place.put_back(member, mark, attempt).map(Some),
                    Verb::InProgress => post.place.in_progress(member, mark, attempt, now).map(|()| None),
                };
                match freed {
                    Ok(Some(bytes)) => seat.free(bytes),
                    Ok(None) => {}
                    Err(why) => refused.push(Refused { receipt: *receipt, why }),
                }
            }
            seat.moved_at = now;
            is_much |= post.touched(now);
        }
        (refused, is_much)
    }
}

impl Post {
    /// A record is finished; says whether that is to be stored without waiting for more.
    fn finished(&mut self, group: &GroupKey, receipt: &Receipt, effects: Effects, now: u64) -> bool {
        // What is owed waits for nothing but the store.
        let brings = !effects.is_empty();
        if !effects.owed.is_empty() {
            let ids = self.owed_ids(group);
            let owed = effects.owed.into_iter().enumerate();
            self.debts.owe(owed.map(|(nth, message)| (ids.of(receipt.mark, nth), message)));
        }
        self.debts.keep(effects.kept);
        self.is_awaited |= brings;
        self.touched(now) || brings
    }
}

fn all(receipts: &[Receipt], why: NotYours) -> impl Iterator<Item = Refused> {
    receipts.iter().map(move |receipt| Refused { receipt: *receipt, why })
}
