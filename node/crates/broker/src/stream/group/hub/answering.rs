//! Answers of members, on their way to the places of the partitions they are about.

use std::sync::Arc;

use super::{Hub, State};
use crate::broker::Broker;
use crate::clock;
use crate::stream::group::effects::{Effects, owed_id};
use crate::stream::group::member::{Receipt, Refused};
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

    /// A member has finished records, which brings about their effects; see [`Hub::answer`].
    pub fn finish(
        self: &Arc<Self>,
        broker: &Broker,
        member: u32,
        finished: Vec<(Receipt, Effects)>,
    ) -> Vec<Refused> {
        if !broker.store().stands() {
            return finished
                .iter()
                .map(|(receipt, _)| Refused { receipt: *receipt, why: NotYours::CutOff })
                .collect();
        }
        let now = clock::now_ms();
        let (mut refused, mut is_much) = (Vec::new(), false);
        let mut state = self.state.lock();
        for (receipt, effects) in finished {
            let (why, more) = state.answer(member, &[receipt], Verb::Ack, now);
            is_much |= more;
            match state.posts.get_mut(&receipt.partition).filter(|_| why.is_empty()) {
                Some(post) => {
                    let generation = post.key.generation;
                    let id = |nth| owed_id(&self.key, generation, &receipt, nth);
                    let owed = effects.owed.into_iter().enumerate().map(|(nth, message)| (id(nth), message));
                    // What is owed waits for nothing but the store.
                    is_much |= !effects.kept.is_empty() || owed.len() > 0;
                    post.is_awaited |= is_much;
                    post.debts.add(effects.kept, owed);
                }
                None => refused.extend(why),
            }
        }
        state.wake_members();
        let reads = state.reads(now);
        drop(state);
        self.read(broker, reads);
        if is_much {
            self.ring();
        }
        refused
    }

    /// Why a member has not managed a record, for its dead letter.
    pub fn say(&self, receipt: &Receipt, reason: &Arc<str>) {
        if let Some(post) = self.state.lock().posts.get_mut(&receipt.partition) {
            post.place.say(receipt.mark, reason.clone());
        }
    }
}

impl State {
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

fn all(receipts: &[Receipt], why: NotYours) -> impl Iterator<Item = Refused> {
    receipts.iter().map(move |receipt| Refused { receipt: *receipt, why })
}
