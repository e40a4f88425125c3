//! The second step, and the third of a merging reducer: the state of a key follows from what it is given.

use std::sync::Arc;

use bytes::Bytes;
use weir_model::Message;
use weir_runtime::{Change, Invocation, Pool};

use super::topics::{self, About};
use super::{Cause, Given, Partial, Place, bounded, message, written};
use crate::binding::definition::Reduction;
use crate::binding::stream::Kv;
use crate::binding::work::{Answered, Outcome, Question, Task, Work, Wrong};
use crate::stream::group::Effects;

/// Folds a record of the binding's own stream into the state of its key.
pub(in super::super) async fn fold(work: &Work, reduction: &Reduction, task: &Task<'_>, kv: &Kv) -> Outcome {
    let fold = Fold { work, reduction, task, kv };
    let folded = match topics::about(&work.name.1, reduction.run, &task.message.topic) {
        Some(About::Given { partition, key }) => fold.reduce(partition, key).await,
        Some(About::Partial { key }) => fold.merge(key).await,
        None => Err(Outcome::Rejected("it is nothing that this binding has mapped".into())),
    };
    folded.unwrap_or_else(|outcome| outcome)
}

/// One record, and what it is folded with.
struct Fold<'a> {
    work: &'a Work,
    reduction: &'a Reduction,
    task: &'a Task<'a>,
    kv: &'a Kv,
}

impl Fold<'_> {
    async fn reduce(&self, partition: u32, key: &str) -> Result<Outcome, Outcome> {
        let given: Given<'_> = postcard::from_bytes(&self.task.message.payload).map_err(unreadable)?;
        let place = Place::State.key(Some(partition), key.as_bytes()).map_err(rejected)?;
        let before = self.kv.kept(&place).await?;
        let question = Reduce { fold: self, partition, key, place, before, given };
        Ok(self.work.ask(self.task, &question).await)
    }

    async fn merge(&self, key: &str) -> Result<Outcome, Outcome> {
        let partial: Partial<'_> = postcard::from_bytes(&self.task.message.payload).map_err(unreadable)?;
        let index = Place::Partitions.key(None, key.as_bytes()).map_err(rejected)?;
        let place = |partition| Place::Partial.key(Some(partition), key.as_bytes()).map_err(rejected);
        let known: Vec<u32> = match self.kv.kept(&index).await? {
            Some(kept) => postcard::from_bytes(&kept).map_err(unreadable)?,
            None => Vec::new(),
        };
        let mut effects = Effects::default();
        let mut states = Vec::with_capacity(known.len() + 1);
        for partition in known.iter().filter(|known| **known != partial.partition) {
            states.extend(self.kv.kept(&place(*partition)?).await?.map(|state| (*partition, state)));
        }
        let own = partial.state.map(Bytes::copy_from_slice);
        effects.kept.push((place(partial.partition)?, own.clone()));
        states.extend(own.map(|state| (partial.partition, state)));
        // Whichever came last: the same states are merged in the same order.
        states.sort_by_key(|(partition, _)| *partition);
        let partitions: Vec<u32> = states.iter().map(|(partition, _)| *partition).collect();
        if partitions != known {
            let kept = (!partitions.is_empty()).then(|| written(&partitions).into());
            effects.kept.push((index, kept));
        }
        let states = states.into_iter().map(|(_, state)| state).collect();
        let question = Merge { fold: self, key, cause: partial.cause, states, effects };
        Ok(self.work.ask(self.task, &question).await)
    }

    /// The state as everybody sees it; without one the key is no more.
    fn view(&self, key: &str, state: Option<&Bytes>, hops: u32) -> Result<Arc<Message>, Wrong> {
        let topic = topics::view(&self.work.name.1, key)?;
        Ok(message(self.task.message, topic, state.cloned().unwrap_or_default(), true, hops))
    }
}

struct Reduce<'a> {
    fold: &'a Fold<'a>,
    /// Of the source; 0 if they are reduced together.
    partition: u32,
    key: &'a str,
    place: Bytes,
    before: Option<Bytes>,
    given: Given<'a>,
}

impl Question for Reduce<'_> {
    type Answer = Option<Vec<u8>>;

    fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }

    async fn ask(&self, pool: &Pool) -> Invocation<Option<Vec<u8>>> {
        let values = self.given.values.iter();
        let changes: Vec<_> = values.map(|&(value, weight)| Change { value, weight }).collect();
        pool.reduce(self.key, self.before.as_deref(), &changes, self.given.cause.moment()).await
    }

    fn judge(&self, _: &Work, answered: Answered<Option<Vec<u8>>>) -> Result<Effects, Wrong> {
        let state = answered.answer.map(|state| bounded(state, "the state of a key")).transpose()?;
        if state == self.before {
            return Ok(Effects::default());
        }
        let owed = match self.fold.reduction.is_merging {
            true => self.partial(state.as_deref(), answered.hops)?,
            false => self.fold.view(self.key, state.as_ref(), answered.hops)?,
        };
        Ok(Effects { kept: vec![(self.place.clone(), state)], owed: vec![owed] })
    }
}

impl Reduce<'_> {
    fn partial(&self, state: Option<&[u8]>, hops: u32) -> Result<Arc<Message>, Wrong> {
        let Fold { work, reduction, task, .. } = self.fold;
        let topic = topics::partial(&work.name.1, reduction.run, self.key)?;
        let partial = Partial { cause: self.given.cause, partition: self.partition, state };
        Ok(message(task.message, topic, written(&partial).into(), false, hops))
    }
}

struct Merge<'a> {
    fold: &'a Fold<'a>,
    key: &'a str,
    cause: Cause,
    /// By partition.
    states: Vec<Bytes>,
    effects: Effects,
}

impl Question for Merge<'_> {
    type Answer = Option<Vec<u8>>;

    fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }

    async fn ask(&self, pool: &Pool) -> Invocation<Option<Vec<u8>>> {
        match &self.states[..] {
            [] => Invocation::of(None),
            [state] => Invocation::of(Some(state.to_vec())),
            states => {
                let states: Vec<&[u8]> = states.iter().map(|state| &**state).collect();
                pool.merge(self.key, &states, self.cause.moment()).await.map(Some)
            }
        }
    }

    fn judge(&self, _: &Work, answered: Answered<Option<Vec<u8>>>) -> Result<Effects, Wrong> {
        let state = answered.answer.map(Bytes::from);
        let mut effects = self.effects.clone();
        effects.owed.push(self.fold.view(self.key, state.as_ref(), answered.hops)?);
        Ok(effects)
    }
}

fn unreadable(error: postcard::Error) -> Outcome {
    Outcome::Rejected(format!("what was mapped cannot be read: {error}").into())
}

fn rejected((reason, _): Wrong) -> Outcome {
    Outcome::Rejected(reason.into())
}
